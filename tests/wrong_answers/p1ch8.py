"""Typical wrong answers to chapter 8's exercises."""

import torch
from torch import nn


class _NoSkip(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x):
        return self.layers(x)


class _HiddenInList(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layers = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)]

    def forward(self, x):
        return x + self.layers[1](torch.relu(self.layers[0](x)))


WRONG = {
    "8.1": [
        lambda size, kernel, padding, stride: size - kernel + 1,
        lambda size, kernel, padding, stride: (size + padding - kernel) // stride + 1,
        lambda size, kernel, padding, stride: -(-(size + 2 * padding - kernel) // stride) + 1,
    ],
    "8.2": [
        lambda image, kernel: (
            image.unfold(0, len(kernel), 1).unfold(1, len(kernel), 1) * kernel.flip(0, 1)
        ).sum(dim=(2, 3)),
        lambda image, kernel: image * kernel.sum(),
    ],
    "8.3": [
        lambda: torch.tensor([[1.0, 0.0, -1.0]] * 3),
        lambda: torch.tensor([[-1.0, 0.0, 1.0]] * 3).t(),
        lambda: torch.ones(3, 3),
    ],
    "8.4": [
        lambda layers: sum(kernel for kernel, _ in layers),
        lambda layers: 1 + sum(kernel - 1 for kernel, _ in layers),
    ],
    "8.5": [
        lambda x, p, training: x * (torch.rand_like(x) >= p) / (1 - p),
        lambda x, p, training: x * (torch.rand_like(x) >= p) if training else x,
        lambda x, p, training: x * (torch.rand_like(x) < p) / p if training else x,
    ],
    "8.6": [_NoSkip, _HiddenInList],
}
