"""The drawings of chapter 1: how a project flows, and how fast this machine multiplies."""

import time

import matplotlib.pyplot as plt
import torch

from util.plotting import BLUE, GREEN, ORANGE, PINK


def draw_project():
    """Boxes and arrows: from files to an answer, with the chapters that treat each step; returns the figure."""
    steps = [
        ("files\nphotos, tables,\ntext, scans", "ch. 2, 4, 9", BLUE),
        ("tensors\nnumbers with\nshape and type", "ch. 3, 4", BLUE),
        ("Dataset,\nDataLoader\nbatches", "ch. 7, 10", GREEN),
        ("nn.Module\na model with\nparameters", "ch. 6, 8, 11, 13", GREEN),
        ("loss, autograd,\noptimizer\nlearning", "ch. 5, 11, 12", ORANGE),
        ("trained model\nanalysis,\nserver, phone", "ch. 14, 15", PINK),
    ]
    figure, axis = plt.subplots(figsize=(10, 2.5))
    axis.set_axis_off()
    axis.set_xlim(-0.5, len(steps) - 0.5)
    axis.set_ylim(-1.05, 0.45)
    for place, (text, chapters, colour) in enumerate(steps):
        box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": colour, "linewidth": 2}
        axis.text(place, 0, text, ha="center", va="center", fontsize=10.5, bbox=box)
        axis.text(place, -0.48, chapters, ha="center", va="center", fontsize=10, color="0.3")
        if place:
            axis.annotate(
                "", (place - 0.41, 0), (place - 0.59, 0), arrowprops={"arrowstyle": "-|>", "lw": 1.6}
            )
    # Back from learning to the next batch.
    axis.plot([4, 4, 2, 2], [-0.6, -0.8, -0.8, -0.6], color=ORANGE, lw=1.6)
    axis.annotate("", (2, -0.56), (2, -0.7), arrowprops={"arrowstyle": "-|>", "lw": 1.6, "color": ORANGE})
    axis.text(
        3, -0.95, "training: with the next batch, again and again", ha="center", va="center", fontsize=10
    )
    return figure


def multiplication_speed(size, dtype, device, seconds=0.1):
    """Billions of multiply-adds a second for a product of two (size, size) matrices: the best of many tries.

    Tries for about `seconds`, and three times at least; the result is written into memory that is there already.
    """
    a = torch.randn(size, size, device=device, dtype=dtype)
    b = torch.randn(size, size, device=device, dtype=dtype)
    product = torch.empty_like(a)

    def once():
        start = time.perf_counter()
        torch.mm(a, b, out=product)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    once()  # the first call sets things up
    best, end, tries = float("inf"), time.perf_counter() + seconds, 0
    while tries < 3 or time.perf_counter() < end:
        best, tries = min(best, once()), tries + 1
    return size**3 / best / 1e9


def loop_speed(number=200_000):
    """Billions of multiply-adds a second in a plain Python loop."""
    start = time.perf_counter()
    sum(i * i for i in range(number))
    return number / (time.perf_counter() - start) / 1e9
