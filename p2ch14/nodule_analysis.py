"""From a CT scan to a list of nodules (chapter 14).

    python -m p2ch14.nodule_analysis SCAN… --json findings.json --report report.html
    python -m p2ch14.nodule_analysis --run-validation
    python -m p2ch14.nodule_analysis SCAN… --candidates places.csv --csv judged.csv

A SCAN is a .mhd, .nii.gz or .nrrd file, a DICOM folder, or a series UID of the LUNA data. With --candidates the
networks judge the places in a list (seriesuid, coordX, coordY, coordZ, and diameter_mm where it is known) instead
of looking for some themselves; a file's series UID is its name without the ending.
For learning about deep learning; this is no medical device.
"""

import math
from pathlib import Path

import torch

from p2ch10.dsets import CandidateInfoTuple, Ct, getCt, is_series_uid
from p2ch10.scans import load_scan
from p2ch12.metrics import precision_recall_f1, roc_auc
from p2ch14.apps import PipelineApp
from p2ch14.dicom_seg import write_dicom_seg
from p2ch14.findings import print_result, write_csv, write_json, write_marks, write_mask
from p2ch14.lists import read_points
from p2ch14.scoring import Detection, print_validation
from p2ch14.scoring import match_and_score as match_and_score
from p2ch14.scoring import print_confusion as print_confusion
from util.errors import UserError, main_guard
from util.paths import shown


class NoduleAnalysisApp(PipelineApp):
    """The command: `NodulePipeline` for every scan asked for, and what is written of it.

    `segmentCt`, `groupSegmentationOutput` and `classifyCandidates` are the pipeline's three steps under the book's
    names. Arguments as for `PipelineApp`.
    """

    def __init__(self, sys_argv=None):
        super().__init__(sys_argv)
        self.threshold = self.pipeline.threshold

    def add_arguments(self, parser):
        super().add_arguments(parser)
        add = parser.add_argument
        add("scans", nargs="*", metavar="SCAN")
        add("--series", metavar="UID", help="which scan of a DICOM folder that holds several")
        add("--run-validation", action="store_true", help="analyse and score the held-out scans")
        add("--candidates", metavar="F", help="judge the places in this list instead of looking for some")
        add("--json", metavar="F", help="write findings as JSON")
        add("--csv", metavar="F", help="write every candidate in LUNA16's submission format")
        add("--report", metavar="F", help="write an HTML report with pictures")
        add(
            "--mask", metavar="F", help="write the nodules' voxels as .nii.gz; of several scans one file each"
        )
        add(
            "--dicom-seg", metavar="F", help="likewise as DICOM Segmentation (.dcm), of scans read from DICOM"
        )

    def check(self):
        super().check()
        args = self.cli_args
        if args.mask and not args.mask.endswith(".nii.gz"):
            raise UserError(f"--mask {Path(args.mask).name}: the name must end in .nii.gz")
        if args.dicom_seg and not args.dicom_seg.endswith(".dcm"):
            raise UserError(f"--dicom-seg {Path(args.dicom_seg).name}: the name must end in .dcm")
        if args.candidates and (args.mask or args.dicom_seg):
            raise UserError(
                "--mask and --dicom-seg need marked voxels, and given places have none; "
                "leave them or --candidates out"
            )
        if args.candidates and args.run_validation:
            raise UserError(
                "--run-validation scores what the pipeline proposes; name the scans of --candidates instead"
            )
        if args.include_train and not args.run_validation:
            raise UserError("--include-train adds scans to --run-validation; give both")

    def segmentCt(self, ct, series_uid):
        """The suspicious voxels of a scan, bool (I, R, C)."""
        return self.pipeline.segment_ct(ct)

    def groupSegmentationOutput(self, series_uid, ct, clean_a) -> list[CandidateInfoTuple]:
        """Candidates in a mask, bool (I, R, C); `diameter_mm` is that of the ball of a candidate's volume."""
        return [
            CandidateInfoTuple(False, False, False, finding.diameter_mm, series_uid, finding.center_xyz)
            for finding in self.pipeline.group_segmentation_output(ct, clean_a)
        ]

    def classifyCandidates(self, ct, candidateInfo_list) -> list[Detection]:
        """What the networks say of each candidate, in order: (probability, malignancy, centre, voxel).

        candidateInfo_list: with `center_xyz` (mm) and `diameter_mm`. Malignancy is 0 without such a network.
        """
        result = self.pipeline.classify_points(ct, candidateInfo_list)
        return [
            Detection(f.probability, f.malignancy or 0.0, f.center_xyz, f.center_irc) for f in result.findings
        ]

    def logResults(self, mode_str, filtered_list, series2diagnosis_dict, positive_set) -> dict[str, float]:
        """Scan by scan: was one called positive that is? Prints a line for each, and precision, recall and F1.

        filtered_list: series UIDs. series2diagnosis_dict: {series UID: (probability, voxel or None)} of the scan's
        most suspicious place; a scan without one counts as 0. positive_set: series UIDs of the positive scans.
        """
        is_positive = torch.tensor([series_uid in positive_set for series_uid in filtered_list])
        said = [series2diagnosis_dict.get(series_uid, (0.0, None)) for series_uid in filtered_list]
        is_called = torch.tensor([probability > 0.5 for probability, _ in said])
        for series_uid, (probability, center_irc), truth, answer in zip(
            filtered_list, said, is_positive.tolist(), is_called.tolist()
        ):
            where = "" if center_irc is None else f" at {tuple(int(c) for c in center_irc)}"
            print(f"{mode_str} {series_uid}  label {truth}  predicted {answer}  {probability:.4f}{where}")
        precision, recall, f1 = precision_recall_f1(is_positive, is_called)
        print(f"{mode_str} precision {precision:.4f}  recall {recall:.4f}  F1 {f1:.4f}")
        return {"pr/precision": precision, "pr/recall": recall, "pr/f1_score": f1}

    def main(self):
        """Analyse the scans, print and write what was asked for; returns the results, without voxels."""
        args = self.cli_args
        names = self.scan_names()
        points = read_points(args.candidates) if args.candidates else None
        results, sections = [], []
        for number, name in enumerate(names, 1):
            ct, called = open_scan(name, args.series)
            taken = [result.series_uid for result in results]
            if points is not None and ct.series_uid in taken:
                raise UserError(
                    f"two scans are called {ct.series_uid}, so its places may lie in either; rename one"
                )
            ct.series_uid = distinct_name(ct.series_uid, name, taken)
            result = self.analyse(ct, called, points)
            print_result(result, self.threshold)
            if args.report:
                from p2ch14.report import scan_section

                sections.append(scan_section(ct, result, self.threshold))
            for path, suffix, write in (
                (args.mask, ".nii.gz", write_mask),
                (args.dicom_seg, ".dcm", write_dicom_seg),
            ):
                if path and len(names) > 1:
                    path = f"{path.removesuffix(suffix)}.{number}.{result.series_uid}{suffix}"
                if path:
                    write(path, ct, result.nodules(self.threshold))
            results.append(result.without_voxels())
        if args.run_validation:
            print_validation(results, self.threshold)
        self.write(results, sections, points)
        return results

    def scan_names(self) -> list[str]:
        """The scans that the command line asks for: named ones, then those of `--run-validation`."""
        args = self.cli_args
        names = list(args.scans)
        if args.run_validation:
            names += self.held_out()
        if not names:
            raise UserError(
                "no scan given; name a file, a DICOM folder or a series UID, or use --run-validation"
            )
        return names

    def analyse(self, ct, called, points=None):
        """The `ScanResult` of one scan: of the whole way, or of those of `points` that lie in it."""
        if points is None:
            return self.pipeline.analyse(ct, called)
        return self.pipeline.classify_points(ct, [p for p in points if p.series_uid == ct.series_uid], called)

    def write(self, results, sections, points):
        """The files that the command line asks for."""
        args = self.cli_args
        if points is None:
            if args.csv:
                write_csv(args.csv, results)
        else:
            judged = judged_points(results, points)
            print_judged(judged, len(points))
            if args.csv:
                write_marks(args.csv, ((p.series_uid, p.center_xyz, f.probability) for p, f in judged))
        if args.json:
            write_json(args.json, results, self.threshold if points is None else -math.inf)
        if args.report:
            from p2ch14.report import write_report

            write_report(args.report, sections)


def judged_points(results, points) -> list:
    """[(point, finding)] of the points that lie in one of the scans, in the points' order.

    results: of `NodulePipeline.classify_points`, with series UIDs of their own.
    """
    rest = {result.series_uid: iter(result.findings) for result in results}
    return [(point, next(rest[point.series_uid])) for point in points if point.series_uid in rest]


def print_judged(judged, count):
    """How many of `count` points were judged and, where the list says which are nodules, the area under the ROC."""
    elsewhere = f"; {count - len(judged):,} lie in scans that were not given" if len(judged) < count else ""
    print(f"{len(judged):,} of {count:,} places judged{elsewhere}")
    labelled = [(point.is_nodule, finding.logit) for point, finding in judged if point.is_nodule is not None]
    label_t = torch.tensor([label for label, _ in labelled], dtype=torch.bool)
    if label_t.any() and not label_t.all():
        area = roc_auc(label_t, torch.tensor([logit for _, logit in labelled]))
        print(
            f"{int(label_t.sum())} of them nodules by the list's class: area under the ROC curve {area:.4f}"
        )


def open_scan(name, series=None) -> tuple[Ct, str]:
    """The scan behind a path or a series UID, and how to call it in a report.

    series: which one, in a DICOM folder of several.
    """
    if is_series_uid(name):
        return getCt(name), name
    return load_scan(name, series), shown(name)


def distinct_name(series_uid, path, taken) -> str:
    """The series UID of a scan, told apart from those `taken`: files of one name may lie in several folders."""
    if series_uid not in taken or is_series_uid(path):
        return series_uid
    named = f"{Path(path).resolve().parent.name}-{series_uid}"
    numbers = (f"{named}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (named, *numbers) if name not in taken)


def main(arguments=None):
    """The command."""
    NoduleAnalysisApp(arguments).main()


if __name__ == "__main__":
    main_guard(main)
