"""Which networks chapter 15 exports and serves, and where their weights come from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from p1ch2.pretrained import stripe_generator
from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p2ch13.model import UNetWrapper
from p2ch14.weights import SHIPPED, SHIPPED_CLASSIFIER
from util.errors import UserError

__all__ = ["NETWORKS", "SHIPPED_CLASSIFIER", "Network", "network_named"]


@dataclass(frozen=True)
class Network:
    """What an exporter must know of a network.

    build() answers it with the shipped weights, in evaluation mode; example(n) an input of n samples.
    edges: which dimensions besides the batch may vary, always in multiples of 4.
    """

    name: str
    build: Callable[[], nn.Module]
    example: Callable[[int], torch.Tensor]
    input_name: str
    output_names: tuple[str, ...]
    edges: tuple[int, ...] = ()

    def dynamic_shapes(self):
        """The dimensions that may vary, as `torch.export` wants to be told (one entry per input)."""
        dims = {0: torch.export.Dim("batch", min=1, max=4096)}
        for place, name in zip(self.edges, ("height", "width")):
            dims[place] = 4 * torch.export.Dim(f"{name}_quarter", min=4, max=1024)
        return (dims,)


def _noise(low, high, *shape):
    """(*shape) uniform numbers, always the same."""
    return low + (high - low) * torch.rand(shape, generator=torch.Generator().manual_seed(15))


def _shipped(model, name):
    return load_weights(model, SHIPPED / f"{name}.safetensors").eval()


NETWORKS = {
    network.name: network
    for network in (
        Network(
            "classification",
            lambda: _shipped(LunaModel(), "classification"),
            lambda n: _noise(-1000, 1000, n, 1, 32, 48, 48),
            "crops",
            ("logits", "probabilities"),
        ),
        Network(
            "segmentation",
            lambda: _shipped(UNetWrapper(), "segmentation"),
            lambda n: _noise(-1000, 1000, n, 7, 64, 64),
            "slices",
            ("probabilities",),
            edges=(2, 3),
        ),
        Network(
            "generator",
            lambda: stripe_generator().eval(),
            lambda n: _noise(-1, 1, n, 3, 64, 64),
            "pictures",
            ("striped",),
            edges=(2, 3),
        ),
    )
}


def network_named(name) -> Network:
    """`NETWORKS[name]`, or a `UserError` that lists the names."""
    if name not in NETWORKS:
        raise UserError(f"there is no network {name!r}; choose one of {', '.join(NETWORKS)}")
    return NETWORKS[name]
