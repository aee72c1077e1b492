"""Chapter 14: LUNA16's evaluation, rule by rule, and against a slow, obvious implementation."""

import csv
import json
import math
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2ch14.findings import Finding, ScanResult
from p2ch14.froc import FP_RATES, evaluate, evaluate_results, main, most_probable
from p2ch14.lists import read_series_uids, read_table
from util.errors import UserError
from util.paths import PROJECT

# --- the slow, obvious implementation -----------------------------------------------------------------


def slow_curve(nodules, excluded, uids, marks):
    """[(false positives per scan, sensitivity)] from the origin on: one threshold after the other."""
    judged = []  # (probability, kind) of every event in every scan
    for uid in uids:
        kept = sorted(marks.get(uid, []), key=lambda mark: -mark[3])
        if len(kept) > 100:
            kept = [mark for mark in kept if mark[3] > kept[100][3]]

        def hits(finding, mark):
            diameter = 10.0 if finding[3] < 0 else finding[3]
            return sum((a - b) ** 2 for a, b in zip(finding[:3], mark[:3])) < (diameter / 2) ** 2

        for nodule in nodules.get(uid, []):
            probabilities = [mark[3] for mark in kept if hits(nodule, mark)]
            if probabilities:
                judged.append((max(probabilities), "hit"))
        for mark in kept:
            if not any(hits(f, mark) for f in nodules.get(uid, []) + excluded.get(uid, [])):
                judged.append((mark[3], "false"))
    total = sum(len(nodules.get(uid, [])) for uid in uids)
    points = [(0.0, 0.0)]
    for threshold in sorted({p for p, _ in judged}, reverse=True):
        found = sum(p >= threshold and kind == "hit" for p, kind in judged)
        false = sum(p >= threshold and kind == "false" for p, kind in judged)
        points.append((false / len(uids), found / total))
    return points


def slow_sensitivity(points, rate):
    """Linear between the points, flat behind the last; straight up where the rate stands still."""
    at = [s for fp, s in points if fp == rate]
    if at:
        return at[-1]
    before = [point for point in points if point[0] < rate]
    after = [point for point in points if point[0] > rate]
    if not after:
        return before[-1][1]
    (x0, y0), (x1, y1) = before[-1], after[0]
    return y0 + (y1 - y0) * (rate - x0) / (x1 - x0)


places = st.integers(-9, 9).map(float)
sizes = st.sampled_from([-1.0, 0.0, 4.0, 6.0, 7.5, 12.0])
findings_of_a_scan = st.lists(st.tuples(places, places, places, sizes), max_size=4)
marks_of_a_scan = st.lists(
    st.tuples(places, places, places, st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])), max_size=12
)


@st.composite
def cohorts(draw):
    uids = [f"1.{n}" for n in range(draw(st.integers(1, 5)))]
    everywhere = [*uids, "1.99"]  # one scan that is on no list
    nodules = {uid: draw(findings_of_a_scan) for uid in everywhere if draw(st.booleans())}
    excluded = {uid: draw(findings_of_a_scan) for uid in everywhere if draw(st.booleans())}
    marks = {uid: draw(marks_of_a_scan) for uid in everywhere if draw(st.booleans())}
    nodules.setdefault(uids[0], []).append((0.0, 0.0, 0.0, 8.0))
    return nodules, excluded, uids, marks


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(cohorts())
def test_agrees_with_the_obvious_way(cohort):
    points = slow_curve(*cohort)
    froc = evaluate(*cohort, bootstraps=0)
    np.testing.assert_allclose(froc.fp_per_scan, [fp for fp, _ in points], atol=1e-12)
    np.testing.assert_allclose(froc.sensitivity, [s for _, s in points], atol=1e-12)
    wanted = [slow_sensitivity(points, rate) for rate in FP_RATES]
    np.testing.assert_allclose(froc.sensitivities, wanted, atol=1e-12)
    assert froc.cpm == pytest.approx(sum(wanted) / 7)


@settings(max_examples=30, deadline=None)
@given(st.integers(101, 130), st.integers(2, 40), st.integers(0, 10**6))
def test_crowded_scans_agree_with_the_obvious_way(count, levels, seed):
    rng = np.random.default_rng(seed)
    marks = np.column_stack([rng.integers(-20, 20, (count, 3)), rng.integers(0, levels, count) / levels])
    nodules = [(0.0, 0.0, 0.0, 12.0), (9.0, 9.0, 0.0, 15.0)]
    cohort = ({"1": nodules}, {"1": [(-9.0, 0.0, 0.0, -1.0)]}, ["1", "2"], {"1": [tuple(m) for m in marks]})
    froc = evaluate(*cohort, bootstraps=0)
    points = slow_curve(*cohort)
    np.testing.assert_allclose(froc.sensitivities, [slow_sensitivity(points, r) for r in FP_RATES])


@settings(max_examples=50, deadline=None)
@given(cohorts(), st.integers(0, 1000))
def test_curve_depends_on_order_only(cohort, seed):
    nodules, excluded, uids, marks = cohort
    rng = np.random.default_rng(seed)
    other = {
        uid: [(*m[:3], math.exp(3 * m[3]) - 7) for m in rng.permutation(np.array(marks[uid]).reshape(-1, 4))]
        for uid in marks
    }
    one = evaluate(nodules, excluded, uids, marks, bootstraps=0)
    two = evaluate(nodules, excluded, list(rng.permutation(uids)), other, bootstraps=0)
    np.testing.assert_array_equal(one.sensitivities, two.sensitivities)


# --- each rule by hand --------------------------------------------------------------------------------

NODULE = {"1": [(0, 0, 0, 10)]}


def cpm(nodules, excluded, uids, marks):
    return evaluate(nodules, excluded, uids, marks, bootstraps=0)


def test_a_hit_is_closer_than_the_radius():
    assert cpm(NODULE, {}, ["1"], {"1": [(4.99, 0, 0, 0.5)]}).cpm == 1
    at_the_radius = cpm(NODULE, {}, ["1"], {"1": [(5, 0, 0, 0.5)]})
    assert (at_the_radius.cpm, at_the_radius.false_positives) == (0, 1)


def test_best_of_several_marks_counts_and_the_others_neither_way():
    marks = {"1": [(0, 0, 0, 0.2), (1, 0, 0, 0.9), (0, 1, 0, 0.4), (50, 0, 0, 0.5)]}
    froc = cpm(NODULE, {}, ["1"], marks)
    assert froc.sensitivity.tolist() == [0, 1, 1]
    assert froc.fp_per_scan.tolist() == [0, 0, 1]
    assert (froc.hits, froc.false_positives, froc.ignored) == (1, 1, 2)


def test_a_mark_on_an_excluded_finding_counts_neither_way():
    marks = {"1": [(0, 0, 0, 0.5), (30, 0, 0, 0.9)]}
    assert cpm(NODULE, {}, ["1"], marks).sensitivities.tolist() == [0, 0, 0, 1, 1, 1, 1]
    froc = cpm(NODULE, {"1": [(30, 0, 0, 8)]}, ["1"], marks)
    assert (froc.cpm, froc.false_positives, froc.ignored) == (1, 0, 1)


def test_a_mark_on_both_hits_the_nodule():
    froc = cpm(NODULE, {"1": [(1, 0, 0, 20)]}, ["1"], {"1": [(0, 0, 0, 0.5)]})
    assert (froc.cpm, froc.ignored) == (1, 0)


@pytest.mark.parametrize(("x", "is_false"), [(4.9, 0), (5.1, 1)])
def test_a_negative_diameter_means_ten_millimetres(x, is_false):
    marks = {"1": [(100 + x, 0, 0, 0.9)]}
    assert cpm(NODULE, {"1": [(100, 0, 0, -1)]}, ["1"], marks).false_positives == is_false
    assert cpm({"1": [(100, 0, 0, -1)]}, {}, ["1"], marks).hits == 1 - is_false


def test_marks_tied_at_the_hundredth_are_dropped():
    hundred = [(50 + n, 0, 0, 0.9) for n in range(99)]
    tied = [(0, 0, 0, 0.5), (500, 0, 0, 0.5)]
    assert len(most_probable(np.array(hundred + tied[:1], float))) == 100
    assert len(most_probable(np.array(hundred + tied, float))) == 99
    assert cpm(NODULE, {}, ["1"], {"1": hundred + tied[:1]}).hits == 1
    assert cpm(NODULE, {}, ["1"], {"1": hundred + tied}).hits == 0
    # Were all 101 equal, none would be left.
    assert len(most_probable(np.full((101, 4), 0.5))) == 0


def test_scans_without_marks_count_in_the_rate():
    marks = {"1": [(0, 0, 0, 0.5), (50, 0, 0, 0.9), (60, 0, 0, 0.9)]}
    alone = cpm(NODULE, {}, ["1"], marks)
    among_sixteen = cpm(NODULE, {}, [str(n) for n in range(1, 17)], marks)
    assert alone.fp_per_scan[-1] == 2
    assert among_sixteen.fp_per_scan[-1] == 2 / 16
    assert among_sixteen.cpm == 1


def test_missed_nodules_stay_in_the_denominator():
    nodules = {"1": [(0, 0, 0, 10), (80, 0, 0, 6)], "2": [(0, 0, 0, 10), (0, 80, 0, 6)]}
    froc = cpm(nodules, {}, ["1", "2"], {"1": [(0, 0, 0, 0.5)]})
    assert froc.sensitivities.tolist() == [0.25] * 7
    assert cpm(nodules, {}, ["1", "2"], {}).cpm == 0


def test_the_curve_starts_at_the_origin_and_is_straight_between_points():
    # One false positive in one scan comes first, then the hit: sensitivity climbs from 0 at 0 ... to 1 at 1.
    marks = {"1": [(50, 0, 0, 0.9), (0, 0, 0, 0.9)]}
    assert cpm(NODULE, {}, ["1"], marks).sensitivities.tolist() == [0.125, 0.25, 0.5, 1, 1, 1, 1]


def test_scans_off_the_list_do_not_exist():
    nodules = {**NODULE, "9": [(0, 0, 0, 10)] * 3}
    froc = cpm(nodules, {}, ["1"], {"1": [(0, 0, 0, 0.5)], "9": [(50, 0, 0, 0.99)] * 5})
    assert (froc.cpm, froc.nodules, froc.false_positives) == (1, 1, 0)


def test_no_nodule_at_all_is_said():
    with pytest.raises(UserError, match="no annotated nodule"):
        evaluate({"2": [(0, 0, 0, 5)]}, {}, ["1"], {})


# --- the interval -------------------------------------------------------------------------------------


def random_cohort(scans, seed=0):
    rng = np.random.default_rng(seed)
    uids = [f"1.{n}" for n in range(scans)]
    nodules = {uid: np.column_stack([rng.uniform(-100, 100, (2, 3)), [8, 12]]) for uid in uids}
    marks = {}
    for uid in uids:
        sure = rng.random(2) < 0.7
        on = np.column_stack([nodules[uid][sure, :3], rng.beta(4, 2, sure.sum())])
        off = np.column_stack([rng.uniform(-100, 100, (6, 3)), rng.beta(2, 4, 6)])
        marks[uid] = np.concatenate([on, off])
    return nodules, {}, uids, marks


def test_interval_is_that_of_scans_drawn_with_replacement():
    nodules, excluded, uids, marks = random_cohort(12)
    froc = evaluate(nodules, excluded, uids, marks, bootstraps=400, seed=3)
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(400):
        chosen = [uids[i] for i in rng.integers(len(uids), size=len(uids))]
        copies = [f"{i}" for i in range(len(chosen))]  # a scan drawn twice is two scans
        one = evaluate(
            dict(zip(copies, (nodules[u] for u in chosen))), {}, copies,
            dict(zip(copies, (marks[u] for u in chosen))), bootstraps=0,
        )  # fmt: skip
        drawn.append(one.cpm)
    np.testing.assert_allclose(froc.cpm_ci, np.percentile(drawn, [2.5, 97.5]), atol=1e-12)
    assert (froc.band_low <= froc.band_high).all()


def test_interval_narrows_with_more_scans_and_repeats_with_its_seed():
    few, many = random_cohort(10), random_cohort(160)
    low, high = evaluate(*few, bootstraps=300).cpm_ci
    low_many, high_many = evaluate(*many, bootstraps=300).cpm_ci
    assert high_many - low_many < (high - low) / 2
    assert evaluate(*few, bootstraps=300).cpm_ci == (low, high)


def test_results_of_the_analysis_can_be_evaluated():
    class Nodule:
        center_xyz, diameter_mm = (1.0, 2.0, 3.0), 6.0

    found = Finding((0.0, 0.0, 0.0), (1.0, 2.0, 3.5), 6.0, 0.9)
    results = [ScanResult("1.1", "", 1.0, [found]), ScanResult("1.2", "", 1.0, [])]
    froc = evaluate_results(results, {"1.1": [Nodule], "1.2": [Nodule]}, bootstraps=0)
    assert (froc.scans, froc.nodules, froc.cpm) == (2, 2, 0.5)


# --- files and the command ----------------------------------------------------------------------------


def write_lists(folder, marks="1.1,0,0,0,0.8\n1.1,50,0,0,0.3\n", nodules="1.1,1,0,0,6\n1.2,0,0,0,6\n"):
    (folder / "a.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n" + nodules)
    (folder / "e.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n1.1,50,0,0,-1\n")
    (folder / "s.csv").write_text("1.1\n1.2\n1.3\n")
    (folder / "r.csv").write_text("seriesuid,coordX,coordY,coordZ,probability\n" + marks)
    names = {"--annotations": "a", "--excluded": "e", "--seriesuids": "s", "--submission": "r"}
    return [part for option, name in names.items() for part in (option, str(folder / f"{name}.csv"))]


def test_command_writes_json_and_plot(tmp_path, capsys):
    arguments = write_lists(tmp_path)
    main([*arguments, "--json", str(tmp_path / "f.json"), "--plot", str(tmp_path / "f.png")])
    record = json.loads((tmp_path / "f.json").read_text())
    assert record["cpm"] == 0.5
    assert record["sensitivities"] == [0.5] * 7
    assert record["fp_rates"] == [0.125, 0.25, 0.5, 1, 2, 4, 8]
    low, high = record["cpm_ci"]
    assert 0 <= low <= 0.5 <= high <= 1
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"
    assert "CPM 0.5000" in capsys.readouterr().out


@pytest.mark.command
@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ("1.1,0,0,0,0.8\n1.1,zero,0,0,0.8\n", r"r.csv, line 3: coordX is 'zero', not a number"),
        ("1.1,0,0,0,nan\n", r"r.csv, line 2: probability is 'nan', not a number"),
        ("1.1,0,0,0\n", r"r.csv, line 2: probability is missing"),
        (",0,0,0,1\n", r"r.csv, line 2: there is no series UID"),
    ],
)
def test_bad_rows_are_one_sentence_and_status_2(tmp_path, marks, said):
    run = subprocess.run(
        [sys.executable, "-m", "p2ch14.froc", *write_lists(tmp_path, marks)],
        cwd=PROJECT, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 2
    assert len(run.stderr.strip().splitlines()) == 1
    assert run.stderr.startswith("error: ")
    assert said in run.stderr


def test_bad_files_name_file_and_line(tmp_path):
    arguments = write_lists(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        main([*arguments[:-1], str(tmp_path / "none.csv")])
    (tmp_path / "r.csv").write_text("seriesuid,x,y,z,probability\n")
    with pytest.raises(UserError, match=r"r\.csv, line 1: the column coordX is missing"):
        main(arguments)
    (tmp_path / "s.csv").write_text("1.1\n1.2\n1.1\n")
    with pytest.raises(UserError, match=r"s\.csv, line 3: this scan stands in line 1 already"):
        main(arguments)
    for text, said in (("", "names no scan"), ("hello\n", "line 1: 'hello' is no series UID")):
        (tmp_path / "s.csv").write_text(text)
        with pytest.raises(UserError, match=said):
            main(arguments)
    (tmp_path / "r.csv").write_bytes(b"\x89PNG\xff\xfe\x00\n")
    with pytest.raises(UserError, match=r"r\.csv, line 1"):
        read_table(tmp_path / "r.csv", "probability")
    with pytest.raises(UserError, match="--plot"):
        main([*arguments, "--plot", "curve.docx"])


def test_lists_may_have_a_bom_blank_lines_and_windows_ends(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes(b"\xef\xbb\xbfseriesuid, coordX,coordY,coordZ,probability\r\n\r\n1.1,1,2,3,0.5\r\n")
    np.testing.assert_array_equal(read_table(path, "probability")["1.1"], [[1, 2, 3, 0.5]])
    path.write_bytes(b"\xef\xbb\xbfseriesuid\r\n1.1\r\n\r\n1.2\r\n")
    assert read_series_uids(path) == ["1.1", "1.2"]


# --- LUNA16's own lists -------------------------------------------------------------------------------


@pytest.fixture
def luna_lists(real_data):
    names = ("annotations.csv", "annotations_excluded.csv", "seriesuids.csv")
    if not all((real_data / "luna" / name).is_file() for name in names):
        pytest.skip("LUNA16's lists are not beside the project")
    return [real_data / "luna" / name for name in names]


def test_a_perfect_submission_on_lunas_own_lists(luna_lists, tmp_path, capsys):
    annotations, excluded, series = luna_lists
    with open(annotations) as source, open(tmp_path / "r.csv", "w") as target:
        writer = csv.writer(target)
        writer.writerow(["seriesuid", "coordX", "coordY", "coordZ", "probability"])
        writer.writerows([*row[:4], 1] for row in list(csv.reader(source))[1:])
    arguments = ["--annotations", annotations, "--excluded", excluded, "--seriesuids", series]
    arguments += ["--submission", tmp_path / "r.csv", "--bootstraps", "100", "--json", tmp_path / "f.json"]
    main([str(argument) for argument in arguments])
    assert json.loads((tmp_path / "f.json").read_text())["cpm_ci"] == [1, 1]
    said = capsys.readouterr().out
    assert "888 scans, 1,186 nodules; 1,186 found at the laxest threshold, 0 false positives" in said


def test_a_noisy_submission_on_lunas_own_lists_agrees_with_the_obvious_way(luna_lists):
    annotations, excluded, series = luna_lists
    nodules, others = read_table(annotations, "diameter_mm"), read_table(excluded, "diameter_mm")
    uids = read_series_uids(series)
    assert len(uids) == 888
    rng = np.random.default_rng(1)
    marks = {}
    for uid in uids:
        truth = nodules.get(uid, np.zeros((0, 4)))
        truth = np.repeat(truth, 2, axis=0)
        near = np.column_stack([truth[:, :3] + rng.normal(0, 3, (len(truth), 3)), rng.beta(4, 2, len(truth))])
        finding = others.get(uid, np.zeros((0, 4)))[:20]
        on_others = np.column_stack([finding[:, :3], rng.random(len(finding))])
        wild = np.column_stack([rng.uniform(-150, 150, (90, 3)), np.round(rng.beta(1, 6, 90), 2)])
        marks[uid] = np.concatenate([near, on_others, wild])
    start = time.process_time()
    froc = evaluate(nodules, others, uids, marks, bootstraps=1000)
    assert time.process_time() - start < 20
    low, high = froc.cpm_ci
    assert low < froc.cpm < high
    some = uids[:60]
    lists = ({u: [tuple(r) for r in table[u]] for u in some if u in table} for table in (nodules, others))
    truth, ignored = lists
    points = slow_curve(truth, ignored, some, {u: [tuple(m) for m in marks[u]] for u in some})
    fast = evaluate(nodules, others, some, marks, bootstraps=0)
    np.testing.assert_allclose(fast.sensitivities, [slow_sensitivity(points, r) for r in FP_RATES])
