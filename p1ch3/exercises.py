"""Chapter 3's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import itertools
import math

import numpy as np
import torch
from einops import rearrange
from numpy.lib.stride_tricks import sliding_window_view

from p1ch3.dtypes import name_of
from p1ch3.storage import shares_storage
from util.exercises import (
    BUG,
    BUILD,
    EXPERIMENT,
    OPEN,
    PREDICT,
    Exercise,
    Picture,
    as_tensor,
    case,
    expect,
    predicted,
    same,
    shapes,
    smallest,
    tensors,
)

# ---------------------------------------------------------------- 3.1

whose_memory = Exercise(
    "3.1",
    title="Whose memory?",
    difficulty=1,
    minutes=10,
    kind=PREDICT,
    text="""
    `t = torch.arange(12).reshape(3, 4)`. Which of these expressions share their memory with `t`? Write
    `True` or `False` for each *before* you run anything. Then take two that surprised you and find out with
    `untyped_storage().data_ptr()`.
    """,
    stub="""
    shares_memory = {
        "t[1]": ...,
        "t[[1]]": ...,
        "t.t().contiguous()": ...,
        "t[:, ::2]": ...,
        "t.flatten()": ...,
        "t[:, 1:].reshape(9)": ...,
        "t[t >= 0]": ...,
        "t.unfold(1, 2, 1)": ...,
        "t.to(torch.int64)": ...,
        "t.squeeze()": ...,
    }
    """,
    hints=(
        "A view needs an offset and strides, and nothing else. Can those alone describe the result?",
        "Two pairs differ: an index and a list of indices; `t` flattened, and a part of `t` flattened.",
        "Slices, `unfold`, `squeeze` and flattening contiguous memory are views. Lists and masks as "
        "indices copy. `to` and `contiguous` copy only if there is something to change.",
    ),
    why="""
    `t[[1]]` and `t[t >= 0]` could be views here, but PyTorch decides by the kind of index and not by its
    values. The elements of `t[:, 1:]`, read row by row, have no single stride, since one in each row is left
    out: `reshape` has to copy them. `t` is int64 already, so `to` hands back `t` itself.
    """,
)


@whose_memory.check
def check_whose_memory(prediction):
    names = {"torch": torch, "t": torch.arange(12).reshape(3, 4)}
    truth = {key: shares_storage(eval(key, names), names["t"]) for key in whose_memory.stub_keys}
    predicted(prediction, truth)


whose_memory.solution("""
shares_memory = {
    "t[1]": True,
    "t[[1]]": False,
    "t.t().contiguous()": False,
    "t[:, ::2]": True,
    "t.flatten()": True,
    "t[:, 1:].reshape(9)": False,
    "t[t >= 0]": False,
    "t.unfold(1, 2, 1)": True,
    "t.to(torch.int64)": True,
    "t.squeeze()": True,
}
""")
_RIGHT = dict(zip(whose_memory.stub_keys, (1, 0, 0, 1, 1, 0, 0, 1, 1, 1)))
whose_memory.right(_RIGHT)
whose_memory.right({key: torch.tensor(bool(value)) for key, value in reversed(_RIGHT.items())})
whose_memory.wrong(dict.fromkeys(_RIGHT, True))
whose_memory.wrong({**_RIGHT, "t.to(torch.int64)": False})
whose_memory.wrong({**_RIGHT, "t[:, 1:].reshape(9)": True})
whose_memory.wrong({"t[1]": True})
whose_memory.wrong(list(_RIGHT.values()))

# ---------------------------------------------------------------- 3.2

address = Exercise(
    "3.2",
    title="The place of an element",
    difficulty=1,
    minutes=10,
    kind=BUILD,
    text="""
    The formula of section 3.8, for any number of axes: where in the storage is the element with this index?
    """,
    stub='''
    def address(index, stride, offset):
        """index and stride: tuples of the same length. Returns the place in the storage."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "What does one step along one axis cost?",
        "Start at the offset. Each axis adds its index times its stride.",
        "`zip(index, stride)` walks through both tuples together; `sum` adds up.",
    ),
    why="""
    Shape does not appear: it only says which indices are allowed. That is why a transpose, which swaps two
    strides, costs nothing.
    """,
)


@address.check
def check_address(answer):
    def holds(t, index):
        with case(index=index, stride=t.stride(), offset=t.storage_offset()):
            same(answer(index, t.stride(), t.storage_offset()), t[index], "the place")

    flat = torch.arange(500)
    views = [flat, flat[7:], flat[::3], flat.reshape(50, 10), flat.reshape(50, 10).t()[1:]]
    views += [
        flat.reshape(20, 25)[::3, 4::2],
        flat.reshape(5, 10, 10)[2:, 3:],
        flat.reshape(5, 4, 5, 5)[1:, 1:],
    ]
    for t in views:
        for index in sorted(np.ndindex(*(min(size, 3) for size in t.shape)), key=sum):
            holds(t, index)


@address.solution
def address_solution(index, stride, offset):
    return offset + sum(i * s for i, s in zip(index, stride))


@address.right
def _(index, stride, offset):
    return torch.dot(torch.tensor(index), torch.tensor(stride)) + offset


@address.right
def _(index, stride, offset):
    place = offset
    for axis in range(len(index)):
        place += index[axis] * stride[axis]
    return [place][0]


@address.right
def by_asking_a_view(index, stride, offset):
    return torch.arange(10**5).as_strided((20,) * len(index), stride, offset)[index]


@address.wrong
def forgets_the_offset(index, stride, offset):
    return sum(i * s for i, s in zip(index, stride))


@address.wrong
def counts_along_the_last_axis_only(index, stride, offset):
    return offset + index[-1]


@address.wrong
def for_two_axes_only(index, stride, offset):
    return offset + index[0] * stride[0] + (index[1] * stride[1] if len(index) > 1 else 0)


@address.wrong
def scales_the_offset(index, stride, offset):
    return offset * stride[-1] + sum(i * s for i, s in zip(index, stride))


@address.wrong
def knows_contiguous_tensors_of_the_chapter(index, stride, offset):
    return offset + sum(i * s for i, s in zip(index, (3, 1)[-len(index) :]))


# ---------------------------------------------------------------- 3.3

windows = Exercise(
    "3.3",
    title="All windows, no copy",
    difficulty=3,
    minutes=25,
    kind=BUILD,
    text="""
    All windows of `size` neighbours in a signal, one per row: `[a b c d]` with size 2 gives `[[a b] [b c]
    [c d]]`. No copy: the rows share elements in memory. The signal may itself be a view: a part of another
    one, or every second element of it. Convolutions (chapter 8) look at signals in just this way.
    """,
    stub='''
    def sliding_windows(signal, size):
        """signal: (N,), perhaps a view. Returns a (N - size + 1, size) view."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "A view is offset, size and strides. How far is it from one window to the next, and from one "
        "element to the next?",
        "Both distances are the same: the stride that the signal has. Two axes may have the same stride.",
        "`torch.as_strided` makes a view from size and strides. Leave its offset out and it keeps the "
        "signal's. There is also "
        "a method of tensors that does exactly this; its name starts with `unf`.",
    ),
    why="""
    Row and column step over the same elements, so both strides are the signal's own. A hard-coded 1 works
    until somebody hands over `signal[::2]`. `signal.unfold(0, size, 1)` makes the same view.
    """,
)


@windows.check
def check_windows(answer):
    def holds(signal, size, words):
        with case(words, signal=signal, size=size):
            got = answer(signal, size)
            want = [signal[start : start + size].tolist() for start in range(len(signal) - size + 1)]
            same(got, want, "the windows")
            expect(
                isinstance(got, torch.Tensor),
                "the values are right; return a tensor, so that it can be a view.",
            )
            expect(got.data_ptr() == signal.data_ptr(), "the values are right, but they are a copy.")

    for length in range(1, 8):
        for size in range(1, length + 1):
            base = torch.randperm(3 * length + 2).float()
            holds(base[:length].clone(), size, "a signal of its own")
            holds(base[2 : 2 + length], size, "a part of a longer signal")
            holds(base[1::2][:length], size, "every second element of a signal")


@windows.solution
def sliding_windows(signal, size):
    step = signal.stride(0)
    return signal.as_strided((len(signal) - size + 1, size), (step, step))


@windows.right
def _(signal, size):
    return signal.unfold(0, size, 1)


@windows.right
def _(signal, size):
    return torch.from_numpy(sliding_window_view(signal.numpy(), size, writeable=True))


@windows.wrong
def copies(signal, size):
    return torch.stack([signal[i : i + size] for i in range(len(signal) - size + 1)])


@windows.wrong
def hard_coded_strides(signal, size):
    return signal.as_strided((len(signal) - size + 1, size), (1, 1))


@windows.wrong
def columns_step_by_one(signal, size):
    return signal.as_strided((len(signal) - size + 1, size), (signal.stride(0), 1))


@windows.wrong
def hard_coded_offset(signal, size):
    step = signal.stride(0)
    return signal.as_strided((len(signal) - size + 1, size), (step, step), 0)


@windows.wrong
def windows_of_two(signal, size):
    return signal.unfold(0, 2, 1) if len(signal) > 1 else signal[:, None]


@windows.wrong
def windows_side_by_side(signal, size):
    return signal.unfold(0, size, size)


@windows.wrong
def one_window_short(signal, size):
    return signal.unfold(0, size, 1)[:-1]


# ---------------------------------------------------------------- 3.4

blend = Exercise(
    "3.4",
    title="Halfway between two pictures",
    difficulty=1,
    minutes=10,
    kind=BUG,
    text="""
    `blend` should give the picture halfway between two others: bytes in, bytes out, off by a half at most.
    On dark pictures it does; bright ones come out black. Try it on 200 and 100, find the bug, and mend it.
    """,
    stub='''
    def blend(a, b):
        """a, b: uint8 tensors of one shape. Returns their mean as uint8."""
        return (a + b) // 2
    ''',
    hints=(
        "What is `torch.tensor(200, dtype=torch.uint8) + torch.tensor(100, dtype=torch.uint8)`?",
        "The sum does not fit into eight bits, and nothing says so. Compute it in a type in which it fits.",
        "`a.int()` is a copy with 32 bits per number. Add, halve, and only then go back to `torch.uint8`.",
    ),
    why="""
    Integers wrap silently: 200 + 100 is 44 in eight bits. Halving first, `a // 2 + b // 2`, does not
    overflow, but loses a whole step where both are odd.
    """,
)


@blend.check
def check_blend(answer):
    def holds(a, b):
        before = a.clone(), b.clone()
        with case(a=a, b=b):
            got = answer(a, b)
            got = torch.from_numpy(got.copy()) if isinstance(got, np.ndarray) else got
            expect(
                isinstance(got, torch.Tensor) and got.dtype == torch.uint8, "return a tensor of torch.uint8."
            )
            expect(
                torch.equal(a, before[0]) and torch.equal(b, before[1]), "your function changed its input."
            )
            mean = (before[0].double() + before[1].double()) / 2
            expect(
                got.shape == mean.shape, f"the shape should be {tuple(mean.shape)}, not {tuple(got.shape)}."
            )
            off = (got.double() - mean).abs()
            place = tuple(torch.nonzero(off == off.max())[0].tolist())
            expect(
                off.max() <= 0.5,
                f"halfway lies {mean[place]:g}; you got {got[place]}.",
                Picture(before[0], mean, got),
            )

    values = (0, 1, 2, 3, 10, 11, 100, 127, 128, 200, 254, 255)
    for low, high in sorted(((x, y) for x in values for y in values), key=sum):
        holds(torch.tensor([low], dtype=torch.uint8), torch.tensor([high], dtype=torch.uint8))
    holds(*torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8))


@blend.solution
def blend_solution(a, b):
    return ((a.int() + b.int()) // 2).to(torch.uint8)


@blend.right
def _(a, b):
    return ((a.float() + b.float()) / 2).round().to(torch.uint8)


@blend.right
def _(a, b):
    return a // 2 + b // 2 + (a % 2 + b % 2) // 2


@blend.right
def _(a, b):
    return torch.stack([a, b]).double().mean(0).byte()


@blend.right
def _(a, b):
    return ((a.numpy().astype(int) + b.numpy()) // 2).astype(np.uint8)


@blend.right
def bit_by_bit(a, b):
    return (a & b) + ((a ^ b) >> 1)


@blend.wrong
def adds_half_of_the_difference(a, b):
    return a + (b - a) // 2


@blend.wrong
def halves_first(a, b):
    return a // 2 + b // 2


@blend.wrong
def stays_a_float(a, b):
    return (a.float() + b.float()) / 2


@blend.wrong
def converts_too_late(a, b):
    return ((a + b).int() // 2).to(torch.uint8)


@blend.wrong
def clips_the_sum(a, b):
    return (a.int() + b.int()).clamp(max=255).to(torch.uint8) // 2


@blend.wrong
def knows_only_200_and_100(a, b):
    return torch.full_like(a, 150)


@blend.wrong
def changes_its_input(a, b):
    a //= 2
    return a + b // 2


# ---------------------------------------------------------------- 3.5

luma = Exercise(
    "3.5",
    title="Grey, whatever the order",
    difficulty=2,
    minutes=15,
    kind=BUILD,
    text="""
    Grey pictures, whatever the order of the axes. `axes` names them in that order, such as
    `"height width channel"`.
    The weights of red, green and blue are those of section 3.4. A picture may be as wide as it has
    channels.
    """,
    stub='''
    def luma(image, axes):
        """image: three axes, in the order named by `axes`. Returns (height, width)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Which axis of the picture do the weights belong to? Its size cannot tell you: three may be the "
        "width.",
        "Bring the axes into one order first, then multiply by the weights and sum over the channels.",
        '`rearrange(image, f"{axes} -> height width channel") @ weights`, or `movedim` with '
        "the place of each name in `axes.split()`.",
    ),
    why="""
    Names make the order of axes somebody else's problem. Guessing the channel axis by its size works on all
    pictures except those that are three pixels wide.
    """,
)


@luma.check
def check_luma(answer):
    weights = torch.tensor([0.2126, 0.7152, 0.0722])
    for height, width in shapes(2, 4):
        for axes in map(" ".join, itertools.permutations(("channel", "height", "width"))):
            sizes = {"channel": 3, "height": height, "width": width}
            image = torch.randint(0, 5, [sizes[name] for name in axes.split()]).float()
            want = rearrange(image, f"{axes} -> height width channel") @ weights
            with case(f"axes = '{axes}', height {height} and width {width}", image=image):
                same(answer(image, axes), want, "the grey picture")


@luma.solution
def luma_solution(image, axes):
    return rearrange(image, f"{axes} -> height width channel") @ torch.tensor([0.2126, 0.7152, 0.0722])


@luma.right
def _(image, axes):
    names = axes.split()
    order = [names.index(name) for name in ("height", "width", "channel")]
    return (image.permute(order).numpy() * [0.2126, 0.7152, 0.0722]).sum(-1)


@luma.right
def _(image, axes):
    letters = "".join(name[0] for name in axes.split())
    return torch.einsum(f"{letters},c->hw", image, torch.tensor([0.2126, 0.7152, 0.0722]))


@luma.wrong
def channels_first_always(image, axes):
    return torch.einsum("chw,c->hw", image, torch.tensor([0.2126, 0.7152, 0.0722]))


@luma.wrong
def plain_mean(image, axes):
    return rearrange(image, f"{axes} -> channel height width").mean(0)


@luma.wrong
def guesses_by_size(image, axes):
    image = image.movedim(list(image.shape).index(3), -1)
    image = image.transpose(0, 1) if axes.startswith("width") else image
    return image @ torch.tensor([0.2126, 0.7152, 0.0722])


@luma.wrong
def forgets_that_width_may_come_first(image, axes):
    image = image.movedim(axes.split().index("channel"), -1)
    return image @ torch.tensor([0.2126, 0.7152, 0.0722])


@luma.wrong
def height_before_width_unless_both_come_first(image, axes):
    weights, names = torch.tensor([0.2126, 0.7152, 0.0722]), axes.split()
    grey = image.movedim(names.index("channel"), -1) @ weights
    return grey.T if names[0] == "width" and names[2] == "channel" else grey


@luma.wrong
def blue_first(image, axes):
    return rearrange(image, f"{axes} -> height width channel") @ torch.tensor([0.0722, 0.7152, 0.2126])


# ---------------------------------------------------------------- 3.6

first_missing = Exercise(
    "3.6",
    title="The first whole number that is missing",
    difficulty=2,
    minutes=20,
    kind=EXPERIMENT,
    text="""
    Floating-point types hold some whole numbers and skip others. Measure it: which is the smallest positive
    whole number that a type cannot hold? Your function gets a dtype and finds out by converting there and
    back; no tables. It will be asked about several types, `float32` among them, so counting one by one may
    take too long in plain Python.
    """,
    stub='''
    def first_missing(dtype):
        """Returns the smallest n >= 1 for which n, converted to dtype and back, is no longer n."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Convert a whole range at once: `n = torch.arange(1, 5000)`, and compare `n.to(dtype)` with `n`.",
        "The gaps double at powers of two. Where a gap of 2 begins, the power itself is held and the next "
        "number is not.",
        "So it is enough to try 2**k + 1 for k = 1, 2, 3, …",
    ),
    why="""
    A type with p bits of significand (the leading 1 included) counts without gaps up to 2**p, and 2**p + 1
    is the first it skips: 17 with 4 bits, 257 in `bfloat16`, 2049 in `float16`, 16,777,217 in `float32`. An
    epoch counter, an index or a label kept in a half will go wrong at a known place.
    """,
)


@first_missing.check
def check_first_missing(answer):
    digits = {
        torch.float8_e5m2: 3,
        torch.float8_e4m3fn: 4,
        torch.bfloat16: 8,
        torch.float16: 11,
        torch.float32: 24,
    }
    for dtype, bits in digits.items():
        with case(f"dtype = {name_of(dtype)}"):
            got = as_tensor(answer(dtype))
            expect(
                got.ndim == 0 and bool(got.isfinite()) and got == got.round(),
                f"the answer should be a whole number, not {got.tolist()}.",
            )
            n = int(got)
            expect(n >= 1, f"the answer should be positive, not {n}.")
            expect(n < 2**62, f"{n:.3g} is missing, but a smaller number is missing, too.")
            back = torch.tensor(n).to(dtype).double().item()
            expect(back != n, f"{n} is held exactly.")
            expect(n == 2**bits + 1, f"{n} is missing, but a smaller number is missing, too.")


@first_missing.solution
def first_missing_solution(dtype):
    for k in range(1, 60):
        n = torch.tensor(2**k + 1)
        if n.to(dtype).to(torch.int64) != n:
            return n.item()


@first_missing.right
def _(dtype):
    start, many = 1, 2**22
    while True:
        n = torch.arange(start, start + many)
        missing = n.to(dtype).to(torch.float64) != n
        if missing.any():
            return n[missing][0]
        start += many


@first_missing.right
def _(dtype):
    return int(2 / torch.finfo(dtype).eps) + 1


@first_missing.wrong
def from_the_chapter(dtype):
    return 2049


@first_missing.wrong
def the_last_that_is_held(dtype):
    return int(2 / torch.finfo(dtype).eps)


@first_missing.wrong
def the_largest_number(dtype):
    return torch.finfo(dtype).max


@first_missing.wrong
def infinity(dtype):
    return math.inf


@first_missing.wrong
def far_too_large(dtype):
    return 10**30


@first_missing.wrong
def looks_at_even_numbers(dtype):
    return int(4 / torch.finfo(dtype).eps) + 2


@first_missing.wrong
def stops_at_five_thousand(dtype):
    n = torch.arange(1, 5000)
    missing = n.to(dtype).to(torch.int64) != n
    return n[missing][0] if missing.any() else 5000


# ---------------------------------------------------------------- 3.7

most_compact = Exercise(
    "3.7",
    title="The same numbers in the fewest bytes",
    difficulty=2,
    minutes=25,
    kind=OPEN,
    text="""
    Return the tensor in a dtype that holds every value *exactly* with as few bytes per element as possible.
    There is no single right way to decide, and often more than one type of the same size will do. (Leave out
    `float8_e8m0fnu`, which holds powers of two and nothing else.)
    """,
    stub='''
    def smallest_dtype(values):
        """values: float or integer tensor. Returns an equal tensor of the most compact dtype."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Convert, convert back, compare.",
        "Sort the types by bytes and take the first that survives. Which types have one byte? There are "
        "more than two.",
        "One byte: `uint8`, `int8`, `float8_e4m3fn`, `float8_e5m2`. Two: `int16`, `uint16`, `float16`, "
        "`bfloat16`. Two types of the same size hold "
        "different numbers: 1e30 fits `bfloat16` roughly, 2048.5 does not fit it at all.",
    ),
    why="""
    Converting there and back is the definition of "holds exactly", so there is nothing to know about the
    types except their size. Eight bits are enough more often than one thinks: 0.5 and 448 both fit
    `float8_e4m3fn`.
    """,
)
_BY_SIZE = (
    *(torch.uint8, torch.int8, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int16, torch.uint16, torch.float16, torch.bfloat16),
    *(torch.int32, torch.uint32, torch.float32),
)


def _survives(values, dtype):
    there = values.to(dtype)
    return torch.equal(there.double(), values.double()) and torch.equal(there.to(values.dtype), values)


@most_compact.check
def check_most_compact(answer):
    def holds(values):
        fewest = min((t.itemsize for t in _BY_SIZE if _survives(values, t)), default=values.element_size())
        with case(f"{values.tolist()} of {name_of(values.dtype)}"):
            got = answer(values.clone())
            expect(isinstance(got, torch.Tensor), "return a tensor.")
            same(got.shape, values.shape, "the shape")
            back = got.to(values.dtype)
            expect(torch.equal(back, values), f"as {name_of(got.dtype)} and back it is {back.tolist()}.")
            size = got.element_size()
            expect(size <= fewest, f"{name_of(got.dtype)} takes {size} bytes per element; {fewest} will do.")

    singles = [
        0.0,
        1.0,
        -1.0,
        255.0,
        -128.0,
        256.0,
        448.0,
        0.5,
        0.75,
        -129.0,
        1.5e-5,
        2048.0,
        2049.0,
        40000.0,
    ]
    for value in [*singles, 65535.0, 65536.0, 2.0**100, 0.1, 1e30, -40000.0]:
        holds(torch.tensor([value]))
    for pair in ([0.0, 255.0], [-1.0, 127.0], [-1.0, 255.0], [0.5, 2048.0], [0.5, 2049.0], [0.1, 0.2]):
        holds(torch.tensor(pair))
    holds(torch.tensor([0.1], dtype=torch.float64))
    for integers in ([2**40, 1], [70000], [-70000, 2], [3 * 10**9]):
        holds(torch.tensor(integers))
    smallest(tensors((2,), -300, 300, torch.int64), holds, tries=40)


@most_compact.solution
def smallest_dtype(values):
    types = [torch.uint8, torch.int8, torch.float8_e4m3fn, torch.float8_e5m2]
    types += [
        torch.int16,
        torch.uint16,
        torch.float16,
        torch.bfloat16,
        torch.int32,
        torch.uint32,
        torch.float32,
    ]
    for dtype in types:
        there = values.to(dtype)
        if torch.equal(there.double(), values.double()) and torch.equal(there.to(values.dtype), values):
            return there
    return values


@most_compact.right
def _(values):
    kept = [values.to(dtype) for dtype in reversed(_BY_SIZE) if _survives(values, dtype)]
    return min([*kept, values], key=lambda t: t.element_size())


@most_compact.right
def _(values):
    every = {t for t in vars(torch).values() if isinstance(t, torch.dtype) and t in _BY_SIZE}
    every = sorted(every, key=lambda t: (t.itemsize, t.is_floating_point, str(t)))
    return next((values.to(dtype) for dtype in every if _survives(values, dtype)), values)


@most_compact.wrong
def as_it_came(values):
    return values


@most_compact.wrong
def always_a_half(values):
    return values.to(torch.float16)


@most_compact.wrong
def knows_no_eight_bit_floats(values):
    types = [t for t in _BY_SIZE if "float8" not in str(t)]
    return next((values.to(dtype) for dtype in types if _survives(values, dtype)), values)


@most_compact.wrong
def knows_no_bfloat16(values):
    types = [t for t in _BY_SIZE if t != torch.bfloat16]
    return next((values.to(dtype) for dtype in types if _survives(values, dtype)), values)


@most_compact.wrong
def by_range_alone(values):
    low, high = values.min(), values.max()
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        if torch.iinfo(dtype).min <= low and high <= torch.iinfo(dtype).max:
            return values.to(dtype)
    return values


# ---------------------------------------------------------------- 3.8

quantized_views = Exercise(
    "3.8",
    title="Quantized, sliced and joined",
    difficulty=3,
    minutes=60,
    kind=OPEN,
    text="""
    Teach `Quantized` of section 3.11 to be sliced without losing its codes, so that `quantized[3:5]` is
    quantized, too (a method `__getitem__` will do), and to be joined by `torch.cat`, whose first argument
    is a list. Print `operation` at the top of `__torch_function__` to see what arrives. Then give every row
    a scale of its own. How much does the product's error fall when one row of the weights is a hundred
    times larger than the others?
    """,
)
