"""Typical wrong answers to chapter 6's exercises."""

import torch
from torch import nn

from p1ch6.network import make_network


class LayersInAList(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.layers = [nn.Linear(1, hidden), nn.Linear(hidden, 1)]

    def forward(self, x):
        return self.layers[1](torch.tanh(self.layers[0](x)))


class WithoutActivation(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.first, self.second = nn.Linear(1, hidden), nn.Linear(hidden, 1)

    def forward(self, x):
        return self.second(self.first(x))


def _collapse_without_the_first_bias(first, second):
    one = nn.Linear(first.in_features, second.out_features)
    with torch.no_grad():
        one.weight.copy_(second.weight @ first.weight)
        one.bias.copy_(second.bias)
    return one


def _step(low, high):
    model = make_network(1)
    with torch.no_grad():
        model.hidden_linear.weight[:], model.hidden_linear.bias[:] = 20.0, -20.0 * low
        model.output_linear.weight[:], model.output_linear.bias[:] = 0.5, 0.5
    return model


WRONG = {
    "6.1": [lambda x, w, b: x @ w + b, lambda x, w, b: torch.tanh(x * w + b)],
    "6.2": [
        lambda sizes: sum(n * m for n, m in zip(sizes, sizes[1:])),
        lambda sizes: sum(n * m + n for n, m in zip(sizes, sizes[1:])),
    ],
    "6.3": [_collapse_without_the_first_bias, lambda first, second: nn.Sequential(first, second)],
    "6.4": [LayersInAList, WithoutActivation],
    "6.5": [lambda low, high: make_network(2), _step],
    "6.6": [lambda inputs, truth: make_network(13), lambda inputs, truth: nn.Linear(1, 1)],
}
