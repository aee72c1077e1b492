"""Generated patients against the real: lists against LUNA16's, images against real scans.

    python -m p2ch09.calibration                              lists, candidates and images
    python -m p2ch09.calibration --figure output/twins.png    and a picture of both, side by side

Every line shows the real number, the generated one and whether they agree within the tolerance that
is printed with them. The images are compared where real scans are (`COURSE_DATA`).
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

from p2ch09.anatomy import Build
from p2ch09.nodules import sample_count, sample_nodule
from p2ch09.phantom import Scanner, index_of, make_patient
from util.errors import main_guard
from util.files import atomic_path

# Measured on LUNA16's own lists: 888 scans, 1,186 nodules, 35,192 irrelevant findings.
DIAMETER_TABLE = {5: 4.1, 25: 5.1, 50: 6.4, 75: 9.7, 95: 18.9}
MALIGNANT_TABLE = {
    (3, 4): 0,
    (4, 5): 0.03,
    (5, 6): 0.07,
    (6, 8): 0.16,
    (8, 10): 0.54,
    (10, 15): 0.81,
    (15, 40): 0.95,
}
COUNT_TABLE = {0: 288, 1: 310, 2: 159, 3: 62, 4: 69}
CANDIDATES_PER_SCAN = (579, 620)

# Of 994 real nodules of LIDC-IDRI, by texture: the median HU inside each (its marked voxels less the outer one);
# of these medians the 10th, 50th and 90th percentile. Solid ones include the calcified.
REAL_MIDDLE_HU = {
    "solid": (-241, -18, 391),
    "part-solid": (-632, -338, -120),
    "ground-glass": (-706, -570, -416),
}

# Real scans, and the scanner and body whose generated picture is put beside each: slice sizes from
# its header, noise and kernel as measured, contrast agent, build and calibre of the vessels to match.
TWINS = {
    "luna": (
        Scanner((0.820312, 0.820312, 2.5), 0.305, 21.0, 0.04, round_field=True, blood_hu=230),
        Build(size=1.02, fat_mm=16, vessels=0.85, lung_hu=-872, haze_hu=60, emphysema=False),
    ),
    "dicom": (
        Scanner((0.564453, 0.564453, 3.0), 0.558, 64.0, 0.04, blood_hu=130),
        Build(size=0.95, fat_mm=22, vessels=0.93, lung_hu=-882, haze_hu=200, emphysema=False),
    ),
}
TWIN_SEED = 5
TOLERANCE = 0.25
CORRELATION_TOLERANCE = 0.06  # absolute: a correlation of 0.03 has no meaningful percentage

PLEURA_BINS_MM = (2, 10, 20, 60)
TISSUES = {  # HU
    "lung": (-1100, -700),
    "edges and vessels": (-700, -200),
    "fat": (-200, -20),
    "soft tissue": (-20, 100),
    "bone and contrast": (100, 4000),
}


# --- lists ---------------------------------------------------------------------------------------


def auc(scores, labels) -> float:
    """Area under the ROC curve: P(a positive scores higher), ties counting half."""
    from scipy.stats import rankdata

    labels = np.asarray(labels, bool)
    ranks = rankdata(scores)
    positives, negatives = labels.sum(), (~labels).sum()
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def compare_lists(scans=8880, seed=0):
    """Rows (name, LUNA16's, generated, agrees) for sizes, malignancy and counts of `scans` patients."""
    rng = np.random.default_rng(seed)
    counts = np.array([sample_count(rng) for _ in range(scans)])
    nodules = [sample_nodule(rng) for _ in range(counts.sum())]
    diameter = np.array([n.diameter_mm for n in nodules])
    malignant = np.array([n.malignant for n in nodules])
    rows = []
    for q, real in DIAMETER_TABLE.items():
        got = np.percentile(diameter, q)
        rows.append((f"diameter mm, p{q} (within 15 %)", real, got, abs(got / real - 1) <= 0.15))
    rows.append(
        ("diameter mm, mean (within 15 %)", 8.3, diameter.mean(), abs(diameter.mean() / 8.3 - 1) <= 0.15)
    )
    for (low, high), real in MALIGNANT_TABLE.items():
        got = malignant[(diameter >= low) & (diameter < high)].mean()
        rows.append((f"P(malignant) {low}-{high} mm (within 0.1)", real, got, abs(got - real) <= 0.1))
    rows.append(
        ("malignant in all (within 0.05)", 0.32, malignant.mean(), abs(malignant.mean() - 0.32) <= 0.05)
    )
    area = auc(diameter, malignant)
    rows.append(("AUC of the diameter alone (0.88 to 0.94)", 0.919, area, 0.88 <= area <= 0.94))
    for count, real in COUNT_TABLE.items():
        got = np.mean(counts == count) if count < 4 else np.mean(counts >= 4)
        rows.append(
            (
                f"scans with {count}{' or more' * (count == 4)} (within 0.05)",
                real / 888,
                got,
                abs(got - real / 888) <= 0.05,
            )
        )
    rows.append(
        (
            "nodules per scan (within 15 %)",
            1186 / 888,
            counts.mean(),
            abs(counts.mean() / 1186 * 888 - 1) <= 0.15,
        )
    )
    return rows


def compare_candidates(scans=8, seed=77):
    """Rows as `compare_lists`, on rendered patients: candidates, findings, and how far a threshold gets."""
    candidates, excluded, labels, sizes = [], [], [], []
    for number in range(scans):
        patient = make_patient((seed, number), richness=3)
        candidates.append(len(patient.candidates))
        excluded.append(len(patient.excluded))
        dense, _ = ndimage.label(patient.hu > -400)
        volume = np.bincount(dense.ravel()) * np.prod(patient.spacing_xyz)
        volume[0] = 0
        for row in patient.candidates:
            i, r, c = np.clip(index_of(patient, row[:3]), 0, np.array(patient.hu.shape) - 1)
            near = dense[max(i - 1, 0) : i + 2, max(r - 2, 0) : r + 3, max(c - 2, 0) : c + 3]
            size = np.cbrt(6 / np.pi * volume[near].max())
            labels.append(row[3])
            # Whatever hangs together with the chest wall or a whole vessel tree is no nodule.
            sizes.append(size if size <= 35 else 0.0)
    area = auc(sizes, labels)
    low, high = CANDIDATES_PER_SCAN
    mean = np.mean(candidates)
    return [
        (
            f"candidates per scan (within 25 % of {low} to {high})",
            600,
            mean,
            0.75 * low <= mean <= 1.25 * high,
        ),
        (
            "irrelevant findings per scan (within 25 %)",
            39.6,
            np.mean(excluded),
            abs(np.mean(excluded) / 39.6 - 1) <= 0.25,
        ),
        ("AUC of -400 HU and size (at most 0.85)", float("nan"), area, area <= 0.85),
    ]


# --- images --------------------------------------------------------------------------------------


def _largest(mask, at_least=0.2):
    """The largest connected component, with every other that has `at_least` that share of its size."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= at_least * sizes.max())[labels]


def body_and_lung_masks(hu, spacing_xyz):
    """(body, lung) as bool (Z, Y, X): the filled body, and the lungs with their vessels.

    Computed at half the in-plane resolution, which is plenty for volumes and distances.
    """
    small = hu[:, ::2, ::2]
    tissue = _largest(ndimage.binary_opening(small > -400, iterations=2), 0.9)
    body = np.stack([ndimage.binary_fill_holes(one) for one in tissue])
    air = ndimage.binary_opening(body & (small < -500), iterations=1)
    lung = _largest(air)
    step = (spacing_xyz[2], 2 * spacing_xyz[1], 2 * spacing_xyz[0])
    reach = 7.0  # mm: closes over vessels, not over the heart
    grown = ndimage.distance_transform_edt(~lung, sampling=step) <= reach
    lung = ndimage.distance_transform_edt(grown, sampling=step) > reach

    def full(mask):
        return mask.repeat(2, 1).repeat(2, 2)[:, : hu.shape[1], : hu.shape[2]]

    return full(body), full(lung)


def measure(hu, spacing_xyz):
    """What is compared between scans, as a dict of name -> number. hu: (Z, Y, X) int16."""
    body, lung = body_and_lung_masks(hu, spacing_xyz)
    result = {}
    # Only slices that show lung: how much neck and belly is scanned is the technician's choice.
    slices = lung.mean((1, 2)) > 0.08
    values = hu[slices][body[slices]]
    for name, (low, high) in TISSUES.items():
        result[f"body: {name}"] = float(np.mean((values >= low) & (values < high)))
    step = (spacing_xyz[2], spacing_xyz[1], spacing_xyz[0])
    depth = ndimage.distance_transform_edt(lung, sampling=step)
    for q in (25, 50, 75, 90, 95):
        result[f"lung HU+1000: p{q}"] = float(np.percentile(hu[depth > 3], q) + 1000)
    vessel = hu > -600
    for low, high in zip(PLEURA_BINS_MM[:-1], PLEURA_BINS_MM[1:]):
        there = (depth > low) & (depth <= high)
        result[f"vessels {low}-{high} mm deep"] = float(vessel[there].mean())
    # Noise is what two neighbouring slices do not share.
    difference = (hu[1:].astype(np.float32) - hu[:-1]) / np.sqrt(2)
    smooth = ndimage.uniform_filter(hu.astype(np.float32), (1, 7, 7))
    flat = body & (smooth > 10) & (smooth < 90)
    regions = {"soft": flat[1:] & flat[:-1] & (np.abs(difference) < 150)}
    calm = (depth > 4) & (smooth < -800)
    regions["lung"] = calm[1:] & calm[:-1] & (np.abs(difference) < 150)
    for name, region in regions.items():
        d = difference[region]
        result[f"noise in {name}: sd"] = float(1.4826 * np.median(np.abs(d - np.median(d))))
    region = regions["soft"]
    d = np.where(region, np.clip(difference, -150, 150), 0)
    for lag in (1, 2, 3, 4):
        both = region[:, :, lag:] & region[:, :, :-lag]
        pair = d[:, :, lag:][both] * d[:, :, :-lag][both]
        result[f"noise: correlation at {lag} pixels"] = float(pair.mean() / d[region].var())
    return result


def agrees(name, real, got) -> bool:
    """Within a quarter; correlations within `CORRELATION_TOLERANCE` or a quarter."""
    if "correlation" in name and abs(got - real) <= CORRELATION_TOLERANCE:
        return True
    return abs(got - real) <= TOLERANCE * abs(real)


def real_scans():
    """name -> (hu, spacing_xyz) of the real scans that are there; may be empty."""
    import SimpleITK as sitk

    from p2ch09 import luna
    from util.paths import data_root

    found = {}
    if luna.find_real() is not None:
        path = next(p for p in sorted(luna.find_real().glob("**/*.mhd")))
        found["luna"] = sitk.ReadImage(str(path))
    series = data_root() / "p1ch4" / "dicom"
    if series.is_dir():
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
        found["dicom"] = reader.Execute()
    return {
        name: (sitk.GetArrayFromImage(one).astype(np.int16), one.GetSpacing()) for name, one in found.items()
    }


def twin_of(name, shape):
    """A generated patient in the same scanner as the real scan `name`, and of similar build."""
    scanner, build = TWINS[name]
    return make_patient(TWIN_SEED, shape, scanner=scanner, build=build, nodules=3)


def draw_twins(pairs, path=None):
    """One row per (name, real hu, generated hu), three slices of each, lung window. Returns the figure."""
    import matplotlib.pyplot as plt

    from util.plotting import use_course_style

    use_course_style()
    figure, axes = plt.subplots(2 * len(pairs), 3, figsize=(9, 6 * len(pairs)), squeeze=False)
    for number, (name, *volumes) in enumerate(pairs):
        for k, (hu, kind) in enumerate(zip(volumes, ("real", "generated"))):
            for axis, share in zip(axes[2 * number + k], (0.35, 0.5, 0.65)):
                axis.imshow(hu[int(share * len(hu))], vmin=-1250, vmax=250)
                axis.set_axis_off()
                axis.set_title(f"{kind} ({name}), {share:.0%} up", fontsize=9)
    if path is not None:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png")
    return figure


def print_rows(rows):
    """Print rows of (name, real, generated, agrees)."""
    print(f"{'':46} {'real':>9} {'generated':>10}")
    for name, real, got, good in rows:
        shown = "" if np.isnan(real) else f"{real:.3f}"
        print(f"{name:46} {shown:>9} {got:10.3f}  {'' if good else 'NOT WITHIN'}")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m p2ch09.calibration", description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=8, help="generated patients for the candidates' figures")
    parser.add_argument("--figure", type=Path, help="write real and generated slices side by side (PNG)")
    options = parser.parse_args(arguments)
    print("Lists: LUNA16's and 8,880 generated patients'")
    rows = compare_lists()
    print_rows(rows)
    print(f"\nCandidates of {options.scans} generated patients")
    more = compare_candidates(options.scans)
    print_rows(more)
    rows = rows + more
    pairs = []
    for name, (hu, spacing) in real_scans().items():
        twin = twin_of(name, hu.shape)
        real, generated = measure(hu, spacing), measure(twin.hu, spacing)
        print(f"\nImages: the real scan '{name}' and its generated twin (within 25 %)")
        more = [(key, real[key], generated[key], agrees(key, real[key], generated[key])) for key in real]
        print_rows(more)
        rows += more
        pairs.append((name, hu, twin.hu))
    if not pairs:
        print("\nImages: no real scans below COURSE_DATA, nothing to compare with")
    elif options.figure:
        draw_twins(pairs, options.figure)
    print(f"\n{sum(row[3] for row in rows)} of {len(rows)} figures agree")


if __name__ == "__main__":
    main_guard(main)
