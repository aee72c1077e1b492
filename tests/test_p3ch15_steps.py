"""Chapter 15: the servers step by step, under the book's names."""

import asyncio
import io
import json
import subprocess
import sys
import threading

import numpy as np
import PIL.Image
import pytest
import torch
from werkzeug.serving import make_server

from p1ch2.gan import ResNetGenerator
from p1ch2.measure import draw_four_legged
from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p3ch15 import cls_client, cyclegan, flask_server, request_batching_jit_server, request_batching_server
from p3ch15.networks import SHIPPED_CLASSIFIER
from p3ch15.request_batching_server import HandlingError
from util.errors import UserError
from util.paths import PROJECT


@pytest.fixture(scope="module")
def crop_t():
    blobs = np.random.default_rng(1).uniform(-1000, 400, (4, 6, 6)).repeat(8, 0).repeat(8, 1).repeat(8, 2)
    return torch.from_numpy(blobs.astype(np.float32))[None]  # (1, 32, 48, 48)


@pytest.fixture(scope="module")
def expected(crop_t):
    with torch.inference_mode():
        return load_weights(LunaModel(), SHIPPED_CLASSIFIER).eval()(crop_t[None])[1][0, 1].item()


def test_hello():
    from p3ch15.flask_hello_world import app, hello

    assert hello() == "Hello World!"
    assert app.test_client().get("/hello").text == "Hello World!"


def test_flask_server_answers_what_the_network_says(crop_t, expected):
    assert flask_server.run_inference(crop_t)["probability"] == pytest.approx(expected, abs=1e-5)
    client = flask_server.app.test_client()
    buffer = io.BytesIO()
    np.save(buffer, crop_t[0].numpy())
    answer = client.post("/predict", data=buffer.getvalue()).get_json()
    assert answer["probability"] == pytest.approx(expected, abs=1e-5)
    assert client.post("/predict", data=b"no crop").status_code == 400


@pytest.mark.parametrize(
    ("meta", "blob"),
    [("", b""), ("[]", b""), ('{"shape": [1, 2]}', bytes(8)), ('{"shape": [1, 32, 48, 48]}', bytes(4))],
)
def test_forms_that_hold_no_crop_are_refused(meta, blob):
    parts = {"meta": (io.BytesIO(meta.encode()), "meta"), "blob": (io.BytesIO(blob), "blob")}
    answer = flask_server.app.test_client().post("/predict", data=parts)
    assert answer.status_code == 400
    assert answer.get_json()["error"]


def test_the_client_speaks_the_server_s_language(crop_t, expected):
    server = make_server("127.0.0.1", 0, flask_server.app)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/predict"
    try:
        assert cls_client.ask(url, crop_t)["probability"] == pytest.approx(expected, abs=1e-5)
        with pytest.raises(UserError, match="shape"):
            cls_client.ask(url, crop_t[:, :3])
    finally:
        server.shutdown()
        thread.join(10)
    with pytest.raises(UserError, match="flask_server first"):
        cls_client.ask(url, crop_t, timeout_s=5)


# --- the image servers --------------------------------------------------------------------------------


def animals(count):
    return [draw_four_legged(7, number, striped=False).image for number in range(count)]  # (64, 64, 3) uint8


def png(pixels):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def put_all(runner, bodies):
    """(status, body) of a PUT of each body, all at the same time, from the runner's server."""
    from tornado.httpclient import AsyncHTTPClient

    async def work():
        async with request_batching_server.serving(runner, port=0) as port:
            client = AsyncHTTPClient(force_instance=True, max_clients=100)
            answers = await asyncio.gather(
                *(
                    client.fetch(f"http://127.0.0.1:{port}/image", method="PUT", body=b, raise_error=False)
                    for b in bodies
                )
            )
            return [(answer.code, answer.body) for answer in answers]

    return asyncio.run(work())


@pytest.mark.parametrize("server", [request_batching_server, request_batching_jit_server])
def test_pictures_come_back_striped_in_few_batches(server):
    class Watched(server.ModelRunner):
        sizes = []

        def run_model(self, batch):
            self.sizes.append(len(batch))
            return super().run_model(batch)

    Watched.sizes = []
    pictures = animals(6)
    answers = put_all(Watched(), [png(pixels) for pixels in pictures])
    assert [status for status, _ in answers] == [200] * 6
    assert sum(Watched.sizes) == 6
    assert max(Watched.sizes) > 1
    model = cyclegan.get_pretrained_model(cyclegan.SHIPPED_GENERATOR)
    for pixels, (_, body) in zip(pictures, answers):
        painted = np.asarray(PIL.Image.open(io.BytesIO(body))).astype(int)
        with torch.inference_mode():
            wanted = request_batching_server.to_pictures(
                model(request_batching_server.to_signed(pixels[None]))
            )
        assert np.abs(painted - wanted[0].int().numpy()).mean() < 4  # JPEG rounds
        assert np.abs(painted - pixels).mean() > 3


def test_what_the_image_server_refuses(monkeypatch):
    monkeypatch.setattr(request_batching_server, "MAX_PIXELS", 64 * 64)
    small, *_ = animals(1)
    answers = put_all(
        request_batching_server.ModelRunner(), [b"no picture", png(small), png(small.repeat(2, 0)), b""]
    )
    assert [status for status, _ in answers] == [400, 200, 413, 400]
    assert "JPEG or PNG" in json.loads(answers[0][1])["error"]


def test_more_pictures_than_may_wait_are_refused(monkeypatch):
    monkeypatch.setattr(request_batching_server, "MAX_QUEUE_SIZE", 2)
    body = png(animals(1)[0])
    statuses = {status for status, _ in put_all(request_batching_server.ModelRunner(), [body] * 12)}
    assert statuses == {200, 503}


def test_a_failing_network_is_told_to_everybody_in_the_batch():
    class Broken(request_batching_server.ModelRunner):
        def run_model(self, batch):
            raise RuntimeError("out of paint")

    answers = put_all(Broken(), [png(animals(1)[0])] * 3)
    assert [status for status, _ in answers] == [500] * 3
    assert "out of paint" in json.loads(answers[0][1])["error"]
    assert (HandlingError("no").handling_code, HandlingError("no", code=400).handling_code) == (500, 400)


def test_a_picture_s_wait_counts_from_the_oldest(monkeypatch):
    """Where a second picture comes in between, the first does not wait anew."""
    monkeypatch.setattr(request_batching_server, "MAX_WAIT", 0.3)

    async def work():
        runner = request_batching_server.ModelRunner()
        runner.needs_processing = asyncio.Event()
        loop = asyncio.get_running_loop()
        first = asyncio.create_task(runner.process_input(torch.zeros(3, 64, 64)))
        await asyncio.sleep(0)
        due = runner.needs_processing_timer.when()
        assert due == pytest.approx(loop.time() + 0.3, abs=0.1)
        await asyncio.sleep(0.1)
        second = asyncio.create_task(runner.process_input(torch.zeros(3, 64, 64)))
        await asyncio.sleep(0)
        assert runner.needs_processing_timer.when() == due
        more = [asyncio.create_task(runner.process_input(torch.zeros(3, 64, 64))) for _ in range(2)]
        await asyncio.sleep(0)
        assert runner.needs_processing.is_set()  # four make a batch: nobody waits any longer
        for task in (first, second, *more):
            task.cancel()

    asyncio.run(work())


# --- the generator --------------------------------------------------------------------------------------


def test_generators_of_any_size_are_read_from_their_files(tmp_path):
    for ngf, blocks, side in ((64, 1, 256), (8, 2, 64)):
        network = ResNetGenerator(ngf=ngf, n_blocks=blocks).eval()
        torch.save(network.state_dict(), tmp_path / "g.pth")
        read = cyclegan.get_pretrained_model(tmp_path / "g.pth", map_location="cpu")
        x = torch.rand(1, 3, 32, 32)
        with torch.inference_mode():
            assert torch.equal(read(x), network(x))
        assert cyclegan.side_of(read) == side
    names = {name: tuple(t.shape) for name, t in ResNetGenerator().state_dict().items()}
    assert names["model.10.conv_block.1.weight"] == (256, 256, 3, 3)
    assert isinstance(cyclegan.ResNetBlock(8).build_conv_block(8), torch.nn.Sequential)


def test_files_that_hold_no_generator(tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match="does not hold a generator"):
        cyclegan.get_pretrained_model(tmp_path / "text.pth")
    with pytest.raises(UserError, match="there is no weights file"):
        cyclegan.get_pretrained_model(tmp_path / "missing.pth")
    with pytest.raises(UserError, match="there is no"):
        request_batching_jit_server.ModelRunner(tmp_path / "missing.pt")
    (tmp_path / "text.pt").write_text("no program")
    with pytest.raises(UserError, match="no TorchScript file"):
        request_batching_jit_server.ModelRunner(tmp_path / "text.pt")


@pytest.mark.command
@pytest.mark.parametrize(
    ("module", "path"),
    [("flask_hello_world", "hello"), ("flask_server", None), ("request_batching_server", None)],
)
def test_each_step_starts_by_its_command(module, path, tmp_path):
    import socket
    import urllib.request

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", f"p3ch15.{module}", "--port", str(port)],
        cwd=PROJECT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == f"serving on http://127.0.0.1:{port}\n"
        if path:
            for _ in range(50):
                try:
                    said = urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10).read()
                    break
                except OSError:
                    threading.Event().wait(0.1)
            assert said == b"Hello World!"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
