"""Checks of chapter 14's exercises. The exercises themselves stand in the notebook."""

import math

import numpy as np
import torch
from scipy import ndimage

from p2ch11.model import LunaModel
from p2ch12.metrics import roc_auc
from p2ch14.froc import FP_RATES
from util.exercises import exercise, expect


@exercise(
    "14.1", hint="A diameter is two radii. Distances are in 3D, and a mark exactly at the radius is outside."
)
def check_hits(is_hit):
    expect(
        is_hit((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 10.0),
        "A mark 1.7 mm from the centre of a 10 mm nodule hits.",
    )
    expect(
        not is_hit((8.0, 0.0, 0.0), (0.0, 0.0, 0.0), 10.0),
        "8 mm from the centre of a 10 mm nodule is outside.",
    )
    expect(not is_hit((0.0, 5.0, 0.0), (0.0, 0.0, 0.0), 10.0), "A mark exactly at the radius does not hit.")
    expect(not is_hit((4.0, 4.0, 4.0), (0.0, 0.0, 0.0), 10.0), "The distance is taken in 3D: this is 6.9 mm.")
    rng = np.random.default_rng()
    for _ in range(40):
        mark, center, diameter = rng.normal(0, 5, 3), rng.normal(0, 5, 3), float(rng.uniform(3, 30))
        want = math.dist(mark, center) < diameter / 2
        expect(bool(is_hit(tuple(mark), tuple(center), diameter)) == want, "A random mark is judged wrongly.")


@exercise(
    "14.2",
    hint="Air (-1000 HU) should weigh 1 and water 1001. Divide by the sum of weights, not by their count.",
)
def check_weighted_center(weighted_center):
    hu = np.full((4, 5, 6), -1000, dtype=np.int16)
    mask = np.zeros(hu.shape, dtype=bool)
    mask[1, 2, 1:5] = True
    got = np.asarray(weighted_center(hu, mask), float)
    expect(got.shape == (3,), "The answer should be three numbers: index, row, column.")
    expect(np.allclose(got, [1, 2, 2.5]), "For four equal voxels in a row the centre is their middle.")
    hu[1, 2, 4] = 0
    got = np.asarray(weighted_center(hu, mask), float)
    expect(not np.allclose(got, [1, 2, 2.5]), "Dense voxels should pull the centre towards them.")
    hu[0, 0, 0] = 1000
    again = np.asarray(weighted_center(hu, mask), float)
    expect(np.allclose(again, got), "A voxel outside the mask changed the centre.")
    rng = np.random.default_rng()
    hu = rng.integers(-1000, 1000, (6, 7, 8)).astype(np.int16)
    mask = rng.random(hu.shape) < 0.4
    want = ndimage.center_of_mass(hu.astype(float) + 1001, mask.astype(int), 1)
    expect(
        np.allclose(weighted_center(hu, mask), want),
        "On random voxels the centre is off. int16 overflows easily: turn to float before you multiply.",
    )


@exercise(
    "14.3",
    hint="np.interp does it, once the curve starts at the origin. The last point holds beyond the end.",
)
def check_cpm(cpm):
    expect(
        math.isclose(cpm([0.0], [0.7]), 0.7),
        "Without any false positive, every rate has the same sensitivity.",
    )
    got = cpm([8.0], [0.8])
    want = np.mean(np.array(FP_RATES) / 8 * 0.8)
    expect(
        not math.isclose(got, 0.8),
        "The curve starts at the origin and rises in a straight line to its first point.",
    )
    expect(
        math.isclose(got, want),
        "The mean is taken over 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per scan.",
    )
    expect(
        math.isclose(cpm([0.0, 0.5], [0.4, 0.6]), np.mean([0.45, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6])),
        "Beyond its last point the curve stays level.",
    )
    rng = np.random.default_rng()
    for _ in range(10):
        fp, sensitivity = np.sort(rng.uniform(0, 10, 12)), np.sort(rng.random(12))
        want = np.interp(FP_RATES, [0, *fp], [0, *sensitivity]).mean()
        expect(math.isclose(cpm(fp, sensitivity), want), "A random curve gets another CPM.")


@exercise(
    "14.4",
    hint="Parameters are frozen by requires_grad. Running statistics move whenever the layer is in training mode.",
)
def check_freeze(freeze):
    for learning in (["head_linear"], ["block4", "head_linear"]):
        torch.manual_seed(0)
        model = LunaModel().train()
        model.block4.bn = torch.nn.BatchNorm3d(1)  # statistics of a part that learns, too
        before = model.tail_batchnorm.running_mean.clone()
        freeze(model, learning)
        free = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
        expect(free, "Nothing is left to learn.")
        expect(
            free == set(learning),
            f"With {learning} to learn, the parts that take gradients are {sorted(free)}.",
        )
        model(torch.randn(2, 1, 32, 48, 48) * 100 - 300)
        expect(
            torch.equal(model.tail_batchnorm.running_mean, before),
            "One forward pass in training moved the running mean of a frozen batch norm.",
        )
        expect(model.head_linear.training, "The part that learns should stay in training mode.")
        expect(model.block4.training == ("block4" in learning), "block4 is in the wrong mode.")


@exercise("14.5", hint="Draw indices of nodules once per round, and measure both scores on the same ones.")
def check_paired_interval(paired_interval):
    rng = np.random.default_rng()
    label = rng.random(150) < 0.4
    diameter = np.where(label, rng.normal(12, 4, 150), rng.normal(7, 3, 150))
    low, high = paired_interval(label, diameter, diameter)
    expect(
        low == high == 0,
        "A score compared with itself differs by exactly 0 in every draw: the draws are not paired.",
    )
    better = diameter + 3 * label
    low, high = paired_interval(label, better, diameter)
    difference = _auc(label, better) - _auc(label, diameter)
    expect(low < high, "The answer should be (low, high).")
    expect(low < difference < high, "The interval of (first minus second) should hold the difference itself.")
    draws = []
    for _ in range(800):
        chosen = rng.integers(len(label), size=len(label))
        if label[chosen].any() and not label[chosen].all():
            draws.append(_auc(label[chosen], better[chosen]) - _auc(label[chosen], diameter[chosen]))
    want_low, want_high = np.percentile(draws, [2.5, 97.5])
    slack = 0.3 * (want_high - want_low)
    expect(
        abs(low - want_low) < slack and abs(high - want_high) < slack,
        "The interval is too wide or too narrow: 95 % of the draws should lie inside, drawn with replacement.",
    )


def _auc(label, score):
    return roc_auc(torch.from_numpy(label), torch.from_numpy(np.asarray(score, float)))


@exercise(
    "14.6", hint="Look at the distance to the surface: where is a component thicker than its surroundings?"
)
def check_candidates(candidates):
    """Open-ended: at least as good as one erosion, and better where nodules touch something."""
    rng = np.random.default_rng()
    mask = np.zeros((40, 70, 110), dtype=bool)
    nodule = (20, int(rng.integers(25, 45)), 14)
    alone = (int(rng.integers(8, 30)), 60, int(rng.integers(20, 95)))
    speck = (34, 12, int(rng.integers(20, 95)))
    for center, radius in ((nodule, 6), (alone, 4)):
        mask |= _ball(mask.shape, center, radius)
    mask[19:22, nodule[1] - 1 : nodule[1] + 2, 14:104] = True
    mask[speck[0] : speck[0] + 2, speck[1] : speck[1] + 3, speck[2] : speck[2] + 3] = True
    mask[3, 3, 3] = True
    centers = np.asarray(candidates(mask), float).reshape(-1, 3)
    expect(len(centers), "No candidate came back.")
    expect(len(centers) <= 12, f"{len(centers)} candidates for three nodules are too many to classify.")

    def found(center, radius):
        return (np.linalg.norm(centers - center, axis=1) < radius).any()

    expect(found(alone, 4), "The nodule that stands alone has no candidate within its radius.")
    expect(found(nodule, 6), "The nodule on the vessel has no candidate within its radius.")
    expect(
        found(np.add(speck, (0.5, 1, 1)), 2),
        "A nodule two slices thick, which an erosion removes, has no candidate.",
    )
    expect(not found((3, 3, 3), 1), "A single voxel is noise and should be no candidate.")


def _ball(shape, center, radius):
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum((g - c) ** 2 for g, c in zip(grid, center)) < radius**2
