"""A fast training loop for images that fit in memory: the whole set is one tensor on the device.

Batches are cut from it by indices, augmented all at once, computed in channels_last order and, where the
hardware has it, in bfloat16, with a learning rate that rises and falls once.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from p1ch7.images import MEAN, STD
from util.runtime import has_fast_bfloat16

BORDER = 4


@dataclass
class ImageSet:
    """All images on the device. pixels: (N, H, W, 3) normalized, channels last; labels: (N,) int64."""

    pixels: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, dataset, device="cpu", dtype=torch.float32):
        """From a chapter 7 dataset: its `images` (N, H, W, 3) uint8 and `labels` (N,), normalized once."""
        pixels = torch.from_numpy(dataset.images).to(device, torch.float32) / 255
        pixels = (pixels - torch.tensor(MEAN, device=device)) / torch.tensor(STD, device=device)
        return cls(pixels.to(dtype), torch.as_tensor(dataset.labels, dtype=torch.int64, device=device))

    def __len__(self):
        return len(self.labels)

    @property
    def images(self) -> torch.Tensor:
        """(N, 3, H, W), a view in channels_last order."""
        return self.pixels.permute(0, 3, 1, 2)


def with_border(pixels: torch.Tensor, border: int = BORDER) -> torch.Tensor:
    """(N, H, W, 3) -> (N, H + 2 border, W + 2 border, 3); the border repeats the edge."""
    height, width = pixels.shape[1:3]
    rows = torch.arange(-border, height + border, device=pixels.device).clamp(0, height - 1)
    columns = torch.arange(-border, width + border, device=pixels.device).clamp(0, width - 1)
    return pixels[:, rows][:, :, columns].contiguous()


def windows_of(bordered: torch.Tensor, border: int = BORDER) -> torch.Tensor:
    """Every window of the original size, (N, moves, moves, H, W, 3), as a view of `with_border`'s result."""
    height, width = (side - 2 * border for side in bordered.shape[1:3])
    windows = bordered.unfold(1, height, 1).unfold(2, width, 1)  # (N, moves, moves, 3, H, W)
    return windows.permute(0, 1, 2, 4, 5, 3)


def cut(bordered: torch.Tensor, chosen: torch.Tensor, generator=None, border: int = BORDER) -> torch.Tensor:
    """The images `chosen` (B,), each moved by up to `border` pixels, half of them mirrored: (B, 3, H, W).

    bordered: from `with_border`. Every window of the right size is a view of it, and one indexing operation
    copies a whole batch of windows. The first half of the batch is mirrored, which is random enough where
    `chosen` comes in random order.
    """
    windows = windows_of(bordered, border)
    move = torch.randint(2 * border + 1, (2, len(chosen)), generator=generator).to(bordered.device)
    images = windows[chosen, move[0], move[1]]  # (B, H, W, 3)
    half = len(chosen) // 2
    images[:half] = images[:half].flip(2)
    return images.permute(0, 3, 1, 2)


def up_and_down(total: int):
    """The part of the highest learning rate at each of `total` steps: from 1/25 up to 1 in a quarter, down to 0.

    Both ways along half a cosine (Smith and Topin, 2018, "Super-convergence").
    """
    warm = max(1, round(total / 4))

    def factor(step: int) -> float:
        if step < warm:
            return 0.04 + 0.96 * (1 - math.cos(math.pi * step / warm)) / 2
        return (1 + math.cos(math.pi * (step - warm) / max(1, total - warm))) / 2

    return factor


def fit(
    model: nn.Module,
    data: ImageSet,
    n_epochs: int,
    *,
    lr: float = 0.1,
    batch_size: int = 128,
    weight_decay: float = 5e-4,
    momentum: float = 0.9,
    augmented: bool = True,
    seed: int = 0,
    bfloat16: bool | None = None,
    loss_fn=F.cross_entropy,
    after_epoch=None,
) -> list[float]:
    """Train `model` in place and return each epoch's mean loss.

    SGD with Nesterov momentum; the learning rate rises to `lr` in the first quarter and falls to zero.
    weight_decay counts for weights, not for biases and normalizations. bfloat16=None: where it is fast.
    after_epoch(epoch, model) is called between epochs.
    """
    device = data.labels.device
    if bfloat16 is None:
        bfloat16 = has_fast_bfloat16(device)
    model.to(device, memory_format=torch.channels_last).train()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0)
    steps = max(1, len(data) // batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, up_and_down(n_epochs * steps))
    generator = torch.Generator().manual_seed(seed)
    bordered = with_border(data.pixels) if augmented else None
    history = []
    for epoch in range(n_epochs):
        order = torch.randperm(len(data), generator=generator).to(device)
        total = torch.zeros((), device=device)
        for step in range(steps):
            chosen = order[step * batch_size : (step + 1) * batch_size]
            if augmented:
                images = cut(bordered, chosen, generator)
            else:
                images = data.pixels[chosen].permute(0, 3, 1, 2)
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                loss = loss_fn(model(images), data.labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach()
        history.append(float(total) / steps)
        if after_epoch is not None:
            after_epoch(epoch, model)
    return history


@torch.inference_mode()
def accuracy_on(model: nn.Module, data: ImageSet, batch_size: int = 500, transform=None) -> float:
    """The part of `data` that `model` gets right, 0 to 1, in evaluation mode; `transform` changes the images."""
    was_training = model.training
    model.eval()
    right = 0
    for start in range(0, len(data), batch_size):
        images = data.images[start : start + batch_size].float()
        if transform is not None:
            images = transform(images)
        right += int((model(images).argmax(1) == data.labels[start : start + batch_size]).sum())
    model.train(was_training)
    return right / len(data)
