"""Chapter 15: the classifier under serving engines. Ray Serve and BentoML are optional: what needs them skips."""

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
from util.paths import PROJECT


@pytest.fixture(scope="module")
def crops():
    return NETWORKS["classification"].example(3)[:, 0].numpy()  # (3, 32, 48, 48)


def as_npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.command
@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("bento", "bentoml")])
def test_one_command_serves_crops(engine, package, crops, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "p3ch15.serve", engine, "--port", str(port)]
    try:
        __import__(package)
    except ImportError:
        said = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
        assert said.returncode == 2
        assert f"{package} is not installed; see p3ch15/serve/requirements.txt" in said.stderr
        pytest.skip(f"{package} is not installed (p3ch15/serve/requirements.txt)")
    body, kind = as_npy(crops[0]), "application/octet-stream"
    if engine == "bento":
        body, kind = json.dumps({"crops": crops[:1].tolist()}).encode(), "application/json"

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
            said = answer["probability"] if engine == "ray" else answer[0]
            logits = in_batches(NETWORKS["classification"].build(), torch.from_numpy(crops[:1])[:, None])
            assert said == pytest.approx(logits.softmax(1)[0, 1].item(), abs=0.03)
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask(b"junk")
            assert 400 <= refused.value.code < 500
        finally:
            os.killpg(server.pid, signal.SIGINT)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
