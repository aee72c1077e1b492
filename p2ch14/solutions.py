"""One right answer to each of chapter 14's exercises."""

import math

import numpy as np
import torch
from scipy import ndimage

from p2ch12.metrics import roc_auc


def is_hit(mark_xyz, center_xyz, diameter_mm):
    """Does the mark hit the nodule, by LUNA16's rule?"""
    return math.dist(mark_xyz, center_xyz) < diameter_mm / 2


def weighted_center(hu, mask):
    """Centre of mass (index, row, column) of the marked voxels, weighted by HU + 1001."""
    places = np.argwhere(mask)
    weights = hu[mask].astype(float) + 1001
    return tuple(weights @ places / weights.sum())


def cpm(fp_per_scan, sensitivity):
    """Mean sensitivity at LUNA16's seven rates; both lists rise, from the strictest threshold on."""
    rates = [0.125, 0.25, 0.5, 1, 2, 4, 8]
    return float(np.interp(rates, [0, *fp_per_scan], [0, *sensitivity]).mean())


def freeze(model, learning):
    """Only the parts named in `learning` learn; all others stay exactly as they are."""
    for name, part in model.named_children():
        part.requires_grad_(name in learning)
        part.train(name in learning)


def paired_interval(label, score, baseline, draws=1000):
    """95 % interval (low, high) of AUC(score) - AUC(baseline), both on the same nodules in every draw."""
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(draws):
        chosen = rng.integers(len(label), size=len(label))
        label_t = torch.from_numpy(label[chosen])
        if label_t.any() and not label_t.all():
            one, two = (roc_auc(label_t, torch.from_numpy(s[chosen])) for s in (score, baseline))
            differences.append(one - two)
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(low), float(high)


def candidates(mask):
    """Centres (n, 3): of eroded components, of the bumps of large ones, of what the erosion removed."""
    eroded, count = ndimage.label(ndimage.binary_erosion(mask))
    centers = ndimage.center_of_mass(eroded > 0, eroded, range(1, count + 1))
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1.0)
    is_bump = (ndimage.maximum_filter(depth, size=13) == depth) & (depth > 2)
    whole, count = ndimage.label(mask)
    for number in range(1, count + 1):
        component = whole == number
        if component.sum() > 8 and not (eroded[component] > 0).any():
            centers.append(ndimage.center_of_mass(component))
    return centers + [tuple(bump) for bump in np.argwhere(is_bump)]


SOLUTIONS = {
    "14.1": is_hit,
    "14.2": weighted_center,
    "14.3": cpm,
    "14.4": freeze,
    "14.5": paired_interval,
    "14.6": candidates,
}
