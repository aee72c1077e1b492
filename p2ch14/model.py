"""Chapter 11's network under chapter 14's name, and the one that judges malignancy."""

from p2ch11.model import LunaBlock as LunaBlock
from p2ch11.model import LunaModel as LunaModel
from p2ch12.augment import Strengths, augment

AUGMENTATION = Strengths(flip=True, offset=0.1, rotate=True)


class MalignancyModel(LunaModel):
    """`LunaModel` that sees crops of equal millimetres (`p2ch14.resampling`); its weights files carry this name."""


def augment3d(inp):
    """Crops (N, C, D, H, W), each mirrored, shifted and turned at random, on the device where they are.

    Mirrored along each axis with probability 1/2, shifted by up to a tenth of half the edge, turned by any angle
    in the plane of the slices.
    """
    return augment(inp, AUGMENTATION)
