"""Checks of chapter 1's exercises."""

import torch

from p1ch1.shapes import accuracy, draw_shapes, rule_by_hand
from util.exercises import exercise, expect


@exercise("1.1", hint="argmax without a dimension counts through the rows; divmod takes such a number apart.")
def brightest_pixel(answer):
    for seed in range(5):
        images, _ = draw_shapes(1, seed=100 + seed)
        image = images[0, 0]
        place = answer(image)
        expect(isinstance(place, tuple) and len(place) == 2, "Return a tuple of two numbers: (row, column).")
        row, column = (int(part) for part in place)
        expect(0 <= row < 16 and 0 <= column < 16, "A row and a column of a 16×16 picture are 0 to 15.")
        expect(
            image[row, column] == image.max(),
            f"({row}, {column}) holds {image[row, column]:.2f}, but {image.max():.2f} is in the picture, too.",
        )


@exercise("1.2", hint="Make h small, but not too small: 32-bit numbers have only about seven digits.")
def slope(answer):
    for f, x in ((torch.sin, 0.7), (lambda t: t**3 - 2 * t, 1.5), (torch.exp, -0.3)):
        point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        f(point).backward()
        got = float(answer(f, torch.tensor(x, dtype=torch.float64)))
        expect(
            abs(got - point.grad.item()) < 1e-4,
            f"At x = {x} autograd says {point.grad.item():.6f}; your slope is {got:.6f}.",
        )


@exercise(
    "1.3", hint="Keep a dictionary of variables; run the cells in the order in which they were executed."
)
def run_cells(answer):
    cells = ["x = 1", "x = x + 1", "y = x * 10"]
    for order in ([0, 1, 2], [0, 1, 1, 2], [0, 2, 1], [0, 1, 2, 0]):
        names = {}
        for number in order:
            exec(cells[number], names)
        got = answer(cells, order)
        expect(isinstance(got, dict), "Return the variables as a dictionary, such as {'x': 2, 'y': 20}.")
        for name in ("x", "y"):
            expect(
                got.get(name) == names.get(name),
                f"After executing cells {order}, {name} is not {got.get(name)!r}.",
            )


@exercise("1.4", hint="A GPU that computes in no time still waits for its data.")
def epoch_seconds(answer):
    for samples, load, compute, overlap in (
        (1000, 100.0, 50.0, False),
        (1000, 100.0, 50.0, True),
        (600, 30, 60, True),
    ):
        slow = samples / min(load, compute) if overlap else samples / load + samples / compute
        got = answer(samples, load, compute, overlap)
        expect(
            abs(got - slow) < 1e-6 * slow,
            f"{samples} samples, loading {load:g}/s, computing {compute:g}/s, "
            f"{'at the same time' if overlap else 'one after the other'}: not {got:g} s.",
        )


@exercise("1.5", hint="Average many rings and many discs, look at the difference, and use it as a template.")
def better_rule(answer):
    images, labels = draw_shapes(2000, seed=987)
    got = torch.as_tensor(answer(images))
    expect(
        got.shape == labels.shape, f"Answer one number per picture, shape (2000,), not {tuple(got.shape)}."
    )
    by_hand = accuracy(rule_by_hand(images), labels)
    yours = accuracy(got.long(), labels)
    goal = 0.96
    expect(
        yours >= goal, f"Your rule is right {yours:.0%} of the time, ours {by_hand:.0%}; reach {goal:.0%}."
    )
