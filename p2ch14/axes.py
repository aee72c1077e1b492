"""A nodule's size as radiologists give it: two axes in the slice where it is largest (chapter 14).

The Fleischner Society's rule (Bankier and others, Radiology 2017, doi 10.1148/radiol.2017162894): the long axis, and
the longest one at a right angle to it, in the same slice. `Finding.diameter_mm` is of a ball with the mask's volume.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform


class Axes(NamedTuple):
    """Both axes of a nodule. `long_ends`, `short_ends`: (2, 2), the ends as (row, column) voxel indices."""

    long_mm: float
    short_mm: float
    index: int  # of the slice
    long_ends: np.ndarray
    short_ends: np.ndarray


def axes_of(voxels, shape, spacing_irc) -> Axes:
    """Measure a nodule.

    voxels: where its voxels lie in the flat scan of `shape` (I, R, C), at least one. spacing_irc: mm. Voxels are
    boxes, so a single one has a size. Dents do not count: what is measured is the convex outline.
    """
    index, row, column = np.unravel_index(np.asarray(voxels), shape)
    largest = int(np.bincount(index).argmax())
    here = index == largest
    pixels = np.stack([row[here], column[here]], axis=1).astype(float)  # (n, 2)
    corners = (pixels[:, None] + np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)])).reshape(
        -1, 2
    )
    spacing = np.array(spacing_irc[1:], dtype=float)
    outline = corners[ConvexHull(corners).vertices] * spacing  # mm, around the nodule
    apart = squareform(pdist(outline))
    first, second = np.unravel_index(apart.argmax(), apart.shape)
    long_ends = outline[[first, second]]
    along = (long_ends[1] - long_ends[0]) / apart[first, second]
    short_ends = _widest_across(outline, along)
    short_mm = float(np.linalg.norm(short_ends[1] - short_ends[0]))
    return Axes(float(apart.max()), short_mm, largest, long_ends / spacing, short_ends / spacing)


def _widest_across(outline, along):
    """The longest line at a right angle to `along` through a convex outline (n, 2): its ends (2, 2).

    Between two corners the width of a convex outline changes evenly, so it is widest at a corner's place.
    """
    across = np.array([-along[1], along[0]])
    t, u = outline @ along, outline @ across
    best = (-1.0, 0.0, 0.0, 0.0)
    for place in t:
        cuts = []
        for a in range(len(t)):
            b = (a + 1) % len(t)
            low, high = sorted((t[a], t[b]))
            if low <= place <= high:
                share = 0.0 if high == low else (place - t[a]) / (t[b] - t[a])
                cuts += [u[a] + share * (u[b] - u[a])] + ([u[b]] if high == low else [])
        if max(cuts) - min(cuts) > best[0]:
            best = (max(cuts) - min(cuts), place, min(cuts), max(cuts))
    _, place, low, high = best
    return np.array([place * along + low * across, place * along + high * across])
