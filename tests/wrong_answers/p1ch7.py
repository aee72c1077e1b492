"""Typical wrong answers to chapter 7's exercises."""

import torch

WRONG = {
    "7.1": [
        lambda images: (images.mean(), images.std()),
        lambda images: (images.mean(dim=(0, 2, 3)), images.mean(dim=(2, 3)).std(dim=0)),
    ],
    "7.2": [
        lambda scores: scores.exp() / scores.exp().sum(dim=1, keepdim=True),
        lambda scores: torch.softmax(scores, dim=0),
        lambda scores: torch.sigmoid(scores),
    ],
    "7.3": [
        lambda log_p, labels: log_p[torch.arange(len(labels)), labels].mean(),
        lambda log_p, labels: -log_p[torch.arange(len(labels)), labels].sum(),
        lambda log_p, labels: -log_p[:, labels].mean(),
    ],
    "7.4": [
        lambda labels, predicted, n: torch.bincount(predicted * n + labels, minlength=n * n).reshape(n, n),
        lambda labels, predicted, n: torch.eye(n),
    ],
    "7.5": [
        lambda image, mean, std: (image * 255).to(torch.uint8).permute(1, 2, 0),
        lambda image, mean, std: (
            ((image * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]) * 255)
            .round()
            .to(torch.uint8)
        ),
    ],
    "7.6": [
        lambda height, width, hidden, classes: height * width * hidden + hidden + hidden * classes + classes,
        lambda height, width, hidden, classes: 3 * height * width * hidden + hidden * classes,
    ],
}
