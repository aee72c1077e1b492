"""Several processes that together see what one would (chapter 11): who is who, and a shared batch normalisation."""

import os

import torch
from torch import distributed, nn

from util.errors import UserError


def join_processes(batch_size, device):
    """(rank, number of processes, device) of this process; with `torchrun`, the others are met first.

    Raises `UserError` where a batch cannot be dealt out evenly.
    """
    # torchrun starts several processes and tells each its place in these variables.
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world_size == 1:
        return rank, world_size, device
    if batch_size % world_size:
        raise UserError(
            f"--batch-size {batch_size} does not split evenly; choose a multiple of the {world_size} processes"
        )
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return rank, world_size, device


def gathered(metrics_t, world_size):
    """The metrics (rows, samples) of all processes side by side; each may have seen another number of samples."""
    if world_size == 1:
        return metrics_t
    shares = [None] * world_size
    distributed.all_gather_object(shares, metrics_t)
    return torch.cat(shares, dim=1)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is summed over all processes, too."""

    @staticmethod
    def forward(_context, value):
        value = value.contiguous().clone()
        distributed.all_reduce(value)
        return value

    @staticmethod
    def backward(_context, gradient):
        gradient = gradient.contiguous().clone()
        distributed.all_reduce(gradient)
        return gradient


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the batches of all processes: mean and variance of the whole.

    Works on any device and backend (PyTorch's own `SyncBatchNorm` wants a GPU). (N, C, …) to the same
    shape. With one process, or in evaluation, it is ordinary batch normalisation.
    """

    def _check_input_dim(self, input):
        if input.dim() < 2:
            raise ValueError(f"expected (N, C, …), not {tuple(input.shape)}")

    def forward(self, input):
        if not (self.training and distributed.is_initialized() and distributed.get_world_size() > 1):
            return super().forward(input)
        values = input.float()
        rest = [axis for axis in range(values.dim()) if axis != 1]
        shape = [1, -1] + [1] * (values.dim() - 2)
        here = values.new_full((1,), values.numel() / values.shape[1])
        total = _SumOverProcesses.apply(torch.cat([values.sum(rest), here]))
        count = total[-1].detach()
        mean = total[:-1] / count  # (C,)
        centered = values - mean.view(shape)
        variance = _SumOverProcesses.apply(centered.square().sum(rest)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        out = centered * torch.rsqrt(variance + self.eps).view(shape)
        return (out * self.weight.view(shape) + self.bias.view(shape)).to(input.dtype)


def share_batch_norm(module):
    """`module` with every batch normalisation in it replaced by a shared one; parameters and names stay."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        shared = SharedBatchNorm(module.num_features, module.eps, module.momentum, module.affine)
        shared.to(module.weight.device)
        shared.load_state_dict(module.state_dict())
        return shared
    for name, child in module.named_children():
        setattr(module, name, share_batch_norm(child))
    return module
