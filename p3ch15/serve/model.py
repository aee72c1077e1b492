"""What both engines run: a batch of crops in, a probability for each out."""

import numpy as np
import torch

from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p3ch15.exports import SHIPPED
from util.files import UserError

CROP_SHAPE = (32, 48, 48)


class Classifier:
    """The shipped `LunaModel` in bfloat16 and channels_last_3d, which a CPU computes fastest."""

    def __init__(self, threads=1):
        # Replicas are processes; more threads in each than there are cores for it would only get in the way.
        torch.set_num_threads(threads)
        model = load_weights(LunaModel(), SHIPPED / "classification.safetensors")
        self.model = model.to(torch.bfloat16).to(memory_format=torch.channels_last_3d).eval()

    def __call__(self, crops) -> list[float]:
        """Probabilities that each crop, (32, 48, 48) HU, shows a nodule."""
        batch = torch.from_numpy(np.stack(crops).astype(np.float32)).clamp(-1000, 1000)[:, None]
        batch = batch.to(torch.bfloat16).contiguous(memory_format=torch.channels_last_3d)
        with torch.inference_mode():
            return self.model(batch)[1][:, 1].tolist()


def read_crop(data: bytes) -> np.ndarray:
    """The crop in the bytes of a `.npy` file, as chapter 15's own server reads it; `UserError` if it is none."""
    import io

    try:
        crop = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:
        raise UserError("the body is no .npy file; write it with numpy.save") from error
    if getattr(crop, "shape", None) != CROP_SHAPE or crop.dtype.kind not in "fiu":
        raise UserError(f"the array must have the shape {CROP_SHAPE} and hold numbers (HU)")
    if not np.isfinite(crop).all():
        raise UserError("the array has values that are not finite")
    return crop
