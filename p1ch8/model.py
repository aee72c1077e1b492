"""The networks of the chapter: images (N, 3, 32, 32) -> scores (N, 2), to be used with cross entropy."""

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    """Two convolutions, each halved by pooling, and two linear layers."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 8, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(8 * 8 * 8, 32)
        self.fc2 = nn.Linear(32, 2)

    def forward(self, x):
        out = F.max_pool2d(torch.tanh(self.conv1(x)), 2)  # (N, 3, 32, 32) -> (N, 16, 16, 16)
        out = F.max_pool2d(torch.tanh(self.conv2(out)), 2)  # (N, 8, 8, 8)
        out = torch.tanh(self.fc1(out.flatten(1)))  # (N, 32)
        return self.fc2(out)  # (N, 2)


class NetPoolFirst(Net):
    """`Net`, computed in less time: tanh after the pooling, on a quarter of the numbers.

    tanh never falls, so the largest of four tanh values is the tanh of the largest: the outputs are the same.
    """

    def forward(self, x):
        out = torch.tanh(F.max_pool2d(self.conv1(x), 2))  # (N, 16, 16, 16)
        out = torch.tanh(F.max_pool2d(self.conv2(out), 2))  # (N, 8, 8, 8)
        return self.fc2(torch.tanh(self.fc1(out.flatten(1))))


class NetWidth(nn.Module):
    """`Net` with as many channels as one likes: `n_chans1` in the first convolution, half of them in the second."""

    def __init__(self, n_chans1: int = 32, activation=torch.tanh):
        super().__init__()
        self.n_chans1, self.activation = n_chans1, activation
        self.conv1 = nn.Conv2d(3, n_chans1, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(n_chans1, n_chans1 // 2, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(8 * 8 * n_chans1 // 2, 32)
        self.fc2 = nn.Linear(32, 2)

    def forward(self, x):
        out = F.max_pool2d(self.activation(self.conv1(x)), 2)  # (N, C, 16, 16)
        out = F.max_pool2d(self.activation(self.conv2(out)), 2)  # (N, C / 2, 8, 8)
        return self.fc2(self.activation(self.fc1(out.flatten(1))))


class NetDropout(NetWidth):
    """`NetWidth` that forgets a random part `p` of its channels after each pooling, while it trains."""

    def __init__(self, n_chans1: int = 32, p: float = 0.4):
        super().__init__(n_chans1)
        self.conv1_dropout = nn.Dropout2d(p=p)
        self.conv2_dropout = nn.Dropout2d(p=p)

    def forward(self, x):
        out = self.conv1_dropout(F.max_pool2d(torch.tanh(self.conv1(x)), 2))  # (N, C, 16, 16)
        out = self.conv2_dropout(F.max_pool2d(torch.tanh(self.conv2(out)), 2))  # (N, C / 2, 8, 8)
        return self.fc2(torch.tanh(self.fc1(out.flatten(1))))


class NetBatchNorm(NetWidth):
    """`NetWidth` whose convolutions' outputs are normalized over the batch."""

    def __init__(self, n_chans1: int = 32):
        super().__init__(n_chans1)
        self.conv1_batchnorm = nn.BatchNorm2d(n_chans1)
        self.conv2_batchnorm = nn.BatchNorm2d(n_chans1 // 2)

    def forward(self, x):
        out = F.max_pool2d(torch.tanh(self.conv1_batchnorm(self.conv1(x))), 2)  # (N, C, 16, 16)
        out = F.max_pool2d(torch.tanh(self.conv2_batchnorm(self.conv2(out))), 2)  # (N, C / 2, 8, 8)
        return self.fc2(torch.tanh(self.fc1(out.flatten(1))))


class NetDepth(nn.Module):
    """A third convolution and a third pooling, with ReLU between the layers."""

    def __init__(self, n_chans1: int = 32):
        super().__init__()
        self.n_chans1 = n_chans1
        self.conv1 = nn.Conv2d(3, n_chans1, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(n_chans1, n_chans1 // 2, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(n_chans1 // 2, n_chans1 // 2, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(4 * 4 * n_chans1 // 2, 32)
        self.fc2 = nn.Linear(32, 2)

    def forward(self, x):
        out = F.max_pool2d(torch.relu(self.conv1(x)), 2)  # (N, C, 16, 16)
        out = F.max_pool2d(torch.relu(self.conv2(out)), 2)  # (N, C / 2, 8, 8)
        out = F.max_pool2d(torch.relu(self.conv3(out)), 2)  # (N, C / 2, 4, 4)
        return self.fc2(torch.relu(self.fc1(out.flatten(1))))


class NetRes(NetDepth):
    """`NetDepth` whose third convolution adds to its input instead of replacing it."""

    def forward(self, x):
        out = F.max_pool2d(torch.relu(self.conv1(x)), 2)  # (N, C, 16, 16)
        out = F.max_pool2d(torch.relu(self.conv2(out)), 2)  # (N, C / 2, 8, 8)
        out = F.max_pool2d(torch.relu(self.conv3(out)) + out, 2)  # (N, C / 2, 4, 4)
        return self.fc2(torch.relu(self.fc1(out.flatten(1))))


class ResBlock(nn.Module):
    """A convolution, batch norm and ReLU that add to their input, (N, n_chans, H, W) (He et al., 2015)."""

    def __init__(self, n_chans: int):
        super().__init__()
        self.conv = nn.Conv2d(n_chans, n_chans, kernel_size=3, padding=1, bias=False)
        self.batch_norm = nn.BatchNorm2d(n_chans)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.constant_(self.batch_norm.weight, 0.5)
        nn.init.zeros_(self.batch_norm.bias)

    def forward(self, x):
        return torch.relu(self.batch_norm(self.conv(x))) + x


class NetResDeep(nn.Module):
    """`n_blocks` residual blocks at 8×8 pixels behind a convolution and two poolings."""

    def __init__(self, n_chans1: int = 32, n_blocks: int = 10):
        super().__init__()
        self.n_chans1 = n_chans1
        self.conv1 = nn.Conv2d(3, n_chans1, kernel_size=3, padding=1)
        self.resblocks = nn.Sequential(*(ResBlock(n_chans1) for _ in range(n_blocks)))
        self.fc1 = nn.Linear(8 * 8 * n_chans1, 32)
        self.fc2 = nn.Linear(32, 2)

    def forward(self, x):
        out = F.max_pool2d(torch.relu(self.conv1(x)), 2)  # (N, C, 16, 16)
        out = F.max_pool2d(self.resblocks(out), 2)  # (N, C, 8, 8)
        return self.fc2(torch.relu(self.fc1(out.flatten(1))))


class Stack(nn.Module):
    """Twenty or so convolutions in a row at 8×8 pixels and nothing that would help them.

    skip: each adds to its input. kaiming: the kernels start as large as ReLUs need them (He et al., 2015),
    instead of as PyTorch draws them. Everything else is alike.
    """

    def __init__(self, skip: bool, kaiming: bool, n_layers: int = 20, n_chans: int = 16):
        super().__init__()
        self.skip = skip
        self.conv1 = nn.Conv2d(3, n_chans, kernel_size=3, padding=1)
        self.convs = nn.ModuleList(
            nn.Conv2d(n_chans, n_chans, kernel_size=3, padding=1) for _ in range(n_layers)
        )
        self.fc = nn.Linear(n_chans, 2)
        if kaiming:
            for conv in (self.conv1, *self.convs):
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                nn.init.zeros_(conv.bias)

    def forward(self, x):
        out = F.max_pool2d(torch.relu(self.conv1(x)), 4)  # (N, C, 8, 8)
        for conv in self.convs:
            new = torch.relu(conv(out))
            out = out + new if self.skip else new
        return self.fc(out.mean(dim=(2, 3)))
