"""Published ImageNet networks through torchvision, downloaded only when the reader asks for it."""

import os
from pathlib import Path

import torch


def cached_file(weights) -> Path:
    """Where Torch Hub keeps the file of a torchvision `weights` entry, whether or not it is there."""
    return Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]


def may_load(weights) -> bool:
    """True where the weights are on this machine already, or `COURSE_DOWNLOAD=1` asks to fetch them.

    `COURSE_OFFLINE=1` forbids fetching, not using what is there.
    """
    wanted = os.environ.get("COURSE_DOWNLOAD") == "1" and os.environ.get("COURSE_OFFLINE") != "1"
    return cached_file(weights).exists() or wanted


def imagenet_network(build, weights):
    """(model in evaluation mode, True if it is trained) for a torchvision builder and its weights entry.

    Without permission to load the weights the model has its architecture and random numbers:
    `imagenet_network(models.alexnet, models.AlexNet_Weights.IMAGENET1K_V1)`.
    """
    trained = may_load(weights)
    return build(weights=weights if trained else None).eval(), trained
