"""Our model behind a Flask server (chapter 15, "Our model behind a Flask server").

    python -m p3ch15.server --port 8000

`GET /health` says that it lives; `POST /predict` takes one candidate crop as the bytes of a `.npy` file
((32, 48, 48), HU) and answers `{"probability": p}`.
"""

import argparse
import io

import numpy as np
import torch
import waitress
from flask import Flask, jsonify, request

from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from util.files import UserError, main_guard
from util.paths import PROJECT

CROP_SHAPE = (32, 48, 48)
WEIGHTS = PROJECT / "data" / "p2ch14" / "classification.safetensors"


def read_crop(data: bytes) -> np.ndarray:
    """The crop in the bytes of a `.npy` file, float32 (32, 48, 48) in [-1000, 1000]; nothing is unpickled.

    Raises `UserError` for bytes that are no such array.
    """
    try:
        crop = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:
        raise UserError("the body is no .npy file; write it with numpy.save") from error
    if not isinstance(crop, np.ndarray) or crop.shape != CROP_SHAPE or crop.dtype.kind not in "fiu":
        raise UserError(f"the array must have the shape {CROP_SHAPE} and hold numbers (HU)")
    crop = crop.astype(np.float32)
    if not np.isfinite(crop).all():
        raise UserError("the array has values that are not finite; HU are between -1000 and 1000 here")
    return crop.clip(-1000, 1000)


def create_app(weights=WEIGHTS) -> Flask:
    """The application; `weights` as `p2ch11.training.load_weights` takes them."""
    model = load_weights(LunaModel(), weights).to(memory_format=torch.channels_last_3d).eval()
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 2**20

    @app.get("/health")
    def health():
        return jsonify(status="ok")

    @app.post("/predict")
    def predict():
        crop = torch.from_numpy(read_crop(request.get_data()))[None, None]  # (1, 1, 32, 48, 48)
        with torch.inference_mode():
            probability = model(crop.contiguous(memory_format=torch.channels_last_3d))[1][0, 1].item()
        return jsonify(probability=probability)

    @app.errorhandler(UserError)
    def bad_request(error):
        return jsonify(error=str(error)), 400

    return app


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--weights", default=WEIGHTS, help="weights of LunaModel")
    options = parser.parse_args(arguments)
    print(f"serving on http://{options.host}:{options.port}", flush=True)
    waitress.serve(create_app(options.weights), host=options.host, port=options.port)


if __name__ == "__main__":
    main_guard(main)
