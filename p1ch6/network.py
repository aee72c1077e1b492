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


def leave_one_out(make_model, epochs, lr=0.02, seed=0):
    """Training and validation loss when each reading is held out once: the mean of eleven trainings.

    epochs: a number, or several in rising order: one training, judged after each; then the answer is a list.
    seed: a number, or several; then the answer is a list with an entry for each. All models train side by side, as
    one batch of parameters, which takes hardly longer than one.
    """
    stops = [epochs] if isinstance(epochs, int) else list(epochs)
    seeds = [seed] if isinstance(seed, int) else list(seed)
    inputs, truth = column_readings()
    count = len(inputs)
    keep = ~torch.eye(count, dtype=torch.bool)
    train_x = torch.stack([inputs[row] for row in keep]).repeat(len(seeds), 1, 1)  # (seeds · 11, 10, 1)
    train_y = torch.stack([truth[row] for row in keep]).repeat(len(seeds), 1, 1)
    val_x, val_y = (part[:, None].repeat(len(seeds), 1, 1) for part in (inputs, truth))  # (seeds · 11, 1, 1)
    models = []
    for one in seeds:
        seed_everything(one)
        models += [make_model() for _ in range(count)]
    params, buffers = torch.func.stack_module_state(models)
    skeleton = make_model()

    def answers(params, buffers, x):
        return torch.func.functional_call(skeleton, (params, buffers), (x,))

    batched = torch.func.vmap(answers)
    optimizer = torch.optim.Adam(params.values(), lr=lr)
    scores = [[] for _ in seeds]
    for epoch in range(1, stops[-1] + 1):
        loss = ((batched(params, buffers, train_x) - train_y) ** 2).mean(dim=(1, 2))  # (seeds · 11,)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        if epoch in stops:
            with torch.no_grad():
                val = (batched(params, buffers, val_x) - val_y) ** 2
                trained = (batched(params, buffers, train_x) - train_y) ** 2
            for of_seed, t, v in zip(scores, trained.chunk(len(seeds)), val.chunk(len(seeds))):
                of_seed.append((t.mean().item(), v.mean().item()))
    scores = [of_seed[0] if isinstance(epochs, int) else of_seed for of_seed in scores]
    return scores[0] if isinstance(seed, int) else scores
