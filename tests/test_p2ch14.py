"""Chapter 14: from a mask to findings, from findings to scores, files and reports."""

import csv
import itertools
import json
import math
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy.special import logit

from p2ch10.dsets import irc2xyz
from p2ch10.scans import load_scan
from p2ch11.model import LunaModel
from p2ch13.model import UNetWrapper
from p2ch14 import pipeline, scoring
from p2ch14.findings import Finding, ScanResult, write_csv, write_json
from p2ch14.pipeline import NodulePipeline, crop_of, mean_logit
from p2ch14.scoring import Score, match, match_and_score, score_scan, threshold_for
from p2ch14.second_classifier import SMALL_CROP_IRC, SecondClassifier, ensemble
from p2ch14.weights import SECOND_CLASSIFIER, Settings, save_with_settings
from util.errors import UserError
from util.paths import PROJECT


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    """Weights files of untrained networks: the way through does not depend on what they know."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save({"model_state": UNetWrapper().state_dict()}, folder / "segmentation.state")
    torch.save({"model_state": LunaModel().state_dict()}, folder / "classification.state")
    return folder


@pytest.fixture(scope="module")
def small_scan(tmp_path_factory):
    """A small oblique scan with one bright ball in air, as .mhd."""
    path = tmp_path_factory.mktemp("scan") / "1.2.826.0.1.3680043.2.1125.7.mhd"
    zyx = np.ogrid[0:40, 0:64, 0:72]
    distance = np.sqrt(sum(((axis - c) * s) ** 2 for axis, c, s in zip(zyx, (20, 30, 40), (2, 1, 1))))
    image = sitk.GetImageFromArray(np.where(distance < 8, 40, -900).astype(np.int16))
    image.SetSpacing((1.0, 1.0, 2.0))
    image.SetOrigin((-30.0, 12.0, 100.0))
    angle = math.radians(20)
    image.SetDirection((math.cos(angle), -math.sin(angle), 0, math.sin(angle), math.cos(angle), 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="module")
def app(random_weights):
    return NodulePipeline(
        random_weights / "segmentation.state", random_weights / "classification.state", device="cpu"
    )


def test_a_ball_becomes_one_finding_with_its_place_and_size(app, small_scan):
    ct = load_scan(small_scan)
    findings = app.group_segmentation_output(ct, ct.hu_a > -500)
    assert len(findings) == 1
    where = sitk.ReadImage(str(small_scan)).TransformContinuousIndexToPhysicalPoint((40.0, 30.0, 20.0))
    np.testing.assert_allclose(findings[0].center_xyz, where, atol=0.2)
    np.testing.assert_allclose(findings[0].center_irc, (20, 30, 40), atol=0.1)
    assert findings[0].diameter_mm == pytest.approx(16, rel=0.12)


def test_specks_and_thin_bridges_are_eroded_away(app, small_scan):
    ct = load_scan(small_scan)
    mask = np.zeros(ct.hu_a.shape, dtype=bool)
    mask[5, 5, 5] = True
    mask[10:17, 10:17, 10:17] = mask[10:17, 10:17, 30:37] = True
    mask[13, 13, 17:30] = True
    assert len(app.group_segmentation_output(ct, mask)) == 2
    assert app.group_segmentation_output(ct, np.zeros_like(mask)) == []


def test_whole_way_on_a_small_scan(app, small_scan):
    result = app.analyse(load_scan(small_scan), "small")
    assert all(0 <= finding.probability <= 1 for finding in result.findings)
    probabilities = [finding.probability for finding in result.findings]
    assert probabilities == sorted(probabilities, reverse=True)


def test_a_mask_that_is_known_already_is_taken(app, small_scan, monkeypatch):
    ct = load_scan(small_scan)
    wanted = app.analyse(ct)
    mask = app.segment_ct(ct)
    monkeypatch.setattr(app, "segment_ct", lambda *_: pytest.fail("the scan was segmented once more"))
    assert app.analyse(ct, mask=mask).findings == wanted.findings
    # Another mask, other findings: it is the mask that is grouped.
    assert len(app.analyse(ct, mask=ct.hu_a > -500).findings) == 1


def test_segmentation_does_not_depend_on_batches(app, small_scan):
    ct = load_scan(small_scan)
    one, many = app.segment_ct(ct, batch_size=1), app.segment_ct(ct, batch_size=16)
    assert (one == many).mean() > 0.999


def undecided(model, looks):
    """An untrained network whose head is scaled so that it is undecided about `looks`, and what it says."""
    with torch.no_grad():
        margin = model(looks)[0].diff(dim=1)
        model.head_linear.bias[1] -= margin.mean()
        model.head_linear.weight /= margin.std()
        model.head_linear.bias /= margin.std()
        return model(looks)[1][:, 1]


ALL_WAYS = {"share": 0.4, "extents": (1.0, 0.85, 1.2), "viewed_from": 0.1, "mirrored_from": 0.1}


@pytest.mark.parametrize(
    ("settings", "views_wanted"),
    [
        ({}, 8),
        (ALL_WAYS, 24),
        (ALL_WAYS | {"mirrored_from": 0.99}, 3),
        (ALL_WAYS | {"viewed_from": 0.99}, 1),
        (ALL_WAYS | {"share": 1.0}, 24),
    ],
)
def test_a_file_may_ask_for_a_second_classifier(tmp_path, random_weights, small_scan, settings, views_wanted):
    """And the second's file may say how much it counts, and in which views it is shown what."""
    ct = load_scan(small_scan)
    # A little beside the ball, so that the mirror images differ.
    center_xyz = irc2xyz((17, 25, 33), ct.origin_xyz, ct.vxSize_xyz, ct.direction_a)
    place = Finding((17.0, 25.0, 33.0), tuple(center_xyz), 9.0)
    crop = crop_of(ct, place, SMALL_CROP_IRC)[None, None]
    assert crop.shape == (1, 1, *SMALL_CROP_IRC)
    extents, share = Settings(**settings).extents, Settings(**settings).share
    seen = [crop_of(ct, place, SMALL_CROP_IRC, extent)[None, None] for extent in extents]
    axes_sets = list(itertools.chain.from_iterable(itertools.combinations((2, 3, 4), n) for n in range(4)))
    views = torch.cat([one.flip(axes) for axes in axes_sets for one in seen])
    torch.manual_seed(1)
    second, first = SecondClassifier().eval(), LunaModel().eval()
    second_says = undecided(second, views)
    assert second_says.std() > 0.05
    save_with_settings(tmp_path / SECOND_CLASSIFIER, second, **settings)
    assert second_says[0] > 0.2
    with torch.no_grad():  # says the same whatever it sees
        first.head_linear.weight.zero_()
    path = tmp_path / "classification.safetensors"
    for first_says in (0.6, 0.004):
        with torch.no_grad():
            first.head_linear.bias.copy_(torch.tensor([0.0, math.log(first_says / (1 - first_says))]))
        save_file(first.state_dict(), path, {"second_classifier": SECOND_CLASSIFIER})
        app = NodulePipeline(random_weights / "segmentation.state", path, device="cpu")
        app.use_bfloat16 = False
        asked = []
        app.cls_model.register_forward_hook(lambda *_, asked=asked: asked.append("first"))
        app.classify_candidates(ct, [place])
        assert len(asked) == (share < 1), "whose word does not count is not asked"
        expected = first_says
        if first_says >= pipeline.SECOND_FROM or share == 1:
            odds = [p / (1 - p) for p in (first_says, second_says[:views_wanted].mean().item())]
            mean = odds[0] ** (1 - share) * odds[1] ** share
            expected = mean / (1 + mean)
        assert place.probability == pytest.approx(expected, abs=1e-3)


logits = st.floats(-40, 40)


@given(logits, logits, st.floats(0, 1))
def test_an_ensemble_lies_between_its_two(first, second, share):
    both = ensemble(first, second, share)
    assert min(first, second, 13.8) - 1e-9 <= both or both < -13.8
    assert both <= max(first, second, -13.8) + 1e-9 or both > 13.8
    assert abs(both) < 14
    assert ensemble(first + 1, second, 0.5) > ensemble(first, second, 0.5), (
        "ranks stay, however sure both are"
    )


@given(st.lists(st.floats(-15, 15), min_size=1, max_size=8))
def test_the_mean_over_mirror_images_is_that_of_the_probabilities(logits):
    mean = np.mean([1 / (1 + math.exp(-one)) for one in logits])
    assert 1 / (1 + math.exp(-mean_logit(logits))) == pytest.approx(mean, abs=1e-12)


def test_what_is_sure_and_what_is_surer_do_not_tie():
    assert mean_logit([30.0] * 8) == pytest.approx(30.0)
    assert mean_logit([31.0] * 8) > mean_logit([30.0] * 8)


def test_a_second_classifier_that_is_not_there_is_a_sentence(tmp_path, random_weights):
    path = tmp_path / "classification.safetensors"
    save_file(LunaModel().state_dict(), path, {"second_classifier": SECOND_CLASSIFIER})
    with pytest.raises(UserError, match=r"second_classifier\.safetensors"):
        NodulePipeline(random_weights / "segmentation.state", path, device="cpu")


def test_a_second_classifier_of_ones_own_goes_before_the_one_that_the_file_names(tmp_path, random_weights):
    named, own = SecondClassifier(), SecondClassifier()
    path = tmp_path / "classification.safetensors"
    save_file(LunaModel().state_dict(), path, {"second_classifier": SECOND_CLASSIFIER})
    save_file(named.state_dict(), tmp_path / SECOND_CLASSIFIER)
    torch.save({"model_state": own.state_dict()}, tmp_path / "own.state")
    segmentation = random_weights / "segmentation.state"
    for second, expected in ((None, named), (tmp_path / "own.state", own)):
        app = NodulePipeline(segmentation, path, device="cpu", second=second)
        assert torch.equal(app.second_model.head_linear.weight, expected.head_linear.weight)
    with pytest.raises(UserError, match="another model than SecondClassifier"):
        NodulePipeline(segmentation, path, device="cpu", second=path)


def finding(xyz, probability=0.9, malignancy=None):
    return Finding((0.0, 0.0, 0.0), tuple(xyz), 6.0, float(logit(probability)), malignancy)


def nodule(xyz, diameter_mm=10.0, isMal_bool=False):
    return SimpleNamespace(
        center_xyz=tuple(xyz), diameter_mm=diameter_mm, isMal_bool=isMal_bool, isNodule_bool=True
    )


points = st.tuples(*[st.integers(-12, 12)] * 3)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(points, st.floats(0, 1)), max_size=8),
    st.lists(st.tuples(points, st.integers(3, 20)), max_size=5),
)
def test_counts_agree_with_a_slow_obvious_way(marks, truths):
    findings = [finding(xyz, probability) for xyz, probability in marks]
    nodules = [nodule(xyz, diameter) for xyz, diameter in truths]
    found = missed = 0
    for n in nodules:
        hits = [f for f in findings if math.dist(f.center_xyz, n.center_xyz) < n.diameter_mm / 2]
        found += any(f.probability >= 0.5 for f in hits)
        missed += not hits
    false_positives = sum(
        f.probability >= 0.5
        and all(math.dist(f.center_xyz, n.center_xyz) >= n.diameter_mm / 2 for n in nodules)
        for f in findings
    )
    score = score_scan(findings, nodules)
    assert (score.found, score.missed, score.false_positives) == (found, missed, false_positives)
    assert score.filtered == len(nodules) - found - missed


def test_a_mark_on_an_irrelevant_finding_counts_neither_way():
    nodules = [nodule((0, 0, 0))]
    marks = [finding((0, 0, 1), 0.9), finding((40, 0, 0), 0.8), finding((80, 0, 0), 0.7)]
    irrelevant = np.array([[40.0, 0, 3, -1], [0, 0, 0, 50]])  # the second covers the nodule, too
    assert score_scan(marks, nodules, 0.5) == Score(1, 0, 0, 2)
    assert score_scan(marks, nodules, 0.5, irrelevant) == Score(1, 0, 0, 1)
    result = ScanResult("1.2", "", 0.0, marks)
    truth = {"1.2": nodules}
    assert threshold_for([result], truth, 0) == pytest.approx(0.8, abs=1e-6)
    assert threshold_for([result], truth, 0, {"1.2": irrelevant}) == pytest.approx(0.7, abs=1e-6)


def test_best_of_several_hits_counts_and_the_others_are_no_false_positives():
    findings = [finding((0, 0, 0), 0.3), finding((1, 0, 0), 0.8), finding((50, 0, 0), 0.9)]
    best, hitting = match(findings, [nodule((0, 0, 1))])
    assert best == [1]
    assert hitting == {0, 1}
    assert match(findings, [nodule((5, 0, 0), 10.0)])[0] == [1]
    assert match([finding((5, 0, 0))], [nodule((0, 0, 0), 10.0)])[0] == [None]


def test_confusion_table():
    nodules = [
        nodule((0, 0, 0), isMal_bool=True),
        nodule((40, 0, 0)),
        nodule((80, 0, 0)),
        nodule((120, 0, 0)),
    ]
    findings = [
        finding((0, 0, 0), 0.9, 0.7), finding((40, 0, 0), 0.9, 0.2), finding((80, 0, 0), 0.1),
        finding((0, 90, 0), 0.9, 0.9), finding((0, 60, 0), 0.2),
    ]  # fmt: skip
    table = match_and_score(findings, nodules)
    assert table.tolist() == [[0, 1, 0, 1], [1, 1, 1, 0], [0, 0, 0, 1]]


def test_threshold_keeps_the_false_positives_asked_for():
    marks = [finding((100 + i, 0, 0), 0.6 + 0.04 * i) for i in range(9)] + [finding((0, 0, 0), 0.99)]
    result = ScanResult("1.2", "", 0.0, marks)
    truth = {"1.2": [nodule((0, 0, 0))]}
    for allowed in (0, 1, 4, 9):
        threshold = threshold_for([result], truth, allowed)
        assert score_scan(marks, truth["1.2"], threshold).false_positives == allowed
    assert threshold_for([result], truth, 20) == 0.5


def test_validation_counts_luna_scans_only_and_spares_irrelevant_findings(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(scoring, "truth_by_series", lambda: {"1.1": [nodule((0, 0, 0))], "1.2": []})
    excluded = tmp_path / "annotations_excluded.csv"
    excluded.write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2,40,0,0,-1\n")
    monkeypatch.setattr(scoring.luna, "list_path", lambda name: excluded)
    results = [
        ScanResult("1.1", "", 1.0, [finding((0, 0, 1), 0.7)]),
        ScanResult("1.2", "", 1.0, [finding((40, 0, 0), 0.9)]),
        ScanResult("elsewhere", "", 1.0, [finding((0, 0, 0), 0.99)] * 9),
    ]
    scoring.print_validation(results)
    said = capsys.readouterr().out
    assert "2 scans, 1 nodules; 1 found at the laxest threshold, 0 false positives" in said
    assert "CPM 1.0000" in said


def result_of(ct):
    findings = [
        Finding((20.0, 30.0, 40.0), (1.0, 2.0, 3.0), 16.2, float(logit(0.93)), 0.4),
        Finding((2.0, 3.0, 70.0), (4.0, 5.0, 6.0), 4.0, float(logit(0.2))),
    ]
    return ScanResult(ct.series_uid, "scans/<b>one</b>.mhd", 1.5, findings)


def test_json_and_csv_have_the_documented_schema(tmp_path, small_scan):
    result = result_of(load_scan(small_scan))
    write_json(tmp_path / "n.json", [result], 0.5)
    (scan,) = json.loads((tmp_path / "n.json").read_text())["scans"]
    assert set(scan) == {"series_uid", "path", "seconds", "candidates", "warnings", "nodules"}
    assert scan["candidates"] == 2
    assert scan["nodules"] == [
        {
            "center_xyz": [1.0, 2.0, 3.0],
            "diameter_mm": 16.2,
            "probability": 0.93,
            "malignancy": 0.4,
            "axes_mm": None,
        }
    ]
    write_csv(tmp_path / "n.csv", [result])
    rows = list(csv.DictReader((tmp_path / "n.csv").open()))
    assert list(rows[0]) == ["seriesuid", "coordX", "coordY", "coordZ", "probability"]
    assert [float(row["probability"]) for row in rows] == [0.93, 0.2]


def analyse(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "p2ch14.nodule_analysis", *map(str, arguments)],
        cwd=PROJECT, capture_output=True, text=True,
    )  # fmt: skip


def break_scan(kind, folder):
    """A bad input of the given kind; answers the path to pass."""
    path = folder / "scan.mhd"
    if kind == "missing":
        return folder / "nothing.mhd"
    if kind == "no dicom":
        (folder / "empty").mkdir()
        (folder / "empty" / "notes.txt").write_text("no images here")
        return folder / "empty"
    shape = (32, 32) if kind == "2D" else (8, 32, 32)
    image = sitk.GetImageFromArray(np.zeros(shape, dtype=np.int16))
    sitk.WriteImage(image, str(path), useCompression=True)
    if kind == "truncated":
        raw = folder / "scan.zraw"
        raw.write_bytes(raw.read_bytes()[:20])
    if kind == "zero spacing":
        path.write_text(re.sub(r"ElementSpacing = .*", "ElementSpacing = 1 1 0", path.read_text()))
    return path


@pytest.mark.command
@pytest.mark.parametrize("kind", ["missing", "truncated", "zero spacing", "no dicom", "2D"])
def test_bad_input_is_one_sentence_and_status_2(kind, tmp_path, random_weights):
    weights = ["--segmentation-path", random_weights / "segmentation.state"]
    weights += ["--classification-path", random_weights / "classification.state"]
    out = tmp_path / "out"
    said = analyse(break_scan(kind, tmp_path), *weights, "--json", out / "f.json", "--report", out / "r.html")
    assert said.returncode == 2, said.stderr
    assert said.stderr.startswith("error: ")
    assert len(said.stderr.strip().splitlines()) == 1, said.stderr
    assert not out.exists()


@pytest.mark.command
def test_weights_of_another_model_are_one_sentence(tmp_path, small_scan, random_weights):
    said = analyse(small_scan, "--segmentation-path", random_weights / "classification.state")
    assert said.returncode == 2
    assert re.fullmatch(r"error: .*another model than UNetWrapper.*\n", said.stderr)


@pytest.mark.command
@pytest.mark.parametrize("name", ["luna", "dicom"])
def test_real_scans_go_all_the_way(real_data, tmp_path, name):
    scan = next((real_data / "luna").rglob("*.mhd")) if name == "luna" else real_data / "p1ch4" / "dicom"
    said = analyse(scan, "--json", tmp_path / "f.json", "--report", tmp_path / "r.html")
    assert said.returncode == 0, said.stderr
    (found,) = json.loads((tmp_path / "f.json").read_text())["scans"]
    assert found["candidates"] > 0
    assert found["seconds"] < 120
    assert (tmp_path / "r.html").stat().st_size > 50_000
