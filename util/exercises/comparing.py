"""What checks are written with: lenient comparisons, words for the case at hand, and the smallest example."""

import contextlib
import contextvars
import itertools
import math
import random
import time

import numpy as np
import torch

from util.exercises.pictures import Picture
from util.paths import output_root


class Wrong(Exception):
    """What is wrong with an answer, in plain words, and perhaps a `Picture` of it."""

    def __init__(self, message: str, picture: Picture | None = None):
        super().__init__(message)
        self.picture = picture


def expect(condition, message: str, picture: Picture | None = None):
    """Raise `Wrong(message)` unless `condition` holds."""
    if not condition:
        raise Wrong(message, picture)


def shown(value) -> str:
    """`value` in a few characters: small tensors as nested lists, larger ones by their shape."""
    if isinstance(value, torch.Tensor | np.ndarray):
        size = value.numel() if isinstance(value, torch.Tensor) else value.size
        if size > 24:
            kind = "a tensor" if isinstance(value, torch.Tensor) else "an array"
            return f"{kind} of shape {tuple(value.shape)}"
        return shown(value.tolist())
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        return f"{float(value) + 0.0:.4g}"  # no -0
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    if type(value) is tuple:
        return "(" + ", ".join(map(shown, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{shown(key)}: {shown(item)}" for key, item in value.items()) + "}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


_CASE: contextvars.ContextVar = contextvars.ContextVar("case", default=None)


class _Case:
    def __init__(self, words, values):
        self._words = words
        # Copies: a careless answer may write into what it was given.
        self.values = {
            name: value.detach().clone() if isinstance(value, torch.Tensor) else value
            for name, value in values.items()
        }

    @property
    def words(self) -> str:
        parts = [self._words] if self._words else []
        parts += [f"{name} = {shown(value)}" for name, value in self.values.items()]
        return "For " + ", ".join(parts)

    @property
    def given(self):
        """What a picture shows as the input: the first value that has something to show."""
        for value in self.values.values():
            if isinstance(value, torch.Tensor | np.ndarray) and value.ndim >= 1:
                return value
        return None


@contextlib.contextmanager
def case(words: str = "", **values):
    """Name what is being tried. What goes wrong inside is then told as "For size = 3: …".

    with case(signal=signal, size=size):
        same(answer(signal, size), want)

    Values are shown in short, and the first tensor among them becomes the first panel of the picture.
    An error inside the reader's code is told with the case, too.
    """
    here = _Case(words, values)
    token = _CASE.set(here)
    try:
        yield here
    except Exception as error:
        if not hasattr(error, "case_words"):
            error.case_words = here.words
        raise
    finally:
        _CASE.reset(token)


def as_tensor(value, what: str = "your answer") -> torch.Tensor:
    """`value` as a float64 tensor on the CPU, from whatever carries numbers: tensors, arrays, lists, bools.

    Raises `Wrong` for anything else.
    """
    if value is None:
        raise Wrong(f"{_capital(what)} is None. Is a `return` missing?")
    if isinstance(value, list | tuple) and any(isinstance(v, torch.Tensor) for v in value):
        parts = [as_tensor(v, what) for v in value]
        if len({part.shape for part in parts}) > 1:
            raise Wrong(f"{_capital(what)} should be one tensor; it is a {type(value).__name__} of several.")
        return torch.stack(parts)
    try:
        if isinstance(value, torch.Tensor):
            tensor = value.detach().cpu()
            return (tensor.to_dense() if tensor.layout != torch.strided else tensor).double()
        return torch.as_tensor(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(
            f"{_capital(what)} should be a tensor of numbers (an array or a list will do); "
            f"it is {_a(type(value).__name__)}."
        ) from None


def parts(answer, count: int, what: str) -> tuple:
    """`answer` as `count` things, from a tuple, a list, an array or a tensor; `what` says what is wanted.

    Raises `Wrong` for anything else.
    """
    expect(answer is not None, "your answer is None. Is a `return` missing?")
    sized = isinstance(answer, tuple | list) or (
        isinstance(answer, torch.Tensor | np.ndarray) and answer.ndim > 0
    )
    expect(sized and len(answer) == count, what)
    return tuple(answer)


def same(got, want, what: str = "the answer", *, atol: float = 1e-5, rtol: float = 1e-4):
    """Raise `Wrong` unless `got` has the shape and, within the tolerance, the values of `want`.

    dtypes do not matter, nor whether it is a tensor, an array or a list. The message shows both, the
    picture the first tensor of the `case`, what it should be, and what it is.
    """
    want_tensor = as_tensor(want)
    got_tensor = as_tensor(got, what)
    given = _CASE.get().given if _CASE.get() else None
    picture = Picture(given, want_tensor, got_tensor) if want_tensor.ndim else None
    if got_tensor.shape != want_tensor.shape:
        raise Wrong(
            f"{what} should have the shape {tuple(want_tensor.shape)}; you got {tuple(got_tensor.shape)}.",
            picture,
        )
    off = ~torch.isclose(got_tensor, want_tensor, atol=atol, rtol=rtol, equal_nan=True)
    if not off.any():
        return
    if want_tensor.numel() <= 12:
        text = f"{what} should be {_exactly(want_tensor, got_tensor)}; you got "
        raise Wrong(text + f"{_exactly(got_tensor, want_tensor)}.", picture)
    place = tuple(torch.nonzero(off)[0].tolist())
    raise Wrong(
        f"{what} should be {shown(want_tensor[place].item())} at {list(place)}; you got "
        f"{shown(got_tensor[place].item())} ({int(off.sum())} of {off.numel()} values differ).",
        picture,
    )


def _exactly(tensor, other) -> str:
    """`tensor` in short, or with more digits where the short forms of both would look alike."""
    text = shown(tensor)
    return text if text != shown(other) else str(tensor.tolist())


def predicted(prediction, truth: dict):
    """Raise `Wrong` at the first entry of `prediction`, a dictionary, that did not come true.

    `truth` maps the same keys to what really happens. Numbers, shapes, lists and tensors are compared by
    value, a dtype also by its name. What would have been right is not told: running it tells.
    """
    expect(isinstance(prediction, dict), "Keep the dictionary, and replace each `...` by your prediction.")
    for key, value in truth.items():
        expect(key in prediction, f"There is no prediction for `{key}`.")
        said = prediction[key]
        expect(
            not _is_rounded(said, value),
            f"`{key}` is {shown(said)} only if one rounds. Give the number itself; a formula will do, such as 1 / 3.",
        )
        expect(_came_true(said, value), f"`{key}` is not {shown(said)}. Run it, look, and ask yourself why.")


def _is_rounded(said, value) -> bool:
    """Is `said` what `value` becomes with two or three digits, and not near enough to pass?"""
    try:
        said, value = float(said), float(value)
    except (TypeError, ValueError, RuntimeError):
        return False
    rounded = said in {float(f"{value:.{digits}g}") for digits in (2, 3)} | {round(value, 2), round(value, 3)}
    return rounded and said != 0 and not _came_true(said, value)


def _came_true(said, value) -> bool:
    if isinstance(value, str | torch.dtype) or isinstance(said, str):
        names = [str(v).replace("torch.", "").strip().lower() for v in (said, value)]
        return names[0] == names[1]
    try:
        same(said, value)
    except Wrong:
        return False
    return True


def shapes(dimensions: int, largest: int, smallest: int = 1) -> list[tuple[int, ...]]:
    """All shapes with `dimensions` axes of `smallest` to `largest`, those with the fewest elements first."""
    every = itertools.product(range(smallest, largest + 1), repeat=dimensions)
    return sorted(every, key=lambda shape: (math.prod(shape), shape))


def tensors(shape, low: int = -9, high: int = 9, dtype=torch.float32):
    """A hypothesis strategy for tensors of whole numbers, which are easy to read in a counterexample.

    `shape` is a tuple or a strategy for tuples.
    """
    from hypothesis import strategies as st

    def of(shape):
        size = math.prod(shape)
        numbers = st.lists(st.integers(low, high), min_size=size, max_size=size)
        return numbers.map(lambda values: torch.tensor(values, dtype=dtype).reshape(shape))

    return of(shape) if isinstance(shape, tuple) else shape.flatmap(of)


class _Stop(BaseException):
    """Leaves hypothesis at once."""


def smallest(strategy, holds, *, size=None, tries: int = 100, seconds: float = 5.0):
    """Try `holds(example)` on what `strategy` (hypothesis) draws; raise what the smallest example raises.

    `holds` raises `Wrong` (`expect`, `same`) where the answer fails; an error in the reader's code counts,
    too. hypothesis shrinks a failing example as far as it goes. With `size`, the failing example with the
    smallest `size(example)` of all that were tried is told. After `seconds`, the smallest so far.

    To go through examples in order of size, a plain loop is enough: the first that fails is the smallest.
    """
    import hypothesis
    from hypothesis.configuration import set_hypothesis_home_dir

    set_hypothesis_home_dir(output_root() / "hypothesis")  # it would leave a folder beside the notebook
    seed = random.getrandbits(32)
    until = time.monotonic() + seconds
    best = None  # (size, error) of the smallest failure so far

    def failure(example):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            holds(example)
        except Exception as error:
            return error
        return None

    def fails(example):
        nonlocal best
        if time.monotonic() > until:
            raise _Stop
        error = failure(example)
        if error is None:
            return False
        measure = size(example) if size else None
        if best is None or size is None or measure <= best[0]:
            best = measure, error
        if is_stub(error):
            raise _Stop
        return True

    settings = hypothesis.settings(
        max_examples=tries,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )
    try:
        found = hypothesis.find(strategy, fails, settings=settings, random=random.Random(seed))
        if size is None:
            best = None, failure(found) or best[1]
    except (hypothesis.errors.NoSuchExample, hypothesis.errors.Flaky, _Stop):
        pass
    if best is not None:
        raise best[1]


def is_stub(error: BaseException) -> bool:
    """Did the stub's own line raise this? PyTorch raises `NotImplementedError` for reasons of its own."""
    return isinstance(error, NotImplementedError) and error.args in ((), ("your turn",))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _a(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"
