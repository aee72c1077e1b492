"""The U-Net of Ronneberger, Fischer and Brox (2015), with the options that the book's has (chapter 13)."""

import torch
from torch import nn


class UNet(nn.Module):
    """(N, in_channels, H, W) -> (N, n_classes, H', W'): logits for each pixel.

    depth: levels, the first of 2**wf channels, each further one of twice as many. padding: convolutions
    keep the size, so that H' = H and W' = W, which must then be multiples of 2**(depth - 1); without it
    each of them trims a pixel per side, as in the paper, and the bridges are cropped to fit. batch_norm:
    after each ReLU. up_mode: "upconv" (a transposed convolution) or "upsample" (bilinear, then 1×1).
    Raises `ValueError` for another up_mode. The book's published weights need `depth=3, wf=4,
    padding=True, batch_norm=True, up_mode="upconv"`, and average pooling on the way down.
    """

    def __init__(
        self, in_channels=1, n_classes=2, depth=5, wf=6, padding=False, batch_norm=False, up_mode="upconv"
    ):
        super().__init__()
        channels = [2 ** (wf + level) for level in range(depth)]
        self.down_path = nn.ModuleList(
            UNetConvBlock(before, after, padding, batch_norm)
            for before, after in zip([in_channels, *channels], channels)
        )
        self.up_path = nn.ModuleList(
            UNetUpBlock(below, here, up_mode, padding, batch_norm)
            for below, here in zip(channels[:0:-1], channels[-2::-1])
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
    """Twice: 3×3 convolution, ReLU, and batch norm if wanted. (N, in_size, H, W) -> (N, out_size, H, W)

    Without padding the result is 4 pixels smaller each way.
    """

    def __init__(self, in_size, out_size, padding, batch_norm):
        super().__init__()
        layers = []
        for size in (in_size, out_size):
            layers += [nn.Conv2d(size, out_size, kernel_size=3, padding=int(padding)), nn.ReLU(inplace=True)]
            if batch_norm:
                layers.append(nn.BatchNorm2d(out_size))
        self.block = nn.Sequential(*layers)

    def forward(self, x):
        return self.block(x)


class UNetUpBlock(nn.Module):
    """Doubles the edge, joins the middle of the bridge from the way down, convolves.

    (N, in_size, H/2, W/2) and bridge (N, out_size, at least H, at least W) -> (N, out_size, H, W); without
    padding 4 pixels smaller each way.
    """

    def __init__(self, in_size, out_size, up_mode, padding, batch_norm):
        super().__init__()
        if up_mode == "upconv":
            self.up = nn.ConvTranspose2d(in_size, out_size, kernel_size=2, stride=2)
        elif up_mode == "upsample":
            self.up = nn.Sequential(
                nn.Upsample(mode="bilinear", scale_factor=2), nn.Conv2d(in_size, out_size, kernel_size=1)
            )
        else:
            raise ValueError(f"up_mode is 'upconv' or 'upsample', not {up_mode!r}")
        self.conv_block = UNetConvBlock(2 * out_size, out_size, padding, batch_norm)

    def center_crop(self, layer, target_size: list[int]):  # TorchScript takes it for a tensor otherwise
        """The middle of `layer` (N, C, H, W), of `target_size` (height, width)."""
        top = (layer.shape[2] - target_size[0]) // 2
        left = (layer.shape[3] - target_size[1]) // 2
        return layer[:, :, top : top + target_size[0], left : left + target_size[1]]

    def forward(self, x, bridge):
        up = self.up(x)
        return self.conv_block(torch.cat([up, self.center_crop(bridge, up.shape[2:])], dim=1))
