"""doctor --measure: figures beside the plain way, as a table row and as JSON; nothing of it outlives a kill."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from commands import doctor, measure
from commands.measure import Figure, table
from util.errors import UserError
from util.paths import PROJECT

FIGURES = [
    Figure("convnet, training", "images/s", 12345.6, 5000.0),
    Figure("one generated scan", "s", 2.0, 9.0),
]


def test_a_figure_says_how_many_times_faster():
    assert [figure.times_faster for figure in FIGURES] == [pytest.approx(2.46912), 4.5]


def test_the_row_fits_the_readme_s_table():
    heading, rule, row = table("two cores", FIGURES)
    assert heading == "| machine | convnet, training, images/s | one generated scan, s |"
    assert row == "| two cores | 12,346 (2.5x) | 2.0 (4.5x) |"
    assert heading.count("|") == rule.count("|") == row.count("|")


def test_the_command_measures_prints_and_writes(tmp_path, monkeypatch, capsys):
    """With the measurements themselves replaced: each takes seconds, and is tested where it comes from."""
    monkeypatch.setattr(measure, "in_own_process", lambda quietly, function, folder: function(folder))
    monkeypatch.setattr(measure, "prepare", lambda folder: None)
    monkeypatch.setattr(
        measure, "MEASUREMENTS", [("convnet, training", "images/s", fake), ("a scan", "s", fake)]
    )
    monkeypatch.setenv("COURSE_DATA", "mine")
    doctor.main(["--measure", "--json", str(tmp_path / "m.json")])
    said = capsys.readouterr().out
    assert "| 4.0 (2.0x) | 4.0 (0.5x) |" in said
    record = json.loads((tmp_path / "m.json").read_text())
    assert [(f["ours"], f["plain"], f["times_faster"]) for f in record["figures"]] == [(4, 2, 2), (4, 2, 0.5)]
    assert record["machine"]
    assert os.environ["COURSE_DATA"] == "mine"
    with pytest.raises(UserError, match="--measure"):
        doctor.main(["--json", "m.json"])


def fake(folder):
    assert os.environ["COURSE_DATA"] == str(folder)
    return 4.0, 2.0


def test_crops_and_slices_are_measured_by_the_chapters_benchmarks():
    names = {name for name, _, _ in measure.MEASUREMENTS}
    assert len(names) == 5
    ours, plain = measure.unet(None, count=1)
    assert ours > 0
    assert plain > 0


BUSY = """
import sys
from multiprocessing import freeze_support
from p2ch11.benchmark import in_own_process

def work(path):
    import os
    open(path, "w").write(str(os.getpid()))
    while True: pass

if __name__ == "__main__":
    in_own_process(work, sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
def test_nothing_of_a_killed_benchmark_keeps_computing(tmp_path):
    (tmp_path / "busy.py").write_text(BUSY)
    note = tmp_path / "pid"
    environment = dict(os.environ, PYTHONPATH=str(PROJECT))
    command = subprocess.Popen([sys.executable, str(tmp_path / "busy.py"), str(note)], env=environment)
    try:
        wait_for(lambda: note.exists() and note.read_text())
        worker = psutil.Process(int(note.read_text()))
    finally:
        command.send_signal(signal.SIGKILL)
        command.wait()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
