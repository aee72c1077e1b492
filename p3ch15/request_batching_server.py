"""Step 3: pictures that come at the same time are painted together (chapter 15, "Request batching").

    python -m p3ch15.request_batching_server --port 8000 [MODEL]
    curl -T horse.jpg http://127.0.0.1:8000/image --output striped.jpg

PUT a picture, get it striped. MODEL: `horse2zebra_0.4.0.pth`, or by default the course's own small generator,
which knows drawn animals. One thread runs asyncio and speaks with all clients (the web server is Tornado);
the network computes in a second one, a batch at a time.
"""

import argparse
import asyncio
import contextlib
import io

import PIL.Image
import torch
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from p1ch2.gan import to_pictures, to_signed
from p3ch15.cyclegan import SHIPPED_GENERATOR, get_pretrained_model, side_of
from util.errors import main_guard
from util.runtime import get_device

MAX_QUEUE_SIZE = 16  # pictures that may wait; one more is refused
MAX_BATCH_SIZE = 4
MAX_WAIT = 0.05  # seconds that a picture waits for company
MAX_BYTES = 2**22  # of a picture
MAX_PIXELS = 2**24


class HandlingError(Exception):
    """A request that cannot be served: `msg` is the sentence for the client, `code` the HTTP status."""

    def __init__(self, msg, code=500):
        super().__init__(msg)
        self.handling_msg = msg
        self.handling_code = code


class ModelRunner:
    """Gathers pictures in a queue and computes them in batches.

    model_name: the file of the generator. All but `run_model` runs in asyncio's thread, where nothing happens
    at the same time: between two `await`s the queue belongs to one function, and needs no lock.
    """

    def __init__(self, model_name=SHIPPED_GENERATOR):
        self.model_name = model_name
        self.device = get_device()
        self.model = self.load()
        self.queue = []
        self.needs_processing = None  # made in `model_runner`: an event belongs to a running loop
        self.needs_processing_timer = None

    def load(self):
        """The network; `self.side` becomes the edge of the pictures that it wants."""
        model = get_pretrained_model(self.model_name, map_location=self.device)
        self.side = side_of(model)
        return model

    def schedule_processing_if_needed(self):
        """Wake the runner now if a batch is full, else when the oldest picture has waited for `MAX_WAIT`."""
        if self.needs_processing_timer is not None:
            self.needs_processing_timer.cancel()
            self.needs_processing_timer = None
        if len(self.queue) >= MAX_BATCH_SIZE:
            self.needs_processing.set()
        elif self.queue:
            due = self.queue[0]["came"] + MAX_WAIT
            loop = asyncio.get_running_loop()
            self.needs_processing_timer = loop.call_at(due, self.needs_processing.set)

    async def process_input(self, picture_t):
        """One picture (3, H, W), -1 to 1, striped; computed together with those that come at the same time."""
        if len(self.queue) >= MAX_QUEUE_SIZE:
            raise HandlingError("too many pictures are waiting; try again later", code=503)
        loop = asyncio.get_running_loop()
        task = {"input": picture_t, "came": loop.time(), "output": loop.create_future()}
        self.queue.append(task)
        self.schedule_processing_if_needed()
        return await task["output"]

    def run_model(self, batch):
        """The network on one batch, (N, 3, H, W) -> (N, 3, H, W); called in another thread."""
        with torch.inference_mode():
            return self.model(batch.to(self.device)).cpu()

    async def model_runner(self):
        """Computes batch after batch, for as long as the server lives."""
        self.needs_processing = asyncio.Event()
        loop = asyncio.get_running_loop()
        while True:
            await self.needs_processing.wait()
            self.needs_processing.clear()
            batch, self.queue = self.queue[:MAX_BATCH_SIZE], self.queue[MAX_BATCH_SIZE:]
            # While this batch is computed, the next one may fill up.
            self.schedule_processing_if_needed()
            inputs = torch.stack([task["input"] for task in batch])
            try:
                outputs = await loop.run_in_executor(None, self.run_model, inputs)
            except Exception as error:
                outputs = [error] * len(batch)
            for task, output in zip(batch, outputs):
                if task["output"].cancelled():  # the client has gone
                    continue
                if isinstance(output, Exception):
                    task["output"].set_exception(HandlingError(f"the network failed: {output}"))
                else:
                    task["output"].set_result(output)


def read_picture(data, side):
    """The bytes of a picture as (3, side, side), -1 to 1. Raises `HandlingError` for anything else."""
    try:
        with PIL.Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise HandlingError("the picture has too many pixels", code=413)
            small = picture.convert("RGB").resize((side, side), PIL.Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise HandlingError("this is no picture that can be read; send a JPEG or PNG", code=400) from error
    pixels_t = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
    return to_signed(pixels_t.view(1, side, side, 3))[0]


def as_jpeg(picture_t) -> bytes:
    """(3, H, W), -1 to 1, as the bytes of a JPEG."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(to_pictures(picture_t[None])[0].numpy()).save(
        buffer, "JPEG", quality=92, subsampling=0
    )
    return buffer.getvalue()


class ImageHandler(web.RequestHandler):
    """`PUT /image`: a picture in, a picture out."""

    def initialize(self, runner):
        self.runner = runner

    async def put(self):
        try:
            picture_t = read_picture(self.request.body, self.runner.side)
            striped_t = await self.runner.process_input(picture_t)
        except HandlingError as error:
            self.set_status(error.handling_code)
            self.finish({"error": error.handling_msg})
            return
        self.set_header("Content-Type", "image/jpeg")
        self.finish(as_jpeg(striped_t))


@contextlib.asynccontextmanager
async def serving(runner, port=8000, host="127.0.0.1"):
    """The server at work; yields the port. Port 0 takes any that is free."""
    app = web.Application([("/image", ImageHandler, {"runner": runner})])
    server, sockets = HTTPServer(app, max_body_size=MAX_BYTES), bind_sockets(port, host)
    server.add_sockets(sockets)
    working = asyncio.create_task(runner.model_runner())
    await asyncio.sleep(0)  # let the runner begin
    try:
        yield sockets[0].getsockname()[1]
    finally:
        working.cancel()
        server.stop()


async def serve_forever(runner, port):
    async with serving(runner, port) as taken:
        print(f"serving on http://127.0.0.1:{taken}", flush=True)
        await asyncio.Event().wait()


def main(arguments=None, make_runner=ModelRunner, description=__doc__):
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("model", nargs="?", help="the generator's file; by default the course's own")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    runner = make_runner(options.model) if options.model else make_runner()
    asyncio.run(serve_forever(runner, options.port))


if __name__ == "__main__":
    main_guard(main)
