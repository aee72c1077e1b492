"""What each number type can hold (chapter 3, "A dtype for every occasion")."""

import math

import matplotlib.pyplot as plt
import torch

from util.plotting import BLUE, ORANGE

FLOATS = [
    torch.float64,
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.float8_e5m2,
    torch.float8_e4m3fn,
]
INTEGERS = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]


def name_of(dtype: torch.dtype) -> str:
    """ "float32" for `torch.float32`."""
    return str(dtype).removeprefix("torch.")


def dtype_rows() -> list[dict]:
    """One row per type: name, bytes, smallest, largest, and `step`, from 1 to the next number."""
    rows = []
    for dtype in [*FLOATS, *INTEGERS]:
        info = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
        rows.append(
            {
                "name": name_of(dtype),
                "bytes": dtype.itemsize,
                "min": info.min,
                "max": info.max,
                "step": info.eps if dtype.is_floating_point else 1,
            }
        )
    rows.append({"name": "bool", "bytes": torch.bool.itemsize, "min": 0, "max": 1, "step": 1})
    return rows


def print_dtypes():
    """Print `dtype_rows` as a table."""
    print(f"{'dtype':<15}{'bytes':>5}  {'smallest':>12}  {'largest':>12}  {'step at 1':>10}")
    for row in dtype_rows():
        limits = f"{row['min']:>12.4g}  {row['max']:>12.4g}"
        print(f"{row['name']:<15}{row['bytes']:>5}  {limits}  {row['step']:>10.3g}")


def draw_floats():
    """A bar per floating-point type: its range as powers of ten, and its digits; returns the figure."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), sharey=True, width_ratios=[2, 1])
    for place, dtype in enumerate(reversed(FLOATS)):
        info = torch.finfo(dtype)
        low, high = math.log10(info.tiny), math.log10(info.max)
        colour = ORANGE if dtype == torch.float32 else BLUE
        left.barh(place, high - low, left=low, color=colour, height=0.6)
        digits = -math.log10(info.eps)
        right.barh(place, digits, color=colour, height=0.6)
        right.text(digits + 0.3, place, f"{digits:.1f}", va="center", fontsize=9)
    left.set_yticks(range(len(FLOATS)), [name_of(dtype) for dtype in reversed(FLOATS)])
    # float64 reaches to 1e308 and would squeeze all others.
    left.set_xlim(-50, 50)
    right.set_xlim(0, 19)
    left.set_xlabel("range: powers of ten (float64 goes on to ±308)")
    right.set_xlabel("precision: decimal digits")
    for axis in (left, right):
        axis.grid(axis="y", visible=False)
    return figure
