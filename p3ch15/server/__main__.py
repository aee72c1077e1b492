"""Our networks in service (chapter 15, "Our model behind a Flask server").

    python -m p3ch15.server --port 8000

Open http://127.0.0.1:8000 and drop a scan on the page. Programs use:

    GET  /health                  {"status": "ok"}; 503 while the server stops
    GET  /metrics                 counters and times, in Prometheus's text format
    POST /predict                 one candidate crop, .npy or JSON -> {"probability": p, "system": …} of
                                  chapter 11's classifier, "is_nodule" null and why; with ?spacing=1.25,0.7,0.7
                                  (mm; at least 0.87 and 0.65) of chapter 14's pipeline, and "is_nodule" by
                                  its "threshold"
    POST /scans                   a CT, .nii.gz or .zip (?name=…) -> 202 and {"job": number, "url": …}
    GET  /scans/N                 how far it is, and its findings in the end
    GET  /scans/N/findings.json   as `python -m p2ch14.nodule_analysis --json` writes them
    GET  /scans/N/report.html     the report with pictures
    GET  /scans/N/slices/I.png    one slice; ?window=lung or soft
    DELETE /scans/N               forgets the scan
    GET  /example.zip             a small generated scan, to try it with

Errors are {"error": sentence}. 503 comes with Retry-After. For learning; this is no medical device.
"""

import argparse
import logging
import secrets
import signal
import tempfile
from pathlib import Path

from p3ch15.classifier import NUMERICS
from p3ch15.server.access import Access, is_loopback
from p3ch15.server.app import create_app
from p3ch15.server.front import Server
from p3ch15.server.reader import MAX_VOXELS
from util.errors import UserError, main_guard
from util.paths import output_root


def _read_options(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="0.0.0.0 lets other machines in; that takes a --token"
    )
    parser.add_argument("--port", type=int, default=8000, help="0 takes any that is free")
    parser.add_argument(
        "--token", nargs="?", const="", help="let only those in who show it; without a value one is made up"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that clients use for this machine",
    )
    parser.add_argument("--keep-hours", type=float, default=24.0, help="how long scans and results stay")
    parser.add_argument("--weights", help="of LunaModel; also --segmentation, --malignancy")
    parser.add_argument("--segmentation", help=argparse.SUPPRESS)
    parser.add_argument("--malignancy", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="for uploaded scans; by default output/server")
    parser.add_argument("--device", help="such as cpu or cuda:1; the course chooses by default")
    parser.add_argument("--numerics", choices=NUMERICS, default="fast")
    parser.add_argument("--no-batching", action="store_true", help="each crop alone, in its request's thread")
    parser.add_argument("--no-scans", action="store_true", help="crops only")
    parser.add_argument("--max-batch", type=int, help="by default 8 on a CPU, 64 on a GPU")
    parser.add_argument("--max-wait-ms", type=float, default=5.0, help="for company, while others arrive")
    parser.add_argument("--max-queue", type=int, default=64, help="crops that may wait")
    parser.add_argument("--max-voxels", type=int, default=MAX_VOXELS, help="of a scan")
    parser.add_argument("--threads", type=int, help="for requests; by default enough to fill the queue")
    parser.add_argument("--drain-seconds", type=float, default=30.0, help="to finish, after SIGTERM")
    options = parser.parse_args(arguments)
    if any(
        count is not None and count < 1 for count in (options.max_batch, options.max_queue, options.threads)
    ):
        raise UserError("--max-batch, --max-queue and --threads must be at least 1")
    if not 0 <= options.port <= 65535:
        raise UserError(f"--port {options.port}: ports go from 1 to 65535; 0 takes any that is free")
    if not 0 < options.keep_hours <= 24 * 365:
        raise UserError("--keep-hours must be above 0, at most a year")
    return options


def _token_for(options):
    """What clients must show, or None. Raises `UserError` where other machines could come in without one."""
    token = options.token
    if token is None and not is_loopback(options.host):
        raise UserError(f"--host {options.host} lets other machines in: add --token, or leave --host out")
    if token == "":
        return secrets.token_urlsafe(24)
    if token is not None and len(token) < 16:
        raise UserError("a --token has at least 16 characters; without a value one is made up")
    return token


def main(arguments=None):
    options = _read_options(arguments)
    token = _token_for(options)
    folder = options.folder or output_root() / "server"
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(folder.resolve())  # long bodies go to unnamed files there
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    app = create_app(
        options.weights, segmentation=options.segmentation, malignancy=options.malignancy, folder=folder,
        device=options.device, numerics=options.numerics, batching=not options.no_batching,
        max_batch=options.max_batch, max_wait_s=options.max_wait_ms / 1000, max_queue=options.max_queue,
        scans=not options.no_scans, max_voxels=options.max_voxels, keep_hours=options.keep_hours,
        access=Access(options.allow_host, token),
    )  # fmt: skip
    batcher = app.extensions["batcher"]
    # A thread waits with every crop that is queued or computed; the others say "full", and answer the rest.
    threads = options.threads or (4 if batcher is None else batcher.capacity + 8)
    server = Server(app, options.host, options.port, threads, options.drain_seconds)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.stop)
    print(f"serving on http://{options.host}:{server.port}", flush=True)
    if options.token == "":
        print(f"token {token}", flush=True)  # a browser asks for it as the password; the name does not matter
    server.run()
    print("stopped", flush=True)


if __name__ == "__main__":
    main_guard(main)
