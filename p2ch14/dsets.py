"""Malignant or benign? The nodules as a dataset of their own (chapter 14, "Getting malignancy information")."""

import functools

import numpy as np
import torch
from torch.nn import functional as F

from p2ch10.ct import CROP_IRC, getCtRawCandidate, open_stored
from p2ch12.dsets import LunaDataset
from util.errors import UserError

SPACING_IRC = (1.25, 0.7, 0.7)  # mm per voxel of a scaled crop, about the middle of LUNA16's scans

# [benign, malignant]
_LABELS = torch.tensor([[1, 0], [0, 1]])


def scaled_crop(cut, spacing_irc, size_irc=CROP_IRC):
    """A crop float32 of `size_irc` whose voxels are `SPACING_IRC` mm, whatever the scan's are.

    In a raw crop a nodule of 5 mm in one scan looks as large as one of 10 mm in another, and size tells
    more about malignancy than anything else. cut: takes a width in voxels (index, row, column), answers
    that crop of the scan; spacing_irc: the scan's voxels, mm.
    """
    width = [max(round(n * to / own), 1) for n, to, own in zip(size_irc, SPACING_IRC, spacing_irc)]
    raw_t = torch.from_numpy(cut(width).astype(np.float32))[None, None]
    return F.interpolate(raw_t, size=size_irc, mode="trilinear", align_corners=False)[0, 0]


def scaled_candidate(info, size_irc=CROP_IRC):
    """The scaled crop around one candidate of the LUNA data, and its centre as IrcTuple."""
    center_irc = None

    def cut(width):
        nonlocal center_irc
        crop, center_irc = getCtRawCandidate(info.series_uid, info.center_xyz, tuple(width))
        return crop

    return scaled_crop(cut, _spacing_irc(info.series_uid), size_irc), center_irc


@functools.lru_cache(maxsize=4096)
def _spacing_irc(series_uid):
    return tuple(open_stored(series_uid).spacing_xyz)[::-1]


class MalignantLunaDataset(LunaDataset):
    """Crops of annotated nodules, labelled benign or malignant.

    Malignant means that two or more readers rated the nodule 4 or 5 of 5. Arguments as for
    `LunaDataset`, where `ratio_int=0` gives each annotated nodule once, for validation. With
    `ratio_int=1`, for training, every other item is a malignant nodule, and the rest are by turns
    benign nodules and candidates that are no nodules, whose label is "benign" too. scaled: crops have
    `SPACING_IRC` (see `scaled_crop`); else they are the scan's own voxels, as the classifier sees them.

    An item: (crop float32 (1, 32, 48, 48) in HU, label int64 (2,) as [benign, malignant], series UID,
    centre int64 (3,) as index, row, column). Raises `UserError` where balancing lacks a class.
    """

    def __init__(self, *args, ratio_int=0, scaled=True, **kwargs):
        super().__init__(*args, **kwargs)
        self.scaled = scaled
        self.ratio_int = ratio_int
        annotated = [info for info in self.candidateInfo_list if info.hasAnnotation_bool]
        self.mal_list = [info for info in annotated if info.isMal_bool]
        self.ben_list = [info for info in annotated if not info.isMal_bool]
        # Without balance the dataset is the annotated nodules, in the order that was asked for.
        self.candidateInfo_list = annotated
        if ratio_int and not (self.mal_list and self.ben_list and self.negative_list):
            raise UserError(
                f"balancing needs every class, but this split has {len(self.mal_list)} malignant and "
                f"{len(self.ben_list)} benign nodules and {len(self.negative_list)} candidates that are none; "
                "use more scans, another --val-stride, or lists with malignancy"
            )

    def __len__(self):
        if self.ratio_int:
            # Long enough that an epoch holds every annotated nodule at least once.
            return max(2 * len(self.mal_list), 4 * len(self.ben_list))
        return len(self.candidateInfo_list)

    def candidate_at(self, ndx):
        """The candidate behind item `ndx`; balanced: malignant, benign, malignant, no nodule, and again."""
        if not self.ratio_int:
            return self.candidateInfo_list[ndx]
        turn, place = divmod(ndx, 4)
        if place % 2 == 0:
            return self.mal_list[(ndx // 2) % len(self.mal_list)]
        infos = self.ben_list if place == 1 else self.negative_list
        return infos[turn % len(infos)]

    def shuffleSamples(self, generator=None):
        """Draw a new order of the candidates behind a balanced dataset; call it once per epoch."""
        super().shuffleSamples(generator)
        if self.ratio_int:
            self._reorder(self.mal_list, generator)
            self._reorder(self.ben_list, generator)

    def __getitems__(self, indices):
        """The items of a whole batch, with this task's label in place of chapter 10's."""
        if not self.scaled:
            return [
                (crop_t, self.label_at(ndx), series_uid, center_t)
                for ndx, (crop_t, _, series_uid, center_t) in zip(indices, super().__getitems__(indices))
            ]
        return [self._scaled_item(ndx) for ndx in indices]

    def label_at(self, ndx):
        return _LABELS[int(self.candidate_at(ndx).isMal_bool)].clone()

    def _scaled_item(self, ndx):
        info = self.candidate_at(ndx)
        crop_t, center_irc = scaled_candidate(info)
        return crop_t[None], self.label_at(ndx), info.series_uid, torch.tensor(center_irc)
