"""Progress with the time that is left."""

import sys
from threading import RLock

from tqdm import std
from tqdm.auto import tqdm

# tqdm's own lock is shared between processes: a worker that is killed while it holds it would stop all others.
std.tqdm.set_lock(RLock())


def enumerateWithEstimate(iterable, desc_str, start_ndx=0, total=None, shown=None):
    """`enumerate(iterable)` that also shows a progress bar with the time left (chapter 11).

    `start_ndx` items are skipped by the estimate only: they are yielded like the others, but the
    clock starts after them, because the first batches wait for the loader's workers. `shown=False`
    silences the bar; by default it appears on a terminal and stays quiet where output is captured.
    """
    if total is None:
        total = len(iterable) if hasattr(iterable, "__len__") else None
    if shown is None:
        shown = sys.stderr.isatty()
    bar = tqdm(
        total=total, desc=desc_str, disable=not shown, leave=False, mininterval=0.2, dynamic_ncols=True
    )
    with bar:
        for index, item in enumerate(iterable):
            yield index, item
            bar.update()
            if shown and index + 1 == start_ndx:
                # Restarts the clock, so that the loader's warm-up does not count as speed.
                bar.reset(total)
                bar.initial = bar.n = start_ndx
