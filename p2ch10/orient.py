"""Every scan the same way up (chapter 10, "The patient coordinate system").

Files store a volume's axes in any order and direction; networks and pictures want slices from the feet to
the head. Axes are reordered and reversed, never interpolated: voxels stay what they were, and so do places.
"""

import itertools

import numpy as np

from p2ch10.volume import Stored, called
from util.errors import UserError

# Axes that rounding has bent stay as they are; a volume bent further should be resampled by who knows how.
MOST_BENT_DEGREES = 1.0


def check_axes(stored: Stored, path):
    """Raises `UserError` for a geometry that no place can be computed from."""
    numbers = (*stored.origin, *stored.spacing, *np.ravel(stored.direction))
    if not np.isfinite(numbers).all():
        raise UserError(
            f"'{called(path)}' has a geometry with values that are no numbers; correct the header"
        )
    if not all(0.01 <= mm <= 100 for mm in stored.spacing):
        worst = min(stored.spacing, key=lambda mm: -abs(np.log(max(mm, 1e-9))))
        raise UserError(
            f"'{called(path)}' has a voxel size of {worst:g} mm in its header, which no CT scan has; "
            "correct the spacing (in mm)"
        )
    lengths = np.linalg.norm(stored.direction, axis=0)
    if np.abs(lengths - 1).max() > 0.01 or abs(np.linalg.det(stored.direction)) < 1e-3:
        raise UserError(
            f"'{called(path)}' has a direction matrix that is flat or not of length one; correct the header"
        )
    bent = bent_degrees(stored.direction)
    if bent > MOST_BENT_DEGREES:
        raise UserError(
            f"the axes of '{called(path)}' are {bent:.1f} degrees from a right angle (a tilted gantry?); "
            "resample it to upright slices first"
        )


def bent_degrees(direction) -> float:
    """How far the axes are from right angles, at most."""
    unit = direction / np.linalg.norm(direction, axis=0)
    cosines = np.abs((unit.T @ unit)[np.triu_indices(3, 1)])
    return float(np.degrees(np.arcsin(np.clip(cosines.max(), 0, 1))))


def upright(stored: Stored) -> Stored:
    """The same volume with axes i, j, k as close to left, back and head as its own axes come. A view."""
    direction = stored.direction / np.linalg.norm(stored.direction, axis=0)
    order = max(
        itertools.permutations(range(3)), key=lambda order: sum(abs(direction[w, a]) for w, a in enumerate(order))
    )  # fmt: skip
    order = list(order)
    # Array axes count the other way round: k, j, i.
    values = stored.values.transpose([2 - axis for axis in order[::-1]])
    direction, spacing = direction[:, order], np.asarray(stored.spacing, float)[order]
    origin, slices = np.array(stored.origin, float), stored.slices
    for way in range(3):
        if direction[way, way] < 0:
            axis = 2 - way
            origin = origin + direction[:, way] * spacing[way] * (values.shape[axis] - 1)
            direction[:, way] *= -1
            values = np.flip(values, axis)
            slices = slices[::-1] if way == 2 else slices
    if order[2] != 2:  # coronal or sagittal images: no image is a slice any more
        slices = ()
    return Stored(values, origin, spacing, direction, stored.notes, stored.hint, stored.header, slices)
