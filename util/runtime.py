"""The device and the threads to compute on, and one place to set every random seed."""

import contextlib
import ctypes
import os
import random
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from util.errors import UserError


def get_device(name: str | None = None) -> torch.device:
    """What PyTorch can compute on here: a GPU ("cuda", Apple's "mps", "xpu"), else the CPU.

    `name` or `COURSE_DEVICE` overrides ("cpu", "cuda:1").

    Raises `UserError` for a device that this machine does not have.
    """
    name = name or os.environ.get("COURSE_DEVICE")
    if name is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"device '{name}' is not usable here; leave it out to let the course choose, "
            "or run 'python course.py doctor' to see what this machine has"
        ) from error
    return device


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python, NumPy and PyTorch (all devices); returns a CPU generator with the same seed."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


@contextlib.contextmanager
def on_threads(count: int):
    """PyTorch computes on `count` threads inside, and on as many as before afterwards.

    One thread is fastest for small networks: handing work from core to core takes longer than their layers do.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_each_core(work, items, device: torch.device):
    """Yield work(item) for each of `items`, in their order; on a CPU every core has an item of its own.

    Cores that share one small batch spend much of their time waiting for each other. As many Python threads as
    PyTorch has threads run `work`, each on one; a few items ahead of the one that is asked for are taken from
    `items`, by the calling thread. `work` says for itself what holds per thread: `torch.inference_mode`, autocast.
    """
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    if cores == 1:
        yield from map(work, items)
        return

    def alone(item):
        torch.set_num_threads(1)
        try:
            return work(item)
        finally:
            torch.set_num_threads(cores)  # threads that start later take over the number set last

    pool = ThreadPoolExecutor(cores)
    waiting = deque()
    try:
        for item in items:
            waiting.append(pool.submit(alone, item))
            if len(waiting) > cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def has_fast_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 is computed in hardware, so that autocast makes training faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def keep_freed_memory():
    """Let this process keep the memory it frees, for the next tensor of that size (Linux with glibc).

    By default glibc hands every large block back to the system at once and must ask for zeroed pages
    again at the next step, which costs a training step on the CPU about a quarter of its time.
    """
    mallopt = _from_glibc("mallopt")
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


def give_back_freed_memory():
    """Hand what this process has freed back to the system (Linux with glibc), between two large jobs.

    glibc keeps freed blocks of up to 32 MB, and what lies scattered between those still in use adds up from scan to
    scan.
    """
    malloc_trim = _from_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _from_glibc(name):
    """The function `name` of the C library, or None where it has none: elsewhere than on Linux with glibc."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
