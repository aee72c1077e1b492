"""Generated patients in LUNA16's own format (chapter 9, "Our data source").

    python -m p2ch09.phantom --scans 8 --seed 1 --out data/my_patients

A patient is sampled (`p2ch09.anatomy`, `p2ch09.nodules`), drawn in Hounsfield units, blurred by the
scanner's point spread and made noisy as a reconstruction kernel makes it. Nothing here is a real
patient, and nothing learned from these alone is fit for a clinic.
"""

import argparse
import csv
import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import fft

from p2ch09.anatomy import Anatomy, Build, Grid, Upsampler, deposit, grow_tree, sample_build, tube_points
from p2ch09.geometry import Geometry
from p2ch09.nodules import Nodule, draw_nodule, sample_count, sample_nodule
from p2ch09.varied import draw_lymph_nodes, sample_varied_nodule, varied_build, varied_scanner
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.processes import end_with_parent

SHAPE = (128, 256, 256)
# 2.25 is the root for UIDs derived from a UUID; the middle arc says "generated" to a reader.
UID_ROOT = "2.25.90009"
SUBSETS = 10
SLAB = 16


@dataclass
class Patient:
    """One generated scan with everything that is known about it.

    hu: (Z, Y, X) int16. origin_xyz, spacing_xyz: mm. direction: (3, 3), columns are the image axes.
    nodules: with `center_xyz` in patient millimetres. candidates: (x, y, z, class, kind) rows.
    excluded: (x, y, z, diameter_mm or -1) rows. mask: (Z, Y, X) bool of the nodules' voxels, or None.
    """

    series_uid: str
    hu: np.ndarray
    origin_xyz: np.ndarray
    spacing_xyz: np.ndarray
    direction: np.ndarray
    nodules: list[Nodule]
    candidates: list[tuple]
    excluded: list[tuple]
    scanner: "Scanner"
    mask: np.ndarray | None = None

    @property
    def geometry(self) -> Geometry:
        """Where the scan lies, as all later chapters have it."""
        return Geometry(self.hu.shape, self.origin_xyz, self.spacing_xyz, self.direction)


def series_uid(seed, scan=0) -> str:
    """A DICOM UID for a generated scan: the same for the same seed, at most 64 characters."""
    number = int(hashlib.sha256(f"p2ch09 {seed} {scan}".encode()).hexdigest()[:30], 16)
    return f"{UID_ROOT}.{number}"


@dataclass(frozen=True)
class Scanner:
    """How the picture is taken.

    spacing_xyz: mm. cutoff: the reconstruction kernel's reach in line pairs per mm, from about 0.28
    (smooth) to 0.6 (sharp). noise_hu: standard deviation. overlap: share of a slice that it has in
    common with each neighbour. round_field: nothing is reconstructed outside the largest circle.
    blood_hu: what blood measures, 30 to 50 by itself and well above 100 with contrast agent.
    """

    spacing_xyz: tuple[float, float, float]
    cutoff: float = 0.35
    noise_hu: float = 25.0
    overlap: float = 0.08
    round_field: bool = False
    blood_hu: float = 42.0


def sample_view(rng, shape):
    """(scanner, size of the patient, x of the picture's middle in mm) for a scan of `shape`.

    256 pixels of 0.5 to 0.9 mm hold no adult chest. So with so few, six in ten patients are small
    people of whom both lungs are in the picture, and the others have one lung imaged.
    """
    if shape[2] >= 400:
        in_plane, size, middle = rng.uniform(0.6, 0.85), rng.uniform(0.88, 1.08), 0.0
    elif rng.random() < 0.6:
        in_plane, middle = rng.uniform(0.78, 0.9), 0.0
        size = shape[2] * in_plane * rng.uniform(0.88, 0.95) / 274
    else:
        in_plane = rng.uniform(0.56, 0.78)
        size = np.clip(shape[2] * in_plane * rng.uniform(0.9, 1.05) / 196, 0.6, 1.0)
        middle = float(rng.choice([-1, 1])) * 62 * size
    slices = float(rng.choice([1.0, 1.25, 1.5, 2.0, 2.5], p=[0.12, 0.33, 0.1, 0.2, 0.25]))
    scanner = Scanner(
        spacing_xyz=(float(in_plane), float(in_plane), slices),
        cutoff=float(rng.uniform(0.28, 0.56)),
        noise_hu=float(np.clip(np.exp(rng.normal(np.log(25), 0.32)), 15, 50)),
        overlap=float(rng.choice([0.04, 0.12])),
        round_field=bool(rng.random() < 0.15),
        blood_hu=float(rng.uniform(130, 300) if rng.random() < 0.35 else rng.uniform(32, 50)),
    )
    return scanner, float(size), middle


def make_patient(
    seed,
    shape=SHAPE,
    *,
    scanner: Scanner | None = None,
    build: Build | None = None,
    nodules=None,
    richness=1,
    masks=False,
    is_varied=False,
) -> Patient:
    """Make one patient. seed: an int, or (cohort's seed, number of the scan). shape: (Z, Y, X).

    scanner, build (the body) and nodules (how many) are drawn at random by default; `richness` gives
    the patient the nodules of so many LUNA16 scans; `is_varied`: see `p2ch09.varied`. Same arguments, same
    bytes. Raises `UserError` for a shape that cannot hold a chest.
    """
    shape = tuple(int(n) for n in shape)
    if len(shape) != 3 or min(shape) < 16:
        raise UserError(f"a scan of shape {shape} is too small; give three sizes of at least 16")
    key = (seed, 0) if np.isscalar(seed) else tuple(seed)
    rng = np.random.default_rng([909, *key])
    drawn_scanner, size, middle_x = sample_view(rng, shape)
    drawn_build = sample_build(rng, size)
    if is_varied:
        drawn_scanner, drawn_build = varied_scanner(rng, drawn_scanner), varied_build(rng, drawn_build)
    scanner, build = scanner or drawn_scanner, build or drawn_build
    grid = _aim(rng, shape, np.array(scanner.spacing_xyz), build.size, middle_x)
    anatomy = Anatomy(rng, grid, build, scanner.blood_hu)

    hu = np.empty(shape, np.float32)
    _draw_anatomy(hu, grid, anatomy)
    trees = _draw_vessels(hu, grid, anatomy)
    mask = np.zeros(shape, bool)
    if is_varied:
        draw_lymph_nodes(rng, hu, grid, anatomy)
    sample = sample_varied_nodule if is_varied else sample_nodule
    found = [sample(rng) for _ in range(_count(rng, nodules, richness))]
    found = _place(rng, anatomy, grid, found, trees)
    for nodule in found:
        draw_nodule(hu, mask, grid, anatomy, nodule)
    excluded = _excluded(rng, hu, grid, anatomy, trees)
    _take_picture(rng, hu, grid, anatomy, scanner)
    candidates = _candidates(rng, anatomy, grid, trees, found, excluded)
    return _to_patient_frame(
        rng, key, hu, mask if masks else None, grid, scanner, found, candidates, excluded
    )


def _count(rng, nodules, richness):
    return nodules if nodules is not None else sum(sample_count(rng) for _ in range(richness))


def _aim(rng, shape, spacing, size, middle_x):
    """The voxel grid: centred on the lungs in-plane, and along them by choice where they do not fit."""
    extent = (np.array(shape[::-1]) - 1) * spacing
    lowest, highest = -150 * size, 125 * size
    spare = (highest - lowest) - extent[2]
    z = (lowest + highest) / 2 + (rng.uniform(-0.5, 0.5) * spare if spare > 0 else 0)
    middle = np.array([middle_x, rng.uniform(4, 14) * size, z])
    return Grid(shape, tuple(spacing), tuple(middle - extent / 2))


def _to_patient_frame(rng, key, hu, mask, grid, scanner, found, candidates, excluded):
    """Give the picture its place in patient millimetres; one scan in seven is flipped or oblique."""
    extent = (np.array(grid.shape[::-1]) - 1) * grid.spacing_xyz
    direction, corner = np.eye(3), np.array(grid.first_xyz)
    turn, kind = np.eye(3), rng.random()
    if kind < 0.06:  # stored right to left and back to front: only the direction tells
        hu = hu[:, ::-1, ::-1]
        mask = mask if mask is None else mask[:, ::-1, ::-1]
        direction, corner = np.diag([-1.0, -1.0, 1.0]), corner + [extent[0], extent[1], 0]
    elif kind < 0.14:  # the patient lay askew
        turn = _rotation(rng.normal(0, 0.08, 3))
    shift = rng.uniform(-1, 1, 3) * [30, 30, 0] + [0, 0, rng.uniform(-400, 100)]

    def place(point):
        return turn @ np.asarray(point, float) + shift

    for nodule in found:
        nodule.center_xyz = place(nodule.center_xyz)
        corners = np.array([place(end) for end in nodule.bbox_xyz])
        nodule.bbox_xyz = np.array([corners.min(0), corners.max(0)])
    return Patient(
        series_uid=series_uid(*key),
        hu=np.ascontiguousarray(np.clip(np.rint(hu), -2048, 3071).astype(np.int16)),
        origin_xyz=place(corner),
        spacing_xyz=np.array(grid.spacing_xyz),
        direction=turn @ direction,
        nodules=found,
        candidates=[(*place(row[:3]), *row[3:]) for row in candidates],
        excluded=[(*place(row[:3]), *row[3:]) for row in excluded],
        scanner=scanner,
        mask=None if mask is None else np.ascontiguousarray(mask),
    )


def _rotation(angles):
    """The rotation matrix of three small angles about x, y and z, in radians."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [k for k in range(3) if k != axis]
        one = np.eye(3)
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turn = one @ turn
    return turn


def _draw_anatomy(hu, grid, anatomy):
    """Lay the tissues over each other, slab by slab so that a slab stays in the processor's cache."""
    up = Upsampler(grid)
    for start in range(0, grid.shape[0], SLAB):
        _draw_slab(hu[start : start + SLAB], up, anatomy, slice(start, start + SLAB))


def _draw_slab(part, up, anatomy, slices):
    """Draw slices `slices` into `part` (n, Y, X). Edges are as wide as a pixel: partial volume."""
    edge = np.float32(up.pixel_mm)

    def cover(field, depth=0.0):
        """Share of each voxel that lies at least `depth` mm inside the shape `field`."""
        distance = up.slab(field, slices)
        return np.clip((-depth - distance) / edge + np.float32(0.5), 0, 1, out=distance)

    def lay(value, share):
        part[:] += share * (value - part)

    a = anatomy
    part.fill(-1000)
    table = np.abs(up.slab(a.table, slices))
    lay(-940, np.clip((8 - table) / edge, 0, 1))
    lay(120, np.clip(1.3 - np.abs(up.slab(a.table, slices) + 9) / 1.5, 0, 1))
    lay(-600, np.clip(1.3 - np.abs(up.slab(a.table, slices) - 9) / 1.5, 0, 1))
    soft = up.slab(a.fatness, slices)
    lay(-104 + 9 * soft, cover(a.body))
    lay(52 + 8 * soft, cover(a.muscle))
    lay(30, cover(a.body) - cover(a.body, 1.6))  # skin
    lay(np.clip(-25 + 130 * soft, -95, 45), cover(a.cavity))  # fat and soft tissue in the chest
    lay(58 + 0.15 * (a.blood_hu - 40) + 5 * soft, cover(a.organ))
    lay(a.blood_hu, cover(a.blood))
    lay(95, cover(a.cartilage))
    lay(520, cover(a.bone))
    lay(up.slab(a.marrow, slices), cover(a.bone, 1.5))
    lung = cover(a.lung)
    lay(up.slab(a.parenchyma, slices), lung)
    for fissure in (a.oblique, a.horizontal):
        sheet = np.clip(1 - np.abs(up.slab(fissure, slices)) / 0.9, 0, 1)
        part += 150 * sheet * lung
    lay(25, cover(a.trachea, -1.3))
    lay(-995, cover(a.trachea))


def _draw_vessels(hu, grid, anatomy):
    """Arteries with their bronchi, and veins, lobe by lobe. Returns the trees: they mimic nodules."""
    rng, s = anatomy.rng, anatomy.size
    trees, walls, lumens = [], [], []
    for side in (-1, 1):
        for lobe in anatomy.lobes(side):
            inner = lobe & (anatomy.lung < -1.5)
            shell = inner & (anatomy.lung > -12)
            for what, per_ml, drop in (("artery", 0.52, 0), ("vein", 0.4, -20 * s)):
                targets = np.concatenate(
                    [
                        anatomy.random_points(part, int(share * per_ml * anatomy.volume_ml(part)))
                        for part, share in ((inner, 1.0), (shell, 1.8))
                    ]
                )
                if len(targets) < 3:
                    continue
                root = anatomy.hilum[side] + [0, 4 * s if drop else 0, drop]
                tree = grow_tree(rng, root, (side, 0, 0), targets, 0.5 * anatomy.build.vessels)
                trees.append(tree)
                if what == "artery":
                    start, stop, radius = tree.curved()
                    away = rng.normal(size=3) * [1, 1, 0.5]
                    away /= np.linalg.norm(away)
                    wide = (radius > 0.9) & (radius < 4.5) & (anatomy.sample(anatomy.blood, start) > 4)
                    start, stop, radius = start[wide], stop[wide], radius[wide]
                    aside = away * (2.0 * radius[:, None] + 0.3)
                    walls.append((start + aside, stop + aside, radius + 0.35))
                    lumens.append((start + aside, stop + aside, 0.85 * radius))
    if not trees:
        return trees
    step = 0.72 * min(grid.spacing_xyz)

    def draw(tubes, value, change=np.maximum):
        joined = [np.concatenate(part) for part in zip(*tubes)]
        box, share = deposit(grid, *tube_points(*joined, step))
        hu[box] += share * change(value - hu[box], 0)

    if walls:
        draw(walls, 10)
        draw(lumens, -960, np.minimum)
    draw([tree.curved() for tree in trees], anatomy.blood_hu)
    return trees


def _inside(point, grid, margin):
    """Does `point` (x, y, z) mm lie at least `margin` voxels inside the picture?"""
    index = (point - grid.first_xyz) / grid.spacing_xyz
    return bool(np.all(index >= margin) and np.all(index <= np.array(grid.shape[::-1]) - 1 - margin))


def _at_depth(anatomy, depth):
    """A point `depth` mm below the pleura (negative: in the chest wall), or None."""
    points = anatomy.random_points(np.abs(anatomy.lung + depth) < 2.0, 1)
    if len(points) == 0:
        return None
    for _ in range(2):  # Newton's steps along the gradient of the signed distance
        steps = np.concatenate([points, points + np.eye(3)])
        value, *ahead = anatomy.sample(anatomy.lung, steps)
        slope = np.array(ahead) - value
        points = points - (value + depth) * slope / max(slope @ slope, 0.25)
    return points[0]


def _place(rng, anatomy, grid, nodules, trees):
    """Give each nodule a centre where its kind of place is; those that fit nowhere are left out."""
    placed = []
    for nodule in nodules:
        radius = nodule.diameter_mm / 2
        for _ in range(60):
            if nodule.place == "pleura":
                point = _at_depth(anatomy, rng.uniform(0.3, 0.9) * radius)
            elif nodule.place == "vessel" and trees:
                tree = trees[rng.integers(len(trees))]
                usable = np.flatnonzero((tree.radius > 0.45) & (tree.radius < 1.3))
                point = tree.stop[rng.choice(usable)] if len(usable) else None
            else:
                point = next(iter(anatomy.random_points(anatomy.lung < -radius - 1.5, 1)), None)
            if point is None or not _inside(point, grid, 5):
                continue
            if anatomy.sample(anatomy.lung, point[None])[0] > -0.2 * radius:
                continue
            if all(np.linalg.norm(point - p.center_xyz) > 4 + radius + p.diameter_mm / 2 for p in placed):
                nodule.center_xyz = point
                placed.append(nodule)
                break
    return placed


def _excluded(rng, hu, grid, anatomy, trees):
    """Irrelevant findings: drawn ones that look like nodules, and normal structures taken for one.

    Rows of (x, y, z, diameter_mm), the diameter -1 as in LUNA16 where nobody measured.
    """
    rows, ignored = [], np.zeros(hu.shape, bool)

    def draw(point, diameter, kind="solid", outline="round", sunk=False, listed=-1.0):
        one = Nodule(
            diameter, kind, outline, "free", False, [], np.array(point), seed=int(rng.integers(2**31))
        )
        draw_nodule(hu, ignored, grid, anatomy, one, sunk)
        rows.append((*one.center_xyz, listed))

    lung = anatomy.lung
    for point in anatomy.random_points(lung < -3, int(rng.poisson(8))):  # specks below 3 mm
        if _inside(point, grid, 4):
            draw(point, rng.uniform(1.3, 2.8), str(rng.choice(["solid", "calcified"], p=[0.85, 0.15])))
    for point in anatomy.random_points(lung < -5, int(rng.poisson(0.9))):  # patches of haze
        if _inside(point, grid, 4):
            diameter = rng.uniform(6, 22)
            draw(
                point, diameter, "ground-glass", "lobulated", listed=diameter if rng.random() < 0.3 else -1.0
            )
    for _ in range(int(rng.poisson(2.0))):  # thickened pleura
        diameter = rng.uniform(8, 24)
        point = _at_depth(anatomy, -rng.uniform(0.25, 0.42) * diameter)
        if point is not None and _inside(point, grid, 4):
            draw(point, diameter, outline="lobulated", sunk=True)
    for _ in range(int(rng.poisson(1.5))):
        point = _at_depth(anatomy, rng.uniform(2, 18))
        if point is not None and _inside(point, grid, 4):
            draw_scar = _draw_band if rng.random() < 0.5 else _draw_star
            draw_scar(rng, hu, grid, anatomy, point)
            rows.append((*point, -1.0))
    for _ in range(int(rng.gamma(2.5, 11))):
        if trees:
            tree = trees[rng.integers(len(trees))]
            point = tree.stop[rng.integers(len(tree.stop))] + rng.normal(0, 1, 3)
            diameter = float(np.exp(rng.normal(1.8, 0.4))) if rng.random() < 0.15 else -1.0
            if _inside(point, grid, 1):
                rows.append((*point, diameter))
    return rows


def _draw_star(rng, hu, grid, anatomy, point):
    """A scar with strands to all sides."""
    count = int(rng.integers(5, 11))
    away = rng.normal(size=(count, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    bend = rng.normal(0, 2.0, (count, 3))
    length, radius = rng.uniform(5, 20, (count, 1)), rng.uniform(0.3, 0.9, count)
    half = point + 0.5 * length * away + bend
    tubes = [(np.repeat(point[None], count, 0), half, 1.6 * radius), (half, point + length * away, radius)]
    joined = [np.concatenate(part) for part in zip(*tubes)]
    box, share = deposit(grid, *tube_points(*joined, 0.4))
    hu[box] += share * np.maximum(rng.uniform(-150, 20) - hu[box], 0)


def _draw_band(rng, hu, grid, anatomy, point):
    """A bent sheet, as a collapsed strip of lung leaves behind."""
    frame = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    wide, high, thick = rng.uniform(8, 28), rng.uniform(5, 16), rng.uniform(0.8, 2.6)
    count = int(wide * high * thick / 0.05)
    u, v, w = rng.uniform(-0.5, 0.5, (3, count))
    taper = 1.0 - 1.4 * np.abs(u) * (1 - 0.5 * v)
    bend = rng.normal(0, 0.012) * (u * wide) ** 2
    points = point + np.einsum("kn,kj->nj", [u * wide, v * high, w * thick * taper + bend], frame)
    points = points[anatomy.sample(anatomy.lung, points) < 0.5]
    box, share = deposit(grid, points, np.full(len(points), 0.05))
    hu[box] += share * np.maximum(rng.uniform(-250, 20) - hu[box], 0)


def _candidates(rng, anatomy, grid, trees, nodules, excluded):
    """Where a candidate detector would have fired: rows of (x, y, z, class, kind).

    On every nodule, now and then twice, and on several hundred things that look like one: LUNA16
    has about 600 per scan.
    """
    rows = []
    for nodule in nodules:
        for _ in range(1 + int(rng.random() < 0.25)):
            rows.append((*(nodule.center_xyz + rng.normal(0, 0.08 * nodule.diameter_mm, 3)), 1, "nodule"))
    wanted = int(np.clip(np.exp(rng.normal(np.log(580), 0.25)), 200, 1300))
    points, kinds = [], []

    def offer(kind, where, share):
        where = np.asarray(where).reshape(-1, 3)
        keep = min(len(where), int(share * wanted) + 1)
        points.append(where[rng.permutation(len(where))[:keep]])
        kinds.extend([kind] * keep)

    offer("excluded", [row[:3] for row in excluded], 0.08)
    if trees:
        start, stop, radius = (
            np.concatenate([getattr(tree, name) for tree in trees]) for name in ("start", "stop", "radius")
        )
        in_lung = anatomy.sample(anatomy.lung, stop) < -1
        offer("branching", stop[(radius > 0.5) & (radius < 4) & in_lung], 0.45)
        steep = np.abs(stop - start)[:, 2] > 0.8 * np.linalg.norm(stop - start, axis=1)
        middle = np.concatenate([tree.curved(2)[0][len(tree.start) :] for tree in trees])
        offer("end-on vessel", middle[steep & (radius > 0.4) & in_lung], 0.3)
        offer("vessel", middle[(radius > 0.7) & in_lung], 0.3)
        offer("airway wall", (stop + [0, 2.5, 0])[(radius > 1.2) & (radius < 4) & in_lung], 0.05)
    offer("pleura", anatomy.random_points(np.abs(anatomy.lung + 1) < 1.5, wanted), 0.22)
    offer(
        "fissure", anatomy.random_points((np.abs(anatomy.oblique) < 1.5) & (anatomy.lung < -3), wanted), 0.05
    )
    border = (np.abs(anatomy.lung) < 2) & (anatomy.blood < 6)
    offer("mediastinum", anatomy.random_points(border, wanted), 0.06)
    points = np.concatenate(points)
    points = points + rng.normal(0, 0.5, points.shape)
    order = rng.permutation(len(points))
    taken = {}
    for k in order:
        cell = tuple(np.floor(points[k] / 5).astype(int))  # detectors merge marks within 5 mm
        if cell in taken or len(taken) == wanted or not _inside(points[k], grid, 0):
            continue
        if all(np.linalg.norm(points[k] - n.center_xyz) > n.diameter_mm / 2 + 4 for n in nodules):
            taken[cell] = (*points[k], 0, kinds[k])
    return rows + list(taken.values())


def _take_picture(rng, hu, grid, anatomy, scanner):
    """The scanner: slice profile, in-plane point spread, noise coloured by the kernel. Works in place.

    Noise power over frequency f (line pairs per mm): (f/c) exp(-(f/c)^2), the ramp of filtered back
    projection under the kernel's roll-off at c, and a low-frequency part; both were fitted to the
    autocorrelation of real scans (`p2ch09.calibration`).
    """
    before = hu[:-2].copy()
    hu[1:-1] = (1 - 2 * scanner.overlap) * hu[1:-1] + scanner.overlap * (before + hu[2:])
    depth, height, width = hu.shape
    dx, dy, _ = scanner.spacing_xyz
    fx, fy = np.fft.rfftfreq(width, dx)[None], np.fft.fftfreq(height, dy)[:, None]
    f = np.sqrt(fx**2 + fy**2)
    blur_mm = 0.16 / scanner.cutoff
    spread = np.exp(-2 * (np.pi * blur_mm * f) ** 2).astype(np.float32)
    f = f / scanner.cutoff
    low = np.interp(scanner.cutoff, [0.3, 0.56], [5.8, 2.0])
    power = f * np.exp(-(f**2)) + low * np.exp(-((f * scanner.cutoff / 0.12) ** 2))
    both = 2 * power.sum() - power[:, 0].sum() - (power[:, -1].sum() if width % 2 == 0 else 0)
    colour = np.sqrt(power * height * width / both).astype(np.float32) * np.float32(scanner.noise_hu)
    if scanner.round_field:
        r = np.hypot(
            (np.arange(height) - height / 2 + 0.5)[:, None] / height,
            (np.arange(width) - width / 2 + 0.5)[None] / width,
        )
        outside = r > 0.5
    up = Upsampler(grid)
    for start in range(0, depth, SLAB):
        part = hu[start : start + SLAB]
        white = rng.standard_normal(part.shape, dtype=np.float32)
        part[:] = fft.irfft2(fft.rfft2(part) * spread, s=(height, width))
        noise = fft.irfft2(fft.rfft2(white) * colour, s=(height, width))
        part += noise * up.slab(anatomy.noise_share, slice(start, start + SLAB))
        if scanner.round_field:
            part[:, outside] = -2048


def index_of(patient: Patient, point_xyz):
    """(index, row, column) of the voxel at a point in patient millimetres; chapter 10 explains the sum."""
    return tuple(int(n) for n in np.rint(patient.geometry.xyz2irc_exactly(point_xyz)))


def crop_at(patient: Patient, point_xyz, size=(32, 48, 48)):
    """The voxels around a point, int16 of `size`; near an edge the crop is shifted inside."""
    starts = [
        int(np.clip(center - length // 2, 0, full - length))
        for center, length, full in zip(index_of(patient, point_xyz), size, patient.hu.shape)
    ]
    return patient.hu[tuple(slice(start, start + length) for start, length in zip(starts, size))]


# --- writing -----------------------------------------------------------------------------------


def write_scan(patient: Patient, folder: Path, masks=False):
    """Write `<uid>.mhd` and `.zraw` (and `<uid>_mask.nii.gz`) into `folder`."""
    import SimpleITK as sitk

    folder.mkdir(parents=True, exist_ok=True)
    image = patient.geometry.to_itk(patient.hu)
    sitk.WriteImage(image, str(folder / f"{patient.series_uid}.mhd"), useCompression=True, compressionLevel=1)
    if masks:
        mask = patient.geometry.to_itk(patient.mask.astype(np.uint8))
        sitk.WriteImage(mask, str(folder / f"{patient.series_uid}_mask.nii.gz"))


def _scan_job(job):
    number, seed, shape, folder, richness, masks, is_varied = job
    patient = make_patient((seed, number), shape, richness=richness, masks=masks, is_varied=is_varied)
    write_scan(patient, Path(folder) / f"subset{number % SUBSETS}", masks)
    patient.hu = patient.mask = None
    return patient


def write_cohort(out, scans, seed, shape=SHAPE, *, processes=None, richness=1, masks=False, is_varied=False):
    """Write `scans` patients below `out` in LUNA16's layout; `out` must be empty or absent.

    Scan n lands in `subset{n % 10}`, as LUNA16 spreads its scans over ten folders. richness: how many
    LUNA16 scans' nodules each patient has. masks: write the nodules' exact voxels beside each scan. is_varied: as
    for `make_patient`, or one for each scan.
    """
    from util.util import enumerateWithEstimate

    out = Path(out)
    if scans < 1:
        raise UserError(f"a cohort needs at least one scan, not {scans}")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; name a new folder or remove the old one")
    out.mkdir(parents=True, exist_ok=True)
    varied = np.broadcast_to(is_varied, scans).tolist()
    jobs = [(n, seed, shape, str(out), richness, masks, varied[n]) for n in range(scans)]
    processes = processes or min(os.cpu_count() or 1, scans, 16)
    if processes == 1:
        results = map(_scan_job, jobs)
        patients = [p for _, p in enumerateWithEstimate(results, "patients", iter_len=scans)]
    else:
        with ProcessPoolExecutor(processes, initializer=end_with_parent) as pool:
            results = pool.map(_scan_job, jobs)
            patients = [p for _, p in enumerateWithEstimate(results, "patients", iter_len=scans)]
    _write_lists(out, patients)


def _write_lists(out, patients):
    def table(name, header, rows):
        with atomic_path(out / name) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if header:
                writer.writerow(header)
            writer.writerows(rows)

    where = ["seriesuid", "coordX", "coordY", "coordZ"]
    nodules = [(p.series_uid, n) for p in patients for n in p.nodules]
    table(
        "annotations.csv",
        [*where, "diameter_mm"],
        [(uid, *n.center_xyz.round(4), round(n.diameter_mm, 4)) for uid, n in nodules],
    )
    bbox = [f"bbox{end}{axis}" for end in ("Low", "High") for axis in "XYZ"]
    table(
        "annotations_with_malignancy.csv",
        [*where, "diameter_mm", "mal_bool", "mal_details", *bbox, "len_mal_details"],
        [
            (
                uid,
                *n.center_xyz.round(4),
                round(n.diameter_mm, 4),
                n.malignant,
                str(n.ratings),
                *(n.center_xyz - n.diameter_mm / 2).round(4),
                *(n.center_xyz + n.diameter_mm / 2).round(4),
                len(n.ratings),
            )
            for uid, n in nodules
        ],
    )
    table(
        "candidates.csv",
        [*where, "class"],
        [
            (p.series_uid, *(round(float(v), 4) for v in row[:3]), row[3])
            for p in patients
            for row in p.candidates
        ],
    )
    table(
        "annotations_excluded.csv",
        [*where, "diameter_mm"],
        [(p.series_uid, *(round(float(v), 4) for v in row)) for p in patients for row in p.excluded],
    )
    table("seriesuids.csv", None, [(p.series_uid,) for p in patients])


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m p2ch09.phantom", description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=3, default=SHAPE, metavar=("Z", "Y", "X"))
    parser.add_argument("--processes", type=int, default=None)
    parser.add_argument("--masks", action="store_true", help="also write each scan's nodule mask (.nii.gz)")
    parser.add_argument("--richness", type=int, default=1, help="nodules of so many LUNA16 scans in each")
    parser.add_argument("--varied", action="store_true", help="patients that differ more: p2ch09.varied")
    options = parser.parse_args(arguments)
    write_cohort(
        options.out,
        options.scans,
        options.seed,
        tuple(options.size),
        processes=options.processes,
        richness=options.richness,
        masks=options.masks,
        is_varied=options.varied,
    )
    print(f"{options.scans} generated patients in {options.out}")


if __name__ == "__main__":
    main_guard(main)
