"""Chapter 10: scans as people really have them. Read to the voxel, or refused in one sentence."""

import itertools
import shutil
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from p2ch10.scans import load_scan, read_volume
from tests import scan_files
from tests.scan_files import patient
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


# --- voxels taken on trust -----------------------------------------------------------------------


def test_the_named_file_is_read_whatever_lies_beside_it(tmp_path):
    hu = patient()
    scan_files.nifti(tmp_path / "scan.nii.gz", hu)
    scan_files.nifti(tmp_path / "scan.nii", np.where(hu > -500, 40, -1000))
    assert np.array_equal(read_volume(tmp_path / "scan.nii.gz").hu, np.clip(hu, -1000, 1000))


def test_a_name_in_capitals_is_a_name(tmp_path):
    scan_files.metaimage(tmp_path / "scan.mhd", patient())
    (tmp_path / "scan.mhd").rename(tmp_path / "SCAN.MHD")
    assert load_scan(tmp_path / "SCAN.MHD").series_uid == "SCAN"


@pytest.mark.parametrize("key", ["ElementByteOrderMSB", "BinaryDataByteOrderMSB"])
def test_both_names_of_the_byte_order_count_and_may_not_differ(tmp_path, key):
    hu = patient()
    path = tmp_path / "scan.mhd"
    scan_files.metaimage(path, hu, layout=">i2")
    path.write_text(path.read_text().replace("ElementByteOrderMSB", key))
    assert np.array_equal(read_volume(path).hu, np.clip(hu, -1000, 1000))
    path.write_text(
        f"{key.replace('Element', 'BinaryData').replace('DataData', 'Data')} = False\n" + path.read_text()
    )
    one_sentence(path, "BinaryDataByteOrderMSB", "twice")


@pytest.mark.parametrize("form", scan_files.FILES)
@pytest.mark.parametrize("change", [-7, 7])
def test_a_file_of_another_length_than_its_header_says_is_refused(tmp_path, form, change):
    name, write = scan_files.FILES[form]
    write(tmp_path / name, patient())
    file = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    data = file.read_bytes()
    file.write_bytes(data[:change] if change < 0 else data + b"7 bytes")
    one_sentence(tmp_path / name, file.name)


def test_a_header_field_that_may_change_voxels_and_is_not_known_is_refused(tmp_path):
    path = tmp_path / "scan.mhd"
    scan_files.metaimage(path, patient())
    header = path.read_text()
    path.write_text("ElementShuffle = True\n" + header)
    one_sentence(path, "ElementShuffle")
    path.write_text("Comment = anything\n" + header)
    assert read_volume(path).hu.shape == patient().shape


# --- values that are no Hounsfield units ---------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda hu: hu + 1024, "1024"),
        (lambda hu: (hu > -500) * 3, "mask"),
        (lambda hu: np.clip((hu + 1350) / 1500 * 255, 0, 255), "grey levels"),
        (lambda hu: (np.clip(hu, -1000, 400) + 1000) / 1400, "0 … 1"),
        (lambda hu: (hu - hu.mean()) / hu.std(), "normalization"),
        (lambda hu: np.clip(hu, -160, 240), "window"),
        (lambda hu: hu * 10, "twice"),
        (lambda hu: np.random.default_rng(0).normal(-2000, 30, hu.shape), "twice"),
    ],
)
def test_numbers_in_other_units_are_refused_with_what_to_do(tmp_path, change, word):
    scan_files.nifti(tmp_path / "scan.nii.gz", change(patient()), layout="<f4")
    one_sentence(tmp_path / "scan.nii.gz", "Hounsfield", word)


def test_a_scale_in_the_header_is_applied_and_told(tmp_path):
    hu = patient()
    scan_files.nifti(tmp_path / "scan.nii", hu + 1024)
    data = bytearray((tmp_path / "scan.nii").read_bytes())
    struct.pack_into("<2f", data, 112, 1, -1024)
    (tmp_path / "scan.nii").write_bytes(data)
    volume = read_volume(tmp_path / "scan.nii")
    assert np.array_equal(volume.hu, np.clip(hu, -1000, 1000))
    assert "plus -1024" in volume.notes[0]


def inverted(one, _number, slope=None):
    pixels = 4095 - np.frombuffer(one.PixelData, "<u2").astype(int)
    one.PixelData, one.PhotometricInterpretation = pixels.astype("<u2").tobytes(), "MONOCHROME1"
    if slope:
        one.RescaleSlope, one.RescaleIntercept = slope, "3071"


def test_dicom_values_become_hounsfield_units_by_the_header_or_are_refused(tmp_path):
    hu = patient()

    def written(name, change, layout="<u2"):
        scan_files.dicom(tmp_path / name, hu, layout=layout, change=change)
        return tmp_path / name

    def without_rescale(one, _number):
        del one.RescaleSlope, one.RescaleIntercept

    one_sentence(written("raw", without_rescale), "Hounsfield", "RescaleSlope")
    one_sentence(written("negative", inverted), "Hounsfield", "MONOCHROME1")
    one_sentence(written("other", lambda one, _: setattr(one, "RescaleType", "OD")), "OD", "Hounsfield")
    one_sentence(written("mr", lambda one, _: setattr(one, "Modality", "MR")), "modality MR")
    for path in (
        written("said", lambda one, number: inverted(one, number, "-1")),
        written("for display", lambda one, _: setattr(one, "PhotometricInterpretation", "MONOCHROME1")),
        written("signed", without_rescale, "<i2"),
    ):
        assert np.array_equal(read_volume(path).hu, np.clip(hu, -1000, 1000))


# --- the wrong file or series --------------------------------------------------------------------


def other(one, series_uid, number, **attributes):
    """The same image as one of another series."""
    one.SeriesInstanceUID = series_uid
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{series_uid}.{number}"
    for name, value in attributes.items():
        setattr(one, name, value)


@pytest.mark.parametrize(
    ("name", "attributes", "word"),
    [
        ("a PET", {"Modality": "PT"}, "modality PT"),
        ("a derived series", {"ImageType": ["DERIVED", "SECONDARY", "AVERAGE"]}, "derived images"),
        ("pictures", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary captures"),
        ("scouts", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "overview pictures"),
    ],
)
def test_the_ct_is_chosen_and_what_was_set_aside_is_told(tmp_path, name, attributes, word):
    hu = patient()
    scan_files.dicom(tmp_path / "ct", hu)
    scan_files.dicom(
        tmp_path / "ct", hu + np.int16(7), series_uid="1.2.3.5",
        change=lambda one, number: other(one, "1.2.3.5", number, **attributes),
    )  # fmt: skip
    volume = read_volume(tmp_path / "ct")
    assert np.array_equal(volume.hu, np.clip(hu, -1000, 1000))
    assert volume.series_uid == "1.2.3.4"
    assert "set aside" in volume.notes[0]
    assert word in volume.notes[0]


def test_a_coronal_reformat_of_more_images_does_not_win(tmp_path):
    hu = patient()
    scan_files.dicom(tmp_path / "ct", hu)
    scan_files.dicom(tmp_path / "ct", hu, order=((0, 1), (2, -1), (1, 1)), series_uid="1.2.3.5")
    volume = read_volume(tmp_path / "ct")
    assert (volume.series_uid, volume.hu.shape) == ("1.2.3.4", hu.shape)
    assert "other planes" in volume.notes[0]
    assert "turned" in read_volume(tmp_path / "ct", "1.2.3.5").notes[-1]


def test_equal_series_are_listed_and_one_can_be_chosen(tmp_path):
    hu = patient()
    scan_files.dicom(tmp_path / "ct", hu)
    scan_files.dicom(tmp_path / "ct", hu + np.int16(50), series_uid="1.2.3.5")
    one_sentence(tmp_path / "ct", "1.2.3.4 (14 slices", "1.2.3.5 (14 slices", "--series")
    assert np.array_equal(load_scan(tmp_path / "ct", "1.2.3.5").hu_a, np.clip(hu + 50, -1000, 1000))
    with pytest.raises(UserError, match=r"no series '1\.9'"):
        read_volume(tmp_path / "ct", "1.9")


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.75])
def test_two_acquisitions_within_one_series_are_told_apart(tmp_path, shift):
    hu = patient()
    scan_files.dicom(tmp_path / "ct", hu)
    for number, one in enumerate(scan_files.dicom_slices(hu + np.int16(50))):
        x, y, z = one.ImagePositionPatient
        other(
            one, "1.2.3.4", f"9.{number}", AcquisitionNumber=2,
            ImagePositionPatient=[x, y, f"{float(z) + shift:.4f}"],
        )  # fmt: skip
        scan_files.save(one, tmp_path / "ct" / f"second{number}.dcm")
    one_sentence(tmp_path / "ct", "1.2.3.4:1", "1.2.3.4:2", "--series")
    chosen = read_volume(tmp_path / "ct", "1.2.3.4:2")
    assert np.array_equal(chosen.hu, np.clip(hu + 50, -1000, 1000))
    assert chosen.series_uid == "1.2.3.4"


def test_parts_of_a_scan_may_count_as_acquisitions(tmp_path):
    hu = patient()
    scan_files.dicom(tmp_path / "ct", hu, change=lambda one, n: setattr(one, "AcquisitionNumber", n // 4))
    assert read_volume(tmp_path / "ct").hu.shape == hu.shape


def test_copies_of_slices_and_other_files_are_set_aside(tmp_path):
    hu = patient()
    scan_files.dicom(tmp_path / "ct", hu)
    for path in sorted((tmp_path / "ct").iterdir())[3:6]:
        shutil.copy(path, path.with_name(f"copy {path.name}"))
    (tmp_path / "ct" / "notes.txt").write_text("no image")
    volume = read_volume(tmp_path / "ct")
    assert np.array_equal(volume.hu, np.clip(hu, -1000, 1000))
    assert "3 copies" in volume.notes[0]


def test_a_study_s_nested_folders_are_searched(tmp_path):
    scan_files.dicom(tmp_path / "study" / "PAT" / "SE1", patient())
    assert read_volume(tmp_path / "study").series_uid == "1.2.3.4"


# --- geometry ------------------------------------------------------------------------------------


def test_positions_that_were_rounded_are_read_and_others_refused(tmp_path):
    hu = patient((40, 8, 8))

    def heights(of):
        def change(one, number):
            x, y, _ = one.ImagePositionPatient
            one.ImagePositionPatient = [x, y, f"{of(number):.8g}"]

        return change

    scan_files.dicom(tmp_path / "rounded", hu, change=heights(lambda n: round(0.625 * n, 1)))
    assert read_volume(tmp_path / "rounded").spacing_xyz[2] == pytest.approx(0.625, abs=0.002)
    uneven = heights(lambda n: 2.5 * n + max(n - 20, 0) * 0.45)
    scan_files.dicom(tmp_path / "uneven", hu, change=uneven)
    one_sentence(tmp_path / "uneven", "even spacing")


def test_a_slight_tilt_is_kept_so_that_places_are_right(tmp_path):
    hu = patient()
    angle = np.radians(0.9)
    row, column = (1, 0, 0), (0, np.cos(angle), -np.sin(angle))
    scan_files.dicom(
        tmp_path / "ct", hu,
        change=lambda one, n: setattr(one, "ImageOrientationPatient", [f"{v:.8f}" for v in (*row, *column)]),
    )  # fmt: skip
    ct = load_scan(tmp_path / "ct")
    last = len(hu) - 1
    corner = scan_files.ORIGIN + [0, 0, last * 1.5] + np.array(column) * 19 * 0.7
    assert ct.geometry.irc2xyz((last, 19, 0)) == pytest.approx(tuple(corner), abs=1e-3)


def test_spacings_that_are_missing_or_zero(tmp_path):
    def without(one, _number):
        del one.PixelSpacing

    def with_field_of_view(one, _number):
        del one.PixelSpacing
        one.ReconstructionDiameter = "16"

    hu = patient((6, 20, 20))
    scan_files.dicom(tmp_path / "missing", hu, change=without)
    one_sentence(tmp_path / "missing", "PixelSpacing")
    scan_files.dicom(tmp_path / "known", hu, change=with_field_of_view)
    assert read_volume(tmp_path / "known").spacing_xyz == pytest.approx((0.8, 0.8, 1.5))
    assert "PixelSpacing" in read_volume(tmp_path / "known").notes[0]
    scan_files.dicom(tmp_path / "zero", hu, change=lambda one, _: setattr(one, "SpacingBetweenSlices", "0"))
    assert read_volume(tmp_path / "zero").spacing_xyz[2] == pytest.approx(1.5)
    scan_files.metaimage(tmp_path / "scan.mhd", hu)
    header = (tmp_path / "scan.mhd").read_text()
    (tmp_path / "scan.mhd").write_text(header.replace("ElementSpacing", "Comment"))
    one_sentence(tmp_path / "scan.mhd", "ElementSpacing")


def nifti_header(path, *patches):
    data = bytearray(path.read_bytes())
    for form, place, *values in patches:
        struct.pack_into(form, data, place, *values)
    path.write_bytes(data)


def test_what_a_nifti_header_says_of_places(tmp_path):
    path = tmp_path / "scan.nii"
    scan_files.nifti(path, patient())
    want = read_volume(path)
    nifti_header(path, ("<f", 284, 0.0015))  # axes a little bent
    assert read_volume(path).origin_xyz == pytest.approx(want.origin_xyz, abs=0.05)
    nifti_header(path, ("<f", 284, 0.05))
    one_sentence(path, "right angle")
    scan_files.nifti(path, patient())
    nifti_header(path, ("<3f", 80, 0, 0, 0))  # the sform has the spacing all the same
    assert read_volume(path).spacing_xyz == want.spacing_xyz
    nifti_header(path, ("<3f", 80, 0.8, 0.7, 3))
    one_sentence(path, "two voxel sizes")
    nifti_header(path, ("<3f", 80, 0.8, 0.7, 1.5), ("<h", 254, 0))
    one_sentence(path, "neither qform nor sform")
    nifti_header(path, ("<h", 254, 1), ("<B", 123, 3))  # micrometres
    one_sentence(path, "voxel size")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_places_are_itk_s(tmp_path, suffix):
    """An oracle for the hand-written readers: ITK, on an oblique scan in eight orientations."""
    turn = Rotation.from_euler("xyz", [12, -7, 20], degrees=True).as_matrix()
    image = sitk.GetImageFromArray(patient())
    image.SetSpacing((0.8, 0.7, 1.5))
    image.SetOrigin((-20.5, 33.25, -310))
    image.SetDirection(turn.ravel())
    for flips in itertools.product((False, True), repeat=3):
        path = tmp_path / f"scan{suffix}"
        sitk.WriteImage(sitk.Flip(image, flips), str(path), useCompression=True)
        ct, theirs = load_scan(path), sitk.ReadImage(str(path))
        for irc in ((0, 0, 0), (13, 19, 23), (5, 11, 2)):
            place = theirs.TransformPhysicalPointToIndex(ct.geometry.irc2xyz(irc))
            assert ct.hu_a[irc] == np.clip(theirs[place], -1000, 1000)
