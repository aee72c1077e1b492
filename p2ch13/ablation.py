"""What do the neighbouring slices add? The U-Net with 1, 3 and 7 slices, else the same (chapter 13).

python -m p2ch13.ablation --json data/p2ch13/ablation.json       nine trainings, 10 minutes on two cores

Everything but the number of input slices is the same: crops, epochs, optimizer, seeds, held-out slices. The
networks mark different amounts at one threshold, so they are compared over all thresholds: by their average
precision over the pixels of the held-out slices, and by the recall at which false alarms cover as much area as
the nodules have.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from p2ch13.dsets import Luna2dSegmentationDataset
from p2ch13.training import SegmentationTrainingApp
from util.errors import main_guard
from util.files import atomic_path

LEVELS = 1024  # of probability that are told apart


@torch.inference_mode()
def probability_counts(app, dataset) -> np.ndarray:
    """The pixels of a dataset of slices by truth and probability: counts (2, LEVELS); row 1 is nodule.

    app: a trained `SegmentationTrainingApp`. dataset: as `Luna2dSegmentationDataset`.
    """
    counts = np.zeros((2, LEVELS), dtype=np.int64)
    app.model.eval()
    for slices_t, label_t, *_ in DataLoader(dataset, batch_size=4):
        with app.autocast():
            input_g = slices_t.to(app.device).contiguous(memory_format=app.memory_format)
            level_t = (app.model(input_g) * (LEVELS - 1)).round().long().cpu()
        for truth in (0, 1):
            counts[truth] += np.bincount(level_t[label_t == truth], minlength=LEVELS)
    return counts


def summary(counts) -> dict[str, float]:
    """Average precision, and the recall where false alarms cover as much area as the nodules have.

    counts: as `probability_counts` answers them.
    """
    false, found = np.cumsum(counts[:, ::-1], axis=1)  # from the strictest threshold on
    area = found[-1]
    recall, precision = found / area, found / np.maximum(found + false, 1)
    average = float(np.sum(np.diff(recall, prepend=0) * precision))
    return {"average_precision": average, "recall_at_equal_area": float(np.interp(area, false, recall))}


def main(arguments=None):
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--context", type=int, nargs="+", default=[0, 1, 3], help="neighbours on each side")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=1200)
    parser.add_argument("--json", metavar="F", help="write the record")
    options = parser.parse_args(arguments)
    runs = []
    for seed in range(options.seeds):
        for context in options.context:
            app = SegmentationTrainingApp(
                comment=f"slices-{2 * context + 1}-seed-{seed}", seed=seed, epochs=options.epochs,
                samples=options.samples, context_slices=context, augmented=True, one_cycle=True, val_every=0,
            )  # fmt: skip
            app.main()
            slices = Luna2dSegmentationDataset(app.cli_args.val_stride, True, contextSlices_count=context)
            run = {"slices": 2 * context + 1, "seed": seed, **summary(probability_counts(app, slices))}
            print(
                f"{run['slices']} slices, seed {seed}: average precision {run['average_precision']:.3f}, "
                f"recall {run['recall_at_equal_area']:.3f} at as much false area",
                flush=True,
            )
            runs.append(run)
            if options.json:
                record = {"epochs": options.epochs, "samples": options.samples, "runs": runs}
                with atomic_path(Path(options.json)) as temporary:
                    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main_guard(main)
