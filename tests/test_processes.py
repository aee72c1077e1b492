"""Nothing of a command or a suite keeps computing when that is told to stop, or killed."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.test_measure import wait_for
from tests.test_tiers import pytest_command
from util.paths import PROJECT
from util.processes import ENDS_WITH

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals, and cannot catch an end"),
]

# What a command does: notes its number, computes for ever, and says so if it is asked to end.
COMMAND = """
import os, signal, sys
from pathlib import Path
from util.errors import main_guard

note, asked = Path(sys.argv[1]), Path(sys.argv[2])

def end(number, frame):
    asked.write_text(str(number))
    sys.exit(7)

def main():
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    note.write_text(str(os.getpid()))
    while True: pass

main_guard(main)
"""
# course.py, but for the environment and the module that it chooses.
COURSE = "import course, sys; sys.exit(course.call(sys.executable, *sys.argv[1:]))"


@pytest.fixture
def started(tmp_path):
    """`started(program, ENDS_WITH=…)`: (the program, the command that it started), both computing."""
    note, asked, command = tmp_path / "pid", tmp_path / "asked", tmp_path / "command.py"
    command.write_text(COMMAND)
    programs = []

    def start(program, **environment):
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), **environment}
        arguments = [str(path) for path in (command, note, asked)]
        # A session of its own: no terminal, so Ctrl-C's signal comes from one process to one other.
        programs.append(
            subprocess.Popen(
                [sys.executable, "-c", program, *arguments],
                env=environment,
                cwd=PROJECT,
                start_new_session=True,
            )
        )
        wait_for(lambda: note.exists() and note.read_text())
        return programs[-1], psutil.Process(int(note.read_text()))

    yield start
    for program in programs:
        program.kill()
        program.wait()
    if note.exists() and psutil.pid_exists(int(note.read_text())):
        os.kill(int(note.read_text()), signal.SIGKILL)


def gone(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_course_py_hands_on_what_it_is_told(started, tmp_path, number):
    program, command = started(COURSE)
    program.send_signal(number)
    assert program.wait(60) == 7, "the command's own answer, after it put things in order"
    assert (tmp_path / "asked").read_text() == str(int(number))
    assert gone(command)


def test_a_command_ends_with_a_course_py_that_is_killed(started, tmp_path):
    program, command = started(COURSE)
    program.kill()
    program.wait()
    wait_for(lambda: gone(command), 30)
    assert not (tmp_path / "asked").exists()


def test_a_command_that_nobody_waits_for_ends_with_nobody(started):
    """Started from a shell, or with a number left over in the environment, it goes on."""
    orphan = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, *sys.argv[1:]]); time.sleep(300)"
    )
    done = subprocess.Popen([sys.executable, "-c", "pass"])
    done.wait()
    program, command = started(orphan, **{ENDS_WITH: str(done.pid)})
    program.kill()
    program.wait()
    with pytest.raises(psutil.TimeoutExpired):
        command.wait(2)


STARTS_A_COMMAND = """
import subprocess, sys

def test_starts_a_command():
    subprocess.run([sys.executable, *{arguments!r}])
"""


def test_a_command_ends_with_a_suite_that_is_killed(tmp_path):
    note = tmp_path / "pid"
    (tmp_path / "command.py").write_text(COMMAND)
    arguments = [str(tmp_path / name) for name in ("command.py", "pid", "asked")]
    (tmp_path / "test_starts.py").write_text(STARTS_A_COMMAND.format(arguments=arguments))
    suite = subprocess.Popen(**pytest_command(tmp_path), stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: note.exists() and note.read_text())
        command = psutil.Process(int(note.read_text()))
    finally:
        suite.kill()
        suite.wait()
    wait_for(lambda: gone(command), 30)
