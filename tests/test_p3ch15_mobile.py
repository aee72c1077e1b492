"""Chapter 15: the design for phones is the same function, and its files run in ExecuTorch."""

import re
import sys
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from p2ch11.model import LunaModel
from p3ch15.evaluation import calibration_crops, evaluation_crops, in_batches
from p3ch15.formats import open_export
from p3ch15.mobile import runtime
from p3ch15.mobile.pte import quantized, write_both
from p3ch15.mobile.runtime import require_executorch
from p3ch15.mobile.slices import SliceConv, SliceLunaModel
from p3ch15.networks import NETWORKS
from p3ch15.server.inputs import CROP_SHAPE
from util.errors import UserError
from util.paths import PROJECT


@given(channels=st.integers(1, 4), width=st.integers(1, 4), depth=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_a_convolution_over_slices_is_a_convolution_over_the_volume(channels, width, depth, seed):
    torch.manual_seed(seed)
    conv = nn.Conv3d(channels, width, kernel_size=3, padding=1)
    volume = torch.randn(1, channels, depth, 5, 4)
    with torch.no_grad():
        got = SliceConv(conv)(volume[0].movedim(0, 1)).movedim(1, 0)[None]
        torch.testing.assert_close(got, conv(volume), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [{"kernel_size": 5, "padding": 2}, {"kernel_size": 3, "padding": 0}])
def test_other_convolutions_are_refused(options):
    with pytest.raises(ValueError, match="only 3×3×3"):
        SliceConv(nn.Conv3d(1, 1, **options))


def test_the_whole_network_answers_the_same_with_any_weights():
    torch.manual_seed(1)
    model = LunaModel(conv_channels=2)
    with torch.no_grad():
        model.tail_batchnorm.running_mean.fill_(-300.0)
        model.tail_batchnorm.running_var.fill_(400.0**2)
        model.tail_batchnorm.weight.fill_(0.7)
        model.tail_batchnorm.bias.fill_(0.2)
    model.eval()
    crops = NETWORKS["classification"].example(2)
    with torch.no_grad():
        before = model(crops)[0]
        sliced = SliceLunaModel(model).eval()
        got = torch.cat([sliced(crop) for crop in crops.split(1)])
        torch.testing.assert_close(got, before, atol=1e-4, rtol=0)
        assert torch.equal(model(crops)[0], before)  # the network that was given is left as it was


@pytest.mark.parametrize("comes", [True, False])
def test_what_phones_need_is_installed_once_or_said_to_be_missing(comes, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(runtime.course, "install_phone", lambda python: asked.append(python) or comes)
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    runtime.install_executorch()
    assert asked == [sys.executable]
    assert ("could not be had" in capsys.readouterr().out) != comes
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: name)
    runtime.install_executorch()
    assert len(asked) == 1


@pytest.mark.slow
def test_files_for_phones_run_and_8_bits_answer_nearly_the_same(tmp_path_factory):
    try:
        require_executorch()
    except UserError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.getbasetemp() / "p3ch15"  # the tests of all exports may have written them
    plain, small = folder / "nodule.pte", folder / "nodule-int8.pte"
    if not small.exists():
        write_both(folder, calibration_crops(12))
    crops, _ = evaluation_crops(12)
    eager = in_batches(NETWORKS["classification"].build(), crops)
    torch.testing.assert_close(open_export(plain)(crops)[0], eager, atol=1e-4, rtol=0)
    eight = open_export(small)(crops)[0]
    assert 0 < (eight - eager).abs().mean() < 0.5  # not the same numbers, but near them
    assert small.stat().st_size <= 0.3 * plain.stat().st_size
    assert not list(folder.glob(".*"))  # nothing half-written is left


@pytest.mark.slow
def test_8_bits_are_really_8_bits():
    try:
        require_executorch()
    except UserError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    model = SliceLunaModel(LunaModel(conv_channels=2).eval()).eval()
    graph = quantized(model, NETWORKS["classification"].example(2))
    integers = [t for t in graph.state_dict().values() if t.dtype == torch.int8 and t.dim() > 1]
    # Seven of eight convolutions and the last layer; the first convolution stays in float.
    assert len(integers) == 8
    assert any(t.shape == (2, 3, 3, 3) and t.dtype == torch.float32 for t in graph.state_dict().values())


def test_the_android_project_hangs_together():
    """It was never built here; what can be said without an Android SDK: files are there, names agree, XML is XML."""
    android = PROJECT / "p3ch15" / "mobile" / "android"
    main = android / "app" / "src" / "main"
    application = ElementTree.parse(main / "AndroidManifest.xml").getroot().find("application")
    name = application.find("activity").get("{http://schemas.android.com/apk/res/android}name")
    kotlin = (main / "java" / "course" / "nodules" / f"{name.rpartition('.')[2]}.kt").read_text(
        encoding="utf-8"
    )
    gradle = (android / "app" / "build.gradle.kts").read_text(encoding="utf-8")
    assert re.search(r"^package (\S+)", kotlin, re.M)[1] == re.search(r'namespace = "([^"]+)"', gradle)[1]
    assert 'include(":app")' in (android / "settings.gradle.kts").read_text(encoding="utf-8")
    assert set(re.findall(r'(?:fileOf|floatsOf)\("([^"]+)"\)', kotlin)) == {"nodule-int8.pte", "crops.f32"}
    shape = [int(edge) for edge in re.search(r"longArrayOf\(([\d, ]+)\)", kotlin)[1].split(",")]
    assert shape == [1, 1, *CROP_SHAPE]
    for opening, closing in ("{}", "()", "[]"):
        assert kotlin.count(opening) == kotlin.count(closing)


def test_the_android_project_asks_for_the_runtime_that_wrote_the_files():
    gradle = (PROJECT / "p3ch15/mobile/android/app/build.gradle.kts").read_text(encoding="utf-8")
    wanted = (PROJECT / "requirements-phone.txt").read_text(encoding="utf-8")
    version = re.search(r"executorch-android:([\d.]+)", gradle)[1]
    assert f"executorch>={version}" in wanted
