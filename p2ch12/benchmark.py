"""How fast augmentation of a whole batch is, beside a loop over its samples (chapter 12).

python -m p2ch12.benchmark [--json F]
"""

import argparse
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from p2ch11.benchmark import BATCH_SIZE, measure_and_print
from p2ch12.augment import ALL, augment, random_affine
from util.errors import main_guard
from util.runtime import get_device, keep_freed_memory, seed_everything


def _augment_one(crop):
    """The plain way: one crop (1, 1, D, H, W), resampled in three dimensions."""
    affine = random_affine(1, 3, ALL, crop.device)
    grid = F.affine_grid(affine, list(crop.shape), align_corners=False)
    moved = F.grid_sample(crop, grid, padding_mode="border", align_corners=False)
    return moved + ALL.noise * torch.randn_like(moved)


def augmentation_rate(is_plain, rounds=7) -> float:
    """Augmented crops per second: a batch at once, or (plain) sample by sample."""
    device = get_device()
    seed_everything(0)
    if not is_plain:
        keep_freed_memory()
    batch = torch.randn(BATCH_SIZE, 1, 32, 48, 48, device=device) * 300 - 500

    def seconds():
        start = time.perf_counter()
        if is_plain:
            torch.cat([_augment_one(crop[None]) for crop in batch])
        else:
            augment(batch, ALL)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds()
    return BATCH_SIZE / min(seconds() for _ in range(rounds))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args(arguments)
    measure_and_print([(f"augmentation, batches of {BATCH_SIZE}", augmentation_rate, (), 5.0)], options.json)


if __name__ == "__main__":
    main_guard(main)
