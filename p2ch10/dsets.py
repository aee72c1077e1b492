"""Candidate crops as one dataset (chapter 10, "A straightforward dataset implementation").

The lists behind it are in `candidates`, the scans in `ct`; what the book has in `dsets` can be had from here.
"""

import hashlib

import torch
from torch.utils.data import Dataset, Sampler

from p2ch10.candidates import CandidateInfoTuple, getCandidateInfoList
from p2ch10.candidates import getCandidateInfoDict as getCandidateInfoDict
from p2ch10.ct import CROP_IRC, getCtRawCandidate
from p2ch10.ct import Ct as Ct
from p2ch10.ct import crop_window as crop_window
from p2ch10.ct import getCt as getCt
from p2ch10.ct import is_series_uid as is_series_uid
from p2ch10.ct import scan_paths as scan_paths
from p2ch10.memory import forget as forget
from p2ch10.memory import memory as memory
from util.util import IrcTuple as IrcTuple
from util.util import XyzTuple as XyzTuple
from util.util import irc2xyz as irc2xyz
from util.util import xyz2irc as xyz2irc


def is_held_out(series_uid, val_stride) -> bool:
    """Is this scan in the validation set? One in `val_stride` is, by a hash of its UID.

    By scan, so that none is on both sides, and independent of which other scans are there.
    """
    digest = hashlib.sha256(series_uid.encode()).digest()
    return val_stride > 0 and int.from_bytes(digest[:8], "big") % val_stride == 0


class LunaDataset(Dataset):
    """Candidate crops with their labels (chapter 10, "Constructing our dataset").

    val_stride, isValSet_bool: hold out every `val_stride`-th scan; True for those, False for the
    others, None for all. series_uid: only this scan. sortby_str: "random" (seeded), "series_uid" or
    "label_and_size". candidateInfo_list: use these instead. Raises `ValueError` for a split without a
    positive `val_stride`, and for another `sortby_str`.

    An item: (crop float32 (1, 32, 48, 48) in HU, label int64 (2,) as [not nodule, nodule], series UID,
    centre int64 (3,) as index, row, column).
    """

    def __init__(
        self,
        val_stride=0,
        isValSet_bool=None,
        series_uid=None,
        sortby_str="random",
        candidateInfo_list=None,
    ):
        infos = getCandidateInfoList() if candidateInfo_list is None else list(candidateInfo_list)
        if series_uid:
            infos = [info for info in infos if info.series_uid == series_uid]
        if isValSet_bool is not None:
            if val_stride <= 0:
                raise ValueError(f"val_stride must be positive to split, not {val_stride}")
            infos = [info for info in infos if is_held_out(info.series_uid, val_stride) == isValSet_bool]
        self.candidateInfo_list = _sorted(infos, sortby_str)
        self.pos_list = [info for info in self.candidateInfo_list if info.isNodule_bool]
        self.negative_list = [info for info in self.candidateInfo_list if not info.isNodule_bool]

    def __len__(self):
        return len(self.candidateInfo_list)

    def candidate_at(self, ndx) -> CandidateInfoTuple:
        """The candidate behind item `ndx`; a variant chooses in another way (chapters 12 and 14)."""
        return self.candidateInfo_list[ndx]

    def __getitem__(self, ndx):
        return self.__getitems__([ndx])[0]

    def __getitems__(self, indices):
        """The items of a whole batch (a `DataLoader` asks for them together).

        The crops share one float32 tensor (N, 1, 32, 48, 48) and are converted straight into it.
        """
        crops_t = torch.empty(len(indices), 1, *CROP_IRC)
        crops = crops_t.numpy()
        items = []
        for place, ndx in enumerate(indices):
            info = self.candidate_at(ndx)
            crops[place, 0], center_irc = getCtRawCandidate(info.series_uid, info.center_xyz, CROP_IRC)
            label_t = _LABELS[int(info.isNodule_bool)].clone()
            items.append((crops_t[place], label_t, info.series_uid, torch.tensor(center_irc)))
        return items


# [not nodule, nodule]
_LABELS = torch.tensor([[1, 0], [0, 1]])


def _sorted(infos, sortby_str):
    if sortby_str == "random":
        order = torch.randperm(len(infos), generator=torch.Generator().manual_seed(0)).tolist()
        return [infos[i] for i in order]
    if sortby_str == "series_uid":
        return sorted(infos, key=lambda info: (info.series_uid, info.center_xyz))
    if sortby_str == "label_and_size":
        return sorted(infos, reverse=True)
    raise ValueError(f"sortby_str is '{sortby_str}'; use 'random', 'series_uid' or 'label_and_size'")


class ScanGroupSampler(Sampler):
    """A random order that visits scans in groups, so that a group's crops come while it is in memory.

    Scans are shuffled and taken `scans_at_once` at a time; the candidates of a group are shuffled
    together. Every index comes once per pass; with all scans in one group it is a plain shuffle.
    """

    def __init__(self, series_of_items, scans_at_once=16, generator=None):
        self.groups = {}
        for index, series_uid in enumerate(series_of_items):
            self.groups.setdefault(series_uid, []).append(index)
        self.scans_at_once = scans_at_once
        self.generator = generator
        self.count = len(series_of_items)

    def __len__(self):
        return self.count

    def __iter__(self):
        scans = list(self.groups.values())
        order = torch.randperm(len(scans), generator=self.generator).tolist()
        for start in range(0, len(order), self.scans_at_once):
            pool = [index for scan in order[start : start + self.scans_at_once] for index in scans[scan]]
            for place in torch.randperm(len(pool), generator=self.generator).tolist():
                yield pool[place]
