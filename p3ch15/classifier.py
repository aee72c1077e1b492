"""From crops to probabilities, as servers want it (chapter 15, "Our model behind a Flask server")."""

import torch

from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p3ch15.networks import SHIPPED_CLASSIFIER
from util.runtime import get_device, has_fast_bfloat16

NUMERICS = ("fast", "float32")


class CropClassifier:
    """`LunaModel` for lists of crops: [(32, 48, 48) float32 HU, …] -> [probability, …].

    numerics: "float32", or "fast": channels last in memory, bfloat16 where the hardware computes it, and
    otherwise no crop alone. `workers`: how many threads may call it at the same time with profit. On how many
    threads PyTorch computes is the caller's business (see `on_worker_threads`).
    """

    def __init__(self, weights=SHIPPED_CLASSIFIER, numerics="fast", device=None):
        self.device = get_device(device)
        is_fast = numerics == "fast"
        self.memory_format = torch.channels_last_3d if is_fast else torch.contiguous_format
        self.use_bfloat16 = is_fast and has_fast_bfloat16(self.device)
        self.is_cpu = self.device.type == "cpu"
        # PyTorch sends a single float32 volume as small as ours to a plain loop on CPUs, two of them to
        # oneDNN: computing it twice takes a quarter of the time (`p3ch15.benchmark`, fast against plain).
        self.needs_company = is_fast and self.is_cpu and not self.use_bfloat16
        model = load_weights(LunaModel(), weights).to(self.device)
        self.model = model.to(memory_format=self.memory_format).eval()
        self.workers = torch.get_num_threads() if self.is_cpu else 1

    @torch.inference_mode()
    def __call__(self, crops):
        count = len(crops)
        if count == 1 and self.needs_company:
            crops = crops * 2
        batch_t = torch.stack([torch.from_numpy(crop) for crop in crops])[:, None]  # (N, 1, 32, 48, 48)
        input_g = batch_t.to(self.device).contiguous(memory_format=self.memory_format)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.use_bfloat16):
            return self.model(input_g)[1][:count, 1].float().tolist()


def on_worker_threads(classify):
    """`classify` for the threads of a `Batcher`: a lone crop on all cores, several crops on one.

    Where crops come together every worker has a batch of its own, and computing each on one core spares
    threads the waiting for one another. Sets the calling thread's number of threads, so call it only in a
    thread of your own.
    """
    if not classify.is_cpu:
        return classify
    cores = torch.get_num_threads()

    def run(crops):
        torch.set_num_threads(cores if len(crops) == 1 else 1)
        try:
            return classify(crops)
        finally:
            torch.set_num_threads(cores)  # threads that start later take over the number set last

    return run


def usual_batch(classify) -> int:
    """A CPU wants what its cache holds, a GPU enough to keep it busy."""
    return 8 if classify.is_cpu else 64
