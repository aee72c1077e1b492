"""What `torch.compile` costs and gains (chapter 15, "What to expect from moving beyond classic Python/PyTorch").

    python -m p3ch15.compiled [--threads 2] [--json data/p3ch15/compiled.json]

A chain of small operations on a scan's voxels, and the classifier with one crop and with a batch, in eager
PyTorch and compiled. Caches are left out, so that the compiling takes as long as it does the first time. Where
there is a GPU, on that.
"""

import argparse
import json
import time

import torch

from p3ch15.chatter import native_chatter_hidden, quiet
from p3ch15.evaluation import milliseconds
from p3ch15.networks import NETWORKS
from util.errors import main_guard
from util.files import atomic_path
from util.runtime import get_device, on_threads

VOXELS = 8_000_000


def windowed(hu):
    """Voxels in HU as shades from 0 to 1: eight operations that each read and write all of them."""
    shown = (hu.clamp(-1000, 400) + 1000) / 1400
    return (shown**2 * (3 - 2 * shown)).sqrt()


def measure(name, run, example, repeats=10) -> dict:
    """{"name", "compile_s", "eager_ms", "compiled_ms", "off"}: how long `run(example)` takes in both ways.

    off: the largest difference between their answers (of a tuple, of its first part).
    """
    device = example.device

    def waiting(function):
        def call(batch):
            answer = function(batch)
            if device.type == "cuda":
                torch.cuda.synchronize()
            return answer[0] if isinstance(answer, tuple) else answer

        return call

    torch.compiler.reset()
    settings = {"force_disable_caches": True, "compile_threads": 1}
    with (
        torch.inference_mode(),
        quiet(),
        native_chatter_hidden(),
        torch._inductor.config.patch(settings),
    ):
        eager, compiled = waiting(run), waiting(torch.compile(run, dynamic=False))
        start = time.perf_counter()
        answer = compiled(example)
        compile_s = time.perf_counter() - start
        off = (answer - eager(example)).abs().max().item()
    return {
        "name": name,
        "compile_s": round(compile_s, 2),
        "eager_ms": milliseconds(eager, example, repeats),
        "compiled_ms": milliseconds(compiled, example, repeats),
        "off": off,
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m p3ch15.compiled", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args(arguments)
    device, network = get_device(), NETWORKS["classification"]
    scan = torch.randint(-1000, 1000, (VOXELS,), device=device).float()
    model = network.build().to(device)
    with on_threads(options.threads):
        measure("to warm the compiler up", torch.sin, scan, repeats=1)
        rows = [
            measure(f"eight operations, {VOXELS:,} voxels", windowed, scan),
            measure("the classifier, one crop", model, network.example(1).to(device)),
            measure("the classifier, sixteen crops", model, network.example(16).to(device)),
        ]
    for row in rows:
        print(
            f"{row['name']:34} eager {row['eager_ms']:22.1f} compiled {row['compiled_ms']:22.1f} ms, "
            f"after {row['compile_s']:.1f} s; off by {row['off']:.1e}"
        )
    if options.json:
        record = {"device": device.type, "threads": options.threads, "rows": rows}
        with atomic_path(options.json) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main_guard(main)
