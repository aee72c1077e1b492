"""Chapter 15: the batcher, the steps, the API, uploaded scans, and the page in a browser."""

import dataclasses
import io
import math
import shutil
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from p2ch10.scans import load_scan
from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p2ch14.findings import Finding
from p2ch14.pipeline import NodulePipeline
from p2ch14.weights import SHIPPED_CLASSIFIER
from p3ch15.classifier import CropClassifier
from p3ch15.server.analysis import WatchedAnalysis
from p3ch15.server.app import close_app, create_app
from p3ch15.server.batching import GAP_S, Batcher, Overloaded, TooLate, _Request
from tests.browser import needs_axe, until

TOLERANCE = 0.02  # of a probability in bfloat16


def npy(array, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def crops():
    rng = np.random.default_rng(0)
    base = rng.uniform(-1000, 400, (6, 4, 6, 6)).repeat(8, 1).repeat(8, 2).repeat(8, 3)
    return base.astype(np.float32)  # coarse blobs: noise alone gets the same answer every time


@pytest.fixture(scope="module")
def expected(crops):
    model = load_weights(LunaModel(), SHIPPED_CLASSIFIER).eval()
    with torch.inference_mode():
        return model(torch.from_numpy(crops)[:, None])[1][:, 1].tolist()


# --- the batcher ---------------------------------------------------------------------------------


def together(batcher, samples, timeout_s=5.0):
    """What the batcher answers to samples that come at the same time; exceptions as values."""
    answers = [None] * len(samples)

    def ask(place):
        try:
            answers[place] = batcher(samples[place], timeout_s)
        except Exception as error:
            answers[place] = error

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(samples))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return answers


class Gate:
    """A `run` that notes its batches and waits until it is opened."""

    def __init__(self, is_open=False):
        self.opened, self.started, self.batches = threading.Event(), threading.Event(), []
        if is_open:
            self.opened.set()

    def __call__(self, samples):
        self.batches.append(list(samples))
        self.started.set()
        assert self.opened.wait(10)
        return [2 * sample for sample in samples]


def waiting_behind(gate, batcher, first=100):
    """Let one sample enter the gate, so that all others must wait; answers its thread."""
    thread = threading.Thread(target=batcher, args=(first, 10))
    thread.start()
    assert gate.started.wait(5)
    return thread


def test_batcher_gives_everybody_their_own_result_in_few_batches():
    gate = Gate()
    sizes = []
    batcher = Batcher(gate, max_batch=8, max_queue=64, observe=sizes.append)
    first = waiting_behind(gate, batcher)
    answers = []
    group = threading.Thread(target=lambda: answers.extend(together(batcher, list(range(20)))))
    group.start()
    until(lambda: batcher.waiting == 20)
    gate.opened.set()
    group.join(10)
    first.join(10)
    assert answers == [2 * n for n in range(20)]
    assert [len(batch) for batch in gate.batches] == [1, 8, 8, 4] == sizes
    assert batcher.close(5)


def test_batcher_makes_a_lone_sample_wait_for_nobody():
    batcher = Batcher(Gate(is_open=True), max_wait_s=1.0)
    started = time.perf_counter()
    assert [batcher(n) for n in range(5)] == [0, 2, 4, 6, 8]
    assert time.perf_counter() - started < 0.9
    batcher.close(5)


class FakeTime:
    """A clock that runs only while a batcher without workers waits; samples arrive at the times given."""

    def __init__(self, arrivals, last_size, max_batch=4, max_wait_s=0.5):
        self.now, self.arrivals = 0.0, list(arrivals)
        self.batcher = Batcher(None, max_batch, max_wait_s, workers=0, clock=lambda: self.now)
        self.batcher._last_size = last_size
        self.batcher._changed.wait = self.wait

    def wait(self, seconds=float("inf")):
        until = self.now + seconds
        if self.arrivals and self.arrivals[0] <= until:
            self.now = self.arrivals.pop(0)
            self.batcher._waiting.append(_Request(self.now, self.now, self.now + 10))
        else:
            self.now = until

    def next_batch(self):
        """(when it starts, how many are in it)"""
        size = len(self.batcher._next_batch())
        return self.now, size


def test_a_lone_sample_waits_half_a_millisecond_at_most_also_after_a_burst():
    assert GAP_S <= 0.0005
    assert FakeTime([3.0, 9.0], last_size=1).next_batch() == (3.0, 1)
    after_burst = FakeTime([3.0, 9.0], last_size=4)
    assert after_burst.next_batch() == (pytest.approx(3.0 + GAP_S), 1)
    assert after_burst.next_batch() == (9.0, 1)  # by now it is known to be alone


def test_samples_wait_for_company_that_keeps_coming_and_start_at_once_when_it_is_there():
    crowd = [1 + 0.4 * n * GAP_S for n in range(5)]
    assert FakeTime(crowd, last_size=3).next_batch() == (crowd[2], 3)  # as many as last time
    assert FakeTime(crowd, last_size=9).next_batch() == (crowd[3], 4)  # a full batch
    assert FakeTime(crowd[:2], last_size=3).next_batch() == (
        pytest.approx(crowd[1] + GAP_S),
        2,
    )  # no more come


def test_the_wait_counts_from_the_oldest_arrival():
    steady = [1 + 0.9 * n * GAP_S for n in range(100)]
    at, size = FakeTime(steady, last_size=50, max_batch=64, max_wait_s=5 * GAP_S).next_batch()
    assert (at, size) == (pytest.approx(1 + 5 * GAP_S), 6)
    # What came while the worker was busy has waited already.
    late = FakeTime([], last_size=4)
    late.now = 2.0
    late.batcher._waiting.append(_Request(0, 1.9, 12))
    assert late.next_batch() == (2.0, 1)


def test_batcher_refuses_when_full_and_says_when_to_come_back():
    gate = Gate()
    batcher = Batcher(gate, max_batch=2, max_queue=3)
    first = waiting_behind(gate, batcher)
    group = threading.Thread(target=together, args=(batcher, [1, 2, 3]))
    group.start()
    until(lambda: batcher.waiting == 3)
    with pytest.raises(Overloaded) as refused:
        batcher(4)
    assert refused.value.retry_after_s >= 1
    gate.opened.set()
    first.join(10)
    group.join(10)
    assert batcher(5) == 10  # there is room again
    batcher.close(5)


def test_batcher_keeps_deadlines_and_does_not_compute_what_nobody_awaits():
    gate = Gate()
    batcher = Batcher(gate)
    first = waiting_behind(gate, batcher)
    with pytest.raises(TooLate):
        batcher(1, 0.05)
    gate.opened.set()
    first.join(10)
    assert batcher(2) == 4
    assert 1 not in [sample for batch in gate.batches for sample in batch]
    batcher.close(5)


def test_batcher_one_bad_sample_spoils_only_its_own_result():
    def run(samples):
        if 13 in samples:
            raise ValueError("unlucky")
        return samples

    batcher = Batcher(run, workers=0)
    requests = [_Request(sample, 0, 10) for sample in (1, 13, 2)]
    batcher._compute(requests)
    answers = [request.result if request.error is None else request.error for request in requests]
    assert answers[0] == 1
    assert answers[2] == 2
    assert isinstance(answers[1], ValueError)
    batcher.close(5)


def test_batcher_finishes_what_waits_before_it_closes():
    gate = Gate()
    batcher = Batcher(gate, max_batch=2)
    waiting_behind(gate, batcher)
    answers = []
    group = threading.Thread(target=lambda: answers.extend(together(batcher, [1, 2, 3])))
    group.start()
    until(lambda: batcher.waiting == 3)
    assert not batcher.close(0.05)
    with pytest.raises(Overloaded):
        batcher(4)
    gate.opened.set()
    assert batcher.close(5)
    group.join(10)
    assert answers == [2, 4, 6]


def test_batcher_workers_compute_at_the_same_time():
    barrier = threading.Barrier(2)

    def run(samples):
        barrier.wait(5)  # passes only if both workers are here
        return samples

    batcher = Batcher(run, max_batch=1, workers=2)
    assert together(batcher, [1, 2]) == [1, 2]
    batcher.close(5)


# --- the application: crops ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    app = create_app(folder=tmp_path_factory.mktemp("scans"))
    yield app
    close_app(app, 20)


def test_health_and_metrics(app, crops):
    client = app.test_client()
    client.post("/predict", data=npy(crops[0]))
    assert client.get("/health").get_json() == {"status": "ok"}
    answer = client.get("/metrics")
    assert answer.content_type.startswith("text/plain")
    from prometheus_client.parser import text_string_to_metric_families

    families = {f.name: f for f in text_string_to_metric_families(answer.text)}
    counted = {tuple(s.labels.values()): s.value for s in families["http_requests"].samples}
    assert counted["predict", "200"] >= 1
    batches = {s.name: s.value for s in families["batch_size"].samples}
    assert batches["batch_size_count"] >= 1, "crops did not pass through the batcher"


@pytest.mark.parametrize(("numerics", "tolerance"), [("fast", TOLERANCE), ("float32", 1e-4)])
def test_predictions_are_the_network_s_alone_and_together(crops, expected, numerics, tolerance):
    app = create_app(numerics=numerics, scans=False)
    client = app.test_client()
    alone = [client.post("/predict", data=npy(crop)).get_json()["probability"] for crop in crops]
    assert alone == pytest.approx(expected, abs=tolerance)
    assert max(expected) - min(expected) > 10 * 1e-4, "the crops would not tell a swapped answer"
    batcher = app.extensions["batcher"]
    assert together(batcher, list(crops)) == pytest.approx(expected, abs=tolerance)
    close_app(app, 5)


@pytest.mark.parametrize("numerics", ["float32", "fast"])
def test_a_lone_crop_gets_one_answer_the_same_as_in_company(crops, numerics):
    classify = CropClassifier(numerics=numerics)
    together = classify(list(crops[:3]))
    alone = [classify([crop]) for crop in crops[:3]]
    assert [len(answer) for answer in alone] == [1, 1, 1]
    np.testing.assert_allclose(np.concatenate(alone), together, atol=0.01 if classify.use_bfloat16 else 1e-5)


def test_nobody_s_number_of_threads_is_changed(crops):
    """What a notebook computes after a batch takes as long as before it."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        classify = CropClassifier()
        for size in (1, 4):
            classify(list(crops[:size]))
            assert torch.get_num_threads() == 2
        app = create_app(scans=False)
        together(app.extensions["batcher"], list(crops))
        app.test_client().post("/predict", data=npy(crops[0]))
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as pool:  # nor that of a thread that starts afterwards
            assert pool.submit(torch.get_num_threads).result() == 2
        close_app(app, 5)
    finally:
        torch.set_num_threads(before)


def test_every_way_to_write_a_crop(app, crops, expected):
    client = app.test_client()
    whole = np.rint(crops[2])
    wanted = client.post("/predict", data=npy(whole)).get_json()["probability"]
    assert wanted == pytest.approx(expected[2], abs=2 * TOLERANCE)
    for array in (
        whole.astype(np.float64),
        whole.astype(np.int16),
        whole.astype(">i4"),
        np.asfortranarray(whole),
    ):
        assert client.post("/predict", data=npy(array)).get_json()["probability"] == wanted
    assert (
        client.post("/predict", json={"crop": whole.astype(int).tolist()}).get_json()["probability"] == wanted
    )


def test_values_beyond_hu_are_clipped(app):
    client = app.test_client()
    far = client.post("/predict", data=npy(np.full((32, 48, 48), 1e300))).get_json()
    assert far == client.post("/predict", data=npy(np.full((32, 48, 48), 1000))).get_json()


@pytest.mark.slow
def test_with_the_spacing_a_crop_is_judged_by_the_card_s_system(app, scan):
    """The same probability and verdict as the analysis of the whole scan gives at that place."""
    from p2ch10.dsets import Ct

    ct, client, pipeline = Ct(scan["mhd"]), app.test_client(), NodulePipeline()
    spacing = ",".join(str(float(mm)) for mm in ct.geometry.spacing_irc)
    shape = np.array(ct.hu_a.shape)
    places = [
        n
        for n in scan["patient"].nodules
        if (np.abs(ct.geometry.xyz2irc(n.center_xyz) - shape / 2) < shape / 2 - (17, 25, 25)).all()
    ]
    points = [SimpleNamespace(center_xyz=ct.geometry.irc2xyz((24, 72, 72)), diameter_mm=None)]
    points += [SimpleNamespace(center_xyz=n.center_xyz, diameter_mm=None) for n in places]
    verdicts = []
    for point, finding in zip(points, pipeline.classify_points(ct, points).findings):
        crop, _ = ct.getRawCandidate(point.center_xyz)
        said = client.post(f"/predict?spacing={spacing}", data=npy(crop)).get_json()
        assert said["probability"] == pytest.approx(finding.probability, abs=0.05)
        assert said["threshold"] == pipeline.threshold != 0.5
        assert said["is_nodule"] == (said["probability"] >= pipeline.threshold)
        assert "pipeline" in said["system"]
        verdicts.append(said["is_nodule"])
        alone = client.post("/predict", data=npy(crop)).get_json()
        assert alone["system"] != said["system"]
        assert alone["is_nodule"] is None
        assert "?spacing=" in alone["why"]  # what the client has to add to get a verdict
    assert not verdicts[0]
    for spacing in ("", "1,1", "a,b,c", "1,1,nan", "0,1,1", "1,1,1,1"):
        assert client.post(f"/predict?spacing={spacing}", data=npy(crop)).status_code == 400
    # Small voxels: every view that the second classifier may want has to fit, whether this crop deserves it or not.
    status_of = {"0.88,0.66,0.66": 200, "0.8,0.7,0.7": 400, "1.25,0.6,0.7": 400, "1.25,0.7,0.6": 400}
    for spacing, status in status_of.items():
        for one in (crop, np.full((32, 48, 48), -1000)):
            said = client.post(f"/predict?spacing={spacing}", data=npy(one))
            assert said.status_code == status, (spacing, said.get_json())
            assert status == 200 or "28.0 x 31.4 x 31.4 mm" in said.get_json()["error"]


BIG = 10**12


@pytest.mark.parametrize(
    ("data", "mimetype"),
    [
        (b"", ""),
        (b"no array", ""),
        (npy(np.zeros((32, 48, 48)))[:-1], ""),
        (npy(np.zeros((2, 2))), ""),
        (npy(np.zeros((32, 48, 48), np.complex64)), ""),
        (npy(np.full((32, 48, 48), np.nan)), ""),
        (npy(np.full((32, 48, 48), np.inf)), ""),
        (npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), ""),
        (npy(np.zeros(1)).replace(b"(1,)", f"({BIG},)".encode()), ""),
        (b"[" * 100_000, "application/json"),
        (b'{"crop": 1e999}', "application/json"),
        (b'{"crop": "text"}', "application/json"),
        (b'{"crop": [[1], [1, 2]]}', "application/json"),
        (b"[]", "application/json"),
        (b"\xff", "application/json"),
    ],
)  # fmt: skip
def test_bad_crops_are_refused_with_a_sentence(app, data, mimetype):
    answer = app.test_client().post("/predict", data=data, content_type=mimetype)
    assert answer.status_code == 400
    assert answer.get_json()["error"]


def test_deadline_of_the_client(app, crops):
    client = app.test_client()
    late = client.post("/predict", data=npy(crops[0]), headers={"X-Deadline-Seconds": "1e-9"})
    assert late.status_code == 503
    assert int(late.headers["Retry-After"]) >= 1
    for text in ("soon", "nan", "-1", "1e9"):
        answer = client.post("/predict", data=npy(crops[0]), headers={"X-Deadline-Seconds": text})
        assert answer.status_code == 400


def test_another_site_s_page_cannot_use_the_reader_s_browser(app, crops):
    answer = app.test_client().post("/predict", data=npy(crops[0]), headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


@pytest.mark.slow
@pytest.mark.parametrize(
    ("imports", "not_these"),
    [
        ("p3ch15, p3ch15.server", "torch flask numpy"),
        (
            "p3ch15.classifier, p3ch15.server.inputs, p3ch15.server.batching",
            "flask p2ch14.pipeline p2ch14.report",
        ),
    ],
)
def test_what_other_servers_take_from_here_stays_light(imports, not_these):
    code = f"import {imports}, sys; sys.exit(', '.join(m for m in {not_these!r}.split() if m in sys.modules) or 0)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr


# --- the application: whole scans ----------------------------------------------------------------


def packed(folder, path):
    """A zip of a folder's files, in a folder of their own as people pack them."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"some scan/{file.name}")
    return path


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A small generated scan in three formats, and what the analysis says of it; one finding at least is true."""
    import SimpleITK as sitk

    from p2ch09.dicom import write_dicom_series
    from p2ch09.phantom import make_patient, write_scan

    folder = tmp_path_factory.mktemp("scan")
    analysis = NodulePipeline()
    for seed in range(3, 15):
        patient = make_patient(seed, (48, 144, 144), nodules=4, richness=2)
        shutil.rmtree(folder / "mhd", ignore_errors=True)
        write_scan(patient, folder / "mhd")
        path = next((folder / "mhd").glob("*.mhd"))
        nodules = analysis.analyse(load_scan(path)).nodules(analysis.threshold)
        true = [np.array(n.center_xyz) for n in patient.nodules]
        if any(np.linalg.norm(t - np.array(f.center_xyz)) < 8 for t in true for f in nodules):
            break
    else:
        pytest.fail("the shipped networks find no nodule in twelve generated patients")
    write_dicom_series(patient, folder / "dicom")
    sitk.WriteImage(sitk.ReadImage(str(path)), str(folder / "scan.nii.gz"))
    files = {
        "mhd": packed(folder / "mhd", folder / "mhd.zip"),
        "dicom": packed(folder / "dicom", folder / "dicom.zip"),
        "nifti": folder / "scan.nii.gz",
    }
    return {"files": files, "nodules": nodules, "patient": patient, "mhd": path}


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_progress_grows_to_the_last_view(share):
    """Whichever classifier looks at all candidates first: half by then, the views of the second afterwards."""
    noise = np.random.default_rng(0).normal(-800, 50, (64, 96, 96)).astype(np.float32)
    ct = SimpleNamespace(
        geometry=SimpleNamespace(spacing_irc=(1.25, 0.7, 0.7)),
        getRawCandidate=lambda _xyz, width: (noise[tuple(map(slice, width))], None),
    )
    analysis = WatchedAnalysis(device="cpu")
    analysis.second_settings = dataclasses.replace(
        analysis.second_settings, share=share, viewed_from=0.0, mirrored_from=2.0
    )
    told = []
    analysis.watch = lambda _stage, done: told.append(done)
    analysis.classify_candidates(ct, [Finding((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 5.0) for _ in range(20)])
    assert told == sorted(told)
    assert told[0] == 0
    assert 0.5 in told
    if share == 1:
        assert 0.98 < told[-1] < 1


def finished(client, url, seconds=60):
    """The job's state in the end; checks on the way that its progress only grows."""
    shares, end = [0.0], time.monotonic() + seconds
    while True:
        state = client.get(url).get_json()
        assert state["share"] >= shares[-1]
        shares.append(state["share"])
        if state["state"] in ("done", "failed"):
            return state | {"shares": shares}
        assert time.monotonic() < end, state
        time.sleep(0.02)


@pytest.fixture(scope="module")
def analysed(app, scan):
    client, states = app.test_client(), {}
    for kind, file in scan["files"].items():
        sent = client.post("/scans", data=file.read_bytes())
        assert sent.status_code == 202
        states[kind] = finished(client, sent.headers["Location"])
    return states


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mhd", "dicom", "nifti"])
def test_uploaded_scan_gives_the_analysis_s_findings(analysed, scan, kind):
    state, nodules = analysed[kind], scan["nodules"]
    assert state["state"] == "done", state["error"]
    # DICOM keeps 12 bits, so a voxel may differ there and with it a faint finding.
    if kind != "dicom":
        assert len(state["findings"]) == len(nodules)
    found = state["findings"][0]
    assert found["center_xyz"] == pytest.approx(nodules[0].center_xyz, abs=0.5)
    assert found["probability"] == pytest.approx(nodules[0].probability, abs=TOLERANCE)
    assert found["diameter_mm"] == pytest.approx(nodules[0].diameter_mm, abs=0.5)


@pytest.mark.slow
def test_the_example_is_a_scan_that_can_be_sent(app):
    client = app.test_client()
    sent = client.post("/scans", data=client.get("/example.zip").data)
    state = finished(client, sent.headers["Location"])
    assert state["state"] == "done", state["error"]
    assert state["scan"]["slices"] == 64


@pytest.mark.slow
def test_findings_in_dicom_images_can_be_taken_along_as_dicom(app, analysed, scan, tmp_path):
    """One segment per finding, which refers to the images that were sent; other scans have none."""
    import highdicom

    client, state = app.test_client(), analysed["dicom"]
    assert state["has_segmentation"]
    answer = client.get(f"/scans/{state['number']}/nodules.dcm")
    assert answer.headers["Cache-Control"] == "no-store"
    (tmp_path / "nodules.dcm").write_bytes(answer.data)
    seg = highdicom.seg.segread(tmp_path / "nodules.dcm")
    assert seg.number_of_segments == len(state["findings"])
    with zipfile.ZipFile(scan["files"]["dicom"]) as archive:
        archive.extractall(tmp_path / "sent")
    ct = load_scan(next(path.parent for path in (tmp_path / "sent").rglob("*.dcm")))
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == ct.series_uid
    assert not analysed["mhd"]["has_segmentation"]
    assert client.get(f"/scans/{analysed['mhd']['number']}/nodules.dcm").status_code == 404


@pytest.mark.slow
def test_progress_is_shown(analysed):
    assert len({round(share, 2) for share in analysed["mhd"]["shares"]}) > 3


@pytest.mark.slow
def test_findings_report_and_slices_of_a_scan(app, analysed, scan):
    import PIL.Image

    client, state = app.test_client(), analysed["mhd"]
    url = f"/scans/{state['number']}"
    told = client.get(f"{url}/findings.json").get_json()["scans"][0]
    assert told["series_uid"] == scan["patient"].series_uid
    assert len(told["nodules"]) == len(state["findings"])
    assert told["warnings"] == state["warnings"]
    assert any("lungs" in warning for warning in told["warnings"])  # the patient's picture cuts them
    report = client.get(f"{url}/report.html")
    assert "Not a medical device" in report.text
    assert "data:image/png" in report.text
    policy = report.headers["Content-Security-Policy"]
    assert "style-src 'unsafe-inline'" in policy
    assert "script-src" not in policy
    assert "default-src 'none'" in policy
    finding = state["findings"][0]
    index, row, column = (round(finding[name]) for name in ("slice", "row", "column"))
    picture = np.array(PIL.Image.open(io.BytesIO(client.get(f"{url}/slices/{index}.png").data)))
    hu = scan["patient"].hu
    assert picture.shape == hu.shape[1:]
    grey = (float(np.clip(hu[index, row, column], -1000, 1000)) + 1350) * 255 / 1500  # -600 HU, 1500 wide
    assert int(picture[row, column]) == pytest.approx(min(grey, 255), abs=1.5)
    assert client.get(f"{url}/slices/{len(hu)}.png").status_code == 404
    assert client.get(f"{url}/slices/1.png?window=bones").status_code == 404
    steps = [
        slice(None, None, step)
        for step in (-1 if state["scan"]["z_step_mm"] > 0 else 1, *state["scan"]["steps"])
    ]
    hu = hu.clip(-1000, 1000)
    upright = hu[tuple(steps)]
    for plane, (slow, at) in {"axial": (0, index), "coronal": (1, row), "sagittal": (2, column)}.items():
        sent = np.frombuffer(client.get(f"{url}/planes/{plane}/{at}.raw").data, "<i2")
        want = np.take(hu[(slice(None), *steps[1:])] if slow == 0 else upright, at, axis=slow)
        assert np.array_equal(sent.reshape(want.shape), want)
        assert client.get(f"{url}/planes/{plane}/{hu.shape[slow]}.raw").status_code == 404
    assert client.get(f"{url}/planes/oblique/1.raw").status_code == 404


def test_pictures_show_the_front_up_however_a_scan_is_stored(scan):
    from p2ch10.dsets import Ct
    from p3ch15.server.pictures import describe, place

    ct = Ct(scan["mhd"])
    turned = SimpleNamespace(
        hu_a=ct.hu_a[:, ::-1, ::-1],
        direction_a=np.diag([-1.0, -1.0, 1.0]),
        vxSize_xyz=ct.vxSize_xyz,
        origin_xyz=ct.origin_xyz,
    )
    nodule = scan["nodules"][0]
    i, r, c = nodule.center_irc
    rows, columns = ct.hu_a.shape[1:]
    other = dataclasses.replace(nodule, center_irc=(i, rows - 1 - r, columns - 1 - c))
    straight, upright = place(ct, describe(ct), nodule), place(turned, describe(turned), other)
    assert (straight["row"], straight["column"]) == pytest.approx((upright["row"], upright["column"]))
    assert describe(turned)["steps"] == [-1, -1]


@pytest.mark.slow
def test_scans_that_nobody_can_read(app, analysed):
    client = app.test_client()
    assert client.post("/scans", data=b"no scan").status_code == 400
    assert client.post("/scans", data={"scan": (io.BytesIO(b"x"), "x.zip")}).status_code == 415
    sent = client.post("/scans", data=b"PK\x03\x04 but no archive")
    state = finished(client, sent.headers["Location"])
    assert state["state"] == "failed"
    assert ".zip" in state["error"]
    assert client.get(f"/scans/{state['number']}/report.html").status_code == 409
    assert client.delete(f"/scans/{state['number']}").status_code == 204
    assert client.get(f"/scans/{state['number']}").status_code == 404
    for number in ("0", "..", "%2e%2e", "../../etc/passwd"):
        assert client.get(f"/scans/{number}/findings.json").status_code == 404


@pytest.mark.slow
def test_a_scan_that_goes_while_it_is_asked_for_is_no_error_of_the_server(app, analysed):
    client, state = app.test_client(), analysed["mhd"]
    raw = app.extensions["jobs"].folder / state["number"] / "scan.raw"
    raw.rename(raw.with_name("elsewhere"))
    try:
        assert client.get(f"/scans/{state['number']}/slices/1.png").status_code == 404
    finally:
        raw.with_name("elsewhere").rename(raw)


class StubAnalysis:
    """In place of the networks where a test is about the jobs."""

    threshold = 0.5

    def __init__(self):
        self.opened = threading.Event()

    def analyse(self, ct, path):
        from p2ch14.findings import ScanResult

        assert self.opened.wait(20)
        return ScanResult(ct.series_uid, path, 0.1, [])


@pytest.mark.slow
def test_a_job_may_be_deleted_as_soon_as_it_ends(tmp_path):
    from p3ch15.server.jobs import ScanJobs

    jobs = ScanJobs(StubAnalysis(), tmp_path)
    for _ in range(3):  # with a slow disk, the worker is still at it when the client sees the end
        slow_write = jobs._write
        jobs._write = lambda job, folder=None, write=slow_write: (time.sleep(0.05), write(job, folder))
        job = jobs.submit(io.BytesIO(b"PK\x03\x04 but no archive"))
        until(lambda job=job: job.is_finished, 20)
        jobs.delete(job)
    assert jobs._worker.is_alive()
    assert list(tmp_path.iterdir()) == []
    assert jobs.close(5)


@pytest.mark.slow
def test_jobs_survive_a_restart_and_do_not_pile_up(tmp_path, scan, monkeypatch):
    from p3ch15.server.jobs import ScanJobs

    upload = scan["files"]["nifti"].read_bytes()
    analysis = StubAnalysis()
    jobs = ScanJobs(analysis, tmp_path, max_waiting=2, keep=2)
    running = jobs.submit(io.BytesIO(upload), "../one.nii.gz")
    until(lambda: running.state == "running")
    waiting = [jobs.submit(io.BytesIO(upload)) for _ in range(2)]
    with pytest.raises(Overloaded):
        jobs.submit(io.BytesIO(upload))
    assert not jobs.close(0.05)
    analysis.opened.set()
    until(lambda: running.state == "done", 20)
    jobs._worker.join(10)
    assert running.name == "one"
    assert [job.state for job in waiting] == ["waiting", "waiting"]  # their time was over

    monkeypatch.setattr("p3ch15.server.jobs.SAFE_S", 0.0)
    again = ScanJobs(analysis, tmp_path, keep=2)
    until(lambda: sum(job.state == "done" for job in again._jobs.values()) == 2, 30)
    assert again.close(20)
    left = {path.parent.name for path in tmp_path.glob("*/report.html")}
    assert left == {job.number for job in waiting}, "the two newest stay"
    assert not list(tmp_path.glob("*/upload"))
    crashed = again.get(waiting[0].number)
    crashed.state = "running"
    again._write(crashed)
    third = ScanJobs(analysis, tmp_path)
    assert third.get(waiting[0].number).state == "failed"
    third.close(5)


# --- opening a stranger's file -------------------------------------------------------------------


def archive_of(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return path


RAW = ("a.raw", bytes(16))
HEADER = "NDims = 3\nDimSize = {0} {0} {0}\nElementType = MET_SHORT\nElementSpacing = 1 1 1\n"


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o120777 << 16
    return entry


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([], "holds no files"),
        ([("../a.mhd", "x")], "outside"),
        ([("/etc/a.mhd", "x")], "outside"),
        ([("..\\a.mhd", "x")], "outside"),
        ([("C:a.mhd", "x")], "outside"),
        ([(link("a.raw"), "/etc/passwd")], "links"),
        ([("a.mhd", HEADER.format(2) + "ElementDataFile = /etc/passwd\n")], "not beside it"),
        ([("a.mhd", HEADER.format(2) + "ElementDataFile = ../secret.raw\n")], "not beside it"),
        ([("a.mhd", HEADER.format(2) + "ElementDataFile = LOCAL\n")], "announces 16"),
        ([("a.mhd", HEADER.format(9999) + "ElementDataFile = a.raw\n"), ("a.raw", b"x")], "at most"),
        ([("a.mhd", HEADER.format(2) + "ElementDataFile = a.raw\n"), ("a.raw", b"x")], "announces 16"),
        ([("a.mhd", HEADER.format(2).replace("1 1", "1;1") + "ElementDataFile = a.raw"), RAW], "not 3 numbers"),
        ([("a.mhd", HEADER.format(2) + "ElementDataFile = a.raw\nElementDataFile = b.raw"), RAW], "last line"),
        ([("a.mhd", "ElementShift = 3\n" + HEADER.format(2) + "ElementDataFile = a.raw"), RAW], "not known"),
        ([("a.mhd", "x" * 70_000), ("a.raw", b"x")], "no readable header"),
        ([("a.mhd", "x"), ("b.mhd", "x")], "several"),
        ([("bomb.dcm", bytes(20_000_000))], "unpacks to more"),
        ([(f"{n}.dcm", b"") for n in range(30)], "at most 20"),
        ([("a.dcm", b"no image")], "DICOM"),
    ],
)  # fmt: skip
def test_archives_that_are_refused(tmp_path, files, reason):
    from p3ch15.server.reader import read_upload
    from util.errors import UserError

    (tmp_path / "secret.raw").write_bytes(bytes(16))
    folder = tmp_path / "job"
    folder.mkdir()
    upload = archive_of(folder / "upload", files)
    if not files:
        upload.write_bytes(b"PK\x03\x04" + upload.read_bytes())  # an empty archive has no entry to begin with
    with pytest.raises(UserError, match=reason):
        read_upload(upload, folder, max_voxels=10**6, max_files=20)
    outside = [path for path in tmp_path.iterdir() if path.name not in ("secret.raw", "job")]
    assert not outside
    assert not (folder / "scan.mhd").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux counts it")
def test_voxels_are_inflated_as_far_as_declared(tmp_path):
    """Of 292 kB that declare eight voxels and hold 300 MB, no more than a little is unpacked."""
    header = HEADER.format(2) + "CompressedData = True\nElementDataFile = a.zraw\n"
    bomb = zlib.compress(bytes(300_000_000), 9)
    assert len(bomb) < 300_000
    archive_of(tmp_path / "upload", [("a.mhd", header), ("a.zraw", bomb)])
    code = f"""
import resource, p3ch15.server.reader as reader
from util.errors import UserError
grown = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
before = grown()
try:
    reader.read_upload({str(tmp_path / "upload")!r}, {str(tmp_path)!r}, 10**6)
except UserError as error:
    print(error, "|", grown() - before)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    sentence, _, grown_mb = said.stdout.rpartition("|")
    assert sentence, said.stderr
    assert float(grown_mb) < 60


def test_an_archive_is_read_as_the_command_line_reads_its_files(tmp_path):
    from p2ch10.scans import read_volume
    from p3ch15.server.reader import read_upload

    voxels = np.linspace(-1000, 1000, 64).astype(">i2").reshape(4, 4, 4)
    header = (
        "NDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\nElementSize = 2 1 1\nPosition = 1 2 3\n"
        "ElementByteOrderMSB = True\nHeaderSize = -1\nElementDataFile = a.raw\n"
    )
    archive_of(tmp_path / "upload", [("x\\my scan.MHD", header), ("x\\a.raw", b"other" + voxels.tobytes())])
    assert read_upload(tmp_path / "upload", tmp_path) == {
        "name": "my_scan",
        "series_uid": "",
        "dicom": "",
        "notes": [],
        "header": {},
    }
    volume = read_volume(tmp_path / "scan.mhd")
    assert (volume.hu == voxels).all()
    assert volume.origin_xyz == (1, 2, 3)
    assert volume.spacing_xyz == (2, 1, 1)


# --- the page, in a browser ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(app):
    """The application's address, behind our web server, in a thread."""
    from p3ch15.server.front import Server

    server = Server(app, port=0, drain_s=5)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()
    thread.join(20)


MARK = """(() => {
  const box = (e) => { const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; };
  const told = {};
  for (const name of Object.keys(PLANES)) {
    const plane = document.getElementById(name), canvas = plane.querySelector("canvas");
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    told[name] = {image: box(canvas), mark: box(plane.querySelector(".chosen circle")),
                  size: [canvas.width, canvas.height], index: Number(canvas.dataset.index),
                  label: canvas.getAttribute("aria-label"),
                  grey: Array.from(pixels.filter((_, i) => i % 4 === 0))};
  }
  return told;
})()"""
CHOSEN = "document.querySelectorAll('.plane .chosen circle').length === 3"


def drag(browser, selector, start, end, **options):
    """A mouse pressed at `start`, moved to `end`, let go; both as parts of the element's width and height."""
    left, top, width, height = browser.value(
        f"(() => {{ const e = document.querySelector('{selector}'); e.scrollIntoView({{block: 'center'}});"
        " const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
    )
    places = [{"x": left + x * width, "y": top + y * height} for x, y in (start, end)]
    options = {"button": "left", "clickCount": 1} | options
    browser.call("Input.dispatchMouseEvent", type="mousePressed", **places[0], **options)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", **places[1], **options)
    browser.call("Input.dispatchMouseEvent", type="mouseReleased", **places[1], **options)


def check_planes(seen, scan, described, finding):
    """Each plane shows the voxels of its cut through the first finding, whose mark lies where it does."""
    flips = [described["z_step_mm"] > 0, *(step < 0 for step in described["steps"])]
    hu = scan["patient"].hu.clip(-1000, 1000)[
        (slice(None), *(slice(None, None, step) for step in described["steps"]))
    ]
    places = [round(finding[name]) for name in ("slice", "row", "column")]
    for axis, name in enumerate(("axial", "coronal", "sagittal")):
        plane = seen[name]
        down, across = (a for a in range(3) if a != axis)
        assert plane["index"] == places[axis]
        assert (
            plane["label"]
            == f"{name}, {['slice', 'row', 'column'][axis]} {places[axis] + 1} of {hu.shape[axis]}"
        )
        assert plane["size"] == [hu.shape[across], hu.shape[down]]
        image = np.take(hu, places[axis], axis=axis).astype(float)
        is_turned = axis > 0 and flips[0]
        image = image[::-1] if is_turned else image
        grey = np.clip((image + 1350) * 255 / 1500, 0, 255)  # -600 HU, 1500 wide
        assert np.abs(np.reshape(plane["grey"], image.shape) - grey).max() <= 1
        left, top, width, height = plane["image"]
        x = plane["mark"][0] + plane["mark"][2] / 2 - left
        y = plane["mark"][1] + plane["mark"][3] / 2 - top
        place = [finding[n] for n in ("slice", "row", "column")]
        want = hu.shape[0] - 1 - place[0] if is_turned else place[down]
        assert x / width == pytest.approx((place[across] + 0.5) / hu.shape[across], abs=0.02)
        assert y / height == pytest.approx((want + 0.5) / hu.shape[down], abs=0.02)


def check_hands(browser, scan):
    """Clicking moves the cursor, the right button the window, keys both; the list goes round."""
    rows, columns = scan["patient"].hu.shape[1:]
    drag(browser, "#axial .stage", (0.3, 0.6), (0.5, 0.25))
    assert browser.value("[viewer.cursor.row, viewer.cursor.column]") == pytest.approx(
        [0.25 * rows, 0.5 * columns], abs=1.5
    )
    before = browser.value("viewer.window")
    drag(browser, "#coronal .stage", (0.5, 0.5), (0.7, 0.6), button="right")
    center, width = browser.value("viewer.window")
    assert center < before[0]
    assert width > before[1]
    assert browser.value("document.getElementById('window').value") == "own"
    told = browser.value("document.getElementById('hu').textContent")
    assert told == f"{math.floor(center - width / 2 + 0.5)} to {math.floor(center + width / 2 + 0.5)} HU"
    pressed = "new KeyboardEvent('keydown', {{key: '{}', bubbles: true}})"
    key = f"document.querySelector('#axial .stage').dispatchEvent({pressed})"
    cursor = browser.value("viewer.cursor.slice")
    browser.value(key.format("PageDown"))
    assert browser.value("viewer.cursor.slice") == min(cursor + 1, len(scan["patient"].hu) - 1)
    browser.value(key.format("w"))
    assert browser.value("document.getElementById('window').value") == "lung"
    browser.value(key.format("n"))
    assert browser.value("viewer.chosen") == 1 % len(scan["nodules"])
    browser.value(key.format("p"))
    until(lambda: browser.value(CHOSEN), 10)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
def test_page_from_upload_to_deletion(app, browser, served, scan, tmp_path, width):
    browser.complaints.clear()
    browser.resize(width)
    browser.open(served, "document.getElementById('file')")
    browser.screenshot(tmp_path / "start.png")
    browser.choose_file("#file", scan["files"]["mhd"])
    until(lambda: browser.value("!document.getElementById('work').hidden"), 10)
    browser.screenshot(tmp_path / "work.png")
    until(lambda: browser.value(CHOSEN), 60)
    browser.screenshot(tmp_path / "result.png")
    assert browser.value("document.querySelectorAll('#findings li').length") == len(scan["nodules"])
    assert browser.value("document.querySelectorAll('#ticks span').length") == len(scan["nodules"])
    assert browser.value("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    edges = (
        "['axial', 'coronal', 'sagittal', 'slider', 'window', 'findings']"
        ".map(name => document.getElementById(name).getBoundingClientRect().right)"
    )
    assert max(browser.value(edges)) <= width - 8, "something sticks out at the right"
    check_planes(browser.value(MARK), scan, browser.value("job.scan"), browser.value("job.findings[0]"))

    # The slider leaves the finding, its button comes back.
    slices = len(scan["patient"].hu)
    index = round(scan["nodules"][0].center_irc[0])
    slider = "const s = document.getElementById('slider'); s.value = {}; s.dispatchEvent(new Event('input'));"
    far = 0 if index > slices / 2 else slices - 1
    browser.value(f"{{ {slider.format(far)} }}")
    shown = "document.querySelector('#axial canvas').dataset.index"
    until(lambda: browser.value(shown) == str(far), 10)
    assert browser.value("document.querySelector('#axial .chosen')") is None, "the mark stayed behind"
    browser.value("document.querySelector('#findings button').click()")
    until(lambda: browser.value(CHOSEN), 10)
    check_hands(browser, scan)
    # Another scan: what was shown is gone at once, and the old job is asked after no more.
    number = browser.value("job.number")
    browser.choose_file("#file", scan["files"]["nifti"])
    until(lambda: browser.value("job === null && document.getElementById('result').hidden"), 10)
    until(lambda: browser.value(f"job !== null && {CHOSEN}"), 60)
    newer = browser.value("job.number")
    assert newer != number
    assert browser.value("location.hash") == f"#{newer}"
    # Delete: gone from the page, from the browser's cache, from the disk.
    address = browser.value("viewer.addressOf('axial', viewer.cursor.slice)")
    assert browser.value("viewer.held.size > 1")
    browser.value("document.getElementById('delete').click()")
    until(lambda: browser.value("document.getElementById('result').hidden && job === null"), 10)
    assert browser.value("viewer.held.size") == 0
    assert browser.value("[...document.querySelectorAll('canvas')].every((c) => c.width === 1)")
    assert browser.value("document.querySelectorAll('#findings li, .plane g').length") == 0
    assert browser.complaints == []
    cached = (
        f"fetch('{address}', {{cache: 'only-if-cached', mode: 'same-origin'}}).then(r => r.ok, () => false)"
    )
    assert browser.value(cached) is False
    folder = app.extensions["jobs"].folder
    assert (folder / number).is_dir()
    assert not (folder / newer).exists()
    assert not list(folder.rglob(f"*{newer}*"))

    browser.choose_file("#file", __file__)
    until(lambda: browser.value("!document.getElementById('problem').hidden"), 10)
    assert ".nii.gz" in browser.value("document.getElementById('problem').textContent")


@pytest.mark.slow
@needs_axe
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_nothing_serious(app, browser, served, scan, width):
    """The page at its start and with a result, and the report."""
    browser.resize(width)
    browser.open(served, "document.getElementById('file')")
    assert browser.serious() == []
    browser.choose_file("#file", scan["files"]["mhd"])
    until(lambda: browser.value(CHOSEN), 60)
    assert browser.serious() == []
    browser.open(
        f"{served}/scans/{browser.value('job.number')}/report.html", "document.querySelector('article')"
    )
    assert browser.serious() == []
