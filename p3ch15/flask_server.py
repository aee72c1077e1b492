"""Step 2: one model behind a server, one request at a time (chapter 15, "Our model behind a Flask server").

    python -m p3ch15.flask_server --port 8000 [MODEL]
    python -m p3ch15.cls_client --url http://127.0.0.1:8000/predict

MODEL: weights of `LunaModel`, the shipped ones by default; or curl: --data-binary @crop.npy
"""

import functools
import json
import sys

import numpy as np
import torch
from flask import Flask, jsonify, request

from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p3ch15.flask_hello_world import serve
from p3ch15.networks import SHIPPED_CLASSIFIER
from p3ch15.server.inputs import read_crop
from util.errors import UserError, main_guard

app = Flask(__name__)
app.config.update(MAX_CONTENT_LENGTH=2**20, WEIGHTS=SHIPPED_CLASSIFIER)


@functools.cache
def model_of(weights) -> LunaModel:
    """The network with these weights, in evaluation mode: read once, not for every request."""
    return load_weights(LunaModel(), weights).eval()


def run_inference(in_tensor) -> dict:
    """What the network says of one crop, (1, 32, 48, 48) HU: {"probability": p}, p of a nodule."""
    with torch.inference_mode():
        _, probabilities = model_of(app.config["WEIGHTS"])(in_tensor.unsqueeze(0))  # (1, 2)
    return {"probability": probabilities[0, 1].item()}


@app.post("/predict")
def predict():
    """Answers one crop: a `.npy` file as the body, or a form as `p3ch15.cls_client` sends it.

    The form has two parts: `meta`, JSON with the "shape", and `blob`, that many float32 numbers (HU).
    """
    if request.mimetype == "multipart/form-data":
        in_tensor = _from_form(request.files)
    else:
        in_tensor = torch.from_numpy(read_crop(request.get_data()))[None]  # (1, 32, 48, 48)
    return jsonify(run_inference(in_tensor))


def _from_form(parts):
    try:
        shape = tuple(json.load(parts["meta"])["shape"])
        voxels = np.frombuffer(parts["blob"].read(), dtype="<f4").reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError('send two parts: "meta", {"shape": […]}, and "blob", the float32 numbers') from error
    if voxels.shape != (1, 32, 48, 48) or not np.isfinite(voxels).all():
        raise UserError("the crop must have the shape (1, 32, 48, 48) and finite values")
    return torch.from_numpy(voxels.clip(-1000, 1000))


@app.errorhandler(UserError)
def bad_request(error):
    """A client's mistake is the client's to mend: one sentence, status 400."""
    return jsonify(error=str(error)), 400


def main():
    given = [argument for argument in sys.argv[1:] if argument.endswith((".state", ".safetensors"))]
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument not in given]
    app.config["WEIGHTS"] = given[0] if given else SHIPPED_CLASSIFIER
    model_of(app.config["WEIGHTS"])
    serve(app, __doc__.splitlines()[0])


if __name__ == "__main__":
    main_guard(main)
