"""Chapter 3: places of elements, drawings of them, and dtypes."""

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from p1ch3.dtypes import dtype_rows
from p1ch3.storage import draw_storage, element_offsets, shares_storage, storage_values
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


def texts_of(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def colours_of(figure):
    """The fill of every drawn cell by the place written in it: {"@3": {fill, …}}, hatched cells left out."""
    (axis,) = figure.axes
    fills = {}
    for text in axis.texts:
        if text.get_text().startswith("@"):
            x, y = text.get_position()
            (cell,) = [
                patch
                for patch in axis.patches
                if patch.get_x() < x < patch.get_x() + 1
                and patch.get_y() < y < patch.get_y() + 1
                and patch.get_fill()
                and not patch.get_hatch()
            ] or [None]
            fills.setdefault(text.get_text(), set()).add(cell and cell.get_facecolor())
    return fills


def test_drawing_shows_every_value_and_place():
    points = torch.tensor([[40.0, 10.0], [50.0, 30.0], [20.0, 60.0]])
    said = texts_of(draw_storage(points, points.t(), names=["points", "turned"]))
    assert "turned: shape (2, 3), stride (1, 2), offset 0" in said
    for value in ("40", "10", "50", "30", "20", "60"):
        assert said.count(value) == 3  # in both tensors and in the storage
    assert [said.count(f"@{n}") for n in range(7)] == [3] * 6 + [0]
    assert "next in dimension 1: +2" in said
    plt.close("all")


def test_an_element_has_one_colour_wherever_it_is_drawn():
    points = torch.arange(6.0).reshape(3, 2)
    fills = colours_of(draw_storage(points, points.t()))
    assert all(len(places) == 1 for places in fills.values())
    assert len(set.union(*fills.values())) == 6
    # What is no part of the last tensor is hatched in the storage, and coloured only in the first.
    fills = colours_of(draw_storage(points, points[1]))
    assert [None in fills[f"@{n}"] for n in range(6)] == [True, True, False, False, True, True]
    plt.close("all")


def test_a_step_into_another_line_is_told():
    figure = draw_storage(torch.arange(24).reshape(2, 3, 4)[:, 1:])
    assert "next in dimension 0: +12, to @16" in texts_of(figure)
    plt.close(figure)


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
