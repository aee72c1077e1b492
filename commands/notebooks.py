"""Execute notebooks from a clean kernel, and keep what is committed small and stable."""

import base64
import io
import itertools
import os
import sysconfig
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
from nbclient import NotebookClient
from traitlets.config import Config

from util.errors import main_guard
from util.files import atomic_path
from util.paths import PROJECT

NOTEBOOKS = PROJECT / "notebooks"
# What a notebook may take with all the processes it starts: it shall run on a laptop of 8 GB beside a browser.
MOST_BYTES = 3e9
SAMPLES_PER_SECOND = 20
LOOKS_PER_SEARCH = 4  # searching for subprocesses goes through all of the machine's


class Executed(NamedTuple):
    """What `execute` gives."""

    notebook: nbformat.NotebookNode  # with the outputs of this run
    seconds: float
    then: str  # what the code after the last cell printed, or the error it ended in
    peak_bytes: int  # the most memory that its kernel held at once, with all the kernel's subprocesses


def execute(path, timeout: float = 600, then: str = "") -> Executed:
    """Run every cell of the notebook at `path` in a fresh kernel, in the notebooks' folder.

    then: code to run in the same kernel after the last cell; it is no part of the notebook returned.
    Cells tagged `raises-exception` may fail; any other failure raises
    `nbclient.exceptions.CellExecutionError`.
    """
    notebook = nbformat.read(path, as_version=4)
    if then:
        notebook.cells.append(nbformat.v4.new_code_cell(then, metadata={"tags": ["raises-exception"]}))
    client = NotebookClient(
        notebook,
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        record_timing=False,
    )
    memory = PeakMemory()
    client.on_notebook_start = lambda notebook: memory.watch(client.km.provisioner.pid)
    start = time.perf_counter()
    try:
        client.execute(env=dict(os.environ, PYTHONPATH=str(PROJECT)))
    finally:
        memory.stop()
    seconds = time.perf_counter() - start
    printed = outputs_text(notebook.cells.pop()) if then else ""
    return Executed(notebook, seconds, printed, memory.peak_bytes)


class PeakMemory:
    """Watches a process from outside, and all that it starts: `peak_bytes` is the most they held at once.

    It looks 20 times a second, for new subprocesses five times, the same way on every system. What the
    operating system itself remembers of a process leaves its subprocesses out, or adds peaks of different moments.
    """

    def __init__(self):
        self.peak_bytes = 0
        self._end = threading.Event()
        self._thread = None

    def watch(self, pid: int):
        """Look at this process until it or the watch ends."""
        self._thread = threading.Thread(target=self._look, args=[pid], daemon=True)
        self._thread.start()

    def stop(self):
        self._end.set()
        if self._thread:
            self._thread.join()

    def _look(self, pid):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process = psutil.Process(pid)
            for look in itertools.count():
                if look % LOOKS_PER_SEARCH == 0:
                    descendants = process.children(recursive=True)
                self.peak_bytes = max(self.peak_bytes, memory_together(process, descendants))
                if self._end.wait(1 / SAMPLES_PER_SECOND):
                    return


def memory_together(process: psutil.Process, descendants: list[psutil.Process]) -> int:
    """Bytes in memory of a process and its descendants.

    A forked worker shares its parent's pages until one of them writes; so all of the process counts, and of its
    descendants what is theirs alone.
    """
    total = process.memory_info().rss
    for child in descendants:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended
            total += child.memory_full_info().uss
    return total


def outputs_text(cell) -> str:
    """All that a code cell printed or showed as text, and the errors it ended in."""
    parts = []
    for output in cell.get("outputs", []):
        parts.append(output.get("text", ""))
        parts.append(output.get("data", {}).get("text/plain", ""))
        if output.output_type == "error":
            parts.append(f"{output.ename}: {output.evalue}")
    return "".join(parts)


def without_places(traceback: list[str]) -> list[str]:
    """A traceback as Jupyter prints it, without where packages and course lie on this machine."""
    places = {
        f"{Path(place)}{os.sep}"
        for place in (PROJECT, *map(sysconfig.get_path, ("purelib", "platlib", "stdlib")))
    }
    for place in sorted(places, key=len, reverse=True):
        traceback = [line.replace(place, "") for line in traceback]
    return traceback


def refresh(path) -> Executed:
    """Execute the notebook at `path` and write it back with fresh outputs."""
    path = Path(path)
    done = execute(path)
    notebook = done.notebook
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for number, cell in enumerate(notebook.cells):
        # Stable ids keep the diff of a refreshed notebook small; exercises have ids of their own.
        if not cell.id.startswith("exercise"):
            cell.id = f"cell-{number:03d}"
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                output["traceback"] = without_places(output["traceback"])
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            if "image/png" in data:
                data["image/png"] = _smaller_png(data["image/png"])
                # For those who cannot see the figure; nbconvert and site builders read it here.
                if "alt" in cell.metadata:
                    told = output.metadata.get("image/png", {})  # such as the width to show it at
                    output.metadata["image/png"] = {**told, "alt": cell.metadata["alt"]}
    notebook.metadata.pop("widgets", None)
    with atomic_path(path) as temporary:
        temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return done


def _smaller_png(encoded: str) -> str:
    """The same picture with a palette of 256 colours: a third of the bytes, hardly a visible change."""
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    buffer = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    smaller = base64.b64encode(buffer.getvalue()).decode()
    return smaller if len(smaller) < len(encoded) else encoded


def main(arguments=None):
    """`python course.py notebooks [p1ch3 …]`: execute and write back all notebooks, or those named."""
    import sys

    from commands import minutes, where_is

    names = sys.argv[1:] if arguments is None else arguments
    total = 0.0
    for path in sorted(NOTEBOOKS.glob("p*.ipynb")):
        if names and not any(path.name.startswith(name + "_") or path.name == name for name in names):
            continue
        done = refresh(path)
        total += done.seconds
        size = f"{path.stat().st_size / 1000:6.0f} KB"
        memory = f"{done.peak_bytes / 1e9:5.2f} GB of memory"
        excess = "" if done.peak_bytes <= MOST_BYTES else f", more than {MOST_BYTES / 1e9:.0f}"
        print(f"{path.name:60} {done.seconds:6.1f} s  {size}  {memory}{excess}", flush=True)
    where_is.write()
    minutes.write()
    print(f"{'all':60} {total:6.1f} s")


if __name__ == "__main__":
    main_guard(main)
