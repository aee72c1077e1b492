"""Chapter 14: from marked voxels to candidates, and back to a mask that opens over the scan."""

import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy import ndimage

from p2ch09.geometry import Geometry
from p2ch10.scans import load_scan
from p2ch11.model import LunaModel
from p2ch13.lungs import Lungs
from p2ch13.model import UNetWrapper
from p2ch14 import nodule_analysis, pipeline
from p2ch14.findings import Finding, ScanResult, without_repeats, write_mask
from p2ch14.grouping import BEYOND_MM, SAME_MM, beside_lungs, group_voxels
from p2ch14.pipeline import NodulePipeline
from p2ch14.weights import change_settings, save_with_settings, settings_of
from util.errors import UserError

SHAPE = (9, 12, 14)


@st.composite
def masks(draw):
    """Blobs of some density, or grains."""
    noise = np.random.default_rng(draw(st.integers(0, 10**6))).normal(size=SHAPE)
    noise = ndimage.gaussian_filter(noise, draw(st.sampled_from([0, 0.7, 1.5])))
    return noise > np.quantile(noise, draw(st.floats(0, 1)))


@settings(max_examples=60, deadline=None)
@given(masks(), st.integers(0, 10**6))
def test_the_books_way_agrees_with_scipy(mask, seed):
    hu = np.random.default_rng(seed).integers(-1000, 1000, SHAPE).astype(np.int16)
    labels, count = ndimage.label(ndimage.binary_erosion(mask, iterations=1))
    expected = ndimage.center_of_mass(hu.astype(float) + 1001, labels, range(1, count + 1))
    groups = group_voxels(hu, mask, (2.0, 1.0, 0.5))
    assert len(groups) == count
    np.testing.assert_allclose([g.center_irc for g in groups], expected)
    for number, group in enumerate(groups, 1):
        own = ndimage.binary_dilation(labels == number) & mask
        np.testing.assert_array_equal(np.sort(group.voxels), np.flatnonzero(own))
        assert group.volume_mm3 == own.sum()


@settings(max_examples=60, deadline=None)
@given(masks())
def test_splitting_only_adds_and_never_repeats(mask):
    hu = np.zeros(SHAPE, dtype=np.int16)
    spacing = np.array([2.5, 1.5, 1.5])
    plain, split = (group_voxels(hu, mask, spacing, way) for way in ("erode", "split"))
    centers = np.array([g.center_irc for g in split]).reshape(-1, 3) * spacing
    for group in plain:
        assert np.linalg.norm(centers - np.array(group.center_irc) * spacing, axis=1).min() < SAME_MM
    apart = np.linalg.norm(centers[:, None] - centers[None], axis=2)
    assert (apart[~np.eye(len(centers), dtype=bool)] > SAME_MM - 1e-9).all()
    for group in split:
        assert mask.ravel()[group.voxels].all()


def ball(shape, center, radius_mm, spacing):
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum(((g - c) * s) ** 2 for g, c, s in zip(grid, center, spacing)) < radius_mm**2


def hits(groups, center, radius_mm, spacing):
    return [
        g
        for g in groups
        if math.dist(np.multiply(g.center_irc, spacing), np.multiply(center, spacing)) < radius_mm
    ]


def test_a_nodule_on_a_long_vessel_is_lost_to_the_books_way_and_found_by_splitting():
    shape, spacing = (40, 60, 90), (1.25, 0.75, 0.75)
    nodule = (20, 30, 12)
    mask = ball(shape, nodule, 5, spacing)
    mask[18:23, 27:34, 12:85] = True  # a vessel of about 5 mm, 55 mm long
    hu = np.where(mask, 20, -900).astype(np.int16)
    assert not hits(group_voxels(hu, mask, spacing), nodule, 5, spacing)
    found = hits(group_voxels(hu, mask, spacing, "split"), nodule, 5, spacing)
    assert len(found) == 1
    assert found[0].diameter_mm == pytest.approx(10, abs=2)


def test_a_small_nodule_in_thick_slices_is_eroded_away_by_the_books_way_only():
    shape, spacing = (20, 40, 40), (2.5, 0.8, 0.8)
    mask = ball(shape, (10, 20, 20), 2.4, spacing)
    hu = np.where(mask, 20, -900).astype(np.int16)
    assert group_voxels(hu, mask, spacing) == []
    (found,) = group_voxels(hu, mask, spacing, "split")
    np.testing.assert_allclose(found.center_irc, (10, 20, 20), atol=0.1)
    mask[:] = False
    mask[4, 4, 4] = True  # a single voxel stays noise
    assert group_voxels(hu, mask, spacing, "split") == []


def test_a_single_ball_is_one_candidate_either_way():
    shape, spacing = (40, 50, 50), (1.0, 0.8, 0.8)
    mask = ball(shape, (20, 25, 25), 9, spacing)
    hu = np.where(mask, 20, -900).astype(np.int16)
    for way in ("erode", "split"):
        (found,) = group_voxels(hu, mask, spacing, way)
        np.testing.assert_allclose(found.center_irc, (20, 25, 25), atol=0.1)
        assert found.diameter_mm == pytest.approx(18, rel=0.05)
    assert group_voxels(hu, np.zeros_like(mask), spacing, "split") == []


def test_what_lies_far_from_the_lungs_is_no_candidate_unless_none_are_seen():
    spacing = (2.0, 1.0, 1.0)
    hu = np.full((12, 160, 200), -1000, dtype=np.int16)
    hu[:, 20:158, 20:180] = 40
    hu[:, 50:110, 50:90] = hu[:, 50:110, 110:150] = -850
    inside, on_the_wall, skin = (6, 80, 70), (6, 132, 130), (6, 24, 100)
    mask = sum(
        ball(hu.shape, place, radius, spacing)
        for place, radius in ((inside, 4), (on_the_wall, 24), (skin, 4))
    )
    mask = mask > 0
    groups = group_voxels(hu, mask, spacing)
    assert len(groups) == 3
    # A large nodule's centre may lie deep in the wall; what counts is how near it comes.
    assert on_the_wall[1] - 110 > BEYOND_MM
    kept = sorted(
        (group.center_irc for group in beside_lungs(groups, Lungs(hu), spacing)), key=lambda center: center[1]
    )
    np.testing.assert_allclose(kept, [inside, on_the_wall], atol=1)
    assert 50 - skin[1] - 4 > BEYOND_MM
    hu[:, 50:110, 110:150] = 40
    assert beside_lungs(groups, Lungs(hu), spacing) == groups, "a lung seems to have collapsed"


def test_a_thin_slice_of_a_lung_at_the_pictures_edge_counts_as_lung():
    spacing = (2.0, 1.0, 1.0)
    hu = np.full((12, 160, 200), -1000, dtype=np.int16)
    hu[:, 20:140] = 40
    hu[:, 50:110, 40:80] = hu[:, 50:110, 110:160] = -850
    hu[:, 50:110, :16] = -850  # a lobe that the circle which the scanner sees cuts open
    hu[:, 20:140, :4] = -1000
    at_the_edge = (6, 80, 9)
    groups = group_voxels(hu, ball(hu.shape, at_the_edge, 3, spacing), spacing)
    assert beside_lungs(groups, Lungs(hu), spacing) == groups
    hu[:, 50:110, 4:16] = 40
    assert beside_lungs(groups, Lungs(hu), spacing) == []


def test_only_the_courses_own_grouping_asks_where_the_lungs_are(weights, monkeypatch):
    monkeypatch.setattr(pipeline, "beside_lungs", lambda groups, lungs, spacing_irc: [])
    hu = np.full((8, 16, 16), -900, dtype=np.int16)
    ct = SimpleNamespace(hu_a=hu, geometry=Geometry(hu.shape, (0, 0, 0), (1, 1, 1), np.eye(3)))
    mask = np.zeros(hu.shape, dtype=bool)
    mask[2:6, 4:9, 4:9] = True
    for way, count in (("erode", 1), ("split", 0)):
        app = NodulePipeline(*weights, device="cpu", grouping=way)
        assert len(app.group_segmentation_output(ct, mask)) == count


def test_weights_say_how_their_masks_are_grouped(tmp_path):
    published = settings_of(tmp_path / "published.state")
    assert (published.grouping, published.mask_threshold) == ("erode", 0.5)
    path = tmp_path / "own.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"grouping": "erode", "mask_threshold": "0.7"})
    assert (settings_of(path).grouping, settings_of(path).mask_threshold) == ("erode", 0.7)
    save_file({"x": torch.zeros(1)}, path)
    assert settings_of(path).grouping == "split"


def test_settings_are_kept_with_the_weights_for_everybody_to_read(tmp_path):
    path, model = tmp_path / "m.safetensors", LunaModel()
    save_with_settings(path, model, threshold=0.25)
    change_settings(path, second_classifier="other.safetensors")
    assert (settings_of(path).threshold, settings_of(path).second_classifier) == (0.25, "other.safetensors")
    assert all(torch.equal(load_file(path)[name], value) for name, value in model.state_dict().items())
    assert path.stat().st_mode & 0o444 == 0o444
    with pytest.raises(TypeError):
        change_settings(path, treshold=0.5)
    save_file({"x": torch.zeros(1)}, path, {"threshold": "half"})
    with pytest.raises(UserError, match=r"m\.safetensors says 'half' for threshold"):
        settings_of(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save({"model_state": UNetWrapper().state_dict()}, folder / "segmentation.state")
    torch.save({"model_state": LunaModel().state_dict()}, folder / "classification.state")
    return folder / "segmentation.state", folder / "classification.state"


def test_published_weights_get_the_books_grouping_unless_asked_otherwise(weights):
    app = NodulePipeline(*weights, device="cpu")
    assert (app.grouping, app.mask_threshold) == ("erode", 0.5)
    app = NodulePipeline(*weights, device="cpu", grouping="split", mask_threshold=0.8)
    assert (app.grouping, app.mask_threshold) == ("split", 0.8)


def test_marks_on_one_nodule_become_one_finding():
    def at(x, diameter_mm, probability):
        return Finding((0, 0, 0), (float(x), 0.0, 0.0), diameter_mm, probability)

    large, within, beside, small_inside = at(0, 20, 0.9), at(3, 16, 0.8), at(7, 20, 0.7), at(2, 5, 0.6)
    # A small finding inside a large one may be a nodule of its own on a vessel: it stays.
    assert without_repeats([large, within, beside, small_inside]) == [large, beside, small_inside]
    assert without_repeats([]) == []


def test_a_report_lists_a_mark_inside_a_surer_one_once():
    def at(x, diameter_mm, probability, axes_mm=(9.0, 9.0)):
        logit = float(np.log(probability / (1 - probability)))
        return Finding((0, 0, 0), (float(x), 0.0, 0.0), diameter_mm, logit, axes_mm=axes_mm)

    large, repeat, beside, doubtful = at(0, 20, 0.9), at(9.9, 24, 0.8), at(10, 6, 0.7), at(60, 6, 0.4)
    result = ScanResult("1.2", "", 0.0, [large, repeat, beside, doubtful])
    assert result.listed(0.5) == [large, beside]
    assert result.nodules(0.5) == [large, repeat, beside], "scoring sees all marks"
    given = [at(0, None, 0.9, None), at(1, 8, 0.8, None)]
    assert ScanResult("1.2", "", 0.0, given).listed(0.5) == given


def oblique_scan(path, angle=20):
    """A small tilted scan with one bright ball of 8 mm radius around voxel (20, 30, 40)."""
    zyx = np.ogrid[0:40, 0:64, 0:72]
    distance = np.sqrt(sum(((axis - c) * s) ** 2 for axis, c, s in zip(zyx, (20, 30, 40), (2, 1, 1))))
    image = sitk.GetImageFromArray(np.where(distance < 8, 40, -900).astype(np.int16))
    image.SetSpacing((1.0, 1.0, 2.0))
    image.SetOrigin((-30.0, 12.0, 100.0))
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    image.SetDirection((cos, -sin, 0, 0, 0, -1, sin, cos, 0))
    sitk.WriteImage(image, str(path))
    return image


def corners(image):
    """The places of the corner voxels in the patient, (8, 3), in the order of their coordinates."""
    ends = [(0, n - 1) for n in image.GetSize()]
    return np.array(sorted(image.TransformIndexToPhysicalPoint(index) for index in itertools.product(*ends)))


def test_mask_lies_where_the_scan_lies(tmp_path, weights):
    scan = oblique_scan(tmp_path / "scan.nii.gz")
    ct = load_scan(tmp_path / "scan.nii.gz")
    app = NodulePipeline(*weights, device="cpu")
    findings = app.group_segmentation_output(ct, ct.hu_a > -500)
    write_mask(tmp_path / "mask.nii.gz", ct, findings)
    mask = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    np.testing.assert_allclose(corners(mask), corners(scan), atol=1e-3)
    # What is marked is the ball, at the place in the patient that the finding names.
    on_the_scan = sitk.Resample(mask, scan, sitk.Transform(), sitk.sitkNearestNeighbor)
    array = sitk.GetArrayFromImage(on_the_scan)
    np.testing.assert_array_equal(array > 0, sitk.GetArrayFromImage(scan) > -500)
    assert array[20, 30, 40] == 1
    index = mask.TransformPhysicalPointToIndex(findings[0].center_xyz)
    assert mask[index] == 1
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_nodules_are_numbered_and_the_first_keeps_shared_voxels(tmp_path):
    oblique_scan(tmp_path / "scan.nii.gz")
    ct = load_scan(tmp_path / "scan.nii.gz")
    nodules = [
        Finding((0, 0, 0), (0, 0, 0), 5.0, voxels=np.array(voxels)) for voxels in ([5, 6], [6, 7], [900])
    ]
    write_mask(tmp_path / "mask.nii.gz", ct, nodules)
    flat = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "mask.nii.gz"))).ravel()
    assert flat[[5, 6, 7, 900]].tolist() == [1, 1, 2, 3]
    assert np.count_nonzero(flat) == 4
    with pytest.raises(ValueError, match="no voxels"):
        write_mask(tmp_path / "mask.nii.gz", ct, [Finding((0, 0, 0), (0, 0, 0), 5.0)])


def test_several_scans_give_one_mask_each(tmp_path, weights):
    names = []
    for number in (1, 2):
        oblique_scan(tmp_path / f"scan{number}.nii.gz", 10 * number)
        names.append(str(tmp_path / f"scan{number}.nii.gz"))
    segmentation, classification = map(str, weights)
    common = ["--segmentation-path", segmentation, "--classification-path", classification, "--device", "cpu"]
    out = tmp_path / "out"
    nodule_analysis.main([*names, *common, "--mask", str(out / "m.nii.gz"), "--json", str(out / "f.json")])
    written = sorted(out.glob("m.*.nii.gz"))
    assert [p.name for p in written] == ["m.1.scan1.nii.gz", "m.2.scan2.nii.gz"]
    for name, path in zip(names, written):
        scan, mask = sitk.ReadImage(name), sitk.ReadImage(str(path))
        np.testing.assert_allclose(corners(mask), corners(scan), atol=1e-3)
    found = json.loads((out / "f.json").read_text())["scans"]
    assert [scan["series_uid"] for scan in found] == ["scan1", "scan2"]
    nodule_analysis.main([names[0], *common, "--mask", str(tmp_path / "one.nii.gz")])
    assert (tmp_path / "one.nii.gz").is_file()
    with pytest.raises(UserError, match=r"must end in \.nii\.gz"):
        nodule_analysis.main([names[0], *common, "--mask", str(tmp_path / "one.nrrd")])


def test_malignancy_is_judged_for_nodules_only(tmp_path, weights):
    oblique_scan(tmp_path / "scan.nii.gz")
    ct = load_scan(tmp_path / "scan.nii.gz")
    segmentation, classification = weights
    app = NodulePipeline(segmentation, classification, classification, device="cpu")
    findings = [Finding((20.0, 30.0, 40.0), ct_xyz(ct, (20, 30, 40)), 16.0) for _ in range(2)]
    app.classify_candidates(ct, findings)
    app.threshold = findings[0].probability
    app.classify_candidates(ct, findings)
    assert findings[0].malignancy == pytest.approx(findings[0].probability)
    app.threshold = findings[0].probability + 0.01
    fresh = [Finding(findings[0].center_irc, findings[0].center_xyz, 16.0)]
    app.classify_candidates(ct, fresh)
    assert fresh[0].malignancy is None


def ct_xyz(ct, irc):
    from p2ch10.dsets import irc2xyz

    return tuple(irc2xyz(irc, ct.origin_xyz, ct.vxSize_xyz, ct.direction_a))
