"""The patient without findings: body, bones, heart, lungs, airways and vessels.

Everything is described in millimetres in the scanner's frame: x grows to the patient's left, y to the
back, z to the head, and (0, 0, 0) is the middle of the chest. Smooth shapes are signed distances
(negative inside) on a coarse grid of a few millimetres, which a separable cubic interpolation brings
to the scan's own grid; vessels and small airways are clouds of points, each with a little volume.
"""

from dataclasses import dataclass

import numpy as np

COARSE_MM = 3.0


@dataclass(frozen=True)
class Grid:
    """The voxel grid of one scan: shape (Z, Y, X), spacing and the first voxel's centre, mm (x, y, z)."""

    shape: tuple[int, int, int]
    spacing_xyz: tuple[float, float, float]
    first_xyz: tuple[float, float, float]

    def axes(self):
        """Positions of the voxel centres along z, y and x, mm."""
        return [
            first + spacing * np.arange(size)
            for size, spacing, first in zip(self.shape, self.spacing_xyz[::-1], self.first_xyz[::-1])
        ]

    def coarse_axes(self):
        """The coarse grid that covers this one, along z, y and x, mm."""
        axes = []
        for axis in self.axes():
            steps = int(np.ceil((axis[-1] - axis[0]) / COARSE_MM)) + 1
            axes.append(np.linspace(axis[0], axis[-1], max(steps, 4)))
        return axes


class Upsampler:
    """Separable cubic (Catmull-Rom) interpolation from a grid's coarse to its fine voxels."""

    def __init__(self, grid: Grid):
        self.matrices = [
            cubic_matrix(coarse, fine).astype(np.float32)
            for coarse, fine in zip(grid.coarse_axes(), grid.axes())
        ]

    def slab(self, field, start, stop):
        """Slices start..stop of `field` (coarse) on the fine grid, float32 (stop - start, Y, X)."""
        along_z, along_y, along_x = self.matrices
        out = np.tensordot(along_z[start:stop], field, 1)  # (z, yc, xc)
        return (along_y @ out) @ along_x.T  # (z, Y, X)


def cubic_matrix(coarse, fine):
    """The (len(fine), len(coarse)) matrix of Catmull-Rom interpolation, constant past the ends."""
    position = (fine - coarse[0]) / (coarse[1] - coarse[0])
    base = np.floor(position).astype(int)
    t = position - base
    weights = [
        0.5 * (-t + 2 * t**2 - t**3),
        0.5 * (2 - 5 * t**2 + 3 * t**3),
        0.5 * (t + 4 * t**2 - 3 * t**3),
        0.5 * (-(t**2) + t**3),
    ]
    matrix = np.zeros((len(fine), len(coarse)))
    for offset, weight in zip((-1, 0, 1, 2), weights):
        np.add.at(matrix, (np.arange(len(fine)), np.clip(base + offset, 0, len(coarse) - 1)), weight)
    return matrix


def smooth_max(a, b, width):
    """The larger of two fields, with the kink rounded over `width` mm (an intersection of shapes)."""
    h = np.clip(0.5 + 0.5 * (a - b) / width, 0, 1)
    return b + (a - b) * h + width * h * (1 - h)


def smooth_min(a, b, width):
    return -smooth_max(-a, -b, width)


def ellipsoid(x, y, z, center, radii):
    """About the signed distance to an ellipsoid, mm."""
    q = np.sqrt(sum(((p - c) / r) ** 2 for p, c, r in zip((x, y, z), center, radii)))
    return (q - 1) * min(radii)


def tube(x, y, z, path, radius):
    """Signed distance to a polyline (n, 3) of constant or per-point `radius`, mm."""
    radius = np.broadcast_to(radius, len(path))
    best = None
    for a, b, ra, rb in zip(path[:-1], path[1:], radius[:-1], radius[1:]):
        ab = np.subtract(b, a)
        t = ((x - a[0]) * ab[0] + (y - a[1]) * ab[1] + (z - a[2]) * ab[2]) / (ab @ ab)
        t = np.clip(t, 0, 1)
        d = np.sqrt(
            (x - a[0] - t * ab[0]) ** 2 + (y - a[1] - t * ab[1]) ** 2 + (z - a[2] - t * ab[2]) ** 2
        ) - (ra + t * (rb - ra))
        best = d if best is None else np.minimum(best, d)
    return best


def smooth_noise(rng, shape, sigma):
    """Unit-variance noise on a grid, correlated over `sigma` cells."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma, mode="wrap")
    return noise / (noise.std() + 1e-6)


class Anatomy:
    """One patient's shapes on the coarse grid of `grid`.

    size: 1 for an average adult; smaller patients fit a smaller field of view.
    """

    def __init__(self, rng, grid: Grid, size: float):
        self.rng, self.grid, self.size = rng, grid, size
        z, y, x = np.meshgrid(*grid.coarse_axes(), indexing="ij", sparse=True)
        u = rng.uniform
        s = size
        wide, deep, tall = s * u(132, 142), s * u(88, 98), s * u(112, 128)
        self.half_height = tall
        # Chest cavity: a superellipse that narrows towards the neck.
        level = np.clip((z + tall) / (2 * tall), 0, 1.3)
        narrow = np.sqrt(np.clip(1 - np.clip((level - 0.35) / 0.68, 0, 1) ** 2.6, 0.0, 1))
        a, b = wide * np.maximum(narrow, 0.04), deep * np.maximum(narrow, 0.04) ** 0.8
        power = 2.4
        rho = (np.abs(x / a) ** power + np.abs((y - 4 * s) / b) ** power) ** (1 / power)
        wobble = s * 2.5 * smooth_noise(rng, np.broadcast_shapes(z.shape, y.shape, x.shape), 7)
        self.cavity = (rho - 1) * np.minimum(a, b) + wobble
        # Body: the chest wall follows the cavity low down and the shoulders high up.
        wall, fat = s * u(17, 24), u(4, 16) * s
        widen = 1 + 0.18 * np.clip((level - 0.6) / 0.4, 0, 1)
        a_body, b_body = (wide + wall + fat) * widen, (deep + wall + 0.8 * fat) * (1 + 0 * z)
        rho = (np.abs(x / a_body) ** 2.6 + np.abs((y - 6 * s) / b_body) ** 2.6) ** (1 / 2.6)
        self.body = (rho - 1) * b_body + 0.5 * wobble
        self.muscle = np.maximum(self.body + fat, -(self.cavity - 1.5))
        # Spine, with vertebrae and discs, its processes and the canal.
        back = 4 * s + deep * 0.86
        pitch = 24 * s
        phase = (z / pitch + u(0, 1)) % 1.0
        disc = np.abs(phase - 0.5) * pitch  # 12 mm at the disc's middle
        self.disc = np.broadcast_to(disc > pitch * 0.5 - 2.5, wobble.shape)
        vertebra = (np.sqrt((x / (17 * s)) ** 2 + ((y - back) / (14 * s)) ** 2) - 1) * 14 * s
        process = np.maximum(np.abs(x) - 3.0 * s, np.abs(y - back - 34 * s) - 16 * s) + 0 * z
        arch = np.abs(np.sqrt(x**2 + (y - back - 20 * s) ** 2) - 10 * s) - 2.5 * s + 0 * z
        gap = pitch * 0.36 - np.abs(phase - 0.15 - np.round(phase - 0.15)) * pitch
        spine = np.minimum(vertebra + 0 * z, np.maximum(np.minimum(process, arch), -gap))
        # Ribs wind around the cavity and fall towards the front.
        theta = np.arctan2(np.abs(x), (y - 4 * s))  # 0 at the back, pi at the front
        fall = s * 62 * np.clip(theta / np.pi, 0, 1) ** 1.2
        rib_pitch = 25 * s
        rib_phase = ((z + fall) / rib_pitch + u(0, 1)) % 1.0 - 0.5
        rib = (
            (
                np.sqrt((rib_phase * rib_pitch / (6.0 * s)) ** 2 + ((self.cavity - 5.5 * s) / (3.6 * s)) ** 2)
                - 1
            )
            * 3.6
            * s
        )
        rib = np.maximum(rib, 0.55 - theta) + 0 * x
        sternum = (
            np.maximum(np.abs(x) / (16 * s), np.abs(y - (4 * s - deep - 7 * s)) / (6 * s)) - 1
        ) * 6 * s + np.maximum(z - 0.55 * tall, 0) * 0.5
        self.bone = smooth_min(np.minimum(spine, rib), sternum + 0 * z, 2.0)
        self.marrow = u(60, 220)
        # Heart, aorta and the great vessels.
        hx, hy, hz = s * u(18, 28), s * u(-34, -24), -tall * u(0.32, 0.45)
        heart = ellipsoid(x, y, z, (hx, hy, hz), (s * u(48, 58), s * u(40, 48), s * u(44, 54)))
        arch_z = tall * 0.42
        aorta_path = s * np.array(
            [
                [6, -22, 0],
                [0, -34, 20],
                [4, -22, 36],
                [18, 8, 42],
                [24, 40, 34],
                [26, 54, 0],
                [20, 60, -60],
                [14, 62, -160],
            ]
        ) + np.array([0, 0, arch_z - 42 * s])
        aorta = tube(x, y, z, aorta_path, s * u(11, 14))
        self.hilum = {
            side: np.array([side * s * u(34, 40), s * u(2, 10), tall * u(-0.02, 0.1)]) for side in (-1, 1)
        }
        trunk = np.array([12 * s, -26 * s, self.hilum[1][2] + 4 * s])
        pulmonary = np.minimum(
            tube(x, y, z, [trunk, self.hilum[1]], [13 * s, 7 * s]),
            tube(x, y, z, [trunk, (-4 * s, -4 * s, trunk[2]), self.hilum[-1]], [13 * s, 10 * s, 7 * s]),
        )
        cava = tube(x, y, z, s * np.array([[-22, -22, 60], [-24, -18, 0], [-24, -14, -40]]), s * 9)
        self.blood = np.minimum(np.minimum(heart, aorta), np.minimum(pulmonary, cava))
        # Airways: trachea, carina, main bronchi.
        carina = np.array([-2 * s, 14 * s, self.hilum[1][2] + 26 * s])
        self.trachea = np.minimum(
            tube(x, y, z, [carina + [0, -18 * s, 1.2 * tall], carina], s * 8.5),
            np.minimum(
                tube(x, y, z, [carina, self.hilum[-1] + [6 * s, 6 * s, 0]], [s * 7, s * 5]),
                tube(x, y, z, [carina, self.hilum[1] + [-4 * s, 6 * s, 4 * s]], [s * 6.5, s * 5]),
            ),
        )
        # Lungs: the cavity without the mediastinum, above the diaphragm.
        band = s * (4 + 16 * np.exp(-(((y - 10 * s) / (46 * s)) ** 2)) + 8 * np.clip(level - 0.5, 0, 1))
        self.lung_side = {}
        lungs = None
        for side in (-1, 1):
            inner = band - side * x
            dome = -tall * (0.62 if side < 0 else 0.72)
            floor = dome - s * 62 * (((x - side * 68 * s) / (70 * s)) ** 2 + ((y + 14 * s) / (88 * s)) ** 2)
            diaphragm = (np.maximum(floor, -tall * 1.25) - z) * 0.75
            lung = smooth_max(self.cavity + 2.0, inner, 5 * s)
            lung = smooth_max(lung, diaphragm, 4 * s)
            for keep_out, margin in (
                (heart, 3),
                (aorta, 2),
                (pulmonary, 1.5),
                (cava, 2),
                (vertebra + 0 * z, 3),
                (self.trachea, 2),
            ):
                lung = smooth_max(lung, margin - keep_out, 3 * s)
            lung = lung + 0.4 * wobble
            self.lung_side[side] = lung
            lungs = lung if lungs is None else np.minimum(lungs, lung)
        self.lung = lungs
        # Below the diaphragm: organs.
        below = np.maximum(self.cavity + 3, self.lung * 0 + z - (-tall * 0.45))
        self.organ = np.maximum(np.maximum(below, -(self.lung - 2.5)), 0)
        self.organ = np.maximum(below, 3.0 - self.lung)
        # Parenchyma: denser towards the back, mottled.
        self.parenchyma = (
            u(-885, -845)
            + u(20, 55) * (y / (90 * s))
            + 10 * smooth_noise(rng, wobble.shape, 1.2)
            + 12 * smooth_noise(rng, wobble.shape, 5)
        )
        self.fatness = smooth_noise(rng, wobble.shape, 2.5)
        self.shape = wobble.shape

    def sample(self, field, points):
        """Linear interpolation of a coarse `field` at `points` (n, 3) xyz, mm."""
        from scipy.ndimage import map_coordinates

        axes = self.grid.coarse_axes()
        index = [(points[:, 2 - k] - axis[0]) / (axis[1] - axis[0]) for k, axis in enumerate(axes)]
        return map_coordinates(field, index, order=1, mode="nearest")

    def random_points(self, field, depth, count):
        """`count` points xyz, uniform where `field` < -depth. Fewer where there is no such place."""
        cells = np.argwhere(field < -depth)
        if len(cells) == 0:
            return np.empty((0, 3))
        chosen = cells[self.rng.integers(len(cells), size=count)] + self.rng.uniform(-0.5, 0.5, (count, 3))
        axes = self.grid.coarse_axes()
        return np.stack([axes[k][0] + chosen[:, k] * (axes[k][1] - axes[k][0]) for k in (2, 1, 0)], axis=1)


@dataclass
class Tree:
    """Segments from `start` to `stop` (n, 3) with `radius` (n,) mm and `parent` (n,), -1 at the root."""

    start: np.ndarray
    stop: np.ndarray
    radius: np.ndarray
    parent: np.ndarray
    leaves: np.ndarray


def grow_tree(rng, root, direction, targets, tip_radius, exponent=2.7):
    """A branching tree from `root` that reaches every target (n, 3): Tawhai's volume filling.

    Each branch grows part of the way to the middle of the targets it feeds and splits them by a
    plane through itself (Tawhai et al., 2004). Radii obey Murray's law with the given exponent.
    """
    start, stop, parent, leaves = [], [], [], []
    stack = [(np.asarray(root, float), np.asarray(direction, float), targets, -1)]
    while stack:
        at, heading, points, mother = stack.pop()
        if len(points) == 1:
            end = points[0]
        else:
            way = points.mean(0) - at
            length = np.sqrt(way @ way) + 1e-9
            heading = 0.35 * heading + 0.65 * way / length
            heading /= np.sqrt(heading @ heading)
            end = at + heading * length * rng.uniform(0.3, 0.5)
        me = len(start)
        start.append(at)
        stop.append(end)
        parent.append(mother)
        leaves.append(len(points))
        if len(points) == 1:
            continue
        spread = points - points.mean(0)
        spread -= np.outer(spread @ heading, heading)
        across = spread[np.argmax((spread**2).sum(1))]
        along = spread @ across
        order = np.argsort(along)
        cut = int(
            np.clip(np.searchsorted(along[order], 0) + rng.normal(0, 0.12) * len(points), 1, len(points) - 1)
        )
        stack += [(end, heading, points[order[:cut]], me), (end, heading, points[order[cut:]], me)]
    leaves = np.array(leaves)
    return Tree(
        np.array(start), np.array(stop), tip_radius * leaves ** (1 / exponent), np.array(parent), leaves
    )


def tube_points(rng, start, stop, radius, step):
    """Points that fill round tubes evenly, with the volume in mm³ that each stands for."""
    length = np.linalg.norm(stop - start, axis=1)
    area = np.pi * radius**2
    per_section = np.maximum(1, np.round(area / step**2)).astype(int)
    sections = np.maximum(1, np.ceil(length / step)).astype(int)
    count = per_section * sections
    which = np.repeat(np.arange(len(start)), count)
    t = rng.random(len(which))
    direction = (stop - start) / np.maximum(length, 1e-9)[:, None]
    helper = np.where(np.abs(direction[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    e1 = np.cross(direction, helper)
    e1 /= np.linalg.norm(e1, axis=1, keepdims=True)
    e2 = np.cross(direction, e1)
    rho = radius[which] * np.sqrt(rng.random(len(which)))
    phi = rng.uniform(0, 2 * np.pi, len(which))
    points = (
        start[which]
        + t[:, None] * (stop - start)[which]
        + (rho * np.cos(phi))[:, None] * e1[which]
        + (rho * np.sin(phi))[:, None] * e2[which]
    )
    return points, (area * length / count)[which]


def deposit(grid: Grid, points, volumes):
    """Fraction of each voxel that the points' volumes fill, float32 (Z, Y, X), at most 1."""
    position = (points - grid.first_xyz) / grid.spacing_xyz  # (n, 3) x, y, z
    base = np.floor(position).astype(np.int64)
    t = position - base
    Z, Y, X = grid.shape
    inside = np.all((base >= 0) & (base < np.array([X, Y, Z]) - 1), axis=1)
    base, t, volumes = base[inside], t[inside], volumes[inside] / np.prod(grid.spacing_xyz)
    flat = (base[:, 2] * Y + base[:, 1]) * X + base[:, 0]
    filled = np.zeros(Z * Y * X)
    for dz in (0, 1):
        for dy in (0, 1):
            for dx in (0, 1):
                weight = (
                    np.abs(1 - dx - t[:, 0]) * np.abs(1 - dy - t[:, 1]) * np.abs(1 - dz - t[:, 2]) * volumes
                )
                filled += np.bincount(flat + (dz * Y + dy) * X + dx, weight, minlength=len(filled))
    return np.minimum(filled, 1).astype(np.float32).reshape(grid.shape)
