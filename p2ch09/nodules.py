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
MOTTLE_MM = 0.9  # the texture of a nodule with a `Look` is alike over about so much


@dataclass(frozen=True)
class Look:
    """How a nodule differs from others of its kind; `p2ch09.varied` draws it.

    hu: of its tissue, before the scanner blurs it. edge_mm: the width over which it fades into the lung. mottle_hu:
    standard deviation of its texture. stretch: of the logarithm of its three axes; 0 is a ball.
    """

    hu: float
    edge_mm: float
    mottle_hu: float
    stretch: float


@dataclass
class Nodule:
    """One nodule, in the scanner's frame until `p2ch09.phantom` has placed it in the patient's.

    kind: solid, part-solid, ground-glass or calcified. outline: round, lobulated or spiculated.
    place: free, vessel or pleura. ratings: four readers' malignancy, 1 to 5. bbox_xyz: (2, 3), mm. look: None
    draws it as all of its kind are.
    """

    diameter_mm: float
    kind: str
    outline: str
    place: str
    malignant: bool
    ratings: list[int]
    center_xyz: np.ndarray = field(default_factory=lambda: np.zeros(3))
    bbox_xyz: np.ndarray = field(default_factory=lambda: np.zeros((2, 3)))
    seed: int = 0
    look: Look | None = None


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


def draw_nodule(hu, mask, grid, anatomy, nodule, sunk=False):
    """Draw one nodule into `hu` (Z, Y, X) float32 and its voxels into the bool `mask`.

    It is drawn several times finer than the grid and averaged, which gives partial volume in all
    three directions, and scaled so that the part that lies in the lung has the volume of a sphere of
    `diameter_mm`. Sets the nodule's centre and bounding box to those of that part. `sunk` leaves the
    size alone: a cap that only just rises from the pleura stays low. Returns the voxels drawn.
    """
    rng = np.random.default_rng(nodule.seed)
    radius = nodule.diameter_mm / 2
    spiky = nodule.outline == "spiculated"
    reach = radius * (2.1 if spiky else 1.5) + 1.0
    spacing, corner = np.array(grid.spacing_xyz), np.array(grid.first_xyz)
    low = np.floor((nodule.center_xyz - reach - corner) / spacing).astype(int)
    high = np.ceil((nodule.center_xyz + reach - corner) / spacing).astype(int) + 1
    low, high = np.maximum(low, 0), np.minimum(high, np.array(grid.shape[::-1]))
    if np.any(high <= low):
        return 0
    fine = 0.3 if radius < 3 else 0.45
    factor = np.ceil(spacing / fine).astype(int)
    x, y, z = (
        corner[k]
        + (low[k] + (np.arange((high[k] - low[k]) * factor[k]) + 0.5) / factor[k] - 0.5) * spacing[k]
        for k in range(3)
    )
    in_lung = np.clip(0.5 - anatomy.sample_box(anatomy.lung, z, y, x) / 0.6, 0, 1)
    offset = [v - c for v, c in zip((x, y, z), nodule.center_xyz)]
    look = nodule.look
    distance, outer = _outline(rng, offset, radius, nodule.outline, look.stretch if look else 0.13)
    edge = 0.4 if nodule.kind in ("solid", "calcified") else rng.uniform(0.7, 1.6)
    edge = look.edge_mm if look else edge
    if not sunk:
        for _ in range(2):  # the second time the part in the lung has settled
            volume = (np.clip(0.5 - (distance - outer) / edge, 0, 1) * in_lung).sum() * np.prod(
                spacing / factor
            )
            outer = outer * np.clip(
                (np.pi / 6 * nodule.diameter_mm**3 / max(volume, 1e-6)) ** (1 / 3), 0.6, 1.6
            )
    body = np.clip(0.5 - (distance - outer) / edge, 0, 1) * in_lung
    shape = body
    if spiky:
        spikes = _spikes(rng, offset, radius)
        shape = np.maximum(body, np.clip(0.5 - (distance - outer * (1 + spikes)) / edge, 0, 1) * in_lung)

    def shrink(field):
        (nz, ny, nx), (fx, fy, fz) = field.shape, factor
        return field.reshape(nz // fz, fz, ny // fy, fy, nx // fx, fx).mean((1, 3, 5)).astype(np.float32)

    box = tuple(slice(low[k], high[k]) for k in (2, 1, 0))
    here, fraction = hu[box], shrink(shape)
    solid = rng.normal(12, 18) + 0.12 * (anatomy.blood_hu - 40)
    mottle = _mottle(rng, here.shape, spacing) * np.float32(look.mottle_hu) if look else 0.0
    if nodule.kind in ("ground-glass", "part-solid"):
        haze = rng.normal(-630, 45) + 20 * rng.standard_normal(here.shape)
        haze = look.hu + mottle if look else haze
        here += fraction * np.maximum(haze - here, 0)
    if nodule.kind == "part-solid":
        aside = rng.normal(0, 0.18 * radius, 3)
        away = np.sqrt(sum((p - a) ** 2 for p, a in zip(_spread(offset), aside)))
        core = shrink(np.clip(0.5 - (away - outer * rng.uniform(0.4, 0.65)) / 0.6, 0, 1) * body)
        here += core * np.maximum(solid - 15 - here, 0)
    elif nodule.kind == "solid":
        tissue = solid + 15 * rng.standard_normal(here.shape)
        here += fraction * np.maximum((look.hu + mottle if look else tissue) - here, 0)
    elif nodule.kind == "calcified":
        here += fraction * np.maximum(solid - here, 0)
        core = shrink(np.clip(0.5 - (distance - outer * rng.uniform(0.5, 1.0)) / 0.6, 0, 1) * body)
        here += core * np.maximum(rng.uniform(200, 800) - here, 0)
    if nodule.malignant and nodule.diameter_mm > 11 and rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 5))):  # bubbles of air
            aside = rng.normal(0, 0.3 * radius, 3)
            away = np.sqrt(sum((p - a) ** 2 for p, a in zip(_spread(offset), aside)))
            bubble = shrink(np.clip(0.5 - (away - radius * rng.uniform(0.1, 0.22)) / 0.5, 0, 1))
            here += bubble * (-750 - here)
    inside = shrink(body) >= 0.5
    if not inside.any():
        inside = shrink(body) >= 0.5 * shrink(body).max()
    mask[box] |= inside
    weight = shrink(body)
    total = weight.sum()
    if total > 0:
        index = [np.tensordot(weight.sum(tuple(j for j in range(3) if j != k)), np.arange(n), 1) / total
                 for k, n in enumerate(weight.shape)]  # fmt: skip
        nodule.center_xyz = corner + (low + np.array(index[::-1])) * spacing
    voxels = np.argwhere(inside)[:, ::-1] + low
    nodule.bbox_xyz = corner + (np.array([voxels.min(0) - 0.5, voxels.max(0) + 0.5])) * spacing
    return len(voxels)


def _spread(offset):
    """Offsets along x, y and z, shaped to broadcast to (Z, Y, X)."""
    x, y, z = offset
    return x[None, None, :], y[None, :, None], z[:, None, None]


def _mottle(rng, shape, spacing_xyz):
    """Unit noise (Z, Y, X), alike over about a millimetre."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(shape).astype(np.float32), MOTTLE_MM / spacing_xyz[::-1])
    return noise / max(noise.std(), 1e-6)


def _outline(rng, offset, radius, outline, stretch_sd):
    """(distance from the centre, radius of the outline in that direction), both (Z, Y, X) float32."""
    stretch = np.exp(rng.normal(0, stretch_sd, 3))
    stretch /= np.prod(stretch) ** (1 / 3)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0] * stretch
    x, y, z = (v.astype(np.float32) for v in _spread(offset))
    x, y, z = (t[0] * x + t[1] * y + t[2] * z for t in turn.astype(np.float32).T)
    distance = np.sqrt(x * x + y * y + z * z)
    inverse = 1 / np.maximum(distance, 0.05)
    waves, pitch, strength = {
        "round": (4, 2.0, 0.07),
        "lobulated": (7, 3.0, 0.17),
        "spiculated": (9, 3.5, 0.13),
    }[outline]
    bumps = np.zeros_like(distance)
    for _ in range(waves):
        k = rng.normal(0, pitch, 3).astype(np.float32)
        bumps += np.cos((k[0] * x + k[1] * y + k[2] * z) * inverse + np.float32(rng.uniform(0, 2 * np.pi)))
    return distance, radius * (1 + np.float32(strength * np.sqrt(2 / waves)) * bumps)


def _spikes(rng, offset, radius):
    """How far spicules reach beyond the outline, as a share of it, in every direction (Z, Y, X)."""
    x, y, z = (v.astype(np.float32) for v in _spread(offset))
    # The true distance, not that of the flattened outline: with the latter the "cosine" exceeds 1, and a
    # spicule of a millimetre becomes a wedge as large as the nodule.
    inverse = 1 / np.maximum(np.sqrt(x * x + y * y + z * z), 0.05)
    spikes = np.zeros(inverse.shape, np.float32)
    longest, narrow = min(1.2, 8 / radius), max(60, (radius / 0.75) ** 2)  # about a millimetre wide
    for _ in range(int(rng.integers(10, 22))):
        d = rng.normal(size=3).astype(np.float32)
        d /= np.linalg.norm(d)
        cosine = (d[0] * x + d[1] * y + d[2] * z) * inverse
        height = np.float32(rng.uniform(0.3, 1.0) * longest)
        spikes += height * np.exp(np.float32(rng.uniform(0.6, 1.6) * narrow) * (cosine - 1))
    return np.minimum(spikes, 1.1)
