"""Chapter 4's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import functools
import itertools

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange

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
    shown,
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

contact_sheet = Exercise(
    "4.2",
    title="A contact sheet",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    A batch on a single page, as photographers print their films: `columns` pictures side by side, the next ones
    below, in reading order, without gaps. Where the last row is not full, the page stays 0. All rows are
    `columns` pictures wide, even if there are fewer pictures than that.
    """,
    stub='''
    def contact_sheet(batch, columns):
        """batch: (N, C, H, W). Returns (C, rows * H, columns * W), as few rows as hold N pictures."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "How many rows are there? And where does picture number n go: into which row, and how far to the right?",
        "Make a page of zeros, and write each picture into its place: row `n // columns`, column `n % columns`. Or "
        "fill the batch up with pictures of zeros, give it the axes rows × columns × C × H × W, and ask which two of "
        "these belong together.",
        "C comes first; then rows and H make one axis, and columns and W the other: `permute(2, 0, 3, 1, 4)`, and "
        "only then `reshape`.",
    ),
    why="""
    `reshape` joins axes that are neighbours and leaves the numbers in their order. So whatever is to become one axis
    has to be brought side by side first, the slower one in front. `rearrange` of einops says the same in words.
    """,
)


@contact_sheet.check
def check_contact_sheet(answer):
    layouts = [
        (n, columns, 1, *shape) for n in range(1, 6) for columns in range(1, 5) for shape in shapes(2, 2)
    ]
    layouts.sort(key=lambda layout: layout[0] * layout[3] * layout[4])
    for n, columns, channels, height, width in [*layouts, (7, 3, 3, 4, 5), (6, 3, 3, 5, 4), (2, 4, 2, 3, 3)]:
        batch = torch.arange(1.0, 1 + n * channels * height * width).reshape(n, channels, height, width)
        want = torch.zeros(channels, -(-n // columns) * height, columns * width)
        for number, picture in enumerate(batch):
            top, left = number // columns * height, number % columns * width
            want[:, top : top + height, left : left + width] = picture
        page = batch.permute(1, 0, 2, 3).reshape(channels, n * height, width)  # shown one below the other
        words = f"{'one picture' if n == 1 else f'{n} pictures'} of {height} × {width}, columns = {columns}"
        with case(words, pictures=page):
            same(answer(batch.clone(), columns), want, "the page")


@contact_sheet.solution
def contact_sheet_solution(batch, columns):
    n, c, h, w = batch.shape
    rows = -(-n // columns)  # rounded up
    full = torch.cat([batch, batch.new_zeros(rows * columns - n, c, h, w)])
    page = full.reshape(rows, columns, c, h, w).permute(2, 0, 3, 1, 4)  # (C, rows, H, columns, W)
    return page.reshape(c, rows * h, columns * w)


@contact_sheet.right
def picture_by_picture(batch, columns):
    n, c, h, w = batch.shape
    page = np.zeros((c, (n + columns - 1) // columns * h, columns * w))
    for number, picture in enumerate(batch.numpy()):
        row, column = divmod(number, columns)
        page[:, row * h : (row + 1) * h, column * w : (column + 1) * w] = picture
    return page


@contact_sheet.right
def rows_side_by_side(batch, columns):
    blank = torch.zeros_like(batch[0])
    rows = []
    for start in range(0, len(batch), columns):
        row = list(batch[start : start + columns])
        rows.append(torch.cat(row + [blank] * (columns - len(row)), dim=2))
    return torch.cat(rows, dim=1)


@contact_sheet.right
def with_einops(batch, columns):
    missing = -len(batch) % columns
    full = F.pad(batch, (0, 0, 0, 0, 0, 0, 0, missing))
    return rearrange(full, "(rows columns) c h w -> c (rows h) (columns w)", columns=columns)


@contact_sheet.right
def by_folding(batch, columns):
    n, c, h, w = batch.shape
    rows = -(-n // columns)
    pieces = F.pad(batch.reshape(n, -1).T, (0, rows * columns - n))[None]  # (1, C * H * W, rows * columns)
    return F.fold(pieces, (rows * h, columns * w), (h, w), stride=(h, w))[0]


@contact_sheet.wrong
def only_reshapes(batch, columns):
    n, c, h, w = batch.shape
    rows = -(-n // columns)
    full = torch.cat([batch, batch.new_zeros(rows * columns - n, c, h, w)])
    return full.reshape(c, rows * h, columns * w)


@contact_sheet.wrong
def fills_column_by_column(batch, columns):
    n, c, h, w = batch.shape
    rows = -(-n // columns)
    full = torch.cat([batch, batch.new_zeros(rows * columns - n, c, h, w)])
    return rearrange(full, "(columns rows) c h w -> c (rows h) (columns w)", columns=columns)


@contact_sheet.wrong
def drops_what_does_not_fill_a_row(batch, columns):
    full = batch[: len(batch) // columns * columns]
    return rearrange(full, "(rows columns) c h w -> c (rows h) (columns w)", columns=columns)


@contact_sheet.wrong
def as_wide_as_there_are_pictures(batch, columns):
    return contact_sheet_solution(batch, min(columns, len(batch)))


@contact_sheet.wrong
def an_empty_row_too_many(batch, columns):
    page = contact_sheet_solution(batch, columns)
    return F.pad(page, (0, 0, 0, batch.shape[2])) if len(batch) % columns == 0 else page


@contact_sheet.wrong
def three_columns_as_in_the_chapter(batch, columns):
    return contact_sheet_solution(batch, 3)


@contact_sheet.wrong
def repeats_the_last_picture(batch, columns):
    missing = -len(batch) % columns
    return contact_sheet_solution(torch.cat([batch, batch[-1:].expand(missing, -1, -1, -1)]), columns)


@contact_sheet.wrong
def takes_pictures_to_be_square(batch, columns):
    n, c, h, w = batch.shape
    rows = -(-n // columns)
    full = torch.cat([batch, batch.new_zeros(rows * columns - n, c, h, w)])
    return full.reshape(rows, columns, c, w, h).permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)


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
        hu = (100 * z + 60 * y * (y + 1) + 200 * torch.randperm(9)[:width][x]).to(torch.int16)
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
def left_and_right_exchanged(hu, row, spacing_mm):
    return coronal_solution(hu, row, spacing_mm).flip(1)


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
def one_column_is_enough_for_two(labels):
    rows = one_hot_labels_solution(labels)
    return rows[:, 1:] if rows.shape[1] == 2 else rows


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

holes = Exercise(
    "4.5",
    title="Holes in a table",
    difficulty=2,
    minutes=15,
    kind=BUG,
    text="""
    Nobody wrote down the wind that day: a table has holes, and they are marked `nan`. `standardize` is to bring
    each column to mean 0 and deviation 1, *measured on the values that are there*, and to put 0, the mean, into
    the holes. For tables without holes it does. With holes, columns come out shifted, and too narrow or too wide.
    Find out why, and mend it. (Whether the deviation divides by the number of values or by one less does not matter.)
    """,
    stub='''
    def standardize(table):
        """table: (N, C), nan where a value is missing; every column has two different ones.

        Returns (N, C) without nan.
        """
        table = table.nan_to_num(0.0)
        return (table - table.mean(dim=0)) / table.std(dim=0)
    ''',
    hints=(
        "Try it on a column of 10, 12 and `nan`. Which mean does the function find, and which one should it find?",
        "The zeros are counted as if somebody had measured them. Filling in the mean instead mends the mean. Does it "
        "mend the deviation?",
        "Measure first, each column on `column[~column.isnan()]` (there is a `nanmean`, too), then standardize, and "
        "fill the holes last, with 0.",
    ),
    why="""
    A filler is no measurement. Zeros drag the mean along; the column's mean, filled in before measuring, keeps the mean
    and makes the deviation too small, since every hole claims to be exactly average. So measure, then scale, then fill.
    Often a column that says which values were missing helps: that nobody wrote down the wind may mean something.
    """,
)


def _column(values):
    return torch.tensor([float("nan") if value is None else float(value) for value in values])


@holes.check
def check_holes(answer):
    columns = [
        [1, 3],
        [1, 3, None],
        [None, 10, 12],
        [0, 2, None],
        [5, None, None, 9],
        [0, 0, 1, None],
        [-2, None, 4, 1],
    ]
    tables = [_column(column)[:, None] for column in columns]
    tables.append(torch.stack([_column([1, 3, None]), _column([None, 20, 60])], dim=1))
    tables.append(torch.stack([_column([4, 4, 6, 6]), _column([None, 0, None, 8])], dim=1))
    for rows in (6, 12):
        table = torch.randint(-9, 10, (rows, 3)).float()
        table[torch.rand(table.shape) < 0.4] = torch.nan
        table[0], table[1] = torch.tensor([1.0, 20.0, -5.0]), torch.tensor([3.0, 24.0, 0.0])
        tables.append(table)
    for table in tables:
        there = ~table.isnan()
        wanted = []
        for correction in (1, 0):
            want = torch.zeros_like(table)
            for c in range(table.shape[1]):
                values = table[there[:, c], c]
                want[there[:, c], c] = (values - values.mean()) / values.std(correction=correction)
            wanted.append(want)
        with case(table=table):
            got = as_tensor(answer(table.clone()), "the table")
            expect(
                got.shape != table.shape or bool(got.isfinite().all()),
                "there is a nan or an infinity in what you return.",
            )
            # Both kinds of deviation are right; the nearer one is what was meant.
            near = [(got - want).abs().max().item() if got.shape == want.shape else 0 for want in wanted]
            same(got, wanted[near.index(min(near))], "the table")


@holes.solution
def standardize_with_holes(table):
    missing = table.isnan()
    mean = table.nanmean(dim=0)
    std = ((table - mean) ** 2).nanmean(dim=0).sqrt()
    table = (table - mean) / std
    table[missing] = 0
    return table


@holes.right
def column_by_column(table):
    out = torch.zeros(table.shape)
    for c, column in enumerate(table.T):
        there = ~column.isnan()
        out[there, c] = (column[there] - column[there].mean()) / column[there].std()
    return out


@holes.right
def in_numpy(table):
    values = table.double().numpy()
    return np.nan_to_num((values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0, ddof=1))


@holes.right
def by_weights(table):
    there = (~table.isnan()).float()
    filled = table.nan_to_num(0)
    mean = filled.sum(0) / there.sum(0)
    centered = (filled - mean) * there
    return centered / (centered.square().sum(0) / there.sum(0)).sqrt()


@holes.right
def in_plain_python(table):
    columns = []
    for column in table.T.tolist():
        values = [value for value in column if value == value]
        mean = sum(values) / len(values)
        std = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
        columns.append([(value - mean) / std if value == value else 0 for value in column])
    return [list(row) for row in zip(*columns)]


@holes.wrong
def fills_with_the_mean_and_measures_again(table):
    table = torch.where(table.isnan(), table.nanmean(dim=0), table)
    return (table - table.mean(dim=0)) / table.std(dim=0)


@holes.wrong
def leaves_the_holes(table):
    mean = table.nanmean(dim=0)
    return (table - mean) / ((table - mean) ** 2).nanmean(dim=0).sqrt()


@holes.wrong
def fills_after_measuring_but_with_raw_zeros(table):
    mean = table.nanmean(dim=0)
    return (table.nan_to_num(0) - mean) / ((table - mean) ** 2).nanmean(dim=0).sqrt()


@holes.wrong
def takes_every_zero_for_a_hole(table):
    filled = table.nan_to_num(0)
    filled[filled == 0] = torch.nan
    return standardize_with_holes(filled)


@holes.wrong
def drops_rows_with_holes(table):
    whole = table[~table.isnan().any(dim=1)]
    return (whole - whole.mean(0)) / whole.std(0)


@holes.wrong
def measures_whole_rows_only(table):
    whole = table[~table.isnan().any(dim=1)]
    whole = table.nan_to_num(0) if len(whole) < 2 else whole
    return ((table - whole.mean(0)) / whole.std(0)).nan_to_num(0)


@holes.wrong
def one_mean_for_all_columns(table):
    values = table[~table.isnan()]
    return ((table - values.mean()) / values.std()).nan_to_num(0)


@holes.wrong
def only_shifts(table):
    return (table - table.nanmean(dim=0)).nan_to_num(0)


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


@with_the_past.right
def rolled_and_cut(counts):
    return torch.stack([counts.roll(1), counts.roll(168)], dim=1)[168:], counts[168:]


@with_the_past.wrong
def rolled_and_not_cut(counts):
    return torch.stack([counts.roll(1), counts.roll(168)], dim=1), counts


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
def the_bits_of_the_hour(hours):
    return torch.stack([hours >> bit & 1 for bit in range(4)], dim=1).float()


@clock.wrong
def quarters_of_the_day(hours):
    return F.one_hot(hours.long() // 6, 4).float()


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

fewest = Exercise(
    "4.8",
    title="As few pieces as possible",
    difficulty=3,
    minutes=35,
    kind=BUILD,
    text="""
    Another way to cut words: whatever the order in which pieces were learned, take *as few of them as possible*. The
    pieces of the vocabulary may be used as often as one likes, and so may any single letter, whether it is in the
    vocabulary or not. Side by side, they have to make up the word. If several cuts are equally short, any will do.
    """,
    stub='''
    def fewest_pieces(word, vocabulary):
        """word: a string; vocabulary: a set of strings. Returns a list of pieces that make up the word."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Taking the longest piece first is tempting. Try `aaba` with the vocabulary {`aa`, `aba`}: what does it give, "
        "and what would be better?",
        "Suppose you knew the best cut for every *beginning* of the word. How do you find the best cut of the whole "
        "from those?",
        "Go through the beginnings from short to long, and keep the best cut of each. That of `word[:end]` is the "
        "shortest `best[start]` for which `word[start:end]` is a piece or a single letter, plus that piece.",
    ),
    why="""
    A word of 20 letters has half a million cuts, but only 20 beginnings; solving each of them once is called *dynamic
    programming*. With a cost per piece, rare ones dearer, in place of "one", the same loop finds the likeliest cut,
    which is how the unigram tokenizers of many language models work. Being greedy is faster, and sometimes longer.
    """,
)


def _fewest(word, vocabulary) -> int:
    """The number of pieces of the best cut."""
    best = [0]
    for end in range(1, len(word) + 1):
        starts = [s for s in range(end) if end - s == 1 or word[s:end] in vocabulary]
        best.append(min(best[s] for s in starts) + 1)
    return best[-1]


@functools.cache
def _small_cuts():
    """Words of `a` and `b` with vocabularies of at most two pieces, the smallest first."""
    words = ["".join(letters) for size in range(1, 6) for letters in itertools.product("ab", repeat=size)]
    pieces = [word for word in words if 2 <= len(word) <= 3]
    vocabularies = [set(v) for size in range(3) for v in itertools.combinations(pieces, size)]
    pairs = itertools.product(words, vocabularies)
    return sorted(pairs, key=lambda pair: (len(pair[0]) + sum(map(len, pair[1])), pair[0], sorted(pair[1])))


@fewest.check
def check_fewest(answer):
    def letters(count, kinds):
        return "".join("abcd"[i] for i in torch.randint(kinds, (count,)).tolist())

    def drawn():
        for length in range(6, 14):
            for _ in range(12):
                pieces = {letters(size, 3) for size in (2, 2, 3, 3, 4, 5)}
                yield letters(length, 3 + length % 2), pieces

    english = {"un", "fair", "air", "ness", "unf", "ine", "in", "ess", "airn", "est", "low", "lowe"}
    words = ("low", "lowest", "fair", "unfair", "unfairness", "fines", "théâtre")
    chosen = [*((word, english) for word in words), ("aababaa", {"aa", "aba"})]
    chosen.append(("aabacaabaca", {"aa", "aba", "aca", "baca"}))
    for word, vocabulary in itertools.chain(_small_cuts(), chosen, drawn()):
        with case(word=word, vocabulary=sorted(vocabulary)):
            got = answer(word, set(vocabulary))
            expect(
                isinstance(got, list | tuple) and all(isinstance(piece, str) for piece in got),
                f"a list of strings is wanted, not {shown(got)}.",
            )
            cut = " | ".join(got)
            expect("".join(got) == word, f"{cut} does not make up the word.")
            unknown = [piece for piece in got if len(piece) != 1 and piece not in vocabulary]
            expect(not unknown, f"in {cut}, {shown(unknown[0] if unknown else '')} is no piece.")
            wanted = _fewest(word, vocabulary)
            expect(len(got) <= wanted, f"{cut} has {len(got)} pieces; {wanted} will do.")


@fewest.solution
def fewest_pieces(word, vocabulary):
    best = [[]]  # best[end]: the pieces of word[:end]
    for end in range(1, len(word) + 1):
        starts = [start for start in range(end) if end - start == 1 or word[start:end] in vocabulary]
        start = min(starts, key=lambda start: len(best[start]))
        best.append([*best[start], word[start:end]])
    return best[-1]


@fewest.right
def from_the_end_with_a_memory(word, vocabulary):
    @functools.cache
    def cut(rest):
        if not rest:
            return ()
        sizes = [n for n in range(1, len(rest) + 1) if n == 1 or rest[:n] in vocabulary]
        return min(((rest[:n], *cut(rest[n:])) for n in sizes), key=len)

    return cut(word)


@fewest.right
def in_breadth(word, vocabulary):
    cuts = [[]]
    reached = {0}
    while True:
        longer = []
        for cut in cuts:
            place = sum(map(len, cut))
            if place == len(word):
                return cut
            for end in range(place + 1, len(word) + 1):
                if end not in reached and (end == place + 1 or word[place:end] in vocabulary):
                    reached.add(end)
                    longer.append([*cut, word[place:end]])
        cuts = longer


@fewest.right
def every_cut_in_order_of_its_pieces(word, vocabulary):
    known = set(vocabulary) | set(word)
    for count in range(len(word)):
        for places in itertools.combinations(range(1, len(word)), count):
            ends = [0, *places, len(word)]
            pieces = [word[a:b] for a, b in itertools.pairwise(ends)]
            if known.issuperset(pieces):
                return pieces
    return []


def _longest_first(word, vocabulary):
    pieces = []
    while word:
        size = next(n for n in range(len(word), 0, -1) if n == 1 or word[:n] in vocabulary)
        pieces.append(word[:size])
        word = word[size:]
    return pieces


def _longest_last(word, vocabulary):
    turned = _longest_first(word[::-1], {piece[::-1] for piece in vocabulary})
    return [piece[::-1] for piece in reversed(turned)]


@fewest.wrong
def longest_first(word, vocabulary):
    return _longest_first(word, vocabulary)


@fewest.wrong
def longest_from_the_end(word, vocabulary):
    return _longest_last(word, vocabulary)


@fewest.wrong
def the_better_of_both_directions(word, vocabulary):
    return min(_longest_first(word, vocabulary), _longest_last(word, vocabulary), key=len)


@fewest.wrong
def longest_anywhere(word, vocabulary):
    for piece in sorted(vocabulary, key=lambda piece: (-len(piece), piece)):
        before, found, after = word.partition(piece)
        if found:
            return longest_anywhere(before, vocabulary) + [piece] + longest_anywhere(after, vocabulary)
    return list(word)


@fewest.wrong
def letters_only(word, vocabulary):
    return list(word)


@fewest.wrong
def with_an_end_mark_as_in_the_chapter(word, vocabulary):
    return [*fewest_pieces(word, vocabulary), "_"]


@fewest.wrong
def leaves_out_unknown_letters(word, vocabulary):
    letters = set("".join(vocabulary)) or set(word)
    return [piece for piece in fewest_pieces(word, vocabulary) if set(piece) <= letters]


@fewest.wrong
def says_only_how_many(word, vocabulary):
    return _fewest(word, vocabulary)


@fewest.wrong
def each_piece_once(word, vocabulary):
    best = [[]]
    for end in range(1, len(word) + 1):
        starts = [
            start
            for start in range(end)
            if end - start == 1 or (word[start:end] in vocabulary and word[start:end] not in best[start])
        ]
        start = min(starts, key=lambda start: len(best[start]))
        best.append([*best[start], word[start:end]])
    return best[-1]


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
