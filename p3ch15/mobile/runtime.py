"""Runs ExecuTorch files on this machine, as a phone would (chapter 15, "Going mobile")."""

import contextlib
import importlib.util
import subprocess
import sys

import torch

from p3ch15.chatter import native_chatter_hidden, quiet
from util.errors import UserError
from util.paths import PROJECT


def install_executorch():
    """Install ExecuTorch and torchao into this Python, once; nothing happens where they are.

    Raises `UserError` where pip fails.
    """
    if all(importlib.util.find_spec(name) for name in ("executorch", "torchao")):
        return
    print("installing ExecuTorch for section 15.5 (once, 220 MB) …", flush=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    if subprocess.run([*pip, "-r", str(PROJECT / "requirements-phone.lock")]).returncode:
        raise UserError(
            "installing ExecuTorch failed; check the network, then run 'python course.py setup --phone'"
        )
    importlib.invalidate_caches()


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
