"""`check`, `hint` and `solution`: what a reader calls."""

import contextlib
import io
import random
import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from util.exercises import record
from util.exercises.comparing import Wrong, is_stub
from util.exercises.pictures import Picture, in_notebook
from util.exercises.source import Result, chapter_packages, find
from util.paths import PROJECT
from util.runtime import seed_everything

OURS = [PROJECT / name for name in (*chapter_packages(), "util", "commands")]
LIBRARIES = {Path(sysconfig.get_paths()[name]).resolve() for name in ("stdlib", "purelib", "platlib")}
SEED = 0  # what a reader's check draws does not change from one try to the next

_HINTS_GIVEN: dict = {}


@dataclass
class Verdict:
    """What a check found: the result, the words for it, and a picture where there is one to draw.

    `by_chance` says whether a random number was drawn on the way: if none was, another seed finds the same.
    """

    result: Result
    words: str
    picture: Picture | None = None
    by_chance: bool = False


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


def check(number: str, answer) -> Result:
    """Say whether `answer` solves exercise `number`: passed, not attempted yet, or what fails first.

    `answer` is what the stub names: a function, a class, a value. The stub as it was given, one that
    raises `NotImplementedError`, `None`, or anything with a `...` in it counts as not attempted. What was
    passed or tried is noted for `progress()`. Returns the `Result`, whose display stays empty in a
    notebook because the line is printed. Raises `KeyError` if there is no such exercise.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        verdict = judge(number, answer)
    lines = printed.getvalue().splitlines()
    if lines:
        print(*lines[:8], *([f"… and {len(lines) - 8} more lines"] if len(lines) > 8 else []), sep="\n")
    print(f"Exercise {number}: {verdict.words}")
    if verdict.picture is not None and in_notebook():
        verdict.picture.show()
    if verdict.result is not Result.NOT_ATTEMPTED:
        problem = record.note(number, passed=verdict.result is Result.PASSED)
        if problem:
            print(f"({problem})")
    return _Silent(verdict.result)


def judge(number: str, answer, seed: int = SEED, stub_counts: bool = True) -> Verdict:
    """What `check` finds, without printing or noting it.

    `seed` sets what the check draws; the caller's random numbers go on as if nothing had happened.
    `stub_counts=False` judges even the stub's own code, as the tests do with broken programs.
    """
    exercise = find(number)
    if _is_open(answer) or (stub_counts and exercise.is_untouched(answer)):
        return Verdict(Result.NOT_ATTEMPTED, "not attempted yet. Your turn!")
    with _randomness_of_its_own(seed):
        start = _random_states()
        verdict = _judged(exercise, answer)
        verdict.by_chance = _random_states() != start
    return verdict


def _judged(exercise, answer) -> Verdict:
    try:
        exercise.check_function(answer)
    except Wrong as wrong:
        return Verdict(Result.WRONG, f"not yet. {_told(wrong, str(wrong))}", wrong.picture)
    except Exception as error:
        if is_stub(error):
            return Verdict(Result.NOT_ATTEMPTED, "not attempted yet. Your turn!")
        said = f"your answer raised {type(error).__name__}{_first_line(error)}{_where(error)}."
        return Verdict(Result.WRONG, f"not yet. {_told(error, said)}")
    return Verdict(Result.PASSED, "passed. Well done!")


def _random_states():
    """Something that changes when Python, NumPy or PyTorch draws."""
    numpy = np.random.get_state()
    return random.getstate(), numpy[1].tobytes(), numpy[2:], torch.get_rng_state().numpy().tobytes()


def hint(number: str):
    """Print the next hint for exercise `number`: from a nudge to nearly all."""
    hints = find(number).hints
    given = _HINTS_GIVEN.get(number, 0)
    if given < len(hints):
        _HINTS_GIVEN[number] = given + 1
        print(f"Exercise {number}, hint {given + 1} of {len(hints)}: {hints[given]}")
    else:
        _HINTS_GIVEN[number] = 0
        print(f'Exercise {number}: no more hints. solution("{number}") shows an answer.')


def solution(number: str):
    """Show a right answer to exercise `number`, and why it is right."""
    exercise = find(number)
    code, why = exercise.solution_code, exercise.why
    if in_notebook():
        from IPython.display import Markdown, display

        display(Markdown(f"```python\n{code}\n```\n\n{why}"))
    else:
        print(code, *([why] if why else []), sep="\n\n")


def _is_open(answer) -> bool:
    """`None`, `...`, or something that holds a `...`."""
    if answer is None or answer is ...:
        return True
    if isinstance(answer, dict):
        answer = list(answer.values())
    return isinstance(answer, list | tuple | set) and any(_is_open(part) for part in answer)


def _told(error, said: str) -> str:
    """`said`, after the case in which it happened, as one or more sentences."""
    words = getattr(error, "case_words", None)
    return f"{words}: {said}" if words else said[:1].upper() + said[1:]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0].rstrip(".") if lines else ""
    return f": {text[:200]}" if text else ""


def _where(error: BaseException) -> str:
    """The reader's own line that failed: the innermost one outside the course and the libraries."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        inside = path.resolve() if path.is_absolute() else PROJECT / path
        if any(inside.is_relative_to(folder) for folder in [*OURS, *LIBRARIES]) or not frame.line:
            continue
        return f", in line {frame.lineno} of your code, `{frame.line}`"
    return ""


@contextlib.contextmanager
def _randomness_of_its_own(seed: int):
    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        seed_everything(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
