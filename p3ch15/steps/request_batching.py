"""Step 3: crops that come at the same time are computed together (chapter 15, "Request batching").

    python -m p3ch15.steps.request_batching --port 8000

Against step 2 one line of `predict` changes: the request's thread hands its crop to the `Batcher` and waits.
"""

import torch
from flask import Flask, jsonify, request

from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p3ch15.networks import SHIPPED_CLASSIFIER
from p3ch15.server.batching import Batcher, Overloaded
from p3ch15.server.inputs import read_crop
from p3ch15.steps.hello_world import serve
from util.errors import UserError


def create_app(weights=SHIPPED_CLASSIFIER, model=None, max_batch=8) -> Flask:
    """As `p3ch15.steps.one_model`, in batches. model: a network, instead of `LunaModel` with `weights`."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 2**20
    model = model or load_weights(LunaModel(), weights).eval()

    @torch.inference_mode()
    def classify(crops):
        batch_t = torch.stack([torch.from_numpy(crop) for crop in crops])[:, None]  # (N, 1, 32, 48, 48)
        _, probabilities_t = model(batch_t)
        return probabilities_t[:, 1].tolist()

    batcher = Batcher(classify, max_batch)

    @app.post("/predict")
    def predict():
        return jsonify(probability=batcher(read_crop(request.get_data())))

    @app.errorhandler(UserError)
    def bad_request(error):
        return jsonify(error=str(error)), 400

    @app.errorhandler(Overloaded)
    def overloaded(error):
        return jsonify(error=str(error)), 503, {"Retry-After": str(error.retry_after_s)}

    return app


if __name__ == "__main__":
    # Waiting requests each hold a thread: with the usual four, no batch could be larger than four.
    serve(create_app(), __doc__.splitlines()[0], threads=32)
