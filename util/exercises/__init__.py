"""Exercises that answer back.

A notebook holds a stub and a call, `check("3.2", my_function)`. What stands behind it is one object in the
chapter's `exercises.py`, an `Exercise`: text, stub, hints, check, solution, and answers that must pass and
must not. The readers' side is four functions:

    check("3.2", f)      passed, not attempted, or what fails first, with the smallest example of it
    hint("3.2")          the next hint
    solution("3.2")      a right answer and why it is right
    progress()           what is passed, tried and open, over all chapters

`docs/exercises.md` says how to write one.
"""

from util.exercises.comparing import (
    Wrong,
    as_tensor,
    case,
    expect,
    parts,
    predicted,
    same,
    shapes,
    shown,
    smallest,
    tensors,
)
from util.exercises.judging import Verdict, check, hint, judge, solution
from util.exercises.pictures import Picture
from util.exercises.record import progress
from util.exercises.source import (
    BUG,
    BUILD,
    EXPERIMENT,
    OPEN,
    PREDICT,
    Exercise,
    Result,
    exercises_of,
)

__all__ = [
    "BUG",
    "BUILD",
    "EXPERIMENT",
    "OPEN",
    "PREDICT",
    "Exercise",
    "Picture",
    "Result",
    "Verdict",
    "Wrong",
    "as_tensor",
    "case",
    "check",
    "exercises_of",
    "expect",
    "hint",
    "judge",
    "parts",
    "predicted",
    "progress",
    "same",
    "shapes",
    "shown",
    "smallest",
    "solution",
    "tensors",
]
