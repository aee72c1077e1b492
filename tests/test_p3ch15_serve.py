"""Chapter 15: the classifier under serving engines. They are optional: a test of one that is missing skips."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch

from p3ch15.evaluation import in_batches
from p3ch15.networks import NETWORKS
from p3ch15.serve.compare import ONNX, SERVERS, lines_of_code
from p3ch15.server.inputs import crop_from_text
from util.errors import UserError
from util.paths import PROJECT

# The engines bring a hundred packages: continuous integration gives them an environment of their own.
PYTHON = os.environ.get("COURSE_SERVE_PYTHON") or sys.executable


@pytest.fixture(scope="module")
def crops():
    return NETWORKS["classification"].example(3)[:, 0].numpy()  # (3, 32, 48, 48)


def is_installed(package) -> bool:
    return subprocess.run([PYTHON, "-c", f"import {package}"], capture_output=True).returncode == 0


def as_npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.command
@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("bento", "bentoml"), ("lit", "litserve")])
def test_one_command_serves_crops(engine, package, crops, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON, "-m", "p3ch15.serve", engine, "--port", str(port)]
    if not is_installed(package):
        said = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
        assert said.returncode == 2
        assert f"{package} is not installed; see p3ch15/serve/requirements.txt" in said.stderr
        pytest.skip(f"{package} is not installed (p3ch15/serve/requirements.txt)")
    if engine == "ray":
        body, kind, bad = as_npy(crops[0]), "application/octet-stream", [b"junk", bytes(2**20 + 1)]
    else:
        wrap, kind = SERVERS[{"lit": "LitServe", "bento": "BentoML"}[engine]].wrap, "application/json"
        body = wrap(as_npy(crops[0]))
        holed = as_npy(np.full((32, 48, 48), np.nan))
        bad = [b"junk", b"{}", wrap(b"text"), wrap(as_npy(crops[0, :2])), wrap(holed)]

    def ask(body):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/predict", body, headers={"Content-Type": kind}
        )
        return json.load(urllib.request.urlopen(request, timeout=30))

    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log, start_new_session=True)
        try:
            for _ in range(120):
                try:
                    answer = ask(body)
                    break
                except (OSError, urllib.error.URLError):
                    assert server.poll() is None, (tmp_path / "log").read_text()[-2000:]
                    time.sleep(0.5)
            said = answer[0] if engine == "bento" else answer["probability"]
            logits = in_batches(NETWORKS["classification"].build(), torch.from_numpy(crops[:1])[:, None])
            assert said == pytest.approx(logits.softmax(1)[0, 1].item(), abs=0.03)
            for wrong in bad:
                with pytest.raises(urllib.error.HTTPError) as refused:
                    ask(wrong)
                assert 400 <= refused.value.code < 500, wrong[:80]
            assert ask(body) == answer
        finally:
            os.killpg(server.pid, signal.SIGINT)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


@pytest.mark.parametrize("wrong", [1.0, None, ["text"], "no base64!", "AAAA", "A" * 2**21])
def test_what_is_no_crop_is_refused_before_it_joins_a_batch(wrong):
    with pytest.raises(UserError, match=r"base64|\.npy"):
        crop_from_text(wrong)


def test_crops_are_clipped_and_come_through(crops):
    def sent(array):
        return crop_from_text(base64.b64encode(as_npy(array)).decode())

    assert sent(crops[0].astype(np.float64) * 1e30).min() == -1000
    np.testing.assert_array_equal(sent(crops[0]), crops[0])


def test_lines_of_code_are_those_that_hold_code(tmp_path, monkeypatch):
    (tmp_path / "p3ch15").mkdir()
    (tmp_path / "p3ch15" / "one.py").write_text(
        '"""A module.\n\nOf two sentences."""\n\nimport os  # one\n\n\ndef f():\n    """Docs."""\n'
        '    # a comment\n    return (\n        os.sep\n    )\n\n\nTEXT = """two\nlines"""\n'
    )
    monkeypatch.setattr("p3ch15.serve.compare.PROJECT", tmp_path)
    assert lines_of_code("one.py") == 7


def test_the_record_of_servers_has_every_one_with_all_its_figures():
    record = json.loads((PROJECT / "data" / "p3ch15" / "servers.json").read_text())
    assert list(record["servers"]) == [*SERVERS, ONNX]
    for told in record["servers"].values():
        assert told["lines"] > 10
        for row in told["rows"]:
            assert row["refused"] == 0
            assert 0 < row["low"] <= row["per_second"] <= row["high"]
            assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
            assert 30 < row["megabytes"] < 10_000
