"""A folder of DICOM files as one volume (chapter 4, "Loading a specialized format")."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from util.errors import UserError
from util.paths import shown

# A scanner may round its positions: a slice may lie off its even place by this share of their distance.
TOLERANCE = 0.25


@dataclass(frozen=True)
class Series:
    """A scan: `hu`, int16 (slices, rows, columns) in Hounsfield units; `spacing_mm`, a voxel's size."""

    hu: torch.Tensor
    spacing_mm: tuple[float, float, float]
    series_uid: str
    description: str


def list_series(folder) -> dict[str, list[Path]]:
    """The files of each series in a folder, by series UID, in no order; other files are passed over.

    Raises `UserError` where there is no folder or no DICOM image in it.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder '{shown(folder)}'; give the folder with a scan's .dcm files")
    series = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        try:
            header = pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "Rows"]
            )
        except (InvalidDicomError, OSError, EOFError):
            continue
        if "SeriesInstanceUID" in header and "Rows" in header:
            series.setdefault(str(header.SeriesInstanceUID), []).append(path)
    if not series:
        raise UserError(f"there is no DICOM image in '{shown(folder)}'; give the folder with the .dcm files")
    return series


def load_dicom_series(folder, series_uid: str | None = None) -> Series:
    """Read the scan in a folder: slices in anatomical order, values in Hounsfield units.

    series_uid: which one, where the folder holds several. Raises `UserError`, one sentence, for several
    series and no choice, slices that are missing, doubled, of different size or turned against each
    other, files cut off, and compressed pixels that this installation cannot read.
    """
    import pydicom

    series = list_series(folder)
    if series_uid is None:
        if len(series) > 1:
            listed = ", ".join(f"'{uid}' ({len(files)} files)" for uid, files in series.items())
            raise UserError(
                f"'{shown(folder)}' holds {len(series)} series, {listed}; choose one with series_uid=…"
            )
        series_uid = next(iter(series))
    elif series_uid not in series:
        raise UserError(f"'{shown(folder)}' has no series '{series_uid}'; it has {', '.join(series)}")
    slices = []
    for path in series[series_uid]:
        try:
            slices.append(pydicom.dcmread(path))
        except Exception as error:
            raise UserError(f"'{shown(path)}' cannot be read ({error}); copy the series again") from error
    slices, distance = _in_order(slices, folder)
    hu = np.stack([_hounsfield(one) for one in slices])  # (Z, Y, X)
    row_mm, column_mm = (float(mm) for mm in slices[0].PixelSpacing)
    return Series(
        torch.from_numpy(hu),
        (distance, row_mm, column_mm),
        series_uid,
        str(slices[0].get("SeriesDescription", "")),
    )


def _in_order(slices, folder):
    """(slices along the scanner's axis, their distance in mm). Names may lie; positions do not."""
    for needed in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        if any(needed not in one for one in slices):
            raise UserError(
                f"slices in '{shown(folder)}' lack {needed}, so they are no CT volume; choose a CT series"
            )
    first = slices[0]
    orientation = np.array(first.ImageOrientationPatient, float)
    for one in slices:
        if (one.Rows, one.Columns) != (first.Rows, first.Columns) or not np.allclose(
            np.array(one.ImageOrientationPatient, float), orientation, atol=1e-3
        ):
            raise UserError(
                f"slices in '{shown(folder)}' differ in size or direction; take the overview pictures out"
            )
    if len(slices) < 2:
        raise UserError(f"'{shown(folder)}' holds a single slice; a volume needs all of a series")
    normal = np.cross(orientation[:3], orientation[3:])
    along = np.array([np.dot(normal, np.array(one.ImagePositionPatient, float)) for one in slices])
    order = np.argsort(along)
    along = along[order]
    steps = np.diff(along)
    distance = float(np.median(steps))
    wrong = np.flatnonzero(np.abs(steps - distance) > distance / 2)
    if len(wrong):
        what = "doubled" if steps[wrong[0]] < distance / 2 else "missing"
        raise UserError(
            f"a slice in '{shown(folder)}' is {what} near {along[wrong[0]]:.1f} mm "
            f"({len(slices)} slices, {distance:.2f} mm apart elsewhere); copy the series again"
        )
    even = np.linspace(along[0], along[-1], len(along))
    if np.abs(along - even).max() > TOLERANCE * distance:
        raise UserError(
            f"slices in '{shown(folder)}' are not evenly spaced: one lies {np.abs(along - even).max():.1f} mm "
            "off its place; resample the series to even slices"
        )
    return [slices[place] for place in order], float(even[1] - even[0])


def _hounsfield(one) -> np.ndarray:
    """The slice's stored values as int16 Hounsfield units, (rows, columns)."""
    try:
        stored = one.pixel_array
    except Exception as error:
        raise UserError(
            f"the pixels of slice {one.get('InstanceNumber', '?')} cannot be read ({error}); "
            "copy the series again, or convert it to uncompressed DICOM"
        ) from error
    hu = stored * float(one.get("RescaleSlope", 1)) + float(one.get("RescaleIntercept", 0))
    return np.rint(hu).clip(-32768, 32767).astype(np.int16)
