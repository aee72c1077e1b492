"""Solutions to chapter 5's exercises."""

import torch

from p1ch5.thermometer import loss_fn


def absolute_gradient(t_u, t_c, w, b):
    sign = torch.sign(w * t_u + b - t_c) / len(t_u)
    return torch.stack([(sign * t_u).sum(), sign.sum()])


def normalize(t_u):
    mean, std = t_u.mean(), t_u.std()

    def undo(w, b):
        return w / std, b - w * mean / std

    return (t_u - mean) / std, undo


def momentum_step(params, velocity, gradient, rate, momentum):
    velocity = momentum * velocity + gradient
    return params - rate * velocity, velocity


def split(t_u, t_c, held_out, generator):
    order = torch.randperm(len(t_u), generator=generator)
    val, train = order[:held_out], order[held_out:]
    return (t_u[train], t_c[train]), (t_u[val], t_c[val])


def train(params, t_u, t_c, steps, rate):
    for _ in range(steps):
        params.grad = None
        loss_fn(params[0] * t_u + params[1], t_c).backward()
        with torch.no_grad():
            params -= rate * params.grad
    return params


def fit_parabola(t_u, t_c):
    """Gradient descent on normalized columns, taken back to raw readings."""
    mean, std = t_u.mean(), t_u.std()
    x = (t_u - mean) / std
    params = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([params], lr=0.1)
    for _ in range(1500):
        optimizer.zero_grad()
        loss_fn(params[0] * x**2 + params[1] * x + params[2], t_c).backward()
        optimizer.step()
    a, b, c = params.detach()
    return a / std**2, b / std - 2 * a * mean / std**2, c - b * mean / std + a * mean**2 / std**2


SOLUTIONS = {
    "5.1": absolute_gradient,
    "5.2": normalize,
    "5.3": momentum_step,
    "5.4": split,
    "5.5": train,
    "5.6": fit_parabola,
}
