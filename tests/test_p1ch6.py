"""Chapter 6: a network for the thermometer."""

import pytest
import torch
from torch import nn

from p1ch5.thermometer import best_line, loss_fn, model
from p1ch6.network import column_readings, leave_one_out, make_network
from util.runtime import seed_everything


def test_the_network_has_the_books_shape():
    network = make_network()
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert shapes == {
        "hidden_linear.weight": (13, 1),
        "hidden_linear.bias": (13,),
        "output_linear.weight": (1, 13),
        "output_linear.bias": (1,),
    }
    assert network(torch.zeros(4, 1)).shape == (4, 1)


def train(model, epochs, lr, inputs, truth):
    """Chapter 6's loop with Adam and nothing to watch it; answers the last training loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(epochs):
        loss = nn.functional.mse_loss(model(inputs), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.lesson
def test_a_linear_layer_finds_chapter_5s_line():
    inputs, truth = column_readings()
    linear = nn.Linear(1, 1)
    train(linear, 2000, 0.3, inputs, truth)
    w, b = best_line(inputs[:, 0], truth[:, 0])
    assert linear.weight.item() == pytest.approx(w.item(), abs=0.01)
    assert linear.bias.item() == pytest.approx(b.item(), abs=0.05)


@pytest.mark.lesson
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_network_fits_its_readings_better_than_any_line(seed):
    inputs, truth = column_readings()
    seed_everything(seed)
    network = make_network()
    loss = train(network, 1500, 0.03, inputs, truth)
    line = loss_fn(model(inputs[:, 0], *best_line(inputs[:, 0], truth[:, 0])), truth[:, 0]).item()
    assert loss < 0.8 * line


@pytest.mark.lesson
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_but_trained_for_long_it_predicts_unseen_readings_worse(seed):
    line = leave_one_out(lambda: nn.Linear(1, 1), 1600, lr=0.3, seed=seed)
    (_, early), network = leave_one_out(make_network, [800, 1600], seed=seed)
    assert network[0] < line[0]
    assert network[1] > early
    assert network[1] > line[1]


def test_leaving_one_out_side_by_side_is_the_same_as_one_after_the_other():
    inputs, truth = column_readings()
    seed_everything(4)
    models = [nn.Linear(1, 1) for _ in inputs]
    trained, validated = [], []
    for out, linear in enumerate(models):
        rest = [row for row in range(len(inputs)) if row != out]
        train(linear, 30, 0.1, inputs[rest], truth[rest])
        with torch.no_grad():
            trained.append(nn.functional.mse_loss(linear(inputs[rest]), truth[rest]).item())
            validated.append(nn.functional.mse_loss(linear(inputs[[out]]), truth[[out]]).item())
    got = leave_one_out(lambda: nn.Linear(1, 1), epochs=30, lr=0.1, seed=4)
    assert got == pytest.approx((sum(trained) / 11, sum(validated) / 11), rel=1e-3)


def test_a_look_on_the_way_does_not_change_the_training():
    whole = leave_one_out(make_network, 30, seed=1)
    assert leave_one_out(make_network, [10, 20, 30], seed=1)[-1] == pytest.approx(whole, rel=1e-6)
    assert leave_one_out(make_network, 30, seed=(0, 1))[1] == pytest.approx(whole, rel=1e-5), (
        "seeds side by side"
    )
