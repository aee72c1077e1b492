"""Chapter 10's dataset with balance and augmentation (chapter 12).

What the chapter does not change can be had from here, as in the book.
"""

import numpy as np
import torch

from p2ch10 import dsets
from p2ch10.ct import CROP_IRC, scan_shape
from p2ch10.dsets import CandidateInfoTuple as CandidateInfoTuple
from p2ch10.dsets import Ct as Ct
from p2ch10.dsets import getCandidateInfoDict as getCandidateInfoDict
from p2ch10.dsets import getCandidateInfoList as getCandidateInfoList
from p2ch10.dsets import getCt, getCtRawCandidate
from p2ch12.augment import Strengths, augment
from util.errors import UserError


class LunaDataset(dsets.LunaDataset):
    """Chapter 10's `LunaDataset` that can be balanced, and augment what it gives.

    ratio_int: 0 takes candidates as they come; r > 0 gives r others for each nodule, drawn in order and
    repeated as needed; an epoch then has every other once, or `least_length` items (an attribute) where that
    is more. augmentation_dict: "flip" and "rotate" (bool),
    "offset" and "scale" (shares), "noise" (HU), as in `p2ch12.augment.Strengths`; the training augments on
    the device instead, which is faster, and sets `patch_irc` (an attribute), the edges of the patches that it
    gets instead of crops. The rest as in chapter 10. Raises `UserError` where balancing lacks
    a class, `ValueError` for a negative ratio or another augmentation.

    Items as in chapter 10, with crops (1, *patch_irc) where that is set.
    """

    def __init__(
        self,
        val_stride=0,
        isValSet_bool=None,
        series_uid=None,
        sortby_str="random",
        ratio_int=0,
        augmentation_dict=None,
        candidateInfo_list=None,
    ):
        super().__init__(val_stride, isValSet_bool, series_uid, sortby_str, candidateInfo_list)
        if ratio_int < 0:
            raise ValueError(f"ratio_int is {ratio_int}; give 0 or the number of others for each nodule")
        self.ratio_int = ratio_int
        self.augmentation_dict = augmentation_dict or {}
        self.strengths = strengths_of(self.augmentation_dict)
        self.least_length = 0
        self.patch_irc = None
        self._first_order = {}
        if ratio_int and not (self.pos_list and self.negative_list):
            raise UserError(
                f"balancing needs both classes, but this split has {len(self.pos_list)} nodules and "
                f"{len(self.negative_list)} others; use more scans or another --val-stride"
            )

    def shuffleSamples(self, generator=None):
        """Draw a new order of the candidates behind a balanced dataset; call it once per epoch.

        An epoch may show only some of the many others; without new orders they would always be the same.
        The order depends on `generator` alone, not on earlier orders, so that a resumed training agrees.
        """
        if self.ratio_int:
            self._reorder(self.negative_list, generator)
            self._reorder(self.pos_list, generator)

    def _reorder(self, infos, generator):
        first = self._first_order.setdefault(id(infos), tuple(infos))
        infos[:] = [first[i] for i in torch.randperm(len(infos), generator=generator).tolist()]

    def __len__(self):
        if self.ratio_int:
            turns = -(-len(self.negative_list) // self.ratio_int)
            return max((self.ratio_int + 1) * turns, self.least_length)
        return len(self.candidateInfo_list)

    def candidate_at(self, ndx) -> CandidateInfoTuple:
        """The candidate behind item `ndx`: every (ratio + 1)-th is a nodule when balanced."""
        if not self.ratio_int:
            return super().candidate_at(ndx)
        turn, place = divmod(ndx, self.ratio_int + 1)
        if place == 0:
            return self.pos_list[turn % len(self.pos_list)]
        return self.negative_list[(turn * self.ratio_int + place - 1) % len(self.negative_list)]

    def __getitems__(self, indices):
        """The items of a whole batch, augmented together where that is asked for."""
        patch_irc = self.strengths.patch(CROP_IRC) if self.augmentation_dict else self.patch_irc
        if patch_irc is None:
            return super().__getitems__(indices)
        infos = [self.candidate_at(ndx) for ndx in indices]
        patches, centers = zip(*(getCtPatch(i.series_uid, i.center_xyz, CROP_IRC, patch_irc) for i in infos))
        crops_t = torch.from_numpy(np.stack(patches)).float()[:, None]  # (N, 1, *patch_irc)
        if self.augmentation_dict:
            crops_t = augment(crops_t, self.strengths, size=CROP_IRC)
        return [
            (
                crop_t,
                torch.tensor([1 - info.isNodule_bool, int(info.isNodule_bool)]),
                info.series_uid,
                center_t,
            )
            for crop_t, info, center_t in zip(crops_t, infos, torch.tensor(centers))
        ]


def strengths_of(augmentation_dict) -> Strengths:
    """The book's dictionary of augmentations as `Strengths`. Raises `ValueError` for a name it does not know."""
    try:
        return Strengths(**augmentation_dict)
    except TypeError as error:
        raise ValueError(
            f"an augmentation of {sorted(augmentation_dict)} is unknown; use flip, offset, scale, rotate, noise"
        ) from error


def getCtPatch(series_uid, center_xyz, width_irc, patch_irc):
    """The crop `getCtRawCandidate` gives, with what surrounds it: (int16 array (*patch_irc), centre as IrcTuple).

    patch_irc: at least `width_irc`, and larger by even numbers; the crop lies in the patch's middle. Where the
    patch leaves the scan, the scan is mirrored at its border.
    """
    patch, center_irc = getCtRawCandidate(series_uid, center_xyz, patch_irc)
    # Short scans come padded.
    shape = [max(size, wide) for size, wide in zip(scan_shape(series_uid), patch_irc)]
    for axis, (center, width, wide, size) in enumerate(zip(center_irc, width_irc, patch_irc, shape)):
        crop_start = min(max(center - width // 2, 0), size - width)
        patch_start = min(max(center - wide // 2, 0), size - wide)
        wanted = np.arange(wide) + (crop_start - (wide - width) // 2 - patch_start)
        if wanted[0]:
            patch = patch.take(_mirrored(wanted, wide), axis)
    return patch, center_irc


def _mirrored(places, count):
    """`places` (whole numbers) with those outside of 0 to count - 1 reflected at the outermost voxels."""
    period = max(2 * (count - 1), 1)
    places = np.abs(places) % period
    return np.minimum(places, period - places)


def getCtAugmentedCandidate(augmentation_dict, series_uid, center_xyz, width_irc, use_cache=True):
    """A random variant of one candidate's crop: (float32 tensor (1, *width_irc) in HU, centre as IrcTuple).

    augmentation_dict: as for `LunaDataset`. use_cache: False has the whole scan in memory, True the fastest way.
    """
    strengths = strengths_of(augmentation_dict)
    if not use_cache:
        getCt(series_uid)
    patch, center_irc = getCtPatch(series_uid, center_xyz, width_irc, strengths.patch(width_irc))
    patch_t = torch.from_numpy(patch).float()[None]  # (1, D, H, W)
    return augment(patch_t[None], strengths, size=width_irc)[0], center_irc
