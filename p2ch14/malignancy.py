"""Does a network judge malignancy better than a ruler? (chapter 14, "Predicting malignancy")

    python -m p2ch14.malignancy data/p2ch14/malignancy.safetensors
    python -m p2ch14.malignancy P.safetensors --val-stride 1 --fit-size

Large nodules are malignant far more often than small ones, so the diameter alone is the baseline to
beat. Three questions are asked of a network: how large is the area under its ROC curve, does the
difference from the diameter's outlast a bootstrap over scans, and what is left among nodules of equal size.
A ruler and a network know different things, so `--fit-size` weighs one against the other (on scans that are
not reported afterwards) and stores the weights in the network's file.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from p2ch12.metrics import roc_auc, roc_curve
from p2ch14.dsets import MalignantLunaDataset
from p2ch14.size import fit_size, with_size
from p2ch14.weights import change_settings, load_malignancy, settings_of
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.paths import shown
from util.runtime import get_device

SIMILAR = 1.2  # diameters that differ by at most this factor count as equal


def wins(label, score):
    """Who scores higher in every pair: float (P, N), 1 where positive p beats negative n, 1/2 for a tie.

    label: bool (n,); score: float (n,). The mean of all pairs is the area under the ROC curve.
    """
    label, score = np.asarray(label, bool), np.asarray(score, float)
    positive, negative = score[label][:, None], score[~label][None, :]
    return (positive > negative) + 0.5 * (positive == negative)


def similar_pairs(label, diameter_mm, factor=SIMILAR):
    """Bool (P, N): pairs of a positive and a negative whose diameters differ by at most `factor`."""
    label, size = np.asarray(label, bool), np.log(np.asarray(diameter_mm, float))
    return np.abs(size[label][:, None] - size[~label][None, :]) <= np.log(factor) + 1e-12


def size_matched_auc(label, score, diameter_mm, factor=SIMILAR) -> float:
    """The chance that a malignant nodule scores above a benign one of about its size; NaN without such pairs.

    The area under the ROC curve, taken over pairs within `factor` of each other's diameter only, so that
    size can decide next to nothing. diameter_mm: (n,) and above 0.
    """
    pairs = similar_pairs(label, diameter_mm, factor)
    return float(wins(label, score)[pairs].mean()) if pairs.any() else math.nan


@dataclass(frozen=True)
class Comparison:
    """A score against a baseline on the same nodules: areas, their difference and its 95 % interval."""

    auc: float
    auc_baseline: float
    difference: float
    ci: tuple[float, float]


def paired_bootstrap(label, score, baseline, groups=None, pairs=None, draws=2000, seed=0) -> Comparison:
    """Is `score` better than `baseline`? Both are measured on the same nodules in every draw.

    label: bool (n,); score, baseline: float (n,). Pairing removes what both have in common: a draw with
    easy nodules raises both areas. groups: (n,), such as series UIDs; whole groups are drawn, because
    the nodules of one patient are not independent. pairs: bool (P, N) limits both areas to some pairs,
    as `similar_pairs` gives. Draws without a pair are left out.
    """
    label = np.asarray(label, bool)
    if not label.any() or label.all():
        raise UserError(
            f"comparing needs both classes, but there are {int(label.sum())} malignant among {len(label)} "
            "nodules; use more scans"
        )
    ours, theirs = wins(label, score), wins(label, baseline)
    pairs = np.ones(ours.shape, bool) if pairs is None else np.asarray(pairs, bool)
    pairs = pairs.astype(float)
    ours, theirs = ours * pairs, theirs * pairs
    group = np.arange(len(label)) if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    count = int(group.max()) + 1
    rng = np.random.default_rng(seed)

    def areas(weight):
        weight_p, weight_n = weight[label], weight[~label]
        total = weight_p @ pairs @ weight_n
        if total == 0:
            return np.nan, np.nan
        return weight_p @ ours @ weight_n / total, weight_p @ theirs @ weight_n / total

    auc, auc_baseline = areas(np.ones(len(label)))
    differences = np.empty(draws)
    for draw in range(draws):
        times = np.bincount(rng.integers(count, size=count), minlength=count).astype(float)
        mine, other = areas(times[group])
        differences[draw] = mine - other
    low, high = (
        np.nanpercentile(differences, [2.5, 97.5]) if np.isfinite(differences).any() else (np.nan,) * 2
    )
    return Comparison(float(auc), float(auc_baseline), float(auc - auc_baseline), (float(low), float(high)))


@torch.inference_mode()
def predict(model, dataset, batch_size=32, device=None, num_workers=0) -> np.ndarray:
    """The model's probability of malignancy for each item of `dataset`, float (n,), in its order.

    num_workers: processes that load the items.
    """
    device = get_device(device)
    model = model.to(device).eval()
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=num_workers)
    said = [model(crops_t.to(device))[1][:, 1].float().cpu() for crops_t, *_ in loader]
    return torch.cat(said).numpy() if said else np.zeros(0)


def plot_rocs(label, scores, axis=None, classes=("benign nodules", "malignant nodules")):
    """ROC curves together, one per entry of `scores` ({name: float (n,)}); returns the axis.

    classes: what labels False and True are called.
    """
    if axis is None:
        from matplotlib.figure import Figure

        axis = Figure(figsize=(5, 5), layout="constrained").subplots()
    label_t = torch.as_tensor(np.asarray(label, bool))
    for name, score in scores.items():
        score_t = torch.as_tensor(np.asarray(score, float))
        false_rate, true_rate, _ = roc_curve(label_t, score_t)
        axis.plot(false_rate, true_rate, label=f"{name}, AUC {roc_auc(label_t, score_t):.3f}")
    axis.plot([0, 1], [0, 1], ":", color="gray", label="by chance")
    no, yes = classes
    axis.set(xlabel=f"share of {no} called {yes}", ylabel=f"share of {yes} found")
    axis.set_aspect("equal")
    axis.legend(loc="lower right")
    return axis


def compare(dataset, scores, draws=2000, seed=0) -> dict:
    """Each of `scores` ({name: float (n,)}) against the diameter, on all nodules and on equal sizes.

    dataset: an unbalanced `MalignantLunaDataset`. Answers {name: {"all": Comparison, "size-matched":
    Comparison}}.
    """
    infos = dataset.candidateInfo_list
    label = np.array([info.isMal_bool for info in infos], bool)
    diameter = np.array([info.diameter_mm for info in infos])
    series = np.array([info.series_uid for info in infos])
    pairs = similar_pairs(label, diameter)
    return {
        name: {
            "all": paired_bootstrap(label, score, diameter, series, None, draws, seed),
            "size-matched": paired_bootstrap(label, score, diameter, series, pairs, draws, seed),
        }
        for name, score in scores.items()
    }


def print_comparison(comparisons):
    """What `compare` answers, as a table, to standard output."""
    print(f"{'':24} {'nodules':>13}  {'AUC':>6}  {'diameter':>8}  {'difference (95 % interval)':>28}")
    for name, parts in comparisons.items():
        for which, one in parts.items():
            low, high = one.ci
            print(
                f"{name[-24:]:24} {which:>13}  {one.auc:6.3f}  {one.auc_baseline:8.3f}  "
                f"{one.difference:+9.3f} ({low:+.3f} to {high:+.3f})"
            )


def main(arguments=None):
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", nargs="+", metavar="P", help="weights of LunaModel trained on malignancy")
    parser.add_argument("--val-stride", type=int, default=5, help="as in training; 1: every scan")
    parser.add_argument("--draws", type=int, default=2000, help="of the bootstrap over scans")
    parser.add_argument("--device", help="such as cpu or cuda:1; the course chooses by default")
    parser.add_argument("--fit-size", action="store_true", help="weigh the diameter and store that in P")
    parser.add_argument("--json", metavar="F", help="write the comparison")
    parser.add_argument("--plot", metavar="F", help="draw the ROC curves (.png)")
    options = parser.parse_args(arguments)
    models = {shown(path): load_malignancy(path) for path in options.weights}
    dataset = MalignantLunaDataset(options.val_stride, True, sortby_str="series_uid")
    label, diameter_mm = (
        np.array([getattr(info, what) for info in dataset.candidateInfo_list])
        for what in ("isMal_bool", "diameter_mm")
    )
    scores = {}
    for path, (name, (model, dataset.resampled)) in zip(options.weights, models.items()):
        scores[name] = predict(model, dataset, device=options.device)
        if options.fit_size:
            change_settings(path, size_weights=fit_size(label, scores[name], diameter_mm))
        weights = settings_of(path).size_weights
        if weights is not None:
            scores[f"{name} with size"] = with_size(scores[name], diameter_mm, weights)
    comparisons = compare(dataset, scores, options.draws)
    malignant = len(dataset.mal_list)
    print(f"{len(dataset)} held-out nodules, {malignant} malignant and {len(dataset.ben_list)} benign")
    print_comparison(comparisons)
    if options.json:
        record = {"nodules": len(dataset), "malignant": malignant}
        record["networks"] = {n: {w: asdict(c) for w, c in parts.items()} for n, parts in comparisons.items()}
        with atomic_path(options.json) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        curves = {Path(name).name: score for name, score in scores.items()}
        curves["diameter"] = diameter_mm
        axis = plot_rocs(label, curves)
        with atomic_path(options.plot) as temporary:
            axis.figure.savefig(temporary, format="png", dpi=120)


if __name__ == "__main__":
    main_guard(main)
