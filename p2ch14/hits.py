"""LUNA16's rule, in one place: which mark lies on which nodule, and which marks are false.

A mark lies on a nodule when it is closer to its centre than the radius; so it does on an irrelevant finding, and
then it counts neither way. Of several marks on one nodule the most probable counts, and the others are no false
positives. The confusion table, the scores that `--run-validation` and the main job print, the choice of a
threshold, the FROC curve and the search for hard negatives all ask `outcome`.
"""

from dataclasses import dataclass

import numpy as np

UNSIZED_MM = 10.0  # LUNA16 writes -1 for a finding without diameter and takes 10 mm


@dataclass(frozen=True)
class Outcome:
    """What n nodules and m marks of one scan come to.

    best: (n,) index of the most probable mark on each nodule, -1 where there is none. on_nodule: bool (m,).
    is_false: bool (m,), on no nodule and on no irrelevant finding.
    """

    best: np.ndarray
    on_nodule: np.ndarray
    is_false: np.ndarray


def lies_on(spheres, places) -> np.ndarray:
    """Bool (n, m): is the place closer to the sphere's centre than its radius?

    spheres: (n, 4) as x, y, z, diameter in mm, below 0 for `UNSIZED_MM`; places: (m, 3) in mm.
    """
    spheres = np.asarray(spheres, dtype=float).reshape(-1, 4)
    places = np.asarray(places, dtype=float).reshape(-1, 3)
    diameter = np.where(spheres[:, 3] < 0, UNSIZED_MM, spheres[:, 3])
    offset = spheres[:, None, :3] - places[None]
    # Squares, as in LUNA16's script: a mark exactly at the radius is outside.
    return (offset**2).sum(axis=2) < (diameter[:, None] / 2) ** 2


def outcome(nodules, irrelevant, places, scores) -> Outcome:
    """Judge the marks of one scan by LUNA16's rule.

    nodules, irrelevant: (n, 4) as in `lies_on`. places: (m, 3), mm. scores: (m,), such as probabilities; only
    their order matters.
    """
    on_each = lies_on(nodules, places)  # (n, m)
    on_nodule = on_each.any(axis=0)
    scores = np.asarray(scores, dtype=float)
    best = np.full(len(on_each), -1)
    for number in np.flatnonzero(on_each.any(axis=1)):
        best[number] = np.argmax(np.where(on_each[number], scores, -np.inf))
    return Outcome(best, on_nodule, ~(on_nodule | lies_on(irrelevant, places).any(axis=0)))
