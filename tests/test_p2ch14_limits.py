"""Chapter 14: what limits the findings is said beside them; nodules as a DICOM Segmentation."""

import json

import numpy as np
import pydicom
import pytest

from p2ch10.scans import load_scan
from p2ch14.dicom_seg import write_dicom_seg
from p2ch14.findings import Finding, ScanResult, print_result, write_json
from p2ch14.limits import limits_of
from p2ch14.nodule_analysis import distinct_name
from p2ch14.report import scan_section, write_report
from tests import scan_files
from util.errors import UserError


def chest(shape=(40, 160, 160)):
    """Two lungs within a body within air, HU."""
    k, j, i = np.indices(shape)
    hu = np.full(shape, -1000, np.int16)
    hu[((i - 80) / 72) ** 2 + ((j - 80) / 50) ** 2 < 1] = 40
    for middle in (50, 110):
        hu[((i - middle) / 24) ** 2 + ((j - 80) / 36) ** 2 + ((k - 20) / 17) ** 2 < 1] = -850
    return hu


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write a chest as DICOM and read it: `written(hu, attribute=value, …)`."""
    monkeypatch.setattr(scan_files, "SPACING", np.array([2.0, 2.0, 2.5]))

    def write(hu, order=scan_files.UPRIGHT, **attributes):
        folder = tmp_path / f"ct{len(list(tmp_path.iterdir()))}"

        def change(one, _number):
            for name, value in attributes.items():
                setattr(one, name, value)

        scan_files.dicom(folder, hu, order, change=change)
        return load_scan(folder)

    return write


def test_a_whole_chest_of_thin_slices_has_no_limits(written):
    assert limits_of(written(chest())) == ()


def test_each_limit_is_told(written):
    hu = chest()
    head = np.where(hu == -850, 40, hu)
    assert "no lungs found" in limits_of(written(head))[0]
    assert "lungs cut" in limits_of(written(hu[:20]))[0]
    assert "head" in limits_of(written(hu[:20]))[0]
    assert "feet" in limits_of(written(hu[20:]))[0]
    one_lung = hu.copy()
    one_lung[:, :, :80] = np.where(hu[:, :, :80] == -850, 40, hu[:, :, :80])
    assert "collapsed" in limits_of(written(one_lung))[0]
    assert "thick slices (5 mm" in limits_of(written(hu, SliceThickness="5"))[0]
    assert "sharp kernel (B70f)" in limits_of(written(hu, ConvolutionKernel="B70f"))[0]
    assert limits_of(written(hu, ConvolutionKernel="B30f")) == ()
    assert "contrast agent" in limits_of(written(hu, ContrastBolusAgent="APPLIED"))[0]


def finding(ct, *window):
    marked = np.zeros(ct.hu_a.shape, bool)
    marked[tuple(slice(*ends) for ends in window)] = True
    center = [np.mean(ends) for ends in window]
    return Finding(tuple(center), tuple(ct.geometry.irc2xyz(center)), 9.0, 3.0, voxels=np.flatnonzero(marked))


def test_warnings_stand_in_text_json_and_report(written, tmp_path, capsys):
    ct = written(chest(), SliceThickness="5")
    result = ScanResult(ct.series_uid, "a scan", 1.0, [], limits_of(ct))
    print_result(result, 0.5)
    write_json(tmp_path / "f.json", [result], 0.5)
    write_report(tmp_path / "r.html", [scan_section(ct, result, 0.5)])
    for said in (capsys.readouterr().out, (tmp_path / "r.html").read_text(encoding="utf-8")):
        assert "thick slices (5 mm" in said
    assert json.loads((tmp_path / "f.json").read_text())["scans"][0]["warnings"] == list(result.warnings)


@pytest.mark.parametrize(
    "order", [scan_files.UPRIGHT, ((1, -1), (0, 1), (2, -1)), ((0, -1), (1, -1), (2, 1))]
)
def test_a_dicom_segmentation_comes_back_to_the_same_voxels(written, tmp_path, order):
    """Read by highdicom and by pydicom, in the images' own order of rows and columns."""
    import highdicom

    ct = written(chest(), order)
    nodules = [finding(ct, (18, 21), (30, 34), (17, 20)), finding(ct, (20, 24), (28, 31), (40, 47))]
    path = tmp_path / "nodules.dcm"
    write_dicom_seg(path, ct, nodules)
    seg = highdicom.seg.segread(path)
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == ct.series_uid == "1.2.3.4"
    assert pydicom.dcmread(path).pixel_array.sum() == sum(len(nodule.voxels) for nodule in nodules)
    uids = [str(one.header.SOPInstanceUID) for one in ct.slices]
    masks = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    for number, nodule in enumerate(nodules):
        marked = {tuple(irc) for irc in np.argwhere(masks[..., number])}
        images = [pydicom.dcmread(one.path) for one in ct.slices]
        places = {place_of(images[k], j, i) for k, j, i in marked}
        want = {
            tuple(np.round(ct.geometry.irc2xyz(irc), 2) + 0.0)
            for irc in zip(*np.unravel_index(nodule.voxels, ct.hu_a.shape))
        }
        assert places == want


def place_of(image, row, column):
    """Patient millimetres of a pixel by the standard's own formula (C.7.6.2.1.1)."""
    along_row, along_column = np.split(np.array(image.ImageOrientationPatient, float), 2)
    row_mm, column_mm = (float(mm) for mm in image.PixelSpacing)
    place = np.array(image.ImagePositionPatient, float)
    return tuple(np.round(place + along_row * column_mm * column + along_column * row_mm * row, 2) + 0.0)


def test_what_cannot_become_a_dicom_segmentation_is_refused(written, tmp_path):
    ct = written(chest())
    with pytest.raises(UserError, match="needs one"):
        write_dicom_seg(tmp_path / "s.dcm", ct, [])
    scan_files.nifti(tmp_path / "scan.nii.gz", chest())
    with pytest.raises(UserError, match="--mask"):
        write_dicom_seg(
            tmp_path / "s.dcm", load_scan(tmp_path / "scan.nii.gz"), [finding(ct, (1, 2), (1, 2), (1, 2))]
        )
    assert not (tmp_path / "s.dcm").exists()


def test_files_of_one_name_get_names_of_their_own(tmp_path):
    assert distinct_name("scan", tmp_path / "a" / "scan.nii", []) == "scan"
    assert distinct_name("scan", tmp_path / "b" / "scan.nii", ["scan"]) == "b-scan"
    assert distinct_name("scan", tmp_path / "b" / "scan.nii", ["scan", "b-scan"]) == "b-scan-2"
