"""Exports the course's networks and measures every export (chapter 15, "Exporting models").

    python -m p3ch15.export                       writes every export of every network to output/exports
    python -m p3ch15.export --network generator   of one network only
    python -m p3ch15.export --table               and checks the classifier's against PyTorch on 100 crops
    python -m p3ch15.export --table --crops 1000 --json F    on more crops, and written to a file

The table holds each file's size, how far its logits are from eager PyTorch's, the area under the ROC
curve, and the time of one crop, on held-out crops of generated patients.
"""

import argparse
import copy
import json
import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from p3ch15 import native
from p3ch15.efficiency import to_int8_onnx
from p3ch15.evaluation import (
    Milliseconds,
    area,
    calibration_crops,
    evaluation_crops,
    in_batches,
    milliseconds,
)
from p3ch15.formats import open_export, to_onnx, to_package, to_scripted, to_traced
from p3ch15.mobile.pte import write_both
from p3ch15.mobile.runtime import require_executorch
from p3ch15.networks import NETWORKS, SHIPPED_CLASSIFIER, network_named
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.paths import output_root, shown
from util.runtime import on_threads

# What an export must keep to: logits where the arithmetic is float32, the ranking where it is not.
LOGITS_WITHIN = 1e-4
AUC_WITHIN = 0.01
INT8_SHARE = 0.3

WRITERS = {
    ".onnx": to_onnx,
    ".pt2": to_package,
    "-traced.pt": to_traced,
    "-scripted.pt": to_scripted,
}


@dataclass
class Line:
    """One export in the table; `ms` is None where it runs in another process and was not timed."""

    name: str
    file: str
    kilobytes: float
    logits_off: float
    auc_off: float
    ms: Milliseconds | None
    is_exact: bool
    limit_kilobytes: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the export keeps to the bounds above."""
        is_near = self.logits_off <= LOGITS_WITHIN if self.is_exact else self.auc_off <= AUC_WITHIN
        return is_near and (self.limit_kilobytes is None or self.kilobytes <= self.limit_kilobytes)


def write_exports(folder, networks=None) -> list[Path]:
    """Write every export of the networks named (default: all three); returns the paths."""
    folder = Path(folder)
    return [
        write(NETWORKS[name], folder / f"{name}{ending}")
        for name in networks or NETWORKS
        for ending, write in WRITERS.items()
    ]


def _is_current(path) -> bool:
    """Whether the export is there, and no older than the weights that it should hold."""
    return path.is_file() and path.stat().st_mtime >= SHIPPED_CLASSIFIER.stat().st_mtime


class _Table:
    """The lines of the table while it grows, and what each is held against."""

    def __init__(self, folder, crops, is_nodule, answered, write):
        self.folder, self.crops, self.is_nodule = Path(folder), crops, is_nodule
        self.answered, self.write = answered, write
        self.model = NETWORKS["classification"].build()
        self.eager = in_batches(self.model, crops)
        self.reference = area(self.eager, is_nodule)
        self.lines = []

    def made(self, name, write, *arguments, **options) -> Path:
        """The export of that name, written first, if that is wanted, where it is missing or of older weights."""
        path = self.folder / name
        return path if _is_current(path) or not self.write else write(*arguments, path, **options)

    def add(self, name, path, is_exact=True, than=None, in_cpp=False):
        """Measure the file at `path`. than: the float file of which it may take 0.3; in_cpp: no time of a crop.

        Where there is none, because nothing was to be written, there is no line.
        """
        if not _is_current(path):
            return
        run = None if in_cpp else open_export(path)
        logits = self.answered.get(name)
        if logits is None:
            logits = logits_in_cpp(path, self.crops) if in_cpp else in_batches(run, self.crops)
        limit = INT8_SHARE * than.stat().st_size / 1e3 if than else None
        off = (logits - self.eager).abs().max().item()
        auc_off = abs(area(logits, self.is_nodule) - self.reference)
        time_ms = milliseconds(run, self.crops[:1]) if run else None
        kilobytes = path.stat().st_size / 1e3
        self.lines.append(Line(name, path.name, kilobytes, off, auc_off, time_ms, is_exact, limit))


def measure(folder, crops, is_nodule, answered=None, write=True) -> list[Line]:
    """The table's lines for the classifier; exports that are missing in `folder`, or
    older than the weights, are written first (write) or left out.

    answered: by a line's name the logits (N, 2) that this file has given already for these crops.

    Lines that this machine cannot make (no C++ compiler, no ExecuTorch) are left out, and it is said.
    """
    table, classifier = _Table(folder, crops, is_nodule, answered or {}, write), NETWORKS["classification"]
    onnx = table.made("classification.onnx", to_onnx, classifier)
    table.add("ONNX in onnxruntime", onnx)
    table.add("TorchScript, scripted", table.made("classification-scripted.pt", to_scripted, classifier))
    traced = table.made("classification-traced.pt", to_traced, classifier)
    table.add("TorchScript, traced", traced)
    eight = table.made("classification-int8.onnx", lambda path: to_int8_onnx(path, calibration_crops()))
    table.add("ONNX, 8 bits", eight, is_exact=False, than=onnx)
    missing = native.missing_tools()
    if missing:
        print(f"no {' and no '.join(missing)} here: no AOTInductor packages, no C++")
    else:
        _add_compiled(table, traced)
    try:
        require_executorch()
    except UserError as error:
        print(error)
    else:
        plain, small = table.folder / "nodule.pte", table.folder / "nodule-int8.pte"
        if write and not (_is_current(plain) and _is_current(small)):
            write_both(table.folder, calibration_crops(), table.model)
        table.add("ExecuTorch with XNNPACK", plain)
        table.add("ExecuTorch, 8 bits", small, is_exact=False, than=plain if _is_current(plain) else onnx)
    return table.lines


def _add_compiled(table, traced):
    """The lines that take a C++ compiler."""
    classifier = NETWORKS["classification"]
    package = table.made("classification.pt2", to_package, classifier)
    table.add("AOTInductor package", package)
    model = copy.deepcopy(table.model)
    half = table.made(
        "classification-bfloat16.pt2",
        lambda path: to_package(classifier, path, model=model, dtype=torch.bfloat16),
    )
    table.add("AOTInductor, bfloat16", half, is_exact=False)
    for name, path in (("traced, in C++", traced), ("AOTInductor, in C++", package)):
        table.add(name, path, in_cpp=True)


def logits_in_cpp(path, crops) -> torch.Tensor:
    """What the C++ program `classify` answers for `crops` with the export at `path`: (N, 2)."""
    with tempfile.TemporaryDirectory() as scratch:
        given, answered = Path(scratch) / "crops.f32", Path(scratch) / "logits.f32"
        native.write_floats(given, crops)
        native.run("classify", path, given, answered)
        return native.read_floats(answered, 2)


def print_table(lines):
    """The lines, with what each must keep to; times as median (shortest-longest)."""
    print(f"{'export':25} {'file':29} {'KB':>6} {'logits off':>11} {'AUC off':>8} {'ms a crop':>18}  holds")
    for line in lines:
        time_ms = "" if line.ms is None else f"{line.ms:.1f}"
        print(
            f"{line.name:25} {line.file:29} {line.kilobytes:6.0f} {line.logits_off:11.1e} {line.auc_off:8.4f} "
            f"{time_ms:>18}  {'yes' if line.holds else 'NO'}"
        )
    print(
        f"float32: logits within {LOGITS_WITHIN:g} of eager PyTorch; others: AUC within {AUC_WITHIN}; "
        f"8 bits: at most {INT8_SHARE} of the float file"
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m p3ch15.export", description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=None, help="folder of the files, default output/exports")
    parser.add_argument("--network", action="append", help=f"one of {', '.join(NETWORKS)}; may be repeated")
    parser.add_argument("--table", action="store_true", help="measure the classifier's exports")
    parser.add_argument("--crops", type=int, default=100, help="held-out crops to measure on")
    parser.add_argument("--threads", type=int, default=2, help="for PyTorch, onnxruntime and C++")
    parser.add_argument("--json", help="also write the table to this file")
    options = parser.parse_args(arguments)
    folder = Path(options.out or output_root() / "exports")
    for path in write_exports(folder, [network_named(name).name for name in options.network or NETWORKS]):
        print(f"{shown(path)}  {path.stat().st_size / 1e3:.0f} KB", flush=True)
    if not (options.table or options.json):
        return 0
    crops, is_nodule = evaluation_crops(options.crops)
    nodules = int(is_nodule.sum())
    print(
        f"\n{len(crops)} held-out crops of generated patients, {nodules} of them nodules; "
        f"{options.threads} threads, {platform.machine()}"
    )
    with on_threads(options.threads):
        lines = measure(folder, crops, is_nodule)
    print_table(lines)
    if options.json:
        record = {
            "crops": len(crops),
            "nodules": nodules,
            "threads": options.threads,
            "exports": [asdict(line) | {"holds": line.holds} for line in lines],
        }
        with atomic_path(options.json) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0 if all(line.holds for line in lines) else 1


if __name__ == "__main__":
    main_guard(main)
