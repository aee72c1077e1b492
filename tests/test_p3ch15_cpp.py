"""Chapter 15: the C++ programs are built against this LibTorch, and compute what Python computes."""

import numpy as np
import pytest
import torch
from PIL import Image

from p1ch2.gan import ResNetGenerator, to_pictures, to_signed
from p1ch2.measure import draw_four_legged
from p3ch15 import native
from p3ch15.evaluation import evaluation_crops
from p3ch15.formats import to_traced
from p3ch15.networks import NETWORKS
from util.errors import UserError

pytestmark = pytest.mark.skipif(
    bool(native.missing_tools()), reason=f"no {' and no '.join(native.missing_tools())} here"
)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return to_traced(NETWORKS["generator"], tmp_path_factory.mktemp("generator") / "generator-traced.pt")


def test_the_generator_paints_in_cpp_what_it_paints_in_python(generator, tmp_path):
    picture = draw_four_legged(7, 0, striped=False).image[:, :-3]  # (64, 61, 3): an edge that is cut to 60
    Image.fromarray(picture).save(tmp_path / "in.ppm")
    said = native.run("stripes", generator, tmp_path / "in.ppm", tmp_path / "out.ppm")
    assert "60 x 64 pixels" in said
    painted = np.asarray(Image.open(tmp_path / "out.ppm")).astype(int)
    with torch.inference_mode():
        wanted = to_pictures(NETWORKS["generator"].build()(to_signed(picture[None, :, :60])))[0].int().numpy()
    assert painted.shape == wanted.shape
    assert np.abs(painted - wanted).max() <= 1  # one level of 255: a rounding at the edge
    assert np.abs(painted - picture[:, :60]).mean() > 3  # and it did paint


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:FutureWarning")
def test_the_generator_written_in_cpp_paints_what_the_one_in_python_paints(generator, tmp_path):
    """Layers of C++'s own, only the weights from Python, of two sizes."""
    torch.manual_seed(1)
    wide = to_traced(NETWORKS["generator"], tmp_path / "wide.pt", ResNetGenerator(ngf=8, n_blocks=1).eval())
    picture = draw_four_legged(7, 1, striped=False).image
    Image.fromarray(picture).save(tmp_path / "in.ppm")
    for path in (generator, wide):
        said = native.run("generator", path, tmp_path / "in.ppm", tmp_path / "out.ppm")
        weights = sum(p.numel() for p in torch.jit.load(str(path)).parameters())
        assert said.startswith(f"{weights} weights read, painted 64 x 64 pixels")
        with torch.inference_mode():
            wanted = to_pictures(torch.jit.load(str(path))(to_signed(picture[None])))[0].int().numpy()
        painted = np.asarray(Image.open(tmp_path / "out.ppm")).astype(int)
        assert np.abs(painted - wanted).max() <= 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_network_is_trained_in_cpp_and_read_in_python(tmp_path):
    crops, is_nodule = evaluation_crops(100)
    slices = crops[:, 0, 15:18].clone()  # (100, 3, 48, 48)
    is_nodule = is_nodule[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    # Something that can be learnt in seconds: a bright square where the label says so.
    slices[is_nodule, :, 20:28, 20:28] = 300.0
    native.write_floats(tmp_path / "slices.f32", slices)
    native.write_floats(tmp_path / "labels.f32", is_nodule.float())
    said = native.run(
        "train", tmp_path / "slices.f32", tmp_path / "labels.f32", tmp_path / "network.pt", 8, threads=1
    )
    losses = [float(line.split()[-1]) for line in said.splitlines() if line.startswith("epoch")]
    assert len(losses) == 8
    assert losses[-1] < 0.7 * losses[0]
    assert float(said.split("held-out accuracy")[1]) >= 0.8
    weights = dict(torch.jit.load(str(tmp_path / "network.pt")).named_parameters())
    assert weights["conv1.weight"].shape == (8, 3, 3, 3)
    assert weights["head.bias"].shape == (2,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("stripes", "one.pt"), "usage"),
        (("stripes", "{model}", "missing.ppm", "out.ppm"), "cannot open missing.ppm"),
        (("stripes", "{model}", "{text}", "out.ppm"), "is no binary PPM"),
        (("stripes", "{model}", "{short}", "out.ppm"), "ends too early"),
        (("classify", "{model}", "{text}", "logits.f32"), "does not hold whole samples"),
        (("train", "{text}", "{text}", "network.pt"), "does not hold whole samples"),
        (("generator", "{text}", "{short}", "out.ppm"), "constants.pkl|failed|archive"),
    ],
)
def test_the_programs_say_what_is_wrong(arguments, words, generator, tmp_path):
    (tmp_path / "text").write_text("this is no picture")
    (tmp_path / "short").write_bytes(b"P6\n64 64\n255\nabc")
    places = {"model": generator, "text": tmp_path / "text", "short": tmp_path / "short"}
    with pytest.raises(UserError, match=words):
        native.run(*(argument.format(**places) for argument in arguments))


def test_an_unknown_program_and_a_missing_compiler(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="choose one of stripes, classify, train, generator"):
        native.run("paint")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"needs cmake and a C\+\+ compiler"):
        native.build()
