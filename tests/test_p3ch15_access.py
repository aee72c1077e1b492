"""Chapter 15: whom the server lets in, what it lets browsers keep, and how much all clients may send at once."""

import base64
import http.client
import io
import json
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from p3ch15.server.access import Access, is_loopback
from p3ch15.server.app import close_app, create_app
from p3ch15.server.batching import Overloaded
from p3ch15.server.front import Room, Server
from p3ch15.server.jobs import ScanJobs
from util.paths import PROJECT

TOKEN = "a token of many signs"
CROP = np.full((32, 48, 48), -850, np.int16)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


# --- the rules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "is_served"),
    [
        ("127.0.0.1", True), ("127.0.0.1:8000", True), ("localhost:8000", True), ("LOCALHOST", True),
        ("[::1]:8000", True), ("192.168.0.7", True), ("scans.hospital:8000", True),
        ("evil.example", False), ("evil.example:8000", False), ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False), ("", False), ("127.0.0.1:x", False), ("127.0.0.1,evil", False),
        ("user@evil.example", False), ("[::1", False), ("127.0.0.1 evil", False),
    ],
)  # fmt: skip
def test_a_name_that_a_stranger_could_own_is_not_served(host, is_served):
    refusal = Access(hosts=["scans.hospital"]).refusal("GET", {"Host": host})
    assert (refusal is None) is is_served
    assert is_served or refusal[0] == 400


@pytest.mark.parametrize(
    ("headers", "may_change"),
    [
        ({}, True),  # curl and scripts say nothing
        ({"Origin": "http://127.0.0.1:8000"}, True),
        ({"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "https://127.0.0.1:8000"}, True),  # behind a proxy that speaks TLS
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "http://127.0.0.1:9000"}, False),  # another program's page on this machine
        ({"Origin": "http://127.0.0.1:9000", "Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH", "BREW"])
def test_only_the_server_s_own_page_may_change_anything(method, headers, may_change):
    headers = {"Host": "127.0.0.1:8000"} | headers
    refusal = Access().refusal(method, headers)
    assert (refusal is None) is may_change
    assert may_change or refusal[0] == 403
    assert Access().refusal("GET", headers) is None


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("shown", "may_in"),
    [
        (f"Bearer {TOKEN}", True), (f"bearer {TOKEN}", True), (basic(f"anybody:{TOKEN}"), True),
        (None, False), ("", False), ("Bearer", False), ("Bearer ", False), (f"Bearer {TOKEN} ", False),
        (f"Bearer {TOKEN[:-1]}", False), (TOKEN, False), (basic(TOKEN), False), (basic("a:b"), False),
        ("Basic é", False), ("Basic !!!!", False), (f"Digest {TOKEN}", False), ("Bearer é", False),
    ],
)  # fmt: skip
def test_the_token_guards(shown, may_in):
    headers = {"Host": "localhost"} | ({} if shown is None else {"Authorization": shown})
    for method in ("GET", "POST", "DELETE"):
        refusal = Access(token=TOKEN).refusal(method, headers)
        assert (refusal is None) is may_in
        assert may_in or refusal[0] == 401


def test_which_addresses_let_in_this_machine_only():
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.0.1", "example", ""))


# --- the application, under any web server ----------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    app = create_app(folder=tmp_path_factory.mktemp("scans"), access=Access(token=TOKEN))
    yield app
    close_app(app, 20)


EVERY_PATH = [
    ("GET", "/"), ("GET", "/health"), ("GET", "/metrics"), ("GET", "/example.zip"), ("GET", "/static/app.js"),
    ("POST", "/predict"), ("POST", "/scans"), ("GET", "/scans/1"), ("GET", "/scans/1/findings.json"),
    ("GET", "/scans/1/report.html"), ("GET", "/scans/1/slices/1.png"), ("DELETE", "/scans/1"), ("GET", "/no"),
]  # fmt: skip


def test_every_path_is_guarded(guarded):
    client = guarded.test_client()
    known = {rule.rule.split("<")[0].rstrip("/") for rule in guarded.url_map.iter_rules()}
    assert known <= {path.removesuffix("/1").removesuffix("/app.js").rstrip("/") for _, path in EVERY_PATH}
    for method, path in EVERY_PATH:
        answer = client.open(path, method=method)
        assert answer.status_code == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
        assert client.open(path, method=method, headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/health", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_browsers_keep_nothing_frame_nothing_and_run_nothing_foreign(guarded):
    client = guarded.test_client()
    shown = {"Authorization": f"Bearer {TOKEN}"}
    for method, path in EVERY_PATH:
        for headers in ({}, shown):
            got = client.open(path, method=method, headers=headers).headers
            policy = dict(part.strip().split(" ", 1) for part in got["Content-Security-Policy"].split(";"))
            assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
            assert policy.get("script-src", "'none'") in ("'self'", "'none'")
            assert "unsafe" not in policy.get("script-src", "")
            assert got["X-Content-Type-Options"] == "nosniff"
            assert got["X-Frame-Options"] == "DENY"
            assert got["Referrer-Policy"] == "no-referrer"
            assert got["Cross-Origin-Resource-Policy"] == "same-origin"
            assert got["Cache-Control"] == ("no-cache" if "static" in path and headers else "no-store"), path
            assert "Server" not in got
            assert "Set-Cookie" not in got


def test_the_page_itself_needs_no_exception_to_the_policy(guarded):
    page = guarded.test_client().get("/", headers={"Authorization": f"Bearer {TOKEN}"}).text
    assert "style=" not in page
    assert "<style" not in page
    assert "onclick" not in page
    assert page.count("<script") == page.count("<script src=") == 2


# --- the web server in front --------------------------------------------------------------------------------


@pytest.fixture
def front():
    app = create_app(scans=False, access=Access(token=TOKEN))
    server = Server(app, port=0, drain_s=5, max_bodies=3_000_000)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server
    server.stop()
    thread.join(20)


def ask(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {TOKEN}"} | headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def begin(server, length, authorization=f"Bearer {TOKEN}", path="/predict"):
    """A connection whose request's head is sent, and none of its body."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nAuthorization: {authorization}"
    connection.sendall(f"{head}\r\n\r\n".encode())
    return connection


def test_whoever_may_not_in_may_not_send_a_body_either(front):
    with begin(front, 10**6, authorization="Bearer wrong") as connection:
        answer = connection.recv(2**16)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"frame-ancestors 'none'" in answer
    assert ask(front, "GET", "/health", Origin="http://evil.example")[0] == 200  # reading changes nothing
    assert ask(front, "POST", "/predict", npy(CROP), Origin="http://evil.example")[0] == 403


def test_a_body_may_come_in_chunks(front):
    body = npy(CROP)
    whole = ask(front, "POST", "/predict", body)
    assert whole[0] == 200
    assert ask(front, "POST", "/predict", iter([body[:1000], body[1000:]])) == whole
    status, said = ask(front, "POST", "/predict", iter([bytes(2**20)] * 3))
    assert status == 413
    assert json.loads(said)["error"]


def test_all_bodies_together_have_a_bound(front):
    held = [begin(front, 1_200_000) for _ in range(3)]
    for connection in held[:2]:
        connection.sendall(bytes(1_199_999))
    until(lambda: front.room.held == 2 * 1_199_999)
    held[2].sendall(bytes(1_199_999))  # more than all may hold
    answer = held[2].recv(2**16)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After" in answer
    for connection in held:
        connection.close()
    until(lambda: front.room.held == 0)  # who hangs up gives back what was held
    assert ask(front, "POST", "/predict", npy(CROP))[0] == 200


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


def test_room_is_taken_and_given_back():
    room = Room(10)
    assert room.take(6)
    assert not room.take(5)
    assert room.take(4)
    room.give(6)
    assert room.held == 4


def test_connections_have_a_bound(front, monkeypatch):
    monkeypatch.setattr("p3ch15.server.front.MAX_CONNECTIONS", 3)
    idle = [socket.create_connection(("127.0.0.1", front.port), timeout=20) for _ in range(3)]
    until(lambda: front.connections == 3)
    with socket.create_connection(("127.0.0.1", front.port), timeout=20) as one_more:
        assert one_more.recv(10) == b""
    for connection in idle:
        connection.close()
    until(lambda: front.connections == 0)
    assert ask(front, "GET", "/health")[0] == 200


def test_a_client_that_hangs_up_disturbs_nobody(front, caplog):
    for _ in range(5):
        connection = begin(front, len(npy(CROP)))
        connection.sendall(npy(CROP))
        connection.close()
    assert ask(front, "POST", "/predict", npy(CROP))[0] == 200
    until(lambda: not front.exchanges)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# --- the command --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "add --token"),
        (["--host", "::"], "add --token"),
        (["--token", "short"], "at least 16"),
        (["--keep-hours", "0"], "--keep-hours"),
    ],
)
def test_what_the_command_refuses(options, words):
    said = subprocess.run(
        [sys.executable, "-m", "p3ch15.server", "--port", "0", "--no-scans", *options],
        cwd=PROJECT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert said.returncode == 2
    assert said.stderr.startswith("error: ")
    assert words in said.stderr


# --- scans that stay, for a while ---------------------------------------------------------------------------


class Idle:
    """An analysis that is never asked."""

    threshold = 0.5


NO_SCAN = b"PK\x03\x04 but no archive"


def ended(jobs):
    job = jobs.submit(io.BytesIO(NO_SCAN))
    until(lambda: job.is_finished, 30)
    return job


def test_scans_and_results_expire(tmp_path):
    jobs = ScanJobs(Idle(), tmp_path, keep_s=0.6)
    job = ended(jobs)
    assert jobs.get(job.number) is job
    until(lambda: jobs.get(job.number) is None)
    until(lambda: not list(tmp_path.iterdir()))  # gone from the disk, too, with no request to remind of it
    assert jobs.close(5)


@pytest.mark.slow
def test_nobody_s_fresh_results_are_pushed_out(tmp_path):
    jobs = ScanJobs(Idle(), tmp_path, keep=2)
    for _ in range(3):
        ended(jobs)
    until(lambda: len(jobs._jobs) == 2)  # what failed makes room at once
    first, second = jobs._jobs.values()
    first.state = second.state = "done"
    with pytest.raises(Overloaded):
        jobs.submit(io.BytesIO(NO_SCAN))
    assert jobs.get(first.number) is first
    first.ended -= 1000.0  # a quarter of an hour later it may make room
    third = ended(jobs)
    until(lambda: jobs.get(first.number) is None)
    assert jobs.get(second.number) is second
    assert jobs.get(third.number) is third
    assert jobs.close(5)


@pytest.mark.slow
def test_jobs_come_back_in_their_order_and_half_sent_uploads_do_not(tmp_path):
    import os

    from p3ch15.server.jobs import Job

    for created in (30.0, 10.0, 20.0):
        folder = tmp_path / f"{int(created):032x}"
        folder.mkdir()
        job = Job(folder.name, name=f"at{created:.0f}", created=created)
        (folder / "job.json").write_text(json.dumps(vars(job)))
        (folder / "upload").write_bytes(NO_SCAN)
    half_sent = tmp_path / f".{'a' * 32}.0123abcd.999999999.0123abcd.part"
    half_sent.mkdir()
    still_sent = tmp_path / f".{'b' * 32}.0123abcd.{os.getpid()}.0123abcd.part"
    still_sent.mkdir()
    order = []

    class Noting(ScanJobs):
        def _analyse(self, job):
            order.append(job.name)
            super()._analyse(job)

    jobs = Noting(Idle(), tmp_path)
    until(lambda: len(order) == 3, 30)
    assert order == ["at10", "at20", "at30"]
    assert not half_sent.exists()
    assert still_sent.exists()
    assert jobs.close(20)
