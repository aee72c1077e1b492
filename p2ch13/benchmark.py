"""Segmenting a whole scan, beside the plain way, in the same run (chapter 13).

    python -m p2ch13.benchmark [--weights F] [SCAN]

Plain: slice by slice at full width, float32, contiguous memory. The masks are compared where both look, in
the windows around the lungs; what the plain way marks outside of them (skin, couch, belly), which the fast way
leaves out on purpose, is counted apart. Without SCAN a real LUNA scan where one is there (in COURSE_DATA or
COURSE_REAL), else a generated one of 140×512×512 voxels.
"""

import argparse
import copy
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from p2ch10.scans import load_scan
from p2ch11.training import load_weights
from p2ch13.lungs import Lungs
from p2ch13.model import UNetWrapper
from p2ch13.segment import segment, segment_plainly, trusted
from util.errors import main_guard
from util.paths import PROJECT, data_root, real_root
from util.runtime import get_device, has_fast_bfloat16

SHIPPED = PROJECT / "data" / "p2ch14" / "segmentation.safetensors"
SHAPE = (140, 512, 512)
SEED = 14
FASTER, SAME = 5, 0.999


def choose_scan(folder: Path):
    """(path, kind) of a scan of real size: "real", or "generated" into `folder`."""
    for root in filter(None, (data_root(), real_root())):
        found = sorted(root.glob("luna/subset*/*.mhd")) + sorted(root.glob("subset*/*.mhd"))
        if found:
            return found[0], "generated" if found[0].stem.startswith("2.25.90009") else "real"
    from p2ch09.phantom import make_patient, write_scan

    print("generating a scan of real size …", flush=True)
    write_scan(make_patient(SEED, SHAPE), folder)
    return next(folder.glob("**/*.mhd")), "generated"


def looked_at(hu) -> np.ndarray:
    """The voxels that `segment` judges, bool (I, R, C)."""
    mask = np.zeros(hu.shape, dtype=bool)
    for slab, window in Lungs(hu).windows():
        mask[(slab, *trusted(window, hu.shape[1:]))] = True
    return mask


def timed(function, *args, **kwargs):
    """Seconds a call took, and its result."""
    start = time.perf_counter()
    result = function(*args, **kwargs)
    return time.perf_counter() - start, result


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scan", nargs="?", metavar="SCAN", help="a scan file or DICOM folder")
    parser.add_argument("--weights", default=SHIPPED, metavar="F", help="of the U-Net; the shipped ones")
    parser.add_argument("--device", help="such as cpu or cuda:1; the course chooses by default")
    options = parser.parse_args(arguments)
    device = get_device(options.device)
    plain_model = load_weights(UNetWrapper(), options.weights).to(device).eval()
    model = copy.deepcopy(plain_model).to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        path, kind = (Path(options.scan), "given") if options.scan else choose_scan(Path(folder))
        hu = load_scan(path).hu_a
    settings = {
        "batch_size": 1 if device.type == "cpu" else 8,
        "use_bfloat16": has_fast_bfloat16(device),
    }
    segment(model, hu, **settings)  # first calls choose their kernels, and get their memory
    segment_plainly(plain_model, hu[:4])
    seconds, ours = timed(segment, model, hu, **settings)
    plain_seconds, plain = timed(segment_plainly, plain_model, hu)

    judged = looked_at(hu)
    times, same = plain_seconds / seconds, (ours == plain)[judged].mean()
    print(
        f"a {kind} scan of {'×'.join(map(str, hu.shape))} voxels, {device}, {torch.get_num_threads()} threads"
    )
    print(f"ours {seconds:.1f} s, plain {plain_seconds:.1f} s; {plain.sum():,} voxels marked plainly")
    print(f"times faster {times:.1f}  (at least {FASTER}){'' if times >= FASTER else '  FAILS'}")
    print(f"same voxels  {same:.4%}  (at least {SAME:.1%}){'' if same >= SAME else '  FAILS'}")
    print(
        f"compared in the {judged.mean():.0%} of the scan around the lungs; the plain way marks "
        f"{plain[~judged].sum():,} voxels outside of it: {(ours == plain).mean():.4%} the same in all"
    )


if __name__ == "__main__":
    main_guard(main)
