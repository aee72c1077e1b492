"""Step 2: one model behind a server, one request at a time (chapter 15, "Our model behind a Flask server").

python -m p3ch15.steps.one_model --port 8000
curl --data-binary @crop.npy http://127.0.0.1:8000/predict
"""

import torch
from flask import Flask, jsonify, request

from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p3ch15.networks import SHIPPED_CLASSIFIER
from p3ch15.server.inputs import read_crop
from p3ch15.steps.hello_world import serve
from util.errors import UserError


def create_app(weights=SHIPPED_CLASSIFIER) -> Flask:
    """`POST /predict` takes one crop, (32, 48, 48) HU as `.npy`, and answers {"probability": p}."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 2**20
    model = load_weights(LunaModel(), weights).eval()  # once, not for every request

    @app.post("/predict")
    def predict():
        crop_t = torch.from_numpy(read_crop(request.get_data()))  # (32, 48, 48)
        with torch.inference_mode():
            _, probabilities_t = model(crop_t[None, None])  # (1, 1, 32, 48, 48) -> (1, 2)
        return jsonify(probability=probabilities_t[0, 1].item())

    @app.errorhandler(UserError)
    def bad_request(error):
        return jsonify(error=str(error)), 400

    return app


if __name__ == "__main__":
    serve(create_app(), __doc__.splitlines()[0])
