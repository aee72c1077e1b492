"""Reading a CT scan, whatever it is stored as (chapter 10, "Loading individual CT scans").

MetaImage (.mhd, .mha), NIfTI (.nii, .nii.gz), NRRD (.nrrd) and folders of DICOM files come out as the
same thing: int16 Hounsfield units in [-1000, 1000] and where they lie in the patient.
"""

import hashlib
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from util.errors import UserError

AIR_HU, DENSEST_HU = -1000, 1000
SUFFIXES = (".mhd", ".mha", ".nii", ".nii.gz", ".nrrd")


@dataclass(frozen=True)
class Volume:
    """A scan as stored: `hu` int16 (index, row, column) in [-1000, 1000], and its place in the patient.

    origin_xyz: centre of the first voxel, mm (LPS, as ITK has it). spacing_xyz: size of a voxel, mm.
    direction: (3, 3), columns are the directions of x, y and z steps through the array.
    """

    hu: np.ndarray
    origin_xyz: tuple[float, float, float]
    spacing_xyz: tuple[float, float, float]
    direction: np.ndarray


def read_volume(path) -> Volume:
    """Read the scan at `path` (a file or a DICOM folder).

    Raises `UserError`, one sentence, for what is missing, unreadable, truncated, not three-dimensional
    or without a usable geometry.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"there is no scan at '{_called(path)}'; check the path")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if path.is_dir():
        return _from_image(_read_dicom(path), path)
    if not path.name.lower().endswith(SUFFIXES):
        raise UserError(
            f"'{_called(path)}' is no scan that the course can read; give one of {', '.join(SUFFIXES)} "
            "or a folder of DICOM files"
        )
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UserError(
            f"'{_called(path)}' has no readable header ({_reason(error)}); fetch it again"
        ) from error
    _check_geometry(reader.GetDimension(), reader.GetSpacing(), reader.GetDirection(), path)
    direct = _read_zraw(path, reader)
    if direct is not None:
        return direct
    try:
        return _from_image(reader.Execute(), path)
    except RuntimeError as error:
        raise UserError(
            f"the voxels of '{_called(path)}' cannot be read ({_reason(error)}); the file may be truncated "
            "or its data file missing: fetch it again"
        ) from error


def source_files(path) -> list[Path]:
    """The files that the scan at `path` consists of; a change of any of them makes a stored copy stale."""
    path = Path(path)
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.is_file())
    if path.suffix.lower() == ".mhd":
        name = _header_field(path, "ElementDataFile")
        if name and (path.parent / name).exists():
            return [path, path.parent / name]
    return [path]


def source_fingerprint(path) -> str:
    """Changes when the size or the time of one of the scan's files does (reading them all would be slow)."""
    described = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in source_files(path)]
    return hashlib.sha256(repr(described).encode()).hexdigest()[:16]


def _called(path) -> str:
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def _reason(error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"\S*[/\\](?=[^/\\\s]+)", "", lines[-1])[:120] if lines else "no reason given"


def _check_geometry(dimension, spacing, direction, path):
    if dimension != 3:
        raise UserError(
            f"'{_called(path)}' has {dimension} dimensions; a CT scan has 3: give the whole volume"
        )
    if not all(np.isfinite(s) and s > 0 for s in spacing) or _header_has_zero_spacing(path):
        raise UserError(
            f"'{_called(path)}' has a voxel size of zero or less in its header; correct the spacing (in mm)"
        )
    if abs(np.linalg.det(np.reshape(direction, (3, 3)))) < 1e-3:
        raise UserError(f"'{_called(path)}' has a direction matrix that is flat; correct the header")


def _header_field(path, name):
    for line in Path(path).read_bytes()[:65536].splitlines():
        key, _, value = line.partition(b"=")
        if key.strip() == name.encode():
            return value.strip().decode("utf-8", "replace")
    return None


def _header_has_zero_spacing(path) -> bool:
    """ITK replaces a zero spacing by one silently, so the header itself is asked."""
    if path.suffix.lower() not in (".mhd", ".mha"):
        return False
    value = _header_field(path, "ElementSpacing") or _header_field(path, "ElementSize") or "1"
    try:
        return any(float(part) <= 0 for part in value.split())
    except ValueError:
        return True


def _read_zraw(path, reader) -> Volume | None:
    """LUNA16's own format, .mhd with .zraw of int16, without ITK's detours; None where it does not apply."""
    if path.suffix.lower() != ".mhd" or reader.GetPixelID() != sitk.sitkInt16:
        return None
    if (_header_field(path, "CompressedData") or "").lower() != "true":
        return None
    if (_header_field(path, "BinaryDataByteOrderMSB") or "false").lower() == "true":
        return None
    name = _header_field(path, "ElementDataFile") or ""
    if name.upper() == "LOCAL" or name.upper().startswith("LIST") or "%" in name:
        return None  # voxels behind the header, or in one file per slice: ITK knows these
    data = path.parent / name
    if not data.is_file():
        raise UserError(
            f"'{_called(path)}' names the data file '{data.name}', which is not there: fetch it again"
        )
    shape = reader.GetSize()[::-1]
    need = int(np.prod(shape)) * 2
    try:
        raw = _inflate(data.read_bytes(), need)
    except zlib.error as error:
        raise UserError(f"'{_called(data)}' is damaged or truncated ({error}); fetch it again") from error
    if len(raw) != need:
        raise UserError(f"'{_called(data)}' holds {len(raw):,} of {need:,} bytes; fetch it again")
    hu = np.frombuffer(raw, dtype="<i2").reshape(shape)
    return _volume(hu, reader.GetOrigin(), reader.GetSpacing(), reader.GetDirection())


def _inflate(data, size) -> bytes:
    """zlib-inflate; with the faster, identical library isal where it is installed."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.decompress(data, bufsize=size)
    try:
        return isal_zlib.decompress(data, bufsize=size)
    except isal_zlib.error as error:
        raise zlib.error(str(error)) from error


def _read_dicom(folder) -> sitk.Image:
    """The largest series of a DICOM folder."""
    names = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    series = {name: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), name) for name in names}
    if not series:
        raise UserError(
            f"the folder '{_called(folder)}' holds no DICOM images; give the folder with the .dcm files"
        )
    files = max(series.values(), key=len)
    if len(series) > 1:
        print(f"{_called(folder)}: {len(series)} series, reading the largest ({len(files)} files)")
    if len(files) < 2:
        raise UserError(
            f"the folder '{_called(folder)}' holds a single image; a CT scan is a series of slices"
        )
    _check_slices(files, folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise UserError(
            f"the DICOM series in '{_called(folder)}' cannot be read ({_reason(error)}); "
            "slices may be damaged or missing"
        ) from error


def _check_slices(files, folder):
    """Slices must be evenly spaced along their normal: ITK would stretch the rest over a gap silently."""
    reader = sitk.ImageFileReader()
    places = []
    try:
        for file in files:
            reader.SetFileName(file)
            reader.ReadImageInformation()
            places.append(reader.GetOrigin())
    except RuntimeError as error:
        raise UserError(
            f"'{_called(Path(file))}' cannot be read ({_reason(error)}); fetch the series again"
        ) from error
    normal = np.reshape(reader.GetDirection(), (3, 3))[:, 2]
    heights = np.array(places) @ normal  # mm
    steps = np.diff(np.sort(heights))
    step = np.median(steps)
    if steps.min() < 0.01:
        raise UserError(
            f"the DICOM series in '{_called(folder)}' has several slices at the same place; "
            "leave one image per place in the folder"
        )
    if steps.max() > 1.2 * step or steps.min() < 0.8 * step:
        uneven = np.abs(steps - step).argmax()
        raise UserError(
            f"the DICOM series in '{_called(folder)}' has slices {step:.2f} mm apart but {steps[uneven]:.2f} mm "
            f"after height {np.sort(heights)[uneven]:.1f} mm; some are missing or damaged: fetch it again"
        )
    along = np.subtract(places[-1], places[0])
    tilt = np.degrees(np.arccos(min(abs(along @ normal) / np.linalg.norm(along), 1.0)))
    if tilt > 1:
        raise UserError(
            f"the DICOM series in '{_called(folder)}' was taken with the gantry tilted by {tilt:.0f} degrees; "
            "resample it to upright slices first"
        )


def _from_image(image, path) -> Volume:
    _check_geometry(image.GetDimension(), image.GetSpacing(), image.GetDirection(), path)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(f"'{_called(path)}' holds colours; a CT scan has one number (HU) per voxel")
    hu = sitk.GetArrayViewFromImage(image)
    if min(hu.shape) < 2:
        raise UserError(f"'{_called(path)}' is a single slice of shape {hu.shape}; a CT scan is a volume")
    return _volume(hu, image.GetOrigin(), image.GetSpacing(), image.GetDirection())


def _volume(hu, origin, spacing, direction) -> Volume:
    # Below -1000 lies only padding outside the scanner's field of view; above 1000 only bone and metal.
    clipped = np.clip(hu, AIR_HU, DENSEST_HU)
    if clipped.dtype.kind == "f":
        clipped[np.isnan(clipped)] = AIR_HU  # "no data" is no tissue
    if clipped.dtype != np.int16:
        clipped = np.rint(clipped).astype(np.int16)
    return Volume(clipped, tuple(origin), tuple(spacing), np.array(direction, dtype=np.float64).reshape(3, 3))


def load_scan(path):
    """The `Ct` (see `p2ch10.dsets`) of any scan file or DICOM folder, outside the LUNA data."""
    from p2ch10.dsets import Ct

    return Ct(path)
