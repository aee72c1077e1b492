"""The stand-in for the wine table: winequality-white.csv with the real file's columns and quirks.

Wines are drawn from a Gaussian copula. The quantiles of each column, the correlations between their
ranks and the counts of the scores are those of the real table (Cortez et al., 2009, doi
10.1016/j.dss.2009.05.016), so the same questions have similar answers. No row is a real wine.
"""

import math
from pathlib import Path

import numpy as np

WINES = 4898
LEVELS = [0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1]
# Column, decimals in the file, values at LEVELS.
COLUMNS = [
    ("fixed acidity", 1, [3.8, 5, 5.6, 5.9, 6.3, 6.8, 7.3, 7.9, 8.3, 9.2, 14.2]),
    ("volatile acidity", 2, [0.08, 0.12, 0.15, 0.17, 0.21, 0.26, 0.32, 0.4, 0.46, 0.63, 1.1]),
    ("citric acid", 2, [0, 0.05, 0.17, 0.22, 0.27, 0.32, 0.39, 0.49, 0.54, 0.74, 1.66]),
    ("residual sugar", 1, [0.6, 0.9, 1.1, 1.2, 1.7, 5.2, 9.9, 14, 15.7, 18.8, 65.8]),
    ("chlorides", 3, [0.009, 0.02, 0.027, 0.03, 0.036, 0.043, 0.05, 0.058, 0.067, 0.16, 0.346]),
    ("free sulfur dioxide", 0, [2, 6, 11, 15, 23, 34, 46, 57, 63, 81, 289]),
    ("total sulfur dioxide", 0, [9, 51, 75, 87, 108, 134, 167, 195, 212, 241, 440]),
    (
        "density",
        5,
        [0.98711, 0.98878, 0.98964, 0.99033, 0.99172, 0.99374, 0.9961, 0.99815, 0.999, 1.0003, 1.03898],
    ),
    ("pH", 2, [2.72, 2.88, 2.96, 3, 3.09, 3.18, 3.28, 3.38, 3.46, 3.6, 3.82]),
    ("sulphates", 2, [0.22, 0.29, 0.34, 0.36, 0.41, 0.47, 0.55, 0.64, 0.71, 0.83, 1.08]),
    ("alcohol", 1, [8, 8.7, 8.9, 9, 9.5, 10.4, 11.4, 12.4, 12.7, 13.4, 14.2]),
]
SCORES = {3: 20, 4: 163, 5: 1457, 6: 2198, 7: 880, 8: 175, 9: 5}
# Below the diagonal: correlations between the columns' normal scores, the last row the score's.
CORRELATIONS = [
    [],
    [-0.03],
    [0.32, -0.17],
    [0.1, 0.1, 0.05],
    [0.09, 0.01, 0.05, 0.21],
    [-0.04, -0.08, 0.09, 0.32, 0.16],
    [0.1, 0.12, 0.1, 0.42, 0.35, 0.62],
    [0.3, 0.0, 0.12, 0.75, 0.48, 0.3, 0.53],
    [-0.44, -0.04, -0.16, -0.16, -0.05, 0.01, 0.01, -0.1],
    [-0.02, -0.04, 0.08, 0.02, 0.09, 0.07, 0.16, 0.11, 0.16],
    [-0.13, 0.06, -0.06, -0.41, -0.53, -0.26, -0.44, -0.81, 0.15, -0.04],
    [-0.1, -0.2, 0.03, -0.05, -0.3, 0.06, -0.16, -0.32, 0.1, 0.03, 0.41],
]


def draw(seed=2) -> np.ndarray:
    """(4898, 12) float64: the eleven measurements and the score of made-up wines."""
    rng = np.random.default_rng([104, seed])
    size = len(COLUMNS) + 1
    correlation = np.eye(size)
    for row, values in enumerate(CORRELATIONS):
        correlation[row, : len(values)] = correlation[: len(values), row] = values
    normal = rng.standard_normal((WINES, size)) @ np.linalg.cholesky(correlation).T
    share = np.vectorize(lambda z: 0.5 * (1 + math.erf(z / math.sqrt(2))))(normal)
    table = np.empty_like(share)
    for column, (_, decimals, values) in enumerate(COLUMNS):
        # Of the highest percent nearly all are close to it; the maximum is a single bottle.
        tail = np.clip((share[:, column] - LEVELS[-2]) / (1 - LEVELS[-2]), 0, 1) ** 6 * (
            values[-1] - values[-2]
        )
        body = np.interp(np.minimum(share[:, column], LEVELS[-2]), LEVELS, values)
        table[:, column] = np.round(body + tail, decimals)
    limits = np.cumsum(list(SCORES.values()))[:-1] / WINES
    table[:, -1] = np.array(list(SCORES))[np.searchsorted(limits, share[:, -1])]
    return table


def generate(folder: Path):
    """Write `winequality-white.csv`: semicolons, a quoted header, no needless zeros."""
    header = ";".join(f'"{name}"' for name in [*(column[0] for column in COLUMNS), "quality"])
    rows = (";".join(f"{value:.6g}" for value in row) for row in draw())
    (folder / "winequality-white.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
