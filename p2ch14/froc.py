"""LUNA16's official evaluation: free-response ROC curve and CPM (chapter 14, "Quantitative validation").

    python -m p2ch14.froc --annotations A --excluded E --seriesuids S --submission R [--json F] [--plot F]

A mark hits a nodule when it lies closer to its centre than the radius; of several marks on one nodule
the most probable counts and the others count neither way, as does a mark on an excluded finding. The
100 most probable marks of a scan count. CPM is the mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8
false positives per scan. The interval comes from drawing scans with replacement.
Setio et al. 2017, "Validation, comparison, and combination of algorithms for automatic detection of
pulmonary nodules in computed tomography images: the LUNA16 challenge".
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from p2ch14.hits import outcome
from p2ch14.lists import read_series_uids, read_table
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.paths import shown

FP_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
MOST_MARKS = 100


@dataclass(frozen=True)
class Froc:
    """A curve and what is read from it.

    fp_per_scan, sensitivity: the curve's points (n,), from the origin on, the strictest threshold first.
    sensitivities: at `FP_RATES` (7,). cpm: their mean. cpm_ci: 95 % interval (low, high), NaN without
    bootstraps. band_x: false positives per scan (m,), with band_low and band_high the curve's 95 %
    interval there. Counts: scans, nodules, marks that hit, false positives, marks that count neither way.
    """

    fp_per_scan: np.ndarray
    sensitivity: np.ndarray
    sensitivities: np.ndarray
    cpm: float
    cpm_ci: tuple[float, float]
    band_x: np.ndarray
    band_low: np.ndarray
    band_high: np.ndarray
    scans: int
    nodules: int
    hits: int
    false_positives: int
    ignored: int


def most_probable(marks, most=MOST_MARKS):
    """At most `most` of the marks (n, 4), the most probable ones; those tied at the cut-off are dropped."""
    if len(marks) <= most:
        return marks
    # LUNA16's own reading of "at most 100": strictly above the 101st probability.
    cut_off = np.partition(marks[:, 3], len(marks) - most - 1)[len(marks) - most - 1]
    return marks[marks[:, 3] > cut_off]


def judged(nodules, excluded, marks):
    """What each nodule and mark of one scan comes to.

    nodules, excluded: (n, 4) as x, y, z, diameter in mm. marks: (m, 4) as x, y, z, probability. Answers
    (probability of each nodule's best mark, -inf where it is missed (n,); probabilities of the false
    positives; count of marks that are neither).
    """
    marks = most_probable(marks)
    seen = outcome(nodules, excluded, marks[:, :3], marks[:, 3])
    is_hit = seen.best >= 0
    best = np.full(len(seen.best), -np.inf)
    best[is_hit] = marks[seen.best[is_hit], 3]
    # One mark may be the best of two nodules that overlap, so hits are counted by mark.
    used = len(set(seen.best[is_hit].tolist()))
    return best, marks[seen.is_false, 3], len(marks) - int(seen.is_false.sum()) - used


def _interpolated(weights, events, n_nodules, x):
    """Sensitivity at the false-positive rates `x` when scan s counts `weights[s]` times; NaN without nodules.

    events: (scan, is a hit, index of the last event of each tie), sorted by falling probability.
    """
    fp, sensitivity = _curve(weights, events, n_nodules)
    return np.interp(x, fp, sensitivity)


def _curve(weights, events, n_nodules):
    scan, is_hit, last = events
    weight = weights[scan]
    total = weights @ n_nodules
    hits = np.cumsum(weight * is_hit)[last]
    false = np.cumsum(weight * ~is_hit)[last]
    with np.errstate(invalid="ignore"):
        sensitivity = np.concatenate([[0.0], hits]) / total
    return np.concatenate([[0.0], false]) / weights.sum(), sensitivity


def evaluate(nodules, excluded, series_uids, marks, bootstraps=1000, seed=0) -> Froc:
    """LUNA16's evaluation of `marks` on the scans `series_uids`.

    nodules, excluded: {series UID: (n, 4) array of x, y, z, diameter in mm}, a diameter below 0 means
    10 mm. marks: {series UID: (m, 4) array of x, y, z, probability}. Scans that `series_uids` does not
    name are left out; one without marks counts like any other. Raises `UserError` for scans without a
    single nodule, or no scans.
    """
    none = np.zeros((0, 4))
    per_scan = [
        judged(
            *(np.asarray(table.get(uid, none), float).reshape(-1, 4) for table in (nodules, excluded, marks))
        )
        for uid in series_uids
    ]
    n_nodules = np.array([len(best) for best, _, _ in per_scan])
    if n_nodules.sum() == 0:
        raise UserError(
            f"the {len(per_scan)} listed scans have no annotated nodule, so there is no sensitivity; "
            "check that the lists belong together"
        )
    found = [best[np.isfinite(best)] for best, _, _ in per_scan]
    false = [wrong for _, wrong, _ in per_scan]
    probability = np.concatenate(found + false)
    numbers = np.arange(len(per_scan))
    scan = np.concatenate([np.repeat(numbers, [len(p) for p in part]) for part in (found, false)])
    is_hit = np.arange(len(probability)) < sum(map(len, found))
    order = np.argsort(-probability, kind="stable")
    probability, scan, is_hit = probability[order], scan[order], is_hit[order]
    # Marks of equal probability cross any threshold together: the curve bends only after the last.
    last = (
        np.flatnonzero(np.append(np.diff(probability) != 0, True)) if len(probability) else np.array([], int)
    )
    events = (scan, is_hit, last)

    once = np.ones(len(per_scan))
    fp, sensitivity = _curve(once, events, n_nodules)
    sensitivities = np.interp(FP_RATES, fp, sensitivity)
    band_x = np.geomspace(FP_RATES[0], FP_RATES[-1], 97)
    rng = np.random.default_rng(seed)
    drawn = np.full((bootstraps, len(FP_RATES) + len(band_x)), np.nan)
    for row in drawn:
        weights = np.bincount(rng.integers(len(per_scan), size=len(per_scan)), minlength=len(per_scan))
        if weights @ n_nodules:
            row[:] = _interpolated(weights, events, n_nodules, np.concatenate([FP_RATES, band_x]))
    cpm_ci, band = (math.nan, math.nan), np.full((2, len(band_x)), math.nan)
    if np.isfinite(drawn).any():
        low, high = np.nanpercentile(drawn[:, : len(FP_RATES)].mean(axis=1), [2.5, 97.5])
        cpm_ci = (float(low), float(high))
        band = np.nanpercentile(drawn[:, len(FP_RATES) :], [2.5, 97.5], axis=0)
    return Froc(
        fp, sensitivity, sensitivities, float(sensitivities.mean()), cpm_ci, band_x, *band,
        scans=len(per_scan), nodules=int(n_nodules.sum()), hits=int(is_hit.sum()),
        false_positives=int((~is_hit).sum()), ignored=sum(count for _, _, count in per_scan),
    )  # fmt: skip


def evaluate_results(results, truth, excluded=None, bootstraps=1000, seed=0) -> Froc:
    """`evaluate` for what `NoduleAnalysisApp.analyse` answered (a list of `ScanResult`).

    Findings are ranked by their logits, where probabilities close to 1 would tie.
    truth: {series UID: nodules with `center_xyz` and `diameter_mm`}, as `scoring.truth_by_series` gives.
    excluded: as in `evaluate`, {} by default.
    """
    nodules = {
        uid: np.array([(*n.center_xyz, n.diameter_mm) for n in truth[uid]]).reshape(-1, 4) for uid in truth
    }
    marks = {
        result.series_uid: np.array([(*f.center_xyz, f.logit) for f in result.findings]).reshape(-1, 4)
        for result in results
    }
    return evaluate(nodules, excluded or {}, [r.series_uid for r in results], marks, bootstraps, seed)


def plot(froc: Froc, axis=None):
    """Draw the curve with its 95 % band and the seven points behind CPM; returns the axis."""
    import matplotlib.pyplot as plt

    from util.plotting import BLUE, ORANGE

    axis = axis or plt.subplots(figsize=(7, 4.5))[1]
    low, high = froc.cpm_ci
    if np.isfinite(froc.band_low).all():
        axis.fill_between(
            froc.band_x, froc.band_low, froc.band_high, color=BLUE, alpha=0.18, lw=0, label="95 % interval"
        )
    curve = np.interp(froc.band_x, froc.fp_per_scan, froc.sensitivity)
    axis.plot(froc.band_x, curve, color=BLUE, label=f"{froc.nodules:,} nodules in {froc.scans:,} scans")
    interval = "" if math.isnan(low) else f" ({low:.3f} to {high:.3f})"
    axis.plot(FP_RATES, froc.sensitivities, "o", color=ORANGE, label=f"CPM {froc.cpm:.3f}{interval}")
    axis.set_xscale("log", base=2)
    axis.set_xlim(FP_RATES[0] / 1.06, FP_RATES[-1] * 1.06)
    axis.set_xticks(FP_RATES, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axis.minorticks_off()
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel("false positives per scan")
    axis.set_ylabel("sensitivity (share of nodules found)")
    axis.legend(loc="lower right")
    return axis


def write_plot(path, froc: Froc):
    """Write the figure of `plot` to `path` (.png, .svg or .pdf)."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from util.plotting import use_course_style

    with mpl.rc_context():
        use_course_style()
        figure = Figure(figsize=(7, 4.5))
        FigureCanvasAgg(figure)
        plot(froc, figure.subplots())
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=Path(path).suffix[1:].lower(), dpi=120)


def print_froc(froc: Froc):
    """Counts, sensitivities and CPM, to standard output."""
    print(
        f"{froc.scans:,} scans, {froc.nodules:,} nodules; {froc.hits:,} found at the laxest threshold, "
        f"{froc.false_positives:,} false positives, {froc.ignored:,} marks count neither way"
    )
    print("false positives per scan " + "".join(f"{rate:8.3f}" for rate in FP_RATES))
    print("sensitivity              " + "".join(f"{value:8.3f}" for value in froc.sensitivities))
    low, high = froc.cpm_ci
    interval = "" if math.isnan(low) else f"  (95 % interval {low:.4f} to {high:.4f})"
    print(f"CPM {froc.cpm:.4f}{interval}")


def main(arguments=None):
    """The command. Raises `UserError` for options and lists that make no sense."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--annotations", required=True, metavar="A", help="nodules: LUNA16's annotations.csv")
    parser.add_argument("--excluded", metavar="E", help="irrelevant findings: annotations_excluded.csv")
    parser.add_argument("--seriesuids", required=True, metavar="S", help="the scans that count, one per line")
    parser.add_argument("--submission", required=True, metavar="R", help="the marks and their probabilities")
    parser.add_argument("--json", metavar="F", help="write cpm, sensitivities, fp_rates and cpm_ci")
    parser.add_argument("--plot", metavar="F", help="draw the curve (.png, .svg or .pdf)")
    parser.add_argument("--bootstraps", type=int, default=1000, metavar="N", help="0: no interval")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    options = parser.parse_args(arguments)
    if options.bootstraps < 0:
        raise UserError(f"--bootstraps {options.bootstraps}: give a number from 0 on")
    if options.plot and Path(options.plot).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"--plot {Path(options.plot).name}: the name must end in .png, .svg or .pdf")
    series_uids = read_series_uids(options.seriesuids)
    nodules = read_table(options.annotations, "diameter_mm")
    excluded = read_table(options.excluded, "diameter_mm") if options.excluded else {}
    marks = read_table(options.submission, "probability")
    elsewhere = sum(len(marks[uid]) for uid in marks.keys() - set(series_uids))
    if elsewhere:
        print(f"{elsewhere:,} marks lie in scans that {shown(options.seriesuids)} does not name: left out")
    froc = evaluate(nodules, excluded, series_uids, marks, options.bootstraps, options.seed)
    print_froc(froc)
    if options.json:
        record = {
            "cpm": froc.cpm,
            "sensitivities": froc.sensitivities.tolist(),
            "fp_rates": list(FP_RATES),
            # JSON has no NaN.
            "cpm_ci": [None if math.isnan(bound) else bound for bound in froc.cpm_ci],
        }
        with atomic_path(options.json) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        write_plot(options.plot, froc)


if __name__ == "__main__":
    main_guard(main)
