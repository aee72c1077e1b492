"""How fast training is, beside the plain way in the same run (chapter 11).

    python -m p2ch11.benchmark [--json F] [--samples N]

Training includes loading. The plain way reads crop by crop and computes in float32 with contiguous memory; ours
loads a batch at once and uses channels_last_3d, bfloat16 where the processor has it, and memory that is kept.
Each way is measured in a process of its own, and the best of several rounds counts. The augmentation of
chapter 12 has its own: `python -m p2ch12.benchmark`.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from torch.utils.data import Dataset

from p2ch10.dsets import LunaDataset, getCt
from p2ch11.training import LunaTrainingApp
from util.errors import main_guard
from util.files import atomic_path
from util.processes import end_with_parent
from util.runtime import get_device

BATCH_SIZE = 32


class CropByCrop(Dataset):
    """`LunaDataset` without its way of loading a whole batch at once."""

    def __init__(self, dataset):
        self.dataset = dataset
        self.pos_list = dataset.pos_list

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, ndx):
        return self.dataset[ndx]


class BenchmarkApp(LunaTrainingApp):
    """Chapter 11's training on the candidates of a few scans, which are in memory in both ways."""

    chapter = "benchmark"

    def initTrainDl(self):
        """Batches of those candidates, crop by crop with `--plain`."""
        dataset = LunaDataset()
        by_scan = dict.fromkeys(info.series_uid for info in dataset.candidateInfo_list)
        chosen = set(list(by_scan)[:4])
        infos = [info for info in dataset.candidateInfo_list if info.series_uid in chosen]
        for series_uid in chosen:
            getCt(series_uid)
        dataset = LunaDataset(candidateInfo_list=infos * 10)
        return self.make_loader(CropByCrop(dataset) if self.cli_args.plain else dataset, shuffle=True)


def training_rate(is_plain, samples, rounds=2) -> float:
    """Samples per second of training, loading included; the first steps are left out."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COURSE_OUTPUT"] = folder
        app = BenchmarkApp(epoch_samples=samples, batch_size=BATCH_SIZE, plain=is_plain)
        loader = app.initTrainDl()
        app.cli_args.epoch_samples = 2 * BATCH_SIZE
        app.doTraining(1, loader)
        app.cli_args.epoch_samples = samples
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            seen = app.doTraining(1, loader).shape[1]
            seconds.append((time.perf_counter() - start) / seen)
    return 1 / min(seconds)


def in_own_process(function, *arguments):
    """What `function` answers in a fresh process, so that no way profits from another's warm memory."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent) as pool:
        return pool.submit(function, *arguments).result()


def measure_and_print(rows_to_measure, json_path=None):
    """Measure and print each (name, function, its arguments, factor that must hold), ours against plain.

    function(is_plain, *arguments) answers samples per second.
    """
    device = get_device()
    print(f"{device.type}, {torch.get_num_threads()} threads, PyTorch {torch.__version__.split('+')[0]}")
    rows = []
    for name, function, arguments, bound in rows_to_measure:
        plain, ours = (in_own_process(function, is_plain, *arguments) for is_plain in (True, False))
        rows.append({"name": name, "ours": ours, "plain": plain, "factor": ours / plain, "bound": bound})
    print(f"\nsamples/s {'':34} {'ours':>9} {'plain':>9} {'factor':>7}  must hold")
    for row in rows:
        verdict = "" if row["factor"] >= row["bound"] else "  FAILS"
        print(
            f"{row['name']:44} {row['ours']:9.1f} {row['plain']:9.1f} {row['factor']:7.2f}  "
            f">= {row['bound']}{verdict}"
        )
    if json_path:
        with atomic_path(json_path) as temporary:
            temporary.write_text(json.dumps(rows, indent=1))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--samples", type=int, default=512, help="crops per round of training")
    options = parser.parse_args(arguments)
    name = f"training, batches of {BATCH_SIZE}, loading included"
    measure_and_print([(name, training_rate, (options.samples,), 3.5)], options.json)


if __name__ == "__main__":
    main_guard(main)
