"""Chapter 14: many scans. Found, analysed, resumed; one that is damaged stops nothing."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from p2ch09.phantom import make_patient, write_scan
from p2ch14 import archive
from p2ch14.archive import COLUMNS, Archive, find_scans, key_of
from p2ch14.screencts import LunaScreenCtApp
from util.errors import UserError
from util.paths import PROJECT

SHAPE = (24, 96, 96)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Twelve small scans in two folders, and a damaged one among them."""
    folder = tmp_path_factory.mktemp("archive")
    for number in range(12):
        place = folder / ("first" if number < 6 else "second")
        place.mkdir(exist_ok=True)
        write_scan(make_patient(number, SHAPE, nodules=1), place)
    (folder / "second" / "damaged.nii.gz").write_bytes(b"no scan at all")
    return folder


def screencts(*arguments, **options):
    command = [sys.executable, "-m", "p2ch14.screencts", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, **options)


def rows_in(folder):
    with open(folder / "results.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def without_times(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_scans_are_found_in_files_folders_and_lists(tmp_path):
    for name in ("a/one.mhd", "a/one.raw", "b/c/two.nii.gz", "b/notes.txt", "b/three.nrrd", "d/x.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for number in range(3):
        (tmp_path / "e").mkdir(exist_ok=True)
        (tmp_path / "e" / f"{number}").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 100)
    names = [path.relative_to(tmp_path).as_posix() for path in find_scans([tmp_path])]
    assert names == ["a/one.mhd", "b/c/two.nii.gz", "b/three.nrrd", "e"]
    (tmp_path / "list.txt").write_text("# mine\na/one.mhd\n\nb\na\n", encoding="utf-8")
    listed = [path.name for path in find_scans([tmp_path / "list.txt", tmp_path / "a"])]
    assert listed == ["one.mhd", "two.nii.gz", "three.nrrd"]  # each once


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"# nothing\n\n", "names no scan"),
        (b"missing.mhd\n", "line 1 of"),
        (b"\xff\xfe\0x", "is no text"),
    ],
)
def test_lists_that_cannot_be_read(tmp_path, text, sentence):
    (tmp_path / "list.txt").write_bytes(text)
    with pytest.raises(UserError, match=sentence):
        find_scans([tmp_path / "list.txt"])
    with pytest.raises(UserError, match="is not there"):
        find_scans([tmp_path / "other.txt"])


def test_what_cannot_be_asked_for_is_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    for arguments, sentence in (
        (
            ["x.mhd"],
            "--out, the folder for the results, is missing|--out, the folder for the results is missing",
        ),
        (["--out", "x"], "a SCAN to analyse is missing"),
        ([str(tmp_path / "nowhere"), "--out", str(tmp_path / "o")], "is not there"),
        ([str(tmp_path / "empty"), "--out", str(tmp_path / "o")], "no scan was found"),
        ([str(tmp_path), "--out", "o", "--processes", "0"], "--processes is 0"),
        ([str(tmp_path), "--out", "o", "--processes", "2", "--ray", "local"], "a Ray cluster knows"),
    ):
        with pytest.raises(UserError, match=sentence):
            LunaScreenCtApp(arguments).main()
    assert not (tmp_path / "o").exists()
    options = {"out": str(tmp_path / "full"), "reports": True, "networks": {}}
    with pytest.raises(UserError, match="not empty"):
        Archive(options)
    with pytest.raises(UserError, match="nothing to resume"):
        Archive(options | {"out": str(tmp_path / "o")}, resume=True)
    Archive(options | {"out": str(tmp_path / "o")})
    with pytest.raises(UserError, match="--resume goes on"):
        Archive(options | {"out": str(tmp_path / "o")})
    with pytest.raises(UserError, match="other options"):
        Archive(options | {"out": str(tmp_path / "o"), "reports": False}, resume=True)
    Archive(options | {"out": str(tmp_path / "o")}, resume=True)


@pytest.fixture(scope="module")
def analysed(scans, tmp_path_factory):
    """The archive, killed while it was under way, resumed: (folder, what was done before the kill)."""
    out = tmp_path_factory.mktemp("results") / "out"
    command = [sys.executable, "-m", "p2ch14.screencts", str(scans), "--out", str(out)]
    killed = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((out / "scans").glob("*.json")) and killed.poll() is None:
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    before = {path: path.stat().st_mtime_ns for path in (out / "scans").glob("*.json")}
    done = screencts(scans, "--out", out, "--resume")
    assert done.returncode == 0, done.stderr
    assert "13 scans, 1 not analysed" in done.stdout
    assert "damaged.nii.gz" in done.stdout
    return out, before


@pytest.mark.slow
def test_an_archive_survives_a_kill_and_computes_nothing_twice(analysed, scans):
    out, before = analysed
    assert before
    assert {path: path.stat().st_mtime_ns for path in before} == before
    rows = rows_in(out)
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == 13
    assert [row["state"] for row in rows].count("failed") == 1
    [failed] = [row for row in rows if row["state"] == "failed"]
    assert failed["scan"].endswith("damaged.nii.gz")
    assert failed["error"]
    for row in rows:
        if row["state"] == "done":
            [scan] = json.loads((out / "findings" / f"{key_of(row['scan'])}.json").read_text())["scans"]
            assert len(scan["nodules"]) == int(row["nodules"])
            assert (out / row["report"]).is_file()
    assert not list(out.rglob("*.part"))


@pytest.mark.slow
def test_the_page_links_every_report_and_tells_what_failed(analysed):
    out, _ = analysed
    page = (out / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) == 12
    assert all((out / link).is_file() for link in links)
    assert page.index("damaged.nii.gz") < page.index(links[0])
    assert "Not a medical device" in page


@pytest.mark.slow
def test_ray_gives_the_same_table(analysed, scans, tmp_path):
    """On a cluster of this machine; needs Ray, which lives in the environment of chapter 15's engines."""
    python = os.environ.get("COURSE_SERVE_PYTHON")
    if not python:
        pytest.skip("COURSE_SERVE_PYTHON names no Python with p3ch15/serve/requirements.txt")
    command = [python, "-m", "p2ch14.screencts", str(scans), "--out", str(tmp_path / "ray"), "--ray", "local"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert without_times(rows_in(tmp_path / "ray")) == without_times(rows_in(analysed[0]))
    import_parquet = "import pandas, sys; print(len(pandas.read_parquet(sys.argv[1])))"
    told = subprocess.run(
        [python, "-c", import_parquet, str(tmp_path / "ray" / "results.parquet")],
        capture_output=True,
        text=True,
    )
    assert told.stdout.strip() == "13"


class Deadly:
    """Stands in for `Analyst`: one scan kills its process, the others have rows."""

    def __init__(self, options):
        self.folder = options["out"]

    def __call__(self, path):
        if "deadly" in str(path):
            os.kill(os.getpid(), signal.SIGKILL)
        return dict.fromkeys(COLUMNS, "") | {"scan": str(path), "state": "done", "nodules": 1}


@pytest.mark.slow
def test_a_scan_that_kills_its_process_is_told_and_stops_nothing(tmp_path, monkeypatch):
    names = [tmp_path / f"{name}.mhd" for name in ("a", "deadly", "b", "c")]
    monkeypatch.setattr(archive, "_start", start_deadly)
    told = dict(archive._on_processes(names, {"out": str(tmp_path)}, 2))
    assert set(told) == set(names)
    assert [path.stem for path, row in told.items() if row["state"] == "failed"] == ["deadly"]
    assert "killed twice" in told[names[1]]["error"]


def start_deadly(options, threads):
    archive._analyst = Deadly(options)


def test_rows_of_an_empty_table_and_of_a_foreign_name(tmp_path):
    """A scan may be called anything; the page shows it and runs nothing of it."""
    out = Archive({"out": str(tmp_path / "o"), "reports": False, "networks": {}})
    row = dict.fromkeys(COLUMNS, "") | {
        "scan": "<script>alert(1)</script>.mhd",
        "state": "done",
        "nodules": 0,
    }
    out.write([row])
    assert "<script>" not in (tmp_path / "o" / "index.html").read_text(encoding="utf-8")
    assert np.isclose(float(rows_in(tmp_path / "o")[0]["nodules"]), 0)
