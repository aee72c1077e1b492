"""Every solution passes its check, every typical wrong answer fails it, and stubs count as not attempted."""

import importlib

import pytest

from util.exercises import Result, Wrong, check, exercise, exercises_of, expect
from util.paths import PROJECT

CHAPTERS = sorted(p.parent.name for p in PROJECT.glob("p[123]ch*/exercises.py"))
NUMBERS = [(chapter, number) for chapter in CHAPTERS for number in exercises_of(chapter)]


@pytest.mark.parametrize(("chapter", "number"), NUMBERS, ids=lambda value: value)
def test_solution_passes(chapter, number):
    solutions = importlib.import_module(f"{chapter}.solutions").SOLUTIONS
    assert check(number, solutions[number]) == Result.PASSED


@pytest.mark.parametrize(("chapter", "number"), NUMBERS, ids=lambda value: value)
def test_wrong_answers_fail(chapter, number):
    wrong = importlib.import_module(f"tests.wrong_answers.{chapter}").WRONG[number]
    assert len(wrong) >= 2
    for answer in wrong:
        assert check(number, answer) == Result.WRONG


@pytest.mark.parametrize(("chapter", "number"), NUMBERS, ids=lambda value: value)
def test_stub_is_not_attempted(chapter, number):
    def stub(*_args, **_kwargs):
        raise NotImplementedError("your turn")

    assert check(number, stub) == Result.NOT_ATTEMPTED
    assert check(number, None) == Result.NOT_ATTEMPTED


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_chapter_has_at_least_four_exercises_and_no_stray_solution(chapter):
    numbers = exercises_of(chapter)
    assert len(numbers) >= 4
    assert sorted(importlib.import_module(f"{chapter}.solutions").SOLUTIONS) == sorted(numbers)


def test_check_names_the_failing_line_and_the_hint(capsys):
    @exercise("1.99", hint="divide by something else")
    def divides(answer):
        expect(answer(4) == 2, "half of 4 is 2")

    def reader(x):
        return x / 0

    assert check("1.99", reader) == Result.WRONG
    said = capsys.readouterr().out
    assert "ZeroDivisionError" in said
    assert "return x / 0" in said
    assert "divide by something else" in said
    assert check("1.99", lambda x: x / 2) == Result.PASSED


def test_unknown_exercise_is_named():
    with pytest.raises(KeyError, match="1.77"):
        check("1.77", print)


def test_expect_raises_wrong():
    with pytest.raises(Wrong, match="because"):
        expect(False, "because")
