"""Chapter 10: lists as spreadsheets write them, and lung masks that lie among the scans."""

import pytest
import SimpleITK as sitk

from p2ch09.source import Luna16
from p2ch10.tables import read_rows, read_text
from tests import scan_files
from util.errors import UserError

PLAIN = "seriesuid,coordX,note\n1.2.3,-7.25,size\n1.2.4,8,\n"
WANT = [("1.2.3", "-7.25"), ("1.2.4", "8")]


def rows_of(path):
    return [(row["seriesuid"], row["coordX"]) for _, row in read_rows(path, ("seriesuid", "coordX"))]


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.replace("size", "größe").encode("latin-1"),
        PLAIN.replace("size", "größe").encode(),
        PLAIN.replace(",", "\t").encode("utf-16"),
        PLAIN.replace(",", ";").replace("7.25", "7,25").encode(),
        ("sep=;\n" + PLAIN.replace(",", ";")).encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        (PLAIN + ",,\n,,\n").encode(),
        ("\n" + PLAIN.replace("\n", "\n\n")).encode(),
        PLAIN.replace("1.2.3", '"1.2.3"').replace(",8", " , 8 ").encode(),
    ],
)
def test_a_list_is_the_same_list_however_it_was_saved(tmp_path, data):
    (tmp_path / "list.csv").write_bytes(data)
    assert rows_of(tmp_path / "list.csv") == WANT


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"seriesuid,coordY\n1.2,3\n", ("line 1", "coordX")),
        (b"", ("line 1", "seriesuid")),
        (b"seriesuid,coordX\n1.2.3,7,25\n", ("line 2", "3 cells")),
        (b"seriesuid,coordX\n1.2.3,\x00\x01\n", ("line 2", "no CSV text")),
        (PLAIN.encode("utf-16")[:-1], ("UTF-16",)),
        (b'seriesuid,coordX\n"1.2.3,7\n', ("line 2", "no CSV text")),
    ],
)
def test_what_is_no_list_is_named_by_file_and_line(tmp_path, data, words):
    (tmp_path / "list.csv").write_bytes(data)
    with pytest.raises(UserError) as error:
        rows_of(tmp_path / "list.csv")
    for word in ("list.csv", *words):
        assert word in str(error.value)


def test_a_list_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_text(tmp_path / "none.csv")


@pytest.mark.parametrize("folder", ["seg-lungs-LUNA16", "Masks", "subset0/lungs", "a"])
def test_luna_s_lung_masks_are_no_scans(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    hu = scan_files.patient()
    for name in ("1.2.3", "1.2.4"):
        masks = tmp_path / "luna" / folder
        masks.mkdir(parents=True, exist_ok=True)
        mask = sitk.Cast(sitk.GetImageFromArray((hu < -500) * 3), sitk.sitkUInt8)
        sitk.WriteImage(mask, str(masks / f"{name}.mhd"))
    (tmp_path / "luna" / "subset0").mkdir(exist_ok=True)
    scan_files.metaimage(tmp_path / "luna" / "subset0" / "1.2.3.mhd", hu)
    (tmp_path / "luna" / "annotations.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n")
    assert {uid: path.parent.name for uid, path in Luna16().scan_paths().items()} == {"1.2.3": "subset0"}
