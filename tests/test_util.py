"""util: the data door, atomic writes, devices, seeds, progress."""

import errno
import hashlib
import http.server
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from tests.test_measure import wait_for
from util.datasets import Dataset, Source
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.paths import PROJECT, real_root
from util.runtime import get_device, seed_everything


@pytest.fixture
def roots(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "real"))
    monkeypatch.setenv("COURSE_GENERATED", str(tmp_path / "generated"))
    return tmp_path


def write_numbers(folder):
    (folder / "numbers.csv").write_text("1,2,3\n")


@pytest.mark.parametrize("problem", ["itk", "system"])
def test_a_full_disk_while_generating_is_one_sentence(roots, monkeypatch, problem):
    def generate(folder):
        (folder / "numbers.csv").write_text("1,2")
        raise RuntimeError("ITK ERROR: no space") if problem == "itk" else OSError(errno.ENOSPC, "No space")

    usage = shutil.disk_usage(roots)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=0))
    with pytest.raises(UserError, match="COURSE_GENERATED"):
        Dataset("toy", generate=generate, required=("numbers.csv",)).path()
    assert not [path for path in (roots / "generated").iterdir() if path.suffix != ".lock"]


def test_of_two_at_once_the_second_waits_and_finds_it_made(roots, capsys):
    made, begun = [], threading.Event()

    def generate(folder):
        made.append(folder)
        begun.set()
        wait_for(lambda: "waiting" in "".join(said), 30)
        write_numbers(folder)

    said, found = [], []
    toys = [Dataset("toy", generate=generate, required=("numbers.csv",)) for _ in range(2)]
    first, second = (threading.Thread(target=lambda toy=toy: found.append(toy.path())) for toy in toys)
    first.start()
    assert begun.wait(30)
    second.start()
    wait_for(lambda: said.append(capsys.readouterr().out) or "waiting" in said[-1], 30)
    first.join(30)
    second.join(30)
    assert len(made) == 1
    assert [(folder / "numbers.csv").read_text() for folder in found] == ["1,2,3\n"] * 2


def test_another_failure_while_generating_is_told_as_it_is(roots):
    def generate(folder):
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        Dataset("toy", generate=generate, required=("numbers.csv",)).path()


@pytest.mark.parametrize("last", ["pass", "raise BrokenPipeError('a worker is gone')"])
def test_a_reader_that_has_seen_enough_ends_a_command_quietly(last):
    """`command | head -1`; but a broken pipe that is not the output's is told."""
    lines = 1 if "raise" in last else 100_000
    code = f"""if True:
        from util.errors import main_guard

        def main():
            for _ in range({lines}):
                print("a line of output")
            {last}

        main_guard(main)"""
    command = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT
    )
    with command:
        if lines > 1:
            assert command.stdout.readline() == "a line of output\n"
            command.stdout.close()
        said = command.stderr.read()
        assert command.wait() == 1
    assert said == "" if lines > 1 else "a worker is gone" in said


def test_a_command_on_a_full_disk_ends_with_one_sentence(capsys):
    def main():
        raise OSError(errno.ENOSPC, "No space left on device", "report.html")

    with pytest.raises(SystemExit) as stop:
        main_guard(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: cannot write 'report.html' (No space left on device)")


def test_generates_once_and_says_so(roots, capsys):
    calls = []
    dataset = Dataset(
        "toy", generate=lambda f: (calls.append(f), write_numbers(f)), required=("numbers.csv",)
    )
    assert (dataset.path() / "numbers.csv").read_text() == "1,2,3\n"
    dataset.path()
    assert len(calls) == 1
    assert "toy: generated data" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["toy", ".", "downloads/unpacked/toy-main"])
def test_real_files_win_wherever_they_are_nested(roots, where, capsys):
    folder = roots / "real" / where
    folder.mkdir(parents=True)
    write_numbers(folder)
    dataset = Dataset("toy", generate=write_numbers, required=("numbers.csv",))
    assert dataset.path() == folder.resolve()
    assert "real data" in capsys.readouterr().out


def test_failed_generation_leaves_nothing_behind(roots):
    def fails(folder):
        write_numbers(folder)
        raise RuntimeError("no luck")

    dataset = Dataset("toy", generate=fails)
    with pytest.raises(RuntimeError):
        dataset.path()
    assert not [path for path in (roots / "generated").iterdir() if path.suffix != ".lock"]


def generate_slowly(folder):
    for i in range(20):
        (folder / f"{i}.txt").write_text(str(i))
        time.sleep(0.01)


def path_of_slow_dataset(results):
    results.put(len(list(Dataset("slow", generate=generate_slowly).path().glob("*.txt"))))


def test_two_processes_generate_the_same_dataset(roots):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=path_of_slow_dataset, args=(results,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=20), results.get(timeout=20)] == [20, 20]
    for worker in workers:
        worker.join()
    assert [p.name for p in (roots / "generated").iterdir() if p.suffix != ".lock"] == ["slow-1"]


def test_missing_data_names_the_fix(roots):
    with pytest.raises(UserError, match=r"no toy data .*course.py data toy"):
        Dataset("toy", required=("numbers.csv",)).path()


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Serves one body, with Range, and can cut the connection after some bytes."""

    body = bytes(range(256)) * 4000
    cut_after = None

    def do_GET(self):
        start = 0
        if "Range" in self.headers:
            start = int(self.headers["Range"].split("=")[1].rstrip("-"))
            self.server.ranges.append(start)
            self.send_response(206)
        else:
            self.send_response(200)
        rest = self.body[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.cut_after])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RangeHandler)
    server.ranges, server.cut_after = [], None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def downloadable(server, digest=None, size=None):
    digest = digest or hashlib.sha256(RangeHandler.body).hexdigest()
    url = f"http://127.0.0.1:{server.server_address[1]}/body.bin"
    size = size or len(RangeHandler.body)
    return Dataset(
        "web", sources=(Source("body.bin", (url,), f"sha256:{digest}", size),), required=("body.bin",)
    )


def test_interrupted_download_resumes(roots, server, monkeypatch):
    monkeypatch.delenv("COURSE_OFFLINE", raising=False)
    server.cut_after = 300_000
    with pytest.raises(UserError, match="could not download"):
        downloadable(server).download()
    server.cut_after = None
    folder = downloadable(server).download()
    assert len(server.ranges) == 1
    assert 200_000 < server.ranges[0] <= 300_000
    assert (folder / "body.bin").read_bytes() == RangeHandler.body
    assert downloadable(server).verify() == [("body.bin", "complete")]


def test_wrong_checksum_is_deleted(roots, server, monkeypatch):
    monkeypatch.delenv("COURSE_OFFLINE", raising=False)
    with pytest.raises(UserError, match="could not download"):
        downloadable(server, digest="0" * 64).download()
    assert [p.name for p in (roots / "real" / "web").iterdir()] == []


def test_too_little_disk_is_said_before_downloading(roots, server, monkeypatch):
    monkeypatch.delenv("COURSE_OFFLINE", raising=False)
    with pytest.raises(UserError, match="GB are free"):
        downloadable(server, size=10**18).download()


def test_offline_forbids_downloads(roots, server, monkeypatch):
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    with pytest.raises(UserError, match="COURSE_OFFLINE"):
        downloadable(server).download()


def test_unknown_part_lists_the_known_ones(roots, server, monkeypatch):
    monkeypatch.delenv("COURSE_OFFLINE", raising=False)
    with pytest.raises(UserError, match="no part subset9"):
        downloadable(server).download(["subset9"])


WRITER = """
import sys, time
from util.files import atomic_path
from util.processes import end_with_command
end_with_command()
while True:
    with atomic_path(sys.argv[1]) as temporary, open(temporary, "wb") as file:
        for _ in range(50):
            file.write(b"x" * 10_000)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
def test_a_killed_write_is_never_seen(tmp_path):
    target = tmp_path / "value.bin"
    for wait in (0.15, 0.22, 0.31, 0.4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], cwd=PROJECT)
        time.sleep(wait)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        if target.exists():
            assert target.stat().st_size == 500_000
    assert target.exists()


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    """Half a cohort is hundreds of megabytes."""
    target = tmp_path / "cohort [1]"
    code = (
        "import sys, time; from util.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as t: t.mkdir(); (t / 'scan').touch(); print(flush=True); time.sleep(60)"
    )
    one, other = (
        subprocess.Popen([sys.executable, "-c", code, str(target)], cwd=PROJECT, stdout=subprocess.PIPE)
        for _ in range(2)
    )
    try:
        one.stdout.readline(), other.stdout.readline()
        one.kill(), one.wait()
        assert len(list(tmp_path.iterdir())) == 2
        with atomic_path(target) as temporary:
            temporary.mkdir()
        left = [path for path in tmp_path.iterdir() if path != target]
        assert len(left) == 1
        assert f".{other.pid}." in left[0].name
    finally:
        other.kill(), other.wait()


def test_atomic_path_keeps_the_old_file_on_failure(tmp_path):
    target = tmp_path / "value.txt"
    target.write_text("old")

    def fails():
        with atomic_path(target) as temporary:
            temporary.write_text("new")
            raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        fails()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_seed_repeats_every_generator():
    import random

    import numpy as np

    def draw():
        generator = seed_everything(7)
        return (
            random.random(),
            np.random.rand(),
            torch.rand(1).item(),
            torch.rand(1, generator=generator).item(),
        )

    assert draw() == draw()


def test_unusable_device_is_one_sentence():
    with pytest.raises(UserError, match="doctor"):
        get_device("cuda:99")
    with pytest.raises(UserError, match="doctor"):
        get_device("toaster")
    assert get_device("cpu") == torch.device("cpu")


def test_real_files_for_checks_are_those_that_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_REAL", raising=False)
    assert real_root() is None
    monkeypatch.setenv("COURSE_REAL", str(tmp_path))
    assert real_root() == tmp_path.resolve()
    monkeypatch.setenv("COURSE_REAL", str(tmp_path / "typo"))
    with pytest.raises(UserError, match="COURSE_REAL"):
        real_root()
