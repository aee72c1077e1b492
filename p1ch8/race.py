"""A race against the clock: recipes that bring a network to the plain training's accuracy in less and less time.

`LADDER` begins with the book's training as it stands; each further rung keeps what the one before it has and adds
one thing. `EXTRAS` are tried on top of the last rung, each by itself. `python -m p1ch8.benchmark` climbs the
ladder and takes the time. Most ideas are those of K. Jordan's airbench (2024, "94% on CIFAR-10 in 3.29 seconds on
a single GPU"), made small enough for two cores.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from p1ch7.training import training_loop
from p1ch8.fast import BORDER, ImageSet, up_and_down, windows_of, with_border
from p1ch8.model import Net, NetPoolFirst
from util.runtime import has_fast_bfloat16

PLAIN_EPOCHS = 30
MUON_MOMENTUM = 0.6


@dataclass(frozen=True)
class Recipe:
    """How to train. Everything is as in the book until it is switched on.

    resident: batches are cut from one tensor, instead of put together image by image by a `DataLoader`.
    channels_last: the memory order in which convolutions run fastest, and `Net` with its pooling before tanh.
    bfloat16: computed in 16 bits where the hardware is made for it.
    schedule: Nesterov momentum, and a rate that rises to `lr` and falls to zero.
    speed_net: `SpeedNet` in place of `Net`. whitened: its first layer is set from the data, not trained.
    muon: `torch.optim.Muon`, with a rate of `muon_lr`, for the matrices of its convolutions.
    smoothing: the part of each label that is spread over both classes.
    moved: shifted by up to 4 pixels at random. flips: "none", "random", or "turns" (an image that was mirrored in
    one epoch is not in the next). small_first: images of 24×24 pixels for the first half of the steps.
    """

    lr: float = 0.01
    batch: int = 64
    resident: bool = False
    channels_last: bool = False
    bfloat16: bool = False
    schedule: bool = False
    speed_net: bool = False
    whitened: bool = False
    muon: bool = False
    muon_lr: float = 0.2
    smoothing: float = 0.0
    moved: bool = False
    flips: str = "none"
    small_first: bool = False


def _ladder(*rungs) -> dict[str, Recipe]:
    recipe, ladder = Recipe(), {}
    for name, change in rungs:
        ladder[name] = recipe = replace(recipe, **change)
    return ladder


# The first four take the same steps, and differ in how these are computed.
LADDER = _ladder(
    ("the book's loop", {}),
    ("images on the device", {"resident": True}),
    ("channels_last, tanh after pooling", {"channels_last": True}),
    ("bfloat16", {"bfloat16": True}),
    ("momentum and a schedule", {"schedule": True, "lr": 0.1}),
    ("batches of 128, a network for speed", {"batch": 128, "speed_net": True}),
    ("whitening first layer", {"whitened": True}),
    ("Muon", {"muon": True}),
)
SAME_STEPS = tuple(LADDER)[:4]
EXTRAS = {
    "label smoothing 0.1": {"smoothing": 0.1},
    "random shifts": {"moved": True},
    "flips at random": {"flips": "random"},
    "flips by turns": {"flips": "turns"},
    "small images first": {"small_first": True},
}


class FlatConv2d(nn.Module):
    """A convolution that keeps height and width, whose weights lie in a matrix.

    weight: (out_channels, in_channels * size * size), since `torch.optim.Muon` takes matrices only.
    """

    def __init__(self, in_channels: int, out_channels: int, size: int = 3):
        super().__init__()
        self.shape = (out_channels, in_channels, size, size)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels * size * size))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)  # as nn.Conv2d does

    def forward(self, x):
        return F.conv2d(x, self.weight.view(self.shape), padding=self.shape[-1] // 2)


def whitening(images: torch.Tensor, size: int = 2, smallest: float = 5e-4) -> torch.Tensor:
    """Kernels (6 size², 3, size, size) whose answers to the patches of `images` (N, 3, H, W) are uncorrelated.

    The principal directions of all patches, each divided by how far the patches spread along it (`smallest`
    keeps noise from being blown up), and the same with the opposite sign, for the ReLU behind them.
    """
    patches = F.unfold(images.float(), size, stride=size).transpose(1, 2).reshape(-1, 3 * size * size)
    spread, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    kernels = (directions / (spread + smallest).sqrt()).T.reshape(-1, 3, size, size)
    return torch.cat([kernels, -kernels])


class SpeedNet(nn.Module):
    """Images (N, 3, H, W) -> scores (N, 2), made to be trained in seconds.

    A 2×2 convolution in steps of two comes first, so that all later layers see a quarter of the places; three
    times a 3×3 convolution, pooling, batch norm and ReLU; then each channel's largest value.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64)):
        super().__init__()
        self.first = nn.Conv2d(3, 24, kernel_size=2, stride=2)
        self.convs = nn.ModuleList(FlatConv2d(n, m) for n, m in zip((24, *widths[:-1]), widths, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm2d(m) for m in widths)
        self.head = nn.Linear(widths[-1], 2)

    def whiten(self, images: torch.Tensor):
        """Set the first layer from `images` (N, 3, H, W), once and for all: it is not trained."""
        with torch.no_grad():
            self.first.weight.copy_(whitening(images))
            self.first.bias.zero_()
        self.first.requires_grad_(False)

    def forward(self, x):
        out = torch.relu(self.first(x))  # (N, 24, H / 2, W / 2)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            out = torch.relu(norm(F.max_pool2d(conv(out), 2)))  # half the height and width each time
        return self.head(out.amax(dim=(2, 3)))


def train(recipe: Recipe, data: ImageSet, seed: int, n_epochs: int) -> nn.Module:
    """A network trained by `recipe`; the same seed gives the same training."""
    torch.manual_seed(seed)
    device = data.labels.device
    model = SpeedNet() if recipe.speed_net else NetPoolFirst() if recipe.channels_last else Net()
    model.to(device)
    if recipe.whitened:
        model.whiten(data.images[:1000])
    if not recipe.resident:
        pairs = [(image.contiguous(), label) for image, label in zip(data.images, data.labels, strict=True)]
        loader = torch.utils.data.DataLoader(pairs, batch_size=recipe.batch, shuffle=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=recipe.lr)
        training_loop(n_epochs, optimizer, model, F.cross_entropy, loader, device)
        return model
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)
    _train_resident(recipe, model, data, torch.Generator().manual_seed(seed), n_epochs)
    return model


def _train_resident(recipe, model, data, generator, n_epochs):
    device = data.labels.device
    bfloat16 = recipe.bfloat16 and has_fast_bfloat16(device)
    steps = max(1, len(data) // recipe.batch)
    optimizers = _optimizers(recipe, model)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, up_and_down(n_epochs * steps))
        for optimizer in optimizers
        if recipe.schedule
    ]
    cut = _cutter(recipe, data, generator)
    for epoch in range(n_epochs):
        order = torch.randperm(len(data), generator=generator).to(device)
        for step in range(steps):
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            is_small = recipe.small_first and 2 * (epoch * steps + step) < n_epochs * steps
            images = cut(chosen, epoch, 24 if is_small else 32)
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                loss = F.cross_entropy(model(images), data.labels[chosen], label_smoothing=recipe.smoothing)
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for each in (*optimizers, *schedules):
                each.step()


def _optimizers(recipe, model):
    if not recipe.schedule:
        return [torch.optim.SGD(model.parameters(), lr=recipe.lr)]
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [conv.weight for conv in model.convs] if recipe.muon else []
    others = [p for p in trained if all(p is not matrix for matrix in matrices)]
    optimizers = [torch.optim.SGD(others, lr=recipe.lr, momentum=0.9, nesterov=True)]
    if matrices:
        muon = torch.optim.Muon(matrices, lr=recipe.muon_lr, momentum=MUON_MOMENTUM, weight_decay=0.0)
        optimizers.append(muon)
    return optimizers


def _cutter(recipe, data, generator):
    """A function (chosen, epoch, size) -> images (B, 3, size, size) that does what the recipe says to them."""
    by_size = {}
    first_turn = torch.randint(2, (len(data),), generator=generator).to(data.labels.device)

    def pixels(size):
        if size not in by_size:
            images = data.images
            if size != images.shape[-1]:
                images = F.interpolate(images, size, mode="bilinear", antialias=True)
            border = BORDER * size // 32 if recipe.moved else 0
            by_size[size] = with_border(images.permute(0, 2, 3, 1), border), border
        return by_size[size]

    def cut(chosen, epoch, size):
        bordered, border = pixels(size)
        if border:
            move = torch.randint(2 * border + 1, (2, len(chosen)), generator=generator).to(chosen.device)
            images = windows_of(bordered, border)[chosen, move[0], move[1]]  # (B, H, W, 3)
        else:
            images = bordered[chosen]
        if recipe.flips == "random":
            mirrored = torch.randint(2, (len(chosen),), generator=generator).to(chosen.device) == 1
        else:
            mirrored = (first_turn[chosen] + epoch) % 2 == 1
        if recipe.flips != "none":
            images = torch.where(mirrored[:, None, None, None], images.flip(2), images)
        images = images.permute(0, 3, 1, 2)
        return images if recipe.channels_last else images.contiguous()

    return cut
