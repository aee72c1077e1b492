"""Checks of chapter 3's exercises."""

import itertools

import torch

from p1ch3.dtypes import name_of
from p1ch3.storage import shares_storage
from util.exercises import exercise, expect


@exercise("3.1", hint="A slice may have a step: t[start:stop:step], in each dimension.")
def corners(answer):
    for shape in ((3, 4), (5, 5), (2, 7)):
        t = torch.rand(shape)
        got = answer(t)
        expect(isinstance(got, torch.Tensor), "Return a tensor.")
        expect(got.shape == (2, 2), f"Four corners make a tensor of shape (2, 2), not {tuple(got.shape)}.")
        wanted = [t[0, 0], t[0, -1], t[-1, 0], t[-1, -1]]
        expect(got.flatten().tolist() == [w.item() for w in wanted], f"Not the corners of a {shape} tensor.")
        expect(shares_storage(got, t), "The values are right, but they are a copy; make a view.")


@exercise("3.2", hint="One step along a dimension costs its stride; the first element lies at the offset.")
def address(answer):
    flat = torch.arange(500)
    cases = (
        flat.reshape(5, 10, 10)[2:, 3:],
        flat.reshape(50, 10).t()[1:],
        flat[7:],
        flat.reshape(20, 25)[::3, 4::2],
    )
    for t in cases:
        for index in itertools.islice(itertools.product(*map(range, t.shape)), 0, 60, 7):
            got = answer(index, t.stride(), t.storage_offset())
            expect(
                got == t[index].item(),
                f"Index {index}, stride {t.stride()}, offset {t.storage_offset()}: not {got}.",
            )


@exercise(
    "3.3",
    hint="Two strides may be the same. Look at Tensor.as_strided, or find the method that does just this.",
)
def sliding_windows(answer):
    for length, size in ((6, 3), (10, 4), (5, 1), (9, 9)):
        signal = torch.rand(length + 2)[2:]  # a view with an offset, as signals come
        got = answer(signal, size)
        expect(isinstance(got, torch.Tensor), "Return a tensor.")
        want = (length - size + 1, size)
        expect(
            got.shape == want, f"{length} values, windows of {size}: shape {want}, not {tuple(got.shape)}."
        )
        for row in range(want[0]):
            expect(torch.equal(got[row], signal[row : row + size]), f"Window {row} holds other values.")
        expect(shares_storage(got, signal), "Right values, but copied: a view needs no memory of its own.")


@exercise("3.4", hint="200 + 100 does not fit into eight bits. What could hold the sum?")
def blend(answer):
    a = torch.tensor([[0, 255, 200], [10, 11, 254]], dtype=torch.uint8)
    b = torch.tensor([[0, 255, 100], [20, 12, 255]], dtype=torch.uint8)
    before = a.clone(), b.clone()
    got = answer(a, b)
    expect(isinstance(got, torch.Tensor) and got.dtype == torch.uint8, "Return a tensor of torch.uint8.")
    expect(torch.equal(a, before[0]) and torch.equal(b, before[1]), "Your function changed its input.")
    far = (got.double() - (a.double() + b.double()) / 2).abs()
    place = tuple(divmod(far.argmax().item(), 3))
    expect(far.max() <= 0.5, f"Halfway between {a[place]} and {b[place]} is not {got[place]}.")


@exercise(
    "3.5",
    hint="Which axis of the picture do the weights belong to? einsum and rearrange both let you name it.",
)
def luma(answer):
    weights = torch.tensor([0.2126, 0.7152, 0.0722])
    for axes in ("channel height width", "height width channel", "height channel width"):
        sizes = {"channel": 3, "height": 4, "width": 3}
        names = axes.split()
        image = torch.rand([sizes[name] for name in names])
        got = answer(image, axes)
        expect(isinstance(got, torch.Tensor), "Return a tensor.")
        expect(got.shape == (4, 3), f"Axes '{axes}': height × width is (4, 3), not {tuple(got.shape)}.")
        right = torch.tensordot(image.movedim(names.index("channel"), -1), weights, 1)
        expect(torch.allclose(got, right, atol=1e-5), f"Axes '{axes}': the right shape, but other values.")


@exercise(
    "3.6",
    hint="Convert, convert back, compare. Some types hold whole numbers only, some repeat none of them.",
)
def smallest(answer):
    cases = [
        (torch.tensor([0.0, 1.0, 255.0]), 1),
        (torch.tensor([-1.0, 127.0]), 1),
        (torch.tensor([-129.0, 3.0]), 2),
        (torch.tensor([0.5, 2048.0]), 2),
        (torch.tensor([1e30, 1.0]), 4),
        (torch.tensor([0.1, 0.2]), 4),
        (torch.tensor([0.1], dtype=torch.float64), 8),
        (torch.tensor([2**40, 1]), 8),
    ]
    for values, most in cases:
        got = answer(values)
        expect(isinstance(got, torch.Tensor), "Return a tensor.")
        expect(got.shape == values.shape, f"The shape changed to {tuple(got.shape)}.")
        expect(
            torch.equal(got.to(values.dtype), values),
            f"{values.tolist()} as {name_of(got.dtype)} and back is {got.to(values.dtype).tolist()}.",
        )
        expect(
            got.element_size() <= most,
            f"{values.tolist()} fits in {most} byte(s); {name_of(got.dtype)} needs {got.element_size()}.",
        )
