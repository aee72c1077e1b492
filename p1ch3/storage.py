"""Where a tensor's elements lie in its storage, and a drawing of it (chapter 3, "Tensor metadata").

An element's *place* is counted in elements from the start of the storage; a memory address, in bytes, is
another thing.
"""

import itertools

import matplotlib.pyplot as plt
import torch

from util.errors import UserError
from util.plotting import COLOURS

MAX_STORAGE = 96
PER_ROW = 16


def element_offsets(tensor: torch.Tensor) -> torch.Tensor:
    """The place of every element in the storage, counted in elements.

    tensor: any strided tensor. Returns int64 of the tensor's shape, on the CPU: the storage offset plus
    the sum over the dimensions of index times stride.
    """
    offsets = torch.tensor(tensor.storage_offset())
    for dim, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
        steps = torch.arange(size) * stride
        # One dimension at a time, broadcast over those after it.  # (..., size, 1, ..., 1)
        offsets = offsets + steps.reshape(-1, *[1] * (tensor.dim() - dim - 1))
    return offsets.expand(tensor.shape)


def storage_values(tensor: torch.Tensor) -> torch.Tensor:
    """Everything that lies in the tensor's storage as one dimension, on the CPU. A view, where it can be."""
    flat = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return flat.set_(tensor.detach().untyped_storage()).cpu()


def shares_storage(a: torch.Tensor, b: torch.Tensor) -> bool:
    """True where both tensors are views of one storage, whether or not their elements overlap."""
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def draw_storage(*tensors: torch.Tensor, names=None):
    """Draw tensors that share a storage: each as a grid of values with places (@0, @1, …), the storage below.

    Colours follow the place, so an element has one colour wherever it shows; hatched cells of the storage
    are no part of the last tensor. Arcs show what one step along each of its dimensions costs. Tensors of
    up to three dimensions and a storage of up to 96 elements. Returns the figure. Raises `UserError`
    otherwise.
    """
    if not tensors:
        raise UserError("give draw_storage at least one tensor")
    first = tensors[0]
    values = storage_values(first)
    for tensor in tensors:
        if not shares_storage(tensor, first):
            raise UserError("these tensors have different storages; draw each in a figure of its own")
        if tensor.dim() > 3:
            raise UserError(
                f"a drawing has room for 3 dimensions, not {tensor.dim()}; index the first ones away"
            )
    if len(values) > MAX_STORAGE:
        raise UserError(
            f"the storage holds {len(values)} elements and a drawing has room for {MAX_STORAGE}; "
            "clone a part of it first"
        )
    names = names or ["tensor"] * len(tensors)
    figure, axis = plt.subplots(figsize=(9, 1), layout="none")
    figure.subplots_adjust(0, 0, 1, 1)
    axis.set_axis_off()
    left = top = tallest = 0.0
    for tensor, name in zip(tensors, names, strict=True):
        width, height = _grid_size(tensor)
        if left + width > PER_ROW:
            left, top, tallest = 0.0, top - tallest, 0.0
        _draw_grid(axis, tensor, name, left, top, len(values))
        left, tallest = left + width + 0.5, max(tallest, height)
    bottom = _draw_row(axis, values, tensors[-1], names[-1], top - tallest)
    axis.set_xlim(-0.2, PER_ROW + 0.2)
    axis.set_ylim(bottom, 0)
    figure.set_size_inches(9, 9 * -bottom / (PER_ROW + 0.4))
    return figure


def _grid_size(tensor):
    """(width, height) of a tensor's drawing in cells; its title needs seven and a half."""
    sizes = [1] * (3 - tensor.dim()) + list(tensor.shape)
    return max(sizes[0] * (sizes[2] + 0.6), 7.6), sizes[1] + 1.2


def _cell(axis, x, y, value, place, colour):
    text = f"{value:g}" if isinstance(value, (int, float)) else str(value)
    hatch = None if colour else "////"
    axis.add_patch(
        plt.Rectangle(
            (x, y - 1), 1, 1, facecolor=colour or "white", edgecolor="0.8", hatch=hatch, linewidth=0
        )
    )
    axis.add_patch(plt.Rectangle((x, y - 1), 1, 1, fill=False, edgecolor="0.35", linewidth=0.8))
    axis.text(x + 0.5, y - 0.42, text, ha="center", va="center", fontsize=10)
    axis.text(x + 0.5, y - 0.82, f"@{place}", ha="center", va="center", fontsize=7, color="0.2")


def _tint(place, held):
    """A pale colour for each of `held` places, on which black text is readable."""
    colour = plt.colormaps["viridis"](place / max(held - 1, 1))
    return tuple(1 - 0.5 * (1 - part) for part in colour[:3])


def _draw_grid(axis, tensor, name, left, top, held):
    title = f"{name}: shape {tuple(tensor.shape)}, stride {tensor.stride()}, offset {tensor.storage_offset()}"
    axis.text(left, top - 0.35, title, fontsize=9.5, va="center")
    offsets, values = element_offsets(tensor), tensor.detach().cpu()
    # Up to three dimensions, drawn as planes side by side.  # (planes, rows, columns)
    while offsets.dim() < 3:
        offsets, values = offsets.unsqueeze(0), values.unsqueeze(0)
    _, rows, columns = offsets.shape
    for plane, row, column in itertools.product(*map(range, offsets.shape)):
        _cell(
            axis,
            left + plane * (columns + 0.6) + column,
            top - 0.7 - row,
            values[plane, row, column].item(),
            offsets[plane, row, column].item(),
            _tint(offsets[plane, row, column].item(), held),
        )


def _draw_row(axis, values, tensor, name, top):
    """Draw the storage below `top`, 16 elements a line; returns the y below it."""
    owned = set(element_offsets(tensor).flatten().tolist())
    title = f"storage, with the steps of {name}"
    if len(owned) < len(values):
        title += f"; hatched: no part of {name}"
    axis.text(0, top - 0.35, title, fontsize=9.5, va="center")
    start = tensor.storage_offset()
    # (stride, dimension) of every step that leads somewhere
    steps = sorted(
        (stride, dim) for dim, stride in enumerate(tensor.stride()) if tensor.shape[dim] > 1 and stride
    )
    y = top - 0.7
    for line in range(-(-len(values) // PER_ROW)):
        for column, value in enumerate(values[line * PER_ROW : (line + 1) * PER_ROW].tolist()):
            place = line * PER_ROW + column
            colour = _tint(place, len(values)) if place in owned else None
            _cell(axis, column, y, value, place, colour)
        y -= 1.15
        if line == start // PER_ROW:
            y = _draw_steps(axis, steps, start, y + 0.15)
    return y - 0.1


def _draw_steps(axis, steps, start, y):
    """A bracket per dimension from the first element to its next neighbour there; returns the y below.

    A step that leads into another line of the drawing is told, not drawn.
    """
    column = start % PER_ROW
    drawn = [stride for stride, _ in steps if column + stride < PER_ROW]
    beside = column + max(drawn, default=0) + 0.65
    for number, (stride, dim) in enumerate(steps):
        colour, low = COLOURS[(number + 5) % 7], y - 0.35 * (number + 1)
        text = f"next in dimension {dim}: +{stride}"
        if stride in drawn:
            x, target = column + 0.5 - 0.12 * number, column + stride + 0.5
            axis.plot([x, x, target], [y, low, low], color=colour, linewidth=1.3)
            axis.annotate(
                "", (target, y), (target, low), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.3}
            )
        else:
            text += f", to @{start + stride}"
        axis.text(beside, low, text, fontsize=8, va="center", color=colour)
    return y - 0.35 * len(steps) - 0.35
