"""How fast crops for the segmentation are loaded (chapter 13).

python -m p2ch13.benchmark_seg --num-workers 2

Whole scans are measured by `p2ch13.benchmark`.
"""

import time

from p2ch13.dsets import TrainingLuna2dSegmentationDataset
from p2ch13.training import SegmentationTrainingApp
from util.errors import main_guard
from util.util import enumerateWithEstimate


class BenchmarkLuna2dSegmentationDataset(TrainingLuna2dSegmentationDataset):
    """The training's crops, which a benchmark only loads. Arguments and items as there."""


class LunaBenchmarkApp(SegmentationTrainingApp):
    """Loads an epoch of training crops and trains nothing."""

    def initTrainDl(self):
        """Chapter 13's batches of crops."""
        dataset = BenchmarkLuna2dSegmentationDataset(
            self.cli_args.val_stride, False, samples=self.cli_args.samples
        )
        return self.make_loader(dataset, shuffle=True)

    def main(self):
        """Load every batch once; prints and returns the crops per second."""
        train_dl = self.initTrainDl()
        start = time.perf_counter()
        for _ in enumerateWithEstimate(train_dl, "loading"):
            pass
        rate = len(train_dl.dataset) / (time.perf_counter() - start)
        print(f"{rate:.0f} crops per second, {self.cli_args.num_workers} loading processes")
        return rate


if __name__ == "__main__":
    main_guard(lambda: LunaBenchmarkApp().main() and None)
