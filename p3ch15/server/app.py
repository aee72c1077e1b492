"""The application: pages and API (chapter 15, "Our model behind a Flask server")."""

import contextlib
import tempfile
import time
from dataclasses import asdict

import numpy as np
import prometheus_client as prometheus
from flask import Flask, Response, abort, g, jsonify, render_template, request, send_file, url_for
from werkzeug.exceptions import HTTPException

from p3ch15.classifier import CropClassifier, on_worker_threads, usual_batch
from p3ch15.networks import SHIPPED_CLASSIFIER
from p3ch15.server.access import CHALLENGE, HEADERS, REPORT_POLICY, Access
from p3ch15.server.analysis import WatchedAnalysis
from p3ch15.server.batching import Batcher, Overloaded
from p3ch15.server.inputs import CROP_SHAPE, MAX_CROP_BYTES, read_crop
from p3ch15.server.jobs import ScanJobs
from p3ch15.server.pictures import PLANES, WINDOWS, example_scan, plane_voxels, slice_png
from p3ch15.server.reader import MAX_VOXELS
from p3ch15.server.whole import WholeClassifier, read_spacing
from util.errors import UserError

MAX_JSON_BYTES = 2**21
MAX_SCAN_BYTES = 2**29
DEADLINE_S = 10.0  # how long a prediction may take if the client does not say
# What answered: a probability alone does not say which threshold it may be held against.
FIRST = "chapter 11's classifier alone"
WHOLE = "chapter 14's pipeline, from its candidates on"
NO_VERDICT = (
    "the model card's threshold is for chapter 14's pipeline; add ?spacing=slice,row,column in mm, and it judges "
    "the crop"
)


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
    keep_hours=24.0, access=None,
) -> Flask:  # fmt: skip
    """The application; `close_app` ends it.

    weights, segmentation, malignancy: weights files, the shipped ones by default. folder: where uploaded
    scans lie, a temporary one by default. batching: compute crops together (see `p3ch15.server.batching.Batcher`
    for max_batch, max_wait_s, max_queue), else each in its request's thread. scans: take whole scans too.
    keep_hours: how long a scan and its results stay. access: who may ask; by default whoever reaches it by an
    address or as localhost.
    """
    weights = weights or SHIPPED_CLASSIFIER
    classify = CropClassifier(weights, numerics, device)
    classify([np.zeros(CROP_SHAPE, np.float32)])  # the first call is slow: nobody should wait for it
    metrics = Metrics()
    app = Flask(__name__)
    app.config.update(MAX_CONTENT_LENGTH=MAX_SCAN_BYTES)
    app.extensions["stopping"] = False
    app.extensions["access"] = access or Access()
    # What the web server refuses by itself, before the application is asked, is counted too.
    app.extensions["refused"] = lambda status: metrics.requests.labels("none", status).inc()
    app.extensions["resources"] = resources = contextlib.ExitStack()
    batcher = jobs = None
    if batching:
        max_batch = max_batch or usual_batch(classify)
        observe = metrics.batch_size.observe
        batcher = Batcher(
            on_worker_threads(classify), max_batch, max_wait_s, max_queue, classify.workers, observe
        )
        metrics.queue.set_function(lambda: batcher.waiting)
    if scans:
        analysis = WatchedAnalysis(segmentation, weights, malignancy, device)
        folder = folder or resources.enter_context(tempfile.TemporaryDirectory(prefix="scans-"))
        jobs = ScanJobs(
            analysis, folder, max_voxels=max_voxels, keep_s=3600 * keep_hours,
            count=lambda state: metrics.scans.labels(state).inc(),
        )  # fmt: skip
    app.extensions["batcher"], app.extensions["jobs"] = batcher, jobs
    _add_infrastructure(app, metrics)
    _add_prediction(app, classify, batcher, WholeClassifier(weights, device))
    if jobs is not None:
        _add_scans(app, jobs)
        _add_results(app, jobs)
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
        refusal = app.extensions["access"].refusal(request.method, request.headers)
        if refusal is not None:
            status, sentence = refusal
            headers = {"WWW-Authenticate": CHALLENGE} if status == 401 else {}
            return jsonify(error=sentence), status, headers
        return None

    @app.after_request
    def end(response):
        endpoint = request.endpoint or "none"
        metrics.requests.labels(endpoint, response.status_code).inc()
        if "started" in g:
            metrics.seconds.labels(endpoint).observe(time.perf_counter() - g.started)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.errorhandler(UserError)
    def bad_request(error):
        return jsonify(error=str(error)), 400

    @app.errorhandler(FileNotFoundError)
    def gone(error):
        """The scan was deleted, or its time was over, while this request was under way."""
        return jsonify(error="there is no such scan any more"), 404

    @app.errorhandler(Overloaded)
    def overloaded(error):
        return jsonify(error=str(error)), 503, {"Retry-After": str(error.retry_after_s)}

    @app.errorhandler(HTTPException)
    def refused(error):
        return jsonify(error=error.description), error.code


def _add_prediction(app, classify, batcher, whole):
    @app.post("/predict")
    def predict():
        is_json = request.mimetype == "application/json"
        if (request.content_length or 0) > (MAX_JSON_BYTES if is_json else MAX_CROP_BYTES):
            abort(413, "the crop is too large; send (32, 48, 48) numbers")
        deadline_s = _deadline(request.headers.get("X-Deadline-Seconds"))
        spacing = request.args.get("spacing")
        if spacing is not None:
            spacing = read_spacing(spacing)
        crop = read_crop(request.get_data(), request.mimetype)
        if spacing is not None:
            return jsonify(whole(crop, spacing) | {"system": WHOLE})
        probability = batcher(crop, deadline_s) if batcher is not None else classify([crop])[0]
        return jsonify(probability=probability, system=FIRST, is_nodule=None, why=NO_VERDICT)


def _deadline(text):
    try:
        seconds = DEADLINE_S if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 60:
        raise UserError("X-Deadline-Seconds must be a number above 0, at most 60")
    return seconds


def _sent(path):
    """A job's file as an answer."""
    response = send_file(path.resolve(), etag=False)
    response.headers["Cache-Control"] = "no-store"
    return response


def _job_of(jobs, number, done=False):
    job = jobs.get(number)
    if job is None:
        abort(404, "there is no such scan; it may have made room for newer ones")
    if done and job.state != "done":
        abort(409, f"this scan is not analysed: {job.error or job.stage}")
    return job


def _add_scans(app, jobs):
    @app.get("/")
    def page():
        return render_template("index.html", planes=PLANES)

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
        return jsonify(asdict(_job_of(jobs, number)))

    @app.delete("/scans/<number>")
    def delete(number):
        job = _job_of(jobs, number)
        if not job.is_finished:
            abort(409, "the scan is being analysed; delete it afterwards")
        jobs.delete(job)
        return "", 204


def _add_results(app, jobs):
    @app.get("/scans/<number>/findings.json")
    def findings(number):
        return _sent(jobs.path(_job_of(jobs, number, done=True), "findings.json"))

    @app.get("/scans/<number>/report.html")
    def report(number):
        response = _sent(jobs.path(_job_of(jobs, number, done=True), "report.html"))
        response.headers["Content-Security-Policy"] = REPORT_POLICY
        return response

    @app.get("/scans/<number>/nodules.dcm")
    def segmentation(number):
        job = _job_of(jobs, number, done=True)
        if not job.has_segmentation:
            abort(404, "there is no DICOM Segmentation: the scan was no DICOM, or nothing was found in it")
        return _sent(jobs.path(job, "nodules.dcm"))

    @app.get("/scans/<number>/slices/<int:index>.png")
    def slice_picture(number, index):
        job = _job_of(jobs, number, done=True)
        window = request.args.get("window", "lung")
        if index >= job.scan["slices"] or window not in WINDOWS:
            abort(404, f"the scan has {job.scan['slices']} slices, and windows {', '.join(WINDOWS)}")
        picture = slice_png(jobs.path(job, "scan.raw"), job.scan, index, window)
        return Response(picture, content_type="image/png")

    @app.get("/scans/<number>/planes/<plane>/<int:index>.raw")
    def plane_of(number, plane, index):
        job = _job_of(jobs, number, done=True)
        if plane not in PLANES or index >= job.scan[PLANES[plane]]:
            abort(404, f"there are {', '.join(f'{job.scan[n]} {n}' for n in PLANES.values())} of this scan")
        voxels = plane_voxels(jobs.path(job, "scan.raw"), job.scan, plane, index)
        return Response(voxels, content_type="application/octet-stream")
