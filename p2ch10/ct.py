"""One CT scan, and the crops of candidates (chapter 10, "Loading individual CT scans")."""

from pathlib import Path

import numpy as np

from p2ch09 import luna
from p2ch10.checks import AIR_HU
from p2ch10.memory import memory, remembered
from p2ch10.reading import read_volume
from p2ch10.store import ScanStore, most_open_scans
from util.errors import UserError
from util.paths import shown

CROP_IRC = (32, 48, 48)


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
    DICOM folder (series: which one of several in it). `hu_a`: int16 (index, row, column), HU in
    [-1000, 1000], read-only. `geometry`: where it lies; `origin_xyz` and `vxSize_xyz` (mm) and `direction_a`
    (3, 3) are the book's names for its parts. `notes`, `header`, `slices`: as in `p2ch10.volume.Volume`.
    Raises `UserError` for a scan that cannot be read.
    """

    def __init__(self, series_uid, series=None):
        self.notes, self.header, self.slices = (), {}, ()
        if is_series_uid(series_uid):
            self.series_uid = series_uid
            stored = open_stored(self.series_uid)
            self.hu_a, self.geometry = stored.whole(), stored.geometry
        else:
            volume = read_volume(series_uid, series)
            self.series_uid, self.notes = volume.series_uid, volume.notes
            self.header, self.slices = volume.header, volume.slices
            self.hu_a, self.geometry = volume.hu, volume.geometry
        self.hu_a.flags.writeable = False

    @property
    def origin_xyz(self):
        """Centre of the first voxel, mm (LPS), as XyzTuple."""
        return self.geometry.origin_xyz

    @property
    def vxSize_xyz(self):
        """Size of a voxel, mm, as XyzTuple."""
        return self.geometry.spacing_xyz

    @property
    def direction_a(self):
        """(3, 3); its columns point along the array's x, y and z axes."""
        return self.geometry.direction

    def getRawCandidate(self, center_xyz, width_irc=CROP_IRC):
        """The crop around a place in the patient: (int16 array of `width_irc`, centre as IrcTuple).

        Raises `UserError` for a centre outside the scan.
        """
        center_irc = center_inside(self.geometry, center_xyz)
        widened = padded_to(self.hu_a, width_irc)
        # A copy keeps the scan safe, and turning contiguous voxels into floats takes half the time.
        return widened[crop_window(center_irc, width_irc, widened.shape)].copy(), center_irc


def padded_to(hu, width_irc):
    """`hu`, with air added behind each axis that is shorter than `width_irc` (a scan of a few slices)."""
    if all(size >= width for size, width in zip(hu.shape, width_irc)):
        return hu
    extra = [(0, max(width - size, 0)) for width, size in zip(width_irc, hu.shape)]
    return np.pad(hu, extra, constant_values=AIR_HU)


def center_inside(geometry, center_xyz):
    """The voxel of a place in the patient, as IrcTuple. Raises `UserError` where it lies outside the scan."""
    center_irc = geometry.xyz2irc(center_xyz)
    if not geometry.contains(center_irc):
        raise UserError(
            f"the centre {tuple(round(float(c), 1) for c in center_xyz)} mm lies outside its scan: voxel "
            f"{tuple(center_irc)} of a scan of shape {geometry.shape}; check the coordinates (patient mm, LPS)"
        )
    return geometry.clamped(center_irc)


def is_series_uid(name) -> bool:
    """Digits and dots that name no file: then the LUNA data is asked (and made, if need be), else not."""
    return isinstance(name, str) and name.replace(".", "").isdigit() and not Path(name).exists()


@remembered()
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
    """The stored scan of a LUNA series UID; stored now if need be. Raises `UserError` for an unknown one."""
    if series_uid not in scan_paths():
        raise UserError(
            f"there is no scan with the series UID {series_uid} in {shown(luna.path())}; "
            "download its subset or leave it out"
        )
    return ScanStore().open(series_uid, scan_paths()[series_uid])


def getCt(series_uid) -> Ct:
    """The scan with this series UID, kept in memory within the budget."""
    ct = memory.get(series_uid)
    if ct is None:
        ct = Ct(series_uid)
        memory.put(ct)
    return ct


@remembered(maxsize=most_open_scans())
def _stored(series_uid):
    """The open entry of the store."""
    return open_stored(series_uid)


def scan_shape(series_uid) -> tuple[int, int, int]:
    """(slices, rows, columns) of a LUNA scan, without reading its voxels."""
    ct = memory.get(series_uid)
    return ct.hu_a.shape if ct is not None else _stored(series_uid).shape


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
    center_irc = center_inside(stored.geometry, center_xyz)
    if any(width > size for width, size in zip(width_irc, stored.shape)):
        return getCt(series_uid).getRawCandidate(center_xyz, width_irc)
    return stored.crop(crop_window(center_irc, width_irc, stored.shape)), center_irc
