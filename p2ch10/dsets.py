"""LUNA's lists, patient coordinates, scans and candidate crops as one dataset (chapter 10)."""

import csv
import functools
import hashlib
import math
import threading
import warnings
from collections import OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch.utils.data import Dataset, Sampler

from p2ch09 import luna
from p2ch10.scans import read_volume
from p2ch10.store import ScanStore, gigabytes
from util.errors import UserError
from util.paths import shown
from util.util import IrcTuple, XyzTuple, xyz2irc
from util.util import irc2xyz as irc2xyz  # chapter 10 teaches it; readers import it from here

CROP_IRC = (32, 48, 48)

CandidateInfoTuple = namedtuple(
    "CandidateInfoTuple",
    ["isNodule_bool", "hasAnnotation_bool", "isMal_bool", "diameter_mm", "series_uid", "center_xyz"],
)
CandidateInfoTuple.__doc__ = (
    """One candidate: is it a nodule, annotated, malignant; mm; where (patient mm, LPS)."""
)


def crop_window(center_irc, width_irc, shape):
    """Three slices of `width_irc` around the centre; near an edge the window is shifted inside, not cut.

    Raises `ValueError` where the volume is smaller than the window.
    """
    window = []
    for center, width, size in zip(center_irc, width_irc, shape):
        if width > size:
            raise ValueError(
                f"a window of {tuple(width_irc)} does not fit into a scan of shape {tuple(shape)}"
            )
        start = min(max(center - width // 2, 0), size - width)
        window.append(slice(start, start + width))
    return tuple(window)


class Ct:
    """One CT scan (chapter 10, "Loading individual CT scans").

    `Ct(series_uid)` reads a scan of the LUNA data through the scan store, `Ct(path)` any scan file or
    DICOM folder. `hu_a`: int16 (index, row, column), HU in [-1000, 1000], read-only. `origin_xyz`,
    `vxSize_xyz`: mm. `direction_a`: (3, 3). Raises `UserError` for a scan that cannot be read.
    """

    def __init__(self, series_uid_or_path):
        if is_series_uid(series_uid_or_path):
            self.series_uid = series_uid_or_path
            stored = open_stored(self.series_uid)
            self.hu_a, geometry = stored.whole(), stored
        else:
            path = Path(series_uid_or_path)
            volume = read_volume(path)
            self.series_uid = _uid_of(path)
            self.hu_a, geometry = volume.hu, volume
        self.hu_a.flags.writeable = False
        self.origin_xyz = XyzTuple(*geometry.origin_xyz)
        self.vxSize_xyz = XyzTuple(*geometry.spacing_xyz)
        self.direction_a = geometry.direction

    def getRawCandidate(self, center_xyz, width_irc=CROP_IRC):
        """The crop around a place in the patient: (int16 array of `width_irc`, centre as IrcTuple).

        Raises `UserError` for a centre outside the scan.
        """
        center_irc = _center_inside(self, center_xyz, self.hu_a.shape)
        widened = self._at_least(width_irc)
        # A copy keeps the scan safe, and turning contiguous voxels into floats takes half the time.
        return widened[crop_window(center_irc, width_irc, widened.shape)].copy(), center_irc

    def _at_least(self, width_irc):
        """The volume, padded with air behind where it is smaller than a crop (a scan of a few slices)."""
        if all(size >= width for size, width in zip(self.hu_a.shape, width_irc)):
            return self.hu_a
        return padded_to(self.hu_a, width_irc)


def padded_to(hu, width_irc):
    """`hu` with air added behind each axis that is shorter than `width_irc`."""
    extra = [(0, max(width - size, 0)) for width, size in zip(width_irc, hu.shape)]
    return np.pad(hu, extra, constant_values=-1000)


def _center_inside(geometry, center_xyz, shape) -> IrcTuple:
    spacing = getattr(geometry, "vxSize_xyz", None) or geometry.spacing_xyz
    direction = geometry.direction_a if hasattr(geometry, "direction_a") else geometry.direction
    center_irc = xyz2irc(center_xyz, geometry.origin_xyz, spacing, direction)
    if not all(-1 <= c <= size for c, size in zip(center_irc, shape)):
        raise UserError(
            f"the centre {tuple(round(float(c), 1) for c in center_xyz)} mm lies outside its scan: voxel "
            f"{tuple(center_irc)} of a scan of shape {tuple(shape)}; check the coordinates (patient mm, LPS)"
        )
    return IrcTuple(*(min(max(c, 0), size - 1) for c, size in zip(center_irc, shape)))


def is_series_uid(name) -> bool:
    """Digits and dots that name no file: then the LUNA data is asked (and made, if need be), else not."""
    return isinstance(name, str) and name.replace(".", "").isdigit() and not Path(name).exists()


def _uid_of(path: Path) -> str:
    name = path.name
    for suffix in (".nii.gz", ".mhd", ".mha", ".nii", ".nrrd"):
        name = name.removesuffix(suffix)
    return name


@functools.cache
def scan_paths() -> dict[str, Path]:
    """{series UID: .mhd path} of every LUNA scan that is there, whichever subsets those are."""
    found = luna.scan_paths()
    if not found:
        raise UserError(
            f"there are no scans in {shown(luna.path())} (looked for subset*/*.mhd, at any depth); "
            "get a subset with 'python course.py data luna --subset 0'"
        )
    return found


def open_stored(series_uid):
    """The stored scan of a LUNA series UID; stored now if need be."""
    if series_uid not in scan_paths():
        raise UserError(
            f"there is no scan with the series UID {series_uid} in {shown(luna.path())}; "
            "download its subset or leave it out"
        )
    return ScanStore().open(series_uid, scan_paths()[series_uid])


class _Memory:
    """Whole scans within a byte budget (`COURSE_MEMORY_GB` per process), the least recently used dropped."""

    def __init__(self):
        self._scans = OrderedDict()
        self._lock = threading.Lock()

    @property
    def budget(self):
        return gigabytes("COURSE_MEMORY_GB", 1.5) * 1e9

    def used(self):
        return sum(ct.hu_a.nbytes for ct in self._scans.values())

    def get(self, series_uid):
        with self._lock:
            ct = self._scans.get(series_uid)
            if ct is not None:
                self._scans.move_to_end(series_uid)
            return ct

    def put(self, ct):
        with self._lock:
            self._scans[ct.series_uid] = ct
            while len(self._scans) > 1 and self.used() > self.budget:
                self._scans.popitem(last=False)

    def has_room(self):
        """Room for one more scan like those held, without dropping any? Never with a budget of 0."""
        with self._lock:
            used, count = self.used(), len(self._scans)
        return 0 < self.budget >= used * (1 + 1 / max(count, 1))

    def clear(self):
        with self._lock:
            self._scans.clear()


memory = _Memory()


def getCt(series_uid) -> Ct:
    """The scan with this series UID, kept in memory within the budget."""
    ct = memory.get(series_uid)
    if ct is None:
        ct = Ct(series_uid)
        memory.put(ct)
    return ct


@functools.lru_cache(maxsize=128)
def _stored(series_uid):
    return open_stored(series_uid)


def getCtRawCandidate(series_uid, center_xyz, width_irc=CROP_IRC):
    """(int16 crop, centre as IrcTuple) of one candidate, by the fastest way there is.

    From memory if the scan is there or fits into the budget, else only the crop from the store.
    """
    ct = memory.get(series_uid)
    if ct is None and memory.has_room():
        ct = getCt(series_uid)
    if ct is not None:
        return ct.getRawCandidate(center_xyz, width_irc)
    stored = _stored(series_uid)
    center_irc = _center_inside(stored, center_xyz, stored.shape)
    if any(width > size for width, size in zip(width_irc, stored.shape)):
        return getCt(series_uid).getRawCandidate(center_xyz, width_irc)
    return stored.crop(crop_window(center_irc, width_irc, stored.shape)), center_irc


def _rows(path):
    """(line number, row) of a CSV file; copes with a BOM and with Windows line ends."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for row in reader:
            yield reader.line_num, row


def _number(row, column, path, line) -> float:
    try:
        value = float(row[column])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            f"{path.name}, line {line}: {column} is '{row.get(column)}', not a number; correct the row"
        )
    return value


def _place(row, path, line):
    """(series UID, centre in mm) of a row, both checked for their form."""
    uid = (row.get("seriesuid") or "").strip()
    if not uid.replace(".", "").isdigit():
        raise UserError(f"{path.name}, line {line}: '{uid}' is no series UID; correct the row")
    return uid, XyzTuple(*(_number(row, f"coord{axis}", path, line) for axis in "XYZ"))


@functools.cache
def _geometry(series_uid):
    """(origin, spacing, direction, shape) of a scan on disk, from its header alone."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(scan_paths()[series_uid]))
    reader.ReadImageInformation()
    direction = np.reshape(reader.GetDirection(), (3, 3))
    return reader.GetOrigin(), reader.GetSpacing(), direction, reader.GetSize()[::-1]


def _check_inside(uid, center_xyz, path, line):
    *geometry, shape = _geometry(uid)
    center_irc = xyz2irc(center_xyz, *geometry)
    if not all(-1 <= c <= size for c, size in zip(center_irc, shape)):
        raise UserError(
            f"{path.name}, line {line}: the centre lies outside the scan (voxel {tuple(center_irc)}, "
            f"shape {tuple(shape)}); correct the row"
        )


def _list_file(*names) -> Path | None:
    return next((path for path in map(luna.list_path, names) if path is not None), None)


class _Rows:
    """The rows of one list that concern us: checked, each once."""

    def __init__(self, path, on_disk):
        self.path = path
        self.present = scan_paths() if on_disk else None
        series_list = _list_file("seriesuids.csv")
        # With the list of all series at hand, a scan that is absent differs from one that never was.
        self.known = set(series_list.read_text(encoding="utf-8-sig").split()) if series_list else None

    def __iter__(self):
        """Yield (line number, row, series UID, centre) of every row whose scan counts."""
        seen, repeated = {}, []
        for line, row in _rows(self.path):
            uid, center = _place(row, self.path, line)
            if self.present is not None and uid not in self.present:
                if self.known is not None and uid not in self.known:
                    raise UserError(
                        f"{self.path.name}, line {line}: seriesuids.csv lacks series {uid}; correct the row"
                    )
                continue
            first = seen.setdefault(str(list(row.values())), line)
            if first != line:
                repeated.append((line, first))
                continue
            if self.present is not None:
                _check_inside(uid, center, self.path, line)
            yield line, row, uid, center
        if repeated:
            line, first = repeated[0]
            more = f" (and {len(repeated) - 1} more such rows)" if len(repeated) > 1 else ""
            warnings.warn(
                f"{self.path.name}, line {line}: repeats line {first} and counts once{more}", stacklevel=4
            )


def getCandidateInfoList(requireOnDisk_bool=True) -> list[CandidateInfoTuple]:
    """Every candidate, nodules first and large ones before small ones (chapter 10).

    Annotated nodules stand with their annotated centre and diameter; a candidate of class 1 within a
    quarter of the diameter is the same nodule and joined to it; one that no annotation explains stays a
    nodule without diameter. Malignancy comes from `annotations_with_malignancy.csv` where that is
    there. requireOnDisk_bool: only scans that are there (else all that the lists name).
    Raises `UserError` naming file and line for a bad row. Duplicate rows count once, with a warning.
    """
    return list(_candidates(requireOnDisk_bool))


@functools.cache
def _candidates(on_disk):
    folder = luna.path()
    annotations_file = _list_file("annotations.csv")
    candidates_file = _list_file("candidates_V2.csv", "candidates.csv")
    if annotations_file is None or candidates_file is None:
        raise UserError(
            f"{shown(folder)} lacks annotations.csv or candidates.csv; they belong to the LUNA data: "
            "'python course.py data luna' fetches them"
        )
    malignant = _malignant_places()
    nodules = {}
    for line, row, uid, center in _Rows(annotations_file, on_disk):
        diameter = _number(row, "diameter_mm", annotations_file, line)
        if diameter <= 0:
            raise UserError(
                f"{annotations_file.name}, line {line}: a diameter of {diameter:g} mm; correct the row"
            )
        is_mal = any(math.dist(center, other) < diameter / 4 for other in malignant.get(uid, ()))
        nodules.setdefault(uid, {})[center] = CandidateInfoTuple(True, True, is_mal, diameter, uid, center)
    found = {info for by_center in nodules.values() for info in by_center.values()}
    for line, row, uid, center in _Rows(candidates_file, on_disk):
        if row.get("class") not in ("0", "1"):
            raise UserError(
                f"{candidates_file.name}, line {line}: the class is '{row.get('class')}', "
                "not 0 or 1; correct the row"
            )
        is_nodule = row["class"] == "1"
        if is_nodule and any(
            math.dist(center, nodule.center_xyz) < nodule.diameter_mm / 4
            for nodule in nodules.get(uid, {}).values()
        ):
            continue
        found.add(CandidateInfoTuple(is_nodule, False, False, 0.0, uid, center))
    return tuple(sorted(found, reverse=True))


def _malignant_places():
    """{series UID: centres of nodules that two or more readers rated 4 or 5}; empty without the file."""
    path = _list_file("annotations_with_malignancy.csv")
    places = {}
    for line, row in _rows(path) if path else ():
        uid, center = _place(row, path, line)
        if (row.get("mal_bool") or "").strip().lower() in ("true", "1"):
            places.setdefault(uid, []).append(center)
    return places


@functools.cache
def getCandidateInfoDict(requireOnDisk_bool=True) -> dict[str, list[CandidateInfoTuple]]:
    """{series UID: its candidates, in the order of `getCandidateInfoList`}."""
    by_series = {}
    for info in getCandidateInfoList(requireOnDisk_bool):
        by_series.setdefault(info.series_uid, []).append(info)
    return by_series


def forget():
    """Drop everything remembered about the LUNA data, after its files or environment variables changed."""
    memory.clear()
    for function in (scan_paths, _geometry, _candidates, getCandidateInfoDict, _stored):
        function.cache_clear()


def is_held_out(series_uid, val_stride) -> bool:
    """Is this scan in the validation set? One in `val_stride` is, by a hash of its UID.

    By scan, so that no patient is on both sides, and independent of which other scans are there.
    """
    digest = hashlib.sha256(series_uid.encode()).digest()
    return val_stride > 0 and int.from_bytes(digest[:8], "big") % val_stride == 0


class LunaDataset(Dataset):
    """Candidate crops with their labels (chapter 10, "Constructing our dataset").

    val_stride, isValSet_bool: hold out every `val_stride`-th scan; True for those, False for the
    others, None for all. series_uid: only this scan. sortby_str: "random" (seeded), "series_uid" or
    "label_and_size". ratio_int: 0 takes candidates as they come; r > 0 gives r negatives for each
    nodule, drawn in order and repeated as needed (chapter 12). candidateInfo_list: use these instead.

    An item: (crop float32 (1, 32, 48, 48) in HU, label int64 (2,) as [not nodule, nodule], series UID,
    centre int64 (3,) as index, row, column).
    """

    def __init__(
        self,
        val_stride=0,
        isValSet_bool=None,
        series_uid=None,
        sortby_str="random",
        ratio_int=0,
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
        self.ratio_int = ratio_int
        self.pos_list = [info for info in self.candidateInfo_list if info.isNodule_bool]
        self.negative_list = [info for info in self.candidateInfo_list if not info.isNodule_bool]
        self._first_order = {}
        if ratio_int and not (self.pos_list and self.negative_list):
            raise UserError(
                f"balancing needs both classes, but this split has {len(self.pos_list)} nodules and "
                f"{len(self.negative_list)} others; use more scans or another --val-stride"
            )

    def shuffleSamples(self, generator=None):
        """Draw a new order of the candidates behind a balanced dataset; call it once per epoch.

        An epoch shows only some of the many negatives; without new orders it would always be the same.
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
            return min(4000, (self.ratio_int + 1) * len(self.negative_list))
        return len(self.candidateInfo_list)

    def candidate_at(self, ndx) -> CandidateInfoTuple:
        """The candidate behind item `ndx`: every (ratio + 1)-th is a nodule when balanced."""
        if not self.ratio_int:
            return self.candidateInfo_list[ndx]
        turn, place = divmod(ndx, self.ratio_int + 1)
        if place == 0:
            return self.pos_list[turn % len(self.pos_list)]
        return self.negative_list[(turn * self.ratio_int + place - 1) % len(self.negative_list)]

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
