"""Patients that differ more than LUNA16's means ask for: what the shipped detector is trained on (chapter 14).

The chapters' patients follow LUNA16's lists, and their nodules are tidy: all solid ones alike, with sharp edges.
Real ones are not (LIDC's readers call 37 % of the edges sharp), and a detector that learned tidy ones doubts the
others. Where the truth is a wide distribution, a wide one is drawn here; where it is not known, a wider one still,
so that reality is one case among many (Tobin et al. 2017, "Domain randomization for transferring deep neural
networks from simulation to the real world").

    python -m p2ch09.phantom --scans 8 --seed 1 --varied --out data/my_patients
"""

from dataclasses import replace

import numpy as np

from p2ch09.nodules import Look, sample_nodule

# Shares of kinds: ground glass and part-solid more often than the 7.5 and 10 % of LIDC, since they are the hard ones.
KINDS = {"solid": 0.56, "part-solid": 0.17, "ground-glass": 0.2, "calcified": 0.07}
LARGE = 0.3  # so many have a diameter drawn evenly on a logarithmic scale; the others follow LUNA16
NODES = (1, 7)  # lymph nodes at each hilum, at least and less than


def sample_varied_nodule(rng):
    """A nodule of `p2ch09.nodules.sample_nodule`, of more even kinds and sizes, with a `Look` of its own."""
    nodule = sample_nodule(rng)
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if nodule.malignant and kind == "calcified":
        kind = "solid"
    diameter = nodule.diameter_mm
    if rng.random() < LARGE:
        diameter = float(np.exp(rng.uniform(np.log(4.5), np.log(32))))
    # Medians inside, of LIDC (`p2ch09.calibration.REAL_MIDDLE_HU`), and a margin around them.
    hu = {
        "solid": rng.normal(15, 45),
        "part-solid": rng.uniform(-700, -420),
        "ground-glass": rng.uniform(-725, -400),
        "calcified": 20.0,
    }[kind]
    edge = float(np.clip(np.exp(rng.normal(np.log(0.7), 0.7)), 0.3, 3.5))
    if kind in ("ground-glass", "part-solid"):
        edge *= 1.5
    look = Look(
        hu=float(hu),
        edge_mm=min(edge, 0.4 * diameter),
        mottle_hu=float(rng.uniform(5, 60) if kind == "solid" else rng.uniform(20, 130)),
        stretch=float(rng.uniform(0.08, 0.32)),
    )
    return replace(nodule, kind=kind, diameter_mm=diameter, look=look)


def varied_scanner(rng, scanner):
    """`scanner` with more kernels, doses and thick slices."""
    slices = float(rng.choice([1.0, 1.25, 1.5, 2.0, 2.5, 3.0], p=[0.1, 0.22, 0.08, 0.15, 0.33, 0.12]))
    return replace(
        scanner,
        spacing_xyz=(*scanner.spacing_xyz[:2], slices),
        cutoff=float(rng.uniform(0.24, 0.6)),
        noise_hu=float(np.clip(np.exp(rng.normal(np.log(25), 0.45)), 8, 75)),
    )


def varied_build(rng, build):
    """`build` with shallow and deep breaths, thin and thick vessels, more mottle."""
    return replace(
        build,
        vessels=float(rng.uniform(0.65, 1.4)),
        lung_hu=float(rng.uniform(-905, -785)),
        haze_hu=float(rng.uniform(0, 300)),
        emphysema=bool(rng.random() < 0.3),
        mottle=float(np.exp(rng.normal(0, 0.5))),
    )


def draw_lymph_nodes(rng, hu, grid, anatomy):
    """Lymph nodes at the hila, some calcified, into `hu` (Z, Y, X): they look like nodules and are none."""
    corner, spacing = np.array(grid.first_xyz), np.array(grid.spacing_xyz)
    for hilum in anatomy.hilum.values():
        for _ in range(int(rng.integers(*NODES))):
            center = hilum + rng.normal(0, 9, 3)
            radii = rng.uniform(1.5, 5.5) * np.exp(rng.normal(0, 0.25, 3))
            value = rng.uniform(150, 900) if rng.random() < 0.3 else rng.normal(40, 20)
            low = np.maximum(np.floor((center - radii - 1 - corner) / spacing).astype(int), 0)
            high = np.minimum(
                np.ceil((center + radii + 1 - corner) / spacing).astype(int) + 1, grid.shape[::-1]
            )
            if np.any(high <= low):
                continue
            x, y, z = (corner[k] + spacing[k] * np.arange(low[k], high[k]) - center[k] for k in range(3))
            away = np.sqrt(
                (x[None, None] / radii[0]) ** 2
                + (y[None, :, None] / radii[1]) ** 2
                + (z[:, None, None] / radii[2]) ** 2
            )
            share = np.clip((1 - away) * radii.mean() / spacing.max() + 0.5, 0, 1).astype(np.float32)
            box = tuple(slice(low[k], high[k]) for k in (2, 1, 0))
            hu[box] += share * np.maximum(value - hu[box], 0)
