"""Three panels beside a wrong answer: what went in, what should come out, what came out."""

import io
import sys

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from util.plotting import BLUE, VERMILION

CELLS = 12  # up to so many values across, each is written into its cell, if it fits
PANEL = 270  # pixels across


class Picture:
    """The input (or None), what it should be, and what it is; drawn as images, tables or curves.

    given, want, got: tensors or arrays with at most three axes, one of which may be 1 or 3 colours;
    `x` is the axis of curves, `points` (their x, their y) are drawn as dots with them, `titles` replaces the titles
    of the three panels; with `compare=False` the last two are not held against each other.
    """

    def __init__(
        self,
        given,
        want,
        got,
        *,
        x=None,
        points=None,
        titles=("the input", "what it should be", "what yours is"),
        compare=True,
    ):
        self.given, self.want, self.got = (None if v is None else _array(v) for v in (given, want, got))
        self.x = None if x is None else _array(x)
        self.points = None if points is None else tuple(map(_array, points))
        self.titles, self.compare = titles, compare

    def draw(self):
        """A matplotlib figure, at most 860 pixels wide."""
        panels = [(self.want, self.titles[1]), (self.got, self.titles[2])]
        if self.given is not None:
            panels.insert(0, (self.given, self.titles[0]))
        height = max(_height(panel) for panel, _ in panels)
        with mpl.rc_context({"font.size": 10, "axes.grid": False}):
            figure = Figure((3.1 * len(panels), height), dpi=90, layout="constrained")
            axes = figure.subplots(1, len(panels))
            limits = _limits(self.want, self.got, *([self.points[1]] if self.points else []))
            for axis, (panel, title) in zip(axes, panels):
                axis.set_title(title, fontsize=11)
                _draw(axis, panel, None if panel is self.given else limits, self.x)
                if self.points and panel is not self.given:
                    axis.plot(*self.points, "o", color="0.45", markersize=4)
            if self.compare:
                _mark_differences(axes[-1], self.want, self.got, self.x)
        return figure

    def show(self):
        """Draw it under the notebook's cell."""
        from IPython.display import Image, display

        drawn = io.BytesIO()
        self.draw().savefig(drawn, format="png")
        display(Image(drawn.getvalue(), alt=", ".join(self.titles)))


def in_notebook() -> bool:
    """Is this a Jupyter kernel?"""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


def _array(values) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.double() if values.dtype.is_floating_point else values).numpy()
    values = np.asarray(values)
    return values.astype(float) if values.dtype.kind in "biuf" else np.zeros(0)


def _plane(values: np.ndarray) -> np.ndarray:
    """What of `values` can be drawn: a line, a table, or a picture with its colours last."""
    while values.ndim > 2:
        if values.ndim == 3 and values.shape[-1] == 3 and values.shape[0] > 3:
            return values
        if values.ndim == 3 and values.shape[0] == 3 and min(values.shape[1:]) > 3:
            return _plane(values.transpose(1, 2, 0))
        values = values[0]
    return values


def _is_table(values) -> bool:
    return values.ndim <= 2 and max(values.shape, default=1) <= CELLS


def _height(values) -> float:
    plane = _plane(values)
    if plane.ndim == 1:
        return 1.3 if _is_table(plane) else 2.6
    rows, columns = plane.shape[:2] if plane.ndim >= 2 else (1, 1)
    return float(np.clip(0.9 + 2.9 * rows / max(columns, 1), 1.4, 3.9))


def _limits(*panels) -> tuple[float, float]:
    values = np.concatenate([panel.ravel() for panel in panels])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _draw(axis, values, limits, x):
    values = _plane(values)
    if values.size == 0:
        axis.text(0.5, 0.5, f"empty, shape {values.shape}", ha="center", va="center")
        axis.axis("off")
        return
    if values.ndim == 1 and not _is_table(values):
        axis.plot(np.arange(len(values)) if x is None or len(x) != len(values) else x, values, color=BLUE)
        if limits:
            margin = 0.05 * (limits[1] - limits[0])
            axis.set_ylim(limits[0] - margin, limits[1] + margin)
        axis.spines[["top", "right"]].set_visible(False)
        return
    low, high = limits or _limits(values)
    table = np.atleast_2d(values) if values.ndim < 3 else _colours(values, low, high)
    size = _font_size(table) if table.ndim == 2 and _is_table(table) else None
    if size:
        low -= 1.5 * (high - low)  # light greys only, so that black numbers can be read on all of them
    axis.imshow(table, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    if size:
        for (row, column), value in np.ndenumerate(table):
            axis.text(column, row, _short(value), ha="center", va="center", fontsize=size)


def _colours(values, low, high):
    """`values` from 0 to 1: as they are, as bytes, or, if they are neither, between the darkest and the brightest."""
    if low >= 0:
        low, high = 0, 1 if high <= 1 else max(high, 255)
    return np.clip((np.nan_to_num(values) - low) / (high - low), 0, 1)


def _short(value) -> str:
    return f"{value:.0f}" if value == round(value, 0) and abs(value) < 1e5 else f"{value:.3g}"


def _font_size(table) -> int | None:
    """The largest size at which all numbers of `table` fit into their cells; None if none does."""
    widest = 1 + max(len(_short(value)) for value in table.flat)
    return next((size for size in (11, 8, 6) if 0.77 * size * widest * table.shape[1] <= PANEL), None)


def _mark_differences(axis, want, got, x):
    """Frames around cells that differ, crosses on pixels that do, and the wanted curve, dashed."""
    want, got = _plane(want), _plane(got)
    if want.shape != got.shape:
        axis.set_xlabel(f"shape {got.shape}, wanted {want.shape}")
        return
    if want.ndim == 1 and not _is_table(want):
        steps = np.arange(len(want)) if x is None or len(x) != len(want) else x
        axis.plot(steps, want, "--", color=VERMILION, linewidth=1.2, label="should be")
        axis.legend(fontsize=8, frameon=False)
        return
    off = ~np.isclose(np.atleast_2d(want), np.atleast_2d(got), atol=1e-5, rtol=1e-4, equal_nan=True)
    off = off.any(-1) if off.ndim == 3 else off
    places = np.argwhere(off)
    if max(off.shape) <= CELLS:
        for row, column in places:
            axis.add_patch(_frame(column - 0.46, row - 0.46, 2.5 if max(off.shape) <= 6 else 1.2))
    else:
        for_show = places[:: max(1, len(places) // 200)]
        axis.plot(for_show[:, 1], for_show[:, 0], "x", color=VERMILION, markersize=4)
    axis.set_xlabel(f"{len(places)} of {off.size} differ")


def _frame(left, bottom, width):
    return Rectangle((left, bottom), 0.92, 0.92, fill=False, edgecolor=VERMILION, linewidth=width)
