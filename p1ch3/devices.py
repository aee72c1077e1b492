"""How long moves between devices take (chapter 3, "Moving tensors to the GPU")."""

import time

import torch


def wait_for(device: torch.device):
    """Return once `device` has done everything asked of it; the CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def best_seconds(work, device: torch.device, repeats: int = 5) -> float:
    """The shortest of `repeats` timings of `work()`, in seconds, each until `device` has finished.

    One call before them is not timed: it pays for memory and libraries that later calls find ready.
    """
    work()
    times = []
    for _ in range(repeats):
        wait_for(device)
        start = time.perf_counter()
        work()
        wait_for(device)
        times.append(time.perf_counter() - start)
    return min(times)


def time_moves(device, megabytes=(0.01, 1, 64)) -> list[dict]:
    """Timed copies from the CPU's memory to `device`, and products there.

    Rows with `megabytes`, `copy_ms`, `gb_per_s`. On a machine without accelerator `device` is the CPU and
    the copy stays within main memory (`Tensor.to` would not copy at all, so `copy=True` asks for it).
    """
    device = torch.device(device)
    rows = []
    for size in megabytes:
        tensor = torch.rand(int(size * 250_000))  # 4 bytes each
        seconds = best_seconds(lambda tensor=tensor: tensor.to(device, copy=True), device)
        rows.append({"megabytes": size, "copy_ms": 1e3 * seconds, "gb_per_s": size / 1e3 / seconds})
    return rows


def time_products(device, sizes=(16, 256, 1024)) -> list[dict]:
    """Timed products of two float32 matrices of `size` × `size` that lie on `device` already.

    Rows with `size`, `ms` and `gflops`, billions of multiplications and additions a second.
    """
    device = torch.device(device)
    rows = []
    for size in sizes:
        a, b = torch.rand(2, size, size, device=device)
        seconds = best_seconds(lambda a=a, b=b: a @ b, device)
        rows.append({"size": size, "ms": 1e3 * seconds, "gflops": 2 * size**3 / seconds / 1e9})
    return rows
