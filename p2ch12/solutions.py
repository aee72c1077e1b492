"""One right answer to each of chapter 12's exercises."""

import math

import numpy as np


def precision_recall(true_positives, false_positives, false_negatives):
    """(precision, recall); 0 where nothing is there to divide by."""
    alarms, nodules = true_positives + false_positives, true_positives + false_negatives
    return true_positives / max(alarms, 1), true_positives / max(nodules, 1)


def f_beta(precision, recall, beta):
    """A mean of precision and recall in which recall weighs `beta` times as much."""
    below = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / below if below else 0.0


def balanced_place(ndx, ratio, positives, negatives):
    """Which candidate item `ndx` of a balanced dataset is: its list, and its place there."""
    turn, place = divmod(ndx, ratio + 1)
    if place == 0:
        return "pos", turn % positives
    return "neg", (turn * ratio + place - 1) % negatives


def threshold_for_recall(label, score, recall):
    """The highest threshold at which a share `recall` of the nodules scores at least that much."""
    nodules = np.sort(np.asarray(score)[np.asarray(label, bool)])[::-1]
    return nodules[math.ceil(recall * len(nodules) - 1e-9) - 1]


def precision_at(recall, specificity, share):
    """Precision where a share `share` of the candidates are nodules."""
    found, alarmed = recall * share, (1 - specificity) * (1 - share)
    return found / (found + alarmed)


def shift_right(voxels, width):
    """Matrix for `affine_grid` that moves a picture `voxels` pixels to the right."""
    return [[1, 0, -2 * voxels / width], [0, 1, 0]]


SOLUTIONS = {
    "12.1": precision_recall,
    "12.2": f_beta,
    "12.3": balanced_place,
    "12.4": threshold_for_recall,
    "12.5": precision_at,
    "12.6": shift_right,
}
