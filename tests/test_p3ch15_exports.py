"""Chapter 15: what is exported computes what PyTorch computes, for any batch, and says so if it does not."""

import json
import re
import subprocess
import sys

import pytest
import torch

from p3ch15 import compiled, evaluation, export
from p3ch15.efficiency import pruned, small_model
from p3ch15.evaluation import (
    Milliseconds,
    area,
    evaluation_crops,
    in_batches,
    weights_bytes,
    zipped_bytes,
)
from p3ch15.export import AUC_WITHIN, INT8_SHARE, LOGITS_WITHIN, Line, measure
from p3ch15.formats import open_export, to_onnx, to_package, to_scripted, to_traced
from p3ch15.native import missing_tools
from p3ch15.networks import NETWORKS, network_named
from p3ch15.tracing import FlipWhenUnsure, FlipWhenUnsureCond
from util.errors import UserError
from util.paths import PROJECT, output_root
from util.runtime import on_threads


@pytest.fixture(scope="module")
def held_out():
    return evaluation_crops(60)


@pytest.fixture(scope="module")
def classifier():
    return NETWORKS["classification"].build()


@pytest.mark.lesson
def test_every_export_of_the_notebook_keeps_its_word(held_out, executed):
    """ONNX, TorchScript, AOTInductor, ExecuTorch, C++; float32, bfloat16, 8 bits: the notebook's and the others."""
    executed("p3ch15")
    lines = {line.name: line for line in measure(output_root() / "exports", *held_out)}
    assert {"ONNX in onnxruntime", "TorchScript, traced", "TorchScript, scripted", "ONNX, 8 bits"} <= set(
        lines
    )
    if not missing_tools():
        assert {"AOTInductor package", "AOTInductor, bfloat16", "traced, in C++"} <= set(lines)
        assert lines["AOTInductor, in C++"].logits_off <= 1e-4
    for line in lines.values():
        if line.is_exact:
            assert line.logits_off <= 1e-4, line
        else:
            assert line.auc_off <= 0.01, line
        if "8 bits" in line.name:
            assert line.limit_kilobytes is not None
            assert line.kilobytes <= line.limit_kilobytes, line
        assert line.holds


@pytest.mark.parametrize(
    ("name", "rows", "crops"), [("exports", 10, 1000), ("efficiency", 7, 1000), ("phone", 3, 1000)]
)
def test_records_are_of_many_crops(name, rows, crops):
    record = json.loads((PROJECT / "data" / "p3ch15" / f"{name}.json").read_text())
    assert record["crops"] >= crops
    assert record["nodules"] >= 50
    (lines,) = (value for value in record.values() if isinstance(value, list))
    assert len(lines) == rows
    if name == "exports":
        assert all(line["holds"] for line in lines)


def test_times_come_with_their_spread(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(evaluation.time, "perf_counter", lambda: clock[0])
    took = iter((50, 40, 3, 1, 2, 9, 2))

    def run(crop):
        clock[0] += next(took) / 1e3

    ms = evaluation.milliseconds(run, None, repeats=5)  # the first two are to warm up
    assert (ms.low, ms.median, ms.high) == pytest.approx((1, 2, 9))
    assert f"{Milliseconds(2.0, 1.04, 9.0):.1f}" == "2.0 (1.0-9.0)"
    assert f"{Milliseconds(2.0, 1.0, 9.0):8.0f}" == " 2 (1-9)"
    before = torch.get_num_threads()
    with on_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_what_is_compiled_computes_the_same_and_its_compiling_is_timed():
    row = compiled.measure("windowed", compiled.windowed, torch.linspace(-2000, 2000, 1001), repeats=3)
    assert row["off"] < 1e-6
    assert row["compile_s"] * 1e3 > row["compiled_ms"].high
    shades = compiled.windowed(torch.tensor([-2000.0, -1000.0, -300.0, 400.0, 900.0]))
    assert shades.tolist() == pytest.approx([0, 0, 0.5**0.5, 1, 1])


def code_of(text):
    """The text's lines without their indentation, and without empty ones."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def test_code_in_the_notebook_s_text_is_the_chapter_s():
    """C++ and the engines cannot be built in a cell; the excerpts shown are lines of the files, in their order."""
    (path,) = (PROJECT / "notebooks").glob("p3ch15_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    text = text[: text.index("## Exercises")]  # an exercise has code of its own
    chapter = PROJECT / "p3ch15"
    files = {"cpp": (chapter / "cpp").glob("*.cpp"), "python": (chapter / "serve").glob("*.py")}
    for kind, paths in files.items():
        sources = [code_of(file.read_text(encoding="utf-8")) for file in paths]
        excerpts = re.findall(rf"^```{kind}\n(.*?)^```", text, re.M | re.S)
        assert len(excerpts) >= 3
        for excerpt in excerpts:
            assert any(code_of(excerpt) in source for source in sources), excerpt


def test_a_line_that_breaks_its_word_says_so():
    good = dict(name="n", file="f", kilobytes=29.0, logits_off=0.5, auc_off=0.001, ms=None, is_exact=False)
    assert Line(**good, limit_kilobytes=30.0).holds
    assert not Line(**{**good, "is_exact": True}).holds
    assert not Line(**{**good, "auc_off": 0.02}).holds
    assert not Line(**{**good, "kilobytes": 31.0}, limit_kilobytes=30.0).holds
    assert (LOGITS_WITHIN, AUC_WITHIN, INT8_SHARE) == (1e-4, 0.01, 0.3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write", "ending"),
    [
        *((name, to_onnx, ".onnx") for name in ("segmentation", "generator")),
        *((name, to_traced, "-traced.pt") for name in ("segmentation", "generator")),
        *((name, to_scripted, "-scripted.pt") for name in ("segmentation", "generator")),
        ("generator", to_package, ".pt2"),  # compiling takes long; one of the two will do
    ],
)
def test_pictures_of_other_sizes_and_numbers(name, write, ending, tmp_path):
    if write is to_package and missing_tools():
        pytest.skip("needs a C++ compiler")
    network = network_named(name)
    path = write(network, tmp_path / f"{name}{ending}")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # one file, weights included
    run, model = open_export(path), network.build()
    low, high = (-1000, 1000) if name == "segmentation" else (-1, 1)
    for shape in ((1, 48, 72), (3, 32, 40)):
        count, *edges = shape
        batch = low + (high - low) * torch.rand(count, network.example(1).shape[1], *edges)
        with torch.inference_mode():
            wanted = model(batch)
        torch.testing.assert_close(run(batch)[0], wanted, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_onnx_says_what_goes_in_and_comes_out(tmp_path):
    import onnx

    graph = onnx.load(to_onnx(NETWORKS["classification"], tmp_path / "c.onnx")).graph
    assert [value.name for value in graph.input] == ["crops"]
    assert [value.name for value in graph.output] == ["logits", "probabilities"]
    first, *rest = graph.input[0].type.tensor_type.shape.dim
    assert first.dim_param == "batch"
    assert [dim.dim_value for dim in rest] == [1, 32, 48, 48]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated, and tracing warns: both are the point
def test_tracing_keeps_one_way_and_scripting_both(classifier, held_out):
    crops, _ = held_out
    probability = in_batches(classifier, crops).softmax(1)[:, 1]
    is_unsure = (probability > 0.05) & (probability < 0.95)
    assert 3 <= is_unsure.sum() <= 97
    sure = crops[~is_unsure][:3]
    mixed = torch.cat([crops[~is_unsure][:2], crops[is_unsure][:3]])
    model = FlipWhenUnsure(classifier).eval()
    with torch.no_grad():
        traced, scripted = torch.jit.trace(model, sure), torch.jit.script(model)
        assert torch.equal(traced(sure), model(sure))
        assert (traced(mixed) - model(mixed)).abs().max() > 1e-2  # wrong, and not a word about it
        for batch in (sure, mixed):
            torch.testing.assert_close(scripted(batch), model(batch), atol=1e-5, rtol=0)
        with pytest.raises(Exception, match="data-dependent"):
            torch.export.export(model, (sure,))
        program = torch.export.export(FlipWhenUnsureCond(classifier).eval(), (sure,)).module()
        torch.testing.assert_close(program(sure), model(sure), atol=1e-5, rtol=0)
        torch.testing.assert_close(program(mixed[:3]), model(mixed[:3]), atol=1e-5, rtol=0)
    # The second look changes what it should change, and nothing else.
    with torch.inference_mode():
        once, twice = classifier(mixed)[0], model(mixed)
        mirrored = classifier(mixed.flip(4))[0]
    assert torch.equal(twice[:2], once[:2])
    torch.testing.assert_close(twice[2:], (once[2:] + mirrored[2:]) / 2)


def test_pruning_zeroes_the_smallest_and_saves_only_when_zipped(classifier):
    before = {name: t.clone() for name, t in classifier.state_dict().items()}
    thin = pruned(classifier, 0.7)
    assert all(torch.equal(t, before[name]) for name, t in classifier.state_dict().items())
    assert set(thin.state_dict()) == set(before)
    names = [n for n, m in classifier.named_modules() if isinstance(m, torch.nn.Conv3d)]
    old = torch.cat([before[f"{n}.weight"].flatten() for n in names])
    new = torch.cat([thin.state_dict()[f"{n}.weight"].flatten() for n in names])
    assert (new == 0).double().mean().item() == pytest.approx(0.7, abs=1e-4)
    assert old[new == 0].abs().max() <= old[new != 0].abs().min()
    assert weights_bytes(thin) == weights_bytes(classifier)
    assert zipped_bytes(thin) < 0.6 * zipped_bytes(classifier)


def test_the_smaller_design_is_smaller_and_has_learnt_something(classifier, held_out):
    crops, is_nodule = held_out
    small = small_model()
    assert weights_bytes(small) < 0.3 * weights_bytes(classifier)
    assert area(in_batches(small, crops), is_nodule) > 0.8


def test_files_that_are_no_export_are_named(tmp_path):
    (tmp_path / "damaged.onnx").write_bytes(b"not a network")
    (tmp_path / "damaged.pt").write_bytes(b"not a network")
    (tmp_path / "model.xyz").write_bytes(b"")
    for name, words in (
        ("damaged.onnx", "damaged"),
        ("damaged.pt", "damaged"),
        ("model.xyz", "ends in none of"),
        ("missing.pt2", "there is no"),
    ):
        with pytest.raises(UserError, match=words):
            open_export(tmp_path / name)
    with pytest.raises(UserError, match="classification, segmentation, generator"):
        network_named("classifier")


@pytest.mark.command
def test_the_command_writes_a_network_and_refuses_a_wrong_name(tmp_path, monkeypatch):
    said = subprocess.run(
        [sys.executable, "-m", "p3ch15.export", "--network", "nonsense", "--out", str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 2
    assert said.stderr == (
        "error: there is no network 'nonsense'; choose one of classification, segmentation, generator\n"
    )
    monkeypatch.setattr(export, "WRITERS", {".onnx": to_onnx, "-traced.pt": to_traced})
    assert export.main(["--network", "segmentation", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"segmentation.onnx", "segmentation-traced.pt"}
