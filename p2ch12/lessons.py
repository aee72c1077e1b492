"""The lessons of chapters 11 and 12, measured on held-out scans for several seeds.

python -m p2ch12.lessons                  as in the notebook; about 4 minutes for three seeds on two cores
python -m p2ch12.lessons --epochs 10 --epoch-samples 2000 --write     trained for longer; about a quarter of an hour

With --write the losses and areas go to data/p2ch12/lessons.json, which the notebook draws.
"""

import argparse
import json

import numpy as np

from p2ch10.dsets import LunaDataset
from p2ch11.loaders import with_nodules
from p2ch11.training import METRICS_LABEL_NDX, METRICS_SCORE_NDX
from p2ch12.metrics import pr_curve, roc_auc
from p2ch12.training import LunaTrainingApp
from util.errors import main_guard
from util.files import atomic_path
from util.paths import PROJECT

# Chapter 12's short recipe: small batches give more steps for the same number of crops.
RECIPE = {"batch_size": 8, "lr": 0.002, "one_cycle": True}
RECORD = PROJECT / "data" / "p2ch12" / "lessons.json"


class SmallValidationApp(LunaTrainingApp):
    """Validates on all held-out nodules and six times as many others: enough for a loss per class."""

    def initValDl(self):
        """Batches of the few candidates."""
        infos = LunaDataset(val_stride=self.cli_args.val_stride, isValSet_bool=True).candidateInfo_list
        nodules = [info for info in infos if info.isNodule_bool]
        others = [info for info in infos if not info.isNodule_bool]
        few = LunaDataset(candidateInfo_list=nodules + others[: 6 * len(nodules)])
        return self.make_loader(with_nodules(few, "validation"), shuffle=False)


def class_loss(metrics) -> float:
    """The mean of both classes' losses, so that they count alike, as in balanced training."""
    return (metrics["loss/pos"] + metrics["loss/neg"]) / 2


def answers(app):
    """Truth (bool) and score (above 0: called a nodule) of every held-out candidate, unbalanced; two tensors (N,)."""
    metrics_t = app.doValidation(1, LunaTrainingApp.initValDl(app))
    return metrics_t[METRICS_LABEL_NDX] > 0.5, metrics_t[METRICS_SCORE_NDX]


def recall_at_precision(label, score, least: float) -> float:
    """The highest recall any threshold reaches while its precision is at least `least`; 0 if none does."""
    precision, recall, _ = pr_curve(label, score)
    reached = np.asarray(recall)[np.asarray(precision) >= least]
    return float(reached.max()) if len(reached) else 0.0


def as_it_is(seed: int, samples: int = 600) -> dict:
    """Chapter 11's training on the unbalanced candidates: share correct and recall, at 0.5."""
    app = LunaTrainingApp(seed=seed, epoch_samples=samples, val_every=0, comment=f"lesson-as-is-{seed}")
    app.main()
    label, score = answers(app)
    called = score > 0
    return {
        "correct": (called == label).float().mean().item(),
        "recall": (called & label).sum().item() / label.sum().item(),
    }


def balanced(seed: int, augmented: bool, epochs: int = 4, samples: int = 1200) -> SmallValidationApp:
    """The trained app; its `history` holds both losses of every epoch."""
    name = f"lesson-{'augmented' if augmented else 'balanced'}-{seed}"
    options = {"balanced": True, "augmented": augmented, "seed": seed, "comment": name}
    app = SmallValidationApp(**options, **RECIPE, epochs=epochs, epoch_samples=samples)
    app.main()
    return app


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--epoch-samples", type=int, default=1200)
    parser.add_argument("--write", action="store_true", help="record the figures for the notebook")
    args = parser.parse_args()
    lines, records = [], []
    for seed in range(args.seeds):
        plain = as_it_is(seed)
        lines.append(f"seed {seed}  as it is: correct {plain['correct']:.2%}, recall {plain['recall']:.2f}")
        for augmented in (False, True):
            app = balanced(seed, augmented, args.epochs, args.epoch_samples)
            label, score = answers(app)
            losses = {
                mode: " ".join(f"{class_loss(entry[mode]):.2f}" for entry in app.history)
                for mode in ("trn", "val")
            }
            records.append(
                {
                    "seed": seed,
                    "augmented": augmented,
                    "samples": args.epoch_samples,
                    **{mode: [round(class_loss(e[mode]), 4) for e in app.history] for mode in ("trn", "val")},
                    "auc": round(float(roc_auc(label, score)), 4),
                    "recall_at_precision_0.3": round(recall_at_precision(label, score, 0.3), 4),
                }
            )
            lines.append(
                f"seed {seed}  balanced{', augmented' if augmented else ''}: "
                f"losses training {losses['trn']}, validation {losses['val']}; "
                f"ROC-AUC {roc_auc(label, score):.3f}, "
                f"recall {recall_at_precision(label, score, 0.3):.2f} at a precision of 0.3, "
                f"{recall_at_precision(label, score, 0.1):.2f} at 0.1"
            )
            if args.write:
                with atomic_path(RECORD) as part:
                    part.write_text(json.dumps(records, indent=1) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main_guard(main)
