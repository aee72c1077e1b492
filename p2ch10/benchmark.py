"""How small and how fast the way to a crop is, each figure beside the plain way (chapter 10).

    python -m p2ch10.benchmark [--json F]

On a real LUNA scan where one is there (in COURSE_DATA or COURSE_REAL), else on a generated one. Times are
CPU time of one core (for the loader, which has several processes, time on the wall), the best of several
rounds, so that other programs disturb little.
"""

import argparse
import json
import os
import pickle
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch.utils.data import DataLoader, Dataset

from p2ch10 import dsets
from p2ch10.ct import CROP_IRC, crop_window, getCt
from p2ch10.dsets import CandidateInfoTuple, LunaDataset
from p2ch10.reading import read_volume
from p2ch10.store import ScanStore
from util.errors import main_guard
from util.files import atomic_path
from util.paths import real_root

CANDIDATES_PER_SCAN = 579


def best_of(function, rounds=5, clock=time.process_time) -> float:
    """Seconds of the fastest of several calls."""
    times = []
    for _ in range(rounds):
        start = clock()
        function()
        times.append(clock() - start)
    return min(times)


def as_tensor(crop):
    """An int16 crop as float32 tensor (1, 32, 48, 48)."""
    return torch.from_numpy(crop.astype(np.float32)).unsqueeze(0)


class PlainDataset(Dataset):
    """The plain way to load: cut each crop from the array that SimpleITK read, float32, one by one."""

    def __init__(self, path, windows):
        self.hu = np.clip(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), -1000, 1000)
        self.windows = windows

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, ndx):
        crop = torch.from_numpy(self.hu[self.windows[ndx]].astype(np.float32)).unsqueeze(0)
        return crop, torch.tensor([1, 0]), "scan", torch.tensor([0, 0, 0])


def _crops_per_second(dataset, batch_size=64, rounds=3) -> float:
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=2, shuffle=True, persistent_workers=True)
    for _ in loader:  # starts the workers and warms what they read
        pass
    return len(dataset) / best_of(lambda: [None for _ in loader], rounds, time.perf_counter)


def _choose_scan():
    """(series UID, path) of the smallest scan at hand."""
    if "COURSE_DATA" not in os.environ and (real := real_root()):
        os.environ["COURSE_DATA"] = str(real)
    dsets.forget()
    return min(
        dsets.scan_paths().items(),
        key=lambda item: sum(p.stat().st_size for p in item[1].parent.glob(f"{item[0]}.*")),
    )


def measure(folder: Path, count=400):
    """All figures, as (name, ours, plain, unit, bound) rows; `folder` is for what is written on the way.

    Answers the scan's path, the bytes of its voxels, and the rows.
    """
    series_uid, path = _choose_scan()
    os.environ["COURSE_CACHE"] = str(folder)
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    volume = read_volume(path)
    rng = np.random.default_rng(0)
    centers = [tuple(int(rng.integers(0, n)) for n in volume.hu.shape) for _ in range(count)]
    windows = [crop_window(center, CROP_IRC, volume.hu.shape) for center in centers]
    places = [volume.geometry.irc2xyz(center) for center in centers]
    store = ScanStore(folder / "scans")
    rows = _measure_store(store, series_uid, path, volume.hu.nbytes)
    rows += _measure_crops(folder, series_uid, store.open(series_uid, path), volume.hu, windows, places)
    rows += _measure_loader(series_uid, path, windows, places)
    return path, volume.hu.nbytes, rows


def _measure_store(store, series_uid, path, raw_bytes):
    """How fast scans are stored, and how small."""

    def plain_reading():
        return np.clip(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), -1000, 1000)

    def fill():
        for entry in store.root.glob("*.b2nd"):
            entry.unlink()
        store.add(series_uid, path, read_volume(path))

    rate, plain_rate = (
        raw_bytes / 1e6 / best_of(function, rounds) for function, rounds in ((fill, 3), (plain_reading, 2))
    )
    cache_mb = CANDIDATES_PER_SCAN * int(np.prod(CROP_IRC)) * 4 / 1e6
    beside = f"store per scan beside {CANDIDATES_PER_SCAN} cached crops"
    return [
        ("fill the store (plain: read only)", rate, plain_rate, "MB/s per core", ">= 60"),
        ("store size of raw int16", 100 * store.size() / raw_bytes, 100.0, "%", "<= 45"),
        (beside, store.size() / 1e6, cache_mb, "MB", f"<= {cache_mb / 4:.1f}"),
    ]


def _measure_crops(folder, series_uid, stored, hu, windows, places):
    """How long a crop takes, from the store and from memory."""
    pickled = folder / "crops"
    pickled.mkdir()
    for number, window in enumerate(windows):
        (pickled / str(number)).write_bytes(pickle.dumps(as_tensor(hu[window]), protocol=4))

    def from_pickle():
        for number in range(len(windows)):
            with open(pickled / str(number), "rb") as file:
                pickle.load(file)

    def from_store():
        for window in windows:
            as_tensor(stored.crop(window))

    def from_memory():
        for place in places:
            as_tensor(dsets.getCtRawCandidate(series_uid, place)[0])

    def per_crop(function):
        return best_of(function, 7) / len(windows) * 1e3

    plain = per_crop(from_pickle)
    warm = per_crop(from_store)
    os.environ["COURSE_MEMORY_GB"] = "4"
    getCt(series_uid)
    return [
        ("crop from the store, warm", warm, plain, "ms", "<= 0.25"),
        ("crop from memory", per_crop(from_memory), plain, "ms", "<= 0.08"),
    ]


def _measure_loader(series_uid, path, windows, places):
    """How many crops two loading processes give, with the scan in memory and without."""
    infos = [CandidateInfoTuple(False, False, False, 0.0, series_uid, place) for place in places] * 4

    def rate():
        return _crops_per_second(LunaDataset(candidateInfo_list=infos))

    from_memory, plain = rate(), _crops_per_second(PlainDataset(path, windows * 4))
    os.environ["COURSE_MEMORY_GB"] = "0"
    dsets.memory.clear()
    return [
        ("DataLoader, 2 workers, from memory", from_memory, plain, "crops/s", ">= 2000"),
        ("DataLoader, 2 workers, from the store", rate(), plain, "crops/s", ">= 2000"),
    ]


def _holds(value, bound) -> bool:
    sign, limit = bound.split()
    return value <= float(limit) if sign == "<=" else value >= float(limit)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path, raw_bytes, rows = measure(Path(folder))
    kind = "generated" if path.stem.startswith("2.25.90009") else "real"
    print(
        f"a {kind} scan, {raw_bytes / 1e6:.0f} MB of int16 voxels; plain: SimpleITK and pickled float32 crops"
    )
    print(f"{'':42} {'ours':>9} {'plain':>9}  {'':14} must hold")
    for name, ours, plain, unit, bound in rows:
        verdict = "" if _holds(ours, bound) else "  FAILS"
        print(f"{name:42} {ours:9.3f} {plain:9.3f}  {unit:14} {bound}{verdict}")
    if options.json:
        keys = ("name", "ours", "plain", "unit", "bound")
        record = {"scan": kind, "raw_bytes": raw_bytes, "rows": [dict(zip(keys, row)) for row in rows]}
        with atomic_path(options.json) as temporary:
            temporary.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main_guard(main)
