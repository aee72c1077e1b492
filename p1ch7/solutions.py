"""Solutions of chapter 7's exercises."""

import torch


def channel_statistics(images):
    return images.mean(dim=(0, 2, 3)), images.std(dim=(0, 2, 3))


def softmax(scores):
    powers = torch.exp(scores - scores.max(dim=1, keepdim=True).values)
    return powers / powers.sum(dim=1, keepdim=True)


def negative_log_likelihood(log_probabilities, labels):
    return -log_probabilities[torch.arange(len(labels)), labels].mean()


def confusion(labels, predicted, n_classes):
    return torch.bincount(labels * n_classes + predicted, minlength=n_classes**2).reshape(
        n_classes, n_classes
    )


def to_bytes(image, mean, std):
    mean, std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
    return ((image * std + mean) * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)


def count(height, width, n_hidden, n_classes):
    return (3 * height * width + 1) * n_hidden + (n_hidden + 1) * n_classes


SOLUTIONS = {
    "7.1": channel_statistics,
    "7.2": softmax,
    "7.3": negative_log_likelihood,
    "7.4": confusion,
    "7.5": to_bytes,
    "7.6": count,
}
