"""Every notebook runs from a clean kernel, and what is committed is what a run gives."""

import re

import nbformat
import pytest

from commands.notebooks import NOTEBOOKS, outputs_text

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
def test_notebook_runs(path, capsys, executed):
    notebook, seconds, _ = executed(path.stem.partition("_")[0])
    with capsys.disabled():
        print(f"\n{path.stem}: {seconds:.1f} s", end=" ")
    checks = [cell for cell in notebook.cells if re.search(r"^check\(", cell.source, re.M)]
    assert len(checks) >= 4
    for cell in checks:
        assert "not attempted yet" in outputs_text(cell), cell.source
    assert not any("Warning" in outputs_text(cell) for cell in notebook.cells)
