"""Typical wrong answers to chapter 12's exercises."""

import numpy as np

WRONG = {
    "12.1": [
        lambda tp, fp, fn: (tp / (tp + fp), tp / (tp + fn)),
        lambda tp, fp, fn: (tp / max(tp + fn, 1), tp / max(tp + fp, 1)),
    ],
    "12.2": [
        lambda p, r, beta: 2 * p * r / (p + r) if p + r else 0.0,
        lambda p, r, beta: (1 + beta**2) * p * r / (p + beta**2 * r) if p + r else 0.0,
        lambda p, r, beta: (1 + beta**2) * p * r / (beta**2 * p + r),
    ],
    "12.3": [
        lambda ndx, ratio, pos, neg: ("neg", ndx // 2 % neg) if ndx % 2 else ("pos", ndx // 2 % pos),
        lambda ndx, ratio, pos, neg: ("neg", ndx % neg) if ndx % (ratio + 1) else ("pos", ndx % pos),
        lambda ndx, ratio, pos, neg: (
            ("neg", ndx - 1 - ndx // (ratio + 1)) if ndx % (ratio + 1) else ("pos", ndx // (ratio + 1))
        ),
    ],
    "12.4": [
        lambda label, score, recall: np.quantile(np.asarray(score)[np.asarray(label, bool)], 1 - recall),
        lambda label, score, recall: np.sort(score)[::-1][int(recall * len(score)) - 1],
        lambda label, score, recall: min(np.asarray(score)[np.asarray(label, bool)]),
    ],
    "12.5": [
        lambda recall, specificity, share: recall,
        lambda recall, specificity, share: recall * share / (recall * share + (1 - specificity)),
    ],
    "12.6": [
        lambda voxels, width: [[1, 0, 2 * voxels / width], [0, 1, 0]],
        lambda voxels, width: [[1, 0, -voxels / width], [0, 1, 0]],
        lambda voxels, width: [[1, 0, 0], [0, 1, -2 * voxels / width]],
    ],
}
