"""What a network is worth and what it costs: held-out crops, areas under the ROC curve, times, sizes."""

import statistics
import time
import zlib
from typing import NamedTuple

import torch

from p2ch10.dsets import LunaDataset
from p2ch10.memory import memory
from p2ch12.metrics import roc_auc


def evaluation_crops(count=100, nodules=None, held_out=True):
    """(crops (count, 1, 32, 48, 48) HU, is nodule (count,) bool), ordered by scan.

    From scans that no network was trained on, or with held_out=False from the others. nodules: how many of
    them are nodules, default half; at most as many as there are.
    """
    split = LunaDataset(val_stride=5, isValSet_bool=held_out)
    nodules = min(count // 2 if nodules is None else nodules, len(split.pos_list))
    chosen = split.pos_list[:nodules] + split.negative_list[: count - nodules]
    chosen.sort(key=lambda info: info.series_uid)  # scan after scan: each is opened once
    items = LunaDataset(candidateInfo_list=chosen, sortby_str="series_uid").__getitems__(range(len(chosen)))
    memory.clear()  # whole scans, up to 1.5 GB, that nobody asks for again
    return torch.stack([item[0] for item in items]), torch.stack([item[1] for item in items])[:, 1].bool()


def calibration_crops(count=64):
    """Crops (count, 1, 32, 48, 48) from training scans, half of them nodules: what ranges are taken from."""
    return evaluation_crops(count, held_out=False)[0]


def in_batches(run, inputs, size=2) -> torch.Tensor:
    """`run` on all `inputs`, `size` at a time: what it answers, end to end, (N, ...).

    Two crops get the faster of PyTorch's convolutions; sixteen, and a lone one, do not (section 15.1).

    run: a module, or a function such as `open_export` gives. Of a tuple the first part is kept: the logits
    of our classifiers, which answer (logits, probabilities).
    """
    with torch.inference_mode():
        outputs = [run(part) for part in inputs.split(size)]
    return torch.cat([out if isinstance(out, torch.Tensor) else out[0] for out in outputs])


def area(logits, is_nodule) -> float:
    """Area under the ROC curve of logits (N, 2) against is_nodule (N,)."""
    return roc_auc(torch.as_tensor(is_nodule), (logits[:, 1] - logits[:, 0]).double())


def weights_bytes(model) -> int:
    """Bytes of all parameters and buffers."""
    return sum(t.nbytes for t in model.state_dict().values())


def zipped_bytes(model) -> int:
    """Bytes of all parameters and buffers, end to end, compressed by zlib.

    Zeros that pruning scattered over a tensor take four bytes each, like every other number; compressed
    they take next to nothing.
    """
    return len(zlib.compress(b"".join(t.numpy().tobytes() for t in model.state_dict().values())))


class Milliseconds(NamedTuple):
    """The median of several times, and the shortest and the longest of them. `f"{ms:.1f}"` shows all three."""

    median: float
    low: float
    high: float

    def __format__(self, spec):
        width, _, digits = spec.partition(".")
        median, low, high = (f"{value:.{digits}}" for value in self)
        return f"{f'{median} ({low}-{high})':>{width or 0}}"


def milliseconds(run, crop, repeats=10) -> Milliseconds:
    """How long `run(crop)` takes, over `repeats` calls, after two to warm up."""
    times = []
    with torch.inference_mode():
        for _ in range(repeats + 2):
            start = time.perf_counter()
            run(crop)
            times.append(1e3 * (time.perf_counter() - start))
    return Milliseconds(statistics.median(times[2:]), min(times[2:]), max(times[2:]))
