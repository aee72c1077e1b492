"""From marked voxels to candidates (chapter 14, "Grouping voxels into nodule candidates").

Two ways. "erode" is the book's, and what its published weights were measured with: one erosion, then
components that touch by faces. It loses two kinds of nodule: the smallest, which the erosion removes
whole, and those that touch a vessel or the chest wall, whose component's centre lies far outside them.
"split" is the same and takes care of both.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from p2ch13.lungs import STEP_IRC, Lungs

WAYS = ("erode", "split")
LEAST_MM3 = 20.0  # what an erosion removed whole is kept from this volume on: a ball of 3.4 mm
LARGE_MM3 = 300.0  # a component of this volume, a ball of 8 mm, may be several things in one
SMOOTHING_MM = 1.2
APART_MM = 3.0  # bumps closer than this along every axis are one bump
LEAST_RADIUS_MM = 1.5
SAME_MM = 2.0  # two centres closer than this are one candidate
BEYOND_MM = 15.0  # what lies further from the lungs is none of theirs: skin, couch, arm


@dataclass(frozen=True)
class Group:
    """One candidate: its centre (voxel index, float) and its marked voxels, as indices into the flat scan."""

    center_irc: tuple[float, float, float]
    voxels: np.ndarray
    volume_mm3: float

    @property
    def diameter_mm(self) -> float:
        """Of the ball with this volume."""
        return 2 * (3 * self.volume_mm3 / (4 * math.pi)) ** (1 / 3)


def group_voxels(hu, mask, spacing_irc, way="erode") -> list[Group]:
    """Candidates in a mask. hu: int16 (I, R, C); mask: bool of that shape; spacing_irc: mm.

    A centre is the centre of mass, weighted by HU + 1001 so that air weighs next to nothing; with
    `way="split"` also each bump of a large component and what the erosion removed.
    """
    if way not in WAYS:
        raise ValueError(f"way is '{way}'; use one of {', '.join(WAYS)}")
    # Most of a scan is unmarked; looking only at the box of what is marked takes half the time.
    boxes = ndimage.find_objects(mask.view(np.uint8))
    if not boxes:
        return []
    box = boxes[0]
    groups = _groups_within(hu[box], mask[box], np.asarray(spacing_irc, dtype=float), way)
    corner = [part.start for part in box]
    shape = tuple(part.stop - part.start for part in box)
    return [_moved(group, corner, shape, mask.shape) for group in groups]


def _moved(group, corner, shape, whole_shape) -> Group:
    """A group found in a box of `shape` at `corner`, as one of the whole scan."""
    places = np.unravel_index(group.voxels, shape)
    voxels = np.ravel_multi_index(tuple(p + c for p, c in zip(places, corner)), whole_shape)
    center_irc = tuple(float(p + c) for p, c in zip(group.center_irc, corner))
    return Group(center_irc, voxels, group.volume_mm3)


def _groups_within(hu, mask, spacing_irc, way):
    """`group_voxels` of a whole array."""
    voxel_mm3 = float(np.prod(spacing_irc))
    # One erosion drops thin bridges and specks.
    labels, _ = ndimage.label(ndimage.binary_erosion(mask))
    boxes = ndimage.find_objects(labels)
    centers, _ = centers_of_mass(hu, labels, len(boxes))
    groups, bumps = [], []

    def add(to, center, corner, places):
        voxels = np.ravel_multi_index(tuple((places + corner).T), mask.shape)
        to.append(Group(tuple(center.tolist()), voxels, len(voxels) * voxel_mm3))

    for number, (center, box) in enumerate(zip(centers, boxes), 1):
        # The erosion took one layer away; for the size it is put back, within the mask.
        wider = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
        inside = ndimage.binary_dilation(labels[wider] == number) & mask[wider]
        corner, places = np.array([part.start for part in wider]), np.argwhere(inside)
        add(groups, center, corner, places)
        if way == "split" and groups[-1].volume_mm3 >= LARGE_MM3:
            peaks, nearest = _bumps(inside, places, spacing_irc)
            for k, peak in enumerate(peaks):
                add(bumps, corner + peak.astype(float), corner, places[nearest == k])
    if way == "split":
        groups = _without_repeats(groups + _removed_whole(hu, mask, labels, voxel_mm3) + bumps, spacing_irc)
    return groups


def beside_lungs(groups, lungs: Lungs, spacing_irc) -> list[Group]:
    """The groups that come within `BEYOND_MM` of the lungs; all of them, where no two lungs are found.

    lungs: of the scan; spacing_irc: mm. The U-Net looks at windows around the lungs, and their corners show
    the patient's skin.
    """
    away_mm = lungs.distance_mm(spacing_irc)
    if away_mm is None:
        return groups

    def least_mm(group):
        places = np.unravel_index(group.voxels, lungs.shape)
        return away_mm[tuple(place // step for place, step in zip(places, STEP_IRC))].min()

    return [group for group in groups if least_mm(group) <= BEYOND_MM]


def centers_of_mass(hu, labels, count):
    """Centres (count, 3) of the components 1 … count, weighted by HU + 1001, and their voxels (count,).

    Only labelled voxels are touched: on a whole scan about ten times faster than `ndimage.center_of_mass`.
    """
    flat = np.flatnonzero(labels)
    number = labels.ravel()[flat] - 1
    weight = hu.ravel()[flat] + 1001.0
    total = np.bincount(number, weight, count)
    places = np.unravel_index(flat, labels.shape)
    center = np.stack([np.bincount(number, weight * place, count) / total for place in places], axis=1)
    return center, np.bincount(number, minlength=count)


def _removed_whole(hu, mask, labels, voxel_mm3):
    """Components of the mask of which the erosion left nothing."""
    whole, count = ndimage.label(mask)
    left = np.zeros(count + 1, dtype=bool)
    left[whole[labels > 0]] = True
    whole[left[whole]] = 0
    if not whole.any():
        return []
    with np.errstate(invalid="ignore"):  # components that are left have no voxels here
        centers, voxels = centers_of_mass(hu, whole, count)
    flat = np.flatnonzero(whole)
    flat = flat[np.argsort(whole.ravel()[flat], kind="stable")]
    parts = np.split(flat, np.cumsum(voxels)[:-1])
    kept = np.flatnonzero(voxels * voxel_mm3 >= LEAST_MM3)
    return [Group(tuple(centers[k].tolist()), parts[k], len(parts[k]) * voxel_mm3) for k in kept]


def _bumps(inside, places, spacing_irc):
    """Places in a component that are thicker than their surroundings, and each voxel's nearest of them.

    A nodule on a vessel is a bump in the distance to the surface. inside: bool box; places: (n, 3), its
    voxels. Answers (index in the box (k, 3), number of the nearest (n,)); k is 0 where there is nothing
    to split.
    """
    inside = np.pad(inside, 1)
    depth_mm = ndimage.distance_transform_edt(inside, sampling=spacing_irc)
    smooth = ndimage.gaussian_filter(depth_mm, [SMOOTHING_MM / mm for mm in spacing_irc], output=np.float32)
    window = [2 * max(round(APART_MM / mm), 1) + 1 for mm in spacing_irc]
    is_peak = (ndimage.maximum_filter(smooth, size=window) == smooth) & (depth_mm >= LEAST_RADIUS_MM)
    peaks = np.argwhere(is_peak & inside) - 1
    if len(peaks) < 2:
        return peaks[:0], np.zeros(0, int)
    return peaks, cKDTree(peaks * spacing_irc).query(places * spacing_irc)[1]


def _without_repeats(groups, spacing_irc):
    """The groups without those whose centre lies close to an earlier one."""
    if not groups:
        return groups
    centers_mm = np.array([group.center_irc for group in groups]) * spacing_irc
    tree = cKDTree(centers_mm)
    kept = np.ones(len(groups), dtype=bool)
    for k, near in enumerate(tree.query_ball_point(centers_mm, SAME_MM)):
        kept[k] = not any(kept[j] for j in near if j < k)
    return [group for group, keep in zip(groups, kept) if keep]
