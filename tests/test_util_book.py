"""What the book has in `util`: progress, the U-Net, augmentation of NumPy pictures, the cache that is none."""

import inspect
import json
import logging
import time

import numpy as np
import pytest
import torch

from util import augmentation, disk
from util.errors import UserError
from util.paths import PROJECT
from util.runtime import seed_everything
from util.unet import UNet, UNetUpBlock
from util.util import enumerateWithEstimate, importstr, prhist


@pytest.mark.parametrize("shown", [True, False])
def test_enumerate_with_estimate_is_enumerate(shown, capsys):
    assert list(enumerateWithEstimate("abc", "letters", start_ndx=1, shown=shown)) == list(enumerate("abc"))
    assert ("letters" in capsys.readouterr().err) == shown


def estimates(caplog, *arguments, **options):
    with caplog.at_level(logging.INFO, "util.util"):
        list(enumerateWithEstimate(*arguments, **options))
    said = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return said


def test_the_log_says_when_it_will_be_done_ever_less_often(caplog):
    first, *between, last = estimates(caplog, range(100), "counting", print_ndx=4, backoff=3)
    assert first == "counting ---/100, starting"
    assert last.startswith("counting ---/100, done at ")
    assert [line.split(",")[0] for line in between] == [f"counting {n:3d}/100" for n in (4, 12, 36)]
    assert len(estimates(caplog, range(10_000), "counting")) < 20
    assert "starting" in estimates(caplog, iter("abc"), "unknown length")[0]
    assert any(" 2/3" in line for line in estimates(caplog, iter("abc"), "told", print_ndx=2, iter_len=3))


def test_the_clock_starts_after_the_first_items(caplog, monkeypatch):
    """Ten items of one second each; the first one of a hundred, which does not count."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def slow_start():
        for index in range(10):
            now[0] += 100 if index == 0 else 1
            yield index

    with caplog.at_level(logging.INFO, "util.util"):
        list(enumerateWithEstimate(slow_start(), "items", start_ndx=1, print_ndx=5, iter_len=10))
    (line,) = [r.getMessage() for r in caplog.records if " 5/10" in r.getMessage()]
    assert line.endswith("0:00:04"), line


def test_importstr_finds_modules_and_names():
    assert importstr("util.unet").UNet is UNet
    assert importstr("util.unet", "UNet") is UNet
    assert importstr("util.unet:UNet") is UNet
    with pytest.raises(ImportError, match="no 'Net' in util.unet"):
        importstr("util.unet", "Net")
    with pytest.raises(ImportError):
        importstr("util.nothing")


def test_a_printed_histogram_counts_like_numpy(capsys):
    values = np.array([0.0, 0.1, 0.2, 0.9, 1.0])
    prhist(values, "x ", bins=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [["x", "0", "3"], ["x", "0.5", "2"]]
    assert lines[0].count("#") > lines[1].count("#") > 0
    prhist(np.array([]))
    assert "#" not in capsys.readouterr().out


def test_the_book_s_defaults_shrink_the_picture_as_in_the_paper():
    """Figure 1 of Ronneberger et al.: 572 pixels in, 388 out, five levels, 64 channels in the first."""
    with torch.device("meta"):
        net = UNet()
        assert net(torch.empty(1, 1, 572, 572)).shape == (1, 2, 388, 388)
        assert net.down_path[0].block[0].out_channels == 64
        assert net.down_path[-1].block[0].out_channels == 1024


@pytest.mark.parametrize("up_mode", ["upconv", "upsample"])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_padded_u_net_keeps_the_size(up_mode, batch_norm):
    net = UNet(3, 2, depth=3, wf=2, padding=True, batch_norm=batch_norm, up_mode=up_mode).eval()
    assert net(torch.zeros(2, 3, 24, 40)).shape == (2, 2, 24, 40)
    assert any("running_mean" in name for name in net.state_dict()) == batch_norm


def test_the_u_net_s_names_and_shapes_are_the_published_ones():
    published = json.loads((PROJECT / "tests" / "published_checkpoints.json").read_text())
    want = {
        name.removeprefix("unet."): shape
        for name, shape in published["UNetWrapper"]["model_state"].items()
        if name.startswith("unet.")
    }
    net = UNet(7, 1, depth=3, wf=4, padding=True, batch_norm=True)
    assert {name: list(value.shape) for name, value in net.state_dict().items()} == want


def test_the_bridge_is_cropped_about_its_middle():
    block = UNetUpBlock(2, 1, "upconv", padding=False, batch_norm=False)
    layer = torch.arange(36.0).view(1, 1, 6, 6)
    assert torch.equal(block.center_crop(layer, (2, 4)), layer[:, :, 2:4, 1:5])
    with pytest.raises(ValueError, match="up_mode"):
        UNetUpBlock(2, 1, "nearest", padding=False, batch_norm=False)


@pytest.fixture
def pictures():
    """An image of noise and a mask with a mark away from the middle, both (20, 30, 3)."""
    image = np.random.default_rng(1).random((20, 30, 3)).astype(np.float32)
    mask = np.zeros((20, 30, 3), dtype=bool)
    mask[4:8, 6:12] = True
    return [image, mask]


ALIKE = ["randomOffset", "randomZoom", "randomFlip", "randomSpin"]


@pytest.mark.parametrize("name", ALIKE)
def test_pictures_that_belong_together_move_together(name, pictures):
    """A picture's copy ends where it does; shape, type and the old pictures stay; the seed decides."""
    move = getattr(augmentation, name)
    before = [picture.copy() for picture in pictures]
    image, mask = pictures
    results = []
    for seed in range(6):
        seed_everything(seed)
        moved, twin, moved_mask = move([image, image.copy(), mask])
        np.testing.assert_array_equal(moved, twin)
        assert (moved.shape, moved.dtype) == (image.shape, image.dtype)
        assert moved_mask.dtype == bool
        seed_everything(seed)
        np.testing.assert_array_equal(move([image])[0], moved)
        results.append(moved)
        # A mark that is bright in the picture stays under the mask.
        seed_everything(seed)
        bright, again = move([mask.astype(np.float32), mask])
        np.testing.assert_array_equal(bright > 0.5, again)
    assert any(not np.array_equal(results[0], other) for other in results[1:])
    for old, picture in zip(before, pictures):
        np.testing.assert_array_equal(old, picture)


def test_crops_are_cut_shifted_inside_and_padded():
    image = np.arange(48).reshape(4, 4, 3)
    np.testing.assert_array_equal(augmentation.cropToShape(image, (2, 2, 3)), image[1:3, 1:3])
    np.testing.assert_array_equal(
        augmentation.cropToShape(image, (2, 2, 3), center_list=[0, 3, None]), image[:2, 2:]
    )
    padded = augmentation.cropToShape(image, (6, 2, 3), fill=-1)
    np.testing.assert_array_equal(padded[1:5], image[:, 1:3])
    assert (padded[[0, 5]] == -1).all()


def test_zooming_to_a_shape_takes_the_middle_square():
    image = np.zeros((4, 8, 3))
    image[:, 2:6] = 1
    assert (augmentation.zoomToShape(image, (8, 8, 3)) == 1).all()
    whole = augmentation.zoomToShape(image, (8, 8, 3), square=False)
    assert whole.shape == (8, 8, 3)
    assert whole.mean() == 0.5


def test_offsets_flips_zooms_and_spins_do_what_they_say(pictures, monkeypatch):
    image, _ = pictures
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    (moved,) = augmentation.randomOffset([image], offset_rows=0.1, offset_cols=0.2)
    np.testing.assert_array_equal(moved[2:, 6:], image[:-2, :-6])
    monkeypatch.undo()
    for bits, want in ((0, image), (1, image[:, ::-1]), (2, image[::-1]), (3, image[::-1, ::-1])):
        np.testing.assert_array_equal(augmentation.randomFlip([image], bits)[0], want)
    np.testing.assert_array_equal(augmentation.randomZoom([image], scale=1.0)[0], image)
    (double,) = augmentation.randomZoom([image], scale=2.0)
    np.testing.assert_array_equal(double[::2, ::2], image[5:15, 7:22])
    (half,) = augmentation.randomZoom([np.ones((20, 30, 3))], scale=0.5)
    assert half.sum() == 10 * 15 * 3
    square = image[:, :20]
    np.testing.assert_array_equal(augmentation.randomSpin([square], angle=90)[0], np.rot90(square))
    assert np.abs(augmentation.randomSpin([image], range_tup=(5, 10))[0] - image).max() > 0


def test_noise_stays_between_its_bounds_and_is_the_same_for_all():
    first, second = augmentation.randomNoise([np.zeros((40, 40, 1)), np.ones((40, 40, 1))], -0.2, 0.1)
    np.testing.assert_allclose(second - first, 1)
    assert -0.2 <= first.min() < -0.15
    assert 0.05 < first.max() <= 0.1


def test_hue_wraps_and_the_rest_is_cut():
    hsv = np.array([[[0.95, 0.25, 0.5], [0.02, 1.0, 0.0]]])
    (moved,) = augmentation.randomHsvShift([hsv], h=0.1, s=0.5, v=2.0)
    np.testing.assert_allclose(moved, [[[0.05, 0.5, 0.25], [0.12, 1.0, 0.0]]])
    (clamped,) = augmentation.clampHsv([np.array([[[-0.1, 1.5, -0.5]]])])
    np.testing.assert_allclose(clamped, [[[0.9, 1.0, 0.0]]])
    for _ in range(5):
        (moved,) = augmentation.randomHsvShift([np.full((1, 1, 3), 0.5)])
        assert abs(moved[0, 0, 0] - 0.5) <= 0.1
        assert 0.25 <= moved[0, 0, 1] <= 0.5**0.5


def test_the_cache_that_is_none_names_the_store():
    for call in (lambda: disk.getCache("part2ch10_raw"), lambda: disk.GzipDisk("folder")):
        with pytest.raises(UserError, match="ScanStore"):
            call()


def test_printed_signatures():
    """As `inspect` writes them; `enumerateWithEstimate` has a keyword more."""
    printed = {
        enumerateWithEstimate: "(iter, desc_str, start_ndx=0, print_ndx=4, backoff=None, iter_len=None, *, shown=None)",
        importstr: "(module_str, from_=None)",
        UNet.__init__: "(self, in_channels=1, n_classes=2, depth=5, wf=6, padding=False, batch_norm=False, "
        "up_mode='upconv')",
        augmentation.randomZoom: "(image_list, scale=None, scale_min=0.8, scale_max=1.3)",
        augmentation.randomHsvShift: "(image_list, h=None, s=None, v=None, h_min=-0.1, h_max=0.1, s_min=0.5, "
        "s_max=2.0, v_min=0.5, v_max=2.0)",
    }
    for function, signature in printed.items():
        assert str(inspect.signature(function)) == signature
