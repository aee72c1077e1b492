"""Malignant or benign? The nodules as a dataset of their own (chapter 14, "Getting malignancy information").

What the chapter does not change can be had from here, as in the book.
"""

import torch

from p2ch10.ct import CROP_IRC
from p2ch10.ct import getCtRawCandidate as getCtRawCandidate
from p2ch10.dsets import CandidateInfoTuple as CandidateInfoTuple
from p2ch10.dsets import getCandidateInfoDict as getCandidateInfoDict
from p2ch10.dsets import getCandidateInfoList, is_held_out
from p2ch12 import dsets
from p2ch12.augment import augment
from p2ch12.dsets import getCtAugmentedCandidate as getCtAugmentedCandidate
from p2ch13.dsets import Ct as Ct
from p2ch13.dsets import MaskTuple as MaskTuple
from p2ch13.dsets import getCt as getCt
from p2ch13.dsets import getCtSampleSize as getCtSampleSize
from p2ch14.resampling import resampled_candidate
from util.errors import UserError

# [no, yes]: [not nodule, nodule], or [benign, malignant]
_LABELS = torch.tensor([[1, 0], [0, 1]])


def series_of(val_stride, held_out=True) -> list[str]:
    """Series UIDs of the scans on disk that training with `--val-stride` left aside, or of the others."""
    series = sorted({candidate.series_uid for candidate in getCandidateInfoList()})
    return [uid for uid in series if is_held_out(uid, val_stride) == held_out]


class LunaDataset(dsets.LunaDataset):
    """Chapter 12's `LunaDataset`, which can also be asked for one candidate's item."""

    def sampleFromCandidateInfo_tup(self, candidateInfo_tup, label_bool):
        """The item of this candidate, as the dataset gives them, but labelled `label_bool`."""
        crop_t, center_irc = self.crop_at(candidateInfo_tup)
        return (
            crop_t,
            _LABELS[int(label_bool)].clone(),
            candidateInfo_tup.series_uid,
            torch.tensor(center_irc),
        )

    def crop_at(self, info):
        """(crop (1, 32, 48, 48) float32 HU, augmented as asked; its centre as IrcTuple)."""
        if self.augmentation_dict:
            return getCtAugmentedCandidate(self.augmentation_dict, info.series_uid, info.center_xyz, CROP_IRC)
        crop, center_irc = getCtRawCandidate(info.series_uid, info.center_xyz, CROP_IRC)
        return torch.from_numpy(crop).float()[None], center_irc


class MalignantLunaDataset(LunaDataset):
    """Crops of annotated nodules, labelled benign or malignant.

    Malignant means that two or more readers rated the nodule 4 or 5 of 5. Arguments as for
    `LunaDataset`, where `ratio_int=0` gives each annotated nodule once, for validation. With
    `ratio_int=1`, for training, every other item is a malignant nodule, and the rest are by turns
    benign nodules and candidates that are no nodules, whose label is "benign" too. resampled: crops have
    voxels of equal millimetres (see `resampling`); else the scan's own, as the classifier sees them.

    An item: (crop float32 (1, 32, 48, 48) in HU, label int64 (2,) as [benign, malignant], series UID,
    centre int64 (3,) as index, row, column). Raises `UserError` where balancing lacks a class.
    """

    def __init__(self, *args, ratio_int=0, resampled=True, **kwargs):
        super().__init__(*args, **kwargs)
        self.resampled = resampled
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
        infos = map(self.candidate_at, indices)
        return [self.sampleFromCandidateInfo_tup(info, info.isMal_bool) for info in infos]

    def crop_at(self, info):
        if not self.resampled:
            return super().crop_at(info)
        crop_t, center_irc = resampled_candidate(info)
        return augment(crop_t[None, None], self.strengths)[0], center_irc
