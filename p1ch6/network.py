"""The thermometer's network, its training, and its comparison with a line (chapter 6)."""

from collections import OrderedDict

import torch
from torch import nn

from p1ch5.thermometer import SCALE, readings
from util.runtime import seed_everything


def column_readings():
    """Scaled readings and degrees Celsius as columns (11, 1), as layers want them: samples, features."""
    t_c, t_u = readings()
    return SCALE * t_u[:, None], t_c[:, None]


def make_network(hidden=13) -> nn.Sequential:
    """One hidden layer of `hidden` tanh neurons between one number and one number."""
    return nn.Sequential(
        OrderedDict(
            hidden_linear=nn.Linear(1, hidden),
            hidden_activation=nn.Tanh(),
            output_linear=nn.Linear(hidden, 1),
        )
    )


def training_loop(n_epochs, optimizer, model, loss_fn, train, val=None):
    """Full-batch training; answers a list of (training loss, validation loss or NaN), one per epoch.

    train, val: pairs (inputs (N, 1), truth (N, 1)); losses are those before the epoch's step.
    """
    history = []
    for _ in range(n_epochs):
        loss = loss_fn(model(train[0]), train[1])
        val_loss = float("nan")
        if val is not None:
            with torch.no_grad():
                val_loss = loss_fn(model(val[0]), val[1]).item()
        history.append((loss.item(), val_loss))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return history


def leave_one_out(make_model, epochs=1000, lr=0.02, seed=0):
    """Mean training and validation loss when each reading is held out once (eleven trainings).

    All eleven models train side by side, as one batch of parameters, which takes as long as one.
    """
    inputs, truth = column_readings()
    count = len(inputs)
    keep = ~torch.eye(count, dtype=torch.bool)
    train_x = torch.stack([inputs[row] for row in keep])  # (11, 10, 1)
    train_y = torch.stack([truth[row] for row in keep])
    seed_everything(seed)
    models = [make_model() for _ in range(count)]
    params, buffers = torch.func.stack_module_state(models)
    skeleton = make_model()

    def answers(params, buffers, x):
        return torch.func.functional_call(skeleton, (params, buffers), (x,))

    batched = torch.func.vmap(answers)
    optimizer = torch.optim.Adam(params.values(), lr=lr)
    for _ in range(epochs):
        loss = ((batched(params, buffers, train_x) - train_y) ** 2).mean(dim=(1, 2))
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    with torch.no_grad():
        val = (batched(params, buffers, inputs[:, None]) - truth[:, None]) ** 2
        trained = ((batched(params, buffers, train_x) - train_y) ** 2).mean()
    return trained.item(), val.mean().item()
