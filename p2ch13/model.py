"""The U-Net of chapter 13 (Ronneberger, Fischer, Brox 2015), adapted to slices of a CT scan."""

import torch
from torch import nn

from p2ch12.augment import Strengths, random_affine, transform


class UNet(nn.Module):
    """A U-Net with padding, so that the output is as large as the input.

    in_channels -> n_classes, `depth` levels, 2**wf channels in the first. (N, in_channels, H, W) ->
    (N, n_classes, H, W); H and W must be multiples of 2**(depth - 1). Only what the published
    weights need is here: average pooling down, 2×2 transposed convolution up, batch norm after ReLU.
    """

    def __init__(self, in_channels=7, n_classes=1, depth=3, wf=4):
        super().__init__()
        channels = [2 ** (wf + level) for level in range(depth)]
        self.down_path = nn.ModuleList(
            UNetConvBlock(before, after) for before, after in zip([in_channels, *channels], channels)
        )
        self.up_path = nn.ModuleList(
            UNetUpBlock(below, here) for below, here in zip(channels[:0:-1], channels[-2::-1])
        )
        self.last = nn.Conv2d(channels[0], n_classes, kernel_size=1)

    def forward(self, x):
        bridges = []
        for level, down in enumerate(self.down_path):
            x = down(x)
            if level < len(self.down_path) - 1:
                bridges.append(x)
                x = nn.functional.avg_pool2d(x, 2)
        for up in self.up_path:
            x = up(x, bridges.pop())
        return self.last(x)


class UNetConvBlock(nn.Module):
    """Twice: 3×3 convolution, ReLU, batch norm. (N, in_size, H, W) -> (N, out_size, H, W)"""

    def __init__(self, in_size, out_size):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(in_size, out_size, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(out_size),
            nn.Conv2d(out_size, out_size, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(out_size),
        )

    def forward(self, x):
        return self.block(x)


class UNetUpBlock(nn.Module):
    """Doubles the edge, joins the bridge from the way down, convolves.

    (N, in_size, H/2, W/2) and bridge (N, out_size, H, W) -> (N, out_size, H, W)
    """

    def __init__(self, in_size, out_size):
        super().__init__()
        self.up = nn.ConvTranspose2d(in_size, out_size, kernel_size=2, stride=2)
        self.conv_block = UNetConvBlock(2 * out_size, out_size)

    def forward(self, x, bridge):
        return self.conv_block(torch.cat([self.up(x), bridge], dim=1))


class UNetWrapper(nn.Module):
    """The U-Net for CT slices: batch norm on the raw HU in front, a sigmoid behind (chapter 13).

    `forward` takes (N, 7, H, W) float HU in [-1000, 1000], the slice and three on each side, and
    answers (N, 1, H, W) probabilities for the middle slice. Parameter names and shapes are those of
    the book's published weights.
    """

    def __init__(self, in_channels=7, n_classes=1, depth=3, wf=4):
        super().__init__()
        self.input_batchnorm = nn.BatchNorm2d(in_channels)
        self.unet = UNet(in_channels, n_classes, depth, wf)
        self.final = nn.Sigmoid()
        self._init_weights()

    def _init_weights(self):
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
        # Few pixels are nodule: begin by saying so (about 2 %), rather than by marking half of them.
        nn.init.constant_(self.unet.last.bias, -4.0)

    def forward(self, input_batch):
        logits = self.unet(self.input_batchnorm(input_batch))
        # In bfloat16 a sigmoid rounds to exactly 1 from about 6 on, and its gradient to 0.
        return self.final(logits.float())


class SegmentationAugmentation(nn.Module):
    """The same random transform for a slice and its label, another one for each sample (chapter 13).

    `forward` takes (N, 7, H, W) HU and (N, 1, H, W) labels (bool or 0/1) on the same device; the
    label comes back as bool.
    """

    def __init__(self, flip=False, offset=0.0, scale=0.0, rotate=False, noise=0.0):
        super().__init__()
        self.strengths = Strengths(flip=flip, offset=offset, scale=scale, rotate=rotate, noise=noise)

    def forward(self, input_g, label_g):
        if self.strengths.moves:
            affine = random_affine(len(input_g), 2, self.strengths, input_g.device)
            input_g = transform(input_g, affine)
            label_g = transform(label_g.to(input_g.dtype), affine) > 0.5
        if self.strengths.noise:
            input_g = input_g + self.strengths.noise * torch.randn_like(input_g)
        return input_g, label_g.bool()
