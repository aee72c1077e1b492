"""Does the server grow? Many clients for minutes: crops, scans and nonsense, while its memory is watched (chapter 15).

    python -m p3ch15.soak [--minutes 10] [--clients 32] [--json F]

Most clients send crops, and now and then what no server should take; two send scans, look at slices and the report,
and delete them. It ends with 2 where the server grew by more than 200 MB after its first quarter, or answered with a
5xx other than 503, which means "later".
"""

import argparse
import http.client
import json
import random
import threading
import time
from collections import Counter

import psutil

from p3ch15.benchmark import NPY, bodies, running
from p3ch15.serve.compare import memory_of
from util.errors import UserError, main_guard
from util.files import atomic_path

MOST_GROWTH = 200e6
SCANNERS, NONSENSE_SHARE = 2, 0.2
NONSENSE = (
    ("POST", "/predict", b"no crop at all", {"Content-Type": NPY}),
    ("POST", "/predict", b"[[1, 2], [3, NaN]]", {"Content-Type": "application/json"}),
    ("POST", "/predict?spacing=0,0,0", b"", {"Content-Type": NPY}),
    ("POST", "/scans?name=../../etc", b"PK\x03\x04 damaged", {}),
    ("GET", "/scans/unknown/slices/1.png", b"", {}),
    ("GET", "/../../etc/passwd", b"", {}),
    ("DELETE", "/scans/unknown", b"", {"Origin": "http://elsewhere.example"}),
    ("PUT", "/", b"x" * 1000, {}),
)


class Visitor(threading.Thread):
    """A client that goes on until `stop`; `statuses` counts what it was answered."""

    def __init__(self, number, port, stop):
        super().__init__(daemon=True)
        self.number, self.port, self.stop = number, port, stop
        self.random, self.statuses, self.crops = random.Random(number), Counter(), bodies(8)

    def ask(self, method, path, body=b"", headers=None):
        """One request; (status, body). A connection that the server closes counts as "closed"."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            answer = response.status, response.read()
        except (OSError, http.client.HTTPException):
            answer = "closed", b""
        finally:
            connection.close()
        self.statuses[answer[0]] += 1
        return answer

    def run(self):
        visit = self.scan if self.number < SCANNERS else self.predict
        while not self.stop.is_set():
            visit()

    def predict(self):
        if self.random.random() < NONSENSE_SHARE:
            self.ask(*self.random.choice(NONSENSE))
        else:
            self.ask("POST", "/predict", self.random.choice(self.crops), {"Content-Type": NPY})

    def scan(self):
        """Send the example, look at what comes of it, delete it."""
        status, scan = self.ask("GET", "/example.zip")
        status, said = self.ask("POST", "/scans?name=example.zip", scan)
        if status != 202:
            time.sleep(1)
            return
        url = json.loads(said)["url"]
        while not self.stop.is_set():
            _, said = self.ask("GET", url)
            state = json.loads(said or b"{}").get("state")
            if state == "done":
                for index in self.random.choices(range(64), k=10):
                    self.ask("GET", f"{url}/planes/axial/{index}.raw")
                self.ask("GET", f"{url}/report.html")
            if state in ("done", "failed", None):
                break
            time.sleep(0.5)
        self.ask("DELETE", url)


def soak(minutes, clients) -> dict:
    """Visit a server of our own; what it answered, how often, and its memory, a number per second (MB)."""
    stop = threading.Event()
    with running() as (port, process):
        visitors = [Visitor(number, port, stop) for number in range(clients)]
        for visitor in visitors:
            visitor.start()
        server, until, memory = psutil.Process(process.pid), time.monotonic() + 60 * minutes, []
        while time.monotonic() < until:
            time.sleep(1)
            if process.poll() is not None:
                raise UserError(
                    f"the server ended after {len(memory)} s; python -m p3ch15.server may say why"
                )
            memory.append(round(memory_of(server) / 1e6, 1))
        stop.set()
        for visitor in visitors:
            visitor.join(120)
    statuses = sum((visitor.statuses for visitor in visitors), Counter())
    # Scans come and go, so one second says little: the lowest of each quarter is what stays.
    quarter = max(len(memory) // 4, 1)
    settled, ended = min(memory[quarter : 2 * quarter] or memory), min(memory[-quarter:])
    return {
        "minutes": minutes,
        "clients": clients,
        "statuses": {str(status): count for status, count in sorted(statuses.items(), key=str)},
        "memory_mb": memory,
        "highest_mb": max(memory),
        "growth_mb": round(ended - settled, 1),
    }


def complaints(told) -> list[str]:
    """What of a soak must not be: sentences, none where all is well."""
    said = []
    if told["growth_mb"] > MOST_GROWTH / 1e6:
        said.append(f"the server grew by {told['growth_mb']:.0f} MB")
    wrong = {s: n for s, n in told["statuses"].items() if s.startswith("5") and s != "503"}
    if wrong:
        said.append(f"the server answered {wrong}")
    if not told["statuses"].get("200"):
        said.append("the server answered nothing")
    return said


def main():
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--json", metavar="F", help="write all of it to this file")
    options = parser.parse_args()
    if not 0 < options.minutes <= 1440 or not SCANNERS < options.clients <= 1000:
        raise UserError(f"give --minutes above 0 and --clients from {SCANNERS + 1} to 1000")
    told = soak(options.minutes, options.clients)
    print(f"answers: {told['statuses']}")
    print(f"memory: {told['highest_mb']:.0f} MB at most, {told['growth_mb']:+.0f} MB since the first quarter")
    if options.json:
        with atomic_path(options.json) as temporary:
            temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if wrong := complaints(told):
        raise UserError("; ".join(wrong))


if __name__ == "__main__":
    main_guard(main)
