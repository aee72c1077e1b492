"""Typical wrong answers to chapter 14's exercises."""

import math

import numpy as np
import torch
from scipy import ndimage

from p2ch12.metrics import roc_auc


def without_batch_norm(model, learning):
    for name, part in model.named_children():
        part.requires_grad_(name in learning)


def all_in_eval(model, learning):
    without_batch_norm(model, learning)
    model.eval()


def only_the_first_asked(model, learning):
    for name, part in model.named_children():
        part.requires_grad_(name == learning[0])
        part.train(name == learning[0])


def interval(label, score, baseline, paired=True, percent=(2.5, 97.5)):
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(400):
        one = rng.integers(len(label), size=len(label))
        two = one if paired else rng.integers(len(label), size=len(label))
        areas = [
            roc_auc(torch.from_numpy(label[chosen]), torch.from_numpy(values[chosen]))
            for chosen, values in ((one, score), (two, baseline))
        ]
        differences.append(areas[0] - areas[1])
    return tuple(np.percentile(differences, percent).tolist())


def eroded_only(mask):
    labels, count = ndimage.label(ndimage.binary_erosion(mask))
    return ndimage.center_of_mass(labels > 0, labels, range(1, count + 1))


def components_only(mask):
    labels, count = ndimage.label(mask)
    return ndimage.center_of_mass(mask, labels, range(1, count + 1))


WRONG = {
    "14.1": [
        lambda mark, center, diameter: math.dist(mark, center) < diameter,
        lambda mark, center, diameter: math.dist(mark, center) <= diameter / 2,
        lambda mark, center, diameter: max(abs(a - b) for a, b in zip(mark, center)) < diameter / 2,
    ],
    "14.2": [
        lambda hu, mask: np.argwhere(mask).mean(axis=0),
        lambda hu, mask: ndimage.center_of_mass(hu.astype(float) + 1001),
        lambda hu, mask: ndimage.center_of_mass(hu.astype(float) + 1001, mask.astype(int), 1)[::-1],
    ],
    "14.3": [
        lambda fp, sensitivity: float(np.mean(sensitivity)),
        lambda fp, sensitivity: float(np.interp([0.125, 0.25, 0.5, 1, 2, 4, 8], fp, sensitivity).mean()),
        lambda fp, sensitivity: float(np.interp([1, 2, 4, 8], [0, *fp], [0, *sensitivity]).mean()),
    ],
    "14.4": [without_batch_norm, all_in_eval, only_the_first_asked],
    "14.5": [
        lambda label, score, baseline: interval(label, score, baseline, paired=False),
        lambda label, score, baseline: interval(label, score, baseline, percent=(25, 75)),
        lambda label, score, baseline: interval(label, baseline, score),
    ],
    "14.6": [eroded_only, components_only, lambda mask: np.argwhere(mask)],
}
