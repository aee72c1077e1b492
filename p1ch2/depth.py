"""Does more depth help? Stacks of convolutions, plain and residual, trained alike (chapter 2, "ResNet").

`python -m p1ch2.depth --write` trains every depth three times and records losses and gradients in
`data/p1ch2/depth.json`, which the notebook draws; the notebook itself trains one pair.
"""

import argparse
import json

import torch
import torch.nn.functional as F
from torch import nn

from p1ch2 import measure
from p1ch2.classifier import prepare
from p1ch2.drawing import CLASSES
from p1ch2.pretrained import WEIGHTS
from util.errors import main_guard
from util.files import atomic_path
from util.runtime import on_threads, seed_everything

RECORD = WEIGHTS / "depth.json"
BLOCKS = (2, 4, 8, 16, 28)
SEEDS = (0, 1, 2)
STEPS, BATCH, RATE = 150, 64, 3e-3


class Block(nn.Module):
    """Two convolutions with batch norm, (N, C, H, W) -> the same; `residual` adds the input to their result."""

    def __init__(self, channels, residual):
        super().__init__()
        self.residual = residual
        self.change = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        change = self.change(x)
        return torch.relu(x + change if self.residual else change)


def stack_of_blocks(blocks, residual, channels=16):
    """A classifier of small drawings, (N, 3, 16, 16) -> (N, 13), with 2 * blocks + 2 layers of weights."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        *(Block(channels, residual) for _ in range(blocks)),  # (N, channels, 8, 8)
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, len(CLASSES)),
    )


def small_drawings(number=1300, seed=1):
    """Drawings averaged down to a quarter: (prepared pictures (number, 3, 16, 16), class numbers (number,))."""
    drawings = [measure.draw_any(seed, i) for i in range(number)]
    names = torch.tensor([CLASSES.index(drawing.label) for drawing in drawings])
    return F.avg_pool2d(prepare(measure.stack(drawings)), 4), names


@on_threads(1)
def train(model, pictures, names, seed, steps=STEPS):
    """Adam on random batches; returns (losses of every step, gradient norms of the blocks at the first step).

    The norms are of each block's first convolution, first block first.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    losses, gradients = [], []
    for _ in range(steps):
        chosen = torch.randint(len(pictures), (BATCH,), generator=generator)
        loss = F.cross_entropy(model(pictures[chosen]), names[chosen])
        optimizer.zero_grad()
        loss.backward()
        if not gradients:
            blocks = [block for block in model if hasattr(block, "change")]
            gradients = [block.change[0].weight.grad.norm().item() for block in blocks]
        optimizer.step()
        losses.append(loss.item())
    return losses, gradients


def final_loss(losses):
    """Mean training loss of the last 30 steps."""
    return sum(losses[-30:]) / len(losses[-30:])


def record(blocks=BLOCKS, seeds=SEEDS, steps=STEPS):
    """Train plain and residual stacks of every depth with every seed; returns what the figure needs."""
    pictures, names = small_drawings()
    rows = []
    for depth in blocks:
        for residual in (False, True):
            for seed in seeds:
                seed_everything(seed)
                losses, gradients = train(stack_of_blocks(depth, residual), pictures, names, seed, steps)
                row = {
                    "blocks": depth,
                    "layers": 2 * depth + 2,
                    "residual": residual,
                    "seed": seed,
                    "loss": round(final_loss(losses), 4),
                    "first_gradient": round(gradients[0], 4),
                    "last_gradient": round(gradients[-1], 4),
                }
                rows.append(row)
                print(row, flush=True)
    return {
        "command": "python -m p1ch2.depth --write",
        "torch": torch.__version__.split("+")[0],
        "rows": rows,
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m p1ch2.depth", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="record the figures that the notebook draws")
    options = parser.parse_args(arguments)
    figures = record()
    if options.write:
        with atomic_path(RECORD) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main_guard(main)
