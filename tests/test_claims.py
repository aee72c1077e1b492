"""What the notebooks' prose says is true of what their cells computed."""

import importlib

import nbformat
import pytest

from commands.notebooks import NOTEBOOKS, execute
from util.claims import Claim, faults_in_table, faults_printed, judge, judging_cell, plain
from util.paths import PROJECT

CHAPTERS = sorted(path.parent.name for path in PROJECT.glob("p*/claims.py"))
AT_LEAST = {"p3ch15": 20}


def table(chapter):
    return importlib.import_module(f"{chapter}.claims").CLAIMS


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_claim_stands_in_the_notebook(chapter):
    (path,) = NOTEBOOKS.glob(f"{chapter}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    assert faults_in_table(table(chapter), [c.source for c in cells if c.cell_type == "markdown"]) == []
    assert len(table(chapter)) >= AT_LEAST.get(chapter, 15)


@pytest.mark.notebook
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_claim_of_a_notebook_holds_and_its_near_misses_do_not(chapter, executed):
    assert faults_printed(executed(chapter).then) == []


FALLS = Claim("The loss falls below 3.", lambda v: v["loss"] < 3, [{"loss": 3.4}])


def test_markdown_marks_and_line_breaks_do_not_matter():
    cell = "> **The loss**\n> falls *below* `3`. See [chapter 5](p1ch5.ipynb) for `a_t` and _why_."
    assert plain(cell) == "The loss falls below 3. See chapter 5 for a_t and why."
    assert faults_in_table([FALLS], ["Something else.", cell]) == []


def test_a_table_is_told_what_is_wrong_with_it():
    short = Claim("Too few words.", lambda v: True, [{}])
    careless = Claim("A sentence without a near miss.", lambda v: True, [])
    faults = faults_in_table(
        [FALLS, FALLS, short, careless], ["The loss falls", "below 3.", "Too few words."]
    )
    kinds = [fault.partition(":")[0] for fault in faults]
    assert kinds == [
        "not in the notebook",
        "not in the notebook",
        "twice in the table",
        "too short to be a sentence",
        "not in the notebook",
        "no near miss",
    ]


def test_checks_are_judged_on_the_variables_and_on_the_near_misses():
    assert judge([FALLS], {"loss": 2.9}) == []
    assert judge([FALLS], {"loss": 3.1}) == ["does not hold: The loss falls below 3."]
    blind = Claim("Nothing could refute this.", lambda v: "loss" in v, [{"loss": 3.4}])
    assert judge([blind], {"loss": 2.9}) == [
        "holds all the same with {'loss': 3.4}: Nothing could refute this."
    ]
    typo = Claim("The near miss is misspelt.", lambda v: v["loss"] < 3, [{"los": 3.4}])
    assert "names los, which" in judge([typo], {"loss": 2.9})[0]
    broken = Claim("A check may stumble.", lambda v: v["losses"][0] < 3, [{"loss": 3.4}])
    assert [fault.partition(" (")[0] for fault in judge([broken], {"loss": 2.9})] == [
        "the check raises KeyError"
    ] * 2


@pytest.mark.notebook
def test_claims_are_judged_in_the_notebooks_kernel(tmp_path, monkeypatch):
    (tmp_path / "toy_claims.py").write_text(
        "from util.claims import Claim\n"
        "CLAIMS = [Claim('x is less than three', lambda v: v['x'] < 3, [{'x': 3}]),\n"
        "          Claim('x is even at last', lambda v: v['x'] % 2 == 0, [{'x': 5}])]\n"
    )
    code = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nx = 1"
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), tmp_path / "toy.ipynb", version=4
    )
    done = execute(tmp_path / "toy.ipynb", then=judging_cell("toy_claims"))
    assert [cell.source for cell in done.notebook.cells] == [code]
    assert faults_printed(done.then) == ["does not hold: x is even at last"]
    failed = execute(tmp_path / "toy.ipynb", then=judging_cell("no_such_claims"))
    assert "No module named 'no_such_claims'" in faults_printed(failed.then)[0]
