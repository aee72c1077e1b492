"""Typical wrong answers to chapter 1's exercises."""

import torch

from p1ch1.shapes import rule_by_hand

WRONG = {
    "1.1": [
        lambda image: image.argmax(),
        lambda image: tuple(reversed(divmod(image.argmax().item(), 16))),
        lambda image: (0, 0),
    ],
    "1.2": [lambda f, x: f(x + 1.0) - f(x), lambda f, x: f(x) / x],
    "1.3": [lambda cells, order: {"x": 2, "y": 20}, lambda cells, order: "x = 2"],
    "1.4": [
        lambda samples, load, compute, overlap: samples / load + samples / compute,
        lambda samples, load, compute, overlap: samples / max(load, compute),
    ],
    "1.5": [rule_by_hand, lambda images: torch.ones(len(images)), lambda images: 1],
}
