"""Chapter 15: the server among clients that send garbage, lie, dawdle or hang up, and its gentle end."""

import http.client
import io
import json
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections import Counter

import numpy as np
import psutil
import pytest
import torch

from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p2ch14.weights import SHIPPED_CLASSIFIER
from util.paths import PROJECT

REQUESTS = 2000
CLIENTS = 8
FLAT_MB = 200


def npy(array, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


CROP = np.zeros((32, 48, 48), np.int16)
CROP[12:20, 20:28, 20:28] = 40
CROP[CROP == 0] = -850


class Served:
    """`python -m p3ch15.server` as a process of its own, with everything it may write in one folder."""

    def __init__(self, folder, *options):
        self.folder = folder
        self.log = open(folder.parent / "server.log", "w+")  # noqa: SIM115
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "p3ch15.server", "--port", "0", "--folder", str(folder), *options],
            cwd=PROJECT, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment,
        )  # fmt: skip
        line = self.process.stdout.readline()
        assert line.startswith("serving on"), self.said()
        self.port = int(line.rsplit(":", 1)[1])

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def ask(self, method, path, body=None, headers=None, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def predict(self, **options):
        status, body = self.ask("POST", "/predict", npy(CROP), **options)
        assert status == 200, body
        return json.loads(body)["probability"]

    def connect(self, data=b"", timeout=20):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        connection.sendall(data)
        return connection

    def memory_mb(self):
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults") / "folder"
    folder.mkdir()
    served = Served(folder, "--max-voxels", "1000000", "--max-queue", "16")
    yield served
    served.end()


# --- what malicious and clumsy clients send ---------------------------------------------------------


def zipped(*files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


class Touch:
    """Unpickled, this writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def pickles(folder):
    path = str(folder / "unpickled")
    torch_file = io.BytesIO()
    torch.save(Touch(path), torch_file)
    return [
        pickle.dumps(Touch(path)),
        npy(np.array([Touch(path)], dtype=object), allow_pickle=True),
        torch_file.getvalue(),  # a zip by its first bytes, with a pickle in it
    ]


HEADER = "NDims = 3\nDimSize = {0} {0} {0}\nElementType = MET_SHORT\nElementSpacing = 1 1 1\n"


def uploads(folder):
    """A few archives of each kind: each costs the server a process."""
    bomb = bytes(50_000_000)
    layers = zipped(("0.zip", zipped(("a.dcm", bomb))))
    inflated = "CompressedData = True\nElementDataFile = a.zraw\n"
    return [
        zipped(("a.dcm", bomb)),
        layers,
        zipped(("../../escaped.mhd", "x")),
        zipped((f"{folder}/escaped.mhd", "x")),
        zipped(("a.mhd", HEADER.format(30000) + "ElementDataFile = a.raw\n"), ("a.raw", b"x")),
        zipped(("a.mhd", HEADER.format(2) + "ElementDataFile = /etc/passwd\n")),
        zipped(("a.mhd", HEADER.format(8) + inflated), ("a.zraw", zlib.compress(bytes(7_000_000)))),
        zipped(*((f"{n}.dcm", random.Random(n).randbytes(300)) for n in range(5))),
        zipped(("a.dcm", b"x"))[:-10],
        b"\x1f\x8b\x08" + random.Random(1).randbytes(2000),
    ]


def malformed(folder, rng):
    """(method, path, body, headers) of one request that no server should fall for."""
    hostile_pickles = pickles(folder)
    shapes = [(), (0,), (48, 48, 32), (32, 48), (1, 32, 48, 48), (31, 48, 48)]
    kinds = [
        lambda: rng.randbytes(rng.randrange(2000)),
        lambda: npy(np.zeros(rng.choice(shapes))),
        lambda: npy(np.full((32, 48, 48), rng.choice([np.nan, np.inf, -np.inf]), np.float32)),
        lambda: npy(CROP)[: rng.randrange(len(npy(CROP)))],
        lambda: npy(CROP.astype("S3")),
        lambda: npy(np.zeros(1)).replace(b"(1,)", b"(99999999999,)"),
        lambda: b"\x93NUMPY\x01\x00" + rng.randbytes(400),
        lambda: rng.choice(hostile_pickles),
        lambda: zipped(("arr_0.npy", npy(CROP))),
    ]
    texts = [
        lambda: b"[" * rng.randrange(1, 200_000),
        lambda: b'{"crop": ' + b"9" * 5000 + b"}",
        lambda: b'{"crop": [[[NaN]]]}',
        lambda: b'{"crop": null, "crop": {"a": 1}}',
        lambda: rng.randbytes(300),
    ]
    while True:
        dice = rng.random()
        if dice < 0.6:
            yield "POST", "/predict", rng.choice(kinds)(), {}
        elif dice < 0.75:
            yield "POST", "/predict", rng.choice(texts)(), {"Content-Type": "application/json"}
        elif dice < 0.85:
            path = rng.choice(
                ["/scans/../../etc/passwd", "/static/..%2f..%2fserver.py", "/scans/%00", "/scans/", "/%ff"]
            )
            yield rng.choice(["GET", "POST", "DELETE", "PUT", "BREW"]), path, b"x", {}
        elif dice < 0.95:
            yield "POST", "/scans?name=../../x", rng.randbytes(rng.randrange(1, 500)), {}
        else:
            headers = {
                rng.choice(["X-Deadline-Seconds", "Content-Type", "Range"]): rng.choice(["-1", "1e400", "é"])
            }
            headers = {key: value.encode("latin-1") for key, value in headers.items()}
            yield "POST", "/predict", rng.randbytes(10), headers


RAW = [
    b"\x00" * 50 + b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/1.1\r\nno header\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /scans HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\nPK",
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: what\r\n\r\nx",
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 60_000 + b"\r\n",
]


def raw_status(server, data):
    """What the server says to bytes that are hardly HTTP; 0 where it just closes the connection."""
    try:
        with server.connect(data) as connection:
            start = connection.recv(64)
    except OSError:  # it refused before all was sent
        return 0
    return int(start.split()[1]) if start.startswith(b"HTTP/") else 0


def files_below(folder):
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


# --- the tests -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def right_answer():
    model = load_weights(LunaModel(), SHIPPED_CLASSIFIER).eval()
    with torch.inference_mode():
        return model(torch.from_numpy(CROP.astype(np.float32))[None, None])[1][0, 1].item()


@pytest.mark.slow
def test_two_thousand_malformed_requests(server, right_answer):
    for path in ("/", "/metrics"):
        assert server.ask("GET", path)[0] == 200
    exact = server.predict()
    assert exact == pytest.approx(right_answer, abs=0.02)
    before_mb, most_mb = server.memory_mb(), 0.0
    here_before = files_below(server.folder.parent) | files_below(PROJECT / "p3ch15")
    statuses, wrong, stop = Counter(), [], threading.Event()

    def good():
        while not stop.is_set():
            try:
                answer = server.predict()
                if answer != pytest.approx(exact, abs=0.005):
                    wrong.append(answer)
            except (AssertionError, OSError, ValueError) as error:
                wrong.append(error)
            statuses["good"] += 1
            time.sleep(0.05)

    def bad(seed, count):
        requests = malformed(server.folder.parent, random.Random(seed))
        for _ in range(count):
            method, path, body, headers = next(requests)
            try:
                statuses[server.ask(method, path, body, headers)[0]] += 1
            except OSError:  # the connection was closed before all was sent
                statuses["closed"] += 1

    held = [
        server.connect(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 300000\r\n\r\n")
        for _ in range(40)
    ]
    threads = [threading.Thread(target=good)]
    archives = [
        server.ask("POST", "/scans", upload) for upload in uploads(server.folder.parent)[:4]
    ]  # what waits is looked at while the rest arrives
    count = (REQUESTS - 500) // CLIENTS + 1
    threads += [threading.Thread(target=bad, args=(seed, count)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for number in range(500):
        if number % 5 == 0:
            for connection in held:  # slow clients: a byte now and then
                connection.sendall(b"x")
        if number % 3 == 0:  # cut connections: half a request
            with server.connect(
                b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\nhalf"
            ):
                statuses["cut"] += 1
        else:
            statuses[raw_status(server, RAW[number % len(RAW)])] += 1
        most_mb = max(most_mb, server.memory_mb())
    for thread in threads[1:]:
        thread.join(120)
    stop.set()
    threads[0].join(60)
    for connection in held:
        connection.close()

    assert sum(statuses.values()) - statuses["good"] >= REQUESTS
    assert not [s for s in statuses if isinstance(s, int) and s >= 500 and s != 503], statuses
    assert not [s for s in statuses if isinstance(s, int) and 200 <= s < 300], statuses
    assert server.process.poll() is None, server.said()
    assert statuses["good"] > 3
    assert wrong == []
    assert {status for status, _ in archives} <= {202, 503}
    assert most_mb - before_mb < FLAT_MB
    new = files_below(server.folder.parent) | files_below(PROJECT / "p3ch15")
    outside = {path for path in new - here_before if server.folder not in path.parents}
    assert not outside
    assert "Traceback" not in server.said()


@pytest.mark.slow
def test_hostile_uploads_fail_with_a_sentence_and_leave_nothing(server):
    before_mb = server.memory_mb()
    most_mb, ends = before_mb, []
    for upload in uploads(server.folder.parent) + pickles(server.folder.parent)[2:]:
        until = time.monotonic() + 60
        while (answer := server.ask("POST", "/scans", upload))[0] == 503:  # earlier ones wait still
            assert time.monotonic() < until
            time.sleep(0.1)
        status, body = answer
        assert status == 202, body
        url = json.loads(body)["url"]
        while True:
            state = json.loads(server.ask("GET", url)[1])
            most_mb = max(most_mb, server.memory_mb())
            if state["state"] in ("done", "failed"):
                break
            assert time.monotonic() < until, state
            time.sleep(0.05)
        ends.append((state["state"], state["error"]))
    assert {state for state, _ in ends} == {"failed"}, ends
    assert all(error and len(error) < 400 for _, error in ends)
    assert not any("/etc" in error or str(PROJECT) in error for _, error in ends), ends
    assert most_mb - before_mb < FLAT_MB
    assert not list(server.folder.parent.glob("escaped*")) + list(server.folder.parent.glob("unpickled*"))
    assert not list(server.folder.rglob("upload")) + list(server.folder.rglob("opened"))
    assert 0 <= server.predict() <= 1


def test_a_long_body_is_refused_before_it_is_sent(server):
    for path in ("/predict", "/scans"):
        request = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
        with server.connect(request.encode(), timeout=10) as connection:
            assert b" 413 " in connection.recv(64)


@pytest.mark.slow
def test_more_than_fits_is_refused_with_retry_after(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    server = Served(folder, "--no-scans", "--max-queue", "2", "--max-batch", "1", "--numerics", "float32")
    try:
        answers = []

        def client():
            for _ in range(3):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                connection.request("POST", "/predict", npy(CROP))
                answer = connection.getresponse()
                answer.read()
                answers.append((answer.status, answer.getheader("Retry-After")))
                connection.close()

        team = [threading.Thread(target=client) for _ in range(16)]
        for thread in team:
            thread.start()
        for thread in team:
            thread.join(60)
        statuses = Counter(status for status, _ in answers)
        assert set(statuses) == {200, 503}
        assert all(int(after) >= 1 for status, after in answers if status == 503)
    finally:
        server.end()


@pytest.mark.slow
def test_sigterm_finishes_what_is_in_flight(tmp_path):
    from p2ch09.phantom import make_patient, write_scan

    write_scan(make_patient(3, (48, 144, 144), nodules=2), tmp_path / "scan")
    scan = zipped(*((path.name, path.read_bytes()) for path in (tmp_path / "scan").iterdir()))
    folder = tmp_path / "folder"
    folder.mkdir()
    server = Served(folder, "--numerics", "float32", "--max-batch", "2")
    try:
        number = json.loads(server.ask("POST", "/scans", scan)[1])["job"]
        answers = []
        ready = threading.Barrier(13)

        def client():
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request("POST", "/predict", npy(CROP))
            ready.wait(30)
            answers.append(connection.getresponse().status)
            connection.close()

        team = [threading.Thread(target=client) for _ in range(12)]
        for thread in team:
            thread.start()
        ready.wait(30)  # all have been sent; most of them are being computed or wait
        slow = server.connect(
            b"POST /predict HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: %d\r\n\r\n" % len(npy(CROP))
        )
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert raw_status(server, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n") == 0, "it still takes new work"
        slow.sendall(npy(CROP))  # was under way when the signal came
        assert b" 200 " in slow.recv(64)
        slow.close()
        for thread in team:
            thread.join(60)
        assert answers == [200] * 12
        assert server.process.wait(60) == 0, server.said()
        state = json.loads((folder / number / "job.json").read_text())
        assert state["state"] == "done"
        assert (folder / number / "report.html").exists()
    finally:
        server.end()


@pytest.mark.slow
def test_what_the_command_refuses():
    for options in (["--port", "99999999"], ["--max-batch", "0"], ["--weights", "nowhere.state"]):
        said = subprocess.run(
            [sys.executable, "-m", "p3ch15.server", "--no-scans", *options],
            cwd=PROJECT, capture_output=True, text=True, timeout=30, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert said.returncode == 2, said.stderr
        assert said.stderr.startswith("error: ")
        assert len(said.stderr.splitlines()) == 1


@pytest.mark.slow
def test_32_clients_leave_the_server_as_it_was():
    """Crops, scans and nonsense, for twenty seconds; ten minutes are a command: python -m p3ch15.soak."""
    from p3ch15 import soak

    told = soak.soak(minutes=1 / 3, clients=32)
    assert soak.complaints(told) == []
    assert {"200", "202", "400", "404"} <= set(told["statuses"])


def test_a_soak_complains_of_what_must_not_be():
    from p3ch15 import soak

    well = {"growth_mb": 20.0, "statuses": {"200": 9, "503": 2}}
    assert soak.complaints(well) == []
    assert "grew by 201" in soak.complaints(well | {"growth_mb": 201.0})[0]
    assert "500" in soak.complaints(well | {"statuses": {"200": 1, "500": 1}})[0]
    assert soak.complaints(well | {"statuses": {"503": 1}})
