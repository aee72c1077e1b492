"""What is measured on real nodules, tried on generated ones in the same folders, and how it is trained for."""

import csv
import json
import re

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from p2ch09.phantom import index_of, make_patient, write_scan
from p2ch12.augment import ALL
from p2ch14 import real_nodules, resampling
from p2ch14.real_nodules import fitted_head, head_of, sensitivities, weights_by_size
from p2ch14.resampling import SPACING_IRC, resampled_candidate, resampled_patch
from p2ch14.second_classifier import SMALL_CROP_IRC, SecondClassifier
from p2ch14.shipped.rescan import rescanned
from util.errors import UserError


def test_sensitivities_by_hand():
    false = [9.0, 5.0, 4.0, 3.0, 2.0, 1.0]  # of two scans
    nodules = [10.0, 8.0, 4.5, 2.5, 0.5]
    # 1/4 of two scans: none may be above the cut but the nodules; 1 per scan: two may; 4 per scan: all.
    assert sensitivities(nodules, false, 2) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_sizes_weigh_as_in_the_list():
    sizes = [5.0, 7.0, 7.5, 25.0]
    weights = weights_by_size(sizes, [4.0, 5.9, 6.0, 6.5, 30.0, 9.0])
    # Two of the list below 6 mm, two from 6 to 8, one from 20 on; nothing here stands for its one of 9 mm.
    assert weights == pytest.approx([2, 1, 1, 1])
    scores = np.array([4.0, 3.0, 2.0, 1.0])
    at = sensitivities(scores, [3.5], 1, weights)
    assert at == pytest.approx([2 / 5, 2 / 5, 1, 1, 1, 1])
    assert not weights_by_size(sizes, []).any()


def test_a_fitted_head_learns_what_is_separable_and_else_stays():
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(200) % 2 == 0
    generated = torch.randn(200, 6, generator=generator) + 4 * label[:, None] * torch.eye(6)[0]
    real = torch.randn(20, 6, generator=generator) + 4 * torch.eye(6)[1]  # nodules in another direction
    start = torch.zeros(7)
    alone, together = (fitted_head(start, part, generated, label) for part in (real[:0], real))

    def found(head):
        return ((real @ head[:-1] + head[-1]) > 0).float().mean().item()

    assert found(alone) < 0.7 < 0.9 < found(together)
    assert alone[0] > 3 * alone[1:6].abs().max()


def test_the_head_is_what_the_network_answers_with():
    torch.manual_seed(0)
    model = SecondClassifier().eval()
    crops_t = torch.randn(3, 1, 16, 32, 32) * 300 - 500
    features = real_nodules.features_of(model, crops_t)
    head = head_of(model)
    with torch.inference_mode():
        views = [crops_t.flip(axes) for axes in ((), *real_nodules.MIRRORS)]
        logits = torch.stack([model(view)[0] for view in views]).mean(0)
    assert torch.allclose(features @ head[:-1] + head[-1], logits[:, 1] - logits[:, 0], atol=1e-4)


def test_a_folder_without_nodules_is_refused(tmp_path):
    with pytest.raises(UserError, match="nodules.csv"):
        real_nodules.cubes_of(tmp_path)


@pytest.fixture(scope="module")
def like_real(tmp_path_factory):
    """A folder as the command wants it, of one generated patient whose nodules are cut out as cubes of 41 voxels."""
    folder = tmp_path_factory.mktemp("like_real")
    patient = make_patient(12, (64, 160, 160), nodules=9, masks=True)
    write_scan(patient, folder / "luna" / "subset0")
    cubes = folder / "nodules51"
    cubes.mkdir()
    rows, half = [], 20
    for number, nodule in enumerate(patient.nodules):
        index = np.clip(index_of(patient, nodule.center_xyz), half, np.array(patient.hu.shape) - half - 1)
        box = tuple(slice(i - half, i + half + 1) for i in index)
        name = f"{number}_nod1_ann0"
        for array, path in (
            (patient.hu[box], cubes / f"{name}.mhd"),
            (patient.mask[box].astype(np.uint8), cubes / f"{name}_mask.nii.gz"),
        ):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing([float(v) for v in patient.spacing_xyz])
            sitk.WriteImage(image, str(path))
        center = (np.array(index_of(patient, nodule.center_xyz)) - index + half)[::-1] * patient.spacing_xyz
        rows.append([name, *center.round(3), nodule.diameter_mm, 5])
    header = ["name", "coordX", "coordY", "coordZ", "diameter_mm", "texture"]
    with open(cubes / "nodules.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    places = [[patient.series_uid, *nodule.center_xyz, nodule.diameter_mm] for nodule in patient.nodules]
    for name, part in (("annotations.csv", places), ("annotations_excluded.csv", [])):
        with open(folder / "luna" / name, "w", newline="") as file:
            csv.writer(file).writerows([["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"], *part])
    return folder


@pytest.mark.slow
def test_the_command_measures_a_folder(like_real, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(real_nodules, "RECORD", tmp_path / "few.json")
    monkeypatch.setattr(real_nodules, "DRAWS", 2)
    monkeypatch.setattr(real_nodules, "GENERATED", (20, 40))
    real_nodules.main([str(like_real), "--few", "--write"])
    said = capsys.readouterr().out
    record = json.loads((tmp_path / "few.json").read_text())
    assert f"proposes {record['touched']} of {record['nodules']} real nodules" in said
    mean = float(re.search(r"false positives per scan: (\d\.\d+);", said)[1])
    assert 0.3 < mean <= 1
    assert record["touched"] >= 0.7 * record["nodules"] > 0
    assert [row["real_nodules"] for row in record["rows"]][:3] == [None, 0, 4]
    assert all(len(row["mean"]) == 2 and all(0 <= m <= 1 for m in row["mean"]) for row in record["rows"])


def test_rescanned_crops_keep_their_shape_and_their_mean():
    flat = torch.full((8, 1, 16, 32, 32), -850.0)
    made = rescanned(flat, torch.Generator().manual_seed(0))
    assert made.shape == flat.shape
    assert made.flatten(1).std(dim=1).max() < 0.01, "what has no edges has none after a blur"
    assert made.mean(dim=(1, 2, 3, 4)).std() > 5, "gain and offset differ"
    speck = torch.zeros(64, 1, 16, 32, 32)
    speck[:, :, 8, 16, 16] = 1000.0
    peaks = rescanned(speck, torch.Generator().manual_seed(1)).amax(dim=(1, 2, 3, 4))
    assert peaks.min() < 500, "some are blurred"
    assert (peaks > 900).float().mean() > 0.2, "some are spared"


def test_the_middle_of_a_patch_is_the_crop(monkeypatch):
    """With the scan's voxels as large as the crop's, nothing is interpolated."""
    scan = np.arange(60 * 100 * 100, dtype=np.int16).reshape(60, 100, 100)

    def cut(series_uid, center_xyz, width):
        starts = [min(max(c - w // 2, 0), n - w) for c, w, n in zip((30, 50, 50), width, scan.shape)]
        return scan[tuple(slice(s, s + w) for s, w in zip(starts, width))].copy(), (30, 50, 50)

    monkeypatch.setattr(resampling, "getCtRawCandidate", cut)
    monkeypatch.setattr("p2ch12.dsets.getCtRawCandidate", cut)
    monkeypatch.setattr("p2ch12.dsets.scan_shape", lambda uid: scan.shape)
    monkeypatch.setattr(resampling, "_spacing_irc", lambda uid: SPACING_IRC)
    info = type("Info", (), {"series_uid": "x", "center_xyz": (0, 0, 0)})
    patch_irc = ALL.patch(SMALL_CROP_IRC)
    patch_t, center = resampled_patch(info, SMALL_CROP_IRC, patch_irc)
    crop_t, same_center = resampled_candidate(info, SMALL_CROP_IRC)
    middle = tuple(slice((w - s) // 2, (w + s) // 2) for w, s in zip(patch_irc, SMALL_CROP_IRC))
    assert tuple(patch_t.shape) == patch_irc
    assert torch.equal(patch_t[middle], crop_t)
    assert center == same_center
