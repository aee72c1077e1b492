"""What the book's chapters take from `util.util`: patient coordinates, and loops that tell the time left."""

import importlib
import logging
import math
import sys
import time
from collections import namedtuple
from datetime import datetime, timedelta
from threading import RLock

import numpy as np
from tqdm import std
from tqdm.auto import tqdm

log = logging.getLogger(__name__)

# tqdm's own lock is shared between processes: a worker that is killed while it holds it would stop all others.
std.tqdm.set_lock(RLock())

IrcTuple = namedtuple("IrcTuple", ["index", "row", "col"])
XyzTuple = namedtuple("XyzTuple", ["x", "y", "z"])


def irc2xyz(coord_irc, origin_xyz, vxSize_xyz, direction_a) -> XyzTuple:
    """Voxel index (index, row, column; may be fractional) to patient coordinates in mm (chapter 10).

    direction_a: (3, 3); its columns point along the array's x, y and z axes.
    """
    steps_mm = np.asarray(coord_irc, dtype=float)[::-1] * np.asarray(vxSize_xyz, dtype=float)
    return XyzTuple(*(np.asarray(direction_a, dtype=float) @ steps_mm + np.asarray(origin_xyz)).tolist())


def xyz2irc(coord_xyz, origin_xyz, vxSize_xyz, direction_a) -> IrcTuple:
    """Patient coordinates in mm to the nearest voxel (index, row, column), as ints; may lie outside.

    The inverse of `irc2xyz`: subtract, then rotate back (the inverse matrix comes first), then divide.
    """
    offset_mm = np.asarray(coord_xyz, dtype=float) - np.asarray(origin_xyz, dtype=float)
    steps = np.linalg.solve(np.asarray(direction_a, dtype=float), offset_mm) / np.asarray(vxSize_xyz)
    # Half-way cases go up, as in ITK.
    return IrcTuple(*(math.floor(c + 0.5) for c in steps[::-1].tolist()))


def importstr(module_str, from_=None):
    """The module named "package.module", or what it calls `from_`; "package.module:name" says both.

    Raises `ImportError` where there is no such module or name.
    """
    if from_ is None and ":" in module_str:
        module_str, from_ = module_str.split(":", 1)
    module = importlib.import_module(module_str)
    if from_ is None:
        return module
    try:
        return getattr(module, from_)
    except AttributeError as error:
        raise ImportError(f"there is no '{from_}' in {module_str}") from error


def prhist(ary, prefix_str=None, **kwargs):
    """Print a histogram of `ary`, one line per bin: where it starts, how many, a bar of up to 40 signs.

    kwargs go to `numpy.histogram`, `bins=20` for example.
    """
    counts, edges = np.histogram(ary, **kwargs)
    longest = max(counts.max(), 1)
    for count, edge in zip(counts, edges):
        line = f"{prefix_str or ''}{edge:>12.5g} {count:>9} {'#' * math.ceil(40 * count / longest)}"
        print(line.rstrip())


def enumerateWithEstimate(
    iter, desc_str, start_ndx=0, print_ndx=4, backoff=None, iter_len=None, *, shown=None
):
    """`enumerate(iter)` that also says when it will be done (chapter 11).

    On a terminal it is a progress bar. The log (logger `util.util`, level INFO) gets a line after item
    `print_ndx`, then after `backoff` times as many, and so on; `backoff=None` chooses a factor by which
    some ten lines suffice. Every item is yielded; the clock starts after the first `start_ndx`, because
    these wait for the loader's workers. iter_len: how many items, where `len(iter)` does not say.
    `shown` forces the bar on or off.
    """
    if iter_len is None and hasattr(iter, "__len__"):
        iter_len = len(iter)
    if backoff is None:
        backoff = max(2.0, (iter_len or 1) ** 0.1)
    if shown is None:
        shown = sys.stderr.isatty()
    next_ndx = max(print_ndx, start_ndx + 1)
    width = len(str(iter_len or ""))
    started = time.monotonic()
    log.info("%s %s/%s, starting", desc_str, "-" * width, iter_len)
    bar = tqdm(
        total=iter_len, desc=desc_str, disable=not shown, leave=False, mininterval=0.2, dynamic_ncols=True
    )
    with bar:
        for index, item in enumerate(iter):
            yield index, item
            bar.update()
            if index + 1 == start_ndx:
                started = time.monotonic()
                bar.reset(iter_len)
                bar.initial = bar.n = start_ndx
            if index == next_ndx and iter_len:
                seconds = (time.monotonic() - started) / (index + 1 - start_ndx) * (iter_len - index - 1)
                done_at = datetime.now() + timedelta(seconds=seconds)
                left = timedelta(seconds=round(seconds))
                log.info(
                    "%s %*d/%d, done at %s, %s", desc_str, width, index, iter_len, f"{done_at:%H:%M:%S}", left
                )
                next_ndx = max(math.ceil(next_ndx * backoff), index + 1)
    log.info("%s %s/%s, done at %s", desc_str, "-" * width, iter_len, f"{datetime.now():%H:%M:%S}")
