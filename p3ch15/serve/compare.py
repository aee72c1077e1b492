"""Servers side by side, on one model and one client (chapter 15, section 15.6).

    python -m p3ch15.serve.compare [--clients 1 32] [--seconds 6] [--json data/p3ch15/servers.json]

plain Flask       `p3ch15.flask_server`: one request, one forward in float32
our server, alone `p3ch15.server --no-batching`: fast numerics, each crop by itself
our server        `p3ch15.server`
LitServe, Ray Serve, BentoML      `python -m p3ch15.serve lit`, `ray`, `bento`, as far as they are installed
ONNX Runtime      no server: the calling program computes by itself, in float32

Each runs alone, with two workers at most, while threads of this process send crops. Run it with the Python of the
environment that has the engines (`p3ch15/serve/requirements.txt`).
"""

import argparse
import base64
import contextlib
import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tokenize
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib import metadata

import numpy as np
import psutil

from p3ch15.benchmark import NPY, bodies, measure
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.paths import PROJECT, output_root

START_SECONDS = 120


def _as_json(name, is_list=False):
    def wrap(npy):
        text = base64.b64encode(npy).decode()
        return json.dumps({name: [text] if is_list else text}).encode()

    return wrap


@dataclass(frozen=True)
class Server:
    """How one is started, what it is sent, and the files that were written for it."""

    command: tuple[str, ...]
    files: tuple[str, ...]
    package: str | None = None  # that must be installed
    wrap: object = None  # a `.npy` file's bytes -> the body; None: the bytes themselves

    @property
    def headers(self):
        return {"Content-Type": "application/json" if self.wrap else NPY}


SERVERS = {
    "plain Flask": Server(("p3ch15.flask_server",), ("flask_server.py",)),
    "our server, alone": Server(("p3ch15.server", "--no-scans", "--no-batching"), ("server",)),
    "our server": Server(("p3ch15.server", "--no-scans"), ("server",)),
    "LitServe": Server(("p3ch15.serve", "lit"), ("serve/lit_app.py",), "litserve", _as_json("crop")),
    "Ray Serve": Server(("p3ch15.serve", "ray"), ("serve/ray_app.py",), "ray"),
    "BentoML": Server(("p3ch15.serve", "bento"), ("serve/bento_app.py",), "bentoml", _as_json("crops", True)),
}
ONNX = "ONNX Runtime, no server"


def lines_of_code(*names) -> int:
    """Lines with code in these files or folders of the chapter: no comments, no docstrings, no blank lines."""
    paths = [PROJECT / "p3ch15" / name for name in names]
    files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    return sum(_lines_in(file.read_text(encoding="utf-8")) for file in files)


def _lines_in(source):
    beside = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    counted, begins = set(), True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_docstring = begins and token.type == tokenize.STRING
        if token.type not in beside | {tokenize.ENDMARKER} and not is_docstring:
            counted.update(range(token.start[0], token.end[0] + 1))
        if token.type not in {tokenize.COMMENT, tokenize.NL}:
            begins = token.type in {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    return len(counted)


def memory_of(process) -> int:
    """Bytes that a process and all it started hold; what they share counts once where the system can tell."""
    held = 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            full = one.memory_full_info()
            held += getattr(full, "pss", full.rss)
    return held


@contextlib.contextmanager
def started(server, log):
    """Start a server on a free port and wait for its first answer; yields (port, its `psutil.Process`, seconds)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", *server.command, "--port", str(port)]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log, start_new_session=True)
    watched = psutil.Process(process.pid)
    try:
        _wait_for(server, port, process, began + START_SECONDS)
        yield port, watched, time.perf_counter() - began
    finally:
        _end(process, watched)


def _wait_for(server, port, process, until):
    body = bodies(1)[0]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", server.wrap(body) if server.wrap else body, server.headers
    )
    while True:
        try:
            urllib.request.urlopen(request, timeout=30).read()
            return
        except OSError as error:
            if process.poll() is not None or time.perf_counter() > until:
                raise UserError(
                    f"{' '.join(server.command)} did not start ({error}); start it by hand to see why"
                ) from error
            time.sleep(0.2)


def _end(process, watched):
    """End a server and all it started, politely first."""
    family = []
    with contextlib.suppress(psutil.Error):
        family = watched.children(recursive=True)
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGINT)
    _, alive = psutil.wait_procs([watched, *family], timeout=20)
    for one in alive:
        with contextlib.suppress(psutil.Error):
            one.kill()
    process.wait(10)


def compare(clients=(1, 32), seconds=6.0, show=print) -> dict:
    """{name: {"lines", "start_s", "version", "rows": [what `measure` answers, with "megabytes"]}}.

    Engines that are not installed are left out, and it is said.
    """
    measured = {}
    with open(output_root() / "serve-compare.log", "w") as log:
        for name, server in SERVERS.items():
            if server.package and importlib.util.find_spec(server.package) is None:
                show(f"{name} is not installed; see p3ch15/serve/requirements.txt")
                continue
            crops = [server.wrap(body) if server.wrap else body for body in bodies()]
            with started(server, log) as (port, process, start_s):
                rows = []
                for count in clients:
                    row = measure(port, process, count, seconds, crops=crops, headers=server.headers)
                    rows.append(row | {"megabytes": round(memory_of(process) / 1e6)})
            version = metadata.version(server.package) if server.package else None
            lines = lines_of_code(*server.files)
            measured[name] = {"lines": lines, "start_s": round(start_s, 1), "version": version, "rows": rows}
            _show(show, name, measured[name])
    measured[ONNX] = _in_process(clients, seconds)
    _show(show, ONNX, measured[ONNX])
    return measured


def _in_process(clients, seconds):
    """onnxruntime without a server, in a process that has no PyTorch."""
    from p3ch15.formats import to_onnx
    from p3ch15.networks import NETWORKS

    model = to_onnx(NETWORKS["classification"], output_root() / "exports" / "classification.onnx")
    program, rows = PROJECT / "p3ch15" / "serve" / "onnx_app.py", []
    for count in clients:
        said = subprocess.run(
            [sys.executable, program, model, str(count), str(seconds)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        told = json.loads(said.stdout)
        p50, p95, p99 = (round(1e3 * float(p), 2) for p in np.percentile(told["seconds"], (50, 95, 99)))
        rows.append(
            {
                "clients": count,
                "per_second": round(len(told["seconds"]) / seconds, 2),
                "low": round(told["low"], 2),
                "high": round(told["high"], 2),
                "p50_ms": p50,
                "p95_ms": p95,
                "p99_ms": p99,
                "refused": 0,
                "megabytes": round(told["bytes"] / 1e6),
            }
        )
    version = metadata.version("onnxruntime")
    return {"lines": lines_of_code("serve/onnx_app.py"), "start_s": None, "version": version, "rows": rows}


def _show(show, name, told):
    for row in told["rows"]:
        refused = f"  {row['refused']} refused" if row["refused"] else ""
        show(
            f"{name:24} {row['clients']:3d} clients {row['per_second']:7.1f}/s   "
            f"p50 {row['p50_ms']:7.1f}  p95 {row['p95_ms']:7.1f}  p99 {row['p99_ms']:7.1f} ms   "
            f"{row['megabytes']:5d} MB   {told['lines']:4d} lines{refused}"
        )


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, nargs="+", default=(1, 32))
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--json", metavar="F", help="write the figures")
    options = parser.parse_args(arguments)
    if min(options.clients) < 1 or max(options.clients) > 256 or options.seconds <= 0:
        raise UserError("--clients must be from 1 to 256, and --seconds above 0")
    output_root().mkdir(parents=True, exist_ok=True)
    measured = compare(sorted(options.clients), options.seconds)
    if options.json:
        record = {"cores": os.cpu_count(), "seconds": options.seconds, "servers": measured}
        with atomic_path(options.json) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    main_guard(main)
