"""The chapter's measurements on CIFAR-10's own birds and airplanes, beside the same on the drawings.

`python -m p1ch7.photographs --real PATH` measures and prints; `--write` records, too. PATH is a folder with
cifar-10-batches-py, or a .tar of (lossy) JPEG copies. The notebook reads the record. A minute or two.
"""

import argparse
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from p1ch7 import cifar10_files
from p1ch7.images import CLASS_NAMES, MEAN, STD, BirdsAndAirplanes
from p1ch7.training import accuracy, accuracy_moved, train_fully_connected
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.paths import PROJECT, shown

RECORD = PROJECT / "data" / "p1ch7" / "photographs.json"
SEEDS, EPOCHS, N_HIDDEN, AS_MANY_AS_DRAWN = (0, 1, 2), 16, 128, 4000


def read_photographs(path) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """((images, labels) to train with, (images, labels) to test with) of birds and airplanes.

    path: a folder with cifar-10-batches-py, or a .tar whose files are named train/bird/NNNN.jpg,
    test/airplane/NNNN.jpg and so on. images: (N, 3, 32, 32) normalized, labels: (N,), 0 for airplanes and 1
    for birds. Raises `UserError` where `path` is neither.
    """
    path = Path(path)
    if path.is_dir():
        parts = [BirdsAndAirplanes(path, train=train) for train in (True, False)]
        return tuple(_tensors(part.images, part.labels) for part in parts)
    if not path.is_file() or not tarfile.is_tarfile(path):
        raise UserError(
            f"{path.name} is neither a folder with CIFAR-10's files nor a .tar of JPEG copies; "
            "'python3 course.py data cifar10' downloads CIFAR-10"
        )
    found = {"train": ([], []), "test": ([], [])}
    with tarfile.open(path) as archive:
        for member in sorted((m for m in archive if m.isfile()), key=lambda m: m.name):
            part, name, _ = member.name.split("/")
            image = Image.open(io.BytesIO(archive.extractfile(member).read())).convert("RGB")
            found[part][0].append(np.asarray(image))
            found[part][1].append(CLASS_NAMES.index(name))
    return tuple(_tensors(np.stack(images), np.array(labels)) for images, labels in found.values())


def _tensors(images: np.ndarray, labels: np.ndarray):
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255  # (N, 3, 32, 32)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (pixels - mean) / std, torch.from_numpy(labels).long()


def measure(train, test, n_epochs: int = EPOCHS, shuffled: bool = True) -> dict[str, list[float]]:
    """Accuracies of the fully connected network, one per seed, and of the three mean colors alone.

    "moved": by four pixels, the mean over four directions. "shuffled" (left out on request): trained and tested
    on images whose pixels were put in another order, the same for all of them.
    """
    (images, labels), (new_images, new_labels) = train, test
    colors = LogisticRegression(max_iter=1000).fit(images.mean((2, 3)).numpy(), labels.numpy())
    on_colors = float(colors.score(new_images.mean((2, 3)).numpy(), new_labels.numpy()))
    rows = {"mean color alone": [on_colors]}
    for seed in SEEDS:
        model = train_fully_connected(images, labels, n_epochs, seed, N_HIDDEN)
        row = {
            "training": accuracy(model, [(images, labels)]),
            "validation": accuracy(model, [(new_images, new_labels)]),
            "training, moved": accuracy_moved(model, images, labels, 4),
            "validation, moved": accuracy_moved(model, new_images, new_labels, 4),
        }
        if shuffled:
            order = torch.randperm(32 * 32, generator=torch.Generator().manual_seed(seed))
            mixed, new_mixed = (x.flatten(2)[..., order].unflatten(2, (32, 32)) for x in (images, new_images))
            model = train_fully_connected(mixed, labels, n_epochs, seed, N_HIDDEN)
            row["validation, shuffled"] = accuracy(model, [(new_mixed, new_labels)])
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
    return {name: [round(value, 4) for value in values] for name, values in rows.items()}


def read_record(path: Path = RECORD) -> dict:
    """What `main --write` recorded: "accuracy", and how and on what it was measured."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def main(arguments=None):
    """Measure drawings and photographs, print the table, record it if asked to."""
    parser = argparse.ArgumentParser(prog="python -m p1ch7.photographs", description=__doc__.split("\n")[0])
    parser.add_argument("--real", required=True, help="CIFAR-10's folder, or a .tar of JPEG copies")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--write", action="store_true", help=f"write {shown(RECORD)}")
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")
    photographs = read_photographs(options.real)
    drawings = read_photographs(cifar10_files.locate().path)
    chosen = torch.randperm(len(photographs[0][1]), generator=torch.Generator().manual_seed(0))
    few = tuple(part[chosen[:AS_MANY_AS_DRAWN]] for part in photographs[0])
    record = {
        "command": "python -m p1ch7.photographs --real PATH --write",
        "photographs": "CIFAR-10" if Path(options.real).is_dir() else "lossy JPEG copies of CIFAR-10",
        "drawings": f"{cifar10_files.name}-{cifar10_files.version}",
        "epochs": options.epochs,
        "hidden neurons": N_HIDDEN,
        "seeds": list(SEEDS),
        "accuracy": {
            f"{len(drawings[0][1]):,} drawings": measure(*drawings, options.epochs),
            f"{len(few[1]):,} photographs": measure(few, photographs[1], options.epochs),
            f"{len(photographs[0][1]):,} photographs": measure(*photographs, options.epochs, shuffled=False),
        },
    }
    for kind, rows in record["accuracy"].items():
        print(kind, *(f"{name}: {np.mean(values):.3f}" for name, values in rows.items()), sep="\n  ")
    if options.write:
        with atomic_path(RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main_guard(main)
