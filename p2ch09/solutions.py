"""One right answer to each of chapter 9's exercises; there are others."""

import itertools

import numpy as np
from scipy.ndimage import gaussian_filter


def hounsfield(mu, mu_water):
    return 1000 * (np.asarray(mu) - mu_water) / mu_water


def window(hu, center, width):
    return np.clip((np.asarray(hu, float) - (center - width / 2)) / width, 0, 1)


def voxels_in_nodule(diameter_mm, spacing_xyz):
    return 4 / 3 * np.pi * (diameter_mm / 2) ** 3 / np.prod(spacing_xyz)


def precision_of_screening(candidates, nodules, sensitivity, false_alarm_rate):
    right = nodules * sensitivity
    wrong = (candidates - nodules) * false_alarm_rate
    return right / (right + wrong)


DIRECTIONS = [d for d in itertools.product((-1, 0, 1), repeat=3) if d > (0, 0, 0)]


def nodule_score(crop):
    """Dense in the middle, and along no direction dense at both ends, as a vessel is."""
    hu = gaussian_filter(np.clip(crop.astype(float), -1000, 100), (0.6, 1, 1))
    step = np.array([1.6, 1, 1])  # slices lie about that much farther apart than pixels
    z, y, x = np.ogrid[-16:16, -24:24, -24:24]
    middle = hu[(step[0] * z) ** 2 + y**2 + x**2 <= 4].mean()
    both_ends = []
    for direction in DIRECTIONS:
        way = 6.8 * np.array(direction) / np.linalg.norm(direction) / step
        here, there = (hu[tuple(np.rint([16, 24, 24] + s * way).astype(int))] for s in (1, -1))
        both_ends.append(min(here, there))
    return middle - max(both_ends)


SOLUTIONS = {
    "9.1": hounsfield,
    "9.2": window,
    "9.3": voxels_in_nodule,
    "9.4": precision_of_screening,
    "9.5": nodule_score,
}
