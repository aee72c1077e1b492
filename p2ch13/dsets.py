"""Slices and their ground truth for the U-Net (chapter 13, "Updating the dataset for segmentation").

LUNA16 gives a centre and a diameter per nodule, no outline. `nodule_box` grows a box from the
centre until it meets air, and within that box everything denser than lung counts as nodule.
"""

import functools
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from p2ch10 import dsets
from p2ch10.dsets import CandidateInfoTuple as CandidateInfoTuple
from p2ch10.dsets import getCandidateInfoDict, getCandidateInfoList, is_held_out
from p2ch10.dsets import getCtRawCandidate as getCtRawCandidate
from p2ch10.memory import remembered
from util.errors import UserError

LUNG_HU = -700  # denser than this is not lung
CONTEXT_SLICES = 3

MaskTuple = namedtuple(
    "MaskTuple",
    [
        "raw_dense_mask",
        "dense_mask",
        "body_mask",
        "air_mask",
        "raw_candidate_mask",
        "candidate_mask",
        "lung_mask",
        "neg_mask",
        "pos_mask",
    ],
)
MaskTuple.__doc__ = (
    """What a slice consists of, as bool masks (H, W); `p2ch13.vis.build2dLungMask` makes them."""
)


@dataclass(frozen=True)
class NoduleTruth:
    """The annotated voxels of one nodule: `mask` (bool) lies at `box` (three slices, I, R, C)."""

    box: tuple[slice, slice, slice]
    mask: np.ndarray


def nodule_box(hu, center_irc, threshold_hu=LUNG_HU):
    """Three slices: the box that grows from `center_irc` until both ends of an axis meet lung.

    hu: (I, R, C) int16. The box is symmetric about the centre as the chapter has it, stops at the
    volume's edge, and holds the centre at least, so it is never empty.
    """
    box = []
    for axis, (middle, size) in enumerate(zip(center_irc, hu.shape)):
        line = np.moveaxis(hu, axis, 0)[(slice(None), *(c for a, c in enumerate(center_irc) if a != axis))]
        reach = min(middle, size - 1 - middle)
        radius = 0
        # One end in lung is enough to stop: a nodule on a vessel or the chest wall is dense on one side.
        while (
            radius < reach
            and line[middle - radius - 1] > threshold_hu
            and line[middle + radius + 1] > threshold_hu
        ):
            radius += 1
        box.append(slice(middle - radius, middle + radius + 1))
    return tuple(box)


def nodule_truth(hu, center_irc, threshold_hu=LUNG_HU) -> NoduleTruth:
    """The annotated voxels around `center_irc`, which is moved into the volume if it lies outside."""
    center = tuple(int(np.clip(c, 0, size - 1)) for c, size in zip(center_irc, hu.shape))
    box = nodule_box(hu, center, threshold_hu)
    mask = hu[box] > threshold_hu
    mask[tuple(c - part.start for c, part in zip(center, box))] = True
    return NoduleTruth(box, mask)


def truths_of(series_uid) -> list[NoduleTruth]:
    """The ground truth of every annotated nodule of one scan; computed once, a few KB each."""
    candidates = getCandidateInfoDict().get(series_uid, ())
    return _truths(series_uid, tuple(c.center_xyz for c in candidates if is_annotated(c)))


@remembered(maxsize=4096)
def _truths(series_uid, centers_xyz):
    ct = getCt(series_uid)
    return [nodule_truth(ct.hu_a, ct.geometry.xyz2irc(center_xyz)) for center_xyz in centers_xyz]


class Ct(dsets.Ct):
    """Chapter 10's scan that also knows which of its voxels are annotated nodules.

    positiveInfo_list: its annotated nodules. positive_mask: bool, of the shape of `hu_a`.
    positive_indexes: the slices with any of it.
    """

    @property
    def positiveInfo_list(self):
        """The scan's annotated nodules, as `CandidateInfoTuple`s."""
        return list(filter(is_annotated, getCandidateInfoDict().get(self.series_uid, ())))

    def buildAnnotationMask(self, positiveInfo_list, threshold_hu=LUNG_HU) -> np.ndarray:
        """The voxels of these nodules, bool, of the shape of `hu_a`: see `nodule_truth`."""
        mask = np.zeros(self.hu_a.shape, dtype=bool)
        for info in positiveInfo_list:
            truth = nodule_truth(self.hu_a, self.geometry.xyz2irc(info.center_xyz), threshold_hu)
            mask[truth.box] |= truth.mask
        return mask

    @functools.cached_property
    def positive_mask(self) -> np.ndarray:
        """The voxels of all of them, bool."""
        return self.buildAnnotationMask(self.positiveInfo_list)

    @functools.cached_property
    def positive_indexes(self) -> list[int]:
        """The slices with any of them."""
        return np.flatnonzero(self.positive_mask.any(axis=(1, 2))).tolist()


def getCt(series_uid) -> Ct:
    """The scan with this series UID, with chapter 13's additions; its voxels are kept in memory once."""
    ct = Ct.__new__(Ct)
    vars(ct).update(vars(dsets.getCt(series_uid)))
    return ct


def getCtSampleSize(series_uid):
    """(number of slices, indices of those with an annotated nodule) of one scan."""
    return len(getCt(series_uid).hu_a), _slices_of(truths_of(series_uid))


def _slices_of(truths) -> list[int]:
    """The indices of the slices that any of these nodules covers."""
    return sorted({i for truth in truths for i in range(truth.box[0].start, truth.box[0].stop)})


def is_annotated(candidate) -> bool:
    """Is this candidate a nodule with a centre and a diameter of its own in the annotations?"""
    return candidate.isNodule_bool and candidate.hasAnnotation_bool


def nodules_by_series():
    """{series UID: its annotated nodules, as CandidateInfoTuple}, in the order of `truths_of`."""
    by_series = {
        uid: list(filter(is_annotated, candidates)) for uid, candidates in getCandidateInfoDict().items()
    }
    return {uid: nodules for uid, nodules in by_series.items() if nodules}


def truth_of_slice(truths, slice_ndx, shape) -> np.ndarray:
    """The truth of one slice, bool (H, W)."""
    label = np.zeros(shape, dtype=bool)
    for truth in truths:
        index, rows, columns = truth.box
        if index.start <= slice_ndx < index.stop:
            label[rows, columns] |= truth.mask[slice_ndx - index.start]
    return label


def slices_with_context(hu, slice_ndx, context=CONTEXT_SLICES) -> np.ndarray:
    """(2·context + 1, H, W): the slice in the middle of its neighbours; edge slices repeat."""
    wanted = np.clip(np.arange(slice_ndx - context, slice_ndx + context + 1), 0, len(hu) - 1)
    return hu[wanted]


def _pick(count) -> int:
    return int(torch.randint(count, ()))


class Luna2dSegmentationDataset(Dataset):
    """Whole slices with their truth, for validation (chapter 13).

    val_stride, isValSet_bool, series_uid: which scans, as in chapter 10's `LunaDataset`.
    contextSlices_count: neighbours on each side. fullCt_bool: every slice of a scan, else only those with a
    nodule. Raises `ValueError` for a split without a positive `val_stride`.

    Items: (slice with context (2·contextSlices_count + 1, H, W) float32 HU, truth (1, H, W) bool,
    series_uid, slice index).
    """

    def __init__(
        self,
        val_stride=0,
        isValSet_bool=None,
        series_uid=None,
        contextSlices_count=CONTEXT_SLICES,
        fullCt_bool=False,
    ):
        if isValSet_bool is not None and val_stride <= 0:
            raise ValueError(f"val_stride must be positive to split, not {val_stride}")
        series = [series_uid] if series_uid else sorted({c.series_uid for c in getCandidateInfoList()})
        if isValSet_bool is not None:
            series = [uid for uid in series if is_held_out(uid, val_stride) == isValSet_bool]
        self.series_list = series
        self.contextSlices_count = contextSlices_count
        self.fullCt_bool = fullCt_bool

    def truths_of(self, series_uid) -> list[NoduleTruth]:
        """The truth of every annotated nodule of one scan; a variant overrides this (chapter 14)."""
        return truths_of(series_uid)

    @functools.cached_property
    def sample_list(self):
        """[(series UID, slice index)]; the first use reads every chosen scan once, to grow its boxes."""
        samples = []
        for uid in self.series_list:
            indices = range(len(getCt(uid).hu_a)) if self.fullCt_bool else _slices_of(self.truths_of(uid))
            samples += [(uid, index) for index in indices]
        return samples

    def __len__(self):
        return len(self.sample_list)

    def __getitem__(self, ndx):
        return self.getitem_fullSlice(*self.sample_list[ndx])

    def getitem_fullSlice(self, series_uid, slice_ndx):
        """The item of one slice of one scan, whole."""
        hu = getCt(series_uid).hu_a
        slices = slices_with_context(hu, slice_ndx, self.contextSlices_count).astype(np.float32)
        label = truth_of_slice(self.truths_of(series_uid), slice_ndx, hu.shape[1:])
        return torch.from_numpy(slices), torch.from_numpy(label)[None], series_uid, slice_ndx


class TrainingLuna2dSegmentationDataset(Luna2dSegmentationDataset):
    """Crops of 64×64 at a random offset within 96×96 around a nodule (chapter 13).

    Arguments and items as in `Luna2dSegmentationDataset`, with H = W = 64. An epoch has `samples` items. The
    slice is drawn from those that the nodule's box covers. Every other crop lies elsewhere, around a
    candidate that is no nodule or anywhere, so that the network also sees what it must leave alone.
    """

    def __init__(
        self,
        val_stride=0,
        isValSet_bool=None,
        series_uid=None,
        contextSlices_count=CONTEXT_SLICES,
        *,
        samples=1600,
        crop=64,
        around=96,
    ):
        super().__init__(val_stride, isValSet_bool, series_uid, contextSlices_count)
        self.samples, self.crop, self.around = samples, crop, around
        chosen = set(self.series_list)
        candidates = [c for c in getCandidateInfoList() if c.series_uid in chosen]
        self.background_list = [c for c in candidates if not c.isNodule_bool]
        # Places only; a nodule's box is grown when it is first drawn, so that no epoch waits for all scans.
        nodules = nodules_by_series()
        self.nodule_list = [(uid, n) for uid in self.series_list for n in range(len(nodules.get(uid, ())))]

    def __len__(self):
        return self.samples if self.nodule_list else 0

    def shuffleSamples(self):
        """The book's loop calls this once per epoch. Here each crop is drawn anew, so no order needs shuffling."""

    def _nodule(self):
        """(series UID, centre) of a random slice through a random nodule."""
        series_uid, number = self.nodule_list[_pick(len(self.nodule_list))]
        index, rows, columns = self.truths_of(series_uid)[number].box
        middle = ((rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2)
        return series_uid, (index.start + _pick(index.stop - index.start), *middle)

    def _elsewhere(self):
        """(series UID, centre) of a random candidate that is no nodule, or of any place in the body."""
        if self.background_list and _pick(2):
            candidate = self.background_list[_pick(len(self.background_list))]
            return candidate.series_uid, getCt(candidate.series_uid).geometry.xyz2irc(candidate.center_xyz)
        series_uid = self.series_list[_pick(len(self.series_list))]
        return series_uid, tuple(_pick(size) for size in getCt(series_uid).hu_a.shape)

    def __getitem__(self, ndx):
        # torch's generator is seeded per epoch and per worker, so this is random and repeatable.
        return self._crop_around(*(self._nodule, self._elsewhere)[ndx % 2]())

    def getitem_trainingCrop(self, candidateInfo_tup):
        """A crop at a random offset around this candidate, in the slice of its centre."""
        ct = getCt(candidateInfo_tup.series_uid)
        center = ct.geometry.xyz2irc(candidateInfo_tup.center_xyz)
        return self._crop_around(candidateInfo_tup.series_uid, center)

    def _crop_around(self, series_uid, center):
        """The item of a crop around `center` (index, row, column), moved into the scan where it would stick out."""
        hu = getCt(series_uid).hu_a
        slice_ndx = int(np.clip(center[0], 0, len(hu) - 1))
        room = self.around - self.crop
        corner = []
        for middle, size in zip(center[1:], hu.shape[1:]):
            start = middle - self.around // 2 + _pick(room + 1)
            corner.append(int(np.clip(start, 0, size - self.crop)))
        window = tuple(slice(start, start + self.crop) for start in corner)
        slices = slices_with_context(hu, slice_ndx, self.contextSlices_count)
        label = truth_of_slice(self.truths_of(series_uid), slice_ndx, hu.shape[1:])[window]
        crop = slices[(slice(None), *window)].astype(np.float32)
        return torch.from_numpy(crop), torch.from_numpy(label.copy())[None], series_uid, slice_ndx


class PrepcacheLunaDataset(Dataset):
    """One item per scan; asking for it stores the scan and grows its nodules' boxes, ready for training.

    Items: (series UID, number of slices).
    """

    def __init__(self):
        self.series_list = sorted(dsets.scan_paths())

    def __len__(self):
        return len(self.series_list)

    def __getitem__(self, ndx):
        series_uid = self.series_list[ndx]
        return series_uid, getCtSampleSize(series_uid)[0]


class TvTrainingLuna2dSegmentationDataset(Dataset):
    """The book's dataset of crops cut beforehand, whose file was never published: raises `UserError`."""

    def __init__(self, isValSet_bool=False, val_stride=10, contextSlices_count=CONTEXT_SLICES):
        split = "Luna2dSegmentationDataset" if isValSet_bool else "TrainingLuna2dSegmentationDataset"
        raise UserError(
            "TvTrainingLuna2dSegmentationDataset reads crops from a file that nobody but the book's authors "
            f"has; use {split}(val_stride={val_stride}, isValSet_bool={isValSet_bool}, "
            f"contextSlices_count={contextSlices_count}), which cuts them as it goes"
        )
