"""The classifier under LitServe: a class with a method for each step of a request, batches by an argument.

    python -m p3ch15.serve lit

POST `{"crop": text}` to `/predict`, the text being a `.npy` file in base64.
"""

import litserve
import torch
from fastapi import HTTPException

from p3ch15.classifier import CropClassifier
from p3ch15.serve import WORKERS
from p3ch15.server.inputs import crop_from_text
from util.errors import UserError


class Nodules(litserve.LitAPI):
    """One worker process: a network, and batches from the queue in front of all."""

    def setup(self, device):
        torch.set_num_threads(1)
        self.classify = CropClassifier()

    def decode_request(self, request: dict):
        try:
            return crop_from_text(request["crop"])
        except (KeyError, TypeError, UserError) as error:
            raise HTTPException(400, str(error)) from error

    def batch(self, inputs):
        return list(inputs)

    def predict(self, crops):
        return self.classify(crops)

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"probability": output}


def serve(port):
    """Serve until interrupted."""
    api = Nodules(max_batch_size=16, batch_timeout=0.005)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=WORKERS, timeout=30, max_payload_size=2**21
    )
    server.run(host="127.0.0.1", port=port, generate_client_file=False)
