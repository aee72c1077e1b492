"""Typical wrong answers to chapter 3's exercises."""

import torch

WRONG = {
    "3.1": [
        lambda t: t[[0, 0, -1, -1], [0, -1, 0, -1]].reshape(2, 2),
        lambda t: t[:2, :2],
        lambda t: t[[0, -1]][:, [0, -1]],
    ],
    "3.2": [
        lambda index, stride, offset: sum(i * s for i, s in zip(index, stride, strict=True)),
        lambda index, stride, offset: offset + index[-1],
    ],
    "3.3": [
        lambda signal, size: torch.stack([signal[i : i + size] for i in range(len(signal) - size + 1)]),
        lambda signal, size: signal.as_strided((len(signal) - size + 1, size), (1, 1), 0),
        lambda signal, size: signal[:size],
    ],
    "3.4": [
        lambda a, b: (a + b) // 2,
        lambda a, b: (a.float() + b.float()) / 2,
        lambda a, b: a // 2 + b // 2,
    ],
    "3.5": [
        lambda image, axes: torch.einsum("chw,c->hw", image, torch.tensor([0.2126, 0.7152, 0.0722])),
        lambda image, axes: image.mean(axes.split().index("channel")),
    ],
    "3.6": [
        lambda values: values,
        lambda values: values.to(torch.float16),
        lambda values: values.to(torch.uint8),
    ],
}
