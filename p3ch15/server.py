"""Our networks in service (chapter 15, "Our model behind a Flask server").

    python -m p3ch15.server --port 8000

Open http://127.0.0.1:8000 and drop a scan on the page. Programs use:

    GET  /health                  {"status": "ok"}; 503 while the server stops
    GET  /metrics                 counters and times, in Prometheus's text format
    POST /predict                 one candidate crop, .npy or JSON -> {"probability": p}
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
import contextlib
import logging
import select
import signal
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import prometheus_client as prometheus
import torch
import waitress
import waitress.server
from flask import Flask, Response, abort, g, jsonify, render_template, request, send_file, url_for
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.utilities import BadRequest, RequestEntityTooLarge, ServerNotImplemented
from werkzeug.exceptions import HTTPException

from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p2ch14.nodule_analysis import SHIPPED_CLASSIFIER, threshold_of
from p3ch15.batching import Batcher, Overloaded
from p3ch15.server_input import read_crop
from p3ch15.server_jobs import WINDOWS, ScanJobs, WatchedAnalysis, example_scan
from p3ch15.server_reader import MAX_VOXELS
from util.errors import UserError, main_guard
from util.paths import output_root
from util.runtime import get_device, has_fast_bfloat16

MAX_CROP_BYTES = 2**20  # a crop of float64 has 590 kB
MAX_JSON_BYTES = 2**21
MAX_SCAN_BYTES = 2**29
DEADLINE_S = 10.0  # how long a prediction may take if the client does not say
NUMERICS = ("fast", "float32")


class CropClassifier:
    """`LunaModel` for lists of crops: [(32, 48, 48) float32 HU, …] -> [probability, …].

    numerics: "float32", or "fast": channels last in memory, bfloat16 where the hardware computes it, and
    otherwise no crop alone. `workers`: how many threads may call it at the same time with profit.
    """

    def __init__(self, weights=SHIPPED_CLASSIFIER, numerics="fast", device=None):
        self.device = get_device(device)
        is_fast = numerics == "fast"
        self.memory_format = torch.channels_last_3d if is_fast else torch.contiguous_format
        self.use_bfloat16 = is_fast and has_fast_bfloat16(self.device)
        self.is_cpu = self.device.type == "cpu"
        # PyTorch sends a single float32 volume as small as ours to a plain loop on CPUs, two of them to
        # oneDNN: computing it twice takes a quarter of the time (`p3ch15.benchmark`, fast against plain).
        self.needs_company = is_fast and self.is_cpu and not self.use_bfloat16
        model = load_weights(LunaModel(), weights).to(self.device)
        self.model = model.to(memory_format=self.memory_format).eval()
        self.cores = torch.get_num_threads()
        self.workers = self.cores if self.is_cpu else 1

    @torch.inference_mode()
    def __call__(self, crops):
        if self.is_cpu:
            # For the calling thread only. A lone crop may use all cores; where crops come together every
            # core computes a batch of its own, which spares the threads waiting for one another.
            torch.set_num_threads(self.cores if len(crops) == 1 else 1)
        count = len(crops)
        if count == 1 and self.needs_company:
            crops = crops * 2
        batch_t = torch.stack([torch.from_numpy(crop) for crop in crops])[:, None]  # (N, 1, 32, 48, 48)
        input_g = batch_t.to(self.device).contiguous(memory_format=self.memory_format)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.use_bfloat16):
            return self.model(input_g)[1][:count, 1].float().tolist()


def usual_batch(classify) -> int:
    """A CPU wants what its cache holds, a GPU enough to keep it busy."""
    return 8 if classify.is_cpu else 64


class Metrics:
    """What the server counts, for Prometheus."""

    def __init__(self):
        self.registry = registry = prometheus.CollectorRegistry()
        self.requests = prometheus.Counter(
            "http_requests", "Answered requests", ("endpoint", "status"), registry=registry
        )
        self.seconds = prometheus.Histogram(
            "http_request_seconds", "From a request's arrival in a thread to its answer", ("endpoint",),
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10), registry=registry,
        )  # fmt: skip
        self.batch_size = prometheus.Histogram(
            "batch_size", "Crops computed together", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
        )
        self.queue = prometheus.Gauge("batch_queue_length", "Crops that wait", registry=registry)
        self.scans = prometheus.Counter("scans", "Analysed scans", ("state",), registry=registry)


def create_app(
    weights=None, *, segmentation=None, malignancy=None, folder=None, device=None, numerics="fast",
    batching=True, max_batch=None, max_wait_s=0.005, max_queue=64, scans=True, max_voxels=MAX_VOXELS,
) -> Flask:  # fmt: skip
    """The application; `close_app` ends it.

    weights, segmentation, malignancy: weights files, the shipped ones by default. folder: where uploaded
    scans lie, a temporary one by default. batching: compute crops together (see `p3ch15.batching.Batcher`
    for max_batch, max_wait_s, max_queue), else each in its request's thread. scans: take whole scans too.
    """
    weights = weights or SHIPPED_CLASSIFIER
    classify = CropClassifier(weights, numerics, device)
    classify([torch.zeros(32, 48, 48).numpy()])  # the first call is slow: nobody should wait for it
    metrics = Metrics()
    app = Flask(__name__)
    app.config.update(MAX_CONTENT_LENGTH=MAX_SCAN_BYTES)
    app.extensions["stopping"] = False
    app.extensions["resources"] = resources = contextlib.ExitStack()
    batcher = jobs = None
    if batching:
        max_batch = max_batch or usual_batch(classify)
        observe = metrics.batch_size.observe
        batcher = Batcher(classify, max_batch, max_wait_s, max_queue, classify.workers, observe)
        metrics.queue.set_function(lambda: batcher.waiting)
    if scans:
        analysis = WatchedAnalysis(segmentation, weights, malignancy, device, threshold_of(weights))
        folder = folder or resources.enter_context(tempfile.TemporaryDirectory(prefix="scans-"))
        jobs = ScanJobs(
            analysis, folder, max_voxels=max_voxels, count=lambda state: metrics.scans.labels(state).inc()
        )
    app.extensions["batcher"], app.extensions["jobs"] = batcher, jobs
    _add_infrastructure(app, metrics)
    _add_prediction(app, classify, batcher)
    if jobs is not None:
        _add_scans(app, jobs)
    return app


def close_app(app, timeout_s=30.0):
    """Refuse new work, finish what is here, at most `timeout_s`."""
    until = time.monotonic() + timeout_s
    app.extensions["stopping"] = True
    for part in (app.extensions["batcher"], app.extensions["jobs"]):
        if part is not None:
            part.close(max(until - time.monotonic(), 0.1))
    app.extensions["resources"].close()


def _add_infrastructure(app, metrics):
    @app.get("/health")
    def health():
        if app.extensions["stopping"]:
            return jsonify(status="stopping"), 503, {"Retry-After": "5"}
        return jsonify(status="ok")

    @app.get("/metrics")
    def show_metrics():
        text = prometheus.generate_latest(metrics.registry)
        return Response(text, content_type=prometheus.CONTENT_TYPE_LATEST)

    @app.before_request
    def begin():
        g.started = time.perf_counter()
        # A page elsewhere must not use a reader's browser to send scans here or to delete them.
        if request.method not in ("GET", "HEAD") and request.headers.get("Sec-Fetch-Site") == "cross-site":
            abort(403)

    @app.after_request
    def end(response):
        endpoint = request.endpoint or "none"
        metrics.requests.labels(endpoint, response.status_code).inc()
        if "started" in g:
            metrics.seconds.labels(endpoint).observe(time.perf_counter() - g.started)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        # The report brings its style and pictures in itself; scripts come from this server alone.
        response.headers["Content-Security-Policy"] = (
            "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
        )
        return response

    @app.errorhandler(UserError)
    def bad_request(error):
        return jsonify(error=str(error)), 400

    @app.errorhandler(Overloaded)
    def overloaded(error):
        return jsonify(error=str(error)), 503, {"Retry-After": str(error.retry_after_s)}

    @app.errorhandler(HTTPException)
    def refused(error):
        return jsonify(error=error.description), error.code


def _add_prediction(app, classify, batcher):
    @app.post("/predict")
    def predict():
        is_json = request.mimetype == "application/json"
        if (request.content_length or 0) > (MAX_JSON_BYTES if is_json else MAX_CROP_BYTES):
            abort(413, "the crop is too large; send (32, 48, 48) numbers")
        deadline_s = _deadline(request.headers.get("X-Deadline-Seconds"))
        crop = read_crop(request.get_data(), request.mimetype)
        probability = batcher(crop, deadline_s) if batcher is not None else classify([crop])[0]
        return jsonify(probability=probability)


def _deadline(text):
    try:
        seconds = DEADLINE_S if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 60:
        raise UserError("X-Deadline-Seconds must be a number above 0, at most 60")
    return seconds


def _add_scans(app, jobs):
    def job_of(number, done=False):
        job = jobs.get(number)
        if job is None:
            abort(404, "there is no such scan; it may have made room for newer ones")
        if done and job.state != "done":
            abort(409, f"this scan is not analysed: {job.error or job.stage}")
        return job

    @app.get("/")
    def page():
        return render_template("index.html")

    @app.get("/example.zip")
    def example():
        return Response(example_scan(), content_type="application/zip")

    @app.post("/scans")
    def send_scan():
        if request.mimetype == "multipart/form-data":
            abort(415, "send the file itself as the body, as curl does with --data-binary @scan.zip")
        job = jobs.submit(request.stream, request.args.get("name", ""))
        url = url_for("scan_state", number=job.number)
        return jsonify(job=job.number, url=url), 202, {"Location": url}

    @app.get("/scans/<number>")
    def scan_state(number):
        response = jsonify(asdict(job_of(number)))
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.get("/scans/<number>/findings.json")
    def findings(number):
        return send_file(jobs.path(job_of(number, done=True), "findings.json").resolve())

    @app.get("/scans/<number>/report.html")
    def report(number):
        return send_file(jobs.path(job_of(number, done=True), "report.html").resolve())

    @app.get("/scans/<number>/slices/<int:index>.png")
    def slice_picture(number, index):
        job = job_of(number, done=True)
        window = request.args.get("window", "lung")
        if index >= job.scan["slices"] or window not in WINDOWS:
            abort(404, f"the scan has {job.scan['slices']} slices, and windows {', '.join(WINDOWS)}")
        headers = {"Cache-Control": "private, max-age=3600"}
        return Response(jobs.picture(job, index, window), content_type="image/png", headers=headers)

    @app.delete("/scans/<number>")
    def delete(number):
        job = job_of(number)
        if not job.is_finished:
            abort(409, "the scan is being analysed; delete it afterwards")
        jobs.delete(job)
        return "", 204


# --- under waitress ----------------------------------------------------------------------------


class _Parser(HTTPRequestParser):
    """waitress's parser, with three rules of ours.

    A request too broken to name a path has an empty one: waitress logs it when the client hangs up. Only a
    scan may be large: for all else a long body is refused before it is received. And a transfer encoding
    that does not exist is the client's fault (400), not the server's (501).
    """

    path = ""

    def received(self, data):
        consumed = super().received(data)
        if isinstance(self.error, ServerNotImplemented):
            self.error = BadRequest("this Transfer-Encoding is not known")
        is_large = max(self.content_length, self.body_bytes_received) > MAX_JSON_BYTES
        if is_large and self.error is None and self.path != "/scans":
            self.error = RequestEntityTooLarge(f"at most {MAX_JSON_BYTES} bytes")
            self.completed = True
        return consumed


class _Channel(HTTPChannel):
    parser_class = _Parser


class Server:
    """An application under waitress that ends gently: `run` returns after `stop`, when all is answered."""

    def __init__(self, app, host="127.0.0.1", port=8000, threads=4, drain_s=30.0):
        self.app, self.drain_s = app, drain_s
        self._stop_at = None
        try:
            self.waitress = waitress.create_server(
                app, host=host, port=port, threads=threads, ident=None, connection_limit=800, backlog=1024,
                max_request_body_size=MAX_SCAN_BYTES, channel_timeout=60, cleanup_interval=10,
                recv_bytes=2**18, inbuf_overflow=2**20, clear_untrusted_proxy_headers=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise UserError(f"cannot listen on {host}, port {port} ({error}); choose another") from error
        if not isinstance(self.waitress, waitress.server.BaseWSGIServer):
            raise UserError(f"{host} stands for several addresses; give one, such as 127.0.0.1 or 0.0.0.0")
        self.waitress.channel_class = _Channel
        self.port = int(self.waitress.effective_port)

    def stop(self, *_signal):
        """Take no new connections and end when everything under way is answered, at most `drain_s` later."""
        if self._stop_at is None:
            self._stop_at = time.monotonic() + self.drain_s
            self.app.extensions["stopping"] = True

    def run(self):
        while self._stop_at is None:
            self._turn(0.2)
        # Who has connected before the signal is served; then the door is closed.
        door, latest = self.waitress.socket, time.monotonic() + 1
        while select.select([door], [], [], 0)[0] and time.monotonic() < latest:
            self._turn(0)
        self.waitress.accepting = False
        self.waitress.del_channel(self.waitress._map)
        door.close()
        quiet_turns = 0
        while quiet_turns < 3:  # a request may have arrived and not been looked at
            self._turn(0.02)
            quiet_turns = quiet_turns + 1 if self._is_drained() else 0
        # Requests are answered; what is left are scans under analysis.
        close_app(self.app, max(self._stop_at - time.monotonic(), 0.1))
        self.waitress.task_dispatcher.shutdown(timeout=1)

    def _turn(self, timeout_s):
        """Receive and send what is ready, or wait for it so long."""
        use_poll = hasattr(select, "poll")
        wasyncore.loop(timeout=timeout_s, map=self.waitress._map, use_poll=use_poll, count=1)

    def _is_drained(self):
        if time.monotonic() > self._stop_at:
            return True
        channels = list(self.waitress.active_channels.values())
        return not any(c.requests or c.request is not None or c.total_outbufs_len for c in channels)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="0.0.0.0 lets other machines in; there is no login"
    )
    parser.add_argument("--port", type=int, default=8000, help="0 takes any that is free")
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
    folder = options.folder or output_root() / "server"
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(folder.resolve())  # long bodies go to unnamed files there
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    app = create_app(
        options.weights, segmentation=options.segmentation, malignancy=options.malignancy, folder=folder,
        device=options.device, numerics=options.numerics, batching=not options.no_batching,
        max_batch=options.max_batch, max_wait_s=options.max_wait_ms / 1000, max_queue=options.max_queue,
        scans=not options.no_scans, max_voxels=options.max_voxels,
    )  # fmt: skip
    batcher = app.extensions["batcher"]
    # A thread waits with every crop that is queued or computed; the others say "full", and answer the rest.
    threads = options.threads or (4 if batcher is None else batcher.capacity + 8)
    server = Server(app, options.host, options.port, threads, options.drain_seconds)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.stop)
    print(f"serving on http://{options.host}:{server.port}", flush=True)
    server.run()
    print("stopped", flush=True)


if __name__ == "__main__":
    main_guard(main)
