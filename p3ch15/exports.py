"""The course's networks outside Python (chapter 15, "Exporting models").

Four ways, each a function that writes one file, and `open_export`, which runs any of them:

* `to_onnx`      `.onnx`  an open format; runs in onnxruntime and many others
* `to_package`   `.pt2`   `torch.export` and AOTInductor: compiled code in an archive, from Python or C++
* `to_traced`    `.pt`    TorchScript, by tracing an example   (deprecated)
* `to_scripted`  `.pt`    TorchScript, by reading the source   (deprecated)

ExecuTorch's `.pte` is written by `p3ch15.mobile`.
"""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from p1ch2.pretrained import stripe_generator
from p2ch10.dsets import LunaDataset
from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p2ch12.metrics import roc_auc
from p2ch13.model import UNetWrapper
from util.errors import UserError
from util.files import atomic_path
from util.paths import PROJECT, shown

SHIPPED = PROJECT / "data" / "p2ch14"


@dataclass(frozen=True)
class Network:
    """What an exporter must know of a network.

    build() answers it with the shipped weights, in evaluation mode; example(n) an input of n samples.
    edges: which dimensions besides the batch may vary, always in multiples of 4.
    """

    name: str
    build: Callable[[], nn.Module]
    example: Callable[[int], torch.Tensor]
    input_name: str
    output_names: tuple[str, ...]
    edges: tuple[int, ...] = ()

    def dynamic_shapes(self):
        """The dimensions that may vary, as `torch.export` wants to be told (one entry per input)."""
        dims = {0: torch.export.Dim("batch", min=1, max=4096)}
        for place, name in zip(self.edges, ("height", "width")):
            dims[place] = 4 * torch.export.Dim(f"{name}_quarter", min=4, max=1024)
        return (dims,)


def _noise(low, high, *shape):
    """(*shape) uniform numbers, always the same."""
    return low + (high - low) * torch.rand(shape, generator=torch.Generator().manual_seed(15))


def _shipped(model, name):
    return load_weights(model, SHIPPED / f"{name}.safetensors").eval()


NETWORKS = {
    network.name: network
    for network in (
        Network(
            "classification",
            lambda: _shipped(LunaModel(), "classification"),
            lambda n: _noise(-1000, 1000, n, 1, 32, 48, 48),
            "crops",
            ("logits", "probabilities"),
        ),
        Network(
            "segmentation",
            lambda: _shipped(UNetWrapper(), "segmentation"),
            lambda n: _noise(-1000, 1000, n, 7, 64, 64),
            "slices",
            ("probabilities",),
            edges=(2, 3),
        ),
        Network(
            "generator",
            lambda: stripe_generator().eval(),
            lambda n: _noise(-1, 1, n, 3, 64, 64),
            "pictures",
            ("striped",),
            edges=(2, 3),
        ),
    )
}


def network_named(name) -> Network:
    """`NETWORKS[name]`, or a `UserError` that lists the names."""
    if name not in NETWORKS:
        raise UserError(f"there is no network {name!r}; choose one of {', '.join(NETWORKS)}")
    return NETWORKS[name]


@contextlib.contextmanager
def quiet():
    """Silence what exporters say about themselves: deprecations (said in the text), progress, missing GPUs."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        sink = io.StringIO()
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def to_onnx(network: Network, path, model=None) -> Path:
    """Write the network as ONNX, with a batch of any size, and have the file checked; returns the path."""
    import onnx

    model = model or network.build()
    with quiet(), atomic_path(path) as temporary:
        program = torch.onnx.export(
            model,
            (network.example(2),),
            dynamo=True,
            dynamic_shapes=network.dynamic_shapes(),
            input_names=[network.input_name],
            output_names=list(network.output_names),
            verbose=False,
        )
        program.save(temporary)
        onnx.checker.check_model(onnx.load(temporary), full_check=True)
    return Path(path)


def to_exported(network: Network, model=None, dtype=None) -> torch.export.ExportedProgram:
    """The network as a graph of tensor operations, with a batch of any size.

    dtype: compute in `torch.bfloat16`, say; input and output stay float32.
    """
    model = model or network.build()
    if dtype:
        model = InOtherType(model, dtype).eval()
    return torch.export.export(model, (network.example(2),), dynamic_shapes=network.dynamic_shapes())


def to_package(network: Network, path, model=None, dtype=None) -> Path:
    """Compile the network ahead of time (AOTInductor) into one archive; returns the path.

    Takes a C++ compiler and, for LunaModel, about ten seconds. The archive fits this kind of machine only.
    """
    program = to_exported(network, model, dtype)
    with quiet(), atomic_path(path) as temporary:
        # Inductor insists on the ending .pt2.
        built = temporary.with_suffix(".pt2")
        try:
            # The code around the kernels only calls them: optimizing it would double the time for nothing.
            options = {"aot_inductor.compile_wrapper_opt_level": "O0"}
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(built), inductor_configs=options
            )
            os.replace(built, temporary)
        finally:
            built.unlink(missing_ok=True)
    return Path(path)


def to_traced(network: Network, path, model=None) -> Path:
    """Record which operations one example runs through, as TorchScript; returns the path."""
    model = model or network.build()
    with quiet(), torch.no_grad(), atomic_path(path) as temporary:
        torch.jit.trace(model, network.example(2)).save(str(temporary))
    return Path(path)


def to_scripted(network: Network, path, model=None) -> Path:
    """Compile the source of `forward`, branches and loops included, to TorchScript; returns the path."""
    model = model or network.build()
    with quiet(), torch.no_grad(), atomic_path(path) as temporary:
        # Frozen: parameters become constants, so that a graph is left that can be optimized. It also
        # unrolls what TorchScript cannot run (a ModuleList walked in step with a list).
        torch.jit.freeze(torch.jit.script(model)).save(str(temporary))
    return Path(path)


class InOtherType(nn.Module):
    """`model` computing in `dtype`, fed and read in float32."""

    def __init__(self, model, dtype):
        super().__init__()
        self.model = model.to(dtype)
        self.dtype = dtype

    def forward(self, batch):
        outputs = self.model(batch.to(self.dtype))
        if isinstance(outputs, torch.Tensor):
            return outputs.float()
        return tuple(output.float() for output in outputs)


def open_export(path, threads=None) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    """A function that runs the exported file at `path`: a float32 batch in, a tuple of tensors out.

    threads: for onnxruntime, which has a thread pool of its own; default PyTorch's number.
    Raises `UserError` for a file that is missing, of an unknown kind or damaged.
    """
    path = Path(path)
    openers = {".onnx": _open_onnx, ".pt": _open_torchscript, ".pt2": _open_package, ".pte": _open_pte}
    if path.suffix not in openers:
        raise UserError(f"{path.name} ends in none of {', '.join(openers)}")
    if not path.is_file():
        raise UserError(f"there is no {shown(path)}; write it with python -m p3ch15.export")
    try:
        with quiet():
            run = openers[path.suffix](path, threads or torch.get_num_threads())
    except ImportError:
        raise
    except Exception as error:
        raise UserError(f"{path.name} cannot be opened, it may be damaged: write it again") from error

    def call(batch):
        with torch.inference_mode():
            outputs = run(batch)
        return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)

    return call


def _open_onnx(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: [torch.from_numpy(out) for out in session.run(None, {name: batch.numpy()})]


def _open_torchscript(path, _threads):
    return torch.jit.load(str(path), map_location="cpu").eval()


def _open_package(path, _threads):
    return torch._inductor.aoti_load_package(str(path))


def _open_pte(path, _threads):
    from p3ch15.mobile.pte import open_pte

    return open_pte(path)


def evaluation_crops(count=100, nodules=None, held_out=True):
    """(crops (count, 1, 32, 48, 48) HU, is nodule (count,) bool), ordered by scan.

    From scans that no network was trained on, or with held_out=False from the others. nodules: how many of
    them are nodules, default half; at most as many as there are.
    """
    split = LunaDataset(val_stride=5, isValSet_bool=held_out)
    nodules = min(count // 2 if nodules is None else nodules, len(split.pos_list))
    chosen = split.pos_list[:nodules] + split.negative_list[: count - nodules]
    chosen.sort(key=lambda info: info.series_uid)  # scan after scan: each is opened once
    items = LunaDataset(candidateInfo_list=chosen, sortby_str="series_uid").__getitems__(range(len(chosen)))
    return torch.stack([item[0] for item in items]), torch.stack([item[1] for item in items])[:, 1].bool()


def in_batches(run, inputs, size=32) -> torch.Tensor:
    """The first output of `run` on all `inputs`, a batch at a time."""
    with torch.inference_mode():
        outputs = [run(part) for part in inputs.split(size)]
    return torch.cat([out if isinstance(out, torch.Tensor) else out[0] for out in outputs])


def area(logits, is_nodule) -> float:
    """Area under the ROC curve of logits (N, 2) against is_nodule (N,)."""
    return roc_auc(torch.as_tensor(is_nodule), (logits[:, 1] - logits[:, 0]).double())
