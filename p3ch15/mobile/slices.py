"""LunaModel out of two-dimensional pieces (chapter 15, "Improving efficiency: model design").

XNNPACK, the library with which ExecuTorch computes on a phone's CPU, knows no three-dimensional
convolution. But a 3×3×3 convolution over a volume is a 3×3 convolution over its slices, if each slice
comes with its two neighbours as additional channels. So the same weights, in another order, compute the
same logits, and every step is one that phones are good at.
"""

import torch
from torch import nn


class SliceConv(nn.Module):
    """What `conv`, a padded 3×3×3 convolution, does to one volume given as slices.

    (D, in_channels, H, W) -> (D, out_channels, H, W)
    """

    def __init__(self, conv: nn.Conv3d):
        super().__init__()
        if conv.kernel_size != (3, 3, 3) or conv.padding != (1, 1, 1) or conv.stride != (1, 1, 1):
            raise ValueError(f"only 3×3×3 convolutions with padding 1 and stride 1, not {conv}")
        self.conv2d = nn.Conv2d(3 * conv.in_channels, conv.out_channels, kernel_size=3, padding=1)
        with torch.no_grad():
            # (out, in, 3, 3, 3) -> (out, 3 slices, in, 3, 3) -> (out, 3 * in, 3, 3)
            self.conv2d.weight.copy_(conv.weight.movedim(2, 1).flatten(1, 2))
            self.conv2d.bias.copy_(conv.bias)

    def forward(self, slices):
        # Zeros as a multiple of what is there: XNNPACK cannot pad quantized slices in this direction.
        beyond = slices[:1] * 0
        before = torch.cat([beyond, slices[:-1]])
        after = torch.cat([slices[1:], beyond])
        return self.conv2d(torch.cat([before, slices, after], dim=1))  # (D, 3 in, H, W) -> (D, out, H, W)


class SliceBlock(nn.Module):
    """`LunaBlock` for slices: (D, in, H, W) -> (D/2, out, H/2, W/2)"""

    def __init__(self, block):
        super().__init__()
        self.conv1 = SliceConv(block.conv1)
        self.conv2 = SliceConv(block.conv2)

    def forward(self, slices):
        out = self.conv1(slices).relu()
        out = self.conv2(out).relu()
        out = nn.functional.max_pool2d(out, 2)
        return torch.maximum(out[0::2], out[1::2])


class SliceLunaModel(nn.Module):
    """The same function as `model`, a `LunaModel` in evaluation mode, for one crop at a time.

    (1, 1, 32, 48, 48) HU -> (1, 2) logits. The batch norm, whose numbers no longer change, would be one
    multiplication and one addition; the multiplication goes into the first convolution's weights.
    """

    def __init__(self, model):
        super().__init__()
        norm = model.tail_batchnorm
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        self.blocks = nn.Sequential(
            *(SliceBlock(block) for block in (model.block1, model.block2, model.block3, model.block4))
        )
        with torch.no_grad():
            # scale * x + shift = scale * (x + shift / scale), and zero stays zero beyond the edges.
            self.blocks[0].conv1.conv2d.weight.mul_(scale)
        offset = norm.bias / scale - norm.running_mean
        self.register_buffer("offset", offset.detach().reshape(1, 1, 1, 1))
        self.head_linear = model.head_linear

    def forward(self, crop):
        slices = crop[0].movedim(0, 1)  # (1, 1, 32, 48, 48) -> (32, 1, 48, 48): slices become the batch
        slices = self.blocks(slices + self.offset)  # (2, 64, 3, 3)
        return self.head_linear(slices.movedim(0, 1).flatten().unsqueeze(0))  # (1, 1152) -> (1, 2)
