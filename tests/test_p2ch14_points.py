"""Chapter 14: given places are judged, one by one, as LUNA16's false positive reduction track has it."""

import csv
import json
import math

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.special import expit, logit

from p2ch10.scans import load_scan
from p2ch11.model import LunaModel
from p2ch14 import nodule_analysis
from p2ch14.findings import Finding, ScanResult, write_csv, write_json
from p2ch14.lists import Point, read_points
from p2ch14.pipeline import NodulePipeline
from util.errors import UserError

HEADER = "seriesuid,coordX,coordY,coordZ"


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Two small scans named a and b with a bright ball and a wall in each, as .mhd and as .nii.gz."""
    folder = tmp_path_factory.mktemp("scans")
    z, y, x = np.ogrid[0:40, 0:60, 0:64]
    for number, name in enumerate(("a.mhd", "b.nii.gz")):
        inside = (z - 20) ** 2 + (y - 30) ** 2 + (x - 30 - 4 * number) ** 2 < 25
        wall = (y > 46) & (z >= 0) & (x >= 0)
        image = sitk.GetImageFromArray(np.where(inside | wall, 30, -880).astype(np.int16))
        image.SetOrigin((-10.0, 20.0, -30.0))
        image.SetSpacing((0.8, 0.8, 1.5))
        sitk.WriteImage(image, str(folder / name))
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Weights of an untrained classifier: what it says does not matter here, only that it is said."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "classification.state"
    torch.save({"model_state": LunaModel().state_dict()}, path)
    return path


def judge(scans, classifier, rows, header=HEADER, *more):
    """The command's CSV rows and JSON scans for a list of `rows`."""
    listed = scans / "places.csv"
    listed.write_text("\n".join([header, *rows]) + "\n")
    nodule_analysis.main(
        [
            *(str(scans / name) for name in ("a.mhd", "b.nii.gz")),
            *("--candidates", str(listed), "--classification-path", str(classifier), "--device", "cpu"),
            *("--csv", str(scans / "judged.csv"), "--json", str(scans / "judged.json"), *more),
        ]
    )
    with open(scans / "judged.csv", newline="") as file:
        return list(csv.DictReader(file)), json.loads((scans / "judged.json").read_text())["scans"]


def test_every_place_is_judged_in_order_with_malignancy(scans, classifier, capsys):
    places = [("b", 10, 40, -10), ("a", 14, 44, 0), ("b", 20, 50, 10), ("a", 0, 30, -20), ("b", 12, 44, 0)]
    rows, (first, second) = judge(scans, classifier, [",".join(map(str, place)) for place in places])
    assert [(r["seriesuid"], *(float(r["coord" + c]) for c in "XYZ")) for r in rows] == places
    assert [scan["series_uid"] for scan in (first, second)] == ["a", "b"]
    assert [n["center_xyz"] for n in first["nodules"]] == [list(p[1:]) for p in places if p[0] == "a"]
    assert [n["center_xyz"] for n in second["nodules"]] == [list(p[1:]) for p in places if p[0] == "b"]
    for scan in (first, second):
        assert scan["candidates"] == len(scan["nodules"])
        assert all(0 <= n["malignancy"] <= 1 and n["diameter_mm"] is None for n in scan["nodules"])
        said = [row["probability"] for row in rows if row["seriesuid"] == scan["series_uid"]]
        assert [n["probability"] for n in scan["nodules"]] == [float(text) for text in said]
    assert "5 of 5 places judged" in capsys.readouterr().out


def test_what_is_judged_is_what_the_networks_say_of_the_crop(scans, classifier):
    pipeline = NodulePipeline(classification=classifier, device="cpu")
    ct = load_scan(scans / "a.mhd")
    center_xyz = (14.0, 44.0, 0.0)
    crop = ct.getRawCandidate(center_xyz, (32, 48, 48))[0]
    [finding] = pipeline.classify_points(ct, [Point("a", center_xyz)]).findings
    with torch.inference_mode():
        both = pipeline.cls_model(torch.from_numpy(crop).float()[None, None])[0][0].double()
    # Within bfloat16, where the machine computes in it.
    assert finding.logit == pytest.approx((both[1] - both[0]).item(), rel=0.05, abs=0.02)
    assert finding.probability == expit(finding.logit)


def test_diameters_classes_and_places_elsewhere(scans, classifier, capsys):
    rows = ["a,14,44,0,8,1", "c,1,2,3,5,0", "b,17.2,44,0,,1", "b,0,30,-20,-1,0"]
    judged, (first, second) = judge(scans, classifier, rows, HEADER + ",diameter_mm,class")
    assert [row["seriesuid"] for row in judged] == ["a", "b", "b"]
    assert first["nodules"][0]["diameter_mm"] == 8
    assert [n["diameter_mm"] for n in second["nodules"]] == [None, None]
    said = capsys.readouterr().out
    assert "3 of 4 places judged; 1 lie in scans that were not given" in said
    assert "2 of them nodules by the list's class: area under the ROC curve" in said


def test_the_size_counts_for_malignancy_where_it_is_known(scans, classifier):
    rows = ["a,14,44,0,4", "a,14,44,0,25", "a,14,44,0,"]
    _, (first, _) = judge(scans, classifier, rows, HEADER + ",diameter_mm")
    small, large, unknown = (n["malignancy"] for n in first["nodules"])
    assert small < large
    assert unknown not in (small, large)


def test_a_report_of_given_places(scans, classifier, tmp_path):
    out = tmp_path / "report.html"
    judge(scans, classifier, ["a,14,44,0"], HEADER, "--report", str(out), "--threshold", "0")
    assert "<td>unknown</td>" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        (["a,14,44"], "seriesuid,coordX,coordY", r"places\.csv, line 1: the column coordZ is missing"),
        (["a,14,44,zero"], HEADER, r"places\.csv, line 2: coordZ is 'zero', not a number"),
        (["a,14,44,0", ",1,2,3"], HEADER, r"places\.csv, line 3: there is no series UID"),
        (["a,14,44,0,2"], HEADER + ",class", r"places\.csv, line 2: class is 2, not 0 or 1"),
        (["a,900,44,0"], HEADER, r"the centre \(900.0, 44.0, 0.0\) mm lies outside its scan"),
    ],
)
def test_a_bad_list_is_one_sentence(scans, classifier, rows, header, said):
    with pytest.raises(UserError, match=said):
        judge(scans, classifier, rows, header)


def test_options_that_do_not_go_with_given_places():
    for words, said in (
        (["--mask", "m.nii.gz"], "given places have none"),
        (["--run-validation"], "proposes"),
    ):
        with pytest.raises(UserError, match=said):
            nodule_analysis.main(["a.mhd", "--candidates", "F", *words])


def test_two_scans_of_one_name_are_refused(scans, classifier):
    (scans / "places.csv").write_text(f"{HEADER}\na,14,44,0\n")
    words = [str(scans / "a.mhd")] * 2 + ["--candidates", str(scans / "places.csv"), "--device", "cpu"]
    with pytest.raises(UserError, match="two scans are called a, so its places may lie in either"):
        nodule_analysis.main([*words, "--classification-path", str(classifier)])


def test_points_keep_their_order_and_know_what_the_list_knows(tmp_path):
    listed = tmp_path / "p.csv"
    listed.write_text(HEADER + ",diameter_mm,class\n1.2,1,2,3,,\n1.1,4,5,6,7.5,1\n1.2,1,1,1,0,0\n")
    assert read_points(listed) == [
        Point("1.2", (1.0, 2.0, 3.0)),
        Point("1.1", (4.0, 5.0, 6.0), 7.5, True),
        Point("1.2", (1.0, 1.0, 1.0), None, False),
    ]


def test_lists_tell_what_is_sure_from_what_is_surer(tmp_path):
    """Twelve digits in every list: in float32, or with five digits, these would all be 1."""
    logits = [24.0, 20.0, 16.0, -20.0]
    findings = [Finding((0, 0, 0), (float(n), 0.0, 0.0), 5.0, one) for n, one in enumerate(logits)]
    result = ScanResult("1.2", "scan", 0.0, findings)
    write_csv(tmp_path / "n.csv", [result])
    written = [float(row["probability"]) for row in csv.DictReader((tmp_path / "n.csv").open())]
    assert written == sorted(written, reverse=True)
    assert len(set(written)) == 4
    np.testing.assert_allclose(logit(written[1:]), logits[1:], atol=1e-3)
    write_json(tmp_path / "n.json", [result], -math.inf)
    (scan,) = json.loads((tmp_path / "n.json").read_text())["scans"]
    assert [n["probability"] for n in scan["nodules"]] == written
