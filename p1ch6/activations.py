"""Activation functions with their gradients, for looking at them side by side (chapter 6)."""

import torch
from torch import nn

GALLERY = {
    "Tanh": nn.Tanh(),
    "Sigmoid": nn.Sigmoid(),
    "Hardtanh": nn.Hardtanh(),
    "ReLU": nn.ReLU(),
    "LeakyReLU (0.1)": nn.LeakyReLU(0.1),
    "ELU": nn.ELU(),
    "Softplus": nn.Softplus(),
    "GELU": nn.GELU(),
    "SiLU": nn.SiLU(),
}


def values_and_gradient(function, x):
    """`function` at `x` (N,) and its derivative there, both (N,), by autograd."""
    x = x.detach().clone().requires_grad_()
    y = function(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    return y.detach(), gradient


def draw_gallery(axes, functions=GALLERY, reach=3.5):
    """One function per matplotlib axis, with its gradient dashed; axes that are left over are cleared."""
    from util.plotting import BLUE, ORANGE

    x = torch.linspace(-reach, reach, 281)
    axes = list(axes)
    for axis, (name, function) in zip(axes, functions.items()):
        y, gradient = values_and_gradient(function, x)
        axis.plot(x, y, color=BLUE, label="value")
        axis.plot(x, gradient, "--", color=ORANGE, label="gradient")
        axis.set(title=name, ylim=(-1.6, 2.6))
    for axis in axes[len(functions) :]:
        axis.set_axis_off()
    axes[0].legend(loc="upper left", fontsize=9)
