"""A malignancy network and a ruler in one probability (chapter 14, "Predicting malignancy").

Large nodules are malignant far more often than small ones, and a network and a ruler know different things, so
a logistic regression of two features weighs one against the other. Its weights lie in the network's file.
"""

import numpy as np
import torch
from torch import nn

from util.errors import UserError


def with_size(probability, diameter_mm, weights):
    """The network's answer and the diameter in one probability: logistic regression of two features.

    probability: the network's (n,) or one number; diameter_mm: the same shape, above 0. weights: of the
    network's logit, of the logarithm of the diameter, and a constant, as `fit_size` finds them.
    """
    score = _features(probability, diameter_mm) @ np.asarray(weights)
    return 1 / (1 + np.exp(-score))


def fit_size(label, probability, diameter_mm) -> tuple[float, float, float]:
    """The weights for `with_size` under which the labels, bool (n,), are most likely.

    Raises `UserError` if one class is missing.
    """
    label_t = torch.as_tensor(np.asarray(label, bool), dtype=torch.float64)
    if label_t.min() == label_t.max():
        raise UserError("weighing size needs malignant and benign nodules; use more scans")
    features_t = torch.from_numpy(_features(probability, diameter_mm))  # (n, 3)
    weights_t = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights_t], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(features_t @ weights_t, label_t)
        loss.backward()
        return loss

    optimizer.step(closure)
    return tuple(round(weight, 4) for weight in weights_t.tolist())


def _features(probability, diameter_mm):
    """The network's logit, the logarithm of the diameter, and 1: float64 (..., 3)."""
    inside = np.clip(np.asarray(probability, np.float64), 1e-6, 1 - 1e-6)
    logit = np.log(inside / (1 - inside))
    return np.stack([logit, np.log(np.asarray(diameter_mm, np.float64)), np.ones_like(logit)], axis=-1)
