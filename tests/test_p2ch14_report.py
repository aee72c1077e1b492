"""Chapter 14: the report, its pictures, and sizes in two axes."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit
from skimage.measure import regionprops

from p2ch10.scans import load_scan
from p2ch14.axes import axes_of
from p2ch14.findings import Finding, ScanResult
from p2ch14.report import scan_section, write_report
from p2ch14.report_pictures import EXTENT_MM, Upright, cuts, place_labels, projections

SPACING_IRC = (2.0, 0.8, 0.8)


def voxels_of(mask):
    return np.flatnonzero(mask)


def ball(shape, center, radius_mm, spacing_irc=SPACING_IRC):
    away = [(np.arange(n) - c) * mm for n, c, mm in zip(shape, center, spacing_irc)]
    return sum(a**2 for a in np.meshgrid(*away, indexing="ij")) <= radius_mm**2


def test_axes_of_one_voxel_and_of_a_bar():
    one = axes_of([0], (1, 1, 1), (2.0, 3.0, 4.0))
    assert (one.long_mm, one.short_mm) == pytest.approx(
        (5.0, 3.75)
    )  # a box of 3 x 4: its diagonal, and across it
    bar = np.zeros((3, 9, 30), bool)
    bar[1, 4, 5:25] = True
    axes = axes_of(voxels_of(bar), bar.shape, (1.0, 1.0, 1.0))
    assert axes.long_mm == pytest.approx(np.hypot(20, 1))
    assert axes.short_mm == pytest.approx(1.0, abs=0.01)
    assert axes.index == 1


@pytest.mark.parametrize("angle", [0, 20, 45, 90])
def test_axes_of_an_ellipse_at_any_angle(angle):
    y, x = np.mgrid[-60:61, -60:61] * 0.5
    turn = np.deg2rad(angle)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    mask = ((along / 12) ** 2 + (across / 7) ** 2 <= 1)[None]
    axes = axes_of(voxels_of(mask), mask.shape, (1.0, 0.5, 0.5))
    assert axes.long_mm == pytest.approx(24, abs=0.8)
    assert axes.short_mm == pytest.approx(14, abs=0.8)
    ends = np.diff(axes.long_ends, axis=0)[0], np.diff(axes.short_ends, axis=0)[0]
    assert abs(ends[0] @ ends[1]) < 1e-6  # at right angles
    assert np.linalg.norm(ends[0]) * 0.5 == pytest.approx(axes.long_mm)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_long_axis_is_scikit_images_feret_diameter(seed):
    """Within the width of a voxel: theirs runs along the voxels' edges a little inside their corners."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((1, 24, 24), bool)
    row, column = rng.integers(3, 12, 2)
    mask[0, row : row + rng.integers(1, 10), column : column + rng.integers(1, 10)] = True
    mask &= rng.random(mask.shape) < 0.9
    if not mask.any():
        return
    axes = axes_of(voxels_of(mask), mask.shape, (1.0, 1.0, 1.0))
    [region] = regionprops(mask[0].astype(int))
    assert axes.long_mm == pytest.approx(region.feret_diameter_max, abs=1.0)
    assert 0 < axes.short_mm <= axes.long_mm + 1e-9


def test_axes_are_those_of_the_largest_slice():
    mask = ball((20, 60, 60), (9, 30, 30), 8.0)
    axes = axes_of(voxels_of(mask), mask.shape, SPACING_IRC)
    assert axes.index == 9
    assert axes.long_mm == pytest.approx(16, abs=1.2)


def written(tmp_path, hu, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    image = sitk.GetImageFromArray(np.ascontiguousarray(hu.astype(np.int16)))
    image.SetSpacing(SPACING_IRC[::-1])
    image.SetDirection([float(d) for d in direction])
    path = tmp_path / "scan.mhd"
    sitk.WriteImage(image, str(path))
    return load_scan(path)


def chest():
    """A body with two lungs; a bright bead near the head, front and right, and one elsewhere."""
    hu = np.full((40, 120, 120), -1000)
    hu[:, 10:110, 5:115] = 40
    hu[3:37, 25:95, 15:52] = -850
    hu[3:37, 25:95, 68:105] = -850
    return hu


def finding_at(ct, center, radius_mm=4.0, probability=0.93):
    mask = ball(ct.hu_a.shape, center, radius_mm)
    return Finding(
        tuple(map(float, center)), tuple(ct.geometry.irc2xyz(center)), 2 * radius_mm, float(logit(probability)),
        voxels=voxels_of(mask),
    )  # fmt: skip


def pixels(coded):
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(coded))))


@pytest.mark.parametrize("signs", [(1, 1, 1), (1, 1, -1), (-1, -1, 1), (-1, 1, 1)])
def test_pictures_are_upright_however_a_scan_is_stored(tmp_path, signs):
    """The same body, stored with axes turned round, gives the same pictures, and marks in the same places."""
    hu = chest()
    hu[30, 35, 30] = 900  # towards the head (slices begin at the feet), front, right
    order = tuple(slice(None, None, sign) for sign in signs[::-1])
    x, y, z = signs
    ct = written(tmp_path, hu[order], (x, 0, 0, 0, y, 0, 0, 0, z))
    center = [int(i) for i in np.argwhere(ct.hu_a == 900)[0]]
    assert Upright(ct).place(center).tolist() == [9, 35, 30]
    front, feet = projections(ct, [finding_at(ct, center)])
    assert np.argwhere(pixels(front["png"]) == pixels(front["png"]).max()).tolist() == [[9, 30]]
    assert np.argwhere(pixels(feet["png"]) == pixels(feet["png"]).max()).tolist() == [[35, 30]]
    assert (front["marks"][0].x, front["marks"][0].y) == pytest.approx((30.5 * 0.8, 9.5 * 2))
    axial, coronal, sagittal = cuts(ct, finding_at(ct, center))
    for cut in (axial, coronal, sagittal):
        x, y = np.mean(cut["outlines"][0][:-1], axis=0)
        bright = np.argwhere(pixels(cut["png"]) == 255)
        row, column = bright[len(bright) // 2]
        shape = pixels(cut["png"]).shape
        assert x / cut["width_mm"] == pytest.approx((column + 0.5) / shape[1], abs=0.06)
        assert y / cut["height_mm"] == pytest.approx((row + 0.5) / shape[0], abs=0.06)
    assert len(axial["axes"]) == 2


def test_projections_have_every_pixel_and_show_what_stands_in_the_lungs(tmp_path):
    hu = chest()
    hu[20, 60, 30] = 200
    hu[20, 15, 60] = 1200  # bone outside the lungs does not cover them
    front, feet = (pixels(view["png"]) for view in projections(written(tmp_path, hu), []))
    assert front.shape == (40, 120)
    assert feet.shape == (120, 120)
    assert feet.max() == feet[60, 30]
    assert feet[15, 60] < feet[60, 30] / 2


def test_cuts_stay_inside_the_scan(tmp_path):
    """No blank bands: a window that would reach beyond the scan moves inside, one that is larger shrinks."""
    ct = written(tmp_path, chest())  # air is a dark grey; only what is not there would be black
    for center in ((0, 0, 0), (39, 119, 119), (20, 60, 60)):
        for cut in cuts(ct, finding_at(ct, center)):
            assert cut["width_mm"] <= EXTENT_MM + 2
            assert cut["height_mm"] <= EXTENT_MM + 2
            assert pixels(cut["png"]).min() > 0
            for line in cut["outlines"]:
                x, y = np.array(line).T
                assert x.max() <= cut["width_mm"] + 1
                assert y.max() <= cut["height_mm"] + 1
                assert min(x.min(), y.min()) >= -1


def test_a_finding_without_a_mask_has_a_circle(tmp_path):
    ct = written(tmp_path, chest())
    finding = finding_at(ct, (20, 60, 30))
    finding.voxels, finding.diameter_mm = None, None
    for cut in cuts(ct, finding):
        assert not cut["outlines"]
        assert cut["circle"][2] > 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(20, 280), st.floats(20, 280), st.floats(4, 15)), max_size=12))
def test_numbers_of_findings_do_not_overlap(circles):
    """Up to a dozen findings, wherever they lie: no number on another, none outside."""
    letter = 300 / 26
    marks = place_labels(circles, (300, 300))
    assert [mark.number for mark in marks] == list(range(1, len(circles) + 1))
    for a in marks:
        assert 0 <= a.label_x <= 300
        assert 0 <= a.label_y <= 300
        for b in marks[: a.number - 1]:
            apart = abs(a.label_x - b.label_x) >= 0.6 * letter or abs(a.label_y - b.label_y) >= 0.8 * letter
            assert apart


class Outline(HTMLParser):
    """What of a page must have a name, and whether tags are closed."""

    VOID = {"meta", "image", "circle", "line", "polygon", "br", "link", "img"}

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.ids, self.links = [], [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_report_is_self_contained_and_says_what_it_is_not(tmp_path):
    ct = written(tmp_path, chest())
    found = [finding_at(ct, (20, 60, 30)), finding_at(ct, (25, 40, 90), probability=0.2)]
    found[0].axes_mm = axes_of(found[0].voxels, ct.hu_a.shape, SPACING_IRC)[:2]
    result = ScanResult(ct.series_uid, "scans/<b>one</b>.mhd", 1.5, found, ("thick slices",))
    write_report(tmp_path / "report.html", [scan_section(ct, result, 0.5)] * 2)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Not a medical device" in html
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", html)
    assert "http" not in html
    assert "<b>one</b>" not in html
    assert html.count("<li>thick slices.</li>") == 2
    assert "{:.1f} × {:.1f}".format(*found[0].axes_mm) in html
    page = Outline(html)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(pictures) == 2 * (2 + 3)  # two projections and one finding's three planes of each scan
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in pictures)


def test_a_report_of_no_findings_and_of_no_scans(tmp_path):
    ct = written(tmp_path, chest())
    result = ScanResult(ct.series_uid, "a.mhd", 1.5, [])
    for sections, said in (([scan_section(ct, result, 0.5)], "No finding reached"), ([], "0 scans")):
        write_report(tmp_path / "report.html", sections)
        html = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert said in html
        Outline(html)
