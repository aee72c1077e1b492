"""The patient without findings: body, bones, heart, lungs, airways and vessels.

Everything is described in millimetres in the scanner's frame: x grows to the patient's left, y to the
back, z to the head, and (0, 0, 0) is the middle of the chest. Smooth shapes are signed distances
(negative inside) on a coarse grid of a few millimetres, which a separable cubic interpolation brings
to the scan's own grid; vessels and small airways are clouds of points, each with a little volume.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

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
        self.pixel_mm = grid.spacing_xyz[0]
        self.along = [cubic_matrix(*axes) for axes in zip(grid.coarse_axes(), grid.axes())]

    def slab(self, field, slices):
        """Those slices of the coarse `field` on the fine grid, float32 (slices, Y, X)."""
        along_z, along_y, along_x = self.along
        return interpolate(field, along_z[slices], along_y, along_x)


def interpolate(field, along_z, along_y, along_x):
    """`field` (z, y, x) times one sparse matrix along each axis, float32.

    Sparse products run on one thread in a fixed order, so that the same seed gives the same bytes
    whatever the number of cores; dense ones do not promise that.
    """
    low, high = along_z.indices.min(), along_z.indices.max() + 1
    part = field[low:high].astype(np.float32)
    n, rows, columns = part.shape
    part = along_x @ part.transpose(2, 0, 1).reshape(columns, n * rows)  # (X, n * rows)
    part = part.reshape(-1, n, rows).transpose(2, 1, 0)  # (rows, n, X)
    part = along_y @ part.reshape(rows, -1)  # (Y, n * X)
    part = part.reshape(along_y.shape[0], n, -1).transpose(1, 0, 2)  # (n, Y, X)
    shape = part.shape[1:]
    return (along_z[:, low:high] @ part.reshape(n, -1)).reshape(-1, *shape)


def cubic_matrix(coarse, fine):
    """The sparse (len(fine), len(coarse)) matrix of Catmull-Rom interpolation, constant past the ends."""
    position = (fine - coarse[0]) / (coarse[1] - coarse[0])
    base = np.floor(position).astype(int)
    t = position - base
    weights = [
        0.5 * (-t + 2 * t**2 - t**3),
        0.5 * (2 - 5 * t**2 + 3 * t**3),
        0.5 * (t + 4 * t**2 - 3 * t**3),
        0.5 * (-(t**2) + t**3),
    ]
    columns = np.clip(base + np.arange(-1, 3)[:, None], 0, len(coarse) - 1)  # (4, n)
    rows = np.broadcast_to(np.arange(len(fine)), columns.shape)
    entries = (np.concatenate(weights).astype(np.float32), (rows.ravel(), columns.ravel()))
    return sparse.csr_matrix(entries, shape=(len(fine), len(coarse)))


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


def superellipse(u, v, power):
    """Zero on |u|^power + |v|^power = 1, negative inside; times a radius it is about a distance."""
    return (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power) - 1


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


@dataclass(frozen=True)
class Build:
    """What kind of body. size: 1 for an average adult. fat_mm: under the skin. vessels: their calibre,
    1 on average. lung_hu: of the parenchyma. haze_hu: how much denser it is where it lies on the back.
    emphysema: it has holes. mottle: how uneven the parenchyma is, 1 as usual."""

    size: float
    fat_mm: float
    vessels: float
    lung_hu: float
    haze_hu: float
    emphysema: bool
    mottle: float = 1.0


def sample_build(rng, size: float) -> Build:
    """A body of the given size, the rest at random."""
    return Build(
        size=float(size),
        fat_mm=float(size * rng.uniform(6, 26)),
        vessels=float(rng.uniform(0.8, 1.15)),
        lung_hu=float(rng.uniform(-892, -850)),
        haze_hu=float(rng.uniform(10, 200)),
        emphysema=bool(rng.random() < 0.2),
    )


class Anatomy:
    """One patient's shapes as signed distances (mm, negative inside) on the coarse grid of `grid`.

    blood_hu: what heart and vessels measure, higher with contrast agent.
    """

    def __init__(self, rng, grid: Grid, build: Build, blood_hu: float):
        self.rng, self.grid, self.build, self.blood_hu = rng, grid, build, blood_hu
        self.size = build.size
        self.axes = grid.coarse_axes()
        self.shape = tuple(len(axis) for axis in self.axes)
        z, y, x = np.meshgrid(*self.axes, indexing="ij", sparse=True)
        self._chest(x, y, z)
        self._bones(x, y, z)
        self._mediastinum(x, y, z)
        self._lungs(x, y, z)
        self._textures(y)

    def _noise(self, millimetres):
        """Unit noise correlated over so many mm."""
        return smooth_noise(self.rng, self.shape, millimetres / (self.axes[2][1] - self.axes[2][0]))

    def _chest(self, x, y, z):
        """Cavity, body outline and the muscles between them."""
        u, s = self.rng.uniform, self.size
        self.wide, self.deep, self.tall = s * u(130, 143), s * u(84, 99), s * u(112, 130)
        self.level = level = np.clip((z + self.tall) / (2 * self.tall), 0, 2)  # 1 at the lungs' tips
        narrow = np.sqrt(np.clip(1 - np.clip((level - 0.35) / 0.67, 0, 1) ** u(2.3, 3.2), 0, 1))
        a, b = self.wide * np.maximum(narrow, 0.04), self.deep * np.maximum(narrow, 0.04) ** 0.8
        self.wobble = s * 2.5 * self._noise(24)
        self.cavity = superellipse(x / a, (y - 4 * s) / b, 2.2) * np.minimum(a, b) + self.wobble
        wall, self.fat = s * u(14, 19), self.build.fat_mm
        shoulders = np.clip((level - 0.55) / 0.4, 0, 1) * np.clip((1.45 - level) / 0.25, 0, 1)
        neck = 1 - 0.55 * np.clip((level - 1.2) / 0.25, 0, 1)
        a_body = (self.wide + wall + self.fat) * (1 + 0.2 * shoulders) * neck
        b_body = (self.deep + wall + 0.8 * self.fat) * neck**0.7
        self.body = superellipse(x / a_body, (y - 6 * s) / b_body, 2.5) * b_body + 0.6 * self.wobble
        # Sheets of fat run between the muscles, along the chest wall.
        sheets = np.abs(self.cavity - 14 * s - 3 * self._noise(30)) - 2.0 * s - 2.2 * self._noise(16)
        self.muscle = smooth_max(self.body + self.fat + 2 * self._noise(14), -sheets, 2.0)
        self.table = y - (6 * s + np.max(b_body) + 9 - 0.0011 * x**2) + 0 * z

    def _bones(self, x, y, z):
        """Spine, ribs, sternum, shoulder blades and collar bones."""
        u, s = self.rng.uniform, self.size
        self.back = back = 4 * s + self.deep * u(0.6, 0.7)
        pitch = 24 * s
        phase = (z / pitch + u(0, 1)) % 1.0 - 0.5
        waist = 1 - 0.12 * np.cos(2 * np.pi * phase)
        self.vertebra = superellipse(x / (18 * s * waist), (y - back) / (15 * s * waist), 2.3) * 15 * s
        disc = 2.5 * s - np.abs(np.abs(phase) - 0.5) * pitch
        canal_y = back + 23 * s
        ring = np.abs(np.sqrt((x / 1.15) ** 2 + (y - canal_y) ** 2) - 11 * s) - 2.6 * s
        process = np.maximum(np.abs(x) - 2.6 * s, np.abs(y - back - 44 * s) - 12 * s)
        wing = np.maximum(np.abs(y - canal_y - 0.25 * np.abs(x)) - 4 * s, np.abs(x) - 32 * s)
        gap = np.abs(phase) * pitch - pitch * 0.27
        behind = smooth_max(np.minimum(np.minimum(ring, process), wing), gap, 2 * s)
        behind = np.maximum(behind, 8 * s - np.sqrt((x / 1.15) ** 2 + (y - canal_y) ** 2))
        spine = np.minimum(np.maximum(self.vertebra, disc), behind)
        # Ribs wind around the cavity and fall towards the front, where they end in cartilage.
        theta = np.arctan2(np.abs(x), y - 4 * s)  # 0 at the back, pi at the front
        fall = s * u(55, 75) * np.clip(theta / np.pi, 0, 1) ** 1.2
        along = (((z + fall) / pitch + u(0, 1)) % 1.0 - 0.5) * pitch
        across = self.cavity - 5.5 * s
        rib = (np.sqrt((along / (5.8 * s)) ** 2 + (across / (3.4 * s)) ** 2) - 1) * 3.4 * s
        self.cartilage = rib
        rib = np.maximum(rib, np.maximum(0.5 - theta, theta - 2.5) * 40 * s)
        rib = np.maximum(rib, (self.level - 1.04) * 60)
        front = 4 * s - self.deep - 5 * s
        sternum = np.maximum(
            superellipse(x / (17 * s), (y - front) / (6 * s), 3) * 6 * s, z - 0.62 * self.tall
        )
        sternum = np.maximum(sternum, -0.55 * self.tall - z)
        spot = np.sqrt(((theta - 0.95) / 0.5) ** 2 + ((z - 0.4 * self.tall) / (0.42 * self.tall)) ** 2)
        blade = np.maximum(np.abs(self.cavity - 21 * s) - 2.2 * s, (spot - 1) * 30 * s)
        collar = None
        for side in (-1, 1):
            path = s * np.array([[18, 0, 0], [60, 14, 6], [120, 34, 14]]) * [side, 1, 1]
            bone = tube(x, y, z, path + [0, front + 6 * s, 0.72 * self.tall], 5.5 * s)
            collar = bone if collar is None else np.minimum(collar, bone)
        self.bone = np.minimum(np.minimum(spine, rib), np.minimum(sternum, np.minimum(blade, collar)))
        self.bone = self.bone + 0.35 * s * self._noise(6)
        self.marrow = u(60, 220) + 35 * self._noise(5)

    def _mediastinum(self, x, y, z):
        """Heart and great vessels (`blood`), trachea and main bronchi."""
        u, s, tall = self.rng.uniform, self.size, self.tall
        hx, hy, hz = s * u(14, 24), s * u(-34, -24), -tall * u(0.3, 0.42)
        self.heart = ellipsoid(x, y, z, (hx + 16 * s, hy - 4 * s, hz - 8 * s), s * np.array([48, 42, 46]))
        for center, radii in (
            ((hx - 26 * s, hy + 2 * s, hz), (32, 34, 42)),
            ((hx - 6 * s, hy + 26 * s, hz + 20 * s), (38, 24, 26)),
        ):
            radii = s * np.array(radii) * u(0.9, 1.1)
            self.heart = smooth_min(self.heart, ellipsoid(x, y, z, center, radii), 8 * s)
        top = tall * u(0.36, 0.46)
        path = [[2, -24, -40], [-4, -34, -16], [2, -26, -4], [16, 4, 0], [23, 34, -8], [25, 52, -40]]
        path += [[20, 58, -100], [14, 60, -220]]
        aorta = tube(x, y, z, s * np.array(path) + [0, 0, top], s * u(11, 14.5))
        self.hilum = {
            side: np.array([side * s * u(34, 40), s * u(4, 12), tall * u(-0.04, 0.08)]) for side in (-1, 1)
        }
        trunk = np.array([12 * s, -28 * s, self.hilum[1][2] + 6 * s])
        bend = np.array([-6 * s, -6 * s, trunk[2]])
        pulmonary = np.minimum(
            tube(x, y, z, [trunk, self.hilum[1]], s * np.array([13, 7])),
            tube(x, y, z, [trunk, bend, self.hilum[-1]], s * np.array([13, 10, 7])),
        )
        cava = tube(x, y, z, s * np.array([[-22, -24, 90], [-24, -18, 0], [-24, -12, -60]]), s * 8.5)
        self.blood = np.minimum(np.minimum(self.heart, aorta), np.minimum(pulmonary, cava))
        carina = np.array([-2 * s, 16 * s, self.hilum[1][2] + 24 * s])
        self.trachea = np.minimum(
            tube(x, y, z, [carina + [0, -20 * s, 1.5 * tall], carina], s * u(7.5, 9.5)),
            np.minimum(
                tube(x, y, z, [carina, self.hilum[-1] + [2 * s, 10 * s, 0]], s * np.array([7.5, 5])),
                tube(x, y, z, [carina, self.hilum[1] + [0, 10 * s, 2 * s]], s * np.array([7, 5])),
            ),
        )
        column = superellipse(x / (30 * s), (y - self.back - 34 * s) / (40 * s), 2) * 30 * s + 0 * z
        self.keep_out = (
            (column, 0),
            (self.vertebra, 4),
            (self.heart, 4),
            (aorta, 2),
            (pulmonary, 1.5),
            (cava, 2),
            (self.trachea, 2),
        )

    def _lungs(self, x, y, z):
        """The cavity without the mediastinum, above the diaphragm; fissures divide it into lobes."""
        u, s, tall = self.rng.uniform, self.size, self.tall
        middle = s * (3 + u(10, 16) * np.exp(-(((y - 10 * s) / (46 * s)) ** 2)))
        middle = middle + s * 10 * np.clip(self.level - 0.55, 0, 1) + 2.5 * s * self._noise(22)
        middle = middle + s * u(0, 16) * np.exp(-(((y + self.deep) / (24 * s)) ** 2))
        self.lung_side, floors = {}, None
        for side in (-1, 1):
            dome = -tall * (u(0.52, 0.66) if side < 0 else u(0.62, 0.76))
            bowl = ((x - side * 64 * s) / (70 * s)) ** 2 + ((y + 16 * s) / (84 * s)) ** 2
            floor = np.maximum(dome - s * 62 * bowl, -tall * 1.28) + 2 * self.wobble
            below = (floor - z) * 0.7
            lung = smooth_max(self.cavity + 2.0, middle - side * x, 6 * s)
            lung = smooth_max(lung, below, 5 * s)
            for organ, margin in self.keep_out:
                lung = smooth_max(lung, margin - organ, 4 * s)
            self.lung_side[side] = lung + 0.4 * self.wobble
            here = np.where(side * x > 0, below, 1e3)
            floors = here if floors is None else np.minimum(floors, here)
        self.lung = np.minimum(self.lung_side[-1], self.lung_side[1])
        self.organ = smooth_max(smooth_max(self.cavity + 3, -floors, 3), 3 - self.lung, 2)
        # Oblique fissures run from high in the back to low in the front; the right lung has a second.
        tilt = np.where(x < 0, u(0.75, 1.1), u(0.8, 1.2))
        lift = np.where(x < 0, u(-0.08, 0.08), u(-0.05, 0.12)) * tall
        bend = 3 * s * self._noise(26)
        self.oblique = (z - lift - tilt * (y - 8 * s)) / np.sqrt(1 + tilt**2) + bend
        self.horizontal = np.where(
            x < 0, z - u(-0.02, 0.14) * tall + 0.15 * (y + 20 * s) + bend, 1e3
        ) + np.where(self.oblique < 0, 1e3, 0.0)

    def _textures(self, y):
        """HU of the parenchyma, with gravity, mottle and, in some, emphysema; fat and muscle."""
        u, s = self.rng.uniform, self.size
        m = self.build.mottle
        hu = self.build.lung_hu + u(15, 50) * (y / (90 * s))
        hu = hu + 16 * m * self._noise(3.2) + 12 * m * self._noise(16)
        rear = np.clip((y - 25 * s) / (50 * s), 0, 1)
        hu = hu + self.build.haze_hu * rear * np.exp(-np.maximum(-self.lung, 0) / u(2, 5))
        if self.build.emphysema:
            holes = np.clip((self._noise(u(4, 8)) - u(0.6, 1.3)) * 2.5, 0, 1)
            hu = hu + holes * (-965 - hu)
        self.parenchyma = np.maximum(hu, -985)
        self.fatness = self._noise(7)
        # Rays through little tissue are many: noise is low in the air, a bit lower in the lungs.
        tissue = np.clip(0.5 - self.body / (30 * s), 0, 1)
        self.noise_share = (0.25 + 0.75 * tissue) * (1 - 0.14 * np.clip(0.5 - self.lung / 12, 0, 1))

    def sample(self, field, points):
        """Linear interpolation of a coarse `field` at `points` (n, 3) xyz, mm."""
        from scipy.ndimage import map_coordinates

        index = [(points[:, 2 - k] - axis[0]) / (axis[1] - axis[0]) for k, axis in enumerate(self.axes)]
        return map_coordinates(field, index, order=1, mode="nearest")

    def sample_box(self, field, z, y, x):
        """Cubic interpolation of a coarse `field` on the grid of positions z, y, x (mm): (Z, Y, X)."""
        return interpolate(
            field, *(cubic_matrix(axis, np.asarray(at)) for axis, at in zip(self.axes, (z, y, x)))
        )

    def random_points(self, where, count):
        """About `count` points xyz (n, 3), uniform in the coarse cells where the bool field holds."""
        cells = np.flatnonzero(where)
        if len(cells) == 0:
            return np.empty((0, 3))
        chosen = np.stack(np.unravel_index(self.rng.choice(cells, count), self.shape), axis=1)
        position = chosen + self.rng.uniform(-0.5, 0.5, chosen.shape)
        return np.stack(
            [self.axes[k][0] + position[:, k] * (self.axes[k][1] - self.axes[k][0]) for k in (2, 1, 0)],
            axis=1,
        )

    def volume_ml(self, where):
        return np.count_nonzero(where) * np.prod([axis[1] - axis[0] for axis in self.axes]) / 1000

    def lobes(self, side):
        """Bool fields of one lung's lobes, in the part of it that is in the picture."""
        lung, low = self.lung_side[side] < 0, self.oblique < 0
        parts = [lung & low, lung & ~low]
        if side < 0:
            parts = [parts[0], parts[1] & (self.horizontal < 0), parts[1] & (self.horizontal >= 0)]
        return [part for part in parts if part.any()]


@dataclass
class Tree:
    """Segments from `start` to `stop` (n, 3) with `radius` (n,) mm; `parent` (n,) is -1 at the root."""

    start: np.ndarray
    stop: np.ndarray
    radius: np.ndarray
    parent: np.ndarray

    def curved(self, pieces=4):
        """(start, stop, radius) of the same tree with bends where it has corners: Hermite curves."""
        chord = self.stop - self.start
        length = np.linalg.norm(chord, axis=1, keepdims=True)
        heading = chord / np.maximum(length, 1e-9)
        before = np.where(self.parent[:, None] >= 0, heading[self.parent], heading)
        t = np.linspace(0, 1, pieces + 1)[:, None, None]
        bent = (
            (2 * t**3 - 3 * t**2 + 1) * self.start
            + (t**3 - 2 * t**2 + t) * before * length
            + (3 * t**2 - 2 * t**3) * self.stop
            + (t**3 - t**2) * heading * length
        )  # (pieces + 1, n, 3)
        return (
            bent[:-1].reshape(-1, 3),
            bent[1:].reshape(-1, 3),
            np.tile(self.radius, pieces),
        )


def grow_tree(rng, root, heading, targets, tip_radius, exponent=3.5):
    """A branching tree from `root` to every one of `targets` (n, 3): Tawhai's volume filling.

    Each branch grows part of the way to the middle of the targets it feeds, then splits them in two
    by a plane across their widest direction (Tawhai et al., 2004). All branches of one generation
    grow at once. Radii obey Murray's law (cubes add up at a fork), slightly
    softened.
    """
    points = np.asarray(targets, float)
    count = np.array([len(points)])
    at, heading = np.asarray(root, float)[None], np.asarray(heading, float)[None]
    mother = np.array([-1])
    starts, stops, parents, leaves = [], [], [], []
    made = 0
    while len(count):
        first = np.r_[0, np.cumsum(count)[:-1]]
        group = np.repeat(np.arange(len(count)), count)
        middle = np.add.reduceat(points, first) / count[:, None]
        way = middle - at
        length = np.linalg.norm(way, axis=1, keepdims=True) + 1e-9
        heading = 0.45 * heading + 0.55 * way / length
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        end = at + heading * length * rng.uniform(0.28, 0.5, length.shape)
        end = np.where(count[:, None] == 1, middle, end)
        starts.append(at)
        stops.append(end)
        parents.append(mother)
        leaves.append(count)
        names = made + np.arange(len(count))
        made += len(count)
        # The widest direction across the branch, by two steps of power iteration.
        spread = points - middle[group]
        spread -= (spread * heading[group]).sum(1, keepdims=True) * heading[group]
        across = rng.standard_normal(end.shape)
        for _ in range(2):
            across = np.add.reduceat(spread * (spread * across[group]).sum(1, keepdims=True), first)
            across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-12
        along = (spread * across[group]).sum(1)
        low, high = np.minimum.reduceat(along, first), np.maximum.reduceat(along, first)
        cut = np.clip(rng.normal(0, 0.22, len(count)) * (high - low), 0.98 * low, 0.98 * high)
        upper = along > cut[group]
        go_on = (count > 1) & (low < high)
        order = np.argsort(2 * group + upper, kind="stable")
        order = order[go_on[group[order]]]
        points = points[order]
        uppers = np.add.reduceat(upper.astype(int), first)[go_on]
        pair = np.stack([count[go_on] - uppers, uppers], axis=1)
        count = pair.ravel()
        at, heading, mother = (np.repeat(v[go_on], 2, axis=0) for v in (end, heading, names))
    leaves = np.concatenate(leaves)
    radius = tip_radius * leaves ** (1 / exponent) * np.exp(rng.normal(0, 0.08, len(leaves)))
    return Tree(np.concatenate(starts), np.concatenate(stops), radius, np.concatenate(parents))


def tube_points(start, stop, radius, step):
    """Points about `step` mm apart that fill round tubes evenly, and the volume in mm³ of each.

    They follow a low-discrepancy sequence (multiples of powers of the plastic number's inverse), which
    fills space more evenly than random points would.
    """
    length = np.linalg.norm(stop - start, axis=1)
    area = np.pi * radius**2
    per_section = np.maximum(1, np.round(area / step**2)).astype(int)
    sections = np.maximum(1, np.ceil(length / step)).astype(int)
    count = per_section * sections
    which = np.repeat(np.arange(len(start)), count)
    t, across, phi = (
        np.modf(0.5 + np.arange(len(which)) * a)[0] for a in (0.8191725134, 0.6710436067, 0.5497004779)
    )
    direction = (stop - start) / np.maximum(length, 1e-9)[:, None]
    helper = np.where(np.abs(direction[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    e1 = np.cross(direction, helper)
    e1 /= np.linalg.norm(e1, axis=1, keepdims=True)
    e2 = np.cross(direction, e1)
    rho, phi = radius[which] * np.sqrt(across), 2 * np.pi * phi
    points = (
        start[which]
        + t[:, None] * (stop - start)[which]
        + (rho * np.cos(phi))[:, None] * e1[which]
        + (rho * np.sin(phi))[:, None] * e2[which]
    )
    return points, (area * length / count)[which]


def deposit(grid: Grid, points, volumes):
    """(box, share): the share of each voxel in `box` (three slices) that the points fill, at most 1.

    Each point's volume (mm³) is divided among its eight neighbours by trilinear weights, so that thin
    vessels keep their partial volume between pixels as well as between slices.
    """
    position = (points - grid.first_xyz) / grid.spacing_xyz  # (n, 3) x, y, z
    inside = np.all((position >= 0) & (position < np.array(grid.shape[::-1]) - 1), axis=1)
    position, volumes = position[inside], volumes[inside] / np.prod(grid.spacing_xyz)
    if len(position) == 0:
        return (slice(0, 0),) * 3, np.zeros((0, 0, 0), np.float32)
    base = position.astype(np.int32)
    low, high = base.min(0), base.max(0) + 2
    t = (position - base).astype(np.float32)
    nx, ny, nz = (int(n) for n in high - low)
    base -= low
    flat = (base[:, 2] * ny + base[:, 1]) * nx + base[:, 0]
    filled = np.zeros(nz * ny * nx)
    sides = (1 - t, t)
    for dz in (0, 1):
        for dy in (0, 1):
            plane = sides[dz][:, 2] * sides[dy][:, 1] * volumes
            for dx in (0, 1):
                where = flat + ((dz * ny + dy) * nx + dx)
                filled += np.bincount(where, plane * sides[dx][:, 0], minlength=len(filled))
    box = tuple(slice(int(low[k]), int(high[k])) for k in (2, 1, 0))
    return box, np.minimum(1.08 * filled, 1).astype(np.float32).reshape(nz, ny, nx)
