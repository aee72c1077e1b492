"""The lists that LUNA16's evaluation reads and that submissions are written in."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from p2ch10.tables import read_rows, read_text
from util.errors import UserError
from util.paths import shown

PLACE = ("coordX", "coordY", "coordZ")


@dataclass(frozen=True)
class Point:
    """A place that somebody wants judged. center_xyz: mm. diameter_mm, is_nodule: None where the list has none."""

    series_uid: str
    center_xyz: tuple[float, float, float]
    diameter_mm: float | None = None
    is_nodule: bool | None = None


def read_table(path, value_column):
    """{series UID: (n, 4) array} of a list with the columns seriesuid, coordX, coordY, coordZ, `value_column`.

    Raises `UserError` naming file and line for a list that is missing or has a bad row.
    """
    rows = {}
    for _line, uid, values in _rows(path, (*PLACE, value_column)):
        rows.setdefault(uid, []).append(values)
    return {uid: np.array(values) for uid, values in rows.items()}


def read_points(path) -> list[Point]:
    """The places in a list with seriesuid, coordX, coordY, coordZ and, optionally, diameter_mm and class, in order.

    A diameter of 0 or less, or none, is not known. Raises `UserError` as `read_table` does, and for a class other
    than 0 and 1.
    """
    points = []
    for line, uid, (x, y, z, diameter, label) in _rows(path, PLACE, ("diameter_mm", "class")):
        if label not in (None, 0, 1):
            raise UserError(f"{shown(path)}, line {line}: class is {label:g}, not 0 or 1; correct the row")
        diameter = diameter if diameter is not None and diameter > 0 else None
        points.append(Point(uid, (x, y, z), diameter, None if label is None else bool(label)))
    return points


def _rows(path, columns, optional=()):
    """Yield (line, series UID, numbers) of each row: those in `columns`, then `optional` ones or None."""
    path = Path(path)
    for line, row in read_rows(path, ("seriesuid", *columns)):
        uid = row["seriesuid"]
        if not uid:
            raise UserError(f"{shown(path)}, line {line}: there is no series UID; correct the row")
        values = [_number(row, name, path, line) for name in columns]
        values += [_number(row, name, path, line) if row.get(name) else None for name in optional]
        yield line, uid, values


def read_series_uids(path) -> list[str]:
    """The series UIDs of a list that has one per line; a first line "seriesuid" is a heading.

    Raises `UserError` for a list that is missing or empty, and for a UID that stands twice.
    """
    path = Path(path)
    lines = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        uid = line.strip().strip('",;')
        if not uid or (number == 1 and uid.lower() == "seriesuid"):
            continue
        if not uid.replace(".", "").isdigit():
            raise UserError(f"{shown(path)}, line {number}: '{uid[:40]}' is no series UID; give one per line")
        if uid in lines:
            raise UserError(
                f"{shown(path)}, line {number}: this scan stands in line {lines[uid]} already; name each scan once"
            )
        lines[uid] = number
    if not lines:
        raise UserError(f"{shown(path)}, line 1: the list names no scan; give one series UID per line")
    return list(lines)


def _number(row, column, path, line) -> float:
    text = row.get(column)
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        said = "missing" if text is None or not str(text).strip() else f"'{text}', not a number"
        raise UserError(f"{shown(path)}, line {line}: {column} is {said}; correct the row")
    return value
