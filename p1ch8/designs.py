"""Every design of the chapter under the same conditions: same images, same epochs, several seeds."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from p1ch7.training import count_parameters
from p1ch8.fast import ImageSet, accuracy_on, fit
from p1ch8.model import Net, NetBatchNorm, NetDropout, NetResDeep


@dataclass(frozen=True)
class Design:
    """How to build a network and what its training does differently; `options` go to `p1ch8.fast.fit`."""

    build: Callable[[], nn.Module]
    options: dict = field(default_factory=dict)


DESIGNS = {
    "baseline": Design(Net),
    "width": Design(lambda: Net(n_chans1=32)),
    "L2": Design(Net, {"weight_decay": 1e-2}),
    "dropout": Design(NetDropout),
    "batch norm": Design(NetBatchNorm),
    "augmented": Design(Net, {"augmented": True}),
    "depth": Design(lambda: NetResDeep(n_chans1=16, n_blocks=10, batch_norm=False), {"lr": 0.02}),
}


def run(design: Design, train: ImageSet, validation: ImageSet, seed: int, n_epochs: int = 12) -> dict:
    """Train one design once: its number of parameters, losses, and accuracy on both sets, in eval mode."""
    torch.manual_seed(seed)
    model = design.build()
    options = {"lr": 0.1, "batch_size": 64, "weight_decay": 0.0, "augmented": False, **design.options}
    losses = fit(model, train, n_epochs, seed=seed, **options)
    return {
        "parameters": count_parameters(model),
        "losses": losses,
        "train": accuracy_on(model, train),
        "validation": accuracy_on(model, validation),
    }


def compare(train, validation, seeds=(0, 1, 2), n_epochs: int = 12, designs=None) -> dict[str, list[dict]]:
    """`run` for every design and seed: a list of results per name."""
    designs = DESIGNS if designs is None else designs
    return {name: [run(d, train, validation, s, n_epochs) for s in seeds] for name, d in designs.items()}


def part_of(data: ImageSet, count: int, seed: int = 0) -> ImageSet:
    """`count` images, drawn at random without repetition."""
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:count]
    chosen = chosen.to(data.labels.device)
    return ImageSet(data.pixels[chosen], data.labels[chosen])
