"""Chapter 6: a network for the thermometer."""

import pytest
import torch
from torch import nn

from p1ch5.thermometer import best_line, loss_fn, model
from p1ch6.activations import GALLERY, values_and_gradient
from p1ch6.network import column_readings, leave_one_out, make_network, training_loop
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


@pytest.mark.parametrize("name", GALLERY)
def test_gradients_of_the_gallery_agree_with_differences(name):
    x = torch.linspace(-3, 3, 30).double()  # no corner of a function among them
    value, gradient = values_and_gradient(GALLERY[name], x)
    torch.testing.assert_close(value, GALLERY[name](x))
    step = 1e-6
    measured = (GALLERY[name](x + step) - GALLERY[name](x - step)) / (2 * step)
    torch.testing.assert_close(gradient, measured, rtol=1e-5, atol=1e-7)


@pytest.mark.lesson
def test_a_linear_layer_finds_chapter_5s_line():
    inputs, truth = column_readings()
    linear = nn.Linear(1, 1)
    training_loop(2000, torch.optim.Adam(linear.parameters(), lr=0.3), linear, nn.MSELoss(), (inputs, truth))
    w, b = best_line(inputs[:, 0], truth[:, 0])
    assert linear.weight.item() == pytest.approx(w.item(), abs=0.01)
    assert linear.bias.item() == pytest.approx(b.item(), abs=0.05)


@pytest.mark.lesson
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_network_fits_its_readings_better_than_any_line(seed):
    inputs, truth = column_readings()
    seed_everything(seed)
    network = make_network()
    history = training_loop(
        1500, torch.optim.Adam(network.parameters(), lr=0.03), network, nn.MSELoss(), (inputs, truth)
    )
    line = loss_fn(model(inputs[:, 0], *best_line(inputs[:, 0], truth[:, 0])), truth[:, 0]).item()
    assert history[-1][0] < 0.8 * line


@pytest.mark.lesson
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_but_trained_for_long_it_predicts_unseen_readings_worse(seed):
    line = leave_one_out(lambda: nn.Linear(1, 1), epochs=1000, lr=0.3, seed=seed)
    network = leave_one_out(make_network, epochs=1000, seed=seed)
    assert network[0] < line[0]
    assert network[1] > line[1]


def test_leaving_one_out_side_by_side_is_the_same_as_one_after_the_other():
    inputs, truth = column_readings()
    seed_everything(4)
    models = [nn.Linear(1, 1) for _ in inputs]
    trained, validated = [], []
    for out, linear in enumerate(models):
        rest = [row for row in range(len(inputs)) if row != out]
        optimizer = torch.optim.Adam(linear.parameters(), lr=0.1)
        training_loop(30, optimizer, linear, nn.MSELoss(), (inputs[rest], truth[rest]))
        with torch.no_grad():
            trained.append(nn.functional.mse_loss(linear(inputs[rest]), truth[rest]).item())
            validated.append(nn.functional.mse_loss(linear(inputs[[out]]), truth[[out]]).item())
    got = leave_one_out(lambda: nn.Linear(1, 1), epochs=30, lr=0.1, seed=4)
    assert got == pytest.approx((sum(trained) / 11, sum(validated) / 11), rel=1e-3)


def test_history_holds_the_losses_before_each_step():
    inputs, truth = column_readings()
    linear = nn.Linear(1, 1)
    before = nn.functional.mse_loss(linear(inputs), truth).item()
    optimizer = torch.optim.SGD(linear.parameters(), lr=1e-3)
    history = training_loop(3, optimizer, linear, nn.MSELoss(), (inputs[2:], truth[2:]), (inputs, truth))
    assert len(history) == 3
    assert history[0][1] == pytest.approx(before)
    assert history[0][0] > history[-1][0]
