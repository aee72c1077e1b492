"""How fast can it go? The time that each rung of `p1ch8.race` needs to reach the plain training's accuracy.

    python -m p1ch8.benchmark [--photographs PATH] [--json FILE] [--write]

climbs the ladder with three seeds: about two minutes on the drawings and five on the photographs, on two quiet
cores. --write keeps the result in data/p1ch8/race.json, from which the notebook reads it.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import nn
from torchvision import transforms

from p1ch7.images import MEAN, STD, BirdsAndAirplanes
from p1ch7.training import training_loop
from p1ch8.designs import image_sets
from p1ch8.fast import ImageSet, accuracy_on, fit
from p1ch8.model import Net, NetPoolFirst
from p1ch8.race import EXTRAS, LADDER, PLAIN_EPOCHS, SAME_STEPS, Recipe, train
from util.errors import main_guard
from util.files import atomic_path
from util.paths import PROJECT
from util.runtime import get_device, has_fast_bfloat16, keep_freed_memory, seed_everything

RECORD = PROJECT / "data" / "p1ch8" / "race.json"
SEEDS = (0, 1, 2)
BUDGETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 30)  # epochs that a rung may take, tried from the left
TIMED_EPOCHS = 3  # of a rung that takes the same steps as the one before it
LONGER = 4  # times the last rung's epochs, to see where it would get to


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


def loops(root, n_epochs: int = 8, device=None, seed: int = 0) -> dict:
    """Images per second of chapter 7's loop and of `p1ch8.fast.fit`, same images, network and augmentation.

    Per way ("plain", "fast"): wall and CPU rates, seconds and accuracy; and the ratios of the rates.
    """
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
    _wait_for(test)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "seconds": wall,
        "images_per_wall_s": n_images / wall,
        "images_per_cpu_s": n_images / cpu,
        "test_accuracy": accuracy_on(model, test),
    }


def _wait_for(data: ImageSet):
    if data.labels.is_cuda:
        torch.cuda.synchronize()


def timed(recipe: Recipe, data: ImageSet, test: ImageSet, n_epochs: int, seeds=SEEDS) -> dict:
    """Seconds of training (without the measuring) and accuracy on `test`, per seed."""
    seconds, accuracies = [], []
    for seed in seeds:
        _wait_for(data)
        start = time.perf_counter()
        model = train(recipe, data, seed, n_epochs)
        _wait_for(data)
        seconds.append(time.perf_counter() - start)
        accuracies.append(accuracy_on(model, test))
    return {"epochs": n_epochs, "seconds": seconds, "accuracy": accuracies}


def mean(values) -> float:
    return sum(values) / len(values)


def climb(
    data: ImageSet, test: ImageSet, plain_epochs=PLAIN_EPOCHS, budgets=BUDGETS, seeds=SEEDS, tell=print
):
    """Every rung's epochs, seconds and accuracies, the extras', and what the last rung reaches in more time.

    The plain training runs in full and sets the accuracy to reach. Rungs that take the same steps are timed over
    a few epochs and multiplied; each further rung gets the fewest epochs with which the mean of its seeds gets
    there.
    """
    rungs, target = {}, None
    for name, recipe in LADDER.items():
        train(recipe, ImageSet(data.pixels[:512], data.labels[:512]), 0, 1)  # kernels are made on first use
        if target is None:
            row = timed(recipe, data, test, plain_epochs, seeds)
            target = mean(row["accuracy"])
        elif name in SAME_STEPS:
            part = min(TIMED_EPOCHS, plain_epochs)
            row = timed(recipe, data, test, part, seeds)
            row = {"epochs": plain_epochs, "seconds": [s * plain_epochs / part for s in row["seconds"]]}
        else:
            for n_epochs in budgets:
                row = timed(recipe, data, test, n_epochs, seeds)
                if mean(row["accuracy"]) >= target:
                    break
        rungs[name] = row
        reached = f"accuracy {mean(row['accuracy']):.3f}" if "accuracy" in row else "the same steps"
        tell(f"{name:36} {row['epochs']:3} epochs {mean(row['seconds']):7.2f} s   {reached}", flush=True)
    extras = {}
    for name, change in {"nothing more": {}, **EXTRAS}.items():
        extras[name] = timed(Recipe(**{**vars(recipe), **change}), data, test, 2 * row["epochs"], seeds)
        tell(f"  with {name:29} {mean(extras[name]['seconds']):6.2f} s   accuracy "
             f"{mean(extras[name]['accuracy']):.3f}", flush=True)  # fmt: skip
    longer = timed(recipe, data, test, LONGER * row["epochs"], seeds)
    first = mean(next(iter(rungs.values()))["seconds"])
    tell(f"{first / mean(row['seconds']):.0f} times as fast; in {LONGER} times as many epochs it reaches "
         f"{mean(longer['accuracy']):.3f}", flush=True)  # fmt: skip
    return {"target": target, "rungs": rungs, "extras": extras, "longer": longer}


def read_record(path: Path = RECORD) -> dict:
    """The committed record: per set of images its conditions and what `climb` measured."""
    return json.loads(path.read_text(encoding="utf-8"))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--photographs", type=Path, help="a folder of CIFAR-10's files or a .tar of JPEG copies"
    )
    parser.add_argument("--epochs", type=int, default=PLAIN_EPOCHS, help="of the plain training")
    parser.add_argument("--json", type=Path, help="write this run's figures to a file")
    parser.add_argument("--write", action="store_true", help=f"keep them in {RECORD.relative_to(PROJECT)}")
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")
    keep_freed_memory()
    name, data, test = image_sets(options.photographs)
    result = {
        "images": len(data),
        "device": data.labels.device.type,
        "threads": torch.get_num_threads(),
        **climb(data, test, options.epochs),
    }
    if options.json:
        with atomic_path(options.json) as temporary:
            temporary.write_text(json.dumps(result, indent=1))
    if options.write:
        record = read_record() if RECORD.is_file() else {}
        record[name] = result
        with atomic_path(RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main_guard(main)
