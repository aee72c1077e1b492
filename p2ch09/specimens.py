"""Nodules drawn alone, in lung without vessels, for figures of their kinds (chapter 9, "What is a nodule?")."""

import numpy as np
from scipy.ndimage import gaussian_filter

from p2ch09.anatomy import Grid
from p2ch09.nodules import Nodule, draw_nodule

LUNG_HU = -860
SPACING_XYZ = (0.6, 0.6, 1.0)


class _EmptyLung:
    """An anatomy that is lung everywhere, as far as `draw_nodule` asks."""

    lung = None
    blood_hu = 42.0

    @staticmethod
    def sample_box(_field, z, y, x):
        return np.full((len(z), len(y), len(x)), -50.0, np.float32)


def nodule_alone(kind, outline, diameter_mm=14.0, seed=0, noise_hu=20.0):
    """One benign nodule in the middle of (32, 64, 64) voxels of `SPACING_XYZ` mm: int16 HU.

    kind: solid, part-solid, ground-glass or calcified; outline: round, lobulated or spiculated. It is drawn as in
    every generated patient, blurred as by a sharp kernel, and given white noise.
    """
    shape = (32, 64, 64)
    extent = (np.array(shape[::-1]) - 1) * SPACING_XYZ
    grid = Grid(shape, SPACING_XYZ, tuple(-extent / 2))
    hu = np.full(shape, LUNG_HU, np.float32)
    nodule = Nodule(diameter_mm, kind, outline, "free", False, [], np.zeros(3), seed=seed)
    draw_nodule(hu, np.zeros(shape, bool), grid, _EmptyLung, nodule)
    hu = gaussian_filter(hu, (0.4, 0.7, 0.7))
    hu += np.random.default_rng(seed).normal(0, noise_hu, shape)
    return np.rint(hu).astype(np.int16)
