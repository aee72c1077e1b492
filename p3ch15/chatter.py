"""Silence for what exporters and engines say about themselves, so that a notebook shows what it is about."""

import contextlib
import io
import logging
import os
import tempfile
import warnings


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


@contextlib.contextmanager
def native_chatter_hidden():
    """Hide what ExecuTorch's C++ prints about the processor, to Python's standard error or to the real one."""
    with tempfile.TemporaryFile() as sink, contextlib.redirect_stderr(io.StringIO()):
        saved = os.dup(2)
        try:
            os.dup2(sink.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
