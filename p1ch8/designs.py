"""Every design of the chapter under the same conditions: same images, same steps, several seeds.

    python -m p1ch8.designs --write                         # the drawings
    python -m p1ch8.designs --photographs PATH --write      # CIFAR-10, or an archive of JPEG copies of it

train all of them and record what they reach in data/p1ch8/designs.json, from which the notebook takes what its
own time does not allow. A record that was broken off is gone on with.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from p1ch7 import cifar10_files
from p1ch7.images import BirdsAndAirplanes
from p1ch7.photographs import read_photographs
from p1ch7.training import count_parameters, fully_connected, shift
from p1ch8.fast import ImageSet, accuracy_on, fit
from p1ch8.model import Net, NetBatchNorm, NetDepth, NetDropout, NetRes, NetResDeep, NetWidth, Stack
from util.errors import main_guard
from util.files import atomic_path
from util.paths import PROJECT
from util.runtime import get_device, keep_freed_memory

RECORD = PROJECT / "data" / "p1ch8" / "designs.json"
IMAGES, EPOCHS, SEEDS = 2000, 30, (0, 1, 2)
SHIFTS = ((4, 0), (-4, 0), (0, 4), (0, -4))  # down, right: four pixels each way


@dataclass(frozen=True)
class Design:
    """How to build a network and what its training does differently; `options` go to `p1ch8.fast.fit`."""

    build: Callable[[], nn.Module]
    options: dict = field(default_factory=dict)


def ten_blocks() -> NetResDeep:
    """The deep network with as many channels as two cores can train in the time."""
    return NetResDeep(n_chans1=16, n_blocks=10)


# Each differs in one thing from one that stands before it: from `width` where nothing else is named. The first
# two and the last have a lower rate: the sums of a deep network do not stand 0.05.
DESIGNS = {
    "fully connected": Design(fully_connected, {"lr": 0.01}),
    "fully connected, augmented": Design(fully_connected, {"lr": 0.01, "augmented": True}),
    "baseline": Design(Net),
    "baseline, augmented": Design(Net, {"augmented": True}),
    "width": Design(NetWidth),
    "augmented": Design(NetWidth, {"augmented": True}),
    "dropout": Design(NetDropout),
    "l2 reg": Design(NetWidth, {"weight_decay": 1e-2}),
    "batch norm": Design(NetBatchNorm),
    "depth": Design(NetDepth),
    "relu": Design(lambda: NetWidth(activation=torch.relu)),
    "res": Design(NetRes),
    "res deep": Design(ten_blocks, {"lr": 0.02}),
}
STACKS = {  # twenty convolutions in a row: see `p1ch8.model.Stack`
    f"{'skip' if skip else 'plain'}, {'kaiming' if kaiming else 'default'}": (skip, kaiming)
    for skip in (False, True)
    for kaiming in (False, True)
}
STACK_EPOCHS, STACK_RATE = 6, 0.01


def part_of(data: ImageSet, count: int, seed: int = 0) -> ImageSet:
    """`count` images, drawn at random without repetition."""
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:count]
    chosen = chosen.to(data.labels.device)
    return ImageSet(data.pixels[chosen], data.labels[chosen])


def shifted_accuracy(model: nn.Module, data: ImageSet, shifts=SHIFTS) -> float:
    """The accuracy on images moved by whole pixels, the mean over `shifts` (down, right)."""
    return sum(
        accuracy_on(model, data, transform=lambda images, move=move: shift(images, *move)) for move in shifts
    ) / len(shifts)


def run(design: Design, train: ImageSet, validation: ImageSet, seed: int, n_epochs: int = EPOCHS) -> dict:
    """Train one design once: parameters, losses, and accuracy on training, validation, shifted validation images."""
    torch.manual_seed(seed)
    model = design.build()
    options = {"lr": 0.05, "batch_size": 64, "weight_decay": 0.0, "augmented": False, **design.options}
    losses = fit(model, train, n_epochs, seed=seed, **options)
    return {
        "parameters": count_parameters(model),
        "losses": [round(loss, 4) for loss in losses],
        "train": accuracy_on(model, train),
        "validation": accuracy_on(model, validation),
        "shifted": shifted_accuracy(model, validation),
    }


def first_gradient(model: nn.Module, data: ImageSet, count: int = 256) -> float:
    """The size (norm) of the gradient at the first layer, before any step."""
    F.cross_entropy(model(data.images[:count]), data.labels[:count]).backward()
    size = model.conv1.weight.grad.norm().item()
    model.zero_grad()
    return size


def run_stack(skip: bool, kaiming: bool, train: ImageSet, validation: ImageSet, seed: int) -> dict:
    """Train a stack of twenty convolutions for a few epochs; a diverged one has accuracy 0.5 or so."""
    torch.manual_seed(seed)
    model = Stack(skip, kaiming).to(train.labels.device)
    gradient = first_gradient(model, train)
    options = {"lr": STACK_RATE, "batch_size": 64, "weight_decay": 0.0, "augmented": False}
    losses = fit(model, train, STACK_EPOCHS, seed=seed, **options)
    return {
        "first_gradient": gradient,
        "losses": [round(loss, 4) if loss < 1e9 else None for loss in losses],  # JSON has no word for NaN
        "train": accuracy_on(model, train),
        "validation": accuracy_on(model, validation),
    }


def record_all(train, validation, record: dict, save: Callable[[], None], seeds=SEEDS, n_epochs=EPOCHS):
    """Fill `record` with a list of results, one per seed, for every design and stack that it has not; `save` often."""
    for kind, table, once in (
        ("designs", DESIGNS, lambda design, seed: run(design, train, validation, seed, n_epochs)),
        ("stacks", STACKS, lambda options, seed: run_stack(*options, train, validation, seed)),
    ):
        done = record.setdefault(kind, {})
        for name, what in table.items():
            if name not in done:
                done[name] = [once(what, seed) for seed in seeds]
                rows = done[name]
                print(
                    f"{name:27}",
                    *(f"{key} {sum(r[key] for r in rows) / len(rows):.3f}" for key in rows[0] if key in
                      ("train", "validation", "shifted")),
                    flush=True,
                )  # fmt: skip
                save()


def image_sets(photographs: Path | None) -> tuple[str, ImageSet, ImageSet]:
    """("photographs" or "drawings", training images, test images), on the device.

    photographs: a folder of CIFAR-10's files or a .tar of JPEG copies; None takes the drawings.
    """
    if photographs is None:
        root = cifar10_files.generated_path()
        root = root if root.exists() else cifar10_files.path()
        sets = [ImageSet.of(BirdsAndAirplanes(root, train=part)) for part in (True, False)]
    else:
        sets = [
            ImageSet(images.permute(0, 2, 3, 1).contiguous(), labels)
            for images, labels in read_photographs(photographs)
        ]
    device = get_device()
    train, test = (ImageSet(s.pixels.to(device), s.labels.to(device)) for s in sets)
    return "drawings" if photographs is None else "photographs", train, test


def read_record(path: Path = RECORD) -> dict:
    """The committed record: per set of images its conditions, designs and stacks."""
    return json.loads(path.read_text(encoding="utf-8"))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--photographs", type=Path, help="a folder of CIFAR-10's files or a .tar of JPEG copies"
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--record", type=Path, default=RECORD, help="the file to write and to go on with")
    parser.add_argument("--write", action="store_true", help="keep what is measured in the record")
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")
    keep_freed_memory()
    name, train, validation = image_sets(options.photographs)
    train = part_of(train, IMAGES)
    conditions = {"images": len(train), "validation images": len(validation), "epochs": options.epochs}
    if name == "drawings":
        conditions["version"] = cifar10_files.version
    elif options.photographs.is_file():
        conditions["copies"] = "JPEG"
    record = read_record(options.record) if options.record.is_file() else {}
    mine = record.get(name, {})
    if {key: mine.get(key) for key in conditions} != conditions:
        mine = record[name] = dict(conditions)

    def save():
        if options.write:
            with atomic_path(options.record) as temporary:
                temporary.write_text(json.dumps(record, indent=1) + "\n")

    record_all(train, validation, mine, save, n_epochs=options.epochs)


if __name__ == "__main__":
    main_guard(main)
