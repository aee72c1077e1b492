"""Chapter 15: the server answers what the network says, and refuses what is no crop."""

import io

import numpy as np
import pytest
import torch

from p2ch11.model import LunaModel
from p3ch15.server.app import create_app


@pytest.fixture(scope="module")
def model_and_client(tmp_path_factory):
    torch.manual_seed(0)
    model = LunaModel().eval()
    path = tmp_path_factory.mktemp("weights") / "model.state"
    torch.save({"model_state": model.state_dict()}, path)
    return model, create_app(path).test_client()


def body(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def test_health(model_and_client):
    assert model_and_client[1].get("/health").get_json() == {"status": "ok"}


def test_probability_is_the_network_s(model_and_client):
    model, client = model_and_client
    crop = np.random.default_rng(0).uniform(-1000, 400, (32, 48, 48)).astype(np.float32)
    with torch.inference_mode():
        expected = model(torch.from_numpy(crop)[None, None])[1][0, 1].item()
    for array in (crop, crop.astype(np.float64)):
        assert client.post("/predict", data=body(array)).get_json()["probability"] == pytest.approx(
            expected, abs=1e-4
        )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no array",
        body(np.zeros((2, 2))),
        body(np.full((32, 48, 48), np.nan)),
        body(np.array(["text"])),
        body(np.array([{"a": 1}], dtype=object), allow_pickle=True),
    ],
    ids=["empty", "text", "shape", "nan", "strings", "pickle"],
)
def test_bad_bodies_are_refused_with_a_reason(model_and_client, data):
    answer = model_and_client[1].post("/predict", data=data)
    assert answer.status_code == 400
    assert answer.get_json()["error"]


def test_too_large_a_body_is_refused(model_and_client):
    assert model_and_client[1].post("/predict", data=b"0" * (2**20 + 1)).status_code == 413
