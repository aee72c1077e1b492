"""The learning aids in docs/learn: quizzes whose answers are what the lines give, the glossary, "Where is …?"."""

import ast
import json
import re
import warnings

import pytest

from commands import minutes, where_is
from util.exercises.source import catalogue
from util.paths import PROJECT

LEARN = PROJECT / "docs" / "learn"
NOTEBOOKS = {path.name.partition("_")[0]: path for path in sorted((PROJECT / "notebooks").glob("p*.ipynb"))}
KINDS = {"Predict", "Choose", "Estimate"}


def questions(chapter):
    """(number, kind, question, answer) of a chapter's quiz."""
    text = (LEARN / f"{chapter}.md").read_text(encoding="utf-8").partition("\n## Quiz\n")[2]
    pattern = r"^### (\d+)\. (\w+)\n(.*?)<details><summary>Answer</summary>\n(.*?)\n</details>"
    return re.findall(pattern, text, flags=re.M | re.S)


def value_of(code):
    """The value of the last line of `code`, run by itself."""
    tree = ast.parse(code)
    last = ast.Expression(tree.body.pop().value)
    names = {"__name__": "question"}
    with warnings.catch_warnings():
        exec(compile(tree, "question", "exec"), names)
        return eval(compile(last, "question", "eval"), names)


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_a_quiz_has_ten_questions_of_three_kinds(chapter):
    asked = questions(chapter)
    assert [int(number) for number, *_ in asked] == list(range(1, 11))
    assert {kind for _, kind, *_ in asked} == KINDS
    assert len({question for *_, question, _ in asked}) == 10


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_answers_are_right_where_a_computer_can_tell(chapter):
    predictions = [asked for asked in questions(chapter) if asked[1] == "Predict"]
    assert len(predictions) >= 2
    for number, _, question, answer in predictions:
        (code,) = re.findall(r"^```python\n(.*?)^```", question, flags=re.M | re.S)
        told = re.match(r"\s*`(.+?)`\. \S", answer)
        assert told, f"question {number} begins its answer with no value"
        assert repr(value_of(code)) == told[1], f"question {number}"


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_a_choice_is_among_the_options_and_explained(chapter):
    for number, kind, question, answer in questions(chapter):
        if kind == "Choose":
            options = re.findall(r"^\* \*\*([A-C])\.\*\* ", question, flags=re.M)
            told = re.match(r"\s*\*\*([A-C])\.\*\* (.+)", answer)
            assert options == ["A", "B", "C"], f"question {number}"
            assert told, f"question {number}"
            assert told[1] in options, f"question {number}"
            assert len(told[2]) > 20, f"question {number}"
        assert len(answer.split()) >= 4, f"question {number} is not explained"


def glossary():
    """(term, meaning, file of the notebook) of each row."""
    text = (LEARN / "glossary.md").read_text(encoding="utf-8")
    return re.findall(r"^\| (.+?) \| (.+?) \| \[\d+\]\(../../notebooks/(.+?)\) \|$", text, flags=re.M)


def test_every_term_of_the_glossary_is_used_where_it_is_said_to_be_introduced():
    rows = glossary()
    assert len(rows) > 100
    terms = [term.strip("`").lower() for term, *_ in rows]
    assert terms == sorted(set(terms))
    strangers = []
    for term, (_, _, file) in zip(terms, rows):
        cells = json.loads((PROJECT / "notebooks" / file).read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells).lower()
        # The stem is enough: the glossary has "normalizing", the notebook perhaps "normalized".
        if re.sub(r"(ing|y|s)$", "", re.split("[ -]", term)[0]) not in text:
            strangers.append((term, file))
    assert not strangers


def test_minutes_are_those_of_the_notebooks():
    for page, text in minutes.pages():
        assert page.read_text(encoding="utf-8") == text, "run: python -m commands.minutes --write"


def test_minutes_count_words_lines_figures_and_what_exercises_say(tmp_path):
    figure = {"data": {"image/png": ""}}
    cells = [
        {"cell_type": "markdown", "source": ["# Chapter 3: a title, which counts for nothing\n"]},
        {"cell_type": "code", "source": ["import torch"], "outputs": []},
        {"cell_type": "markdown", "source": ["## 3.1 First\n", "word " * 300]},
        {"cell_type": "code", "source": ["x = 1\n", "\n"] * 24, "outputs": [figure, figure]},
        {
            "cell_type": "markdown",
            "source": [
                "## 3.2 Second\n",
                "### a part\n",
                "word " * 10,
                "\n```\n## no heading\n```\n## Exercises\n",
            ],
        },
        {"cell_type": "markdown", "source": ["## Summary\n", "word " * 300]},
    ]
    path = tmp_path / "p1ch3_title.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    told = minutes.sections(path)
    asked = sum(one["minutes"] for one in catalogue().values() if one["package"] == "p1ch3")
    assert told == {"3.1 First": 6, "3.2 Second": 1, "Exercises": asked}
    assert asked > 30


def test_where_is_says_what_the_notebooks_are():
    assert where_is.PAGE.read_text(encoding="utf-8") == where_is.page(), (
        "run: python -m commands.where_is --write"
    )


def test_where_is_finds_definitions_methods_and_first_bindings(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Chapter\n"]},
        {"cell_type": "markdown", "source": ["## 1.1 First\n", "```\n", "## no heading\n", "```\n"]},
        {"cell_type": "code", "execution_count": 1, "source": ["%magic\n", "a, (b, *c) = 1, (2, 3)"]},
        {
            "cell_type": "code",
            "execution_count": 2,
            "source": ["class A:\n", "    def f(self):\n", "        local = 1"],
        },
        {"cell_type": "markdown", "source": ["### Second\n"]},
        {"cell_type": "code", "execution_count": None, "source": ["never = 1"]},
        {"cell_type": "code", "execution_count": 3, "source": ["for a in b:\n", "    import torch.nn as nn"]},
    ]
    path = tmp_path / "p9ch1_x.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    defined, bound = where_is.places(path)
    assert defined == {"A": [("1.1 First", 2)], "f": [("1.1 First", 2)]}
    assert bound["a"] == [("1.1 First", 1), ("Second", 3)]
    assert set(bound) == {"a", "b", "c", "nn"}
