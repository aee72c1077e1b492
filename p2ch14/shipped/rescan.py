"""The same crop by another scanner: for trainings that must not depend on one (chapter 14, "Preventing overfitting").

Reconstruction kernels blur more or less, thick slices blur along the patient, and scanners are not calibrated to the
unit. A network that has met only one blur takes another for a property of nodules.
"""

import torch
from torch.nn import functional as F

IN_PLANE, ALONG = 1.1, 1.0  # largest standard deviation of the added blur, voxels
REACH = 2  # voxels on each side of the filter
GAIN, OFFSET_HU = 0.05, 20.0  # standard deviations
SPARED = 0.4  # of the crops get no added blur


def rescanned(batch, generator=None):
    """A random variant of each crop of `batch` (N, 1, D, H, W) in HU: other blur, gain and offset; same shape.

    In a training under autocast HU are rounded to bfloat16's 8 bits, a few HU: a fraction of a scan's noise.
    """
    count = len(batch)
    dtype = {"dtype": batch.dtype, "device": batch.device}
    share = torch.rand(3, count, generator=generator, **dtype)
    is_blurred = share[2] >= SPARED
    result = batch.transpose(0, 1)  # (1, N, D, H, W): a group of its own for each crop
    for axis, deviation in ((2, ALONG * share[0]), (3, IN_PLANE * share[1]), (4, IN_PLANE * share[1])):
        kernel = _kernels(torch.where(is_blurred, deviation, torch.zeros_like(deviation)))  # (N, 2 REACH + 1)
        shape, pad = [count, 1, 1, 1, 1], [0] * 6
        shape[axis] = 2 * REACH + 1
        pad[2 * (4 - axis)] = pad[2 * (4 - axis) + 1] = REACH
        result = F.conv3d(F.pad(result, pad, mode="replicate"), kernel.view(shape), groups=count)
    gain, offset = torch.randn(2, count, generator=generator, **dtype)
    gain, offset = (v[:, None, None, None, None] for v in (1 + GAIN * gain, OFFSET_HU * offset))
    return (result.transpose(0, 1) + 1000) * gain - 1000 + offset


def _kernels(deviation):
    """Gaussian filters (N, 2 REACH + 1) that add up to one; of deviation 0, the one that changes nothing."""
    at = torch.arange(-REACH, REACH + 1, dtype=deviation.dtype, device=deviation.device)
    weight = torch.exp(-0.5 * (at[None] / deviation.clamp(min=0.05)[:, None]) ** 2)
    return weight / weight.sum(1, keepdim=True)
