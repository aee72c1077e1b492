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
    figure, axis = plt.subplots(figsize=(10, 2.7))
    axis.set_axis_off()
    axis.set_xlim(-0.5, len(steps) - 0.5)
    axis.set_ylim(-1.35, 0.75)
    for place, (text, chapters, colour) in enumerate(steps):
        box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": colour, "linewidth": 2}
        axis.text(place, 0, text, ha="center", va="center", fontsize=9.5, bbox=box)
        axis.text(place, -0.72, chapters, ha="center", va="center", fontsize=9, color="0.35")
        if place:
            axis.annotate(
                "", (place - 0.42, 0), (place - 0.58, 0), arrowprops={"arrowstyle": "-|>", "lw": 1.6}
            )
    loop = {"arrowstyle": "-|>", "lw": 1.6, "color": ORANGE, "connectionstyle": "arc3,rad=-0.45"}
    axis.annotate("", (3.1, -0.9), (3.9, -0.9), arrowprops=loop)
    axis.text(3.5, -1.28, "again and again: training", ha="center", fontsize=9, color="0.35")
    return figure


def multiplication_speed(size, dtype, device, repeats=3):
    """Billions of multiply-adds a second for a product of two (size, size) matrices; the best of `repeats`."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    b = torch.randn(size, size, device=device, dtype=dtype)

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    best = float("inf")
    for _ in range(repeats + 1):
        wait()
        start = time.perf_counter()
        a @ b
        wait()
        best = min(best, time.perf_counter() - start)
    return size**3 / best / 1e9
