"""`python course.py doctor --measure`: five small measurements of this machine, each beside the plain way.

They take the chapters' own benchmarks, on a few patients and pictures drawn for the occasion, and whatever
device the course computes on; at most three minutes on two cores. Each has a process of its own.
"""

import contextlib
import io
import json
import os
import platform
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from p1ch7 import draw
from p1ch8.benchmark import loops
from p2ch09.phantom import write_cohort
from p2ch10 import benchmark as crop_benchmark
from p2ch10.dsets import scan_paths
from p2ch11.benchmark import in_own_process, training_rate
from p2ch13.model import UNetWrapper
from p2ch14 import benchmark as scan_benchmark
from util.files import atomic_path
from util.runtime import get_device, has_fast_bfloat16

PATIENTS, SEED = 4, 505
PICTURES = 1000  # per class


@dataclass(frozen=True)
class Figure:
    """One measurement: ours beside the plain way. unit: "…/s" (more is better) or "s" (less is)."""

    name: str
    unit: str
    ours: float
    plain: float

    @property
    def times_faster(self) -> float:
        return self.plain / self.ours if self.unit == "s" else self.ours / self.plain


def convnet(folder: Path):
    """Chapter 8's training of a convnet: images per second, ours and chapter 7's loop."""
    result = loops(folder / "pictures", n_epochs=1)
    return result["fast"]["images_per_wall_s"], result["plain"]["images_per_wall_s"]


def luna_model(folder: Path):
    """Chapter 11's training: samples per second, loading included."""
    return tuple(training_rate(is_plain, 256, rounds=1) for is_plain in (False, True))


def unet(folder: Path, count=8):
    """Chapter 13's U-Net over slices of 512×512: per second, in `segment`'s way, and one by one in float32."""
    device = get_device()
    model = UNetWrapper().to(device).eval()
    slices = torch.from_numpy(np.random.default_rng(0).uniform(-1000, 1000, (count, 7, 512, 512))).float()

    @torch.inference_mode()
    def rate(model, size, memory_format, use_bfloat16):
        def once(part):
            part = part.to(device).contiguous(memory_format=memory_format)
            with torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16):
                return (model(part) > 0.5).cpu()

        once(slices[:size])
        start = time.perf_counter()
        for part in slices.split(size):
            once(part)
        return count / (time.perf_counter() - start)

    plain = rate(model, 1, torch.contiguous_format, False)
    size = 2 if device.type == "cpu" else 8
    model = model.to(memory_format=torch.channels_last)
    return rate(model, size, torch.channels_last, has_fast_bfloat16(device)), plain


def crops(folder: Path):
    """Chapter 10's crops per second by two loading processes.

    From the store, which serves any number of scans, and from the array of one scan that SimpleITK read; to be a
    little slower than that is what it costs not to hold them all in memory.
    """
    with tempfile.TemporaryDirectory() as cache:
        _, _, rows = crop_benchmark.measure(Path(cache), count=100)
    return next((ours, plain) for name, ours, plain, *_ in rows if name.endswith("from the store"))


def scan(folder: Path):
    """Chapter 14's whole analysis of one generated scan: seconds."""
    path = next(iter(scan_paths().values()))
    figures = scan_benchmark.measure(path)
    return figures["seconds"], figures["plain_seconds"]


MEASUREMENTS = [
    ("convnet, training", "images/s", convnet),
    ("LunaModel, training", "samples/s", luna_model),
    ("U-Net, 512 x 512", "slices/s", unet),
    ("crops from the store", "crops/s", crops),
    ("one generated scan", "s", scan),
]


def prepare(folder: Path):
    """Draw the pictures and the patients that are measured on."""
    draw.generate(folder / "pictures", train_per_class=PICTURES, test_per_class=100)
    write_cohort(folder / "luna", PATIENTS, SEED, richness=3)


def quietly(measure, folder: Path):
    """What `measure` answers, without what it prints on the way: its data are drawn, whatever they pass for."""
    with contextlib.redirect_stdout(io.StringIO()):
        return measure(folder)


def figures() -> list[Figure]:
    """Measure all, one after the other, each in a fresh process."""
    measured = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("drawing what is measured on …", flush=True)
        in_own_process(quietly, prepare, folder)
        places = {"COURSE_DATA": folder, "COURSE_CACHE": folder / "cache", "COURSE_OUTPUT": folder / "output"}
        before = {place: os.environ.get(place) for place in places}
        os.environ.update({place: str(path) for place, path in places.items()})
        try:
            for name, unit, measure in MEASUREMENTS:
                print(f"measuring: {name} …", flush=True)
                measured.append(Figure(name, unit, *in_own_process(quietly, measure, folder)))
        finally:
            for place, value in before.items():
                os.environ.pop(place) if value is None else os.environ.update({place: value})
    return measured


def machine() -> str:
    """What computes, in a few words: processor or GPU, threads, number type."""
    device = get_device()
    numbers = "bfloat16" if has_fast_bfloat16(device) else "float32"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {numbers}"
    return f"{_processor()}, {torch.get_num_threads()} threads, {device}, {numbers}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()


def table(name: str, measured: list[Figure]) -> list[str]:
    """The lines of a Markdown table: heading, rule, and one row for the machine, as the README has it."""
    heading = [f"{figure.name}, {figure.unit}" for figure in measured]
    cells = [f"{_short(figure.ours)} ({figure.times_faster:.1f}x)" for figure in measured]
    return [
        f"| {' | '.join(['machine', *heading])} |",
        f"|{'---|' * (1 + len(heading))}",
        f"| {' | '.join([name, *cells])} |",
    ]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def main(json_path=None):
    """Measure, print the table and the README's row, write the JSON."""
    start, name = time.monotonic(), machine()
    measured = figures()
    seconds = time.monotonic() - start
    print(f"\n{name}\n{'':24} {'ours':>10} {'plain':>10}")
    for figure in measured:
        print(
            f"{figure.name:24} {_short(figure.ours):>10} {_short(figure.plain):>10}  {figure.unit:10} "
            f"{figure.times_faster:.1f} times as fast"
        )
    print(f"\nmeasured in {seconds:.0f} s; as a row of the README's table:\n")
    print("\n".join(table(name, measured)))
    if json_path:
        rows = [asdict(figure) | {"times_faster": figure.times_faster} for figure in measured]
        record = {"machine": name, "torch": torch.__version__, "seconds": seconds, "figures": rows}
        with atomic_path(json_path) as temporary:
            temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
