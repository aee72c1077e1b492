"""Muon for convolutions, AdamW for the rest (chapter 11, "Initializing the model and optimizer").

An Adam step moves each weight by its own measure. Muon takes a layer's weights for what they are, a matrix, and
moves it alike along all its directions, so that what few examples show is learned as fast as what all show (Jordan
et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; Liu et al. 2025, "Muon is scalable for LLM
training", for steps as large as AdamW's). In a short training it helped the U-Net of `course.py run` and harmed a
classifier (data/p2ch14/LOG.md): try it, and measure.
"""

import torch
from torch import nn


class MuonWithAdamW:
    """`torch.optim.Muon` for the convolutions of `model` between its ends, `torch.optim.AdamW` for all else.

    To be used as any optimizer; one learning rate serves both. Muon takes matrices only, so each
    convolution's weights (out, in, …) are flattened to (out, in · …). What has one channel on either side
    is a vector and left to AdamW, and so are norms, biases and linear heads.
    """

    def __init__(self, model: nn.Module, lr, weight_decay=1e-4, fused=None):
        self.kernels, others = [], []
        for parameter in model.parameters():
            if parameter.requires_grad:
                is_kernel = parameter.dim() > 2 and min(parameter.shape[:2]) > 1
                (self.kernels if is_kernel else others).append(parameter)
        self.matrices = [nn.Parameter(p.detach().flatten(1).clone()) for p in self.kernels]
        # As groups, which may be empty: fine-tuning a head leaves Muon nothing.
        self.muon = torch.optim.Muon(
            [{"params": self.matrices}], lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self.adamw = torch.optim.AdamW([{"params": others}], lr=lr, weight_decay=weight_decay, fused=fused)

    @property
    def param_groups(self):
        """Both optimizers' groups; set `lr` in them as in any other's."""
        return self.muon.param_groups + self.adamw.param_groups

    @property
    def state(self):
        """Both optimizers' state, by parameter."""
        return {**self.muon.state, **self.adamw.state}

    def zero_grad(self, set_to_none=True):
        """Forget the gradients."""
        for kernel in self.kernels:
            kernel.grad = None
        self.adamw.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self):
        """One step of both."""
        for kernel, matrix in zip(self.kernels, self.matrices):
            matrix.copy_(kernel.flatten(1))
            matrix.grad = None if kernel.grad is None else kernel.grad.flatten(1)
        self.muon.step()
        self.adamw.step()
        for kernel, matrix in zip(self.kernels, self.matrices):
            kernel.copy_(matrix.view_as(kernel))

    def state_dict(self):
        """What `load_state_dict` takes to carry on."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state):
        """Carry on from a `state_dict`. Raises `KeyError` or `ValueError` for another optimizer's."""
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
