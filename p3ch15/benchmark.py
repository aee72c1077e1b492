"""Four servers side by side: what request batching brings, and what the numerics bring (chapter 15).

    python -m p3ch15.benchmark [--clients 1 32] [--seconds 6] [--json F]

plain     one request, one forward in float32, as a first server does it
batching  the same forward, for the crops that came together
fast      one request, one forward: channels last in memory, bfloat16 where the hardware has it
both      batches of those; what `python -m p3ch15.server` does

Then: what a lone sample pays for the batcher, after another lone one and after a burst.

Each server runs alone, as a process of its own; the clients are threads of this one, each of which sends the next
crop when it has its answer. On a machine of few cores the clients take their share of them.
"""

import argparse
import http.client
import io
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import psutil

from p3ch15.server.batching import Batcher
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.paths import PROJECT

SERVERS = {
    "plain": ("--numerics", "float32", "--no-batching"),
    "batching": ("--numerics", "float32"),
    "fast": ("--numerics", "fast", "--no-batching"),
    "both": ("--numerics", "fast"),
}
CROPS = 32
NPY = "application/octet-stream"
# What must hold at many clients and at one.
FASTER, COSTS = 5.0, 1.15
LONE_WAITS_MS = 1.0
START_SECONDS = 60


def bodies(count=CROPS) -> list[bytes]:
    """Generated crops as the bytes of `.npy` files, int16 HU: how they look does not change the time."""
    rng = np.random.default_rng(15)
    made = []
    for _ in range(count):
        buffer = io.BytesIO()
        np.save(buffer, rng.integers(-1000, 400, (32, 48, 48), dtype=np.int16))
        made.append(buffer.getvalue())
    return made


@contextmanager
def running(*options, threads=None):
    """Start `python -m p3ch15.server` on a free port; yields (port, process) and ends it with SIGTERM.

    threads: on how many it computes; PyTorch chooses by default.
    """
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-m", "p3ch15.server", "--port", "0", *options]
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        timer = threading.Timer(START_SECONDS, process.kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        if not line.startswith("serving on"):
            raise UserError("the server did not start; try 'python -m p3ch15.server' to see why")
        yield int(line.rsplit(":", 1)[1]), process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


class Client(threading.Thread):
    """Sends crops one after the other until `stop` is set; notes (when answered, seconds, status)."""

    def __init__(self, port, crops, stop, headers):
        super().__init__(daemon=True)
        self.port, self.crops, self.stop, self.headers, self.answers = port, crops, stop, headers, []

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = 0
        while not self.stop.is_set():
            started = time.perf_counter()
            connection.request("POST", "/predict", self.crops[sent % len(self.crops)], self.headers)
            response = connection.getresponse()
            response.read()
            ended = time.perf_counter()
            self.answers.append((ended, ended - started, response.status))
            sent += 1
        connection.close()


def measure(port, process, clients, seconds, warm_up=1.0, crops=None, headers=None) -> dict:
    """Requests per second and percentiles of their times with so many clients at once.

    "low", "high": the fewest and the most requests per second in a third of that time. "cpu_ms": the server's
    CPU time per request, which a busy machine disturbs less. crops, headers: what is sent, if not `bodies()`.
    """
    crops, headers, stop = crops or bodies(), headers or {"Content-Type": NPY}, threading.Event()
    # Each client begins with another crop.
    team = [Client(port, crops[n % CROPS :] + crops[: n % CROPS], stop, headers) for n in range(clients)]
    for client in team:
        client.start()
    time.sleep(warm_up)
    server = psutil.Process(process.pid)
    began, cpu_began = time.perf_counter(), sum(server.cpu_times()[:2])
    time.sleep(seconds)
    ended, cpu_ended = time.perf_counter(), sum(server.cpu_times()[:2])
    stop.set()
    for client in team:
        client.join(60)
    answers = [a for client in team for a in client.answers if began <= a[0] <= ended]
    if not answers:
        raise UserError(f"no request was answered within {seconds} s; give more --seconds")
    thirds = np.histogram([a[0] for a in answers], 3, (began, ended))[0] / ((ended - began) / 3)
    times_ms = 1000 * np.array([a[1] for a in answers])
    p50, p95, p99 = (round(float(p), 2) for p in np.percentile(times_ms, (50, 95, 99)))
    return {
        "clients": clients,
        "per_second": round(len(answers) / (ended - began), 2),
        "low": round(float(thirds.min()), 2),
        "high": round(float(thirds.max()), 2),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "cpu_ms": round(1000 * (cpu_ended - cpu_began) / len(answers), 2),
        "refused": sum(a[2] != 200 for a in answers),
    }


def compare(clients=(1, 32), seconds=6.0, servers=SERVERS, show=print) -> dict:
    """{server: [what `measure` answers for each number of clients]}."""
    measured = {}
    for name in servers:
        with running(*SERVERS[name], "--no-scans") as (port, process):
            measured[name] = []
            for count in clients:
                row = measure(port, process, count, seconds)
                measured[name].append(row)
                show(_line(name, row))
    return measured


def _line(name, row):
    refused = f"  {row['refused']} refused" if row["refused"] else ""
    return (
        f"{name:9} {row['clients']:3d} clients  {row['per_second']:7.1f} requests/s "
        f"({row['low']:.1f}-{row['high']:.1f})   "
        f"p50 {row['p50_ms']:7.1f}  p95 {row['p95_ms']:7.1f}  p99 {row['p99_ms']:7.1f} ms   "
        f"CPU {row['cpu_ms']:6.1f} ms a request{refused}"
    )


def lone_waits(repeats=60) -> dict:
    """{"lone", "burst"}: milliseconds that the batcher adds to a lone sample's answer, median.

    After another lone sample, and after a burst of 32 at once, which the batcher expects to go on.
    """
    waits = {"lone": [], "burst": []}
    batcher = Batcher(lambda samples: samples, max_wait_s=0.5)
    with ThreadPoolExecutor(32) as pool:
        for _ in range(repeats):
            for after, count in (("burst", 32), ("lone", 1)):
                list(pool.map(batcher, range(count)))
                time.sleep(0.005)  # the burst is over
                started = time.perf_counter()
                batcher(0)
                waits[after].append(1000 * (time.perf_counter() - started))
    batcher.close()
    return {after: round(float(np.median(times)), 3) for after, times in waits.items()}


def judge(measured, waits) -> list[tuple[str, float, bool]]:
    """What must hold: (in words, the figure, whether it does)."""
    few = {name: rows[0] for name, rows in measured.items()}
    many = {name: rows[-1] for name, rows in measured.items()}
    clients = many["plain"]["clients"]
    faster = many["both"]["per_second"] / many["plain"]["per_second"]
    later = many["both"]["p95_ms"] / many["plain"]["p95_ms"]
    cost = few["batching"]["p50_ms"] / few["plain"]["p50_ms"]
    cost_fast = few["both"]["p50_ms"] / few["fast"]["p50_ms"]
    lone = max(waits.values())
    return [
        (
            f"lone sample, also after a burst: ms more (at most {LONE_WAITS_MS:g})",
            lone,
            lone <= LONE_WAITS_MS,
        ),
        (f"{clients} clients: requests/s, both over plain (at least {FASTER:g})", faster, faster >= FASTER),
        (f"{clients} clients: p95, both over plain (below 1)", later, later < 1),
        (f"1 client: p50, batching over plain (at most {COSTS})", cost, cost <= COSTS),
        (f"1 client: p50, both over fast (at most {COSTS})", cost_fast, cost_fast <= COSTS),
    ]


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, nargs="+", default=(1, 32), help="from few to many")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--json", metavar="F", help="write the figures")
    options = parser.parse_args(arguments)
    clients = sorted(options.clients)
    if clients[0] < 1 or clients[-1] > 256 or options.seconds <= 0:
        raise UserError("--clients must be from 1 to 256, and --seconds above 0")
    measured = compare(clients, options.seconds)
    waits = lone_waits()
    print(f"a lone sample waits {waits['lone']:.2f} ms, after a burst {waits['burst']:.2f} ms")
    judged = judge(measured, waits) if clients[0] == 1 else []
    for text, figure, holds in judged:
        print(f"{'holds' if holds else 'FAILS':6}{text}: {figure:.2f}")
    if options.json:
        with atomic_path(options.json) as temporary:
            figures = {text: round(figure, 3) for text, figure, _ in judged}
            temporary.write_text(
                json.dumps({"servers": measured, "lone_ms": waits, "figures": figures}, indent=1) + "\n"
            )
    return 0 if all(holds for *_, holds in judged) else 1


if __name__ == "__main__":
    main_guard(main)
