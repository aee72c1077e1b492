"""`course.py run`, killed and started again on a small cohort, ends in a whole report."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from util.paths import PROJECT

SMALL = ["--segmentation-epochs", "1", "--segmentation-samples", "32", "--classification-epochs", "1"]
SMALL += ["--classification-samples", "32", "--second-epochs", "1", "--second-samples", "32", "--scans", "2"]


@pytest.fixture(scope="module")
def small_world(tmp_path_factory):
    """Environment variables of a reader with a few small generated scans in place of LUNA16."""
    root = tmp_path_factory.mktemp("world")
    command = [sys.executable, "-m", "p2ch09.phantom", "--scans", "10", "--seed", "3", "--richness", "4"]
    command += ["--size", "48", "128", "128", "--out", str(root / "data" / "luna")]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    paths = {"COURSE_DATA": root / "data", "COURSE_OUTPUT": root / "output", "COURSE_CACHE": root / "cache"}
    return {**os.environ, **{name: str(path) for name, path in paths.items()}}, root


def main_job(environment):
    return subprocess.Popen(
        [sys.executable, "-m", "p2ch14.main_job", *SMALL],
        cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.command
def test_a_device_that_is_not_there_is_told_before_patients_are_made(tmp_path):
    moved = {f"COURSE_{name}": str(tmp_path / name) for name in ("DATA", "GENERATED", "OUTPUT", "CACHE")}
    done = subprocess.run(
        [sys.executable, "-m", "p2ch14.main_job"],
        cwd=PROJECT, env={**os.environ, **moved, "COURSE_DEVICE": "cuda:99"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: device 'cuda:99' is not usable here")
    assert not list(tmp_path.iterdir())


@pytest.mark.command
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
def test_main_job_survives_kills_and_ends_in_a_report(small_world):
    environment, root = small_world
    for wait in (3.0, 5.0, 7.0):
        job = main_job(environment)
        time.sleep(wait)
        job.send_signal(signal.SIGKILL)
        job.communicate()
        for state in root.rglob("*.state"):
            assert state.stat().st_size > 100_000
    job = main_job(environment)
    said, _ = job.communicate()
    assert job.returncode == 0, said
    assert "false positives" in said
    output = root / "output"
    html = (output / "report.html").read_text()
    assert "Not a medical device" in html
    assert html.count("Annotated nodules") == html.count("The shipped networks: found") == 2
    assert re.search(r"The shipped networks .*find \d+ of \d+ nodules in these scans", said)
    scans = json.loads((output / "nodules.json").read_text())["scans"]
    assert len(scans) == 2
    rows = list(csv.DictReader((output / "nodules.csv").open()))
    assert len(rows) == sum(scan["candidates"] for scan in scans)
    assert {row["seriesuid"] for row in rows} <= {scan["series_uid"] for scan in scans}


@pytest.mark.command
def test_second_run_trains_nothing(small_world):
    environment, _ = small_world
    main_job(environment).communicate()
    said, _ = main_job(environment).communicate()
    assert said.count("resuming after epoch 1") == 3
    assert "E1 trn" not in said
