"""Pictures of the report: projections of a whole scan, and three cuts through a finding (chapter 14).

Voxels become PNG, in as many pixels as they have; what is drawn over them (circles, numbers, outlines) is SVG in
millimetres, so that it stays sharp on paper and on any screen.
"""

import base64
import io
from typing import NamedTuple

import numpy as np
import PIL.Image
from scipy import ndimage
from skimage.measure import find_contours

from p2ch13.lungs import ROOM_HU, STEP_IRC, Lungs
from p2ch14.axes import axes_of
from p2ch14.hits import UNSIZED_MM

LUNG_WINDOW = (-1200, 300)  # HU shown as black and white
PROJECTION_WINDOW = (-950, 300)
EXTENT_MM = 60  # edge of a finding's picture
BODY_SHADE = 0.35  # how bright the body around the lungs is, beside what stands in the lungs


class Mark(NamedTuple):
    """A numbered circle in a projection, all in mm from the picture's top left: centre, radius, label's place."""

    number: int
    x: float
    y: float
    radius: float
    label_x: float
    label_y: float


class Upright:
    """A scan as pictures show it: slices from the head down, rows from the front, columns from the patient's right.

    hu: a view of the scan's voxels. Scans may be stored otherwise; oblique ones are turned to the nearest.
    """

    def __init__(self, ct):
        direction = np.asarray(ct.direction_a)
        self.steps = [-1 if direction[2, 2] > 0 else 1]
        self.steps += [-1 if direction[axis, axis] < -0.5 else 1 for axis in (1, 0)]
        self.shape = ct.hu_a.shape
        self.spacing = np.array(ct.geometry.spacing_irc, dtype=float)
        self.flips = tuple(slice(None, None, step) for step in self.steps)
        self.hu = ct.hu_a[self.flips]

    def place(self, center_irc) -> np.ndarray:
        """A voxel index (3,) of the stored scan, as one of `hu`."""
        ends = np.array(self.shape) - 1
        return np.where(np.array(self.steps) > 0, center_irc, ends - np.asarray(center_irc, dtype=float))


def png(grey) -> str:
    """uint8 (rows, columns) as base64-coded PNG."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(grey).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def windowed(hu, window) -> np.ndarray:
    """HU as grey values 0 to 255 (float32): the window's lower end is black, its upper end white."""
    low, high = window
    return np.clip((np.asarray(hu, dtype=np.float32) - low) * (255 / (high - low)), 0, 255)


def projections(ct, nodules, lungs=None) -> list[dict]:
    """The scan seen from the front and from the feet: dicts for the template.

    The largest value within the lungs along each line of sight, in front of the body as a shade: ribs and spine
    would hide everything else. nodules: findings, in the order of their numbers. lungs: the scan's, where they are
    known already.
    """
    upright = Upright(ct)
    in_lungs = _within_lungs(ct.hu_a, lungs or Lungs(ct.hu_a))
    shape = upright.shape
    front = np.full((shape[0], shape[2]), -32768, np.int16)
    feet = np.full(shape[1:], -32768, np.int16)
    front_shade = np.empty((shape[0], shape[2]), np.float32)
    feet_shade = np.zeros(shape[1:], np.float32)
    for index in range(shape[0]):
        hu = ct.hu_a[index]
        share = PIL.Image.fromarray(in_lungs[index // STEP_IRC[0]])
        share = share.resize((shape[2], shape[1]), PIL.Image.Resampling.BILINEAR)
        seen = np.where(np.asarray(share) > 0.5, hu, np.int16(-32768))
        np.maximum(feet, seen, out=feet)
        front[index] = seen.max(axis=0)
        shade = windowed(hu, LUNG_WINDOW)
        front_shade[index] = shade.mean(axis=0)
        feet_shade += shade / shape[0]
    flips = upright.flips
    spacing = upright.spacing
    views = (
        ("from the front", front[flips[0], flips[2]], front_shade[flips[0], flips[2]], (0, 2)),
        ("from the feet", feet[flips[1:]], feet_shade[flips[1:]], (1, 2)),
    )
    told = []
    for name, brightest, shade, (down, across) in views:
        grey = np.where(brightest > -32768, windowed(brightest, PROJECTION_WINDOW), shade * BODY_SHADE)
        height_mm, width_mm = spacing[[down, across]] * grey.shape
        marks = place_labels(
            [
                (*((upright.place(nodule.center_irc) + 0.5) * spacing)[[across, down]], _radius_mm(nodule))
                for nodule in nodules
            ],
            (width_mm, height_mm),
        )
        told.append(
            {
                "name": name, "png": png(grey.astype(np.uint8)), "marks": marks,
                "width_mm": width_mm, "height_mm": height_mm, "letter_mm": width_mm / 26,
            }
        )  # fmt: skip
    return told


def _within_lungs(hu, lungs):
    """Where projections look, every `STEP_IRC`-th voxel, float32: the lungs with what lies in them, without their wall.

    The lungs' mask is air alone: vessels and nodules are its holes.
    """
    coarse = hu[tuple(slice(None, None, step) for step in STEP_IRC)]
    # Noise aside, a room's air is less dense than any lung; it counts as lung where the picture cuts a lung open.
    mask = lungs.mask & (ndimage.uniform_filter(coarse, 3) > ROOM_HU)
    disk = np.hypot(*np.mgrid[-5:6, -5:6]) <= 5
    room = np.pad(mask, ((0, 0), (5, 5), (5, 5)))  # so that closing works at the picture's edge, too
    mask = ndimage.binary_closing(room, disk[None])[:, 5:-5, 5:-5]
    wall = ndimage.generate_binary_structure(2, 1)[None]
    return ndimage.binary_erosion(mask, wall, border_value=1).astype(np.float32)


def _radius_mm(nodule):
    """Of the circle around a finding in a projection: a little outside, so that it hides nothing."""
    return (nodule.diameter_mm or UNSIZED_MM) / 2 + 4


def place_labels(circles, size_mm) -> list[Mark]:
    """Number circles so that no number lies on another number, on a circle or outside, where that can be had.

    circles: (x, y, radius) in mm. size_mm: (width, height) of the picture. Each number takes the first free place
    on rings around its circle; where none is free, the one with the least overlap.
    """
    width, height = size_mm
    letter = width / 26
    taken, marks = [], []
    for number, (x, y, radius) in enumerate(circles, 1):
        half_x, half_y = letter * (0.35 * len(str(number)) + 0.15), letter * 0.5
        best = None
        for ring in range(4):
            away = radius + letter * (0.6 + ring * 0.9)
            for angle in np.deg2rad([-45, -135, 45, 135, -90, 0, 180, 90]):
                box = (x + away * np.cos(angle), y + away * np.sin(angle), half_x, half_y)
                cost = _overlap(box, taken, circles, width, height)
                if best is None or cost < best[0]:
                    best = (cost, box)
        taken.append(best[1])
        marks.append(Mark(number, x, y, radius, best[1][0], best[1][1]))
    return marks


def _overlap(box, taken, circles, width, height):
    """How much a label would lie on others, on circles and outside of the picture; 0 is free."""
    x, y, half_x, half_y = box
    cost = 10 * sum(
        max(-edge, 0) for edge in (x - half_x, y - half_y, width - x - half_x, height - y - half_y)
    )
    for other_x, other_y, other_half_x, other_half_y in taken:
        wide = half_x + other_half_x - abs(x - other_x)
        high = half_y + other_half_y - abs(y - other_y)
        cost += max(wide, 0) * max(high, 0) * 5
    for circle_x, circle_y, radius in circles:
        near = np.hypot(max(abs(x - circle_x) - half_x, 0), max(abs(y - circle_y) - half_y, 0))
        cost += max(radius - near, 0)
    return cost


def cuts(ct, finding) -> list[dict]:
    """Axial, coronal and sagittal cut through a finding: dicts for the template.

    Each shows EXTENT_MM, moved inside where it would reach beyond the scan, less where the scan is smaller. The axial
    cut is the slice in which the finding is largest, and has its two axes; `outline` is the border of its mask.
    """
    upright = Upright(ct)
    center = np.asarray(finding.center_irc, dtype=float)
    mask = measured = None
    if finding.voxels is not None and len(finding.voxels):
        measured = axes_of(finding.voxels, upright.shape, upright.spacing)
        center[0] = measured.index
        mask = _mask_of(finding.voxels, upright)
    center = np.clip(upright.place(center), 0, np.array(upright.shape) - 1)
    told = []
    for name, cut, down, across in (("axial", 0, 1, 2), ("coronal", 1, 0, 2), ("sagittal", 2, 0, 1)):
        index = round(center[cut])
        spacing = upright.spacing[[down, across]]
        starts, stops = _window(center[[down, across]], np.array(upright.shape)[[down, across]], spacing)
        window = (slice(starts[0], stops[0]), slice(starts[1], stops[1]))
        height_mm, width_mm = (stops - starts) * spacing
        grey = windowed(np.take(upright.hu, index, axis=cut)[window], LUNG_WINDOW).astype(np.uint8)

        def to_mm(row_column, starts=starts, spacing=spacing):
            """Voxel indices (n, 2) -> [(x, y)] in mm from the picture's top left."""
            return [(float(x), float(y)) for y, x in (np.asarray(row_column) - starts + 0.5) * spacing]

        told.append(
            {
                "name": name, "png": png(grey), "width_mm": width_mm, "height_mm": height_mm,
                "outlines": [to_mm(line) for line in _outlines(mask, cut, index)],
                "circle": None if mask is not None else (*to_mm([center[[down, across]]])[0], _radius_mm(finding)),
                "axes": [],
            }
        )  # fmt: skip
        if name == "axial" and measured:
            for ends in (measured.long_ends, measured.short_ends):
                full = [upright.place((measured.index, *end))[1:] for end in ends]
                told[-1]["axes"].append(to_mm(full))
    return told


def _window(center, sizes, spacing):
    """(starts, stops) of the voxels within EXTENT_MM around `center`, inside the scan."""
    wanted = np.minimum(np.ceil(EXTENT_MM / spacing).astype(int), sizes)
    starts = np.clip(np.round(center - (wanted - 1) / 2).astype(int), 0, sizes - wanted)
    return starts, starts + wanted


def _mask_of(voxels, upright):
    """(the finding's mask in its own box, the box's first voxel in the upright scan)."""
    places = np.stack(np.unravel_index(np.asarray(voxels), upright.shape), axis=1)
    turned = np.where(np.array(upright.steps) > 0, places, np.array(upright.shape) - 1 - places)
    first = turned.min(axis=0)
    mask = np.zeros(turned.max(axis=0) - first + 1, bool)
    mask[tuple((turned - first).T)] = True
    return mask, first


def _outlines(mask, cut, index):
    """The borders of a mask in one cut: arrays (n, 2) of voxel indices of the whole scan."""
    if mask is None:
        return []
    inside, first = mask
    if not 0 <= index - first[cut] < inside.shape[cut]:
        return []
    plane = np.pad(np.take(inside, index - first[cut], axis=cut), 1).astype(float)
    offset = np.delete(first, cut) - 1
    return [line + offset for line in find_contours(plane, 0.5)]
