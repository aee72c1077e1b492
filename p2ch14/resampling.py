"""Crops whose voxels are the same millimetres, whatever the scan's are (chapter 14, "Predicting malignancy")."""

import numpy as np
import torch
from torch.nn import functional as F

from p2ch10.ct import CROP_IRC, getCtRawCandidate, open_stored
from p2ch10.memory import remembered
from p2ch12.dsets import getCtPatch

SPACING_IRC = (1.25, 0.7, 0.7)  # mm per voxel of a resampled crop, about the middle of LUNA16's scans


def resampled_crop(cut, spacing_irc, size_irc=CROP_IRC, extent=1.0):
    """A crop, float32 of `size_irc` in HU, whose voxels are `SPACING_IRC` mm.

    In a raw crop a nodule of 5 mm in one scan looks as large as one of 10 mm in another, and size tells
    more about malignancy than anything else. cut: takes a width in voxels (index, row, column), answers
    that crop of the scan; spacing_irc: the scan's voxels, mm. extent: so many times as many millimetres across,
    in as many voxels: things look smaller from farther away.
    """
    return _resampled(cut(voxels_across(size_irc, spacing_irc, extent)), size_irc)


def _resampled(raw, size_irc):
    raw_t = torch.from_numpy(raw.astype(np.float32))[None, None]
    return F.interpolate(raw_t, size=tuple(size_irc), mode="trilinear", align_corners=False)[0, 0]


def voxels_across(size_irc, spacing_irc, extent=1.0) -> list[int]:
    """How many of a scan's voxels (`spacing_irc` mm) a resampled crop of `size_irc` spans along each axis.

    extent: as for `resampled_crop`.
    """
    return [max(round(n * to / (own / extent)), 1) for n, to, own in zip(size_irc, SPACING_IRC, spacing_irc)]


def resampled_patch(info, size_irc, patch_irc):
    """`resampled_candidate`'s crop of `size_irc` with what surrounds it, float32 `patch_irc`, and its centre.

    patch_irc: at least `size_irc`. The crop lies in the patch's middle; where the patch leaves the scan, the scan
    is mirrored. An augmentation that turns and shifts the patch and then cuts the crop out of it smears no border.
    """
    spacing_irc = _spacing_irc(info.series_uid)
    width = voxels_across(size_irc, spacing_irc)
    beyond = [
        round((large - small) / 2 * to / own)
        for small, large, to, own in zip(size_irc, patch_irc, SPACING_IRC, spacing_irc)
    ]
    wide = tuple(w + 2 * b for w, b in zip(width, beyond))
    raw, center_irc = getCtPatch(info.series_uid, info.center_xyz, tuple(width), wide)
    return _resampled(raw, patch_irc), center_irc


def resampled_candidate(info, size_irc=CROP_IRC):
    """The resampled crop around one candidate of the LUNA data, and its centre as IrcTuple."""
    center_irc = None

    def cut(width):
        nonlocal center_irc
        crop, center_irc = getCtRawCandidate(info.series_uid, info.center_xyz, tuple(width))
        return crop

    return resampled_crop(cut, _spacing_irc(info.series_uid), size_irc), center_irc


@remembered(maxsize=4096)
def _spacing_irc(series_uid):
    return open_stored(series_uid).geometry.spacing_irc
