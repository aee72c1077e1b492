"""The classifier under Ray Serve: batches, replicas, autoscaling, by decorators.

    python -m p3ch15.serve ray                 or: serve run p3ch15.serve.ray_app:app

POST a `.npy` file of one crop to `/predict`, as to the chapter's own server.
"""

import torch
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from p3ch15.classifier import CropClassifier
from p3ch15.server.inputs import MAX_CROP_BYTES, read_crop
from util.errors import UserError


@serve.deployment(
    # A new replica (a process, perhaps on another machine) when on average more than eight requests
    # wait for one; fewer again when it gets quiet.
    autoscaling_config={"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 8},
    max_ongoing_requests=64,  # for one replica; the proxy holds back what is beyond it ...
    max_queued_requests=256,  # ... and answers 503 beyond this
    ray_actor_options={"num_cpus": 1},  # on a GPU machine: {"num_gpus": 1}, or a share, such as 0.25
)
class Nodules:
    """One replica: a network, and a queue in front of it."""

    def __init__(self):
        torch.set_num_threads(1)  # replicas are processes: more threads would only compete
        self.classify = CropClassifier()

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.005)
    async def judge(self, crops: list) -> list[float]:
        """Called with one crop each, runs with all that came within 5 ms, answers each caller its own."""
        return self.classify(crops)

    async def __call__(self, request: Request):
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_CROP_BYTES:
                return JSONResponse({"error": "the crop is too large"}, status_code=413)
        try:
            crop = read_crop(body)
        except UserError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return {"probability": await self.judge(crop)}


app = Nodules.bind()
