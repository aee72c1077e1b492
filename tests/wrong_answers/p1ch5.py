"""Typical wrong answers to chapter 5's exercises."""

import torch

from p1ch5.thermometer import best_line, loss_fn


def _sum_not_mean(t_u, t_c, w, b):
    sign = torch.sign(w * t_u + b - t_c)
    return torch.stack([(sign * t_u).sum(), sign.sum()])


def _squared(t_u, t_c, w, b):
    error = 2 * (w * t_u + b - t_c) / len(t_u)
    return torch.stack([(error * t_u).sum(), error.sum()])


def _undo_forgets_the_shift(t_u):
    return (t_u - t_u.mean()) / t_u.std(), lambda w, b: (w / t_u.std(), b)


def _fixed_split(t_u, t_c, held_out, generator):
    return (t_u[held_out:], t_c[held_out:]), (t_u[:held_out], t_c[:held_out])


def _two_shuffles(t_u, t_c, held_out, generator):
    one, two = (torch.randperm(len(t_u), generator=generator) for _ in range(2))
    return (t_u[one[held_out:]], t_c[two[held_out:]]), (t_u[one[:held_out]], t_c[two[:held_out]])


def _never_zeroed(params, t_u, t_c, steps, rate):
    for _ in range(steps):
        loss_fn(params[0] * t_u + params[1], t_c).backward()
        with torch.no_grad():
            params -= rate * params.grad
    return params


WRONG = {
    "5.1": [_sum_not_mean, _squared],
    "5.2": [lambda t_u: (0.1 * t_u, lambda w, b: (0.1 * w, b)), _undo_forgets_the_shift],
    "5.3": [
        lambda params, velocity, gradient, rate, momentum: (params - rate * gradient, gradient),
        lambda p, v, g, rate, momentum: (
            p - rate * (momentum * v + (1 - momentum) * g),
            momentum * v + (1 - momentum) * g,
        ),
    ],
    "5.4": [_fixed_split, _two_shuffles],
    "5.5": [_never_zeroed, lambda params, t_u, t_c, steps, rate: params],
    "5.6": [
        lambda t_u, t_c: (0.0, *best_line(t_u, t_c)),
        lambda t_u, t_c: (1.0, 0.0, 0.0),
    ],
}
