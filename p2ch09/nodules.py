"""Nodules and the findings that look like them: how many, how large, of which kind, and their shapes.

Sizes, counts and malignancy follow LUNA16's own lists; see `p2ch09.calibration`.
"""

from dataclasses import dataclass, field

import numpy as np

# Quantiles of LUNA16's diameters, mm, and P(malignant) along the diameter.
DIAMETER_QUANTILES = ([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1], [3.3, 4.1, 5.1, 6.4, 9.7, 18.9, 31])
P_MALIGNANT = ([3.5, 4.5, 5.5, 7, 9, 12, 18], [0.0, 0.03, 0.07, 0.16, 0.54, 0.81, 0.96])
# Of 888 scans, how many have 0, 1, 2, 3 nodules; the rest have four or more.
SCANS_WITH = [288, 310, 159, 62, 69]


@dataclass
class Nodule:
    """One nodule, in the scanner's frame until `p2ch09.phantom` has placed it in the patient's.

    kind: solid, part-solid, ground-glass or calcified. outline: round, lobulated or spiculated.
    place: free, vessel or pleura. ratings: four readers' malignancy, 1 to 5.
    """

    diameter_mm: float
    kind: str
    outline: str
    place: str
    malignant: bool
    ratings: list[int]
    center_xyz: np.ndarray = field(default_factory=lambda: np.zeros(3))
    seed: int = 0


def sample_count(rng):
    """Number of nodules in a scan, distributed as in LUNA16."""
    count = int(rng.choice(5, p=np.array(SCANS_WITH) / sum(SCANS_WITH)))
    return min(count + int(rng.geometric(0.42)) - 1, 12) if count == 4 else count


def sample_nodule(rng) -> Nodule:
    """A nodule's size, then its malignancy given the size, then its looks given both."""
    levels, quantiles = DIAMETER_QUANTILES
    diameter = float(np.exp(np.interp(rng.random(), levels, np.log(quantiles))))
    malignant = bool(rng.random() < np.interp(diameter, *P_MALIGNANT))
    kinds = ["solid", "part-solid", "ground-glass", "calcified"]
    kind = str(rng.choice(kinds, p=[0.66, 0.22, 0.11, 0.01] if malignant else [0.72, 0.05, 0.08, 0.15]))
    outlines = ["round", "lobulated", "spiculated"]
    outline = str(rng.choice(outlines, p=[0.15, 0.35, 0.5] if malignant else [0.72, 0.22, 0.06]))
    place = str(rng.choice(["free", "vessel", "pleura"], p=[0.5, 0.25, 0.25]))
    ratings = (
        rng.choice([4, 5], 2).tolist() + rng.choice([2, 3, 4, 5], 2).tolist()
        if malignant
        else (rng.choice([1, 2, 3], 3).tolist() + rng.choice([1, 2, 3, 4], 1).tolist())
    )
    return Nodule(
        diameter, kind, outline, place, malignant, [int(r) for r in ratings], seed=int(rng.integers(2**31))
    )


def draw_nodule(hu, mask, grid, anatomy, nodule, tissue_hu):
    """Draw one nodule into `hu` (Z, Y, X) float32 and the bool `mask`, at four to twelve times the resolution."""
    rng = np.random.default_rng(nodule.seed)
    radius = nodule.diameter_mm / 2
    reach = radius * 1.5 + 1.5
    spacing = np.array(grid.spacing_xyz)
    low = np.floor((nodule.center_xyz - reach - grid.first_xyz) / spacing).astype(int)
    high = np.ceil((nodule.center_xyz + reach - grid.first_xyz) / spacing).astype(int) + 1
    low, high = np.maximum(low, 0), np.minimum(high, np.array(grid.shape[::-1]))
    if np.any(high <= low):
        return
    factor = np.maximum(1, np.ceil(spacing / 0.42)).astype(int)
    offsets = []
    for k in range(3):
        sub = (np.arange((high[k] - low[k]) * factor[k]) + 0.5) / factor[k] - 0.5
        offsets.append(grid.first_xyz[k] + (low[k] + sub) * spacing[k] - nodule.center_xyz[k])
    x, y, z = offsets[0][None, None], offsets[1][None, :, None], offsets[2][:, None, None]
    stretch = np.exp(rng.normal(0, 0.12, 3))
    stretch /= np.prod(stretch) ** (1 / 3)
    x, y, z = x * stretch[0], y * stretch[1], z * stretch[2]
    distance = np.sqrt(x**2 + y**2 + z**2)
    inv = 1 / np.maximum(distance, 1e-3)
    bumps = 0
    count, strength = (3, 0.07) if nodule.outline == "round" else (7, 0.13)
    for _ in range(count):
        k = rng.normal(0, 2.2, 3)
        bumps = bumps + np.cos((k[0] * x + k[1] * y + k[2] * z) * inv + rng.uniform(0, 6.3))
    outer = radius * (1 + strength * bumps / np.sqrt(count / 2))
    edge = 0.35 if nodule.kind in ("solid", "calcified") else 0.8
    inside = np.clip(0.5 - (distance - outer) / edge, 0, 1)

    def shrink(fine):
        (z1, y1, x1), (fx, fy, fz) = fine.shape, factor
        return fine.reshape(z1 // fz, fz, y1 // fy, fy, x1 // fx, fx).mean((1, 3, 5)).astype(np.float32)

    box = tuple(slice(low[k], high[k]) for k in (2, 1, 0))
    fraction = shrink(inside)
    here = hu[box]
    if nodule.kind in ("ground-glass", "part-solid"):
        haze = -630 + rng.normal(0, 40)
        here += fraction * np.maximum(haze - here, 0)
    if nodule.kind == "part-solid":
        core = shrink(np.clip(0.5 - (distance - outer * rng.uniform(0.45, 0.7)) / 0.5, 0, 1))
        here += core * (tissue_hu - 10 - here)
    elif nodule.kind == "solid":
        here += fraction * np.maximum(tissue_hu + rng.normal(0, 12) - here, 0)
    elif nodule.kind == "calcified":
        here += fraction * np.maximum(rng.uniform(250, 700) - here, 0)
    mask[box] |= fraction > 0.5
