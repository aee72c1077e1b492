"""Balls as targets for the U-Net that the course ships (chapter 14, "Refined training data").

Chapter 13 has no outlines of nodules, so it grows a box and calls what is denser than lung in it a nodule.
That leaves next to nothing of ground glass, and a vessel's share in what hangs on a vessel. Here the truth
is the ball of the annotated diameter: too simple a shape, but its centre is right, and every nodule has one.
"""

import numpy as np

from p2ch10.ct import open_stored
from p2ch10.dsets import getCandidateInfoDict
from p2ch10.memory import remembered
from p2ch13.dsets import (
    Luna2dSegmentationDataset,
    NoduleTruth,
    TrainingLuna2dSegmentationDataset,
    is_annotated,
)
from p2ch14.shipped.hard_negatives import without_irrelevant

SLICE_SHARE = 0.75  # a ball reaches at least this share of a voxel's edge from its centre, so none is empty


def ball_truth(shape, center_irc, radius_mm, spacing_irc) -> NoduleTruth:
    """The voxels of `shape` (I, R, C) whose centres lie in a ball; at least the one that is nearest.

    center_irc: may be fractional; spacing_irc: mm.
    """
    center = np.clip(center_irc, 0, np.array(shape) - 1)
    reach = reach_of(radius_mm, spacing_irc)
    low = np.maximum(np.ceil(center - reach), 0).astype(int)
    high = np.minimum(np.floor(center + reach), np.array(shape) - 1).astype(int) + 1
    axes = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high))]
    mask = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, center, reach)) <= 1
    return NoduleTruth(tuple(slice(int(a), int(b)) for a, b in zip(low, high)), mask)


def reach_of(radius_mm, spacing_irc):
    """How far a ball of this radius reaches, in voxels along each axis (3,)."""
    spacing = np.asarray(spacing_irc, dtype=float)
    return np.maximum(radius_mm, SLICE_SHARE * spacing) / spacing


@remembered(maxsize=4096)
def ball_truths_of(series_uid) -> list[NoduleTruth]:
    """A ball for every annotated nodule of one scan, in the order of `p2ch13.dsets.truths_of`."""
    geometry = open_stored(series_uid).geometry
    balls = []
    for info in filter(is_annotated, getCandidateInfoDict().get(series_uid, ())):
        center_irc = geometry.xyz2irc_exactly(info.center_xyz)
        balls.append(ball_truth(geometry.shape, center_irc, info.diameter_mm / 2, geometry.spacing_irc))
    return balls


class BallSlices(Luna2dSegmentationDataset):
    """Chapter 13's whole slices with balls for truth."""

    def truths_of(self, series_uid):
        return ball_truths_of(series_uid)


class BallCrops(BallSlices, TrainingLuna2dSegmentationDataset):
    """Chapter 13's crops with balls for truth; background crops leave irrelevant findings out."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.background_list = without_irrelevant(self.background_list)
