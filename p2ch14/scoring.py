"""How good is a list of findings? (chapter 14, "Quantitative validation")"""

from collections import namedtuple
from dataclasses import dataclass

import numpy as np

from p2ch09 import luna
from p2ch10.dsets import getCandidateInfoList
from p2ch14.froc import evaluate_results, print_froc
from p2ch14.hits import outcome
from p2ch14.lists import read_table

ROWS = ("Non-Nodules", "Benign", "Malignant")
COLUMNS = ("Complete Miss", "Filtered Out", "Pred. Benign", "Pred. Malignant")

Detection = namedtuple("Detection", ["probability", "malignancy", "center_xyz", "center_irc"])
Detection.__doc__ = """A finding as the book has it: two probabilities, where in mm, and at which voxel."""


@dataclass
class Score:
    """Counts of one scan: nodules found, filtered out by the classifier, missed; false positives."""

    found: int
    filtered: int
    missed: int
    false_positives: int

    @classmethod
    def of(cls, table):
        """The counts that a table of `match_and_score` holds."""
        found, filtered, missed = table[1:, 2:].sum(), table[1:, 1].sum(), table[1:, 0].sum()
        return cls(int(found), int(filtered), int(missed), int(table[0, 2:].sum()))

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
    """Which finding hits which nodule, by LUNA16's rule.

    findings: with `center_xyz` and `probability`; nodules: with `center_xyz` and `diameter_mm`. Answers
    (best finding's index or None per nodule, set of indices that hit any nodule).
    """
    seen = outcome_of(findings, nodules)
    return [None if i < 0 else int(i) for i in seen.best], set(np.flatnonzero(seen.on_nodule).tolist())


def outcome_of(findings, nodules, irrelevant=()):
    """`hits.outcome` for findings (with `center_xyz`, `probability`) and nodules (`center_xyz`, `diameter_mm`).

    irrelevant: (n, 4) array of x, y, z, diameter in mm, as `irrelevant_findings` gives for a scan.
    """
    spheres = [(*nodule.center_xyz, nodule.diameter_mm) for nodule in nodules]
    places = [finding.center_xyz for finding in findings]
    return outcome(spheres, irrelevant, places, [finding.probability for finding in findings])


def irrelevant_findings():
    """{series UID: (n, 4) array of x, y, z, diameter in mm} of LUNA's irrelevant findings; {} without a list."""
    path = luna.list_path("annotations_excluded.csv")
    return read_table(path, "diameter_mm") if path else {}


def match_and_score(detections, truth, threshold=0.5, threshold_mal=0.5, irrelevant=()):
    """The chapter's confusion table of one scan, int (3, 4): rows `ROWS`, columns `COLUMNS`.

    detections: findings, or tuples as `Detection`. truth: the scan's candidates or its nodules; those that are
    none, or have no diameter, are left out. A nodule that several detections hit gets the column of the most
    probable one; a detection without malignancy counts as benign. The first row holds what hits no nodule, less
    marks on `irrelevant` findings ((n, 4): x, y, z, diameter in mm), which by LUNA16's rule count neither way; its
    "Complete Miss" is always 0.
    """
    findings = [one if hasattr(one, "probability") else Detection(*one) for one in detections]
    nodules = [info for info in truth if info.isNodule_bool and info.diameter_mm > 0]
    table = np.zeros((3, 4), dtype=int)

    def column(finding):
        if finding.probability < threshold:
            return 1
        return 3 if finding.malignancy is not None and finding.malignancy >= threshold_mal else 2

    seen = outcome_of(findings, nodules, irrelevant)
    for nodule, i in zip(nodules, seen.best):
        table[2 if nodule.isMal_bool else 1, 0 if i < 0 else column(findings[i])] += 1
    for i in np.flatnonzero(seen.is_false):
        table[0, column(findings[i])] += 1
    return table


def score_scan(findings, nodules, threshold=0.5, irrelevant=()) -> Score:
    """Counts for one scan at one threshold, out of `match_and_score`'s table."""
    return Score.of(match_and_score(findings, nodules, threshold, irrelevant=irrelevant))


def threshold_for(results, truth, false_positives_per_scan=4.0, irrelevant=None) -> float:
    """The lowest probability at which `results` keep at most so many false positives per scan, at least 0.5.

    irrelevant: {series UID: as in `score_scan`}; by default every mark beside a nodule is a false positive.
    Choose it on scans whose figures are not reported: a threshold is a parameter like any other.
    """
    false = []
    for result in results:
        spared = (irrelevant or {}).get(result.series_uid, ())
        seen = outcome_of(result.findings, truth.get(result.series_uid, []), spared)
        false += [result.findings[i].probability for i in np.flatnonzero(seen.is_false)]
    allowed = int(false_positives_per_scan * len(results))
    if len(false) <= allowed:
        return 0.5
    return max(float(np.nextafter(sorted(false, reverse=True)[allowed], 1)), 0.5)


def print_scores(results, truth, threshold=0.5, irrelevant=None):
    """Print found, filtered, missed and false positives per scan, and the confusion table of all.

    Arguments as for `threshold_for`. Returns the `Score` of all scans.
    """
    table, spared_in_all = np.zeros((3, 4), dtype=int), 0
    print(f"\n{'scan':>14}  nodules  found  filtered  missed  false positives  on irrelevant findings")
    for result in results:
        nodules, irrelevant_here = ((lists or {}).get(result.series_uid, ()) for lists in (truth, irrelevant))
        one = match_and_score(result.findings, nodules, threshold, irrelevant=irrelevant_here)
        seen = outcome_of(result.nodules(threshold), nodules, irrelevant_here)
        spared = int((~seen.on_nodule & ~seen.is_false).sum())
        table, spared_in_all = table + one, spared_in_all + spared
        print(f"{'…' + result.series_uid[-12:]:>14}  {_counts(Score.of(one))}  {spared:22}")
    total = Score.of(table)
    per_scan = total.false_positives / max(len(results), 1)
    print(f"{'all':>14}  {_counts(total)}  {spared_in_all:22}")
    print(
        f"{per_scan:.1f} false positives per scan; marks on irrelevant findings count neither way "
        f"(LUNA16's rule)\n"
    )
    print_confusion("all scans", table, do_mal=True)
    return total


def _counts(score):
    count = score.found + score.filtered + score.missed
    return f"{count:7}  {score.found:5}  {score.filtered:8}  {score.missed:6}  {score.false_positives:15}"


def print_confusion(label, confusions, do_mal):
    """Print a table of `match_and_score` under the heading `label`.

    do_mal: with a column each for what is called benign and malignant; else they are added up.
    """
    columns = list(COLUMNS)
    if not do_mal:
        confusions = np.column_stack([confusions[:, :2], confusions[:, 2:].sum(axis=1)])
        columns[2:] = ["Pred. Nodule"]
    print(f"{label:12}" + "".join(f"{name:>17}" for name in columns))
    for name, row in zip(ROWS, confusions):
        print(f"{name:12}" + "".join(f"{value:17}" for value in row))


def print_validation(results, threshold=0.5):
    """What `--run-validation` prints: the scores, and LUNA16's curve with its interval.

    Only scans of the LUNA data count; irrelevant findings are those of its `annotations_excluded.csv`. Returns the
    `Score` of all scans.
    """
    truth = truth_by_series()
    results = [result for result in results if result.series_uid in truth]
    irrelevant = irrelevant_findings()
    total = print_scores(results, truth, threshold, irrelevant)
    print()
    print_froc(evaluate_results(results, truth, irrelevant))
    return total
