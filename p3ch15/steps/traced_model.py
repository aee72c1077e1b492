"""Step 4: the same server with a traced model (chapter 15, "Our server with a traced model").

    python -m p3ch15.steps.traced_model --port 8000 [MODEL.pt]

The server needs no Python source of the network any more, only the file. TorchScript is deprecated since
PyTorch 2.10; `torch.export` takes its place, and `p3ch15.formats` writes both.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import torch

from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p3ch15.networks import SHIPPED_CLASSIFIER
from p3ch15.steps.hello_world import serve
from p3ch15.steps.request_batching import create_app as create_batching_app


def save_traced(path, weights=SHIPPED_CLASSIFIER):
    """Trace `LunaModel` on a batch of two crops and save it at `path`; any size of batch may follow."""
    model = load_weights(LunaModel(), weights).eval()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.trace(model, torch.zeros(2, 1, 32, 48, 48)).save(str(path))


def create_app(path):
    """The server of step 3 with the traced model in the file `path`.

    Such a file is a program: load only those you trust, and never one that a client sent.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = torch.jit.load(str(path), map_location="cpu").eval()
    return create_batching_app(model=model)


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument.endswith(".pt")]
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument not in given]
    with tempfile.TemporaryDirectory() as folder:
        path = given[0] if given else Path(folder) / "luna.pt"
        if not given:
            save_traced(path)
        app = create_app(path)
    serve(app, __doc__.splitlines()[0], threads=32)
