"""A client of step 2's server: sends candidates and prints the answers (chapter 15, "Our model behind a
Flask server").

    python -m p3ch15.cls_client --url http://127.0.0.1:8000/predict [--count 4]

It needs no PyTorch on the server's side of the wire: a shape, some bytes, and HTTP.
"""

import argparse
import io
import json

import requests

from p2ch10.dsets import LunaDataset
from util.errors import UserError, main_guard


def ask(url, crop_t, timeout_s=30.0) -> dict:
    """The server's answer to one crop, (1, 32, 48, 48) float32 HU. Raises `UserError` if there is none."""
    meta = io.StringIO(json.dumps({"shape": list(crop_t.shape)}))
    blob = io.BytesIO(crop_t.numpy().astype("<f4").tobytes())
    try:
        response = requests.post(url, files={"meta": meta, "blob": blob}, timeout=timeout_s)
        answer = response.json()
    except requests.RequestException as error:
        raise UserError(f"no answer from {url}; start python -m p3ch15.flask_server first") from error
    if response.status_code != 200:
        raise UserError(f"the server refused the crop: {answer.get('error', response.status_code)}")
    return answer


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m p3ch15.cls_client", description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000/predict")
    parser.add_argument("--count", type=int, default=4, help="half of them nodules")
    options = parser.parse_args(arguments)
    split = LunaDataset(val_stride=5, isValSet_bool=True)
    half = options.count // 2
    chosen = split.pos_list[:half] + split.negative_list[: options.count - half]
    for crop_t, label_t, series_uid, _ in LunaDataset(candidateInfo_list=chosen, sortby_str="label_and_size"):
        said = ask(options.url, crop_t)["probability"]
        print(f"{'nodule' if label_t[1] else 'other':7} probability {said:.3f}  ({series_uid})")


if __name__ == "__main__":
    main_guard(main)
