"""A thermometer without a unit, and a line fitted to it by hand (chapter 5)."""

import torch

# The same eleven readings on a thermometer in degrees Celsius and on the one whose scale nobody knows.
CELSIUS = (0.5, 14.0, 15.0, 28.0, 11.0, 8.0, 3.0, -4.0, 6.0, 13.0, 21.0)
UNKNOWN = (35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4)
# Brings the unknown readings to about the size of 1, so that both gradients have about the same size.
SCALE = 0.1


def readings():
    """Both columns as float32 tensors (11,): degrees Celsius, unknown units."""
    return torch.tensor(CELSIUS), torch.tensor(UNKNOWN)


def model(t_u, w, b):
    """The line: degrees Celsius that `w` and `b` predict for readings `t_u` (N,)."""
    return w * t_u + b


def loss_fn(t_p, t_c):
    """Mean squared error of predictions `t_p` (N,) against `t_c` (N,), in squared degrees."""
    return ((t_p - t_c) ** 2).mean()


def dloss_fn(t_p, t_c):
    """Derivative of the loss by each prediction, (N,)."""
    return 2 * (t_p - t_c) / t_p.size(0)


def grad_fn(t_u, t_c, t_p, w, b):
    """Gradient (2,) of the loss by `w` and `b`, by the chain rule: the line's slope in w is t_u, in b 1."""
    dloss_dtp = dloss_fn(t_p, t_c)
    return torch.stack([(dloss_dtp * t_u).sum(), dloss_dtp.sum()])


def training_loop(n_epochs, learning_rate, params, t_u, t_c):
    """Gradient descent by hand from `params` (2,); answers the parameters after `n_epochs` steps."""
    for _ in range(n_epochs):
        params = params - learning_rate * grad_fn(t_u, t_c, model(t_u, *params), *params)
    return params


def best_line(t_u, t_c):
    """The w and b of least squares in closed form, (2,): what every optimizer here looks for."""
    columns = torch.stack([t_u, torch.ones_like(t_u)], dim=1).double()
    return torch.linalg.lstsq(columns, t_c.double()[:, None]).solution[:, 0].float()
