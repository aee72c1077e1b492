"""What a reader of scans hands on: voxels, and where they lie in the patient (chapter 10)."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from p2ch09.geometry import Geometry
from util.errors import UserError


@dataclass(frozen=True)
class Volume:
    """A scan as the course uses it: `hu` int16 (index, row, column) in [-1000, 1000], and its place.

    Slices go from the feet to the head, rows from front to back, columns from the patient's right to the
    left, as closely as the scan's own axes allow. geometry: where they lie. series_uid: the
    SeriesInstanceUID of DICOM, else the file's name. notes: what a reader of the result should know of how
    the scan was read. header: what DICOM says of the picture ("SliceThickness", "ConvolutionKernel",
    "ContrastBolusAgent"), as text. slices: for DICOM, the `p2ch10.dicom_files.Slice` behind each index.
    """

    hu: np.ndarray
    geometry: Geometry
    series_uid: str = ""
    notes: tuple[str, ...] = ()
    header: dict = field(default_factory=dict)
    slices: tuple = ()

    @property
    def origin_xyz(self):
        """Centre of the first voxel, mm (LPS)."""
        return self.geometry.origin_xyz

    @property
    def spacing_xyz(self):
        """Size of a voxel, mm."""
        return self.geometry.spacing_xyz

    @property
    def direction(self):
        """(3, 3); its columns point along the array's x, y and z axes."""
        return self.geometry.direction


@dataclass
class Stored:
    """A scan as its file has it: values (k, j, i) of any number type, geometry of the axes i, j, k, LPS mm."""

    values: np.ndarray
    origin: np.ndarray
    spacing: np.ndarray
    direction: np.ndarray
    notes: list[str]
    hint: str = ""
    header: dict = field(default_factory=dict)
    slices: tuple = ()


def called(path) -> str:
    """A scan's file or folder as messages name it: with the folder it lies in, no more."""
    path = Path(path)
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def check_shape(path, shape, max_voxels):
    """Check a shape from a header, before memory is taken. Raises `UserError` for what is no volume."""
    if len(shape) != 3:
        raise UserError(
            f"'{called(path)}' has {len(shape)} dimensions; a CT scan has 3: give the whole volume"
        )
    if min(shape) < 2:
        raise UserError(f"'{called(path)}' is a single slice of shape {tuple(shape)}; a CT scan is a volume")
    if max_voxels is not None and math.prod(shape) > max_voxels:
        raise UserError(f"the scan has {math.prod(shape):,} voxels; at most {max_voxels:,} are taken")
