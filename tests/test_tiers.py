"""The tiers of the suite itself: what `--fast` leaves out, that no test can hang, where lessons look."""

import os
import subprocess
import sys

import psutil
import pytest
import torch

from tests import conftest
from tests.test_measure import wait_for
from util.paths import PROJECT

HANGING = "import time\n\n\ndef test_hangs():\n    time.sleep(60)\n"


def run_pytest(folder, *arguments):
    """pytest in a process of its own, with this suite's conftest and settings, on the files in `folder`."""
    return subprocess.run(**pytest_command(folder, *arguments), capture_output=True, text=True)


def pytest_command(folder, *arguments) -> dict:
    (folder / "conftest.py").write_text("from tests.conftest import *\n")
    (folder / "pyproject.toml").write_text((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    environment = dict(os.environ, PYTHONPATH=str(PROJECT))
    command = [sys.executable, "-m", "pytest", "--rootdir", str(folder), *arguments, str(folder)]
    return {"args": command, "cwd": folder, "env": environment}


@pytest.mark.slow
def test_fast_leaves_out_what_is_marked(tmp_path):
    marked = "".join(f"@pytest.mark.{name}\ndef test_{name}(): pass\n" for name in conftest.SLOW_MARKERS)
    (tmp_path / "test_small.py").write_text(f"import pytest\n{marked}def test_quick(): pass\n")
    whole, fast = run_pytest(tmp_path), run_pytest(tmp_path, "--fast")
    assert f"{len(conftest.SLOW_MARKERS) + 1} passed" in whole.stdout, whole.stdout
    assert f"1 passed, {len(conftest.SLOW_MARKERS)} deselected" in fast.stdout, fast.stdout


@pytest.mark.slow
def test_a_test_that_hangs_is_stopped(tmp_path):
    (tmp_path / "test_hanging.py").write_text(HANGING)
    said = run_pytest(tmp_path, "-o", "timeout=1")
    assert said.returncode == 1
    assert "Timeout" in said.stdout + said.stderr


def test_every_test_has_a_timeout(request):
    assert float(request.config.getini("timeout")) > 0
    waiting = [item for item in request.session.items if "executed" in getattr(item, "fixturenames", ())]
    for item in waiting:
        assert item.get_closest_marker("timeout").args[0] >= conftest.NOTEBOOK_SECONDS, item.nodeid


def test_a_lesson_finds_a_training_by_its_options(tmp_path, monkeypatch):
    """The newest of those that fit, whatever its folder is called."""
    monkeypatch.setenv("COURSE_OUTPUT", str(tmp_path))
    asked = []
    trained = conftest.trained.__wrapped__(asked.append)
    for moment, (name, options) in enumerate(
        [("z", {"seed": 0, "augmented": True}), ("a", {"seed": 0, "augmented": True}), ("m", {"seed": 0})]
    ):
        folder = tmp_path / "p2ch12" / name
        folder.mkdir(parents=True)
        torch.save({"options": options}, folder / "last.state")
        os.utime(folder / "last.state", (moment, moment))
    assert trained("p2ch12", augmented=True)["path"].parent.name == "a"
    assert trained("p2ch12", seed=0)["path"].parent.name == "m"
    with pytest.raises(AssertionError, match="trained nothing"):
        trained("p2ch12", seed=1)
    assert asked == ["p2ch12"] * 3


TAKES_NOTE = """
import os, pathlib, pytest, time

@pytest.mark.parametrize("n", range(6))
def test_quick(n):
    if n == 0 and __file__.endswith("d.py"):
        time.sleep(2)  # the other processes have nothing left meanwhile
    with open(pathlib.Path(__file__).with_name("order"), "a") as file:
        file.write(os.environ.get("PYTEST_XDIST_WORKER", "alone") + " quick\\n")

@pytest.mark.notebook
def test_of_a_notebook():
    with open(pathlib.Path(__file__).with_name("order"), "a") as file:
        file.write(os.environ.get("PYTEST_XDIST_WORKER", "alone") + " notebook\\n")
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["0", "2"])
def test_notebooks_come_last_and_in_one_process(tmp_path, processes):
    for name in "abcd":
        (tmp_path / f"test_{name}.py").write_text(TAKES_NOTE)
    said = run_pytest(tmp_path, "-n", processes, "--dist", "loadscope", "--no-loadscope-reorder")
    assert "28 passed" in said.stdout, said.stdout
    order = [line.split() for line in (tmp_path / "order").read_text().splitlines()]
    of_notebooks = [index for index, (_, kind) in enumerate(order) if kind == "notebook"]
    assert len({order[index][0] for index in of_notebooks}) == 1
    others = max(1, int(processes)) - 1
    assert min(of_notebooks) >= 24 - 2 * others  # of a process that ends, two quick tests may be left
    assert len({worker for worker, _ in order}) == max(1, int(processes))


STARTS_OTHERS = """
import pathlib, subprocess, sys, time

def test_starts_another():
    busy = "import os, sys\\nopen(sys.argv[1], 'w').write(str(os.getpid()))\\nwhile True: pass"
    subprocess.Popen([sys.executable, "-c", busy, str(pathlib.Path(__file__).with_name("pid"))])
    time.sleep(300)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("processes", ["0", "2"])
def test_nothing_of_a_stopped_suite_keeps_computing(tmp_path, processes):
    (tmp_path / "test_starts.py").write_text(STARTS_OTHERS)
    note = tmp_path / "pid"
    suite = subprocess.Popen(**pytest_command(tmp_path, "-n", processes), stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: note.exists() and note.read_text())
        worker = psutil.Process(int(note.read_text()))
    finally:
        suite.terminate()
    assert suite.wait(60) == 143
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
