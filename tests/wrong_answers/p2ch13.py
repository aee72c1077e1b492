"""Typical wrong answers to chapter 13's exercises."""

import numpy as np


def _intersection_over_union(a, b):
    union = (a | b).sum()
    return (a & b).sum() / union if union else 1.0


def _box_by_one_side(hu, center):
    slices = []
    for axis, (middle, size) in enumerate(zip(center, hu.shape)):
        line = np.moveaxis(hu, axis, 0)[(slice(None), *(c for a, c in enumerate(center) if a != axis))]
        stop = middle
        while stop + 1 < size and line[stop + 1] > -700:
            stop += 1
        slices.append(slice(middle, stop + 1))
    return tuple(slices)


def _dice_loss(prediction, label, _weight):
    return 1 - (2 * (prediction * label).sum() + 1) / (prediction.sum() + label.sum() + 1)


WRONG = {
    "13.1": [_intersection_over_union, lambda a, b: 2 * (a & b).sum() / (a.sum() + b.sum())],
    "13.2": [
        lambda hu, index, context: hu[index - context : index + context + 1],
        lambda hu, index, context: hu[np.arange(index - context, index + context + 1) % len(hu)],
    ],
    "13.3": [lambda depth: 4 * depth + 1, lambda depth: 3**depth],
    "13.4": [_box_by_one_side, lambda hu, center: tuple(slice(c - 2, c + 3) for c in center)],
    "13.5": [
        _dice_loss,
        lambda prediction, label, weight: _dice_loss(prediction, label, 0) * (1 + weight),
    ],
    "13.6": [lambda hu: hu < -500, lambda hu: (hu < -500) & (hu > -930)],
}
