"""Chapter 14: one rule says what a false positive is, whoever counts."""

import json
import math
import re
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit

from commands.notebooks import NOTEBOOKS
from p2ch10.dsets import CandidateInfoTuple
from p2ch14 import check_nodule_fp_rate, main_job, nodule_analysis, scoring
from p2ch14.findings import Finding, ScanResult
from p2ch14.froc import evaluate_results
from p2ch14.hits import lies_on, outcome
from p2ch14.scoring import Detection, Score, match_and_score, print_validation, score_scan, threshold_for
from util.paths import PROJECT

places = st.tuples(*[st.integers(-15, 15)] * 3)
spheres = st.lists(st.tuples(places, st.integers(3, 20)), max_size=4)


def flat(rows):
    return [(*center, size) for center, size in rows]


@settings(max_examples=200, deadline=None)
@given(spheres, spheres, st.lists(st.tuples(places, st.integers(1, 99)), max_size=8))
def test_outcome_agrees_with_a_slow_obvious_way(nodules, irrelevant, marks):
    def on(place, sphere):
        return math.dist(place, sphere[0]) < sphere[1] / 2

    seen = outcome(flat(nodules), flat(irrelevant), [m[0] for m in marks], [m[1] for m in marks])
    for number, nodule in enumerate(nodules):
        hits = [mark for mark in marks if on(mark[0], nodule)]
        if hits:
            assert marks[seen.best[number]][1] == max(hit[1] for hit in hits)
            assert on(marks[seen.best[number]][0], nodule)
        else:
            assert seen.best[number] == -1
    assert seen.on_nodule.tolist() == [any(on(m[0], n) for n in nodules) for m in marks]
    assert seen.is_false.tolist() == [not any(on(m[0], s) for s in nodules + irrelevant) for m in marks]


def test_a_finding_without_diameter_counts_as_ten_millimetres():
    assert lies_on([(0, 0, 0, -1)], [(4.9, 0, 0), (5, 0, 0)]).tolist() == [[True, False]]


def info(uid, x, diameter_mm=10.0, is_mal=False):
    return CandidateInfoTuple(True, True, is_mal, diameter_mm, uid, (float(x), 0.0, 0.0))


def scan(uid, *marks):
    findings = [Finding((0.0, 0.0, 0.0), (float(x), 0.0, 0.0), 6.0, float(logit(p)), 0.3) for x, p in marks]
    return ScanResult(uid, uid, 1.0, sorted(findings, key=lambda finding: -finding.logit))


TRUTH = {"1.1": [info("1.1", 0, is_mal=True), info("1.1", 100)], "1.2": [info("1.2", 0)], "1.3": []}
IRRELEVANT = {"1.1": np.array([[40.0, 0, 0, 8.0]]), "1.3": np.array([[0.0, 0, 0, -1.0]])}
RESULTS = [
    # Two marks on a nodule, one on an irrelevant finding, two false ones of which one is below the threshold.
    scan("1.1", (0, 0.9), (2, 0.7), (41, 0.95), (70, 0.8), (75, 0.2), (102, 0.3)),
    scan("1.2", (60, 0.6), (61, 0.97)),
    scan("1.3", (3, 0.9), (30, 0.55)),
]


def test_all_who_count_count_the_same(monkeypatch, capsys):
    threshold = 0.5
    counted = [
        score_scan(r.findings, TRUTH[r.series_uid], threshold, IRRELEVANT.get(r.series_uid, ()))
        for r in RESULTS
    ]
    assert counted == [Score(1, 1, 0, 1), Score(0, 0, 1, 2), Score(0, 0, 0, 1)]
    table = sum(
        match_and_score(
            r.findings, TRUTH[r.series_uid], threshold, irrelevant=IRRELEVANT.get(r.series_uid, ())
        )
        for r in RESULTS
    )
    assert Score.of(table) == Score(1, 1, 1, 4)
    # LUNA16's evaluation of what is above the threshold.
    above = [ScanResult(r.series_uid, "", 0.0, r.nodules(threshold)) for r in RESULTS]
    froc = evaluate_results(above, TRUTH, IRRELEVANT, bootstraps=0)
    assert (froc.hits, froc.false_positives, froc.nodules) == (1, 4, 3)
    # Four false positives in three scans are kept by a threshold that allows 4 / 3 per scan, and no lower one.
    assert threshold_for(RESULTS, TRUTH, 4 / 3 + 1e-9, IRRELEVANT) == 0.5
    assert threshold_for(RESULTS, TRUTH, 1, IRRELEVANT) > 0.55

    monkeypatch.setattr(scoring, "truth_by_series", lambda: TRUTH)
    monkeypatch.setattr(scoring, "irrelevant_findings", lambda: IRRELEVANT)
    total = print_validation(RESULTS, threshold)
    assert total == Score(1, 1, 1, 4)
    said = capsys.readouterr().out
    assert re.search(r"all +3 +1 +1 +1 +4 +2\n1\.3 false positives per scan", said)
    assert re.search(r"Non-Nodules +0 +1 +4 +0\n", said)


def test_the_main_job_tells_the_same_counts_as_validation(monkeypatch, capsys, clean_output):
    by_uid = {result.series_uid: result for result in RESULTS}
    told = []

    class Pipeline:
        threshold = 0.5

        def analyse(self, ct, path):
            return by_uid[ct]

    monkeypatch.setattr(main_job, "getCt", lambda uid: uid)
    monkeypatch.setattr(main_job, "scan_section", lambda ct, result, threshold, text: told.append(text))
    monkeypatch.setattr(main_job, "write_report", lambda path, sections: None)
    monkeypatch.setattr(scoring, "truth_by_series", lambda: TRUTH)
    monkeypatch.setattr(scoring, "irrelevant_findings", lambda: IRRELEVANT)
    main_job.analyse_held_out(Pipeline(), list(TRUTH), TRUTH, IRRELEVANT)
    counts = np.array([[int(n) for n in re.findall(r"\d+", text)] for text in told])
    assert counts.sum(axis=0).tolist() == [3, 1, 1, 1, 4]
    assert re.search(r"all +3 +1 +1 +1 +4 +2\n", capsys.readouterr().out)


def test_the_main_job_tells_beside_it_what_the_shipped_networks_find(monkeypatch, capsys, clean_output):
    """Found, filtered out and missed 1 each at a threshold of 0.5; all that has a mark counts at 0."""
    by_uid = {result.series_uid: result for result in RESULTS}
    told = []
    monkeypatch.setattr(main_job, "getCt", lambda uid: SimpleNamespace(series_uid=uid))
    monkeypatch.setattr(main_job, "scan_section", lambda ct, result, threshold, text: told.append(text))
    monkeypatch.setattr(main_job, "write_report", lambda path, sections: None)
    monkeypatch.setattr(scoring, "truth_by_series", lambda: TRUTH)
    monkeypatch.setattr(scoring, "irrelevant_findings", lambda: IRRELEVANT)
    ours, theirs = (
        SimpleNamespace(threshold=threshold, analyse=lambda ct, path="": by_uid[ct.series_uid])
        for threshold in (0.5, 0.0)
    )
    main_job.analyse_held_out(ours, list(TRUTH), TRUTH, IRRELEVANT, theirs)
    said = [re.search(r"The shipped networks: found (\d+); false positives (\d+)\.", text) for text in told]
    assert sum(int(one[1]) for one in said) == 2
    assert sum(int(one[2]) for one in said) == 5
    last = capsys.readouterr().out.splitlines()[-1]
    assert "find 2 of 3 nodules in these scans, with 1.7 false positives per scan; CPM " in last


@pytest.fixture
def lists(monkeypatch):
    """The toy scans' lists in place of the LUNA data's, for whoever reads them."""
    for module in (scoring, check_nodule_fp_rate):
        monkeypatch.setattr(module, "truth_by_series", lambda: TRUTH)
        monkeypatch.setattr(module, "irrelevant_findings", lambda: IRRELEVANT)


def test_run_validation_prints_the_counts_of_the_main_job(lists, monkeypatch, capsys, clean_output):
    by_uid = {result.series_uid: result for result in RESULTS}
    pipeline = SimpleNamespace(threshold=0.5, analyse=lambda ct, path: by_uid[ct.series_uid])
    monkeypatch.setattr(
        nodule_analysis, "open_scan", lambda name, series: (SimpleNamespace(series_uid=name), name)
    )
    app = nodule_analysis.NoduleAnalysisApp.__new__(nodule_analysis.NoduleAnalysisApp)
    app.pipeline, app.threshold, app.held_out = pipeline, 0.5, lambda: list(TRUTH)
    options = ("series", "candidates", "report", "mask", "dicom_seg", "csv", "json")
    app.cli_args = SimpleNamespace(scans=[], run_validation=True, **dict.fromkeys(options))
    app.main()
    validation = capsys.readouterr().out

    monkeypatch.setattr(main_job, "getCt", lambda uid: SimpleNamespace(series_uid=uid))
    monkeypatch.setattr(main_job, "scan_section", lambda ct, result, threshold, text: text)
    monkeypatch.setattr(main_job, "write_report", lambda path, sections: None)
    main_job.analyse_held_out(pipeline, list(TRUTH), TRUTH, IRRELEVANT)
    job = capsys.readouterr().out
    tables = [said[said.index("scan  nodules  found") :] for said in (validation, job)]
    assert tables[0] == tables[1]
    assert re.search(r"all +3 +1 +1 +1 +4 +2\n", tables[0])


def test_the_false_positive_check_passes_as_many_as_validation_counts(lists, monkeypatch):
    app = check_nodule_fp_rate.FalsePosRateCheckApp.__new__(check_nodule_fp_rate.FalsePosRateCheckApp)
    by_uid = {result.series_uid: result for result in RESULTS}
    app.pipeline = SimpleNamespace(threshold=0.5, classify_points=lambda uid, points: by_uid[uid])
    app.held_out, app.cli_args = lambda: list(TRUTH), SimpleNamespace(series_uid=None)
    app.segmentCt = app.clusterSegmentationOutput = lambda *args: None
    monkeypatch.setattr(check_nodule_fp_rate, "getCt", lambda uid: uid)
    assert app.main()["passed"] == 4


def test_the_notebooks_own_rule_counts_the_same():
    (path,) = NOTEBOOKS.glob("p2ch14_*.ipynb")
    names = {"np": np}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and re.search(r"^def (match|match_and_score)\(", cell.source, re.M):
            functions = re.split(r"\n\n\n(?=[a-z])", cell.source)
            exec("\n\n\n".join(part for part in functions if not part.startswith("for ")), names)
    for threshold in (0.5, 0.65, 0.92):
        for result in RESULTS:
            spared = IRRELEVANT.get(result.series_uid, ())
            arguments = (result.findings, TRUTH[result.series_uid], threshold)
            np.testing.assert_array_equal(
                names["match_and_score"](*arguments, irrelevant=spared),
                match_and_score(*arguments, irrelevant=spared),
            )


def test_readme_and_model_card_tell_the_same_counts():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    card = (PROJECT / "data" / "p2ch14" / "README.md").read_text(encoding="utf-8")
    nodules, found, rate = re.search(
        r"^\| (\d+) \| (\d+) \(.*?%\) \| \d+ \| \d+ \| ([\d.]+) \|", card, re.M
    ).groups()
    assert f"{found} of {nodules} nodules found at {rate} false positives per scan" in readme
    real = json.loads((PROJECT / "data" / "p2ch14" / "real_nodules.json").read_text(encoding="utf-8"))
    for text in (readme, card):
        assert f"{real['mean']:.2f}" in text
        for kind in ("solid", "ground glass"):
            assert "{} of {}".format(*real["by_texture"][kind]) in text


def test_the_books_tuples_and_whole_lists_of_candidates_are_scored(monkeypatch):
    detections = [
        Detection(0.9, 0.8, (0.0, 0.0, 0.0), (1, 2, 3)),
        (0.7, 0.1, (100.0, 0.0, 0.0), (1, 2, 3)),
        (0.6, 0.9, (50.0, 0.0, 0.0), (1, 2, 3)),
    ]
    unsized = CandidateInfoTuple(True, False, False, 0.0, "1.1", (200.0, 0.0, 0.0))
    other = CandidateInfoTuple(False, False, False, 0.0, "1.1", (50.0, 0.0, 0.0))
    table = match_and_score(detections, [*TRUTH["1.1"], unsized, other])
    assert table.tolist() == [[0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert match_and_score(detections, TRUTH["1.1"], 0.7, 0.85).tolist() == [
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 0],
    ]
