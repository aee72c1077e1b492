"""Counting hits and misses (chapter 12, "Graphing the positives and negatives")."""

import math

import torch


def confusion(label, predicted):
    """(true positives, false positives, false negatives, true negatives) of two bool tensors, as ints."""
    true_positive = int((label & predicted).sum())
    false_positive = int((~label & predicted).sum())
    false_negative = int((label & ~predicted).sum())
    return (
        true_positive,
        false_positive,
        false_negative,
        label.numel() - (true_positive + false_positive + false_negative),
    )


def precision_recall_f1(label, predicted):
    """Precision, recall and F1 of two bool tensors; 0 where a denominator is empty."""
    true_positive, false_positive, false_negative, _ = confusion(label, predicted)
    precision = true_positive / max(true_positive + false_positive, 1)
    recall = true_positive / max(true_positive + false_negative, 1)
    f1 = 2 * true_positive / max(2 * true_positive + false_positive + false_negative, 1)
    return precision, recall, f1


def _counts_by_threshold(label, score):
    """(thresholds, true positives, false positives): one entry per distinct score, highest first."""
    order = torch.argsort(score, descending=True)
    label, score = label[order].to(torch.float64), score[order]
    # Equal scores cross the threshold together, so a curve may only bend where the score changes.
    last = torch.ones_like(score, dtype=torch.bool)
    last[:-1] = score[1:] != score[:-1]
    true_positive = label.cumsum(0)[last]
    false_positive = (1 - label).cumsum(0)[last]
    return score[last], true_positive, false_positive


def roc_curve(label, score):
    """False positive rate, true positive rate and thresholds, from the strictest to the laxest.

    label: bool tensor (N,); score: float tensor (N,), higher is more suspicious. The curve starts at
    (0, 0) with threshold infinity. The rate of an empty class is NaN.
    """
    threshold, true_positive, false_positive = _counts_by_threshold(label, score)
    zero = true_positive.new_zeros(1)
    positives = int(label.sum())
    true_rate = torch.cat([zero, true_positive]) / positives  # 0 / 0 is NaN
    false_rate = torch.cat([zero, false_positive]) / (label.numel() - positives)
    return false_rate, true_rate, torch.cat([threshold.new_tensor([float("inf")]), threshold])


def pr_curve(label, score):
    """Precision, recall and thresholds, from the strictest to the laxest, one per distinct score.

    Arguments as for `roc_curve`. Recall is NaN where there are no positives.
    """
    threshold, true_positive, false_positive = _counts_by_threshold(label, score)
    return true_positive / (true_positive + false_positive), true_positive / int(label.sum()), threshold


def area_under(x, y) -> float:
    """Area under a curve by the trapezoid rule; of `roc_curve`, the ROC-AUC. NaN for NaN."""
    return float(torch.trapezoid(y, x))


def roc_auc(label, score) -> float:
    """The chance that a random positive scores above a random negative; NaN without both classes."""
    false_rate, true_rate, _ = roc_curve(label, score)
    return area_under(false_rate, true_rate)


def average_precision(label, score) -> float:
    """Precision averaged over the steps in recall; NaN without positives."""
    precision, recall, _ = pr_curve(label, score)
    return float((precision * torch.diff(recall, prepend=recall.new_zeros(1))).sum())


def prior_shift(trained, true) -> float:
    """What to add to a log-odds score of a network that was trained where a share `trained` were nodules.

    Where a share `true` are (both between 0 and 1), sigmoid(score + shift) is then the probability. By Bayes'
    rule the odds are the prior odds times what the crop says, and the crop says the same in both places.
    """
    return math.log(true / (1 - true)) - math.log(trained / (1 - trained))


def calibration_error(label, probability, bins=10) -> float:
    """How far probabilities are from the shares that come true, averaged over `bins` groups of equal size.

    label: bool (N,), probability: float (N,), N at least `bins`.
    """
    order = torch.argsort(probability)
    groups = zip(torch.tensor_split(label[order].float(), bins), torch.tensor_split(probability[order], bins))
    return sum(len(came) * abs(came.mean() - said.mean()).item() for came, said in groups) / len(label)
