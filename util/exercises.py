"""Exercises that answer back.

A notebook holds a stub and a call, `check("3.2", my_function)`. The chapter's `exercises.py` holds
the check behind it, registered with `@exercise`, and `solutions.py` a dictionary `SOLUTIONS` from
the exercise's number to a right answer. A check receives the reader's answer and either returns
(passed) or raises `Wrong` (`expect` does that in one line). Checks use fresh inputs where they can,
so that a constant cannot pass, and never show the right answer.
"""

import enum
import importlib
import traceback
from pathlib import Path

_REGISTRY: dict = {}


class Wrong(Exception):
    """What is wrong with an answer, in words that help without giving the answer away."""


class Result(enum.Enum):
    PASSED = "passed"
    NOT_ATTEMPTED = "not attempted"
    WRONG = "wrong"


def exercise(number: str, hint: str = ""):
    """Register the decorated function as the check of exercise `number`, such as "3.2"."""

    def register(function):
        _REGISTRY[number] = (function, hint)
        return function

    return register


def expect(condition, message: str):
    """Raise `Wrong(message)` unless `condition` holds."""
    if not condition:
        raise Wrong(message)


def _package(number: str) -> str:
    chapter = int(number.split(".")[0])
    if chapter <= 8:
        return f"p1ch{chapter}"
    return f"p2ch{chapter:02d}" if chapter <= 14 else f"p3ch{chapter}"


def exercises_of(package: str) -> list[str]:
    """Numbers of the exercises that chapter `package` ("p1ch3") registers, in order."""
    importlib.import_module(f"{package}.exercises")
    numbers = [number for number in _REGISTRY if _package(number) == package]
    return sorted(numbers, key=lambda number: [int(part) for part in number.split(".")])


def _where_it_failed(error: BaseException) -> str:
    """The reader's own line that failed: the last frame outside the course's checks."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name != "exercises.py"]
    return f" (at: {frames[-1].line})" if frames and frames[-1].line else ""


def check(number: str, answer) -> Result:
    """Say whether `answer` solves exercise `number`: passed, not attempted yet, or what is wrong.

    `answer` is usually a function; a stub that raises `NotImplementedError`, or an answer that is
    `None` or `...`, counts as not attempted. Returns the `Result`, whose display stays empty in a
    notebook because the line is printed.
    """
    try:
        importlib.import_module(f"{_package(number)}.exercises")
        function, hint = _REGISTRY[number]
    except (KeyError, ValueError, ModuleNotFoundError):
        raise KeyError(f"there is no exercise {number!r}") from None
    result, said = Result.NOT_ATTEMPTED, "not attempted yet. Your turn!"
    if answer is not None and answer is not ...:
        try:
            function(answer)
            result, said = Result.PASSED, "passed. Well done!"
        except NotImplementedError:
            pass
        except Wrong as wrong:
            result, said = Result.WRONG, f"not yet. {wrong}"
        except Exception as error:
            kind = type(error).__name__
            result, said = (
                Result.WRONG,
                f"not yet. Your answer raised {kind}: {error}{_where_it_failed(error)}",
            )
    if result is Result.WRONG and hint:
        said += f"\n  Hint: {hint}"
    print(f"Exercise {number}: {said}")
    return _Silent(result)


class _Silent:
    """Stands for a `Result` and compares equal to it, but shows nothing as a cell's last value."""

    def __init__(self, result: Result):
        self.result = result

    def __eq__(self, other):
        return self.result == getattr(other, "result", other)

    def __hash__(self):
        return hash(self.result)

    def __repr__(self):
        return repr(self.result)

    def _ipython_display_(self):
        pass
