"""Chapter 3: addresses of elements, drawings of them, dtypes, timings and the quantized tensor."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from p1ch3.devices import best_seconds, time_moves, time_products
from p1ch3.dtypes import dtype_rows
from p1ch3.quantized import QuantizedTensor
from p1ch3.storage import describe, draw_storage, element_offsets, shares_storage, storage_values
from util.errors import UserError


@st.composite
def views(draw):
    """A random view (permuted, sliced with steps) of a storage that counts 0, 1, 2, …"""
    shape = draw(st.lists(st.integers(1, 5), min_size=0, max_size=4))
    view = torch.arange(max(1, torch.Size(shape).numel())).reshape(shape)
    if shape:
        view = view.permute(draw(st.permutations(range(len(shape)))))
        for dim in range(len(shape)):
            start = draw(st.integers(0, view.shape[dim] - 1))
            step = draw(st.integers(1, 3))
            view = view[(slice(None),) * dim + (slice(start, None, step),)]
    return view


@given(views())
@settings(max_examples=60, deadline=None)
def test_offsets_are_where_the_elements_lie(view):
    # The storage counts from 0, so an element's value is its own address.
    assert torch.equal(element_offsets(view), view)
    assert torch.equal(storage_values(view)[element_offsets(view)], view)


def test_offsets_of_a_stretched_tensor_repeat():
    stretched = torch.arange(3)[:, None].expand(3, 4)
    assert torch.equal(element_offsets(stretched), stretched)


def test_storage_values_is_a_view_on_the_cpu():
    points = torch.ones(2, 3)
    storage_values(points.t())[5] = 7
    assert points[1, 2] == 7


@pytest.mark.parametrize(
    ("operation", "shared"),
    [
        (lambda t: t[1:], True),
        (lambda t: t.t(), True),
        (lambda t: t[[0, 1]], False),
        (lambda t: t.clone(), False),
        (lambda t: t.t().reshape(6), False),
    ],
)
def test_shares_storage(operation, shared):
    points = torch.rand(3, 2)
    assert shares_storage(operation(points), points) is shared


def test_describe_says_what_pytorch_says():
    view = torch.arange(12, dtype=torch.int16).reshape(3, 4).t()[1:]
    said = describe(view)
    assert "shape (3, 3)  stride (1, 4)  offset 1  int16 on cpu  not contiguous  storage of 12" in said


def texts_of(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_drawing_shows_every_value_and_address():
    import matplotlib.pyplot as plt

    points = torch.tensor([[40.0, 10.0], [50.0, 30.0], [20.0, 60.0]])
    said = texts_of(draw_storage(points, points.t(), names=["points", "turned"]))
    assert "turned: shape (2, 3), stride (1, 2), offset 0" in said
    for value in ("40", "10", "50", "30", "20", "60"):
        assert said.count(value) == 3  # in both tensors and in the storage
    assert [said.count(f"@{n}") for n in range(7)] == [3] * 6 + [0]
    assert "next in dimension 1: +2" in said
    plt.close("all")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3.0),
        torch.arange(5),
        torch.tensor([True, False]),
        torch.arange(24).reshape(2, 3, 4).transpose(0, 2),
        torch.zeros(1).expand(2, 3),
        torch.ones(2, 2, requires_grad=True),
        torch.arange(90).reshape(9, 10)[3:, ::3],
    ],
)
def test_any_small_tensor_can_be_drawn(tensor):
    import matplotlib.pyplot as plt

    figure = draw_storage(tensor)
    figure.canvas.draw()
    assert len(texts_of(figure)) > tensor.numel()
    plt.close(figure)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ((), "at least one"),
        ((torch.ones(2), torch.ones(2)), "different storages"),
        ((torch.ones(1, 1, 1, 2),), "3 dimensions"),
        ((torch.ones(97),), "97 elements"),
    ],
)
def test_what_cannot_be_drawn_is_said(tensors, words):
    with pytest.raises(UserError, match=words):
        draw_storage(*tensors)


def test_dtype_rows_tell_the_truth():
    for row in dtype_rows():
        dtype = getattr(torch, row["name"])
        assert torch.zeros(1, dtype=dtype).element_size() == row["bytes"]
        if dtype.is_floating_point and row["bytes"] > 1:
            one = torch.ones((), dtype=dtype)
            assert one + row["step"] > one
            assert one + row["step"] / 2.1 == one
            assert torch.isinf(torch.tensor(row["max"], dtype=dtype) * 2)


def test_timings_grow_with_the_work():
    device = torch.device("cpu")
    small, large = torch.ones(100), torch.ones(4_000_000)
    assert best_seconds(lambda: large + 1, device) > best_seconds(lambda: small + 1, device) > 0
    assert [row["megabytes"] for row in time_moves("cpu", (0.1, 1))] == [0.1, 1]
    assert all(row["ms"] > 0 and row["gflops"] > 0 for row in time_products("cpu", (8, 64)))


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_quantized_values_are_within_half_a_step(values):
    values = torch.tensor(values)
    quantized = QuantizedTensor.from_float(values)
    # Rounding of the zero point may cost another half step at the ends of the range.
    assert (quantized.dequantize() - values).abs().max() <= quantized.scale * 1.01 + 1e-6
    assert (QuantizedTensor.from_float(torch.cat([values, torch.zeros(1)])).dequantize()[-1]) == 0


@pytest.mark.filterwarnings("ignore")
def test_quantization_agrees_with_pytorch():
    values = torch.randn(200, generator=torch.Generator().manual_seed(1))
    quantized = QuantizedTensor.from_float(values)
    try:
        oracle = torch.quantize_per_tensor(values, quantized.scale, quantized.zero_point, torch.quint8)
    except (RuntimeError, AttributeError):
        pytest.skip("this PyTorch has no quantized dtypes any more")
    # Ties between two codes may be rounded either way.
    assert (quantized.codes.int() - oracle.int_repr().int()).abs().max() <= 1
    assert (quantized.codes == oracle.int_repr()).float().mean() > 0.98


def test_quantized_is_a_tensor_to_operations():
    quantized = QuantizedTensor.from_float(torch.tensor([[-1.0, 0.0], [0.5, 2.0]]))
    assert isinstance(quantized, torch.Tensor)
    assert quantized.shape == (2, 2)
    assert torch.equal(torch.relu(quantized), quantized.dequantize().relu())
    assert torch.equal(quantized @ torch.eye(2), quantized.dequantize())
    assert torch.equal(torch.cat([quantized, quantized]), quantized.dequantize().repeat(2, 1))
    copy = quantized.clone()
    assert isinstance(copy, QuantizedTensor)
    assert copy.codes.data_ptr() != quantized.codes.data_ptr()
    assert "zero_point=85" in repr(copy)
