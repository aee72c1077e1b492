"""Rings and discs: a task that is easy to see and hard to write down (chapter 1, section 1)."""

import torch

SIZE = 16


def draw_shapes(count, seed=0):
    """`count` noisy pictures of rings (label 1) and discs (label 0).

    Answers (images, labels): (count, 1, 16, 16) float in about [-1, 2], and (count,) int64. Place, radius,
    the ring's width, brightness and noise differ from picture to picture. Same seed, same pictures.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high):
        return low + (high - low) * torch.rand(count, 1, 1, generator=generator)

    labels = torch.randint(0, 2, (count,), generator=generator)
    radius = uniform(3.0, 5.5)
    row, column = uniform(5.0, 10.0), uniform(5.0, 10.0)
    axis = torch.arange(SIZE, dtype=torch.float32)
    distance = ((axis[None, :, None] - row) ** 2 + (axis[None, None, :] - column) ** 2).sqrt()
    inside = torch.clamp(radius - distance + 0.5, 0, 1)
    hole = torch.clamp(radius * uniform(0.45, 0.7) - distance + 0.5, 0, 1)
    shape = inside - hole * labels[:, None, None]
    images = uniform(0.6, 1.2) * shape + 0.25 * torch.randn(count, SIZE, SIZE, generator=generator)
    return images[:, None], labels


def accuracy(answers, labels):
    """Share of right answers, 0 to 1; both (N,)."""
    return (answers == labels).float().mean().item()
