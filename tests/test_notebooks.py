"""Every notebook runs from a clean kernel, and what is committed is what a run gives."""

import os
import re
import sysconfig

import nbformat
import pytest

from commands import notebooks
from commands.notebooks import MOST_BYTES, NOTEBOOKS, execute, outputs_text, refresh
from tests.conftest import SUMMARY

PATHS = sorted(NOTEBOOKS.glob("p*.ipynb"))


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_committed_notebook_is_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size <= 800_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert cell.source.count("\n") < 40
        if "raises-exception" not in cell.metadata.get("tags", []):
            assert not any(output.output_type == "error" for output in cell.outputs), cell.source
        assert "Warning" not in outputs_text(cell), cell.source
        assert not re.search(r"(?<![\w./:])/(?:[\w.+-]+/){2,}[\w.+-]+", outputs_text(cell)), cell.source


@pytest.mark.notebook
@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_notebook_runs(path, record_property, executed):
    notebook, seconds, _, peak_bytes = executed(path.stem.partition("_")[0])
    record_property(SUMMARY, f"{path.stem}: {seconds:.1f} s, {peak_bytes / 1e9:.2f} GB")
    assert peak_bytes <= MOST_BYTES
    checks = [cell for cell in notebook.cells if re.search(r"^check\(", cell.source, re.M)]
    assert len(checks) >= 4
    for cell in checks:
        assert "not attempted yet" in outputs_text(cell), cell.source
    assert not any("Warning" in outputs_text(cell) for cell in notebook.cells)


def small_notebook(folder, *sources):
    path = folder / "p1ch0_small.ipynb"
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


# 200 MB in the kernel, given back; 300 MB in a subprocess; 200 MB that three forked workers see, too.
IN_THE_KERNEL = "import time\nheld = bytearray(b'x') * 200_000_000\ntime.sleep(0.3)\ndel held"
IN_A_SUBPROCESS = """
import subprocess, sys
code = "import time; held = bytearray(b'x') * 300_000_000; time.sleep(0.6)"
subprocess.run([sys.executable, "-c", code], check=True)
"""
FORKED = """
import os, time
held = bytearray(b'x') * 200_000_000
children = [os.fork() for _ in range(3)]
if 0 in children:
    time.sleep(0.6)
    os._exit(0)
for child in children:
    os.waitpid(child, 0)
"""


@pytest.mark.slow
def test_peak_memory_is_that_of_the_kernel_and_all_it_starts(tmp_path):
    def peak(*sources):
        return execute(small_notebook(tmp_path, *sources)).peak_bytes / 1e6

    empty = peak("1")
    assert 20 < empty < 200
    assert 190 < peak(IN_THE_KERNEL) - empty < 260
    assert 290 < peak(IN_A_SUBPROCESS) - empty < 360
    assert 290 < peak(IN_THE_KERNEL, IN_A_SUBPROCESS) - empty < 360, "at once, not one after the other"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_what_forked_workers_share_counts_once(tmp_path):
    empty, forked = (execute(small_notebook(tmp_path, source)).peak_bytes / 1e6 for source in ("1", FORKED))
    assert 190 < forked - empty < 300


def test_the_command_prints_time_size_and_memory(tmp_path, monkeypatch, capsys):
    path = small_notebook(tmp_path, "1")
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    for peak, excess in ((2.5e9, ""), (3.5e9, ", more than 3")):
        done = notebooks.Executed(nbformat.read(path, as_version=4), 12.34, "", int(peak))
        monkeypatch.setattr(notebooks, "execute", lambda path, done=done: done)
        notebooks.main([])
        line = capsys.readouterr().out.splitlines()[0]
        assert re.fullmatch(
            rf"p1ch0_small.ipynb +12.3 s +\d+ KB +{peak / 1e9:.2f} GB of memory{excess}", line
        )


@pytest.mark.slow
def test_a_traceback_does_not_say_where_things_lie_on_this_machine(tmp_path, monkeypatch):
    """Of a module of the course, one of a package, one of Python's own: the names stay, the folders go."""
    code = ["import torch", "from p2ch10.scans import load_scan", "import json", "{}"]
    asked = ("torch.nn.Linear(2, 2)(torch.ones(3))", "load_scan('no.mhd')", "json.loads('{')")
    cells = [
        nbformat.v4.new_code_cell("\n".join([*code[:3], line]), metadata={"tags": ["raises-exception"]})
        for line in asked
    ]
    path = tmp_path / "p9ch1_errors.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    refresh(path)
    text = path.read_text(encoding="utf-8")
    for place in (notebooks.PROJECT, sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")):
        assert str(place) not in text
    for name in ("torch/nn/modules/linear.py", "p2ch10/", "json/decoder.py"):
        assert name in text
