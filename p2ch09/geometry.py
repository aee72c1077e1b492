"""Where a scan's voxels lie in the patient: one class for all that carry it (chapter 10 explains the sums)."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from util.util import IrcTuple, XyzTuple, irc2xyz, xyz2irc


@dataclass(frozen=True, eq=False)
class Geometry:
    """The place of a scan in the patient, as ITK has it: millimetres, LPS.

    shape: (index, row, column), voxels. origin_xyz: centre of the first voxel, mm. spacing_xyz: size of a
    voxel, mm. direction: (3, 3), its columns are the directions of x, y and z steps through the array.
    """

    shape: tuple[int, int, int]
    origin_xyz: XyzTuple
    spacing_xyz: XyzTuple
    direction: np.ndarray

    def __post_init__(self):
        # Whatever came in (lists, arrays, ITK's tuples), plain numbers and one kind of array come out.
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        for name in ("origin_xyz", "spacing_xyz"):
            object.__setattr__(self, name, XyzTuple(*(float(mm) for mm in getattr(self, name))))
        direction = np.array(self.direction, dtype=np.float64).reshape(3, 3)
        direction.flags.writeable = False
        object.__setattr__(self, "direction", direction)

    @classmethod
    def from_itk(cls, image) -> "Geometry":
        """That of a SimpleITK image, or of an `ImageFileReader` that has read a header."""
        return cls(image.GetSize()[::-1], image.GetOrigin(), image.GetSpacing(), image.GetDirection())

    def to_itk(self, voxels):
        """`voxels`, an array of `shape`, as a SimpleITK image that lies in this place."""
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(voxels)
        image.SetOrigin(self.origin_xyz)
        image.SetSpacing(self.spacing_xyz)
        image.SetDirection(self.direction.ravel().tolist())
        return image

    @property
    def spacing_irc(self) -> tuple[float, float, float]:
        """Size of a voxel in the array's order: between slices, rows, columns; mm."""
        return self.spacing_xyz[::-1]

    def irc2xyz(self, coord_irc) -> XyzTuple:
        """Patient millimetres of a voxel (index, row, column; may be fractional)."""
        return irc2xyz(coord_irc, self.origin_xyz, self.spacing_xyz, self.direction)

    def xyz2irc(self, coord_xyz) -> IrcTuple:
        """The nearest voxel to a place in the patient, as ints; may lie outside."""
        return xyz2irc(coord_xyz, self.origin_xyz, self.spacing_xyz, self.direction)

    def xyz2irc_exactly(self, coord_xyz) -> np.ndarray:
        """`xyz2irc` without rounding: (3,) float, index, row, column."""
        offset_mm = np.subtract(coord_xyz, self.origin_xyz)
        return (np.linalg.solve(self.direction, offset_mm) / self.spacing_xyz)[::-1]

    def contains(self, coord_irc) -> bool:
        """Does the voxel lie inside the scan, or at most one beside it? Lists are rounded, too."""
        return all(-1 <= c <= size for c, size in zip(coord_irc, self.shape))

    @cached_property
    def _steps_of_mm(self) -> list[list[float]]:
        """(3, 3): millimetres to steps along x, y and z of the array."""
        return (np.linalg.inv(self.direction) / np.array(self.spacing_xyz)[:, None]).tolist()

    def holds(self, coord_xyz) -> bool:
        """`contains(xyz2irc(coord_xyz))`, for lists of many places: plain numbers are quicker than small arrays."""
        x, y, z = (mm - origin for mm, origin in zip(coord_xyz, self.origin_xyz))
        return all(
            -1 <= math.floor(by_x * x + by_y * y + by_z * z + 0.5) <= size
            for (by_x, by_y, by_z), size in zip(self._steps_of_mm, reversed(self.shape))
        )

    def clamped(self, coord_irc) -> IrcTuple:
        """The voxel of the scan that is nearest to this one."""
        return IrcTuple(*(min(max(int(c), 0), size - 1) for c, size in zip(coord_irc, self.shape)))
