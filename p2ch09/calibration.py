"""Generated patients against the real: lists against LUNA16's, images against real scans.

    python -m p2ch09.calibration                        distributions and, where real scans are, images
    python -m p2ch09.calibration --figure output/twins.png

Every line prints the two numbers side by side and whether they agree within the stated tolerance.
"""

import numpy as np
from scipy import ndimage

PLEURA_BINS_MM = (2, 10, 20, 60)
TISSUES = {  # HU
    "lung": (-1100, -700),
    "edges and vessels": (-700, -200),
    "fat": (-200, -20),
    "soft tissue": (-20, 100),
    "bone and contrast": (100, 4000),
}


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
