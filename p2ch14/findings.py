"""What an analysis finds: findings, the results of scans, and the files they are written to (chapter 14)."""

import csv
import json
import math
import os
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk
from scipy.special import expit

from p2ch10.dsets import Ct
from p2ch13.lungs import Lungs
from util.files import atomic_path


@dataclass
class Finding:
    """One nodule candidate that segmentation proposed and the classifier judged.

    center_irc: voxel index (float). center_xyz: mm, patient coordinates (LPS). diameter_mm: of the ball
    with the volume of the marked voxels, or None where nothing was marked. logit: of the probability that it is
    a nodule; findings are ranked by it. malignancy: 0 to 1, or None where no malignancy network judged it.
    voxels: where its marked voxels lie in the flat scan. axes_mm: longest diameter and the one across it, as
    `p2ch14.axes` measures nodules, or None.
    """

    center_irc: tuple[float, float, float]
    center_xyz: tuple[float, float, float]
    diameter_mm: float | None
    logit: float = math.nan
    malignancy: float | None = None
    voxels: np.ndarray | None = field(default=None, repr=False, compare=False)
    axes_mm: tuple[float, float] | None = None

    @property
    def probability(self) -> float:
        """That it is a nodule, 0 to 1."""
        return float(expit(self.logit))

    @property
    def size(self) -> str:
        """The size for people to read: both axes where they were measured, else the diameter."""
        if self.axes_mm is not None:
            return "{:.1f} x {:.1f} mm".format(*self.axes_mm)
        return "size unknown" if self.diameter_mm is None else f"{self.diameter_mm:.1f} mm"


@dataclass
class ScanResult:
    """What the analysis of one scan found: every candidate, most probable first.

    path: what the scan is called in reports. seconds: that the analysis took. warnings: what limits the findings,
    as `p2ch14.limits.limits_of` says it. lungs: where they are, for whoever draws the scan, or None.
    """

    series_uid: str
    path: str
    seconds: float
    findings: list[Finding]
    warnings: tuple[str, ...] = ()
    lungs: Lungs | None = field(default=None, repr=False, compare=False)

    def nodules(self, threshold=0.5) -> list[Finding]:
        """The findings with at least this probability."""
        return [finding for finding in self.findings if finding.probability >= threshold]

    def listed(self, threshold=0.5) -> list[Finding]:
        """`nodules` as a reader wants to see them, each once: a mark inside a surer one is the same thing.

        Inside is nearer than its radius. Places that were given and not found are all listed. Scoring takes `nodules`:
        by LUNA16's rules further marks on a nodule cost nothing, and now and then the less sure one has the better
        centre.
        """
        kept = []
        for nodule in self.nodules(threshold):
            inside = (
                math.dist(nodule.center_xyz, other.center_xyz) < other.diameter_mm / 2
                for other in kept
                if other.axes_mm is not None
            )
            if nodule.axes_mm is None or not any(inside):
                kept.append(nodule)
        return kept

    def without_voxels(self):
        """The same result; of many scans, the findings' voxels and the lungs would fill the memory."""
        self.lungs = None
        for finding in self.findings:
            finding.voxels = None
        return self


def without_repeats(findings) -> list[Finding]:
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


def print_result(result: ScanResult, threshold):
    """One line for the scan, one for each warning and one for each nodule, to standard output."""
    nodules = result.listed(threshold)
    print(f"{result.path}: {len(result.findings)} candidates, {len(nodules)} nodules, {result.seconds:.1f} s")
    for warning in result.warnings:
        print(f"  warning: {warning}")
    for nodule in nodules:
        x, y, z = nodule.center_xyz
        malignancy = "" if nodule.malignancy is None else f"  malignancy {nodule.malignancy:.2f}"
        print(
            f"  nodule {nodule.probability:.3f}  {nodule.size:>14}  "
            f"at x {x:7.1f}  y {y:7.1f}  z {z:7.1f} mm{malignancy}"
        )


def write_json(path, results, threshold):
    """The findings with at least `threshold`, by the schema that the README describes."""
    scans = [
        {
            "series_uid": result.series_uid,
            "path": result.path,
            "seconds": round(result.seconds, 3),
            "candidates": len(result.findings),
            "warnings": list(result.warnings),
            "nodules": [
                {
                    "center_xyz": [round(c, 3) for c in nodule.center_xyz],
                    "diameter_mm": None if nodule.diameter_mm is None else round(nodule.diameter_mm, 2),
                    "probability": float(twelve_digits(nodule.probability)),
                    "malignancy": None if nodule.malignancy is None else round(nodule.malignancy, 5),
                    "axes_mm": None if nodule.axes_mm is None else [round(mm, 2) for mm in nodule.axes_mm],
                }
                for nodule in result.listed(threshold)
            ],
        }
        for result in results
    ]
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"scans": scans}, indent=1) + "\n", encoding="utf-8")


def write_csv(path, results, lowest=0.0):
    """LUNA16's submission format: every candidate with at least probability `lowest`."""
    write_marks(
        path,
        (
            (result.series_uid, finding.center_xyz, finding.probability)
            for result in results
            for finding in result.nodules(lowest)
        ),
    )


def write_marks(path, marks):
    """Write marks (series UID, (x, y, z) in mm, probability) in LUNA16's submission format, in their order."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seriesuid", "coordX", "coordY", "coordZ", "probability"])
        for series_uid, center_xyz, probability in marks:
            where = [f"{c:.3f}" for c in center_xyz]
            writer.writerow([series_uid, *where, twelve_digits(probability)])


def twelve_digits(probability) -> str:
    """A probability as all lists have it: enough digits that what is sure and what is surer stay apart."""
    return f"{probability:.12g}"


def write_mask(path, ct: Ct, nodules):
    """A label map of the scan's own geometry, `.nii.gz`: voxels of the first nodule are 1, of the second 2, …

    It opens aligned over the scan in 3D Slicer or ITK-SNAP. Where nodules share voxels the first has them.
    nodules: findings with `voxels`, as `NodulePipeline.analyse` gives.
    """
    if any(nodule.voxels is None for nodule in nodules):
        raise ValueError("a nodule has no voxels; give the findings as the analysis answered them")
    labels = np.zeros(ct.hu_a.shape, dtype=np.uint16)
    for number, nodule in reversed(list(enumerate(nodules, 1))):
        labels.ravel()[nodule.voxels] = number
    image = ct.geometry.to_itk(labels)
    with atomic_path(path) as temporary:
        named = temporary.with_name(temporary.name + ".nii.gz")  # ITK goes by the ending
        try:
            sitk.WriteImage(image, str(named), useCompression=True)
            os.replace(named, temporary)
        finally:
            named.unlink(missing_ok=True)
