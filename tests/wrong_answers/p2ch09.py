"""Typical wrong answers to chapter 9's exercises."""

import numpy as np

WRONG = {
    "9.1": [
        lambda mu, mu_water: 1000 * (np.asarray(mu) - 0.19) / 0.19,
        lambda mu, mu_water: 1000 * np.asarray(mu) / mu_water,
        lambda mu, mu_water: (np.asarray(mu) - mu_water) / mu_water,
    ],
    "9.2": [
        lambda hu, center, width: (np.asarray(hu, float) - (center - width / 2)) / width,
        lambda hu, center, width: np.clip((np.asarray(hu, float) - center) / width, 0, 1),
        lambda hu, center, width: np.clip((np.asarray(hu, float) - (center - width)) / (2 * width), 0, 1),
    ],
    "9.3": [
        lambda diameter, spacing: 4 / 3 * np.pi * diameter**3 / np.prod(spacing),
        lambda diameter, spacing: np.pi / 6 * diameter**3 / spacing[0] ** 3,
        lambda diameter, spacing: diameter**3 / np.prod(spacing),
    ],
    "9.4": [
        lambda candidates, nodules, sensitivity, rate: sensitivity,
        lambda candidates, nodules, sensitivity, rate: sensitivity / (sensitivity + rate),
        lambda candidates, nodules, sensitivity, rate: (
            nodules * sensitivity / (nodules * sensitivity + candidates * rate)
        ),
    ],
    "9.5": [
        lambda crop: float(np.mean(crop > -400)),
        lambda crop: float(crop[16, 24, 24]),
        lambda crop: 0.0,
    ],
}
