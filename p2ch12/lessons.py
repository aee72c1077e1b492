"""Chapter 12's comparison: one network, equal budgets, and one thing changed at a time.

python -m p2ch12.lessons --seeds 1              four trainings with one seed, a few minutes on two cores
python -m p2ch12.lessons --write                with three seeds, recorded for the notebook
python -m p2ch12.lessons --group each --write   each augmentation alone
python -m p2ch12.lessons --group longer --write as is, at a lower rate, and for three times as long
"""

import argparse
import json

import torch

from p2ch11.loaders import with_nodules
from p2ch11.training import METRICS_SCORE_NDX
from p2ch12.dsets import LunaDataset
from p2ch12.metrics import calibration_error, prior_shift, roc_auc
from p2ch12.training import LunaTrainingApp
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.paths import PROJECT, shown

RECORD = PROJECT / "data" / "p2ch12" / "lessons.json"
OTHERS_PER_NODULE = 2
# The same for all. Small batches give more steps for the same number of crops. Half of the scans are held out, since
# with fewer nodules to judge by, chance would hide what is to be seen. Of the nodules in the other half a few
# are kept, about one for 500 others: so rare are they in LUNA16, whereas the generated patients have more of them.
BUDGET = {
    "val_stride": 2,
    "nodules": 40,
    "batch_size": 8,
    "lr": 0.002,
    "one_cycle": True,
    "epochs": 3,
    "epoch_samples": 400,
}
COMPARED = {
    "as is": {},
    "weighted loss": {"weighted": True},
    "balanced": {"balanced": True},
    "balanced, augmented": {"balanced": True, "augmented": True},
}
EACH = {
    f"only {name}": {"balanced": True, f"augment_{name}": True, "val_every": 3}
    for name in ("flip", "offset", "scale", "rotate", "noise")
}
LONGER = {
    "as is, a tenth of the rate": {"lr": 0.0002, "val_every": 3},
    "as is, three times as long": {"epochs": 9, "val_every": 9},
}
GROUPS = {"compared": COMPARED, "each": EACH, "longer": LONGER}


class ComparedApp(LunaTrainingApp):
    """Chapter 12's training, which can also weight the loss, and is judged by `judged_candidates`."""

    def add_arguments(self, parser):
        """Chapter 12's, the weighted loss, and how many different nodules there are."""
        super().add_arguments(parser)
        parser.add_argument("--nodules", type=int, default=0, help="train on the first so many (0: all)")
        parser.add_argument("--weighted", action="store_true", help="nodules count for as much as all others")

    def make_train_loader(self, dataset):
        """Chapter 12's, of the nodules that are kept; notes how many others there are for each."""
        if self.cli_args.nodules:
            del dataset.pos_list[self.cli_args.nodules :]
            left_out = set(i for i in dataset.candidateInfo_list if i.isNodule_bool) - set(dataset.pos_list)
            dataset.candidateInfo_list = [i for i in dataset.candidateInfo_list if i not in left_out]
        self.others_per_nodule = len(dataset.negative_list) / len(dataset.pos_list)
        return super().make_train_loader(dataset)

    def initValDl(self):
        """Batches of the judged candidates, always in the same order."""
        dataset = LunaDataset(
            candidateInfo_list=judged_candidates(self.cli_args.val_stride), sortby_str="series_uid"
        )
        return self.make_loader(with_nodules(dataset, "validation"), shuffle=False)

    def batch_loss(self, loss_g, label_g):
        """The mean; with `--weighted` one in which nodules weigh more, as `cross_entropy(weight=...)` has it."""
        if not (self.cli_args.weighted and self.model.training):
            return super().batch_loss(loss_g, label_g)
        weight_g = 1 + label_g * (self.others_per_nodule - 1)
        return (weight_g * loss_g).sum() / weight_g.sum()

    def score(self, val_metrics):
        """The area under the ROC curve."""
        return val_metrics["roc/auc"]


def judged_candidates(val_stride) -> list:
    """All held-out nodules, and `OTHERS_PER_NODULE` times as many others, drawn from the same scans by a fixed seed.

    The network cannot tell which are left out, so recall and the ROC curve are those of all candidates; what
    depends on how rare nodules are, such as precision, is not.
    """
    held_out = LunaDataset(val_stride=val_stride, isValSet_bool=True)
    chosen = held_out.pos_list + held_out.negative_list[: OTHERS_PER_NODULE * len(held_out.pos_list)]
    return sorted(chosen, key=lambda info: (info.series_uid, info.center_xyz))


def train(arm, seed, options, **budget):
    """The trained `ComparedApp`, and what is recorded of it: losses by epoch, each class counting for half, and scores.

    options: those by which the arm differs; budget: what differs from `BUDGET`.
    """
    comment = f"{arm.replace(',', '').replace(' ', '-')}-{seed}"
    app = ComparedApp(seed=seed, comment=comment, **{**BUDGET, **budget, **options})
    history = app.main()
    scores = app.latest_metrics["val"][METRICS_SCORE_NDX]
    run = {"arm": arm, "seed": seed, "steps": app.totalTrainingSamples_count // app.cli_args.batch_size}
    for mode in ("trn", "val"):
        run[mode] = [round(class_loss(entry[mode]), 4) for entry in history if mode in entry]
    return app, {**run, "scores": [round(score, 3) for score in scores.tolist()]}


def class_loss(metrics) -> float:
    """The mean of both classes' losses, so that they count alike, as in balanced training."""
    return (metrics["loss/pos"] + metrics["loss/neg"]) / 2


def judged_table(infos) -> dict:
    """The judged candidates for the record, as columns: which scan (a number), nodule or not, diameter in mm."""
    scans = sorted({info.series_uid for info in infos})
    return {
        "scan": [scans.index(info.series_uid) for info in infos],
        "nodule": [int(info.isNodule_bool) for info in infos],
        "diameter_mm": [round(info.diameter_mm, 1) for info in infos],
    }


def line(run, label, shift) -> str:
    """One training in a line. shift: what its log-odds are moved by, from its training's prior to the judged one."""
    score = torch.tensor(run["scores"])
    called = score > 0
    recall = (called & label).sum() / label.sum()
    precision = (called & label).sum() / max(int(called.sum()), 1)
    return (
        f"seed {run['seed']}  {run['arm']:26} steps {run['steps']}  recall {recall:.2f}  precision {precision:.2f}  "
        f"F1 {2 * recall * precision / max(recall + precision, 1e-9):.2f}  AUC {roc_auc(label, score):.3f}  "
        f"loss {run['val'][-1]:.2f}  calibration {calibration_error(label, torch.sigmoid(score + shift)):.3f}"
    )


def write(runs, infos):
    """Put `runs` into the record, in place of those of the same arm and seed."""
    record = {"budget": BUDGET, "judged": judged_table(infos), "runs": []}
    if RECORD.is_file():
        old = json.loads(RECORD.read_text())
        if old.get("judged") == record["judged"] and old.get("budget") == BUDGET:
            record["runs"] = old["runs"]
    new = {(run["arm"], run["seed"]) for run in runs}
    record["runs"] = [run for run in record["runs"] if (run["arm"], run["seed"]) not in new] + runs
    with atomic_path(RECORD) as part:
        part.write_text(json.dumps(record, separators=(",", ":")).replace('{"arm"', '\n{"arm"') + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--group", choices=GROUPS, default="compared", help="which trainings")
    parser.add_argument("--arm", help="only this one of them")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="other than the budget's, for a trial")
    parser.add_argument("--epoch-samples", type=int, help="other than the budget's, for a trial")
    parser.add_argument("--write", action="store_true", help="record the figures for the notebook")
    args = parser.parse_args()
    budget = {name: getattr(args, name) for name in ("epochs", "epoch_samples") if getattr(args, name)}
    if budget and args.write:
        raise UserError("--write records the full budget; leave out --epochs and --epoch-samples")
    arms = GROUPS[args.group]
    if args.arm:
        if args.arm not in arms:
            raise UserError(f"--arm is '{args.arm}'; give one of {', '.join(arms)}")
        arms = {args.arm: arms[args.arm]}
    infos = judged_candidates(BUDGET["val_stride"])
    label = torch.tensor([info.isNodule_bool for info in infos])
    lines = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for arm, options in arms.items():
            app, run = train(arm, seed, options, **budget)
            is_even = app.cli_args.balanced or app.cli_args.weighted
            shift = prior_shift(
                0.5 if is_even else 1 / (1 + app.others_per_nodule), label.float().mean().item()
            )
            lines.append(line(run, label, shift))
            if args.write:
                write([run], infos)
    print("\n".join(lines))
    if args.write:
        print(f"recorded in {shown(RECORD)}")


if __name__ == "__main__":
    main_guard(main)
