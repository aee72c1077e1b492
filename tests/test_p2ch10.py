"""Chapter 10: coordinates, lists, scans, the store and the dataset."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from p2ch10 import dsets
from p2ch10 import store as store_module
from p2ch10.dsets import (
    CROP_IRC,
    LunaDataset,
    ScanGroupSampler,
    crop_window,
    getCandidateInfoList,
    getCt,
    getCtRawCandidate,
    irc2xyz,
    is_held_out,
    scan_paths,
    xyz2irc,
)
from p2ch10.scans import source_fingerprint
from p2ch10.store import ScanStore, fill_store
from util.errors import UserError
from util.paths import PROJECT

SHAPE = (40, 64, 72)


def write_scan(path, seed=0, shape=SHAPE, direction=None, kind=np.int16):
    """A scan of smooth noise at `path`; returns its voxels, clipped as the course clips."""
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1100, 1100, shape).astype(np.int16)
    image = sitk.GetImageFromArray(hu.astype(kind))
    image.SetSpacing((0.7, 0.8, 1.25))
    image.SetOrigin((-120.5, 33.25, -310.0))
    if direction is not None:
        image.SetDirection(np.asarray(direction).ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=True)
    return np.clip(hu, -1000, 1000)


def uid(number):
    return f"2.25.{1000 + number}"


def center(path, irc=(20, 32, 36)):
    """Patient coordinates of a voxel, by SimpleITK."""
    image = sitk.ReadImage(str(path))
    return image.TransformIndexToPhysicalPoint([int(c) for c in irc[::-1]])


def write_lists(folder, annotations=(), candidates=(), newline="\n", bom="", malignant=None):
    def write(name, header, rows):
        lines = [header, *(",".join(str(v) for v in row) for row in rows)]
        (folder / name).write_bytes((bom + newline.join(lines) + newline).encode())

    write("annotations.csv", "seriesuid,coordX,coordY,coordZ,diameter_mm", annotations)
    write("candidates.csv", "seriesuid,coordX,coordY,coordZ,class", candidates)
    if malignant is not None:
        header = "seriesuid,coordX,coordY,coordZ,diameter_mm,mal_bool"
        write("annotations_with_malignancy.csv", header, malignant)


@pytest.fixture
def luna_folder(tmp_path, monkeypatch):
    """An empty LUNA folder that the course takes for the real data, with a store of its own."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    dsets.forget()
    folder = tmp_path / "data" / "luna"
    folder.mkdir(parents=True)
    yield folder
    dsets.forget()


@pytest.fixture
def two_scans(luna_folder):
    """Two scans, one nodule and one other candidate in each."""
    oblique = Rotation.from_euler("xyz", [30, 10, -20], degrees=True).as_matrix()
    for n, direction in enumerate((None, oblique)):
        write_scan(luna_folder / f"subset{n}" / f"{uid(n)}.mhd", n, direction=direction)
    dsets.forget()
    places = [center(luna_folder / f"subset{n}" / f"{uid(n)}.mhd") for n in range(2)]
    others = [center(luna_folder / f"subset{n}" / f"{uid(n)}.mhd", (3, 60, 5)) for n in range(2)]
    write_lists(
        luna_folder,
        [(uid(n), *places[n], 8.0) for n in range(2)],
        [(uid(n), *places[n], 1) for n in range(2)] + [(uid(n), *others[n], 0) for n in range(2)],
    )
    return luna_folder


# --- coordinates ---------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    # Tenths of a degree: ITK's own inverse fails on rotations by denormal angles.
    st.tuples(*[st.integers(-1800, 1800).map(lambda tenths: tenths / 10)] * 3),
    st.tuples(*[st.floats(-500, 500)] * 3),
    st.tuples(*[st.floats(0.3, 3)] * 3),
    st.tuples(*[st.integers(-50, 500)] * 3),
    st.booleans(),
)
def test_coordinates_agree_with_simpleitk(angles, origin, spacing, irc, mirrored):
    direction = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    if mirrored:
        direction = direction @ np.diag([1, -1, 1])
    image = sitk.Image([4, 4, 4], sitk.sitkInt16)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction.ravel().tolist())
    want = image.TransformContinuousIndexToPhysicalPoint([float(c) for c in irc[::-1]])
    got = irc2xyz(irc, origin, spacing, direction)
    assert np.allclose(got, want, atol=1e-6)
    assert xyz2irc(want, origin, spacing, direction) == irc
    # Anywhere inside the voxel leads to the same voxel.
    near = image.TransformContinuousIndexToPhysicalPoint([c + 0.4 for c in irc[::-1]])
    assert xyz2irc(near, origin, spacing, direction) == irc
    assert image.TransformPhysicalPointToIndex(near) == irc[::-1]


@given(st.tuples(*[st.integers(-5, 70)] * 3))
def test_a_window_has_its_size_and_lies_inside(middle):
    window = crop_window(middle, (32, 48, 48), (40, 64, 64))
    assert [w.stop - w.start for w in window] == [32, 48, 48]
    assert all(w.start >= 0 and w.stop <= n for w, n in zip(window, (40, 64, 64)))
    inside = all(w // 2 <= c <= n - w // 2 for c, w, n in zip(middle, (32, 48, 48), (40, 64, 64)))
    if inside:
        assert [w.start + n // 2 for w, n in zip(window, (32, 48, 48))] == list(middle)


def test_a_window_larger_than_the_scan_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        crop_window((5, 5, 5), (32, 48, 48), (40, 40, 64))


# --- crops, bit for bit --------------------------------------------------------------------------


def check_crops(path, series_uid, count=500):
    image = sitk.ReadImage(str(path))
    whole = np.clip(sitk.GetArrayFromImage(image), -1000, 1000)
    rng = np.random.default_rng(0)
    corners = [tuple((n - 1) * bit for n, bit in zip(whole.shape, bits)) for bits in np.ndindex(2, 2, 2)]
    middles = corners + [tuple(int(rng.integers(0, n)) for n in whole.shape) for _ in range(count - 8)]
    for irc in middles:
        xyz = image.TransformIndexToPhysicalPoint([int(c) for c in irc[::-1]])
        crop, got_irc = getCtRawCandidate(series_uid, xyz, CROP_IRC)
        start = [min(max(c - w // 2, 0), n - w) for c, w, n in zip(irc, CROP_IRC, whole.shape)]
        want = whole[tuple(slice(s, s + w) for s, w in zip(start, CROP_IRC))]
        assert tuple(got_irc) == irc
        assert crop.dtype == np.int16
        assert np.array_equal(crop, want)


@pytest.mark.parametrize("memory_gb", ["0", "1.5"])
def test_500_crops_of_an_oblique_scan_equal_slices(two_scans, monkeypatch, memory_gb):
    monkeypatch.setenv("COURSE_MEMORY_GB", memory_gb)
    check_crops(scan_paths()[uid(1)], uid(1))
    assert (dsets.memory.get(uid(1)) is None) == (memory_gb == "0")


def test_500_crops_of_the_real_scan_equal_slices(real_data, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(real_data))
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    monkeypatch.setenv("COURSE_MEMORY_GB", "0")
    dsets.forget()
    try:
        (series_uid, path), *_ = scan_paths().items()
        check_crops(path, series_uid)
    finally:
        dsets.forget()


def test_changing_a_crop_changes_no_scan(two_scans, monkeypatch):
    for memory_gb in ("0", "1.5"):
        monkeypatch.setenv("COURSE_MEMORY_GB", memory_gb)
        dsets.memory.clear()
        item = LunaDataset()[0]
        before = item[0].clone()
        item[0].zero_()
        assert torch.equal(LunaDataset()[0][0], before)
    with pytest.raises(ValueError, match="read-only"):
        getCt(uid(0)).hu_a[0, 0, 0] = 0


def test_a_thin_scan_is_padded_with_air(luna_folder):
    path = luna_folder / "subset0" / f"{uid(0)}.mhd"
    whole = write_scan(path, shape=(10, 64, 72))
    write_lists(luna_folder)
    crop, _ = getCtRawCandidate(uid(0), center(path, (5, 32, 36)))
    assert crop.shape == CROP_IRC
    assert np.array_equal(crop[:10], whole[:, 8:56, 12:60])
    assert (crop[10:] == -1000).all()


# --- lists ---------------------------------------------------------------------------------------


def test_candidates_are_joined_within_the_radius(two_scans):
    x, y, z = center(scan_paths()[uid(0)])
    write_lists(
        two_scans,
        [(uid(0), x, y, z, 8.0)],
        [(uid(0), x + 3.9, y, z, 1), (uid(0), x, y + 4.1, z, 1), (uid(0), x, y, z + 1, 0)],
        malignant=[(uid(0), x, y, z, 8.0, "True")],
    )
    dsets.forget()
    infos = getCandidateInfoList()
    assert [(i.isNodule_bool, i.hasAnnotation_bool, i.isMal_bool, i.diameter_mm) for i in infos] == [
        (True, True, True, 8.0),
        (True, False, False, 0.0),
        (False, False, False, 0.0),
    ]
    assert infos[0].center_xyz == pytest.approx((x, y, z))
    assert infos[1].center_xyz == pytest.approx((x, y + 4.1, z))


def test_of_two_neighbours_each_has_its_own_malignancy(two_scans):
    """The nearest row decides, though both lie within the larger one's radius."""
    x, y, z = center(scan_paths()[uid(0)])
    places = [(uid(0), x, y, z, 12.0), (uid(0), x, y + 5, z, 4.0)]
    write_lists(two_scans, places, malignant=[(*places[0], "False"), (*places[1], "True")])
    dsets.forget()
    assert {(i.diameter_mm, i.isMal_bool) for i in getCandidateInfoList()} == {(12.0, False), (4.0, True)}


def test_without_the_malignancy_file_nothing_is_malignant(two_scans):
    infos = getCandidateInfoList()
    assert len(infos) == 4
    assert [i.isNodule_bool for i in infos] == [True, True, False, False]
    assert not any(i.isMal_bool for i in infos)


BAD = {
    "text": ("candidates.csv", 1, "abc", "coordX is 'abc'"),
    "nan": ("candidates.csv", 1, "nan", "coordX is 'nan'"),
    "empty": ("candidates.csv", 1, "", "coordX is ''"),
    "far": ("candidates.csv", 1, 9999.0, "outside the scan"),
    "far nodule": ("annotations.csv", 2, -9999.0, "outside the scan"),
    "class": ("candidates.csv", 4, "2", "class is '2'"),
    "diameter": ("annotations.csv", 4, "-3", "diameter of -3"),
    "text diameter": ("annotations.csv", 4, "big", "diameter_mm is 'big'"),
    "uid": ("candidates.csv", 0, "patient", "'patient' is no series UID"),
    "unknown uid": ("candidates.csv", 0, "1.2.3.4", "1.2.3.4"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_named_by_file_and_line(two_scans, kind):
    name, column, value, said = BAD[kind]
    (two_scans / "seriesuids.csv").write_text(f"{uid(0)}\n{uid(1)}\n")
    path = two_scans / name
    lines = path.read_text().splitlines()
    cells = lines[2].split(",")
    cells[column] = str(value)
    lines[2] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    dsets.forget()
    with pytest.raises(UserError, match=f"^{name.replace('.', '[.]')}, line 3: .*") as error:
        getCandidateInfoList()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_row_with_too_few_columns_is_named(two_scans):
    with open(two_scans / "candidates.csv", "a") as file:
        file.write(f"{uid(0)},1.0\n")
    dsets.forget()
    with pytest.raises(UserError, match="candidates.csv, line 6: coordY"):
        getCandidateInfoList()


def test_byte_order_mark_and_windows_line_ends_change_nothing(two_scans):
    want = getCandidateInfoList()
    for name in ("annotations.csv", "candidates.csv"):
        text = (two_scans / name).read_text()
        (two_scans / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    dsets.forget()
    assert getCandidateInfoList() == want


def test_duplicate_rows_count_once_and_are_named(two_scans):
    want = getCandidateInfoList()
    path = two_scans / "candidates.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[4] + "\n")
    dsets.forget()
    with pytest.warns(UserWarning, match="candidates.csv, line 6: .*line 5"):
        assert getCandidateInfoList() == want


def test_partial_data_gives_the_candidates_of_what_is_there(two_scans):
    shutil.rmtree(two_scans / "subset1")
    dsets.forget()
    assert {info.series_uid for info in getCandidateInfoList()} == {uid(0)}
    assert {info.series_uid for info in getCandidateInfoList(requireOnDisk_bool=False)} == {uid(0), uid(1)}
    assert len(LunaDataset()) == 2
    with pytest.raises(UserError, match="no scan with the series UID"):
        getCt(uid(1))


def test_subsets_in_nested_folders_are_found(two_scans):
    inner = two_scans / "subset1" / "subset1"
    shutil.copytree(two_scans / "subset1", inner)
    for path in (two_scans / "subset1").glob("*.*raw"):
        path.unlink()
    for path in (two_scans / "subset1").glob("*.mhd"):
        path.unlink()
    dsets.forget()
    assert set(scan_paths()) == {uid(0), uid(1)}
    assert getCt(uid(1)).hu_a.shape == SHAPE


def test_no_data_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr("p2ch09.luna.path", lambda: tmp_path)
    dsets.forget()
    with pytest.raises(UserError, match="python course.py data luna"):
        scan_paths()
    with pytest.raises(UserError, match="python course.py data luna"):
        getCandidateInfoList()
    dsets.forget()


# --- dataset and sampler -------------------------------------------------------------------------


@pytest.mark.slow
def test_the_split_is_by_scan_and_stable_when_scans_are_added():
    names = [uid(n) for n in range(400)]
    held_out = {name for name in names if is_held_out(name, 10)}
    assert 20 <= len(held_out) <= 65
    # The rule looks at one scan alone, so it must not depend on order, process or how many there are.
    code = (
        f"from p2ch10.dsets import is_held_out; print(*[n for n in {names[50:99]!r} if is_held_out(n, 10)])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert set(run.stdout.split()) == held_out & set(names[50:99])
    assert not any(is_held_out(name, 0) for name in names)


def test_training_and_validation_share_no_scan_and_miss_nothing(two_scans, monkeypatch):
    monkeypatch.setattr(dsets, "is_held_out", lambda series_uid, stride: series_uid == uid(1))
    train, val = (LunaDataset(val_stride=2, isValSet_bool=flag) for flag in (False, True))
    assert {i.series_uid for i in train.candidateInfo_list} == {uid(0)}
    assert {i.series_uid for i in val.candidateInfo_list} == {uid(1)}
    assert len(train) + len(val) == len(LunaDataset()) == 4
    with pytest.raises(ValueError, match="val_stride"):
        LunaDataset(isValSet_bool=True)


def test_an_item_is_a_float_crop_with_label_and_place(two_scans):
    dataset = LunaDataset(sortby_str="label_and_size")
    crop, label, series_uid, center_irc = dataset[0]
    assert (crop.shape, crop.dtype) == ((1, *CROP_IRC), torch.float32)
    assert (label.tolist(), label.dtype) == ([0, 1], torch.int64)
    assert center_irc.tolist() == [20, 32, 36]
    whole = np.clip(sitk.GetArrayFromImage(sitk.ReadImage(str(scan_paths()[series_uid]))), -1000, 1000)
    assert np.array_equal(crop[0].numpy(), whole[4:36, 8:56, 12:60])
    assert dataset[3][1].tolist() == [1, 0]
    one = LunaDataset(series_uid=uid(1))
    assert {info.series_uid for info in one.candidateInfo_list} == {uid(1)}


def test_batches_equal_single_items(two_scans):
    dataset = LunaDataset()
    for batch in (dataset.__getitems__([0, 3, 2]), dataset.__getitems__([1])):
        for crop, label, series_uid, center_irc in batch:
            place = next(
                n for n in range(4) if dataset[n][2] == series_uid and torch.equal(dataset[n][3], center_irc)
            )
            assert torch.equal(crop, dataset[place][0])
            assert torch.equal(label, dataset[place][1])


def test_a_loader_with_workers_gives_every_candidate_once(two_scans):
    dataset = LunaDataset(sortby_str="series_uid")
    loader = torch.utils.data.DataLoader(dataset, batch_size=3, num_workers=2)
    crops, labels, uids, centers = (list(part) for part in zip(*loader))
    assert [c.shape for c in crops] == [(3, 1, *CROP_IRC), (1, 1, *CROP_IRC)]
    want = [dataset[n] for n in range(4)]
    assert torch.equal(torch.cat(crops), torch.stack([w[0] for w in want]))
    assert torch.equal(torch.cat(labels), torch.stack([w[1] for w in want]))
    assert [name for batch in uids for name in batch] == [w[2] for w in want]
    assert torch.equal(torch.cat(centers), torch.stack([w[3] for w in want]))


def test_another_order_is_refused(two_scans):
    with pytest.raises(ValueError, match="sortby_str"):
        LunaDataset(sortby_str="size")


def test_the_group_sampler_visits_few_scans_at_a_time_and_everything_once():
    series = [uid(n % 12) for n in range(240)]
    sampler = ScanGroupSampler(series, scans_at_once=4, generator=torch.Generator().manual_seed(0))
    order, again = list(sampler), list(sampler)
    assert sorted(order) == sorted(again) == list(range(240))
    assert len(sampler) == 240
    assert order != again
    for start in range(0, 240, 80):
        group = [series[i] for i in order[start : start + 80]]
        assert len(set(group)) == 4
        # Within a group neighbours come from different scans as in a shuffle: about three in four.
        assert sum(a != b for a, b in zip(group, group[1:])) > 45


# --- the store -----------------------------------------------------------------------------------


@pytest.fixture
def sources(tmp_path):
    """Six scans with their voxels: {uid: path}, {uid: array}."""
    paths = {uid(n): tmp_path / "scans" / f"{uid(n)}.mhd" for n in range(6)}
    voxels = {name: write_scan(path, n) for n, (name, path) in enumerate(paths.items())}
    return paths, voxels


def entries(store):
    return sorted(store.root.glob("*.b2nd"))


def test_an_entry_equals_its_source_with_its_place(sources, tmp_path):
    paths, voxels = sources
    oblique = Rotation.from_euler("xyz", [30, 10, -20], degrees=True).as_matrix()
    voxels[uid(0)] = write_scan(paths[uid(0)], 9, direction=oblique)
    stored = ScanStore(tmp_path / "store").open(uid(0), paths[uid(0)])
    image = sitk.ReadImage(str(paths[uid(0)]))
    assert np.array_equal(stored.whole(), voxels[uid(0)])
    assert stored.whole().dtype == np.int16
    assert stored.geometry.origin_xyz == pytest.approx(image.GetOrigin())
    assert stored.geometry.spacing_xyz == pytest.approx(image.GetSpacing())
    assert np.allclose(stored.geometry.direction, np.reshape(image.GetDirection(), (3, 3)))


def test_a_stored_scan_is_not_read_again(sources, tmp_path, monkeypatch):
    paths, _ = sources
    store = ScanStore(tmp_path / "store")
    store.open(uid(0), paths[uid(0)])
    monkeypatch.setattr("p2ch10.store.read_volume", lambda path: pytest.fail("read the source again"))
    store.open(uid(0), paths[uid(0)])


@pytest.mark.parametrize("where", [0.02, 0.3, 0.6, 0.99])
def test_a_flipped_byte_is_noticed_and_the_entry_rebuilt(sources, tmp_path, where):
    paths, voxels = sources
    store = ScanStore(tmp_path / "store")
    store.open(uid(0), paths[uid(0)])
    (entry,) = entries(store)
    data = bytearray(entry.read_bytes())
    data[int(where * len(data))] ^= 0x40
    entry.write_bytes(data)
    assert np.array_equal(store.open(uid(0), paths[uid(0)]).whole(), voxels[uid(0)])
    assert entries(store)[0].read_bytes() != bytes(data)


def test_a_truncated_entry_is_rebuilt(sources, tmp_path):
    paths, voxels = sources
    store = ScanStore(tmp_path / "store")
    store.open(uid(0), paths[uid(0)])
    (entry,) = entries(store)
    entry.write_bytes(entry.read_bytes()[:1000])
    assert np.array_equal(store.open(uid(0), paths[uid(0)]).whole(), voxels[uid(0)])


def test_a_changed_source_replaces_its_entry(sources, tmp_path):
    paths, _ = sources
    store = ScanStore(tmp_path / "store")
    store.open(uid(0), paths[uid(0)])
    before = source_fingerprint(paths[uid(0)])
    changed = write_scan(paths[uid(0)], 77)
    assert source_fingerprint(paths[uid(0)]) != before
    assert np.array_equal(store.open(uid(0), paths[uid(0)]).whole(), changed)
    assert len(entries(store)) == 1


def test_filling_is_resumable_and_counts_what_it_did(sources, tmp_path):
    paths, voxels = sources
    store = ScanStore(tmp_path / "store")
    store.open(uid(3), paths[uid(3)])
    assert fill_store(paths, 2, store, show_bar=False) == 5
    assert fill_store(paths, 2, store, show_bar=False) == 0
    for name, want in voxels.items():
        assert np.array_equal(store.open(name, paths[name]).whole(), want)


def test_a_limit_removes_what_was_unused_for_longest(sources, tmp_path):
    paths, _ = sources
    one = ScanStore(tmp_path / "store")
    one.open(uid(0), paths[uid(0)])
    limit_gb = 3.2 * one.size() / 1e9
    store = ScanStore(tmp_path / "store", limit_gb=limit_gb)
    for n in range(1, 6):
        store.open(uid(n), paths[uid(n)])
        store.open(uid(0), paths[uid(0)])  # used all the time, so it stays
        time.sleep(0.01)
    names = {path.name.split("-")[0] for path in entries(store)}
    assert uid(0) in names
    assert uid(5) in names
    assert uid(1) not in names
    assert store.size() <= limit_gb * 1e9
    assert one.open(uid(1), paths[uid(1)]).shape == SHAPE


FILL = """
import sys
from pathlib import Path
from p2ch10.store import ScanStore, fill_store
folder, root = map(Path, sys.argv[1:])
print("ready", flush=True)
fill_store({p.stem: p for p in sorted(folder.glob("*.mhd"))}, 2, ScanStore(root), show_bar=False)
"""


def start_filling(sources, root):
    folder = next(iter(sources[0].values())).parent
    command = [sys.executable, "-c", FILL, str(folder), str(root)]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def check_all_entries(sources, root):
    paths, voxels = sources
    store = ScanStore(root)
    for name, want in voxels.items():
        assert np.array_equal(store.open(name, paths[name]).whole(), want)
    assert len(entries(store)) == len(voxels)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks to be killed")
def test_twenty_kills_while_filling_leave_no_wrong_voxel(sources, tmp_path):
    paths, voxels = sources
    root = tmp_path / "store"
    rng = random.Random(0)
    interrupted = 0
    begun = time.perf_counter()
    fill_store(paths, 2, ScanStore(tmp_path / "timed"), show_bar=False)
    whole = time.perf_counter() - begun
    for _ in range(20):
        child = os.fork()
        if child == 0:
            try:
                fill_store(paths, 2, ScanStore(root), show_bar=False)
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0.02, 0.9) * whole)  # somewhere in the middle, on any machine
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        interrupted += os.WIFSIGNALED(status)
        store = ScanStore(root)
        for name, want in voxels.items():
            if store.has(name, paths[name]):
                assert np.array_equal(store.open(name, paths[name]).whole(), want)
        if len(entries(store)) > 3:
            shutil.rmtree(root)
    assert interrupted >= 5
    fill_store(paths, 2, ScanStore(root), show_bar=False)
    check_all_entries(sources, root)


def test_what_a_killed_process_left_is_swept_up_later(sources, tmp_path):
    paths, _ = sources
    store = ScanStore(tmp_path / "store")
    store.open(uid(0), paths[uid(0)])
    old, young = (store.root / f".{uid(9)}-{n}.part" for n in range(2))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    store.open(uid(1), paths[uid(1)])
    assert not old.exists()
    assert young.exists()


@pytest.mark.slow
def test_two_processes_fill_the_same_store(sources, tmp_path):
    processes = [start_filling(sources, tmp_path / "store") for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    for process in processes:
        process.stdout.close()
    check_all_entries(sources, tmp_path / "store")
    assert not list((tmp_path / "store").glob(".*.part"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this machine does not let a small file system be mounted")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_leaves_no_half_entry(sources, small_disk):
    paths, voxels = sources
    store = ScanStore(small_disk / "store")
    (first, path), *others = paths.items()
    assert np.array_equal(store.open(first, path).whole(), voxels[first])

    def open_the_others():
        for name, other in others:
            assert np.array_equal(store.open(name, other).whole(), voxels[name])

    with pytest.raises(UserError, match="could not store a scan in .*COURSE_CACHE") as error:
        open_the_others()
    assert "\n" not in str(error.value)
    assert not list(store.root.glob(".*.part"))
    names = {entry.name.split("-")[0] for entry in entries(store)}
    assert first in names
    assert len(names) < len(paths)
    for name in names:
        assert np.array_equal(store.open(name, paths[name]).whole(), voxels[name])


def test_a_read_only_store_serves_what_it_holds(sources, small_disk):
    paths, voxels = sources
    store = ScanStore(small_disk / "store")
    held, other = list(paths)[:2]
    store.open(held, paths[held])
    mounted = subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this machine does not let a file system be mounted read-only")
    ScanStore._verified.clear()
    assert np.array_equal(store.open(held, paths[held]).whole(), voxels[held])
    for root in (store.root, small_disk / "new"):
        with pytest.raises(UserError, match="could not store a scan in .*[Rr]ead-only.*COURSE_CACHE"):
            ScanStore(root).open(other, paths[other])
    assert len(entries(store)) == 1


def test_a_cache_that_is_no_folder_and_a_size_that_is_no_number_are_one_sentence(
    sources, tmp_path, monkeypatch
):
    paths, _ = sources
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="could not store a scan in .*COURSE_CACHE"):
        ScanStore(tmp_path / "file" / "store").open(uid(0), paths[uid(0)])
    monkeypatch.setenv("COURSE_CACHE_GB", "ten")
    with pytest.raises(UserError, match="COURSE_CACHE_GB is 'ten', not a number"):
        ScanStore(tmp_path / "store")


def test_an_entry_that_another_process_removes_meanwhile_is_stored_again(sources, tmp_path, monkeypatch):
    paths, voxels = sources
    store = ScanStore(tmp_path / "store")
    store.open(uid(0), paths[uid(0)])
    # The entry vanishes between its listing, its checksum and its opening, once each.
    for name in ("_checksum", "StoredScan"):
        real, vanished = getattr(store_module, name), []

        def remove_first(path, real=real, vanished=vanished):
            if not vanished and path.suffix == ".b2nd":
                vanished.append(path)
                path.unlink()
            return real(path)

        ScanStore._verified.clear()
        for note in store.root.glob(".*.verified"):
            note.unlink()
        monkeypatch.setattr(store_module, name, remove_first)
        assert np.array_equal(store.open(uid(0), paths[uid(0)]).whole(), voxels[uid(0)])
        assert vanished
        monkeypatch.setattr(store_module, name, real)


@pytest.mark.parametrize("replaced", [False, True])
def test_an_entry_that_goes_while_blosc2_opens_it_is_stored_again(sources, tmp_path, monkeypatch, replaced):
    paths, voxels = sources
    store = ScanStore(tmp_path / "store")
    store.open(uid(0), paths[uid(0)])
    real, vanished = store_module.blosc2.open, []

    def too_late(urlpath, **options):
        if not vanished:
            vanished.append(urlpath)
            content = Path(urlpath).read_bytes()
            Path(urlpath).rename(f"{urlpath}.gone")  # keeps its inode from being used again
            if replaced:
                Path(urlpath).write_bytes(content)
            raise RuntimeError("blosc2_schunk_open_offset returned NULL")
        return real(urlpath, **options)

    monkeypatch.setattr(store_module.blosc2, "open", too_late)
    assert np.array_equal(store.open(uid(0), paths[uid(0)]).whole(), voxels[uid(0)])
    assert vanished


def test_an_entry_that_blosc2_cannot_open_is_an_error(sources, tmp_path, monkeypatch):
    paths, _ = sources
    store = ScanStore(tmp_path / "store")
    store.open(uid(0), paths[uid(0)])

    def fail(urlpath, **options):
        raise RuntimeError("returned NULL")

    monkeypatch.setattr(store_module.blosc2, "open", fail)
    with pytest.raises(RuntimeError, match="NULL"):
        store.open(uid(0), paths[uid(0)])


ROTATE = """
import sys
from pathlib import Path
import numpy as np
from p2ch10.scans import read_volume
from p2ch10.store import ScanStore
folder, root, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
paths = sorted(folder.glob("*.mhd"))
voxels = {path: read_volume(path).hu for path in paths}
store = ScanStore(root, limit_gb=float(sys.argv[4]))
for n in np.random.default_rng(seed).integers(0, len(paths), 100):
    assert np.array_equal(store.open(paths[n].stem, paths[n]).whole(), voxels[paths[n]])
"""


@pytest.mark.slow
def test_processes_that_take_each_others_room_never_read_a_wrong_voxel(sources, tmp_path):
    paths, _ = sources
    store = ScanStore(tmp_path / "store")
    store.open(uid(0), paths[uid(0)])
    # Room for three of the six scans.
    arguments = [str(paths[uid(0)].parent), str(store.root)]
    limit = str(3.2 * store.size() / 1e9)
    running = [
        subprocess.Popen([sys.executable, "-c", ROTATE, *arguments, str(seed), limit], cwd=PROJECT)
        for seed in range(2)
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]


def test_an_unchanged_entry_is_verified_once_per_process(sources, tmp_path, monkeypatch):
    paths, _ = sources
    store = ScanStore(tmp_path / "store")
    store.open(uid(0), paths[uid(0)])
    monkeypatch.setattr("p2ch10.store._checksum", lambda path: pytest.fail("read the entry again"))
    for _ in range(3):
        ScanStore(tmp_path / "store").open(uid(0), paths[uid(0)])


def test_what_another_process_verified_counts_for_a_day_and_for_that_version_only(
    sources, tmp_path, monkeypatch
):
    paths, _ = sources
    store, checked = ScanStore(tmp_path / "store"), []
    store.open(uid(0), paths[uid(0)])
    real = store_module._checksum
    monkeypatch.setattr(store_module, "_checksum", lambda path: checked.append(path.name) or real(path))

    def in_a_fresh_process():
        checked.clear()
        monkeypatch.setattr(ScanStore, "_verified", set())
        store.open(uid(0), paths[uid(0)])
        return len(checked)

    (entry,) = store.root.glob("*.b2nd")
    (note,) = store.root.glob(".*.verified")
    assert in_a_fresh_process() == 0
    os.utime(note, (time.time() - 90_000,) * 2)
    assert in_a_fresh_process() == 1
    assert in_a_fresh_process() == 0
    os.utime(entry, (time.time() - 5,) * 2)
    assert in_a_fresh_process() == 1, "written since"
    note.write_bytes(b"\xff nonsense")
    assert in_a_fresh_process() == 1
    entry.write_bytes(entry.read_bytes()[:-9] + b"123456789")
    assert in_a_fresh_process() >= 1
    assert in_a_fresh_process() == 0
    assert len(list(store.root.glob(".*.verified"))) == 1


@pytest.mark.skipif(os.name == "nt", reason="counts in forked workers")
def test_workers_of_later_epochs_read_no_whole_entry_again(two_scans, tmp_path, monkeypatch):
    """Two workers start anew in each epoch, as a balanced training's do."""
    monkeypatch.setenv("COURSE_MEMORY_GB", "0")
    count, real = tmp_path / "checksums", store_module._checksum

    def counted(path):
        with open(count, "a") as file:
            file.write("x")
        return real(path)

    monkeypatch.setattr(store_module, "_checksum", counted)
    loader = torch.utils.data.DataLoader(
        LunaDataset(), batch_size=1, num_workers=2, multiprocessing_context="fork"
    )
    per_epoch = []
    for _ in range(3):
        count.write_text("")
        for _batch in loader:
            pass
        per_epoch.append(len(count.read_text()))
    assert per_epoch[1:] == [0, 0]


def test_a_process_may_keep_all_of_luna16_open():
    resource = pytest.importorskip("resource", reason="this system has no limit of open files")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        most = store_module.most_open_scans()
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert most == 2048 if hard in (-1, resource.RLIM_INFINITY) or hard >= 4096 else hard // 2
    assert allowed >= 2 * most


# --- pictures and benchmark ----------------------------------------------------------------------


@pytest.fixture
def pictures():
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    yield plt
    plt.close("all")


def test_planes_have_true_proportions_and_mark_the_voxel_that_was_asked_for(two_scans, pictures):
    from p2ch10.vis import show_candidate, show_planes, window_limits

    ct = getCt(uid(0))
    axes = show_planes(ct, (20, 32, 36), window="bone").axes
    mm = dict(zip(("column", "row", "index"), ct.vxSize_xyz))
    want = {"axial": ct.hu_a[20], "coronal": ct.hu_a[:, 32], "sagittal": ct.hu_a[:, :, 36]}
    for axis in axes:
        name = axis.get_title().split(",")[0]
        assert np.array_equal(axis.images[0].get_array(), want[name])
        assert axis.images[0].get_clim() == window_limits("bone") == (-500, 1300)
        assert axis.get_aspect() == pytest.approx(mm[axis.get_ylabel()] / mm[axis.get_xlabel()])
        assert axis.yaxis_inverted() == (name == "axial")  # heads up, and the table below
    (info, *_) = getCandidateInfoList()
    for axis in show_candidate(info).axes:
        (line,) = axis.lines[:1]
        place = dict(zip(("index", "row", "column"), (20, 32, 36)))
        assert (line.get_xdata()[0], line.get_ydata()[0]) == (
            place[axis.get_xlabel()],
            place[axis.get_ylabel()],
        )


def test_sliders_redraw_and_a_static_picture_stays(two_scans, pictures, monkeypatch):
    import IPython.display

    from p2ch10.vis import explore

    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    view = explore(getCt(uid(0)), (20, 32, 36))
    assert len(shown) == 1
    index_slider = view.children[0].children[0]
    assert (index_slider.value, index_slider.max) == (20, SHAPE[0] - 1)
    index_slider.value = 7
    view.children[1].value = "bone"
    assert [figure.axes[0].get_title() for figure in shown] == [
        "axial, index 20",
        "axial, index 7",
        "axial, index 7",
    ]


def test_the_benchmark_writes_every_figure_beside_the_plain_way(two_scans, tmp_path, monkeypatch):
    import json

    from p2ch10 import benchmark

    for name in ("COURSE_CACHE", "COURSE_MEMORY_GB"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # restored afterwards
    measure = benchmark.measure
    monkeypatch.setattr(benchmark, "measure", lambda folder: measure(folder, count=20))
    threads = torch.get_num_threads()
    benchmark.main(["--json", str(tmp_path / "figures.json")])
    torch.set_num_threads(threads)
    record = json.loads((tmp_path / "figures.json").read_text())
    assert len(record["rows"]) == 7
    assert all(row["ours"] > 0 and row["plain"] > 0 for row in record["rows"])
    assert {row["bound"].split()[0] for row in record["rows"]} == {"<=", ">="}
    assert record["raw_bytes"] == 2 * np.prod(SHAPE)


def test_the_first_edition_s_order_would_be_wrong_on_a_tilted_scan():
    """The reason for the order in `xyz2irc`: the test above could not tell on upright scans."""
    tilted = Rotation.from_euler("x", 30, degrees=True).as_matrix()
    spacing, origin = (0.7, 0.7, 1.25), (-100.0, -90.0, -300.0)
    place = np.array(irc2xyz((60, 100, 120), origin, spacing, tilted))
    old = ((place - origin) @ np.linalg.inv(tilted) / spacing)[::-1].round()
    assert xyz2irc(place, origin, spacing, tilted) == (60, 100, 120)
    assert np.abs(old - (60, 100, 120)).max() > 20
