"""The classifier of chapter 11: four convolutional blocks and one linear layer."""

import math

import torch
from torch import nn


class LunaModel(nn.Module):
    """Is there a nodule in the middle of this crop? (chapter 11, "The full model")

    `forward` takes (N, 1, 32, 48, 48) float HU in [-1000, 1000] and answers (logits, probabilities),
    both (N, 2), in float32 also under autocast; column 1 is "nodule". Parameter names and shapes are those of
    the book's published weights, so a `.state` file of the first edition loads.
    """

    def __init__(self, in_channels=1, conv_channels=8):
        super().__init__()
        # Normalises raw HU, so that the weights need not know about -1000.
        self.tail_batchnorm = nn.BatchNorm3d(in_channels)
        self.block1 = LunaBlock(in_channels, conv_channels)
        self.block2 = LunaBlock(conv_channels, conv_channels * 2)
        self.block3 = LunaBlock(conv_channels * 2, conv_channels * 4)
        self.block4 = LunaBlock(conv_channels * 4, conv_channels * 8)
        self.head_linear = nn.Linear(conv_channels * 8 * 2 * 3 * 3, 2)
        self.head_softmax = nn.Softmax(dim=1)
        self._init_weights()

    def _init_weights(self):
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv3d)):
                # He et al. 2015, by fan-in: keeps the variance of the signal level through the ReLU layers.
                # By fan-out it would shrink 64-fold on the way, since the channels grow from 1 to 64.
                is_head = module is self.head_linear
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if is_head else "relu")
                fan_out = nn.init._calculate_fan_in_and_fan_out(module.weight)[1]
                bound = 1 / math.sqrt(fan_out)
                nn.init.uniform_(module.bias, -bound, bound)

    def forward(self, input_batch):
        """(N, 1, 32, 48, 48) -> logits and probabilities, (N, 2) each."""
        out = self.tail_batchnorm(input_batch)  # (N, 1, 32, 48, 48)
        out = self.block1(out)  # (N, 8, 16, 24, 24)
        out = self.block2(out)  # (N, 16, 8, 12, 12)
        out = self.block3(out)  # (N, 32, 4, 6, 6)
        out = self.block4(out)  # (N, 64, 2, 3, 3)
        # flatten(1), not view: with channels_last_3d the memory is laid out differently.
        logits = self._head(out.flatten(1))  # (N, 1152) -> (N, 2)
        return logits, self.head_softmax(logits.float())

    def _head(self, features):
        """The linear layer, in float32 under autocast, too: logits rounded to bfloat16's 8 bits tie."""
        if not torch.jit.is_scripting():
            device_type = features.device.type
            if torch.is_autocast_enabled(device_type):
                with torch.autocast(device_type, enabled=False):
                    return self.head_linear(features.float())
        return self.head_linear(features)


class LunaBlock(nn.Module):
    """Two 3×3×3 convolutions with ReLU, then max pooling that halves every edge (chapter 11).

    (N, in_channels, D, H, W) -> (N, conv_channels, D/2, H/2, W/2)
    """

    def __init__(self, in_channels, conv_channels):
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, conv_channels, kernel_size=3, padding=1, bias=True)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv3d(conv_channels, conv_channels, kernel_size=3, padding=1, bias=True)
        self.relu2 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(2, 2)

    def forward(self, input_batch):
        """Volumes (N, in_channels, D, H, W) -> (N, conv_channels, D/2, H/2, W/2)."""
        out = self.relu1(self.conv1(input_batch))
        out = self.relu2(self.conv2(out))
        return self.maxpool(out)
