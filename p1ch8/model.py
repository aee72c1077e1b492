"""The networks of the chapter: images (N, 3, 32, 32) -> scores (N, 2), to be used with cross entropy."""

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    """Two convolutions, each halved by pooling, and two linear layers. `n_chans1`: channels of the first."""

    def __init__(self, n_chans1: int = 16):
        super().__init__()
        self.n_chans1 = n_chans1
        self.conv1 = nn.Conv2d(3, n_chans1, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(n_chans1, n_chans1 // 2, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(8 * 8 * n_chans1 // 2, 32)
        self.fc2 = nn.Linear(32, 2)

    def forward(self, x):
        out = F.max_pool2d(torch.tanh(self.conv1(x)), 2)  # (N, 3, 32, 32) -> (N, C, 16, 16)
        out = F.max_pool2d(torch.tanh(self.conv2(out)), 2)  # (N, C / 2, 8, 8)
        out = torch.tanh(self.fc1(out.flatten(1)))  # (N, 32)
        return self.fc2(out)  # (N, 2)


class NetPoolFirst(Net):
    """`Net`, computed in less time: tanh after the pooling, on a quarter of the numbers.

    tanh never falls, so the largest of four tanh values is the tanh of the largest: the outputs are the same.
    """

    def forward(self, x):
        out = torch.tanh(F.max_pool2d(self.conv1(x), 2))  # (N, C, 16, 16)
        out = torch.tanh(F.max_pool2d(self.conv2(out), 2))  # (N, C / 2, 8, 8)
        return self.fc2(torch.tanh(self.fc1(out.flatten(1))))


class NetDropout(Net):
    """`Net` that forgets a random part `p` of its channels after each pooling, while it trains."""

    def __init__(self, n_chans1: int = 16, p: float = 0.4):
        super().__init__(n_chans1)
        self.conv1_dropout = nn.Dropout2d(p=p)
        self.conv2_dropout = nn.Dropout2d(p=p)

    def forward(self, x):
        out = self.conv1_dropout(F.max_pool2d(torch.tanh(self.conv1(x)), 2))  # (N, C, 16, 16)
        out = self.conv2_dropout(F.max_pool2d(torch.tanh(self.conv2(out)), 2))  # (N, C / 2, 8, 8)
        return self.fc2(torch.tanh(self.fc1(out.flatten(1))))


class NetBatchNorm(Net):
    """`Net` whose convolutions' outputs are normalized over the batch."""

    def __init__(self, n_chans1: int = 16):
        super().__init__(n_chans1)
        self.conv1_batchnorm = nn.BatchNorm2d(n_chans1)
        self.conv2_batchnorm = nn.BatchNorm2d(n_chans1 // 2)

    def forward(self, x):
        out = F.max_pool2d(torch.tanh(self.conv1_batchnorm(self.conv1(x))), 2)  # (N, C, 16, 16)
        out = F.max_pool2d(torch.tanh(self.conv2_batchnorm(self.conv2(out))), 2)  # (N, C / 2, 8, 8)
        return self.fc2(torch.tanh(self.fc1(out.flatten(1))))


class ResBlock(nn.Module):
    """A convolution, batch norm and ReLU whose input is added to their output (He et al., 2015).

    skip=False leaves the addition out, batch_norm=False the normalization.
    """

    def __init__(self, n_chans: int, skip: bool = True, batch_norm: bool = True):
        super().__init__()
        self.skip = skip
        self.conv = nn.Conv2d(n_chans, n_chans, kernel_size=3, padding=1, bias=not batch_norm)
        self.batch_norm = nn.BatchNorm2d(n_chans) if batch_norm else nn.Identity()

    def forward(self, x):
        out = torch.relu(self.batch_norm(self.conv(x)))  # (N, C, H, W), as the input
        return out + x if self.skip else out


class NetResDeep(nn.Module):
    """A deep network: `n_blocks` blocks at 8x8 pixels behind two convolutions.

    With skip=False and batch_norm=False it is the plain stack of convolutions that does not train.
    """

    def __init__(self, n_chans1: int = 32, n_blocks: int = 10, skip: bool = True, batch_norm: bool = True):
        super().__init__()
        self.n_chans1 = n_chans1
        self.conv1 = nn.Conv2d(3, n_chans1, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(n_chans1, n_chans1, kernel_size=3, padding=1)
        self.resblocks = nn.Sequential(*(ResBlock(n_chans1, skip, batch_norm) for _ in range(n_blocks)))
        self.fc1 = nn.Linear(4 * 4 * n_chans1, 32)
        self.fc2 = nn.Linear(32, 2)

    def forward(self, x):
        out = F.max_pool2d(torch.relu(self.conv1(x)), 2)  # (N, C, 16, 16)
        out = F.max_pool2d(torch.relu(self.conv2(out)), 2)  # (N, C, 8, 8)
        out = F.max_pool2d(self.resblocks(out), 2)  # (N, C, 4, 4)
        return self.fc2(torch.relu(self.fc1(out.flatten(1))))
