"""The fully connected network for images, the loop that trains it and what a shift does to it."""

import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

N_INPUTS = 3 * 32 * 32


def fully_connected(n_hidden: int = 512, n_out: int = 2) -> nn.Sequential:
    """Images (N, 3, 32, 32) -> log-probabilities (N, n_out), with one hidden layer."""
    return nn.Sequential(
        nn.Flatten(),  # (N, 3, 32, 32) -> (N, 3072)
        nn.Linear(N_INPUTS, n_hidden),
        nn.Tanh(),
        nn.Linear(n_hidden, n_out),
        nn.LogSoftmax(dim=1),
    )


def count_parameters(model: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def training_loop(
    n_epochs: int, optimizer, model: nn.Module, loss_fn, train_loader, device="cpu"
) -> list[float]:
    """Train `model` for `n_epochs` over `train_loader`; returns the mean loss of each epoch."""
    history = []
    model.train()
    for _ in range(n_epochs):
        total = seen = 0
        for images, labels in train_loader:
            images, labels = images.to(device), labels.to(device)
            loss = loss_fn(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
            seen += len(labels)
        history.append(total / seen)
    return history


def minibatches(images: torch.Tensor, labels: torch.Tensor, batch_size: int = 64) -> DataLoader:
    """Minibatches in a new random order at every pass, cut from tensors (N, …) and (N,) whole, not item by item."""
    order = BatchSampler(RandomSampler(images), batch_size, drop_last=False)
    return DataLoader(TensorDataset(images, labels), sampler=order, batch_size=None)


def train_fully_connected(
    images: torch.Tensor, labels: torch.Tensor, n_epochs: int, seed: int, n_hidden: int = 512, device="cpu"
) -> nn.Sequential:
    """A `fully_connected` network, trained as in the chapter on images (N, 3, 32, 32), labels (N,).

    Minibatches of 64, SGD with momentum, a learning rate that falls from 0.02 to zero along half a cosine.
    """
    torch.manual_seed(seed)
    model = fully_connected(n_hidden).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs)
    train_loader = minibatches(images.to(device), labels.to(device))
    for _ in range(n_epochs):
        training_loop(1, optimizer, model, nn.NLLLoss(), train_loader, device)
        schedule.step()
    return model


@torch.inference_mode()
def accuracy(model: nn.Module, loader, device="cpu") -> float:
    """The part of the images in `loader` whose largest output is the right class; 0 to 1."""
    was_training = model.training
    model.eval()
    right = seen = 0
    for images, labels in loader:
        right += int((model(images.to(device)).argmax(dim=1) == labels.to(device)).sum())
        seen += len(labels)
    model.train(was_training)
    return right / seen


def shift(images: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Move images (…, H, W) by whole pixels; what comes in at an edge repeats the edge. Negative: up, left."""
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right).clamp(0, width - 1)
    return images[..., rows[:, None], columns]


def accuracy_moved(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, pixels: int) -> float:
    """The mean accuracy on images moved by `pixels` down, up, to the right and to the left."""
    moves = ((pixels, 0), (-pixels, 0), (0, pixels), (0, -pixels))
    return sum(accuracy(model, [(shift(images, *move), labels)]) for move in moves) / 4
