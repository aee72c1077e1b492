"""Checks of chapter 12's exercises. The exercises themselves stand in the notebook."""

import numpy as np
import torch
from torch.nn import functional as F

from util.exercises import exercise, expect


@exercise("12.1", hint="Precision looks at what was called a nodule, recall at what is one. Mind empty sets.")
def check_precision_recall(precision_recall):
    expect(
        np.allclose(precision_recall(8, 2, 0), (0.8, 1.0)), "8 of 10 alarms are right and nothing is missed."
    )
    expect(
        np.allclose(precision_recall(3, 0, 9), (1.0, 0.25)), "3 of 12 nodules are found, without false alarm."
    )
    expect(
        np.allclose(precision_recall(0, 0, 5), (0.0, 0.0)), "Without any alarm, answer 0 for the precision."
    )
    expect(np.allclose(precision_recall(0, 4, 0), (0.0, 0.0)), "Without any nodule, answer 0 for the recall.")


@exercise("12.2", hint="F-beta is (1 + b²)·P·R / (b²·P + R); b = 1 gives the F1 score.")
def check_f_beta(f_beta):
    expect(abs(f_beta(0.5, 1.0, 1.0) - 2 / 3) < 1e-9, "With beta 1 it should be the F1 score.")
    expect(abs(f_beta(0.5, 1.0, 2.0) - 5 / 6) < 1e-9, "With beta 2, recall should weigh more.")
    expect(f_beta(0.2, 0.9, 2.0) > f_beta(0.9, 0.2, 2.0), "Precision and recall have changed places.")
    expect(f_beta(0.0, 0.0, 1.0) == 0, "Where both are 0, answer 0.")


@exercise("12.3", hint="Within a group of ratio + 1 items, the first is a nodule and the others are not.")
def check_balanced_place(balanced_place):
    expect(balanced_place(0, 1, 10, 100) == ("pos", 0), "The first item should be the first nodule.")
    expect(balanced_place(1, 1, 10, 100) == ("neg", 0), "The second should be the first of the others.")
    expect(balanced_place(20, 1, 10, 100) == ("pos", 0), "After the last nodule, the first comes again.")
    rng = np.random.default_rng()
    for _ in range(100):
        ndx, ratio = int(rng.integers(0, 5000)), int(rng.integers(1, 5))
        turn, place = divmod(ndx, ratio + 1)
        want = ("neg", (turn * ratio + place - 1) % 70) if place else ("pos", turn % 9)
        expect(balanced_place(ndx, ratio, 9, 70) == want, f"Wrong for item {ndx} at a ratio of {ratio}.")


@exercise("12.4", hint="Sort the scores of the nodules. How many of them may stay below the threshold?")
def check_threshold(threshold_for_recall):
    label = np.array([1, 0, 1, 0, 1, 1, 0])
    score = np.array([0.9, 0.95, 0.8, 0.1, 0.3, 0.6, 0.7])
    expect(abs(threshold_for_recall(label, score, 0.75) - 0.6) < 1e-9, "3 of 4 nodules score at least 0.6.")
    expect(abs(threshold_for_recall(label, score, 1.0) - 0.3) < 1e-9, "All 4 nodules score at least 0.3.")
    rng = np.random.default_rng()
    for wanted in (0.31, 0.5, 0.9):
        label, score = rng.random(60) < 0.4, rng.random(60)
        label[:5] = True
        got = threshold_for_recall(label, score, wanted)
        above = np.sort(score[label])[::-1]
        best = next(t for n, t in enumerate(above, 1) if n >= wanted * len(above) - 1e-9)
        expect(abs(got - best) < 1e-9, f"For a recall of {wanted} there is a better threshold.")


@exercise("12.5", hint="Of N people, how many are ill and found, how many are well and alarmed?")
def check_precision_at(precision_at):
    expect(abs(precision_at(0.9, 0.9, 0.5) - 0.9) < 1e-9, "With as many nodules as others it should be 0.9.")
    want = 0.9 * 0.01 / (0.9 * 0.01 + 0.1 * 0.99)
    expect(abs(precision_at(0.9, 0.9, 0.01) - want) < 1e-9, "With 1 nodule in 100, false alarms take over.")
    recall, specificity, share = np.random.default_rng().uniform(0.1, 0.9, 3)
    want = recall * share / (recall * share + (1 - specificity) * (1 - share))
    expect(abs(precision_at(recall, specificity, share) - want) < 1e-9, "Wrong for other numbers.")


@exercise("12.6", hint="The matrix says where each output pixel comes from. The whole width is 2 units long.")
def check_shift(shift_right):
    picture = torch.zeros(1, 1, 5, 10)
    picture[0, 0, 2, 3] = 1
    for voxels in (1, 4):
        affine = torch.as_tensor(shift_right(voxels, 10), dtype=torch.float32)
        expect(affine.shape == (2, 3), "affine_grid wants a 2 × 3 matrix.")
        moved = F.grid_sample(
            picture, F.affine_grid(affine[None], [1, 1, 5, 10], align_corners=False), align_corners=False
        )
        row, column = divmod(int(moved.argmax()), 10)
        expect(row == 2, "The picture moved up or down; the first row of the matrix is for x.")
        expect(column != 3 - voxels, "It moves to the left: the matrix maps output to input.")
        expect(column == 3 + voxels, f"The pixel in column 3 should come to column {3 + voxels}.")
        expect(float(moved.max()) > 0.99, "The pixel arrives smeared over two: the shift is no whole pixel.")
