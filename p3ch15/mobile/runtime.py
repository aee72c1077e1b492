"""Runs ExecuTorch files on this machine, as a phone would (chapter 15, "Going mobile")."""

import contextlib
import importlib.util
import sys

import torch

import course
from p3ch15.chatter import native_chatter_hidden, quiet
from util.errors import UserError


def install_executorch():
    """Install ExecuTorch and torchao into this Python, once; nothing happens where they are.

    Where pip fails it says so, and all but section 15.5 goes on without.
    """
    if all(importlib.util.find_spec(name) for name in ("executorch", "torchao")):
        return
    if course.install_phone(sys.executable):
        importlib.invalidate_caches()
    else:
        print(
            "ExecuTorch could not be had; section 15.5 needs it: 'python course.py setup --phone', with a network"
        )


def require_executorch():
    """Raise a `UserError` that says what to install, unless ExecuTorch and torchao are there."""
    try:
        with quiet():
            import executorch.exir  # noqa: F401
            import torchao  # noqa: F401
    except ImportError as error:
        raise UserError("this needs ExecuTorch: run 'python course.py setup --phone'") from error


def open_pte(path):
    """A function that runs the `.pte` at `path`: a batch (N, ...) in, a list with one tensor out.

    The file itself takes one sample at a time, as an application on a phone would.
    """
    require_executorch()
    with quiet(), native_chatter_hidden():
        from executorch.runtime import Runtime

        program = Runtime.get().load_program(str(path))
        method = program.load_method("forward")
    hidden = [native_chatter_hidden()]  # for the first call only, which starts the threads

    def run(batch):
        with hidden.pop() if hidden else contextlib.nullcontext():
            # The outputs lie in memory that the next call overwrites: hence the clone.
            outputs = [method.execute([sample.contiguous()])[0].clone() for sample in batch.split(1)]
        return [torch.cat(outputs)]

    return run
