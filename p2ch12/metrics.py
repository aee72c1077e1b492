"""Counting hits and misses (chapter 12, "Graphing the positives and negatives")."""


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
