"""How fast can it go? Chapter 7's loop against this chapter's, same images, same augmentation, same network.

    python -m p1ch8.benchmark [--epochs N] [--json FILE]

prints images per second and the accuracy that each reaches on the test images.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import nn
from torchvision import transforms

from p1ch7 import cifar10_files
from p1ch7.images import MEAN, STD, BirdsAndAirplanes
from p1ch7.training import training_loop
from p1ch8.fast import ImageSet, accuracy_on, fit
from p1ch8.model import Net, NetPoolFirst
from util.errors import main_guard
from util.files import atomic_path
from util.runtime import get_device, has_fast_bfloat16, keep_freed_memory, seed_everything


def augmenting_transform() -> transforms.Compose:
    """One PIL image at a time: moved by up to 4 pixels, mirrored by chance, normalized."""
    return transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4, padding_mode="edge"),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def race(root, n_epochs: int = 8, device=None, seed: int = 0) -> dict:
    """Train both ways for `n_epochs`; per way images per second (wall and CPU) and accuracy, and the ratios."""
    device = get_device() if device is None else torch.device(device)
    keep_freed_memory()
    test = ImageSet.of(BirdsAndAirplanes(root, train=False), device)
    result = {}

    seed_everything(seed)
    data = BirdsAndAirplanes(root, transform=augmenting_transform())
    loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True)
    model = Net().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    wall, cpu = time.perf_counter(), time.process_time()
    training_loop(n_epochs, optimizer, model, nn.CrossEntropyLoss(), loader, device)
    result["plain"] = _figures(model, test, n_epochs * len(data), wall, cpu)

    seed_everything(seed)
    model = NetPoolFirst()
    wall, cpu = time.perf_counter(), time.process_time()
    # The conversion of the whole set counts: it is part of this way's price.
    dtype = torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    images = ImageSet.of(data, device, dtype)
    fit(model, images, n_epochs, lr=0.15, batch_size=128, seed=seed)
    result["fast"] = _figures(model, test, n_epochs * len(data), wall, cpu)

    for kind in ("wall", "cpu"):
        result[f"speedup_{kind}"] = (
            result["fast"][f"images_per_{kind}_s"] / result["plain"][f"images_per_{kind}_s"]
        )
    return result


def _figures(model, test, n_images, wall, cpu) -> dict:
    if test.labels.is_cuda:
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "seconds": wall,
        "images_per_wall_s": n_images / wall,
        "images_per_cpu_s": n_images / cpu,
        "test_accuracy": accuracy_on(model, test),
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")
    result = race(cifar10_files.path(), options.epochs)
    for way in ("plain", "fast"):
        row = result[way]
        print(
            f"{way:6} {row['images_per_wall_s']:7.0f} images/s  {row['seconds']:6.1f} s  "
            f"test accuracy {row['test_accuracy']:.3f}"
        )
    print(
        f"{result['speedup_wall']:.1f} times the images per second ({result['speedup_cpu']:.1f} per CPU second)"
    )
    if options.json:
        with atomic_path(options.json) as temporary:
            temporary.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main_guard(main)
