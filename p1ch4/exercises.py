"""Chapter 4's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import itertools
from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F

from p1ch4.draw_bikes import AT_WORK, COMMUTERS, FREE
from util.exercises import (
    BUG,
    BUILD,
    EXPERIMENT,
    OPEN,
    PREDICT,
    Exercise,
    Picture,
    as_tensor,
    case,
    expect,
    predicted,
    same,
    shapes,
)

# ---------------------------------------------------------------- 4.1

right_shape = Exercise(
    "4.1",
    title="The right shape, the right picture?",
    difficulty=1,
    minutes=10,
    kind=PREDICT,
    text="""
    `img = torch.arange(27).reshape(3, 3, 3)` is a picture, height × width × channel, three pixels high and
    three wide, so that no shape can give anything away. Which of these expressions are the same picture,
    channel × height × width? Write `True` or `False` for each *before* you run anything.
    """,
    stub="""
    is_the_picture = {
        "img.permute(2, 0, 1)": ...,
        "img.transpose(0, 2)": ...,
        "img.permute(1, 2, 0)": ...,
        "img.movedim(-1, 0)": ...,
        "torch.stack(img.unbind(dim=2))": ...,
        "torch.cat(img.split(1, dim=2))": ...,
        "img.transpose(0, 2).transpose(1, 2)": ...,
        "img.flatten().unfold(0, 9, 9).reshape(3, 3, 3)": ...,
    }
    """,
    hints=(
        "Follow a single number: the green of the pixel in the top right corner. Where must it be afterwards?",
        "The rows have to stay rows. Swapping the first and the last axis brings the channels to the front, "
        "but the height to the back.",
        "`cat` joins along the first axis, `stack` makes a new one. Whatever cuts up the flat numbers in "
        "their old order cannot be right.",
    ),
    why="""
    `transpose(0, 2)` gives channel × *width* × height: the picture mirrored along its diagonal. A second swap
    mends it. `cat` of pieces of shape (3, 3, 1) gives (9, 3, 1). And cutting the flat numbers anew mixes the
    channels, as `reshape` does.
    """,
)


@right_shape.check
def check_right_shape(prediction):
    img = torch.arange(27).reshape(3, 3, 3)
    names = {"torch": torch, "img": img}
    want = img.permute(2, 0, 1)
    predicted(prediction, {key: torch.equal(eval(key, names), want) for key in right_shape.stub_keys})


right_shape.solution("""
is_the_picture = {
    "img.permute(2, 0, 1)": True,
    "img.transpose(0, 2)": False,
    "img.permute(1, 2, 0)": False,
    "img.movedim(-1, 0)": True,
    "torch.stack(img.unbind(dim=2))": True,
    "torch.cat(img.split(1, dim=2))": False,
    "img.transpose(0, 2).transpose(1, 2)": True,
    "img.flatten().unfold(0, 9, 9).reshape(3, 3, 3)": False,
}
""")
_IS_THE_PICTURE = dict(zip(right_shape.stub_keys, (1, 0, 0, 1, 1, 0, 1, 0)))
right_shape.right(_IS_THE_PICTURE)
right_shape.right({key: np.bool_(value) for key, value in reversed(_IS_THE_PICTURE.items())})
right_shape.wrong(dict.fromkeys(_IS_THE_PICTURE, True))
right_shape.wrong({**_IS_THE_PICTURE, "img.transpose(0, 2)": True})
right_shape.wrong({**_IS_THE_PICTURE, "torch.cat(img.split(1, dim=2))": True})
right_shape.wrong({**_IS_THE_PICTURE, "img.transpose(0, 2).transpose(1, 2)": False})
right_shape.wrong({"img.permute(2, 0, 1)": True})

# ---------------------------------------------------------------- 4.2

displayable = Exercise(
    "4.2",
    title="The way back",
    difficulty=2,
    minutes=15,
    kind=BUILD,
    text="""
    From a normalized batch back to pictures that can be shown and saved: bytes from 0 to 255, channels last.
    What a network makes may lie outside the range; such a pixel becomes black or white. Every byte that was
    normalized must come back exactly.
    """,
    stub='''
    def displayable(batch, mean, std):
        """batch: normalized float (N, 3, H, W) of pictures in 0 … 1; mean, std: (3,).

        Returns uint8 (N, H, W, 3).
        """
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Undo the steps in reverse order: the division, then the shift, then the scaling to 0…1.",
        "`mean` and `std` have to meet the channel axis, as in section 4.1. Converting to integers cuts off: "
        "54.9999 becomes 54.",
        "`round`, then `clamp(0, 255)`, then `to(torch.uint8)`, then `permute`.",
    ),
    why="""
    Floats come back a hair too small or too large, so rounding has to come before converting. Clamping has to
    as well: a byte of 256 would be 0, and white turn black.
    """,
)


@displayable.check
def check_displayable(answer):
    for height, width in shapes(2, 4):
        pixels = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
        mean, std = torch.rand(3) / 2 + 0.2, torch.rand(3) / 4 + 0.15
        batch = (pixels.float() / 255 - mean[:, None, None]) / std[:, None, None]
        with case(f"two pictures of {height} × {width} pixels", batch=batch, mean=mean, std=std):
            got = answer(batch.clone(), mean, std)
            same(got, pixels.permute(0, 2, 3, 1), "the pictures", atol=0.5)
            expect(
                str(getattr(got, "dtype", "")).endswith("uint8"),
                "the values are right; pictures on disk are uint8, make yours so.",
            )
        for shift, colour in ((100, 255), (-100, 0)):
            with case(f"a batch {shift} deviations off", batch=batch + shift, mean=mean, std=std):
                same(
                    answer(batch + shift, mean, std),
                    torch.full((2, height, width, 3), colour),
                    "the pictures",
                )


@displayable.solution
def displayable_solution(batch, mean, std):
    pixels = (batch * std[:, None, None] + mean[:, None, None]) * 255
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


@displayable.right
def _(batch, mean, std):
    pixels = (batch.movedim(1, -1) * std + mean).numpy() * 255
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


@displayable.right
def _(batch, mean, std):
    out = torch.empty(len(batch), *batch.shape[2:], 3, dtype=torch.uint8)
    for c in range(3):
        out[..., c] = (255 * (batch[:, c] * std[c] + mean[c]) + 0.5).clamp(0, 255.4).byte()
    return out


@displayable.wrong
def cuts_off(batch, mean, std):
    pixels = (batch * std[:, None, None] + mean[:, None, None]) * 255
    return pixels.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


@displayable.wrong
def wraps_around(batch, mean, std):
    pixels = (batch * std[:, None, None] + mean[:, None, None]) * 255
    return (pixels.round().long() % 256).to(torch.uint8).permute(0, 2, 3, 1)


@displayable.wrong
def forgets_to_denormalize(batch, mean, std):
    return (batch * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


@displayable.wrong
def channels_first(batch, mean, std):
    pixels = (batch * std[:, None, None] + mean[:, None, None]) * 255
    return pixels.round().clamp(0, 255).to(torch.uint8)


@displayable.wrong
def knows_the_numbers_of_the_chapter(batch, mean, std):
    mean, std = torch.tensor([0.462, 0.328, 0.304]), torch.tensor([0.302, 0.243, 0.238])
    return displayable_solution(batch, mean, std)


# ---------------------------------------------------------------- 4.3

coronal = Exercise(
    "4.3",
    title="A slice with square pixels",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    A coronal slice that can be shown as it is: row `row` of every axial slice, the head up, stretched in
    height so that a pixel is as high as it is wide. Between two slices, any way of interpolating will do that
    stays between their values.
    """,
    stub='''
    def coronal(hu, row, spacing_mm):
        """hu: (slices, rows, columns), the last slice topmost; spacing_mm: (z, y, x).

        Returns (height, columns), the height rounded to whole pixels.
        """
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "`hu[:, row]` is the slice, feet up and squashed. `flip` turns it over.",
        "It is `len(hu) * z` millimetres high, and each pixel shall be x millimetres high.",
        "`torch.nn.functional.interpolate(plane[None, None].float(), (height, width))` resizes; it wants "
        "N × C in front.",
    ),
    why="""
    Resizing needs floats and two axes in front. Without the spacing, a chest of 2.5 mm slices would look
    squashed to a fifth of its height.
    """,
)


@coronal.check
def check_coronal(answer):
    for depth, width in ((2, 2), (4, 3), (6, 5)):
        # Every slice brighter than the one below, so that a pixel's value tells its height.
        z, y, x = torch.meshgrid(torch.arange(depth), torch.arange(4), torch.arange(width), indexing="ij")
        hu = (100 * z + 60 * y * (y + 1) + torch.randperm(9)[:width][x]).to(torch.int16)
        settings = ((2, (1.0, 1.0, 1.0)), (2, (2.0, 1.0, 1.0)), (1, (2.5, 0.4, 0.5)), (0, (1.5, 1.5, 1.5)))
        for row, spacing in settings:
            rows = round(depth * spacing[0] / spacing[2])
            with case(hu=hu, row=row, spacing_mm=spacing):
                got = as_tensor(answer(hu.clone(), row, spacing), "the slice")
                words = f"the slice should have the shape {(rows, width)}; you got {tuple(got.shape)}."
                expect(got.shape == (rows, width), words)
                # Where an output row lies among the slices, from the top; half a slice of freedom.
                height = (torch.arange(rows) + 0.5) * depth / rows - 0.5
                want = hu[0, row].double() + 100 * (depth - 1 - height.clamp(0, depth - 1))[:, None]
                off = (got - want).abs()
                place = tuple(divmod(int(off.argmax()), width))
                words = f"at {list(place)} it should be about {want[place]:.0f}; you got {got[place]:.0f}."
                expect(off.max() <= 55, words, Picture(hu[:, row], want, got))


@coronal.solution
def coronal_solution(hu, row, spacing_mm):
    plane = hu[:, row].flip(0).float()  # (Z, X), head up
    rows = round(len(hu) * spacing_mm[0] / spacing_mm[2])
    return F.interpolate(plane[None, None], (rows, plane.shape[1]), mode="bilinear", align_corners=False)[
        0, 0
    ]


@coronal.right
def _(hu, row, spacing_mm):
    rows = round(len(hu) * spacing_mm[0] / spacing_mm[2])
    nearest = ((np.arange(rows) + 0.5) * len(hu) / rows).astype(int)
    return hu.numpy()[::-1, row][nearest]


@coronal.right
def _(hu, row, spacing_mm):
    rows = round(len(hu) * spacing_mm[0] / spacing_mm[2])
    plane = hu[:, row].flip(0).float()[None, None]
    return F.interpolate(plane, (rows, hu.shape[2]), mode="bilinear", align_corners=True)[0, 0]


@coronal.wrong
def feet_up(hu, row, spacing_mm):
    rows = round(len(hu) * spacing_mm[0] / spacing_mm[2])
    return F.interpolate(hu[:, row].float()[None, None], (rows, hu.shape[2]))[0, 0]


@coronal.wrong
def squashed(hu, row, spacing_mm):
    return hu[:, row].flip(0)


@coronal.wrong
def an_axial_slice(hu, row, spacing_mm):
    return hu[row % len(hu)]


@coronal.wrong
def zeros_between_top_and_bottom(hu, row, spacing_mm):
    out = coronal_solution(hu, row, spacing_mm)
    out[1:-1] = 0
    return out


@coronal.wrong
def the_other_spacing(hu, row, spacing_mm):
    return coronal_solution(hu, row, (spacing_mm[0], spacing_mm[2], spacing_mm[1]))


@coronal.wrong
def the_middle_row_always(hu, row, spacing_mm):
    return coronal_solution(hu, hu.shape[1] // 2, spacing_mm)


@coronal.wrong
def one_row_beside(hu, row, spacing_mm):
    return coronal_solution(hu, row - 1, spacing_mm)


# ---------------------------------------------------------------- 4.4

one_hot_labels = Exercise(
    "4.4",
    title="One-hot for any labels",
    difficulty=1,
    minutes=10,
    kind=BUILD,
    text="""
    One-hot rows for labels that are any integers: scores from 3 to 9, postal codes, … A column for each label
    that occurs, in ascending order, and no others.
    """,
    stub='''
    def one_hot_labels(labels):
        """labels: (N,) integers. Returns (N, number of distinct labels)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Labels are names, not positions. First find out which position each has among the sorted labels.",
        "`torch.unique` sorts them, and it can tell for every label where it ended up.",
        "Broadcasting does it in one comparison: labels as a column, the sorted ones as a row.",
    ),
    why="""
    `labels[:, None] == labels.unique()` compares every label with every kind. `F.one_hot` alone would make a
    column for each number from 0 on, a hundred thousand of them for postal codes.
    """,
)


@one_hot_labels.check
def check_one_hot_labels(answer):
    cases = [
        [0],
        [5],
        [0, 1],
        [1, 0],
        [2, 2, 2],
        [7, 3],
        [3, 3, 9],
        [-1, 4],
        [6, 3, 6, 9, 5],
        [40, -7, 1000, -7],
    ]
    cases.append(torch.randint(-5, 6, (12,)).tolist())
    for labels in cases:
        kinds = sorted(set(labels))
        with case(labels=torch.tensor(labels)):
            want = [[float(label == kind) for kind in kinds] for label in labels]
            same(answer(torch.tensor(labels)), want, "the rows")


@one_hot_labels.solution
def one_hot_labels_solution(labels):
    return (labels[:, None] == labels.unique()).float()


@one_hot_labels.right
def _(labels):
    kinds, places = labels.unique(return_inverse=True)
    return F.one_hot(places, len(kinds))


@one_hot_labels.right
def _(labels):
    kinds = sorted(set(labels.tolist()))
    rows = torch.zeros(len(labels), len(kinds))
    return rows.scatter_(1, torch.tensor([[kinds.index(label)] for label in labels.tolist()]), 1.0)


@one_hot_labels.wrong
def columns_from_zero_on(labels):
    return F.one_hot(labels - min(labels.min(), 0))


@one_hot_labels.wrong
def columns_for_all_between(labels):
    return F.one_hot(labels - labels.min())


@one_hot_labels.wrong
def ten_columns_as_in_the_chapter(labels):
    return torch.zeros(len(labels), 10).scatter_(1, labels.clamp(0, 9)[:, None], 1.0)


@one_hot_labels.wrong
def in_order_of_appearance(labels):
    kinds = list(dict.fromkeys(labels.tolist()))
    return torch.tensor([[label == kind for kind in kinds] for label in labels.tolist()])


# ---------------------------------------------------------------- 4.5

standardize = Exercise(
    "4.5",
    title="A look into the future",
    difficulty=2,
    minutes=15,
    kind=BUG,
    text="""
    A model is trained on 2011 and tested on 2012. Before that, `standardize` brings every column to mean 0
    and deviation 1. The test result is better than it will ever be in use, because the function gives
    something away. Find out what, and mend it. (Whether the deviation divides by N
    or by N - 1 does not matter.)
    """,
    stub='''
    def standardize(train, test):
        """train: (N, C), test: (M, C). Returns both, standardized."""
        everything = torch.cat([train, test])
        mean, std = everything.mean(dim=0), everything.std(dim=0)
        return (train - mean) / std, (test - mean) / std
    ''',
    hints=(
        "Imagine the test year to be a hundred times warmer. What happens to the training data?",
        "Whatever is measured must be measured on what is known at the time of training.",
        "Mean and deviation of `train` alone, applied to both.",
    ),
    why="""
    The training data had been shifted by what was yet to come. The test data must not be standardized by
    themselves, either: the model learned in the units of the training data, and a warmer year has to look
    warmer.
    """,
)


@standardize.check
def check_standardize(answer):
    for n, m, columns in ((2, 1, 1), (3, 2, 1), (3, 2, 2), (9, 5, 3)):
        train = torch.randperm(20 * columns)[: n * columns].reshape(n, columns).float()
        test = torch.randperm(20 * columns)[: m * columns].reshape(m, columns).float() + 30
        with case(train=train, test=test):
            got = answer(train.clone(), test.clone())
            expect(isinstance(got, tuple | list) and len(got) == 2, "return two tensors, train and test.")
            deviations = [train.std(dim=0, correction=correction) for correction in (1, 0)]
            first = as_tensor(got[0], "the training data")
            # Both kinds of deviation are right; the nearer one is what was meant.
            std = min(
                deviations,
                key=lambda d: (
                    (first - (train - train.mean(0)) / d).abs().max().item()
                    if first.shape == train.shape
                    else 0
                ),
            )
            same(got[0], (train - train.mean(0)) / std, "the training data")
            same(got[1], (test - train.mean(0)) / std, "the test data")


@standardize.solution
def standardize_solution(train, test):
    mean, std = train.mean(dim=0), train.std(dim=0)
    return (train - mean) / std, (test - mean) / std


@standardize.right
def _(train, test):
    mean, std = train.numpy().mean(axis=0), train.numpy().std(axis=0)
    return [(part.numpy() - mean) / std for part in (train, test)]


@standardize.right
def _(train, test):
    var, mean = torch.var_mean(train, dim=0, keepdim=True)
    return tuple((part - mean) * var.rsqrt() for part in (train, test))


@standardize.wrong
def each_by_itself(train, test):
    return tuple((part - part.mean(0)) / part.std(0, correction=0).clamp(min=1e-6) for part in (train, test))


@standardize.wrong
def one_mean_for_all_columns(train, test):
    return (train - train.mean()) / train.std(), (test - train.mean()) / train.std()


@standardize.wrong
def mean_of_the_past_deviation_of_all(train, test):
    mean, std = train.mean(0), torch.cat([train, test]).std(0)
    return (train - mean) / std, (test - mean) / std


@standardize.wrong
def only_the_training_data(train, test):
    mean, std = train.mean(0), train.std(0)
    return (train - mean) / std, test


@standardize.wrong
def statistics_of_the_test_data(train, test):
    mean, std = test.mean(0), test.std(0, correction=0).clamp(min=1e-6)
    return (train - mean) / std, (test - mean) / std


# ---------------------------------------------------------------- 4.6

with_the_past = Exercise(
    "4.6",
    title="Only the past",
    difficulty=2,
    minutes=15,
    kind=BUILD,
    text="""
    Honest inputs for predicting the next hour. From hourly counts make, for every hour that has a full week
    before it, two inputs: the count one hour before, and the count of the same hour one week before. The count
    itself is the target.
    """,
    stub='''
    def with_the_past(counts):
        """counts: (T,), T > 168. Returns inputs (T - 168, 2) and targets (T - 168,)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "A week has 168 hours. Which is the first hour that has a week before it?",
        "Three slices of the same tensor, shifted against each other, and all of length T - 168.",
        "Targets are `counts[168:]`; an hour before each of them is `counts[167:-1]`.",
    ),
    why="""
    Slices of one tensor, shifted, line every hour up with its past. An index that is off by one in the wrong
    direction would hand the answer to the model.
    """,
)


@with_the_past.check
def check_with_the_past(answer):
    for hours in (169, 170, 200, 400):
        counts = torch.randperm(1000)[:hours].float()
        with case(f"{hours} hours", counts=counts):
            got = answer(counts.clone())
            expect(isinstance(got, tuple | list) and len(got) == 2, "return inputs and targets.")
            same(got[1], counts[168:], "the targets")
            inputs = torch.stack([counts[167:-1], counts[:-168]], dim=1)
            same(got[0], inputs, "the inputs")


@with_the_past.solution
def with_the_past_solution(counts):
    return torch.stack([counts[167:-1], counts[:-168]], dim=1), counts[168:]


@with_the_past.right
def _(counts):
    rows = counts.unfold(0, 169, 1)  # a week and the hour after it
    return rows[:, [167, 0]], rows[:, 168]


@with_the_past.right
def _(counts):
    values = counts.tolist()
    hours = range(168, len(values))
    return [[values[h - 1], values[h - 168]] for h in hours], [values[h] for h in hours]


@with_the_past.wrong
def gives_the_answer_away(counts):
    return torch.stack([counts[168:], counts[:-168]], 1), counts[168:]


@with_the_past.wrong
def columns_swapped(counts):
    return torch.stack([counts[:-168], counts[167:-1]], 1), counts[168:]


@with_the_past.wrong
def a_week_and_an_hour(counts):
    padded = torch.cat([counts[:1], counts])
    return torch.stack([counts[167:-1], padded[: len(counts) - 168]], 1), counts[168:]


@with_the_past.wrong
def the_hour_after(counts):
    ahead = torch.cat([counts[169:], counts[-1:]])
    return torch.stack([ahead, counts[:-168]], 1), counts[168:]


@with_the_past.wrong
def forgets_the_targets(counts):
    return torch.stack([counts[167:-1], counts[:-168]], 1)


# ---------------------------------------------------------------- 4.7

_WORKING = torch.tensor(COMMUTERS, dtype=torch.float64) + torch.tensor(AT_WORK)
_FREE = torch.tensor(FREE, dtype=torch.float64)


def _explained(code, curve):
    """The share of a curve's variance that a weighted sum of the code's columns explains."""
    x = torch.cat([code.double(), torch.ones(24, 1, dtype=torch.float64)], dim=1)
    y = curve.double()[:, None]
    fit = x @ torch.linalg.pinv(x) @ y
    return 1 - ((y - fit).square().sum() / (y - y.mean()).square().sum()).item()


clock = Exercise(
    "4.7",
    title="A clock for a linear model",
    difficulty=3,
    minutes=30,
    kind=EXPERIMENT,
    text="""
    As a number, hour 23 is as far as can be from hour 0; one-hot, it is as far from 0 as from 12 and takes 24
    columns. Find a better code, at most four numbers from −1 to 1 for an hour. The judge is a linear model: a
    weighted sum of your numbers, plus a constant, is fitted to the rentals of a day. It shall explain three
    quarters of how they vary, on working days (two peaks!) and on free ones, and just as well in towns where
    everybody rises some hours earlier or later. Measure with `explained` on the chapter's curves, such as
    `rentals[working].mean(0)`.
    """,
    stub='''
    def explained(code, curve):
        """code: (24, K), curve: (24,). The share of the curve's variance that a linear model explains."""
        x = torch.cat([code, torch.ones(24, 1)], dim=1).double()
        fit = x @ torch.linalg.pinv(x) @ curve.double()
        return 1 - (curve - fit).var() / curve.var()


    def encode_hour(hours):
        """hours: (N,) integers, 0 to 23. Returns floats (N, K), K of at most 4."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Draw the hours where they are on the dial of a clock with 24 hours. Which two numbers tell the place?",
        "Sine and cosine of the hour's angle follow one hill a day. A working day has two.",
        "A second pair that goes round twice a day follows the two peaks.",
    ),
    why="""
    Sines and cosines are waves that close at midnight, and a weighted sum of both can put the crest at any
    hour. With once and twice a day, four numbers follow most days; transformers tell positions apart in just this
    way.
    """,
)


@clock.check
def check_clock(answer):
    with case("all hours from 0 to 23"):
        code = as_tensor(answer(torch.arange(24)), "the code")
        expect(code.ndim == 2 and len(code) == 24, f"the shape should be (24, K); it is {tuple(code.shape)}.")
        expect(code.shape[1] <= 4, f"{code.shape[1]} numbers an hour are too many; at most 4.")
        expect(code.isfinite().all() and code.abs().max() <= 1.001, "keep every number between -1 and 1.")
    shuffled = torch.tensor([7, 0, 23])
    with case("the hours 7, 0 and 23 alone"):
        same(answer(shuffled), code[shuffled], "the code", atol=1e-3)
    for name, curve in (("a free day", _FREE), ("a working day", _WORKING)):
        for shift in (0, 3, -3, 8, 12):
            moved = curve.roll(shift)
            share = _explained(code, moved)
            town = f"{name}, everybody {abs(shift)} hours {'later' if shift > 0 else 'earlier'}"
            with case(name if shift == 0 else town, rentals=moved):
                expect(share >= 0.75, f"your code explains {share:.0%}; it should be 75% or more.")


@clock.solution
def encode_hour(hours):
    angle = hours / 24 * 2 * torch.pi
    return torch.stack([angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()], dim=1)


@clock.right
def _(hours):
    turns = np.outer(np.asarray(hours), [1, 2]) / 24
    waves = np.exp(2j * np.pi * (turns + 0.1))
    return np.hstack([waves.real, waves.imag])


@clock.right
def _(hours):
    dial = torch.fft.ifft(torch.eye(24, dtype=torch.float64))[:, 1:3] * 24
    return torch.view_as_real(dial).flatten(1)[hours]


@clock.wrong
def the_plain_hour(hours):
    return hours.float()[:, None] / 24


@clock.wrong
def one_hot_hours(hours):
    return F.one_hot(hours.long(), 24).float()


@clock.wrong
def once_round_the_dial(hours):
    angle = hours / 24 * 2 * torch.pi
    return torch.stack([angle.sin(), angle.cos()], dim=1)


@clock.wrong
def powers_of_the_hour(hours):
    part = hours.float()[:, None] / 23
    return torch.cat([part, part**2, part**3, part**4], dim=1)


@clock.wrong
def knows_the_curves_of_the_chapter(hours):
    curves = torch.stack([_WORKING / _WORKING.max(), _FREE / _FREE.max()], dim=1)
    return curves[hours]


@clock.wrong
def once_and_three_times(hours):
    angle = hours / 24 * 2 * torch.pi
    return torch.stack([angle.sin(), angle.cos(), (3 * angle).sin(), (3 * angle).cos()], dim=1)


# ---------------------------------------------------------------- 4.8


def _join(pieces, pair):
    """`pieces` with every occurrence of `pair` merged, from left to right."""
    merged, place = [], 0
    while place < len(pieces):
        if tuple(pieces[place : place + 2]) == pair:
            merged.append("".join(pair))
            place += 2
        else:
            merged.append(pieces[place])
            place += 1
    return merged


def _learn(words, steps):
    """The pairs that byte-pair encoding merges, in order."""
    how_often, pieces_of = Counter(words), {word: [*word, "_"] for word in words}
    merges = []
    for _ in range(steps):
        pairs = Counter()
        for word, pieces in pieces_of.items():
            for pair in itertools.pairwise(pieces):
                pairs[pair] += how_often[word]
        if not pairs:
            break
        merges.append(max(pairs, key=lambda pair: (pairs[pair], pair)))
        pieces_of = {word: _join(pieces, merges[-1]) for word, pieces in pieces_of.items()}
    return merges


tokenize = Exercise(
    "4.8",
    title="A word that nobody has seen",
    difficulty=3,
    minutes=30,
    kind=BUILD,
    text="""
    Byte-pair encoding learned its merges on one text; now a new word comes. Cut it into pieces: begin with its
    letters and the end mark `_`, and apply the merges *in the order in which they were learned*, each wherever
    it fits, from left to right. Letters that were never seen stay single.
    """,
    stub='''
    def tokenize(word, merges):
        """word: a string; merges: list of pairs of strings, first learned first. Returns a list of pieces."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "The merges are a program: run it line by line on your list of pieces.",
        "One merge is a walk from left to right: where two neighbours are the pair, take both as one and go "
        "on behind them.",
        "`aaa` with the merge (a, a) becomes `aa a`, not `aa aa` and not `a aa`. A piece made by one merge can "
        "take part in the next.",
    ),
    why="""
    The order matters: the longest piece that occurs in the vocabulary is not always what the merges make. Real
    tokenizers do the same with a priority queue, since they have a hundred thousand merges and not twenty.
    """,
)


@tokenize.check
def check_tokenize(answer):
    learned = {
        "nothing": [],
        "'aa' and 'aaa'": _learn(["aa", "aaa"], 4),
        "'low', 'lower' and 'newest'": _learn(
            ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3, 12
        ),
        "'the cat sat on the mat'": _learn(["the", "cat", "sat", "on", "the", "mat", "that", "hat"], 10),
        "'banana'": _learn(["banana"] * 3 + ["nan", "ban"], 6),
    }
    words = [
        "a",
        "aa",
        "aaa",
        "aaaa",
        "low",
        "lowest",
        "the",
        "that",
        "nana",
        "banana",
        "bath",
        "widen",
        "théâtre",
    ]
    letters = "abnthe"
    words += ["".join(letters[i] for i in torch.randint(len(letters), (5,)).tolist()) for _ in range(8)]
    for (text, merges), word in itertools.product(learned.items(), words):
        want = [*word, "_"]
        for pair in merges:
            want = _join(want, pair)
        with case(f"merges learned from {text}", word=word, merges=merges):
            got = answer(word, list(merges))
            expect(isinstance(got, list | tuple), "return a list of pieces.")
            expect(
                list(got) == want,
                f"the pieces should be {' | '.join(want)}; you got {' | '.join(map(str, got))}.",
            )


@tokenize.solution
def tokenize_solution(word, merges):
    pieces = [*word, "_"]
    for pair in merges:
        merged = []
        for piece in pieces:
            if merged and (merged[-1], piece) == pair:
                merged[-1] += piece
            else:
                merged.append(piece)
        pieces = merged
    return pieces


@tokenize.right
def _(word, merges):
    rank = {pair: number for number, pair in reversed(list(enumerate(merges)))}
    pieces = (*word, "_")
    while True:
        known = [rank[pair] for pair in itertools.pairwise(pieces) if pair in rank]
        if not known:
            return pieces
        pieces = tuple(_join(pieces, merges[min(known)]))


@tokenize.right
def _(word, merges):
    pieces = [*word, "_"]
    for first, second in merges:
        place = 0
        while place < len(pieces) - 1:
            if pieces[place] == first and pieces[place + 1] == second:
                pieces[place : place + 2] = [first + second]
            place += 1
    return pieces


@tokenize.wrong
def letters_only(word, merges):
    return [*word, "_"]


@tokenize.wrong
def forgets_the_end_mark(word, merges):
    return tokenize_solution(word, merges)[:-1]


@tokenize.wrong
def each_merge_once(word, merges):
    pieces = [*word, "_"]
    for pair in merges:
        for place in range(len(pieces) - 1):
            if (pieces[place], pieces[place + 1]) == pair:
                pieces[place : place + 2] = ["".join(pair)]
                break
    return pieces


@tokenize.wrong
def last_learned_first(word, merges):
    return tokenize_solution(word, merges[::-1])


@tokenize.wrong
def longest_piece_first(word, merges):
    known = {"".join(pair) for pair in merges}
    rest, pieces = word + "_", []
    while rest:
        size = next(n for n in range(len(rest), 0, -1) if n == 1 or rest[:n] in known)
        pieces.append(rest[:size])
        rest = rest[size:]
    return pieces


# ---------------------------------------------------------------- 4.9

three_times_of_day = Exercise(
    "4.9",
    title="Three times of the day",
    difficulty=2,
    minutes=45,
    kind=OPEN,
    text="""
    Photograph the same thing at three times of the day, put the pictures into a folder and load them with
    `load_batch`. Which differences do the channel means show, and which do they hide? Then record a few seconds of
    sound, a voice or a bird, read the `.wav` as in section 4.4, and look at its spectrogram: what can you see in it
    that you did not hear?
    """,
)
