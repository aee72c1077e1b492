"""From a CT scan to a list of nodules (chapter 14).

    python -m p2ch14.nodule_analysis SCAN… --json findings.json --report report.html

A SCAN is a .mhd, .nii.gz or .nrrd file, a DICOM folder, or a series UID of the LUNA data.
For learning about deep learning; this is no medical device.
"""

import argparse
import csv
import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from safetensors import safe_open
from scipy.special import expit, logit

from p2ch10.dsets import Ct, getCandidateInfoList, getCt, irc2xyz, is_held_out, is_series_uid
from p2ch10.scans import load_scan
from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p2ch13.model import UNetWrapper
from p2ch13.segment import segment
from p2ch14.close_look import CLOSE_IRC, CloseLookModel
from p2ch14.dsets import scaled_crop
from p2ch14.grouping import WAYS, beside_lungs, group_voxels
from p2ch14.malignancy import load_malignancy, size_weights_of, with_size
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.paths import PROJECT, shown
from util.runtime import get_device, has_fast_bfloat16
from util.util import enumerateWithEstimate

CROP_IRC = (32, 48, 48)
SHIPPED = PROJECT / "data" / "p2ch14"
SHIPPED_SEGMENTATION = SHIPPED / "segmentation.safetensors"
SHIPPED_CLASSIFIER = SHIPPED / "classification.safetensors"
SHIPPED_MALIGNANCY = SHIPPED / "malignancy.safetensors"
# Where a classifier's file asks for a second look, candidates from this probability on get one; the others
# are rejected at first sight. "mirrors": the mean over all mirror images of the crop. "close": the network in
# CLOSE_LOOK beside the file, which sees a smaller cube and was trained on what is hard for the first.
SECOND_LOOK_FROM = {"mirrors": 0.2, "close": 0.005}
MIRRORS = ((2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4))
CLOSE_LOOK = "close_look.safetensors"
CLOSE_SHARE = 0.75  # of the closer look in the mean of the two; chosen on tuning scans
# How a mask of the course's own U-Net becomes candidates; chosen on training scans.
OWN_GROUPING = {"grouping": "split", "mask_threshold": "0.9"}


def threshold_of(path) -> float:
    """The threshold that a classifier's file brings along (chosen on training scans), else 0.5."""
    return float(_metadata(path).get("threshold", 0.5))


def second_look_of(path) -> str | None:
    """The second look that a classifier's file asks for: "mirrors", "close" or None."""
    wanted = _metadata(path).get("second_look")
    return wanted if wanted in SECOND_LOOK_FROM else None


def grouping_of(path) -> tuple[str, float]:
    """How the masks of a U-Net's file are grouped: a way of `p2ch14.grouping`, and the mask's threshold.

    Our own weights (safetensors) say it themselves. A `.state` file, as the book publishes, gets the
    book's way: one erosion of the mask above 0.5.
    """
    if Path(path).suffix != ".safetensors":
        return "erode", 0.5
    said = OWN_GROUPING | _metadata(path)
    return said["grouping"], float(said["mask_threshold"])


def _metadata(path) -> dict:
    if Path(path).suffix != ".safetensors" or not Path(path).is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except Exception:  # a damaged file gets its sentence when its weights are loaded
        return {}


@dataclass
class Finding:
    """One nodule candidate that segmentation proposed and the classifier judged.

    center_irc: voxel index (float). center_xyz: mm, patient coordinates (LPS). diameter_mm: of the ball
    with the volume of the marked voxels. probability: that it is a nodule, 0 to 1. malignancy: 0 to 1,
    or None where no malignancy network judged it. voxels: where its marked voxels lie in the flat scan.
    """

    center_irc: tuple[float, float, float]
    center_xyz: tuple[float, float, float]
    diameter_mm: float
    probability: float = math.nan
    malignancy: float | None = None
    voxels: np.ndarray | None = field(default=None, repr=False, compare=False)


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
    by default. device: as `util.runtime.get_device` takes it. threshold: malignancy is judged from this
    probability on. grouping, mask_threshold: as `grouping_of` says by default. Raises `UserError` for
    weights that are missing or of another model.
    """

    def __init__(
        self,
        segmentation=None,
        classification=None,
        malignancy=None,
        device=None,
        threshold=0.5,
        grouping=None,
        mask_threshold=None,
    ):
        self.device = get_device(device)
        self.threshold = threshold
        segmentation = segmentation or SHIPPED_SEGMENTATION
        usual_grouping, usual_threshold = grouping_of(segmentation)
        self.grouping = grouping or usual_grouping
        self.mask_threshold = usual_threshold if mask_threshold is None else mask_threshold
        self.use_bfloat16 = has_fast_bfloat16(self.device)
        self.seg_model = self._ready(UNetWrapper(), segmentation, torch.channels_last)
        classification = classification or SHIPPED_CLASSIFIER
        self.cls_model = self._ready(LunaModel(), classification, torch.channels_last_3d)
        self.second_look = second_look_of(classification)
        if self.second_look == "close":
            beside = Path(classification).with_name(CLOSE_LOOK)
            self.close_model = self._ready(CloseLookModel(), beside, torch.channels_last_3d)
        if malignancy is None and SHIPPED_MALIGNANCY.is_file():
            malignancy = SHIPPED_MALIGNANCY
        self.malignancy_model, self.malignancy_is_scaled, self.size_weights = None, False, None
        if malignancy is not None:
            model, self.malignancy_is_scaled = load_malignancy(malignancy)
            self.malignancy_model = self._placed(model, torch.channels_last_3d)
            self.size_weights = size_weights_of(malignancy)

    def _ready(self, model, path, memory_format):
        return self._placed(load_weights(model, path), memory_format)

    def _placed(self, model, memory_format):
        return model.to(self.device).to(memory_format=memory_format).eval()

    def _autocast(self):
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.use_bfloat16)

    def analyse(self, ct: Ct, path="") -> ScanResult:
        """The whole way for one scan; findings are sorted by probability."""
        start = time.perf_counter()
        mask = self.segment_ct(ct)
        findings = self.group_segmentation_output(ct, mask)
        self.classify_candidates(ct, findings)
        findings.sort(key=lambda finding: -finding.probability)
        if self.grouping == "split":
            findings = distinct(findings)
        return ScanResult(ct.series_uid, str(path), time.perf_counter() - start, findings)

    def segment_ct(self, ct: Ct, batch_size=None) -> np.ndarray:
        """Suspicious voxels of a scan, bool (I, R, C), of the scan's shape: chapter 13's `segment`."""
        batch_size = batch_size or self._batch_size(cpu=2, gpu=8)
        return segment(self.seg_model, ct.hu_a, self.mask_threshold, batch_size, self.use_bfloat16)

    def _batch_size(self, cpu, gpu):
        """A CPU wants what its cache holds, a GPU enough to keep it busy."""
        return cpu if self.device.type == "cpu" else gpu

    def group_segmentation_output(self, ct: Ct, mask) -> list[Finding]:
        """Neighbouring voxels become one candidate each (chapter 14, "Grouping voxels").

        mask: bool (I, R, C). How: see `p2ch14.grouping`.
        """
        spacing_irc = np.array(ct.vxSize_xyz, dtype=float)[::-1]
        groups = group_voxels(ct.hu_a, mask, spacing_irc, self.grouping)
        if self.grouping == "split":
            groups = beside_lungs(groups, ct.hu_a, spacing_irc)
        return [
            Finding(
                group.center_irc,
                tuple(irc2xyz(group.center_irc, ct.origin_xyz, ct.vxSize_xyz, ct.direction_a)),
                group.diameter_mm,
                voxels=group.voxels,
            )
            for group in groups
        ]

    @torch.inference_mode()
    def classify_candidates(self, ct: Ct, findings, batch_size=None):
        """Fill in each finding's probability and, with a malignancy network, a nodule's malignancy."""
        batch_size = batch_size or self._batch_size(cpu=8, gpu=64)
        for finding, probability in zip(
            findings, self.probabilities_of(self.cls_model, ct, findings, batch_size)
        ):
            finding.probability = probability
        if self.second_look:
            self._look_again(ct, findings)
        if self.malignancy_model:
            nodules = [finding for finding in findings if finding.probability >= self.threshold]
            scaled_irc = CROP_IRC if self.malignancy_is_scaled else None
            judged = self.probabilities_of(self.malignancy_model, ct, nodules, batch_size, scaled_irc)
            for nodule, malignancy in zip(nodules, judged):
                if self.size_weights:
                    malignancy = float(with_size(malignancy, nodule.diameter_mm, self.size_weights))
                nodule.malignancy = malignancy

    def _look_again(self, ct, findings):
        """Weigh each suspect's probability against a second look at it.

        Chapter 14, "Preventing overfitting": a nodule is one in a mirror, too, so mirror images are averaged.
        "Competition results": a second network, whose logit counts for `CLOSE_SHARE` of the mean.
        """
        suspects = [f for f in findings if f.probability >= SECOND_LOOK_FROM[self.second_look]]
        if self.second_look == "mirrors":
            for finding in suspects:
                looks = self._in_mirrors(self.cls_model, crop_of(ct, finding))
                finding.probability = (finding.probability + sum(looks)) / (1 + len(looks))
            return
        closer = self.probabilities_of(
            self.close_model, ct, suspects, self._batch_size(cpu=8, gpu=64), CLOSE_IRC
        )
        for finding, probability in zip(suspects, closer):
            if probability >= SECOND_LOOK_FROM["mirrors"]:
                looks = self._in_mirrors(self.close_model, crop_of(ct, finding, CLOSE_IRC))
                probability = (probability + sum(looks)) / (1 + len(looks))
            finding.probability = weighted(finding.probability, probability, CLOSE_SHARE)

    def _in_mirrors(self, model, crop_t):
        """The probability of class 1 in each mirror image of one crop."""
        mirrored = [crop_t[None].flip([axis - 1 for axis in axes]) for axes in MIRRORS]
        return self._probabilities(model, torch.stack(mirrored))

    def probabilities_of(self, model, ct, findings, batch_size, scaled_irc=None):
        """The probability of class 1 for the crop around each finding, as floats."""
        judged = []
        starts = range(0, len(findings), batch_size)
        for _, start in enumerateWithEstimate(starts, "classification"):
            part = findings[start : start + batch_size]
            crops_t = torch.stack([crop_of(ct, finding, scaled_irc) for finding in part])
            judged += self._probabilities(model, crops_t[:, None])
        return judged

    def _probabilities(self, model, crops_t):
        """Of class 1, as floats, for crops (N, 1, 32, 48, 48)."""
        probabilities = []
        for part_t in crops_t.split(self._batch_size(cpu=8, gpu=64)):
            input_g = part_t.to(self.device, memory_format=torch.channels_last_3d)
            with self._autocast():
                probabilities += model(input_g)[1][:, 1].float().tolist()
        return probabilities


def weighted(first, second, share) -> float:
    """Two probabilities in one: the mean of their logits, in which the second counts for `share`.

    The mean of the probabilities themselves would hardly tell a sure answer from a very sure one.
    """
    logits = logit(np.clip((first, second), 1e-6, 1 - 1e-6))
    return float(expit((1 - share) * logits[0] + share * logits[1]))


def crop_of(ct, finding, scaled_irc=None):
    """The crop around a finding, float32: the scan's own voxels (32, 48, 48), or scaled to `scaled_irc`."""

    def cut(width):
        return ct.getRawCandidate(finding.center_xyz, tuple(width))[0]

    if scaled_irc:
        return scaled_crop(cut, ct.vxSize_xyz[::-1], scaled_irc)
    return torch.from_numpy(cut(CROP_IRC).astype(np.float32))


def distinct(findings) -> list[Finding]:
    """The findings, most probable first, without repeats: centres closer than half the smaller radius.

    Splitting may put several marks on one nodule, and a reader wants to see it once. Marks further apart
    stay: the better centre is not always the more probable.
    """
    kept, places, radii = [], np.empty((len(findings), 3)), np.empty(len(findings))
    for finding in findings:
        count, radius = len(kept), finding.diameter_mm / 2
        apart = np.linalg.norm(places[:count] - np.array(finding.center_xyz), axis=1)
        if (apart >= np.minimum(radii[:count], radius) / 2).all():
            places[count], radii[count] = finding.center_xyz, radius
            kept.append(finding)
    return kept


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


def write_mask(path, ct: Ct, nodules):
    """A label map of the scan's own geometry, `.nii.gz`: voxels of the first nodule are 1, of the second 2, …

    It opens aligned over the scan in 3D Slicer or ITK-SNAP. Where nodules share voxels the first has them.
    nodules: findings with `voxels`, as `NoduleAnalysisApp.analyse` gives.
    """
    if any(nodule.voxels is None for nodule in nodules):
        raise ValueError("a nodule has no voxels; give the findings as the analysis answered them")
    labels = np.zeros(ct.hu_a.shape, dtype=np.uint16)
    for number, nodule in reversed(list(enumerate(nodules, 1))):
        labels.ravel()[nodule.voxels] = number
    image = sitk.GetImageFromArray(labels)
    image.SetOrigin(ct.origin_xyz)
    image.SetSpacing(ct.vxSize_xyz)
    image.SetDirection(ct.direction_a.ravel())
    with atomic_path(path) as temporary:
        named = temporary.with_name(temporary.name + ".nii.gz")  # ITK goes by the ending
        try:
            sitk.WriteImage(image, str(named), useCompression=True)
            os.replace(named, temporary)
        finally:
            named.unlink(missing_ok=True)


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
    parser.add_argument("--grouping", choices=WAYS, help="of the mask; by default as the U-Net's file has it")
    parser.add_argument("--mask-threshold", type=float, metavar="P", help="likewise")
    parser.add_argument("--device", help="such as cpu or cuda:1; the course chooses by default")
    parser.add_argument("--json", metavar="F", help="write findings as JSON")
    parser.add_argument("--csv", metavar="F", help="write every candidate in LUNA16's submission format")
    parser.add_argument("--report", metavar="F", help="write an HTML report with pictures")
    parser.add_argument(
        "--mask",
        metavar="F",
        help="write the nodules' voxels as .nii.gz; with several scans one file for each",
    )
    options = parser.parse_args(arguments)
    if options.mask and not options.mask.endswith(".nii.gz"):
        raise UserError(f"--mask {Path(options.mask).name}: the name must end in .nii.gz")
    names = list(options.scans)
    if options.run_validation:
        held_out = series_of(options.val_stride)
        if not held_out:
            raise UserError(
                f"none of the scans on disk is held out by --val-stride {options.val_stride}; "
                "a smaller one holds out more (1: all), or get more scans"
            )
        names += held_out
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
        options.grouping,
        options.mask_threshold,
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
        if options.mask:
            path = options.mask
            if len(names) > 1:
                path = f"{path.removesuffix('.nii.gz')}.{len(results)}.{result.series_uid}.nii.gz"
            write_mask(path, ct, result.nodules(options.threshold))
        for finding in result.findings:
            finding.voxels = None  # of many scans these would fill the memory
    if options.run_validation:
        from p2ch14.scoring import print_validation

        print_validation(results, options.threshold)
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
