"""Chapter 10: scans as people really have them. Read to the voxel, or refused in one sentence."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from p2ch10.scans import load_scan, read_volume
from util.errors import UserError

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


# --- bad scans -----------------------------------------------------------------------------------


def one_sentence(path, *words):
    with pytest.raises(UserError) as error:
        read_volume(path)
    said = str(error.value)
    assert "\n" not in said
    assert len(said) < 300
    assert str(path.parent.parent) not in said
    for word in words:
        assert word in said, said


def damaged_header(path, **fields):
    lines = path.read_text().splitlines()
    kept = [f"{key} = {fields[key]}" if (key := line.split(" =")[0]) in fields else line for line in lines]
    path.write_text("\n".join(kept) + "\n")


def test_every_bad_scan_is_one_clear_sentence(tmp_path):
    path = tmp_path / "scan.mhd"
    one_sentence(path, "no scan at", "scan.mhd")
    write_scan(path)
    raw = path.with_suffix(".zraw")
    data = raw.read_bytes()
    raw.write_bytes(data[: len(data) // 2])
    one_sentence(path, "scan.zraw", "truncated")
    raw.write_bytes(b"\0" * len(data))
    one_sentence(path, "scan.zraw", "damaged")
    raw.unlink()
    one_sentence(path, "scan.zraw", "not there")
    raw.write_bytes(data)
    damaged_header(path, DimSize="72 64 41")
    one_sentence(path, "scan.zraw", "bytes")
    for spacing in ("0 0.8 1.25", "0.7 -0.8 1.25", "a b c"):
        write_scan(path)
        damaged_header(path, ElementSpacing=spacing)
        one_sentence(path, "scan.mhd", "voxel size" if spacing != "a b c" else "")
    write_scan(path)
    damaged_header(path, TransformMatrix="1 0 0 0 0 0 0 0 1")
    one_sentence(path, "direction")
    path.write_text("this is no header")
    one_sentence(path, "scan.mhd", "header")


def test_flat_coloured_and_unknown_files_are_refused(tmp_path):
    flat = sitk.GetImageFromArray(np.zeros((8, 8), np.int16))
    sitk.WriteImage(flat, str(tmp_path / "flat.mhd"))
    one_sentence(tmp_path / "flat.mhd", "2 dimensions")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((1, 8, 8), np.int16)), str(tmp_path / "thin.nii"))
    one_sentence(tmp_path / "thin.nii", "thin.nii")
    sitk.WriteImage(
        sitk.GetImageFromArray(np.zeros((8, 8, 8, 3), np.uint8), isVector=True), str(tmp_path / "rgb.nrrd")
    )
    one_sentence(tmp_path / "rgb.nrrd", "colours")
    (tmp_path / "notes.txt").write_text("no scan")
    one_sentence(tmp_path / "notes.txt", "notes.txt", ".nii.gz")
    (tmp_path / "empty").mkdir()
    one_sentence(tmp_path / "empty", "no DICOM")


def write_dicom(folder, heights, shift=0.0):
    """A DICOM series with a slice at each height (mm); `shift`: mm in y per slice, as of a tilted gantry."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    rng = np.random.default_rng(0)
    for number, height in enumerate(heights):
        image = sitk.GetImageFromArray(rng.integers(-1000, 900, (1, 16, 16)).astype(np.int16))
        for tag, value in {
            "0008|0060": "CT",
            "0020|000e": "1.2.3",
            "0008|0018": f"1.2.3.{number + 1}",
            "0020|0013": str(number + 1),
            "0020|0032": f"-10\\{-20 + shift * number}\\{height}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{number:03}.dcm"))
        writer.Execute(image)


def test_a_dicom_series_with_a_gap_a_double_or_a_tilt_is_refused(tmp_path):
    whole = tmp_path / "whole"
    write_dicom(whole, [3.0 * n for n in range(12)])
    ct = load_scan(whole)
    assert ct.hu_a.shape == (12, 16, 16)
    assert ct.vxSize_xyz.z == pytest.approx(3)
    assert ct.origin_xyz == pytest.approx((-10, -20, 0))
    for name, number in (("gap", 5), ("gap near the end", 10)):
        shutil.copytree(whole, tmp_path / name)
        (tmp_path / name / f"{number:03}.dcm").unlink()
        one_sentence(tmp_path / name, "3.00 mm apart but 6.00 mm", f"{3.0 * (number - 1)} mm", "missing")
    shutil.copytree(whole, tmp_path / "cut")
    cut = tmp_path / "cut" / "004.dcm"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    one_sentence(tmp_path / "cut", "cut")
    write_dicom(tmp_path / "double", [0, 3, 6, 6, 9])
    one_sentence(tmp_path / "double", "same place")
    write_dicom(tmp_path / "tilt", [3.0 * n for n in range(5)], shift=0.8)
    one_sentence(tmp_path / "tilt", "tilted by 15 degrees")
    write_dicom(tmp_path / "rounded", [0, 1.24, 2.5, 3.76, 5.0])
    assert load_scan(tmp_path / "rounded").vxSize_xyz.z == pytest.approx(1.25, abs=0.01)


def test_voxels_without_a_number_are_air(tmp_path):
    hu = np.full((4, 8, 8), 40, np.float32)
    hu[1], hu[2], hu[3] = np.nan, np.inf, -np.inf
    sitk.WriteImage(sitk.GetImageFromArray(hu), str(tmp_path / "scan.nrrd"))
    assert read_volume(tmp_path / "scan.nrrd").hu[:, 0, 0].tolist() == [40, -1000, 1000, -1000]


def test_voxels_behind_the_header_are_found(tmp_path):
    want = write_scan(tmp_path / "scan.mha")
    (tmp_path / "scan.mha").rename(tmp_path / "scan.mhd")
    assert np.array_equal(read_volume(tmp_path / "scan.mhd").hu, want)


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nii", ".nii.gz", ".nrrd"])
@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
def test_every_format_gives_the_same_voxels_and_place(tmp_path, suffix, kind):
    oblique = Rotation.from_euler("xyz", [30, 0, 0], degrees=True).as_matrix()
    path = tmp_path / f"scan{suffix}"
    want = write_scan(path, direction=oblique, kind=kind)
    ct = load_scan(path)
    assert ct.series_uid == "scan"
    assert ct.hu_a.dtype == np.int16
    assert np.array_equal(ct.hu_a, want)
    assert ct.vxSize_xyz == pytest.approx((0.7, 0.8, 1.25), rel=1e-5)
    assert ct.origin_xyz == pytest.approx((-120.5, 33.25, -310.0), rel=1e-5)
    assert np.allclose(ct.direction_a, oblique, atol=1e-5)
