"""How good is a list of findings? (chapter 14, "Quantitative validation")"""

from dataclasses import dataclass

import numpy as np

from p2ch09 import luna
from p2ch10.dsets import getCandidateInfoList
from p2ch14.froc import DIAMETER_OF_UNSIZED_MM, evaluate_results, print_froc, read_table

ROWS = ("Non-Nodules", "Benign", "Malignant")
COLUMNS = ("Complete Miss", "Filtered Out", "Pred. Benign", "Pred. Malignant")


@dataclass
class Score:
    """Counts of one scan: nodules found, filtered out by the classifier, missed; false positives."""

    found: int
    filtered: int
    missed: int
    false_positives: int

    def __add__(self, other):
        return Score(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def truth_by_series():
    """{series UID: annotated nodules, as CandidateInfoTuple} of the scans on disk."""
    truth = {}
    for candidate in getCandidateInfoList():
        nodules = truth.setdefault(candidate.series_uid, [])
        if candidate.isNodule_bool and candidate.hasAnnotation_bool:
            nodules.append(candidate)
    return truth


def match(findings, nodules):
    """Which finding hits which nodule, by LUNA16's rule: its distance is smaller than the radius.

    findings: with `center_xyz` and `probability`; nodules: with `center_xyz` and `diameter_mm`. Answers
    (best finding's index or None per nodule, set of indices that hit any nodule).
    """
    best, hitting = [], set()
    centers = np.array([finding.center_xyz for finding in findings]).reshape(-1, 3)
    for nodule in nodules:
        distance = np.linalg.norm(centers - np.array(nodule.center_xyz), axis=1)
        hits = [int(i) for i in np.flatnonzero(distance < nodule.diameter_mm / 2)]
        hitting.update(hits)
        best.append(max(hits, key=lambda i: findings[i].probability, default=None))
    return best, hitting


def irrelevant_findings():
    """{series UID: (n, 4) array of x, y, z, diameter in mm} of LUNA's irrelevant findings; {} without a list."""
    path = luna.list_path("annotations_excluded.csv")
    return read_table(path, "diameter_mm") if path else {}


def is_irrelevant(center_xyz, findings) -> bool:
    """Does a mark at `center_xyz` lie on one of the irrelevant `findings` (n, 4) of its scan?"""
    findings = np.asarray(findings, dtype=float).reshape(-1, 4)
    diameter = np.where(findings[:, 3] < 0, DIAMETER_OF_UNSIZED_MM, findings[:, 3])
    distance = np.linalg.norm(findings[:, :3] - np.array(center_xyz), axis=1)
    return bool((distance < diameter / 2).any())


def score_scan(findings, nodules, threshold=0.5, irrelevant=()) -> Score:
    """Counts for one scan at one threshold; by LUNA16's rule a finding on an `irrelevant` one is no false positive.

    irrelevant: (n, 4) array of x, y, z, diameter in mm, as `irrelevant_findings` gives for a scan.
    """
    best, hitting = match(findings, nodules)
    found = sum(i is not None and findings[i].probability >= threshold for i in best)
    missed = sum(i is None for i in best)
    false_positives = sum(f.probability >= threshold for f in _false(findings, hitting, irrelevant))
    return Score(found, len(nodules) - found - missed, missed, false_positives)


def _false(findings, hitting, irrelevant):
    """The findings that neither hit a nodule nor lie on an irrelevant finding."""
    return [
        finding
        for i, finding in enumerate(findings)
        if i not in hitting and not is_irrelevant(finding.center_xyz, irrelevant)
    ]


def match_and_score(findings, nodules, threshold=0.5, threshold_mal=0.5):
    """The chapter's confusion table of one scan, int (3, 4): rows `ROWS`, columns `COLUMNS`.

    A finding without malignancy counts as benign. The first row's "Complete Miss" is always 0.
    """
    table = np.zeros((3, 4), dtype=int)

    def column(finding):
        if finding.probability < threshold:
            return 1
        return 3 if finding.malignancy is not None and finding.malignancy >= threshold_mal else 2

    best, hitting = match(findings, nodules)
    for nodule, i in zip(nodules, best):
        table[2 if nodule.isMal_bool else 1, 0 if i is None else column(findings[i])] += 1
    for i, finding in enumerate(findings):
        if i not in hitting:
            table[0, column(finding)] += 1
    return table


def threshold_for(results, truth, false_positives_per_scan=4.0, irrelevant=None) -> float:
    """The lowest probability at which `results` keep at most so many false positives per scan, at least 0.5.

    irrelevant: {series UID: as in `score_scan`}; by default every mark beside a nodule is a false positive.
    Choose it on scans whose figures are not reported: a threshold is a parameter like any other.
    """
    false = []
    for result in results:
        _, hitting = match(result.findings, truth.get(result.series_uid, []))
        spared = (irrelevant or {}).get(result.series_uid, ())
        false += [finding.probability for finding in _false(result.findings, hitting, spared)]
    allowed = int(false_positives_per_scan * len(results))
    if len(false) <= allowed:
        return 0.5
    return max(float(np.nextafter(sorted(false, reverse=True)[allowed], 1)), 0.5)


def print_scores(results, truth, threshold=0.5, irrelevant=None):
    """Print found, filtered, missed and false positives per scan, and the confusion table of all."""
    total, table = Score(0, 0, 0, 0), np.zeros((3, 4), dtype=int)
    print(f"\n{'scan':>14}  nodules  found  filtered  missed  false positives")
    for result in results:
        nodules = truth.get(result.series_uid, [])
        score = score_scan(result.findings, nodules, threshold, (irrelevant or {}).get(result.series_uid, ()))
        total = total + score
        table += match_and_score(result.findings, nodules, threshold)
        print(
            f"{'…' + result.series_uid[-12:]:>14}  {len(nodules):7}  {score.found:5}  {score.filtered:8}  "
            f"{score.missed:6}  {score.false_positives:15}"
        )
    count = total.found + total.filtered + total.missed
    print(
        f"{'all':>14}  {count:7}  {total.found:5}  {total.filtered:8}  {total.missed:6}  "
        f"{total.false_positives:15}  ({total.false_positives / max(len(results), 1):.1f} per scan)"
    )
    print(f"\n{'':12}" + "".join(f"{name:>17}" for name in COLUMNS))
    for name, row in zip(ROWS, table):
        print(f"{name:12}" + "".join(f"{value:17}" for value in row))
    return total


def print_validation(results, threshold=0.5):
    """What `--run-validation` prints: the scores, and LUNA16's curve with its interval.

    Only scans of the LUNA data count; irrelevant findings are those of its `annotations_excluded.csv`.
    """
    truth = truth_by_series()
    results = [result for result in results if result.series_uid in truth]
    irrelevant = irrelevant_findings()
    print_scores(results, truth, threshold, irrelevant)
    print()
    print_froc(evaluate_results(results, truth, irrelevant))
