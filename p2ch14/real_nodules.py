"""Real nodules: does the shipped U-Net propose them, and what do a few of them teach the classifiers? (chapter 14)

    python -m p2ch14.real_nodules FOLDER [--few] [--write] [--classification-path P]

FOLDER/nodules51 holds cubes of real scans, each around one nodule: NAME.mhd, a reader's mask NAME_mask.nii.gz, and
nodules.csv with name (up to its first _ it names the patient), centre in mm (coordX, coordY, coordZ), diameter_mm and
texture (1 ground glass … 5 solid). FOLDER/luna holds whole scans with LUNA16's lists. Neither is part of the course.
--few fine-tunes the second classifier's last layer on a few of the nodules; what it learns is measured and thrown
away: the shipped networks never see a real scan. --write keeps these figures in data/p2ch14.
"""

import argparse
import csv
import json
import math
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch.nn import functional as F

from p2ch10.dsets import getCandidateInfoList, is_held_out
from p2ch10.scans import load_scan
from p2ch13.segment import EDGE, segment_plainly
from p2ch14.findings import Finding
from p2ch14.hits import lies_on
from p2ch14.lists import read_table
from p2ch14.pipeline import MIRRORS, NodulePipeline, crop_of
from p2ch14.resampling import resampled_candidate
from p2ch14.second_classifier import SMALL_CROP_IRC
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.paths import PROJECT, shown

RECORD = PROJECT / "data" / "p2ch14" / "few_real_nodules.json"
RATES = (0.25, 0.5, 1, 2, 4, 8)  # false positives per scan
FEW = (0, 4, 16, 65)  # real nodules to learn from, or as many as the other patients have
FOLDS, DRAWS = 5, 10
GENERATED = (400, 2000)  # generated nodules and others that keep the network from forgetting
STAY = 0.01  # how strongly the head is held to where it was
VAL_STRIDE = 5
SIZES_MM = (6, 8, 12, 20)  # where groups of sizes begin
LEAST_MM = 6.0  # a mark on a smaller nodule may be 3 mm off


def cubes_of(folder) -> list[dict]:
    """The rows of nodules.csv, each with its scan ("ct") and the nodule's place ("finding")."""
    listed = Path(folder) / "nodules51" / "nodules.csv"
    if not listed.is_file():
        raise UserError(f"there is no {shown(listed)}; name the folder that holds nodules51/ and luna/")
    rows = []
    for row in csv.DictReader(listed.open(encoding="utf-8-sig")):
        ct = load_scan(listed.parent / f"{row['name']}.mhd")
        place = tuple(float(row[f"coord{axis}"]) for axis in "XYZ")
        finding = Finding(ct.geometry.xyz2irc(place), place, float(row["diameter_mm"]))
        rows.append({**row, "patient": row["name"].split("_")[0], "ct": ct, "finding": finding})
    return rows


def is_touched(pipeline, cube, folder) -> bool:
    """Does the U-Net, with the pipeline's threshold, mark a voxel that the reader marked?"""
    mask = sitk.GetArrayFromImage(
        sitk.ReadImage(str(Path(folder) / "nodules51" / f"{cube['name']}_mask.nii.gz"))
    )
    hu = cube["ct"].hu_a
    # At a picture's edge the network sees zeros, and its pictures are multiples of 4.
    around = [(0, 0)] + [(EDGE, EDGE + -size % 4) for size in hu.shape[1:]]
    padded = np.pad(hu, around, mode="edge")
    marked = segment_plainly(pipeline.seg_model, padded, pipeline.mask_threshold)
    rows, columns = (slice(EDGE, EDGE + size) for size in hu.shape[1:])
    return bool((marked[:, rows, columns] & (mask > 0)).any())


def false_candidates(pipeline, folder) -> tuple[list[tuple], int]:
    """((scan, finding) of every candidate beside LUNA16's nodules and irrelevant findings, number of scans)."""
    paths = sorted((Path(folder) / "luna").rglob("*.mhd"))
    if not paths:
        raise UserError(f"there are no scans below {shown(Path(folder) / 'luna')}")
    nodules, irrelevant = (
        read_table(Path(folder) / "luna" / name, "diameter_mm")
        for name in ("annotations.csv", "annotations_excluded.csv")
    )
    nothing, false = np.zeros((0, 4)), []
    for path in paths:
        ct = load_scan(path)
        findings = pipeline.analyse(ct).findings
        places = [finding.center_xyz for finding in findings]
        of_nodules = np.array(nodules.get(ct.series_uid, nothing))
        of_nodules[:, 3] = np.maximum(of_nodules[:, 3], LEAST_MM)
        spheres = np.concatenate([of_nodules, irrelevant.get(ct.series_uid, nothing)])
        is_on_any = lies_on(spheres, places).any(axis=0)
        false += [(ct, finding) for finding, is_on in zip(findings, is_on_any) if not is_on]
    return false, len(paths)


def sensitivities(nodules, false, scans, weights=None) -> list[float]:
    """Share of `nodules` (scores) above what leaves each of `RATES` of the `false` ones per scan.

    weights: how much each nodule counts; by default all the same.
    """
    false = np.sort(false)[::-1]
    cuts = [false[int(rate * scans)] if int(rate * scans) < len(false) else -math.inf for rate in RATES]
    return [float(np.average(np.asarray(nodules) > cut, weights=weights)) for cut in cuts]


def weights_by_size(diameters_mm, listed_mm) -> np.ndarray:
    """What each nodule counts for the groups of `SIZES_MM` to have the shares that they have in a list.

    diameters_mm: of the nodules; listed_mm: of the list's. A group without a nodule stays without one.
    """
    group, listed = (np.digitize(sizes, SIZES_MM) for sizes in (diameters_mm, listed_mm))
    shares = np.bincount(listed, minlength=len(SIZES_MM) + 1) / np.bincount(
        group, minlength=len(SIZES_MM) + 1
    ).clip(min=1)
    return shares[group]


@torch.inference_mode()
def features_of(model, crops_t) -> torch.Tensor:
    """What the last linear layer of a `SecondClassifier` is given for crops (N, 1, 16, 32, 32): float32 (N, F).

    The mean over all mirror images: the layer is linear, so its answer is the mean of the logits.
    """
    kept = []
    hook = model.head_linear.register_forward_pre_hook(lambda layer, given: kept.append(given[0].cpu()))
    try:
        for part_t in crops_t.split(32):
            for axes in ((), *MIRRORS):
                model(part_t.flip(axes).to(next(model.parameters()).device))
    finally:
        hook.remove()
    views = 1 + len(MIRRORS)
    return torch.cat([torch.stack(kept[at : at + views]).mean(0) for at in range(0, len(kept), views)])


def head_of(model) -> torch.Tensor:
    """Weights and, last, bias of the logit that a `SecondClassifier` answers: (F + 1,)."""
    weight, bias = model.head_linear.weight.detach().cpu(), model.head_linear.bias.detach().cpu()
    return torch.cat([weight[1] - weight[0], (bias[1] - bias[0])[None]])


def fitted_head(start, real, generated, label) -> torch.Tensor:
    """The head `start` (F + 1,), fine-tuned on features of `real` nodules (K, F) and of generated examples.

    generated: (N, F); label: (N,) bool. Of the nodules, the real ones count as much as all the generated ones. The
    head is held to where it started by `STAY`.
    """
    features = F.pad(torch.cat([real, generated]), (0, 1), value=1.0)
    is_nodule = torch.cat([torch.ones(len(real), dtype=torch.bool), label])
    is_real = torch.arange(len(is_nodule)) < len(real)
    weight = torch.zeros(len(is_nodule))
    for part, share in (
        (is_real, 0.25 if len(real) else 0.0),
        (is_nodule & ~is_real, 0.25 if len(real) else 0.5),
        (~is_nodule, 0.5),
    ):
        weight[part] = share / max(int(part.sum()), 1)
    head = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([head], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(features @ head, is_nodule.float(), weight, reduction="sum")
        loss = loss + STAY * (head - start).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return head.detach()


def generated_examples(seed=0) -> tuple[list, torch.Tensor]:
    """Candidates of the course's own training scans, and which of them are nodules."""
    listed = [c for c in getCandidateInfoList() if not is_held_out(c.series_uid, VAL_STRIDE)]
    rng = np.random.default_rng(seed)
    chosen = []
    for is_nodule, count in zip((True, False), GENERATED):
        part = [c for c in listed if c.isNodule_bool == is_nodule]
        chosen += [part[i] for i in rng.permutation(len(part))[:count]]
    return chosen, torch.tensor([c.isNodule_bool for c in chosen])


def print_standing(pipeline, cubes, false, scans, listed_mm):
    """The whole pipeline's judgement of the nodules, where they are marked, against the false candidates.

    listed_mm: the diameters of LUNA16's nodules, most of which are smaller.
    """
    nodules = np.array([pipeline.classify_points(c["ct"], [c["finding"]]).findings[0].logit for c in cubes])
    beside = sorted((finding.logit for _, finding in false), reverse=True)
    means = [np.mean(sensitivities(nodules, part, scans)) for part in (beside, beside[1:])]
    surest = max((finding for _, finding in false), key=lambda finding: finding.logit)
    print(
        f"mean sensitivity at 1/4 to 8 false positives per scan: {means[0]:.3f}; {means[1]:.3f} without the"
    )
    print(f"   surest mistake, {surest.diameter_mm:.1f} mm, probability {surest.probability:.4f}")
    sizes = np.array([float(cube["diameter_mm"]) for cube in cubes])
    weights = weights_by_size(sizes, listed_mm)
    if weights.any():
        by_size = np.mean(sensitivities(nodules, beside, scans, weights))
        small, of_list = (f"{np.mean(some < SIZES_MM[0]):.0%}" for some in (sizes, listed_mm))
        print(f"   {by_size:.3f} if sizes had the shares that they have in LUNA16's list;")
        print(f"   below {SIZES_MM[0]} mm are {of_list} there, and {small} here")
    cut = beside[min(4 * scans, len(beside) - 1)]
    for texture in sorted({cube["texture"] for cube in cubes}):
        found = [logit > cut for logit, cube in zip(nodules, cubes) if cube["texture"] == texture]
        print(f"   texture {texture}: {sum(found)} of {len(found)} at 4 false positives per scan")


def few_shot(pipeline, cubes, false, scans) -> list[dict]:
    """A row per number of real nodules to learn from: mean sensitivity of each draw, patients apart.

    The first row is of the head as it is shipped, the second of one fitted to generated examples alone: what the
    others gain over that, the real nodules gave.
    """
    generated, label = generated_examples()
    model = pipeline.second_model
    real, beside, background = (
        features_of(model, torch.stack(crops)[:, None])
        for crops in (
            [crop_of(cube["ct"], cube["finding"], SMALL_CROP_IRC) for cube in cubes],
            [crop_of(ct, finding, SMALL_CROP_IRC) for ct, finding in false],
            [resampled_candidate(info, SMALL_CROP_IRC)[0] for info in generated],
        )
    )
    patients = sorted({cube["patient"] for cube in cubes})
    rows = []
    for count in (None, *FEW):  # None: the head as it is shipped
        means = []
        for draw in range(DRAWS):
            rng = np.random.default_rng(draw)
            fold_of = dict(zip(rng.permutation(patients), np.arange(len(patients)) % FOLDS))
            found, counts = [], []
            for fold in range(FOLDS):
                is_test = np.array([fold_of[cube["patient"]] == fold for cube in cubes])
                others = rng.permutation(np.flatnonzero(~is_test))[:count]
                counts.append(len(others))
                head = head_of(model)
                if count is not None:
                    head = fitted_head(head, real[others], background, label)
                nodules, false_ones = (
                    (F.pad(part, (0, 1), value=1.0) @ head).numpy() for part in (real[is_test], beside)
                )
                found.append((is_test.sum(), np.mean(sensitivities(nodules, false_ones, scans))))
            weights, values = zip(*found)
            means.append(float(np.average(values, weights=weights)))
        rows.append({"real_nodules": None if count is None else round(np.mean(counts)), "mean": means})
    return rows


def main(arguments=None):
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m p2ch14.real_nodules",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {shown(RECORD)}")
    parser.add_argument("--few", action="store_true", help="fine-tune on a few of them, too")
    parser.add_argument("--classification-path", metavar="P", help="weights; by default the shipped ones")
    options = parser.parse_args(arguments)
    pipeline = NodulePipeline(classification=options.classification_path)
    if pipeline.second_model is None:
        raise UserError("the classifier asks for no second one; this fine-tunes that")
    cubes = cubes_of(options.folder)
    touched = np.array([is_touched(pipeline, cube, options.folder) for cube in cubes])
    print(f"the U-Net proposes {touched.sum()} of {len(cubes)} real nodules ({touched.mean():.1%})")
    for cube, is_there in zip(cubes, touched):
        if not is_there:
            print(f"   not {cube['name']}: {float(cube['diameter_mm']):.1f} mm, texture {cube['texture']}")
    false, scans = false_candidates(pipeline, options.folder)
    print(f"{len(false)} candidates beside nodules in whole scans: {scans}")
    if not false:
        raise UserError("without candidates beside nodules there are no false positives to count")
    listed = read_table(options.folder / "luna" / "annotations.csv", "diameter_mm").values()
    print_standing(pipeline, cubes, false, scans, np.array([row[3] for rows in listed for row in rows]))
    if not (options.few or options.write):
        return
    print("the second classifier from one distance, in all mirrors, its last layer fine-tuned:")
    rows = few_shot(pipeline, cubes, false, scans)
    for row in rows:
        low, high = min(row["mean"]), max(row["mean"])
        what = "as shipped" if row["real_nodules"] is None else f"{row['real_nodules']} real nodules"
        print(
            f"{what:16}: mean sensitivity {np.mean(row['mean']):.3f} "
            f"({low:.3f} to {high:.3f} in {len(row['mean'])} draws)"
        )
    if options.write:
        record = {
            "touched": int(touched.sum()),
            "nodules": len(cubes),
            "candidates": len(false),
            "rows": rows,
        }
        with atomic_path(RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"written to {shown(RECORD)}")


if __name__ == "__main__":
    main_guard(main)
