"""Solutions of chapter 8's exercises."""

import torch
from torch import nn


def output_size(size, kernel, padding, stride):
    return (size + 2 * padding - kernel) // stride + 1


def by_hand(image, kernel):
    k = len(kernel)
    windows = image.unfold(0, k, 1).unfold(1, k, 1)  # (H - k + 1, W - k + 1, k, k)
    return (windows * kernel).sum(dim=(2, 3))


def edge_kernel():
    return torch.tensor([[-1.0, 0.0, 1.0]] * 3)


def receptive_field(layers):
    seen = 1
    for kernel, stride in reversed(layers):
        seen = (seen - 1) * stride + kernel
    return seen


def dropout(x, p, training):
    if not training:
        return x
    return x * (torch.rand_like(x) >= p) / (1 - p)


class TwoConvolutions(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(torch.relu(self.conv1(x)))


SOLUTIONS = {
    "8.1": output_size,
    "8.2": by_hand,
    "8.3": edge_kernel,
    "8.4": receptive_field,
    "8.5": dropout,
    "8.6": TwoConvolutions,
}
