"""Chapter 14: the fast way and the plain way decide alike."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from p2ch10.scans import load_scan
from p2ch14 import benchmark
from p2ch14.benchmark import PlainPipeline, choose_scan, unmatched
from p2ch14.pipeline import NodulePipeline
from util.errors import UserError


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A small body in air with lungs and three balls, as .mhd."""
    path = tmp_path_factory.mktemp("scan") / "1.2.7.mhd"
    z, y, x = np.ogrid[0:34, 0:96, 0:96]
    hu = np.full((34, 96, 96), -1000, dtype=np.int16)
    hu[((y - 48) ** 2 + (x - 48) ** 2 < 40**2) & (z >= 0)] = 30
    hu[((y - 48) ** 2 + (x - 48) ** 2 < 30**2) & (z >= 0)] = -850
    for place, radius in (((12, 40, 40), 6), ((20, 60, 55), 4), ((17, 48, 74), 7)):
        hu[sum((axis - c) ** 2 for axis, c in zip((z, y, x), place)) < radius**2] = 20
    noise = np.random.default_rng(0).normal(0, 20, hu.shape)
    sitk.WriteImage(sitk.GetImageFromArray((hu + noise).astype(np.int16)), str(path))
    return path


@pytest.mark.slow
def test_fast_and_plain_way_agree_in_float32(scan):
    ct = load_scan(scan)
    fast, plain = NodulePipeline(device="cpu"), PlainPipeline(device="cpu")
    fast.use_bfloat16 = False
    masks = [app.segment_ct(ct) for app in (fast, plain)]
    assert masks[0].any()
    # The fast way sees the body's window only, whose zero padding differs at the edge.
    assert (masks[0] == masks[1]).mean() > 0.999
    findings = [app.group_segmentation_output(ct, masks[1]) for app in (fast, plain)]
    assert len(findings[0]) == len(findings[1]) > 1
    for app, found in zip((fast, plain), findings):
        app.classify_candidates(ct, found)
    for one, two in zip(*findings):
        np.testing.assert_allclose(one.center_irc, two.center_irc, atol=1e-3)
        assert one.diameter_mm == pytest.approx(two.diameter_mm)
        assert one.probability == pytest.approx(two.probability, abs=1e-3)


def test_unmatched_counts_nodules_without_a_partner():
    def at(x):
        return SimpleNamespace(center_xyz=(x, 0.0, 0.0))

    assert unmatched([at(0), at(10)], [at(0.5), at(30)]) == 1
    assert unmatched([at(0)], []) == 1
    assert unmatched([], [at(0)]) == 0


@pytest.mark.slow
def test_figures_of_both_ways(scan, tmp_path, capsys):
    benchmark.main([str(scan), "--device", "cpu", "--json", str(tmp_path / "b.json")])
    figures = json.loads((tmp_path / "b.json").read_text())
    assert figures["shape"] == [34, 96, 96]
    assert figures["times_faster"] == pytest.approx(figures["plain_seconds"] / figures["seconds"])
    assert figures["same_decisions"] == (figures["differing_nodules"] == 0)
    assert "times faster" in capsys.readouterr().out


def test_a_real_scan_is_preferred(real_data, tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_DATA", raising=False)
    path, kind = choose_scan(tmp_path)
    assert kind == "real"
    assert path.suffix == ".mhd"


def test_a_large_scan_is_analysed_for_its_memory_alone(tmp_path, capsys):
    path = benchmark.write_large_scan(tmp_path, (64, 96, 96))
    ct = load_scan(path)
    assert ct.hu_a.shape == (64, 96, 96)
    assert (ct.hu_a[::4] == ct.hu_a[3::4]).all()
    assert not (ct.hu_a[3] == ct.hu_a[4]).all()
    figures = {"shape": [64, 96, 96], **benchmark.measure_large(path, "cpu")}
    assert figures["peak_gb"] > 0.1
    benchmark.print_large(figures | {"peak_gb": 2.9})
    assert "FAILS" not in capsys.readouterr().out
    benchmark.print_large(figures | {"peak_gb": 3.1})
    assert "memory, GB 3.10  at most 3  FAILS" in capsys.readouterr().out
    with pytest.raises(UserError, match="--large generates its scan"):
        benchmark.main(["--large", str(path)])
