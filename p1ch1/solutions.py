"""Solutions of chapter 1's exercises."""

import torch

from p1ch1.shapes import draw_shapes, learn_from_examples


def brightest_pixel(image):
    row, column = divmod(image.argmax().item(), image.shape[1])
    return row, column


def slope(f, x, h=1e-4):
    return (f(x + h) - f(x - h)) / (2 * h)


def run_cells(cells, order):
    names = {}
    for number in order:
        exec(cells[number], {}, names)
    return names


def epoch_seconds(samples, load_per_second, compute_per_second, at_the_same_time):
    load, compute = samples / load_per_second, samples / compute_per_second
    return max(load, compute) if at_the_same_time else load + compute


def better_rule(images):
    model = learn_from_examples(*draw_shapes(1000, seed=1))
    with torch.no_grad():
        return model(images).argmax(dim=1)


SOLUTIONS = {
    "1.1": brightest_pixel,
    "1.2": slope,
    "1.3": run_cells,
    "1.4": epoch_seconds,
    "1.5": better_rule,
}
