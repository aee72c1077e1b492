"""How many nodules does it take? One training, shown 10, 50 or all of them (chapter 11).

python -m p2ch11.lessons            three seeds, a few minutes on two cores
python -m p2ch11.lessons --write    and recorded for the notebook
"""

import argparse
import json

from sklearn.metrics import roc_auc_score

from p2ch10.dsets import LunaDataset
from p2ch11.training import METRICS_LABEL_NDX, METRICS_SCORE_NDX, LunaTrainingApp
from util.errors import main_guard
from util.files import atomic_path
from util.paths import PROJECT, shown

RECORD = PROJECT / "data" / "p2ch11" / "sizes.json"
SIZES = (10, 50, None)  # None: all that there are
SAMPLES = 400
BUDGET = {"batch_size": 8, "lr": 0.002, "one_cycle": True}
OTHERS_PER_NODULE = 2


class SizeApp(LunaTrainingApp):
    """Trains on the first `nodules` nodules (None: all) and as many others, again and again, for `SAMPLES` samples.

    So only how many different ones it sees changes. Validated on all held-out nodules and some of the others.
    """

    def __init__(self, nodules, **options):
        super().__init__(**options)
        self.nodules = nodules

    def initTrainDl(self):
        """`SAMPLES` samples, of which every second one is a nodule."""
        split = LunaDataset(val_stride=self.cli_args.val_stride, isValSet_bool=False)
        nodules = split.pos_list[: self.nodules]
        pairs = [info for pair in zip(nodules, split.negative_list) for info in pair]
        infos = (pairs * (SAMPLES // len(pairs) + 1))[:SAMPLES]
        return self.make_loader(LunaDataset(candidateInfo_list=infos), shuffle=True)

    def initValDl(self):
        """All held-out nodules, and a few others for each."""
        split = LunaDataset(val_stride=self.cli_args.val_stride, isValSet_bool=True)
        others = split.negative_list[: OTHERS_PER_NODULE * len(split.pos_list)]
        return self.make_loader(LunaDataset(candidateInfo_list=split.pos_list + others), shuffle=False)


def ranked_right(label, score) -> float:
    """The share of pairs of a nodule and another candidate in which the nodule scores higher; a tie is half a pair."""
    return float(roc_auc_score(label, score))


def measure(nodules, seed) -> dict:
    """One training as it is recorded; of the losses each class makes up half."""
    app = SizeApp(nodules, seed=seed, comment=f"size-{nodules or 'all'}-{seed}", **BUDGET)
    (entry,) = app.main()
    metrics_t = app.latest_metrics["val"]
    loss = {mode: (entry[mode]["loss/pos"] + entry[mode]["loss/neg"]) / 2 for mode in ("trn", "val")}
    right = ranked_right(metrics_t[METRICS_LABEL_NDX] > 0.5, metrics_t[METRICS_SCORE_NDX])
    found = entry["val"]["correct/pos"] / 100
    return {
        "nodules": nodules or len(LunaDataset(app.cli_args.val_stride, False).pos_list),
        "seed": seed,
        "trn": round(loss["trn"], 4),
        "val": round(loss["val"], 4),
        "ranked_right": round(right, 4),
        "recall": round(found, 4),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--write", action="store_true", help="record the figures for the notebook")
    args = parser.parse_args()
    runs = []
    for seed in range(args.seeds):
        for nodules in SIZES:
            runs.append(measure(nodules, seed))
            if args.write:
                with atomic_path(RECORD) as part:
                    record = ",\n".join(json.dumps(run) for run in runs)
                    part.write_text(f"[\n{record}\n]\n")
    for run in runs:
        print("  ".join(f"{name} {value}" for name, value in run.items()))
    if args.write:
        print(f"recorded in {shown(RECORD)}")


if __name__ == "__main__":
    main_guard(main)
