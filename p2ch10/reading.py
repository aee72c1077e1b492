"""Reading a CT scan, whatever it is stored as (chapter 10, "Loading individual CT scans").

MetaImage (.mhd, .mha), NIfTI (.nii, .nii.gz), NRRD (.nrrd) and folders of DICOM files come out as the
same thing: int16 Hounsfield units in [-1000, 1000], slices from the feet to the head, and where they lie in
the patient. Nothing is believed that can be checked: sizes, checksums, units, axes. What cannot be known,
because a format keeps no checksum: whether a byte of uncompressed voxels was changed.
"""

import hashlib
from pathlib import Path

import numpy as np

from p2ch09.geometry import Geometry
from p2ch10.checks import as_hounsfield, check_hounsfield
from p2ch10.metaimage import data_files, read_metaimage
from p2ch10.nifti import read_nifti
from p2ch10.nrrd import read_nrrd
from p2ch10.orient import check_axes, upright
from p2ch10.volume import Volume, called
from util.errors import UserError

READERS = {
    ".mhd": read_metaimage,
    ".mha": read_metaimage,
    ".nii": read_nifti,
    ".nii.gz": read_nifti,
    ".nrrd": read_nrrd,
}
SUFFIXES = tuple(READERS)
# Counted up when the same file comes out otherwise than before, so that stored copies are made anew.
READING = 2


def read_volume(path, series=None, max_voxels=None) -> Volume:
    """Read the scan at `path` (a file or a DICOM folder).

    series: of a DICOM folder with several scans, the one to read: its SeriesInstanceUID, or as the message
    lists it. max_voxels: refuse a larger one before memory is taken. Raises `UserError`, one sentence, for
    what is missing, unreadable, damaged, not three-dimensional, in other units than HU, without a usable
    geometry, or ambiguous.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"there is no scan at '{called(path)}'; check the path")
    if path.is_dir():
        from p2ch10.dicom_series import read_dicom

        stored, series_uid = read_dicom(path, series, max_voxels)
    else:
        suffix = suffix_of(path)
        if suffix is None:
            raise UserError(
                f"'{called(path)}' is no scan that the course can read; give one of {', '.join(SUFFIXES)} "
                "or a folder of DICOM files"
            )
        if series is not None:
            raise UserError(
                f"'{called(path)}' is a file and holds one scan; a series is chosen in a DICOM folder"
            )
        stored, series_uid = _read_file(READERS[suffix], path, max_voxels), scan_name(path)
    check_axes(stored, path)
    check_hounsfield(stored.values, path, stored.hint)
    stored = upright(stored)
    return Volume(
        as_hounsfield(stored.values),
        _geometry_of(stored),
        series_uid,
        tuple(stored.notes),
        stored.header,
        stored.slices,
    )


def _geometry_of(stored):
    """Without the last digits' noise of the sums, so that 2.5 mm are 2.5 mm."""
    direction = np.round(stored.direction, 12) + 0.0
    return Geometry(stored.values.shape, np.round(stored.origin, 9), np.round(stored.spacing, 9), direction)


def _read_file(reader, path, max_voxels):
    try:
        return reader(path, max_voxels)
    except OSError as error:
        raise UserError(f"'{called(path)}' cannot be read ({error.strerror}); check the file") from error


def suffix_of(path) -> str | None:
    """The one of `SUFFIXES` that a file's name ends in, in capitals or not; None for another."""
    name = Path(path).name.lower()
    return next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), None)


def scan_name(path) -> str:
    """A file's name without the suffix of its format: the series UID, as LUNA16 names its files."""
    suffix = suffix_of(path)
    return Path(path).name[: -len(suffix)] if suffix else Path(path).name


def source_files(path) -> list[Path]:
    """The files that the scan at `path` consists of; a change of any of them makes a stored copy stale."""
    path = Path(path)
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file())
    if suffix_of(path) == ".mhd":
        return [path, *(file for file in data_files(path) if file.exists())]
    return [path]


def source_fingerprint(path) -> str:
    """Changes when the size or the time of one of the scan's files does (reading them all would be slow)."""
    described = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in source_files(path)]
    return hashlib.sha256(repr((READING, described)).encode()).hexdigest()[:16]
