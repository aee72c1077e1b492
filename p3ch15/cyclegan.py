"""The network that paints stripes, for the servers of this chapter (chapter 15, "Request batching").

The network itself is chapter 2's; here is how a server gets one from a file.
"""

from pathlib import Path

import torch

from p1ch2.gan import ResNetBlock, ResNetGenerator
from p1ch2.pretrained import WEIGHTS
from util.errors import UserError
from util.paths import shown

__all__ = ["SHIPPED_GENERATOR", "ResNetBlock", "ResNetGenerator", "get_pretrained_model"]

SHIPPED_GENERATOR = WEIGHTS / "generator_striped.safetensors"


def get_pretrained_model(model_path, map_location=None) -> ResNetGenerator:
    """The generator in the file `model_path`, in evaluation mode.

    model_path: the course's (`SHIPPED_GENERATOR`), or the published `horse2zebra_0.4.0.pth`, which is larger:
    how large a network is, is read from its weights. map_location: where they go, as in `torch.load`.
    Raises `UserError` for a file that is missing or holds something else.
    """
    path = Path(model_path)
    if not path.is_file():
        raise UserError(
            f"there is no weights file {shown(path)}; the course's own is {shown(SHIPPED_GENERATOR)}"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = {name: weight.float() for name, weight in load_file(path).items()}
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        with torch.device("meta"):
            network = ResNetGenerator(ngf=len(state["model.1.weight"]), n_blocks=_blocks(state))
        network.load_state_dict(state, assign=True)
    except Exception as error:
        raise UserError(f"{shown(path)} does not hold a generator's weights; fetch it again") from error
    return network.to(map_location or "cpu").eval()


def _blocks(state) -> int:
    return len({name.split(".")[1] for name in state if ".conv_block." in name})


def side_of(generator) -> int:
    """The edge, in pixels, of the pictures that a generator was trained on: the published one 256, ours 64."""
    return 256 if len(generator.state_dict()["model.1.weight"]) >= 64 else 64
