"""Patients that differ more: what is drawn from wide distributions, and that nothing else changes."""

import numpy as np
import pytest
import SimpleITK as sitk

from p2ch09.anatomy import Anatomy, Grid, sample_build
from p2ch09.nodules import Look, sample_nodule
from p2ch09.phantom import main, make_patient, write_cohort
from p2ch09.varied import KINDS, draw_lymph_nodes, sample_varied_nodule, varied_build, varied_scanner

SHAPE = (32, 96, 96)


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(1)
    return [sample_varied_nodule(rng) for _ in range(3000)]


def test_kinds_are_as_frequent_as_the_table_says(drawn):
    for kind, share in KINDS.items():
        assert np.mean([nodule.kind == kind for nodule in drawn]) == pytest.approx(share, abs=0.04)
    assert not any(nodule.malignant and nodule.kind == "calcified" for nodule in drawn)


def test_looks_differ_far_more_than_in_the_chapters(drawn):
    solid = [nodule.look for nodule in drawn if nodule.kind == "solid"]
    assert np.std([look.hu for look in solid]) == pytest.approx(45, rel=0.1)  # 18 in the chapters
    edges = np.array([look.edge_mm for look in solid])
    assert np.percentile(edges, 10) < 0.4
    assert np.percentile(edges, 90) > 1.3
    assert all(nodule.look.edge_mm <= 0.4 * nodule.diameter_mm for nodule in drawn)
    haze = [nodule.look.hu for nodule in drawn if nodule.kind == "ground-glass"]
    assert -725 <= min(haze) < -700
    assert -425 < max(haze) <= -400


def test_a_look_is_what_is_drawn():
    """A wide edge and another density show in the picture, at the same place and size."""

    def picture(**changes):
        from p2ch09.nodules import Nodule, draw_nodule
        from p2ch09.specimens import _EmptyLung

        look = Look(**{"hu": 0.0, "edge_mm": 0.4, "mottle_hu": 0.0, "stretch": 0.0, **changes})
        grid = Grid((24, 48, 48), (0.8, 0.8, 1.0), tuple(-np.array([47, 47, 23]) / 2 * (0.8, 0.8, 1.0)))
        hu = np.full(grid.shape, -860, np.float32)
        nodule = Nodule(12.0, "solid", "round", "free", False, [], np.zeros(3), seed=3, look=look)
        draw_nodule(hu, np.zeros(grid.shape, bool), grid, _EmptyLung, nodule)
        return hu

    assert picture().max() == pytest.approx(0, abs=1)
    assert picture(hu=-300.0).max() == pytest.approx(-300, abs=1)
    between = [np.mean((hu > -800) & (hu < -60)) for hu in (picture(), picture(edge_mm=3.0))]
    assert between[1] > 1.7 * between[0], "a wide edge has more voxels between lung and tissue"
    inside = picture(mottle_hu=80.0)[10:14, 21:27, 21:27]
    assert 30 < inside.std() < 130


def test_lymph_nodes_are_only_added_and_lie_at_the_hila():
    rng = np.random.default_rng(0)
    grid = Grid((64, 128, 128), (2.0, 2.0, 2.5), (-127.0, -120.0, -79.0))
    anatomy = Anatomy(rng, grid, sample_build(rng, 1.0), 42.0)
    before = np.full(grid.shape, -850, np.float32)
    after = before.copy()
    draw_lymph_nodes(rng, after, grid, anatomy)
    assert (after >= before).all()
    assert (after > 0).any()
    places = np.argwhere(after > before)[:, ::-1] * grid.spacing_xyz + grid.first_xyz
    away = np.min([np.linalg.norm(places - hilum, axis=1) for hilum in anatomy.hilum.values()], axis=0)
    assert away.max() < 50  # mm


def test_scanners_and_builds_vary_within_what_is_said():
    rng = np.random.default_rng(2)
    patient = make_patient(4, SHAPE)
    scanners = [varied_scanner(rng, patient.scanner) for _ in range(300)]
    assert {one.spacing_xyz[2] for one in scanners} == {1.0, 1.25, 1.5, 2.0, 2.5, 3.0}
    assert all(
        8 <= one.noise_hu <= 75 and one.spacing_xyz[:2] == patient.scanner.spacing_xyz[:2] for one in scanners
    )
    builds = [varied_build(rng, sample_build(rng, 1.0)) for _ in range(300)]
    assert all(-905 <= one.lung_hu <= -785 and 0.65 <= one.vessels <= 1.4 for one in builds)


def test_same_seed_same_varied_patient_and_not_the_chapters_one():
    one, again, plain = (make_patient(9, SHAPE, is_varied=v, richness=2) for v in (True, True, False))
    assert np.array_equal(one.hu, again.hu)
    assert one.hu.shape == plain.hu.shape
    assert not np.array_equal(one.hu, plain.hu)
    assert all(nodule.look is None for nodule in plain.nodules)
    assert sample_nodule(np.random.default_rng(0)).look is None


def test_some_patients_of_a_cohort_may_be_varied(tmp_path):
    shape = (24, 64, 64)
    write_cohort(tmp_path, 2, 3, shape, processes=1, is_varied=[False, True])
    for number, is_varied in enumerate((False, True)):
        (path,) = (tmp_path / f"subset{number}").glob("*.mhd")
        voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        one, other = (make_patient((3, number), shape, is_varied=v).hu for v in (is_varied, not is_varied))
        assert np.array_equal(voxels, one)
        assert not np.array_equal(voxels, other)


def test_the_command_takes_varied(tmp_path, capsys):
    size = ["--size", "24", "64", "64"]
    main(["--scans", "1", "--seed", "3", *size, "--varied", "--processes", "1", "--out", str(tmp_path / "a")])
    assert "1 generated patients" in capsys.readouterr().out
    (scan,) = (tmp_path / "a").glob("subset*/*.mhd")
    assert scan.stat().st_size > 100
