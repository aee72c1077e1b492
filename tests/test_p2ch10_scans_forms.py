"""Chapter 10: one patient in every order of axes, byte layout and format, and the same patient comes out."""

import numpy as np
import pytest

from p2ch10.scans import load_scan, read_volume
from tests import fuzz_scans, scan_files
from tests.scan_files import FILES, LAYOUTS, ORDERS, ORIGIN, SPACING, SYNTAXES, patient
from util.errors import UserError


def check(path, hu):
    """The patient's voxels, exactly, each within half a voxel of its place."""
    ct = load_scan(path)
    assert np.array_equal(ct.hu_a, np.clip(hu, -1000, 1000))
    corners = np.array([0, 0, 0]), np.array(hu.shape) - 1
    for irc in corners:
        want = ORIGIN + irc[::-1] * SPACING
        assert np.abs(np.subtract(ct.geometry.irc2xyz(irc), want)).max() < SPACING.min() / 2
    return ct


def check_orders(folder, form, layout, orders):
    name, write = FILES[form]
    hu = patient()
    for order in orders:
        write(folder / name, hu, order, layout)
        check(folder / name, hu)


@pytest.mark.parametrize("form", FILES)
def test_a_patient_in_other_orders_of_axes_is_the_same_patient(tmp_path, form):
    for number, layout in enumerate(LAYOUTS):
        check_orders(tmp_path, form, layout, ORDERS[number::8])


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", FILES)
def test_a_patient_in_all_48_orders_of_axes_is_the_same_patient(tmp_path, form, layout):
    check_orders(tmp_path, form, layout, ORDERS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The number of bytes of compressed pixel data:UserWarning")
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_dicom_series_in_every_transfer_syntax_is_the_same_patient(tmp_path, syntax):
    hu = patient((4, 6, 8))
    for number, order in enumerate(ORDERS):
        for layout in ("<i2", "<u2") if syntax == "explicit" else ("<u2",):
            folder = tmp_path / f"{number}{layout[1]}"
            scan_files.dicom(folder, hu, order, syntax, layout)
            assert check(folder, hu).series_uid == "1.2.3.4"


def test_an_enhanced_ct_is_read_frame_by_frame(tmp_path):
    hu = patient()
    (tmp_path / "ct").mkdir()
    scan_files.enhanced(tmp_path / "ct" / "1.dcm", hu)
    assert len(check(tmp_path / "ct", hu).slices) == len(hu)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("form", fuzz_scans.FORMS)
def test_fifty_damaged_files_of_each_form_are_refused_read_right_or_told(form):
    outcomes = fuzz_scans.fuzz(form, 50, seed=1)
    assert not fuzz_scans.faults(outcomes)
    assert outcomes["refused"] > 10


def test_a_changed_voxel_is_noticed_wherever_the_format_has_a_checksum(tmp_path):
    """The one thing that cannot be known is a changed byte of voxels that no checksum covers."""
    hu = patient()
    for form, (name, write) in FILES.items():
        folder = tmp_path / form
        folder.mkdir()
        write(folder / name, hu)
        file = max(folder.iterdir(), key=lambda path: path.stat().st_size)
        data = bytearray(file.read_bytes())
        data[-400] ^= 4
        file.write_bytes(data)
        if form in fuzz_scans.CHECKED:
            with pytest.raises(UserError, match="damaged"):
                read_volume(folder / name)
        else:
            assert (read_volume(folder / name).hu != np.clip(hu, -1000, 1000)).sum() == 1
