"""Chapter 9: the generated patients and the door to LUNA16."""

import csv
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

import p2ch09
from p2ch09.anatomy import Grid, cubic_matrix, deposit, grow_tree, tube_points
from p2ch09.calibration import agrees, auc, body_and_lung_masks, compare_lists
from p2ch09.nodules import sample_nodule
from p2ch09.phantom import Scanner, crop_at, index_of, make_patient, series_uid, write_cohort
from p2ch09.source import problem_with_scan
from p2ch09.specimens import LUNG_HU, nodule_alone
from util.errors import UserError
from util.paths import PROJECT

SMALL = (64, 128, 128)


@pytest.fixture(scope="module")
def patient():
    return make_patient(3, (96, 192, 192), nodules=10, masks=True)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("cohort")
    write_cohort(out, 3, 11, SMALL, processes=2, richness=4, masks=True)
    return out


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# --- drawing -------------------------------------------------------------------------------------


def test_same_seed_same_bytes_and_other_seed_other_patient():
    first, again, other = (make_patient(seed, SMALL) for seed in (5, 5, 6))
    assert first.hu.tobytes() == again.hu.tobytes()
    assert first.candidates == again.candidates
    assert first.hu.tobytes() != other.hu.tobytes()


@pytest.mark.slow
def test_the_number_of_threads_changes_no_byte():
    code = (
        "import hashlib; from p2ch09.phantom import make_patient;"
        "print(hashlib.sha256(make_patient(5, (32, 256, 256), nodules=3).hu.tobytes()).hexdigest())"
    )
    seen = set()
    for threads in ("1", "2"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = dict(os.environ, **dict.fromkeys(names, threads))
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(done.stdout)
    assert len(seen) == 1


@pytest.mark.slow
def test_a_patient_is_a_chest(patient):
    body, lung = body_and_lung_masks(patient.hu, patient.spacing_xyz)
    voxel_ml = np.prod(patient.spacing_xyz) / 1000
    assert patient.hu.dtype == np.int16
    assert lung.sum() * voxel_ml > 300
    inside = patient.hu[lung]
    assert -900 < np.median(inside) < -800
    assert (inside > -500).mean() > 0.01  # vessels
    assert (patient.hu[body] > 300).mean() > 0.005  # bone


def test_mask_and_list_agree(patient):
    """Every nodule has its own voxels around its centre, with the volume that its diameter promises."""
    assert len(patient.nodules) >= 7
    labels, count = ndimage.label(patient.mask)
    ratios = []
    for nodule in patient.nodules:
        index = index_of(patient, nodule.center_xyz)
        near = tuple(slice(max(i - 2, 0), i + 3) for i in index)
        found = np.unique(labels[near])
        assert (found > 0).any(), nodule
        voxels = max(np.count_nonzero(labels == k) for k in found if k > 0)
        ratios.append(np.cbrt(6 / np.pi * voxels * np.prod(patient.spacing_xyz)) / nodule.diameter_mm)
        low, high = nodule.bbox_xyz
        assert np.all(low < nodule.center_xyz)
        assert np.all(nodule.center_xyz < high)
    assert 0.85 < np.median(ratios) < 1.15
    assert count >= len(patient.nodules) - 2


def test_nodules_are_denser_than_the_lung_around_them(patient):
    for nodule in patient.nodules:
        middle = crop_at(patient, nodule.center_xyz, (3, 3, 3)).mean()
        assert middle > (-780 if nodule.kind in ("ground-glass", "part-solid") else -650), nodule


def test_candidates_lie_inside_and_negatives_off_the_nodules(patient):
    assert sum(row[3] for row in patient.candidates) >= len(patient.nodules)
    for *point, label, kind in patient.candidates:
        assert np.all(np.array(index_of(patient, point)) >= 0)
        assert np.all(np.array(index_of(patient, point)) < patient.hu.shape)
        gaps = [np.linalg.norm(np.array(point) - n.center_xyz) - n.diameter_mm / 2 for n in patient.nodules]
        assert (min(gaps) < 0) if label else (min(gaps) > 0), kind


def test_index_of_is_what_simpleitk_says_also_for_flipped_and_oblique_scans():
    seen = set()
    for seed in range(60):
        one = make_patient(seed, (16, 32, 32), nodules=0)
        kind = "flipped" if one.direction[0, 0] < 0 else "oblique" if one.direction[0, 1] else "straight"
        if kind in seen:
            continue
        seen.add(kind)
        image = sitk.GetImageFromArray(one.hu)
        image.SetOrigin(one.origin_xyz.tolist())
        image.SetSpacing(one.spacing_xyz.tolist())
        image.SetDirection(one.direction.ravel().tolist())
        assert np.isclose(np.linalg.det(one.direction), 1)
        point = image.TransformIndexToPhysicalPoint((5, 9, 3))
        assert index_of(one, point) == (3, 9, 5)
    assert seen == {"straight", "flipped", "oblique"}


def test_noise_has_the_strength_that_was_asked_for_and_a_sharp_kernel_less_correlation():
    def noise(cutoff):
        pictures = []
        for noise_hu in (0, 40):
            scanner = Scanner((0.8, 0.8, 2.0), cutoff=cutoff, noise_hu=noise_hu)
            pictures.append(make_patient(2, (24, 128, 128), scanner=scanner, nodules=0).hu.astype(float))
        return (pictures[1] - pictures[0])[:, 40:90, 40:90]

    def correlation(field):
        return np.mean(field[:, :, 1:] * field[:, :, :-1]) / field.var()

    smooth, sharp = noise(0.28), noise(0.55)
    assert 30 < smooth.std() < 42
    assert 30 < sharp.std() < 42
    assert correlation(smooth) > correlation(sharp) + 0.2


def test_too_small_a_shape_is_refused():
    with pytest.raises(UserError, match="too small"):
        make_patient(1, (4, 64, 64))


# --- parts ---------------------------------------------------------------------------------------


def test_cubic_interpolation_is_exact_for_straight_lines_and_at_its_points():
    coarse, fine = np.linspace(0, 9, 10), np.linspace(1, 8, 29)
    matrix = cubic_matrix(coarse, fine)
    assert np.allclose(matrix.sum(1), 1, atol=1e-6)
    assert np.allclose(matrix @ (3 * coarse - 2), 3 * fine - 2, atol=1e-5)
    values = np.random.default_rng(0).normal(size=10)
    assert np.allclose(cubic_matrix(coarse, coarse) @ values, values, atol=1e-6)


def test_deposit_keeps_the_volume():
    grid = Grid((20, 30, 40), (0.5, 0.7, 1.2), (-10.0, -10.0, -10.0))
    start, stop = np.array([[-5.0, -5.0, -5.0]]), np.array([[4.0, 2.0, 6.0]])
    points, volumes = tube_points(start, stop, np.array([0.4]), 0.2)
    want = np.pi * 0.4**2 * np.linalg.norm(stop - start)
    assert np.isclose(volumes.sum(), want)
    box, share = deposit(grid, points, volumes)
    assert share.max() < 1
    # 1.08 makes up for the gaps between points where tubes are thick.
    assert np.isclose(share.sum() * 0.5 * 0.7 * 1.2, 1.08 * want, rtol=0.01)
    assert share.shape == tuple(part.stop - part.start for part in box)


def test_a_tree_reaches_every_target_and_tapers():
    rng = np.random.default_rng(1)
    targets = rng.uniform(-40, 40, (200, 3))
    tree = grow_tree(rng, (0, 0, 0), (1, 0, 0), targets, 0.4)
    ends = np.setdiff1d(np.arange(len(tree.stop)), tree.parent)
    assert len(ends) == 200
    assert np.allclose(np.sort(tree.stop[ends], 0), np.sort(targets, 0))
    child = tree.parent >= 0
    assert np.allclose(tree.start[child], tree.stop[tree.parent[child]])
    assert (tree.radius[tree.parent[child]] > tree.radius[child]).mean() > 0.9


# --- lists ---------------------------------------------------------------------------------------


def test_sizes_malignancy_and_counts_follow_luna16():
    bad = [row for row in compare_lists(scans=4000, seed=1) if not row[3]]
    assert not bad


def test_malignant_nodules_of_one_size_look_different():
    """Else no network could beat the diameter."""
    rng = np.random.default_rng(0)
    ones = [n for n in (sample_nodule(rng) for _ in range(8000)) if 7 < n.diameter_mm < 11]
    spiky = [np.mean([n.outline == "spiculated" for n in ones if n.malignant == m]) for m in (True, False)]
    assert spiky[0] > 4 * spiky[1]
    for n in ones:
        assert (sum(r >= 4 for r in n.ratings) >= 2) == n.malignant


def test_auc_agrees_with_scikit_learn():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(3)
    labels, scores = rng.random(200) < 0.2, rng.integers(0, 9, 200)
    assert np.isclose(auc(scores, labels), roc_auc_score(labels, scores))


def test_agrees_has_the_tolerance_that_it_prints():
    assert agrees("body: fat", 0.2, 0.249)
    assert not agrees("body: fat", 0.2, 0.251)
    assert agrees("noise: correlation at 4 pixels", 0.04, 0.02)


def test_uids_are_valid_and_stable():
    uid = series_uid(1, 2)
    assert uid == series_uid(1, 2) != series_uid(1, 3)
    assert len(uid) <= 64
    assert all(part == "0" or part[0] != "0" for part in uid.split("."))


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cohort_has_luna16s_layout(cohort):
    headers = sorted(cohort.glob("subset[0-9]/*.mhd"))
    uids = {p.stem for p in headers}
    assert len(uids) == 3
    assert {p.parent.name for p in headers} == {"subset0", "subset1", "subset2"}
    assert {line.strip() for line in (cohort / "seriesuids.csv").read_text().splitlines()} == uids
    annotations = rows_of(cohort / "annotations.csv")
    assert list(annotations[0]) == ["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"]
    malignancy = rows_of(cohort / "annotations_with_malignancy.csv")
    assert len(malignancy) == len(annotations)
    assert set(malignancy[0]) >= {
        "mal_bool",
        "mal_details",
        "bboxLowX",
    }
    candidates = rows_of(cohort / "candidates.csv")
    assert list(candidates[0]) == ["seriesuid", "coordX", "coordY", "coordZ", "class"]
    assert {row["seriesuid"] for row in candidates} == uids
    assert list(rows_of(cohort / "annotations_excluded.csv")[0]) == list(annotations[0])
    image = sitk.ReadImage(str(headers[0]))
    assert image.GetSize() == SMALL[::-1]
    assert image.GetPixelID() == sitk.sitkInt16


def test_lists_point_into_the_stored_masks(cohort):
    for row in rows_of(cohort / "annotations.csv"):
        mask = sitk.ReadImage(str(next(cohort.glob(f"subset*/{row['seriesuid']}_mask.nii.gz"))))
        x, y, z = mask.TransformPhysicalPointToIndex([float(row[f"coord{a}"]) for a in "XYZ"])
        array = sitk.GetArrayFromImage(mask)
        assert array[max(z - 2, 0) : z + 3, max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].any()


@pytest.mark.slow
def test_one_process_writes_the_same_bytes_as_two(cohort, tmp_path):
    write_cohort(tmp_path / "again", 3, 11, SMALL, processes=1, richness=4)

    def digest(folder, pattern):
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob(pattern)}

    for pattern in ("*.csv", "subset*/*.mhd", "subset*/*.zraw"):
        assert digest(cohort, pattern) == digest(tmp_path / "again", pattern)


def test_bad_orders_are_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        write_cohort(tmp_path, 1, 0, SMALL)
    with pytest.raises(UserError, match="at least one"):
        write_cohort(tmp_path / "new", 0, 0, SMALL)
    command = [sys.executable, "-m", "p2ch09.phantom", "--scans", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error:")
    assert "Traceback" not in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "precious"


# --- the real data's door ------------------------------------------------------------------------


@pytest.fixture
def data_root(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    return tmp_path


def fake_scan(folder, uid, complete=True):
    folder.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16))
    sitk.WriteImage(image, str(folder / f"{uid}.mhd"))
    if not complete:
        raw = folder / f"{uid}.raw"
        raw.write_bytes(raw.read_bytes()[:100])


@pytest.mark.parametrize("nest", ["luna", "luna/LUNA16", ".", "disk/kaggle/luna16"])
def test_nested_and_partial_copies_are_found(data_root, nest):
    folder = data_root / nest
    fake_scan(folder / "subset4" / "subset4" if "kaggle" in nest else folder / "subset4", "1.2.3")
    lists = folder / "CSVFILES" if "LUNA16" in nest else folder
    lists.mkdir(exist_ok=True)
    (lists / "annotations.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n")
    assert p2ch09.luna.find_real().resolve() == folder.resolve()
    assert list(p2ch09.luna.scan_paths()) == ["1.2.3"]
    assert p2ch09.luna.list_path("annotations.csv").resolve() == (lists / "annotations.csv").resolve()


def test_check_tells_missing_from_broken(data_root):
    folder = data_root / "luna"
    fake_scan(folder / "subset0", "1.1")
    fake_scan(folder / "subset1", "1.2", complete=False)
    fake_scan(folder / "subset2", "1.3")
    (folder / "subset2" / "1.3.raw").unlink()
    (folder / "annotations.csv").write_text("seriesuid\n")
    lines = {line.split(":")[0]: line for line in p2ch09.luna.check()}
    assert "there (1 of 89 scans)" in lines["subset0"]
    assert "broken" in lines["subset1"]
    assert "100 of 240 bytes" in lines["subset1"]
    assert "broken" in lines["subset2"]
    assert "missing" in lines["subset2"]
    assert lines["subset3"] == "subset3: missing"
    assert lines["candidates.csv"] == "candidates.csv: missing"


def test_downloads_say_no_in_one_sentence(data_root, monkeypatch):
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    with pytest.raises(UserError, match="COURSE_OFFLINE"):
        p2ch09.luna.download(["subset0"])
    with pytest.raises(UserError, match="no part subset12"):
        p2ch09.luna.download(["subset12"])


def listing(record):
    names = ["annotations.csv", "candidates.csv", "candidates_V2.zip", "evaluationScript.zip"]
    names += [f"subset{n}.zip" for n in range(10)]
    return {"files": [{"key": name, "size": 10**9, "checksum": "md5:" + "0" * 32} for name in names]}


class FakeAnswer:
    def __init__(self, content):
        self.content = content

    def raise_for_status(self):
        pass

    def json(self):
        return self.content


def test_sources_come_from_the_right_record_with_the_listed_checksum(monkeypatch):
    import requests

    monkeypatch.setattr(requests, "get", lambda url, **_: FakeAnswer(listing(url)))
    sources = {s.filename: s for s in p2ch09.luna.listed_sources(["subset6", "subset7"])}
    assert "/3723295/" in sources["subset6.zip"].urls[0]
    assert "/4121926/" in sources["subset7.zip"].urls[0]
    assert sources["subset6.zip"].hash == "md5:" + "0" * 32
    assert sources["subset6.zip"].unpack
    assert "subset0.zip" not in sources
    assert "annotations.csv" in sources


def test_a_full_disk_is_noticed_before_the_download(data_root, monkeypatch):
    import shutil

    import requests

    monkeypatch.delenv("COURSE_OFFLINE", raising=False)
    monkeypatch.setattr(requests, "get", lambda url, **_: FakeAnswer(listing(url)))
    usage = shutil.disk_usage(data_root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    with pytest.raises(UserError, match="GB needed"):
        p2ch09.luna.download(["subset0"])
    assert not list((data_root / "luna").glob("*.zip"))


def test_the_real_copy_is_found_and_whole(real_data, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(real_data))
    assert p2ch09.luna.find_real() == real_data / "luna"
    assert [problem_with_scan(path) for path in p2ch09.luna.scan_paths().values()] == [None]


# --- specimens -----------------------------------------------------------------------------------


def test_a_nodule_alone_is_of_its_kind_and_size():
    middle = {kind: np.median(nodule_alone(kind, "round")[15:18, 30:35, 30:35]) for kind in
              ("solid", "ground-glass", "calcified")}  # fmt: skip
    assert -60 < middle["solid"] < 80
    assert -760 < middle["ground-glass"] < -500
    assert middle["calcified"] > 150
    volume = (nodule_alone("solid", "round", 14.0) > -400).sum() * 0.6 * 0.6 * 1.0
    assert volume == pytest.approx(np.pi / 6 * 14.0**3, rel=0.1)
    assert np.median(nodule_alone("solid", "round")[:, :8]) == pytest.approx(LUNG_HU, abs=3)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_spicules_reach_beyond_a_round_outline(seed):
    def farthest(outline):
        dense = np.argwhere(nodule_alone("solid", outline, seed=seed) > -600)
        return np.linalg.norm((dense - dense.mean(0)) * (1.0, 0.6, 0.6), axis=1).max()

    assert farthest("spiculated") > 1.25 * farthest("round")
