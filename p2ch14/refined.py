"""Refined training data for the networks that the course ships (chapter 14, "Refined training data").

    python -m p2ch14.refined --epochs 40 --augmented --one-cycle

Chapter 13 has no outlines of nodules, so it grows a box and calls what is denser than lung in it a nodule.
That leaves next to nothing of ground glass, and a vessel's share in what hangs on a vessel. Here the truth
is the ball of the annotated diameter: too simple a shape, but its centre is right, and every nodule has one.

And LUNA16 lists findings that a mark may lie on without counting either way: specks, patches of haze,
scars. Many look just like a nodule, so to train on them as "no nodule" is to teach that nodules are none.
"""

import functools

import numpy as np

from p2ch10.dsets import getCandidateInfoDict, getCt
from p2ch13.dsets import (
    Luna2dSegmentationDataset,
    NoduleTruth,
    TrainingLuna2dSegmentationDataset,
    is_annotated,
)
from p2ch13.training import SegmentationTrainingApp
from p2ch14.scoring import irrelevant_findings, is_irrelevant
from util.errors import main_guard

SLICE_SHARE = 0.75  # a ball reaches at least this share of a voxel's edge from its centre, so none is empty


def ball_truth(shape, center_irc, radius_mm, spacing_irc) -> NoduleTruth:
    """The voxels of `shape` (I, R, C) whose centres lie in a ball; at least the one that is nearest.

    center_irc: may be fractional; spacing_irc: mm.
    """
    spacing = np.asarray(spacing_irc, dtype=float)
    center = np.clip(center_irc, 0, np.array(shape) - 1)
    reach = np.maximum(radius_mm, SLICE_SHARE * spacing) / spacing  # voxels
    low = np.maximum(np.ceil(center - reach), 0).astype(int)
    high = np.minimum(np.floor(center + reach), np.array(shape) - 1).astype(int) + 1
    axes = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high))]
    mask = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, center, reach)) <= 1
    return NoduleTruth(tuple(slice(int(a), int(b)) for a, b in zip(low, high)), mask)


@functools.lru_cache(maxsize=4096)
def ball_truths_of(series_uid) -> list[NoduleTruth]:
    """A ball for every annotated nodule of one scan, in the order of `p2ch13.dsets.truths_of`."""
    ct = getCt(series_uid)
    balls = []
    for info in filter(is_annotated, getCandidateInfoDict().get(series_uid, ())):
        offset_mm = np.array(info.center_xyz) - np.array(ct.origin_xyz)
        center_irc = (np.linalg.solve(ct.direction_a, offset_mm) / ct.vxSize_xyz)[::-1]
        balls.append(ball_truth(ct.hu_a.shape, center_irc, info.diameter_mm / 2, ct.vxSize_xyz[::-1]))
    return balls


def without_irrelevant(candidates) -> list:
    """The candidates less those that are no nodule but lie on an irrelevant finding."""
    irrelevant, none = irrelevant_findings(), np.empty((0, 4))
    return [
        candidate
        for candidate in candidates
        if candidate.isNodule_bool
        or not is_irrelevant(candidate.center_xyz, irrelevant.get(candidate.series_uid, none))
    ]


class BallSlices(Luna2dSegmentationDataset):
    """Chapter 13's whole slices with balls for truth."""

    def truths_of(self, series_uid):
        return ball_truths_of(series_uid)


class BallCrops(BallSlices, TrainingLuna2dSegmentationDataset):
    """Chapter 13's crops with balls for truth; background crops leave irrelevant findings out."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.background_list = without_irrelevant(self.background_list)


class RefinedSegmentationTrainingApp(SegmentationTrainingApp):
    """Trains `UNetWrapper` to propose places: balls for truth, and every nodule counts alike.

    Chapter 13's loss adds up pixels over the batch, so that a nodule of 20 mm outweighs twenty of 4 mm. What
    is missed is counted here by crop.
    """

    chapter = "p2ch14"

    def initTrainDl(self):
        dataset = BallCrops(self.cli_args.val_stride, False, samples=self.cli_args.samples)
        return self.make_loader(dataset, shuffle=True)

    def initValDl(self):
        return self.make_loader(BallSlices(self.cli_args.val_stride, True), shuffle=False)

    def missed(self, prediction_g, label_g):
        """Chapter 13's loss within the truth, by crop, of the crops that show a nodule."""
        has_nodule_g = label_g.flatten(1).any(dim=1)
        if not has_nodule_g.any():
            return prediction_g.sum() * 0.0
        prediction_g, label_g = prediction_g[has_nodule_g], label_g[has_nodule_g]
        return self.diceLoss(prediction_g * label_g, label_g).mean()


if __name__ == "__main__":
    main_guard(lambda: RefinedSegmentationTrainingApp().main() and None)
