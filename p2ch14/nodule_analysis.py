"""From a CT scan to a list of nodules (chapter 14).

    python -m p2ch14.nodule_analysis SCAN… --json findings.json --report report.html

A SCAN is a .mhd, .nii.gz or .nrrd file, a DICOM folder, or a series UID of the LUNA data.
For learning about deep learning; this is no medical device.
"""

import argparse
import csv
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from scipy import ndimage

from p2ch10.dsets import Ct, getCandidateInfoList, getCt, irc2xyz, is_held_out, is_series_uid
from p2ch10.scans import load_scan
from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p2ch13.dsets import slices_with_context
from p2ch13.model import UNetWrapper
from util.files import UserError, atomic_path, main_guard
from util.paths import PROJECT, shown
from util.progress import enumerateWithEstimate
from util.runtime import get_device, has_fast_bfloat16

CROP_IRC = (32, 48, 48)
SHIPPED = PROJECT / "data" / "p2ch14"
SHIPPED_CLASSIFIER = SHIPPED / "classification.safetensors"


def threshold_of(path) -> float:
    """The threshold that a classifier's file brings along (chosen on training scans), else 0.5."""
    if Path(path).suffix != ".safetensors" or not Path(path).is_file():
        return 0.5
    with safe_open(path, framework="pt") as file:
        return float((file.metadata() or {}).get("threshold", 0.5))


@dataclass
class Finding:
    """One nodule candidate that segmentation proposed and the classifier judged.

    center_irc: voxel index (float). center_xyz: mm, patient coordinates (LPS). diameter_mm: of the ball
    with the volume of the marked voxels. probability: that it is a nodule, 0 to 1. malignancy: 0 to 1,
    or None when no malignancy network was given.
    """

    center_irc: tuple[float, float, float]
    center_xyz: tuple[float, float, float]
    diameter_mm: float
    probability: float = math.nan
    malignancy: float | None = None


@dataclass
class ScanResult:
    """What the analysis of one scan found: every candidate, most probable first."""

    series_uid: str
    path: str
    seconds: float
    findings: list[Finding]

    def nodules(self, threshold=0.5) -> list[Finding]:
        return [finding for finding in self.findings if finding.probability >= threshold]


class NoduleAnalysisApp:
    """Segments, groups, classifies and, on request, judges malignancy (chapter 14).

    segmentation, classification, malignancy: weights files (`.state` or safetensors); the shipped ones
    by default. device: as `util.runtime.get_device` takes it. Raises `UserError` for weights that are
    missing or of another model.
    """

    def __init__(self, segmentation=None, classification=None, malignancy=None, device=None, threshold=0.5):
        self.device = get_device(device)
        self.threshold = threshold
        self.use_bfloat16 = has_fast_bfloat16(self.device)
        self.seg_model = self._ready(
            UNetWrapper(), segmentation or SHIPPED / "segmentation.safetensors", torch.channels_last
        )
        self.cls_model = self._ready(
            LunaModel(), classification or SHIPPED_CLASSIFIER, torch.channels_last_3d
        )
        self.malignancy_model = malignancy and self._ready(LunaModel(), malignancy, torch.channels_last_3d)

    def _ready(self, model, path, memory_format):
        return load_weights(model, path).to(self.device).to(memory_format=memory_format).eval()

    def _autocast(self):
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.use_bfloat16)

    def analyse(self, ct: Ct, path="") -> ScanResult:
        """The whole way for one scan; findings are sorted by probability."""
        start = time.perf_counter()
        mask = self.segment_ct(ct)
        findings = self.group_segmentation_output(ct, mask)
        self.classify_candidates(ct, findings)
        findings.sort(key=lambda finding: -finding.probability)
        return ScanResult(ct.series_uid, str(path), time.perf_counter() - start, findings)

    @torch.inference_mode()
    def segment_ct(self, ct: Ct, batch_size=8) -> np.ndarray:
        """Suspicious voxels of a scan, bool (I, R, C), of the scan's shape."""
        window = body_window(ct.hu_a)
        hu = ct.hu_a[(slice(None), *window)]
        mask = np.zeros(ct.hu_a.shape, dtype=bool)
        starts = range(0, len(hu), batch_size)
        for _, start in enumerateWithEstimate(starts, "segmentation"):
            stop = min(start + batch_size, len(hu))
            batch = np.stack([slices_with_context(hu, i) for i in range(start, stop)]).astype(np.float32)
            input_g = torch.from_numpy(batch).to(self.device, memory_format=torch.channels_last)
            with self._autocast():
                probability_g = self.seg_model(input_g)  # (N, 1, H, W)
            mask[(slice(start, stop), *window)] = (probability_g[:, 0] > 0.5).cpu().numpy()
        return mask

    def group_segmentation_output(self, ct: Ct, mask) -> list[Finding]:
        """Neighbouring voxels become one candidate each (chapter 14, "Grouping voxels").

        mask: bool (I, R, C). One erosion drops thin bridges and specks; components touch by faces; the
        centre is the centre of mass, weighted by HU + 1001 so that air weighs next to nothing.
        """
        labels, count = ndimage.label(ndimage.binary_erosion(mask, iterations=1))
        if count == 0:
            return []
        numbers = np.arange(1, count + 1)
        centers = ndimage.center_of_mass(ct.hu_a.astype(np.float32) + 1001, labels, numbers)
        voxel_mm3 = float(np.prod(ct.vxSize_xyz))
        findings = []
        for number, center, box in zip(numbers, centers, ndimage.find_objects(labels)):
            # The erosion took one layer away; for the size it is put back, within the mask.
            wider = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
            voxels = (ndimage.binary_dilation(labels[wider] == number) & mask[wider]).sum()
            diameter_mm = 2 * (3 * float(voxels) * voxel_mm3 / (4 * math.pi)) ** (1 / 3)
            xyz = irc2xyz(center, ct.origin_xyz, ct.vxSize_xyz, ct.direction_a)
            findings.append(
                Finding(tuple(float(c) for c in center), tuple(float(c) for c in xyz), diameter_mm)
            )
        return findings

    @torch.inference_mode()
    def classify_candidates(self, ct: Ct, findings, batch_size=32):
        """Fill in each finding's probability and, with a malignancy network, its malignancy."""
        starts = range(0, len(findings), batch_size)
        for _, start in enumerateWithEstimate(starts, "classification"):
            part = findings[start : start + batch_size]
            crops = np.stack([ct.getRawCandidate(f.center_xyz, CROP_IRC)[0] for f in part])
            input_g = torch.from_numpy(crops.astype(np.float32))[:, None].to(
                self.device, memory_format=torch.channels_last_3d
            )  # (N, 1, 32, 48, 48)
            with self._autocast():
                _, probability_g = self.cls_model(input_g)
                malignancy_g = self.malignancy_model(input_g)[1] if self.malignancy_model else None
            for i, finding in enumerate(part):
                finding.probability = float(probability_g[i, 1])
                finding.malignancy = None if malignancy_g is None else float(malignancy_g[i, 1])


def body_window(hu, air_hu=-500, multiple=4, margin=8):
    """Two slices (rows, columns): the smallest window that holds all that is not air around the patient.

    Its edges are multiples of `multiple`, as the U-Net needs, where the image allows it.
    """
    window = []
    occupied = (hu[::2] > air_hu).any(axis=0)
    for axis in (0, 1):
        places = np.flatnonzero(occupied.any(axis=1 - axis))
        size = hu.shape[1 + axis]
        if len(places) == 0:
            places = np.array([0, size - 1])
        start = max(int(places[0]) - margin, 0)
        length = min(int(places[-1]) + margin + 1, size) - start
        length = min(-(-length // multiple) * multiple, size // multiple * multiple)
        start = min(start, size - length)
        window.append(slice(start, start + length))
    return tuple(window)


def write_json(path, results, threshold):
    """The findings above `threshold`, by the schema that the README describes."""
    scans = [
        {
            "series_uid": result.series_uid,
            "path": result.path,
            "seconds": round(result.seconds, 3),
            "candidates": len(result.findings),
            "nodules": [
                {
                    "center_xyz": [round(c, 3) for c in nodule.center_xyz],
                    "diameter_mm": round(nodule.diameter_mm, 2),
                    "probability": round(nodule.probability, 5),
                    "malignancy": None if nodule.malignancy is None else round(nodule.malignancy, 5),
                }
                for nodule in result.nodules(threshold)
            ],
        }
        for result in results
    ]
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"scans": scans}, indent=1) + "\n", encoding="utf-8")


def write_csv(path, results, lowest=0.0):
    """LUNA16's submission format: every candidate with at least probability `lowest`."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seriesuid", "coordX", "coordY", "coordZ", "probability"])
        for result in results:
            for finding in result.nodules(lowest):
                where = [f"{c:.3f}" for c in finding.center_xyz]
                writer.writerow([result.series_uid, *where, f"{finding.probability:.5f}"])


def open_scan(name) -> tuple[Ct, str]:
    """The scan behind a path or a series UID, and how to call it in a report."""
    if is_series_uid(name):
        return getCt(name), name
    return load_scan(name), shown(name)


def series_of(val_stride, held_out=True) -> list[str]:
    """Series UIDs of the scans on disk that training with `--val-stride` left aside, or of the others."""
    series = sorted({candidate.series_uid for candidate in getCandidateInfoList()})
    return [uid for uid in series if is_held_out(uid, val_stride) == held_out]


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scans", nargs="*", metavar="SCAN")
    parser.add_argument("--run-validation", action="store_true", help="analyse and score the held-out scans")
    parser.add_argument("--val-stride", type=int, default=5, help="as in training")
    parser.add_argument("--segmentation-path", metavar="P", help="weights of UNetWrapper")
    parser.add_argument("--classification-path", metavar="P", help="weights of LunaModel")
    parser.add_argument("--malignancy-path", metavar="P", help="weights of LunaModel trained on malignancy")
    parser.add_argument(
        "--threshold",
        type=float,
        help="least probability of a nodule; by default the one in the classifier's file, else 0.5",
    )
    parser.add_argument("--device", help="such as cpu or cuda:1; the course chooses by default")
    parser.add_argument("--json", metavar="F", help="write findings as JSON")
    parser.add_argument("--csv", metavar="F", help="write every candidate in LUNA16's submission format")
    parser.add_argument("--report", metavar="F", help="write an HTML report with pictures")
    options = parser.parse_args(arguments)
    names = list(options.scans)
    if options.run_validation:
        names += series_of(options.val_stride)
    if not names:
        raise UserError("no scan given; name a file, a DICOM folder or a series UID, or use --run-validation")
    if options.threshold is None:
        options.threshold = threshold_of(options.classification_path or SHIPPED_CLASSIFIER)
    app = NoduleAnalysisApp(
        options.segmentation_path,
        options.classification_path,
        options.malignancy_path,
        options.device,
        options.threshold,
    )
    results, sections = [], []
    for name in names:
        ct, called = open_scan(name)
        result = app.analyse(ct, called)
        results.append(result)
        print_result(result, options.threshold)
        if options.report:
            from p2ch14.report import scan_section

            sections.append(scan_section(ct, result, options.threshold))
    if options.run_validation:
        from p2ch14.scoring import print_scores, truth_by_series

        print_scores(results, truth_by_series(), options.threshold)
    if options.json:
        write_json(options.json, results, options.threshold)
    if options.csv:
        write_csv(options.csv, results)
    if options.report:
        from p2ch14.report import write_report

        write_report(options.report, sections)


def print_result(result: ScanResult, threshold):
    nodules = result.nodules(threshold)
    print(f"{result.path}: {len(result.findings)} candidates, {len(nodules)} nodules, {result.seconds:.1f} s")
    for nodule in nodules:
        x, y, z = nodule.center_xyz
        malignancy = "" if nodule.malignancy is None else f"  malignancy {nodule.malignancy:.2f}"
        print(
            f"  nodule {nodule.probability:.3f}  {nodule.diameter_mm:5.1f} mm  "
            f"at x {x:7.1f}  y {y:7.1f}  z {z:7.1f} mm{malignancy}"
        )


if __name__ == "__main__":
    main_guard(main)
