"""Step 4: the same server with a traced model (chapter 15, "Our server with a traced model").

    python -m p3ch15.request_batching_jit_server --port 8000 [MODEL.pt]
    curl -T horse.jpg http://127.0.0.1:8000/image --output striped.jpg

The server needs no Python source of the network any more, only the file (by default one that it traces first).
TorchScript is deprecated since PyTorch 2.10; `torch.export` takes its place, and `p3ch15.formats` writes both.
"""

import tempfile
import warnings
from pathlib import Path

import torch

from p3ch15 import request_batching_server
from p3ch15.cyclegan import SHIPPED_GENERATOR, get_pretrained_model, side_of
from p3ch15.request_batching_server import HandlingError as HandlingError
from util.errors import UserError, main_guard


class ModelRunner(request_batching_server.ModelRunner):
    """Step 3's runner with a traced network: `load` is all that changes.

    model_name: a TorchScript file. Such a file is a program: load only those you trust, and never one that
    a client sent.
    """

    def __init__(self, model_name=None):
        super().__init__(model_name)

    def load(self):
        if self.model_name is None:
            with tempfile.TemporaryDirectory() as folder:
                return self._open(save_traced(Path(folder) / "generator.pt"))
        return self._open(self.model_name)

    def _open(self, path):
        if not Path(path).is_file():
            raise UserError(f"there is no {Path(path).name}; leave it out, or write one with p3ch15.export")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                model = torch.jit.load(str(path), map_location=self.device).eval()
        except RuntimeError as error:
            raise UserError(
                f"{Path(path).name} is no TorchScript file, or damaged; write it again"
            ) from error
        self.side = side_of(model)
        return model


def save_traced(path, model_name=SHIPPED_GENERATOR):
    """Trace a generator on two pictures and save it at `path`; batches of any size may follow. Returns `path`."""
    model = get_pretrained_model(model_name)
    side = side_of(model)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated; and checks of shapes become constants, as they should
        torch.jit.trace(model, torch.zeros(2, 3, side, side)).save(str(path))
    return path


if __name__ == "__main__":
    main_guard(lambda: request_batching_server.main(make_runner=ModelRunner, description=__doc__))
