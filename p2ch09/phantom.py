"""Generated patients in LUNA16's own format (chapter 9, "Our data source").

    python -m p2ch09.phantom --scans 8 --seed 1 --out data/my_patients

A patient is sampled (`p2ch09.anatomy`, `p2ch09.nodules`), drawn in Hounsfield units, blurred by the
scanner's point spread and made noisy as a reconstruction kernel makes it. Nothing here is a real
patient, and nothing learned from these alone is fit for a clinic.
"""

import argparse
import csv
import functools
import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from p2ch09.anatomy import Anatomy, Grid, Upsampler, deposit, grow_tree, tube_points
from p2ch09.nodules import Nodule, draw_nodule, sample_count, sample_nodule
from util.files import UserError, atomic_path, main_guard

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
    mask: np.ndarray | None = None
    facts: dict = field(default_factory=dict)


def series_uid(seed, scan=0) -> str:
    """A DICOM UID for a generated scan: the same for the same seed, at most 64 characters."""
    number = int(hashlib.sha256(f"p2ch09 {seed} {scan}".encode()).hexdigest()[:30], 16)
    return f"{UID_ROOT}.{number}"


def make_patient(seed, shape=SHAPE, *, spacing_xyz=None, nodules=None, masks=False) -> Patient:
    """Make one patient. seed: an int or a sequence of ints. shape: (Z, Y, X).

    spacing_xyz: mm; drawn by default. nodules: how many; drawn by default. Same seed, same bytes.
    """
    shape = tuple(int(n) for n in shape)
    if len(shape) != 3 or min(shape) < 16:
        raise UserError(f"a scan of shape {shape} is too small; give three sizes of at least 16")
    key = [seed] if np.isscalar(seed) else list(seed)
    rng = np.random.default_rng([909, *key])
    if spacing_xyz is None:
        in_plane = rng.uniform(0.74, 0.9) if shape[2] < 400 else rng.uniform(0.6, 0.85)
        spacing_xyz = (in_plane, in_plane, float(rng.choice([1.0, 1.25, 1.5, 2.0, 2.5])))
    spacing = np.array(spacing_xyz, float)
    size = float(np.clip(shape[2] * spacing[0] * rng.uniform(0.9, 0.96) / 274, 0.5, 1.1))
    extent = (np.array(shape[::-1]) - 1) * spacing
    middle = np.array([0, 4 * size, -10 * size])
    grid = Grid(shape, tuple(spacing), tuple(middle - extent / 2))
    anatomy = Anatomy(rng, grid, size)
    contrast = rng.random() < 0.35
    blood_hu = rng.uniform(120, 280) if contrast else rng.uniform(32, 50)

    hu = np.empty(shape, np.float32)
    _draw_anatomy(hu, grid, anatomy, blood_hu)
    trees = _draw_vessels(hu, grid, anatomy, blood_hu)
    mask = np.zeros(shape, bool)
    found = [sample_nodule(rng) for _ in range(sample_count(rng) if nodules is None else nodules)]
    found = _place(rng, anatomy, grid, found, trees)
    tissue_hu = 45 if not contrast else 70
    for nodule in found:
        draw_nodule(hu, mask, grid, anatomy, nodule, tissue_hu)
    excluded = _excluded(rng, hu, grid, anatomy, trees, tissue_hu)
    _image(rng, hu, spacing)
    candidates = _candidates(rng, anatomy, grid, trees, found, excluded)

    direction, origin = np.eye(3), np.array(grid.first_xyz)
    if rng.random() < 0.06:
        hu, mask = hu[:, ::-1, ::-1], mask[:, ::-1, ::-1]
        direction = np.diag([-1.0, -1.0, 1.0])
        origin = origin + [extent[0], extent[1], 0]
    shift = rng.uniform(-1, 1, 3) * [30, 30, 0] + [0, 0, rng.uniform(-400, 100)]
    for nodule in found:
        nodule.center_xyz = nodule.center_xyz + shift
    move = lambda rows: [(*(np.array(row[:3]) + shift), *row[3:]) for row in rows]  # noqa: E731
    return Patient(
        series_uid=series_uid(*(key if len(key) == 2 else (key[0], 0))),
        hu=np.ascontiguousarray(np.clip(np.rint(hu), -1024, 3071).astype(np.int16)),
        origin_xyz=origin + shift,
        spacing_xyz=spacing,
        direction=direction,
        nodules=found,
        candidates=move(candidates),
        excluded=move(excluded),
        mask=np.ascontiguousarray(mask) if masks else None,
        facts={"size": size, "contrast": contrast},
    )


def _draw_anatomy(hu, grid, anatomy, blood_hu):
    """Lay the tissues over each other, slab by slab so that every slab stays in the processor's cache."""
    up = Upsampler(grid)
    edge = grid.spacing_xyz[0]
    f32 = functools.partial(np.asarray, dtype=np.float32)
    fields = {
        n: f32(getattr(anatomy, n))
        for n in (
            "body",
            "muscle",
            "cavity",
            "organ",
            "blood",
            "bone",
            "lung",
            "trachea",
            "parenchyma",
            "fatness",
        )
    }
    for start in range(0, grid.shape[0], SLAB):
        stop = min(start + SLAB, grid.shape[0])
        part = hu[start:stop]
        part.fill(-1000)

        def lay(name, value, depth=0.0):
            cover = up.slab(fields[name], start, stop)
            np.clip((-depth - cover) / edge + 0.5, 0, 1, out=cover)
            part[:] += cover * (value - part)

        soft = up.slab(fields["fatness"], start, stop)
        lay("body", -105 + 8 * soft)
        lay("muscle", 50 + 6 * soft)
        lay("cavity", np.where(soft > 0.3, 40, -80).astype(np.float32))
        lay("organ", 55)
        lay("blood", blood_hu)
        lay("bone", 500)
        lay("bone", anatomy.marrow, 1.8)
        lay("lung", up.slab(fields["parenchyma"], start, stop))
        lay("trachea", 20, -1.2)
        lay("trachea", -995)


def _draw_vessels(hu, grid, anatomy, blood_hu):
    """Arteries with their bronchi and veins, in both lungs. Returns the trees, for what mimics nodules."""
    rng, s = anatomy.rng, anatomy.size
    trees, walls, lumens = [], [], []
    for side in (-1, 1):
        lung = anatomy.lung_side[side]
        for what, count, z_shift in (("artery", 620, 0), ("vein", 420, -22 * s)):
            targets = anatomy.random_points(lung, 3.5, count)
            if len(targets) < 2:
                continue
            root = anatomy.hilum[side] + [0, 4 * s if what == "vein" else 0, z_shift]
            tree = grow_tree(rng, root, (side, 0, 0), targets, 0.36)
            trees.append(tree)
            if what == "artery":
                wide = (tree.radius > 1.0) & (tree.radius < 4.5)
                offset = np.array([0.3, 0.8, 0.5]) * 1.9 * tree.radius[wide, None]
                airway = (tree.start[wide] + offset, tree.stop[wide] + offset, tree.radius[wide])
                walls.append((airway[0], airway[1], airway[2] * 0.95 + 0.3))
                lumens.append((airway[0], airway[1], airway[2] * 0.95 - 0.25))
    step = 0.6 * min(grid.spacing_xyz)

    def cover(tubes):
        tubes = [np.concatenate(part) for part in zip(*tubes)]
        return deposit(grid, *tube_points(rng, *tubes, step))

    if trees:
        vessels = cover([(t.start, t.stop, t.radius) for t in trees])
        hu += vessels * np.maximum(blood_hu - hu, 0)
        if walls:
            hu += cover(walls) * np.maximum(20 - hu, 0)
            lumen = cover(lumens)
            hu += lumen * (-960 - hu)
    return trees


def _place(rng, anatomy, grid, nodules, trees):
    """Give each nodule a centre where its kind of place is; those that fit nowhere are left out."""
    placed = []
    for nodule in nodules:
        radius = nodule.diameter_mm / 2
        for _ in range(60):
            if nodule.place == "pleura":
                point = anatomy.random_points(np.abs(anatomy.lung + 0.6 * radius), -1.5, 1)
            elif nodule.place == "vessel" and trees:
                tree = trees[rng.integers(len(trees))]
                usable = np.flatnonzero((tree.radius > 0.5) & (tree.radius < 1.6))
                point = tree.stop[[rng.choice(usable)]] if len(usable) else np.empty((0, 3))
            else:
                point = anatomy.random_points(anatomy.lung, radius + 2, 1)
            if len(point) == 0:
                continue
            index = (point[0] - grid.first_xyz) / grid.spacing_xyz
            if np.any(index < 4) or np.any(index > np.array(grid.shape[::-1]) - 5):
                continue
            if anatomy.sample(anatomy.lung, point)[0] > -min(radius * 0.4, 3):
                continue
            if all(np.linalg.norm(point[0] - p.center_xyz) > 4 + radius + p.diameter_mm / 2 for p in placed):
                nodule.center_xyz = point[0]
                placed.append(nodule)
                break
    return placed


def _excluded(rng, hu, grid, anatomy, trees, tissue_hu):
    """What single readers marked: specks below 3 mm, drawn, and normal structures taken for findings."""
    rows, ignored = [], np.zeros(hu.shape, bool)
    for point in anatomy.random_points(anatomy.lung, 3, int(rng.poisson(9))):
        speck = sample_nodule(rng)
        speck.diameter_mm, speck.kind, speck.outline = float(rng.uniform(1.4, 2.9)), "solid", "round"
        speck.center_xyz = point
        draw_nodule(hu, ignored, grid, anatomy, speck, tissue_hu)
        rows.append((*point, -1.0))
    for _ in range(int(rng.gamma(3, 10))):
        if trees:
            tree = trees[rng.integers(len(trees))]
            point = tree.stop[rng.integers(len(tree.stop))] + rng.normal(0, 1, 3)
            diameter = float(np.exp(rng.normal(1.8, 0.4))) if rng.random() < 0.13 else -1.0
            rows.append((*point, diameter))
    return rows


def _candidates(rng, anatomy, grid, trees, nodules, excluded):
    """Where a candidate detector would have fired: on every nodule, and on whatever looks like one."""
    rows = []
    for nodule in nodules:
        for _ in range(1 + int(rng.random() < 0.25)):
            rows.append((*(nodule.center_xyz + rng.normal(0, 0.12 * nodule.diameter_mm, 3)), 1, "nodule"))
    mimics = [(np.array(row[:3]), "excluded") for row in excluded if rng.random() < 0.6]
    for tree in trees:
        forks = np.flatnonzero((tree.radius > 0.55) & (tree.radius < 4))
        mimics += [(tree.stop[k], "branching") for k in forks]
        direction = tree.stop - tree.start
        end_on = np.abs(direction[:, 2]) > 0.85 * np.linalg.norm(direction, axis=1)
        middle = (tree.start + tree.stop) / 2
        mimics += [(middle[k], "end-on vessel") for k in np.flatnonzero(end_on & (tree.radius > 0.45))]
    mimics += [(p, "pleura") for p in anatomy.random_points(np.abs(anatomy.lung + 1.5), -1.5, 260)]
    wanted = int(np.clip(rng.normal(600, 130), 200, 1100))
    extent = np.array(grid.first_xyz) + (np.array(grid.shape[::-1]) - 1) * grid.spacing_xyz
    taken = [n.center_xyz for n in nodules]
    clear = [n.diameter_mm / 2 + 5 for n in nodules]
    for k in rng.permutation(len(mimics)):
        point, kind = mimics[k]
        point = point + rng.normal(0, 0.7, 3)
        if np.any(point < grid.first_xyz) or np.any(point > extent):
            continue
        if all(np.linalg.norm(point - t) > c for t, c in zip(taken, clear)):
            rows.append((*point, 0, kind))
            if len(rows) >= wanted:
                break
    return rows


def _image(rng, hu, spacing):
    """The scanner: slice profile, in-plane point spread and noise coloured by the reconstruction kernel."""
    from scipy import fft

    a = 0.08
    middle = hu.copy()
    hu[1:-1] = (1 - 2 * a) * middle[1:-1] + a * (middle[:-2] + middle[2:])
    Z, Y, X = hu.shape
    fy, fx = np.fft.fftfreq(Y, spacing[1])[:, None], np.fft.rfftfreq(X, spacing[0])[None]
    f = np.sqrt(fx**2 + fy**2)
    sharp = rng.uniform(0.4, 0.8)  # sd of the point spread, mm
    mtf = np.exp(-2 * (np.pi * sharp * f) ** 2).astype(np.float32)
    power = (f + 0.05) * np.exp(-((f / (0.42 / sharp**0.5)) ** 2))
    power = np.sqrt(power / power.mean()).astype(np.float32)
    sd = rng.uniform(15, 45)
    for start in range(0, Z, SLAB):
        part = hu[start : start + SLAB]
        white = rng.standard_normal(part.shape, dtype=np.float32) * sd
        spectrum = fft.rfft2(part) * mtf + fft.rfft2(white) * power
        hu[start : start + SLAB] = fft.irfft2(spectrum, s=(Y, X))


# --- writing -----------------------------------------------------------------------------------


def write_scan(patient: Patient, folder: Path, masks=False):
    """Write `<uid>.mhd` and `.zraw` (and `<uid>_mask.nii.gz`) into `folder`."""
    import SimpleITK as sitk

    folder.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(patient.hu)
    image.SetOrigin(patient.origin_xyz.tolist())
    image.SetSpacing(patient.spacing_xyz.tolist())
    image.SetDirection(patient.direction.ravel().tolist())
    sitk.WriteImage(image, str(folder / f"{patient.series_uid}.mhd"), useCompression=True, compressionLevel=1)
    if masks:
        mask = sitk.GetImageFromArray(patient.mask.astype(np.uint8))
        mask.CopyInformation(image)
        sitk.WriteImage(mask, str(folder / f"{patient.series_uid}_mask.nii.gz"))


def _scan_job(job):
    number, seed, shape, folder, masks = job
    patient = make_patient((seed, number), shape, masks=masks)
    write_scan(patient, Path(folder) / f"subset{number % SUBSETS}", masks)
    patient.hu = patient.mask = None
    return patient


def write_cohort(out, scans, seed, shape=SHAPE, *, processes=None, masks=False):
    """Write `scans` patients below `out` in LUNA16's layout; `out` must be empty or absent.

    Scan n lands in `subset{n % 10}`, as LUNA16 spreads its scans over ten folders.
    """
    from util.progress import enumerateWithEstimate

    out = Path(out)
    if scans < 1:
        raise UserError(f"a cohort needs at least one scan, not {scans}")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; name a new folder or remove the old one")
    out.mkdir(parents=True, exist_ok=True)
    jobs = [(n, seed, shape, str(out), masks) for n in range(scans)]
    processes = processes or min(os.cpu_count() or 1, scans, 8)
    if processes == 1:
        results = map(_scan_job, jobs)
        patients = [p for _, p in enumerateWithEstimate(results, "patients", total=scans)]
    else:
        with ProcessPoolExecutor(processes) as pool:
            results = pool.map(_scan_job, jobs)
            patients = [p for _, p in enumerateWithEstimate(results, "patients", total=scans)]
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
    options = parser.parse_args(arguments)
    write_cohort(
        options.out,
        options.scans,
        options.seed,
        tuple(options.size),
        processes=options.processes,
        masks=options.masks,
    )
    print(f"{options.scans} generated patients in {options.out}")


if __name__ == "__main__":
    main_guard(main)
