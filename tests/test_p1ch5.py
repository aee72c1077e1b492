"""Chapter 5: a line fitted to a thermometer, by hand and by PyTorch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from p1ch5.landscape import loss_surface, path_of
from p1ch5.thermometer import (
    SCALE,
    best_line,
    grad_fn,
    loss_fn,
    model,
    readings,
    training_loop,
)

number = st.floats(-10, 10, width=32)


@given(st.lists(st.tuples(number, number), min_size=1, max_size=12), number, number)
def test_the_hand_made_gradient_equals_autograd(pairs, w, b):
    t_u, t_c = torch.tensor(pairs, dtype=torch.float64).T
    params = torch.tensor([w, b], dtype=torch.float64, requires_grad=True)
    loss_fn(model(t_u, *params), t_c).backward()
    got = grad_fn(t_u, t_c, model(t_u, *params.detach()), *params.detach())
    torch.testing.assert_close(got, params.grad, rtol=1e-6, atol=1e-6)


@given(st.lists(number, min_size=1, max_size=12))
def test_the_loss_is_the_mean_of_squares(errors):
    t_p = torch.tensor(errors)
    assert loss_fn(t_p, torch.zeros(len(errors))).item() == pytest.approx(
        np.mean(np.square(errors)), rel=1e-4
    )


def loss_after(params, t_u, t_c):
    return loss_fn(model(t_u, *params), t_c).item()


@pytest.mark.lesson
@pytest.mark.parametrize("start", [(1.0, 0.0), (-3.0, 20.0), (10.0, -40.0)])
def test_gradient_descent_reaches_the_books_line_from_anywhere(start):
    t_c, t_u = readings()
    params = training_loop(5000, 1e-2, torch.tensor(start), SCALE * t_u, t_c)
    assert params.tolist() == pytest.approx([5.3671, -17.3012], abs=1e-2)
    assert loss_after(params, SCALE * t_u, t_c) == pytest.approx(2.9276, abs=1e-4)


@pytest.mark.lesson
def test_a_rate_diverges_above_two_over_the_largest_curvature_and_not_below():
    t_c, t_u = readings()
    columns = torch.stack([t_u, torch.ones_like(t_u)], dim=1)
    limit = 2 / torch.linalg.eigvalsh(2 * columns.T @ columns / len(t_u)).max().item()
    start = torch.tensor([1.0, 0.0])
    before = loss_after(start, t_u, t_c)
    assert loss_after(training_loop(100, 1.05 * limit, start, t_u, t_c), t_u, t_c) > 100 * before
    assert loss_after(training_loop(100, 0.5 * limit, start, t_u, t_c), t_u, t_c) < before


@pytest.mark.lesson
@pytest.mark.parametrize("start", [(1.0, 0.0), (-3.0, 20.0), (10.0, -40.0)])
def test_ten_steps_do_on_normalized_inputs_what_five_thousand_do_on_scaled_ones(start):
    t_c, t_u = readings()
    t_us = (t_u - t_u.mean()) / t_u.std()
    params = training_loop(10, 0.5, torch.tensor(start), t_us, t_c)
    assert loss_after(params, t_us, t_c) == pytest.approx(2.9276, abs=2e-3)


@pytest.mark.lesson
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_every_optimizer_finds_the_same_line(name):
    t_c, t_u = readings()
    makers = {
        "SGD": lambda p: torch.optim.SGD(p, lr=3e-2, momentum=0.9),
        "Adam": lambda p: torch.optim.Adam(p, lr=0.3),
    }
    path = path_of(makers[name], SCALE * t_u, t_c, 2500)
    torch.testing.assert_close(path[-1], best_line(SCALE * t_u, t_c), rtol=1e-3, atol=1e-2)


def test_best_line_agrees_with_numpy():
    t_c, t_u = readings()
    np.testing.assert_allclose(best_line(t_u, t_c), np.polyfit(t_u, t_c, 1), rtol=1e-4)


def test_the_surface_is_the_loss_at_every_place():
    t_c, t_u = readings()
    w, b = torch.linspace(-1, 1, 4), torch.linspace(-5, 5, 3)
    surface = loss_surface(t_u, t_c, w, b)
    assert surface.shape == (3, 4)
    for row in range(3):
        for column in range(4):
            expected = loss_fn(model(t_u, w[column], b[row]), t_c)
            torch.testing.assert_close(surface[row, column], expected)


def test_a_path_starts_where_it_is_told_and_moves_downhill():
    t_c, t_u = readings()
    path = path_of(lambda p: torch.optim.SGD(p, lr=1e-2), SCALE * t_u, t_c, 50, start=(2.0, -3.0))
    assert path.shape == (51, 2)
    assert path[0].tolist() == [2.0, -3.0]
    losses = [loss_fn(model(SCALE * t_u, *place), t_c).item() for place in path]
    assert losses == sorted(losses, reverse=True)
