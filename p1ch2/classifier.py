"""A small residual network that names drawn animals, and how a picture must be prepared for it."""

import torch
from torch import nn

MEAN, STD = 0.5, 0.25  # of every channel; brightness runs from 0 to 1


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to their input: (N, C, H, W) -> (N, width, H/stride, W/stride).

    The idea of ResNet (He et al. 2015): a block has to learn only the change to what it was given.
    """

    def __init__(self, channels, width, stride):
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        # Where the shape changes, the input needs a 1x1 convolution to fit the sum.
        fits = channels == width and stride == 1
        self.shortcut = nn.Identity() if fits else nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x):
        return torch.relu(self.shortcut(x) + self.change(x))


class AnimalNet(nn.Module):
    """Scores for `classes` names from a prepared picture: (N, 3, 64, 64) -> (N, classes).

    Any height and width of 32 or more will do, because the last feature maps are averaged. widths:
    channels of each residual block; each but the first halves height and width.
    """

    def __init__(self, classes, widths=(24, 48, 96)):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )  # (N, w0, 32, 32)
        blocks = [ResidualBlock(widths[0], widths[0], 1)]
        blocks += [ResidualBlock(a, b, 2) for a, b in zip(widths[:-1], widths[1:], strict=True)]
        self.blocks = nn.Sequential(*blocks)  # (N, w2, 8, 8)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def preprocess(size=64):
    """The transform from a PIL image of any size to what `AnimalNet` was trained on: (3, size, size).

    The shorter side becomes `size`, the middle is cut out, brightness is shifted and scaled.
    """
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.PILToTensor(),  # (3, H, W) uint8
            v2.Resize(size, antialias=True),
            v2.CenterCrop(size),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([MEAN] * 3, [STD] * 3),
        ]
    )


def prepare(pictures):
    """uint8 pictures (N, H, W, 3) as drawn -> the float batch (N, 3, H, W) that `AnimalNet` expects."""
    pictures = torch.as_tensor(pictures)
    return (pictures.movedim(-1, 1).float() / 255 - MEAN) / STD
