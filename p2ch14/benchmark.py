"""A whole scan from voxels to nodules, beside the plain way, in the same run (chapter 14).

    python -m p2ch14.benchmark [--json F] [SCAN]
    python -m p2ch14.benchmark --large [--json F]

Plain: slice by slice at full width, crop by crop, float32 in contiguous memory, and SciPy's centre of
mass. Without SCAN a real LUNA scan where one is there (in COURSE_DATA or COURSE_REAL),
else a generated one of 140×512×512 voxels. --large asks for memory only: a generated patient of 600 slices.
All is computed in this process: when it is stopped, nothing goes on.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage

from p2ch09.geometry import Geometry
from p2ch09.phantom import make_patient
from p2ch10.scans import load_scan
from p2ch13.benchmark import SEED, choose_scan
from p2ch13.lungs import Lungs
from p2ch13.segment import segment_plainly, trusted
from p2ch14 import grouping
from p2ch14.pipeline import NodulePipeline
from util.errors import UserError, main_guard
from util.files import atomic_path

SAME_MM = 2.0  # two nodules closer than this are one
SECONDS, GIGABYTES, FASTER = 15, 2.0, 5
LARGE_SHAPE, LARGE_GIGABYTES = (600, 512, 512), 3.0


class PlainPipeline(NodulePipeline):
    """The same networks and the same decisions, computed as one would write it down first."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.use_bfloat16 = False

    def _placed(self, model, _memory_format):
        return super()._placed(model, torch.contiguous_format)

    def segment_ct(self, ct, lungs=None):
        # Where to look for lung nodules is a decision, so it is the same; the plain way computes the rest as well.
        inside = np.zeros(ct.hu_a.shape, dtype=bool)
        for slab, window in (lungs or Lungs(ct.hu_a)).windows():
            inside[(slab, *trusted(window, ct.hu_a.shape[1:]))] = True
        return segment_plainly(self.seg_model, ct.hu_a, self.mask_threshold) & inside

    def group_segmentation_output(self, ct, mask, lungs=None):
        fast = grouping.centers_of_mass
        grouping.centers_of_mass = _scipy_centers_of_mass
        try:
            return super().group_segmentation_output(ct, mask, lungs)
        finally:
            grouping.centers_of_mass = fast

    @torch.inference_mode()
    def _logits(self, model, crops_t):
        both = [model(crop_t[None].to(self.device))[0][0].cpu() for crop_t in crops_t]
        return np.array([(two[1] - two[0]).item() for two in both], dtype=np.float32)


def _scipy_centers_of_mass(hu, labels, count):
    numbers = np.arange(1, count + 1)
    voxels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    centers = np.full((count, 3), np.nan)
    there = numbers[voxels > 0]
    if len(there):
        centers[there - 1] = ndimage.center_of_mass(hu.astype(np.float32) + 1001, labels, there)
    return centers, voxels


def unmatched(nodules, others) -> int:
    """How many of `nodules` have no partner among `others` at the same place."""
    places = np.array([other.center_xyz for other in others]).reshape(-1, 3)
    return sum(
        not (np.linalg.norm(places - np.array(nodule.center_xyz), axis=1) < SAME_MM).any()
        for nodule in nodules
    )


def peak_gigabytes() -> float:
    """The most memory this process has held so far; NaN where the system does not count it."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, kilobytes elsewhere.
    return peak / (1e9 if os.uname().sysname == "Darwin" else 1e6)


def _timed(pipeline, path):
    """(result, seconds, CPU seconds) of reading and analysing the scan."""
    start, cpu_start = time.perf_counter(), time.process_time()
    result = pipeline.analyse(load_scan(path), path)
    return result, time.perf_counter() - start, time.process_time() - cpu_start


def measure(path, device=None, paths=()):
    """Both ways on the scan at `path`: a dict of figures. `paths`: weights, the shipped ones by default."""
    pipeline = NodulePipeline(*paths, device=device)
    threshold = pipeline.threshold
    if pipeline.device.type != "cpu":
        _timed(pipeline, path)  # a GPU's first scan loads its libraries
    ours, seconds, cpu_seconds = _timed(pipeline, path)
    # Before the plain way runs, which needs more.
    peak = peak_gigabytes()

    pipeline = PlainPipeline(*paths, device=device)
    plain, plain_seconds, plain_cpu_seconds = _timed(pipeline, path)
    found, found_plainly = ours.nodules(threshold), plain.nodules(threshold)
    differing = unmatched(found, found_plainly) + unmatched(found_plainly, found)
    return {
        "shape": list(load_scan(path).hu_a.shape),
        "device": str(pipeline.device),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "plain_seconds": plain_seconds,
        "cpu_seconds": cpu_seconds,
        "plain_cpu_seconds": plain_cpu_seconds,
        "times_faster": plain_seconds / seconds,
        "peak_gb": peak,
        "candidates": len(ours.findings),
        "plain_candidates": len(plain.findings),
        "nodules": len(found),
        "plain_nodules": len(found_plainly),
        "differing_nodules": differing,
        "same_decisions": differing == 0,
    }


def write_large_scan(folder: Path, shape=LARGE_SHAPE) -> Path:
    """A generated patient in thin slices, each of them four times, as .mhd; its path.

    Memory depends on how many voxels there are and how many are marked, not on whether neighbours differ.
    """
    patient = make_patient(SEED, (shape[0] // 4, *shape[1:]))
    geometry = patient.geometry
    x, y, z = geometry.spacing_xyz
    thin = Geometry(shape, geometry.origin_xyz, (x, y, z / 4), geometry.direction)
    path = folder / f"{patient.series_uid}.mhd"
    sitk.WriteImage(thin.to_itk(np.repeat(patient.hu, 4, axis=0)), str(path))
    return path


def measure_large(path, device=None) -> dict:
    """Seconds and memory of reading and analysing the scan at `path`, in our way only."""
    pipeline = NodulePipeline(device=device)
    result, seconds, cpu_seconds = _timed(pipeline, path)
    return {
        "device": str(pipeline.device),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_gb": peak_gigabytes(),
        "candidates": len(result.findings),
        "nodules": len(result.nodules(pipeline.threshold)),
    }


def print_large(figures):
    """What `measure_large` answers, with what must hold."""
    size = "×".join(map(str, figures["shape"]))
    print(f"a generated scan of {size} voxels, {figures['device']}, {figures['threads']} threads")
    print(
        f"seconds {figures['seconds']:.1f}; {figures['candidates']} candidates, {figures['nodules']} nodules"
    )
    peak = figures["peak_gb"]
    fails = "  FAILS" if peak > LARGE_GIGABYTES else ""
    print(f"memory, GB {peak:.2f}  at most {LARGE_GIGABYTES:g}{fails}")


def print_figures(figures):
    """What `measure` answers, ours beside the plain way, with what must hold."""
    size = "×".join(map(str, figures["shape"]))
    print(
        f"a {figures['scan']} scan of {size} voxels, {figures['device']}, {figures['threads']} threads, "
        "reading included"
    )
    print(f"{'':26} {'ours':>8} {'plain':>8}  must hold")

    def line(name, ours, plain, bound, holds):
        print(f"{name:26} {ours:>8} {plain:>8}  {bound}{'' if holds else '  FAILS'}")

    ours, plain, peak = figures["seconds"], figures["plain_seconds"], figures["peak_gb"]
    line("seconds", f"{ours:.1f}", f"{plain:.1f}", f"at most {SECONDS}", ours <= SECONDS)
    cpu = [f"{figures[key]:.1f}" for key in ("cpu_seconds", "plain_cpu_seconds")]
    line("CPU seconds", *cpu, "(all cores; steadier when the machine is busy)", True)
    times = figures["times_faster"]
    line("times faster", f"{times:.1f}", "1", f"at least {FASTER}", times >= FASTER)
    line("memory, GB", f"{peak:.2f}", "", f"at most {GIGABYTES:g}", not peak > GIGABYTES)
    line("candidates", figures["candidates"], figures["plain_candidates"], "", True)
    same = figures["same_decisions"]
    line("nodules", figures["nodules"], figures["plain_nodules"], "the same places", same)


def main(arguments=None):
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scan", nargs="?", metavar="SCAN", help="a scan file or DICOM folder")
    parser.add_argument("--device", help="such as cpu or cuda:1; the course chooses by default")
    parser.add_argument("--json", metavar="F", help="write the figures to this file, too")
    parser.add_argument("--large", action="store_true", help="memory for a generated scan of 600 slices")
    options = parser.parse_args(arguments)
    if options.large and options.scan:
        raise UserError("--large generates its scan; leave out SCAN or --large")
    with tempfile.TemporaryDirectory() as folder:
        if options.large:
            path = write_large_scan(Path(folder))
            figures = {"scan": "generated", "shape": list(LARGE_SHAPE), **measure_large(path, options.device)}
            print_large(figures)
        else:
            path, kind = (Path(options.scan), "given") if options.scan else choose_scan(Path(folder))
            figures = {"scan": kind, **measure(path, options.device)}
            print_figures(figures)
    if options.json:
        with atomic_path(options.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main_guard(main)
