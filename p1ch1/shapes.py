"""Rings and discs: a task that is easy to see and hard to write down (chapter 1, section 1)."""

import torch
from torch import nn

from util.runtime import seed_everything

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


def rule_by_hand(images):
    """A rule that a person would write: dark in the middle of the bright pixels means ring.

    images: (N, 1, 16, 16). Answers (N,) int64, 1 for ring.
    """
    bright = torch.clamp(images[:, 0], min=0)  # (N, 16, 16)
    axis = torch.arange(SIZE, dtype=torch.float32)
    weight = bright.sum(dim=(1, 2))
    row = (bright.sum(dim=2) * axis).sum(dim=1) / weight
    column = (bright.sum(dim=1) * axis).sum(dim=1) / weight
    number = torch.arange(len(images))
    middle = images[number, 0, row.round().long(), column.round().long()]
    return (middle < 0.4).long()


def learn_from_examples(images, labels, epochs=40, seed=0):
    """Train a small network on examples; answers it in evaluation mode.

    images: (N, 1, 16, 16), labels: (N,). What each line does is the subject of chapters 5 to 8.
    """
    seed_everything(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 8, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 4 * 4, 2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    # As many updates for few examples as for many, so that only the number of examples differs.
    steps = epochs * 8
    for _ in range(steps):
        chosen = torch.randint(0, len(images), (64,))
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def accuracy(answers, labels):
    """Share of right answers, 0 to 1; both (N,)."""
    return (answers == labels).float().mean().item()
