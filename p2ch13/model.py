"""`util.unet`'s U-Net adapted to slices of a CT scan, and its augmentation (chapter 13)."""

import torch
from torch import nn

from p2ch12.augment import Strengths, random_affine, transform
from util.errors import UserError
from util.unet import UNet


class UNetWrapper(nn.Module):
    """The U-Net for CT slices: batch norm on the raw HU in front, a sigmoid behind (chapter 13).

    `forward` takes (N, 7, H, W) float HU in [-1000, 1000], the slice and three on each side, and
    answers (N, 1, H, W) probabilities for the middle slice. With padding, H and W must be multiples of 4 (of
    2**(depth - 1)): else `UserError`, for the plain U-Net would answer with fewer pixels than it was given.
    Parameters as for `util.unet.UNet`; with the default ones, names and shapes of the weights are those of the
    book's published ones.
    """

    def __init__(
        self,
        in_channels=7,
        n_classes=1,
        depth=3,
        wf=4,
        padding=True,
        batch_norm=True,
        up_mode="upconv",
    ):
        super().__init__()
        self.input_batchnorm = nn.BatchNorm2d(in_channels)
        self.unet = UNet(in_channels, n_classes, depth, wf, padding, batch_norm, up_mode)
        self.final = nn.Sigmoid()
        # Each level halves, and drops what is left over.
        self.edge_multiple = 2 ** (depth - 1) if padding else 1
        self._init_weights()

    def _init_weights(self):
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
        # Few pixels are nodule: begin by saying so (about 2 %), rather than by marking half of them.
        nn.init.constant_(self.unet.last.bias, -4.0)

    def forward(self, input_batch):
        """(N, 7, H, W) HU -> (N, 1, H, W) probabilities, float32."""
        if not torch.jit.is_scripting():
            self._check_edges(input_batch)
        logits = self.unet(self.input_batchnorm(input_batch))
        # In bfloat16 a sigmoid rounds to exactly 1 from about 6 on, and its gradient to 0.
        return self.final(logits.float())

    @torch.jit.unused
    def _check_edges(self, input_batch):
        """Raise `UserError` for edges that would come back shorter. An exported network's edges are its own affair."""
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            return
        height, width = input_batch.shape[2:]
        if height % self.edge_multiple or width % self.edge_multiple:
            raise UserError(
                f"UNetWrapper was given slices of {height} x {width} pixels; both must be multiples of "
                f"{self.edge_multiple}, so cut or pad them"
            )


class SegmentationAugmentation(nn.Module):
    """The same random transform for a slice and its label, another one for each sample (chapter 13).

    Arguments as for `p2ch12.augment.Strengths`; None switches one off. `forward` takes (N, 7, H, W) HU and
    (N, 1, H, W) labels (bool or 0/1) on the same device; the label comes back as bool.
    """

    def __init__(self, flip=None, offset=None, scale=None, rotate=None, noise=None):
        super().__init__()
        self.strengths = Strengths(
            flip=bool(flip),
            offset=offset or 0.0,
            scale=scale or 0.0,
            rotate=bool(rotate),
            noise=noise or 0.0,
        )

    def forward(self, input_g, label_g):
        """Slices and labels, moved together; noise only on the slices."""
        if self.strengths.moves:
            affine = random_affine(len(input_g), 2, self.strengths, input_g.device)
            input_g = transform(input_g, affine)
            label_g = transform(label_g.to(input_g.dtype), affine) > 0.5
        if self.strengths.noise:
            input_g = input_g + self.strengths.noise * torch.randn_like(input_g)
        return input_g, label_g.bool()
