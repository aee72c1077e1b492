"""The lesson of chapter 13, measured on held-out scans for several seeds.

python -m p2ch13.lessons             three trainings of at most 150 s on two cores, one after another
"""

import argparse
import time
from collections import defaultdict

import torch
from torch.utils.data import DataLoader, Subset

from p2ch13.dsets import Luna2dSegmentationDataset, nodules_by_series, truths_of
from p2ch13.training import SegmentationTrainingApp
from util.errors import main_guard

LARGE_MM = 5.0


def train(seed: int, epochs: int = 10, samples: int = 1600) -> SegmentationTrainingApp:
    """The short recipe; `epochs` of `samples` crops each, no validation on the way."""
    recipe = {"augmented": True, "one_cycle": True, "val_every": 0}
    app = SegmentationTrainingApp(
        **recipe, seed=seed, epochs=epochs, samples=samples, comment=f"lesson-{seed}"
    )
    app.main()
    return app


def evaluate(app, threshold=0.5, every=1) -> dict:
    """Pixel recall, false-positive area as a share of the true one, and the share of nodules touched.

    Over every held-out slice with a nodule, or one in `every`. A nodule of at least `LARGE_MM` is touched where one
    of its annotated voxels is marked.
    """
    dataset = Luna2dSegmentationDataset(app.cli_args.val_stride, True)
    found, area, false = 0, 0, 0
    touched = defaultdict(bool)
    app.model.eval()
    chosen = Subset(dataset, range(0, len(dataset), every))
    for slices_t, label_t, series_list, index_t in DataLoader(chosen, batch_size=4):
        with torch.inference_mode(), app.autocast():
            input_g = slices_t.to(app.device).contiguous(memory_format=app.memory_format)
            marked_t = (app.model(input_g) > threshold).cpu()
        found += (marked_t & label_t).sum().item()
        area += label_t.sum().item()
        false += (marked_t & ~label_t).sum().item()
        for marked, series_uid, index in zip(marked_t[:, 0].numpy(), series_list, index_t.tolist()):
            for number, truth in enumerate(truths_of(series_uid)):
                depth, rows, columns = truth.box
                if depth.start <= index < depth.stop:
                    here = marked[rows, columns] & truth.mask[index - depth.start]
                    touched[series_uid, number] |= bool(here.any())
    nodules = nodules_by_series()
    large = [hit for (uid, n), hit in touched.items() if nodules[uid][n].diameter_mm >= LARGE_MM]
    return {
        "recall": found / area,
        "false_area": false / area,
        "touched": sum(large) / len(large),
        "nodules": len(large),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--samples", type=int, default=1600)
    args = parser.parse_args()
    lines = []
    for seed in range(args.seeds):
        start = time.perf_counter()
        app = train(seed, args.epochs, args.samples)
        seconds = time.perf_counter() - start
        result = evaluate(app)
        lines.append(
            f"seed {seed}: {seconds:.0f} s of training; pixel recall {result['recall']:.3f}, false-positive area "
            f"{result['false_area']:.0%} of the true one, {result['touched']:.1%} of {result['nodules']} nodules "
            f"of {LARGE_MM:g} mm or more touched"
        )
    print("\n".join(lines))


if __name__ == "__main__":
    main_guard(main)
