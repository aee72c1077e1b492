"""The course's networks outside Python (chapter 15, "Exporting models"): one function for each file format.

Four ways, each a function that writes one file, and `open_export`, which runs any of them:

* `to_onnx`      `.onnx`  an open format; runs in onnxruntime and many others
* `to_package`   `.pt2`   `torch.export` and AOTInductor: compiled code in an archive, from Python or C++
* `to_traced`    `.pt`    TorchScript, by tracing an example   (deprecated)
* `to_scripted`  `.pt`    TorchScript, by reading the source   (deprecated)

ExecuTorch's `.pte` is written by `p3ch15.mobile`; `p3ch15.export` is the command that writes and measures all.
"""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from p3ch15.chatter import quiet
from p3ch15.mobile.runtime import open_pte
from p3ch15.networks import Network
from util.errors import UserError
from util.files import atomic_path
from util.paths import shown


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
            # More processes that compile would hold a PyTorch each.
            options = {"aot_inductor.compile_wrapper_opt_level": "O0", "compile_threads": 1}
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
    return open_pte(path)
