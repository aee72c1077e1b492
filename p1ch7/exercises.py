"""Checks of chapter 7's exercises."""

import torch
import torch.nn.functional as F

from p1ch7.images import MEAN, STD
from util.exercises import exercise, expect


def _tensor(got, shape):
    expect(isinstance(got, torch.Tensor), "Return a tensor.")
    expect(tuple(got.shape) == tuple(shape), f"The shape should be {tuple(shape)}, not {tuple(got.shape)}.")


@exercise("7.1", hint="Mean and std over every axis except the channels, of the images stacked.")
def channel_statistics(answer):
    for count in (5, 40):
        images = torch.rand(count, 3, 8, 6) * torch.tensor([1.0, 3.0, 0.5])[:, None, None] + count
        mean, std = answer(images)
        _tensor(mean, (3,))
        _tensor(std, (3,))
        expect(torch.allclose(mean, images.mean((0, 2, 3)), atol=1e-4), "The means are off.")
        right = images.transpose(0, 1).flatten(1).std(1)
        expect(
            torch.allclose(std, right, atol=5e-3), "The means are right, but the standard deviations are not."
        )


@exercise(
    "7.2", hint="Add a constant to all scores of a row: the answer must not change, so you may choose it."
)
def softmax(answer):
    for scores in (torch.randn(4, 3), torch.randn(1, 7) * 5, torch.tensor([[1000.0, 999.0], [-1000.0, 0.0]])):
        got = answer(scores)
        _tensor(got, scores.shape)
        expect(bool(torch.isfinite(got).all()), "Large scores make your function overflow.")
        expect(torch.allclose(got.sum(1), torch.ones(len(scores)), atol=1e-5), "Each row must sum to 1.")
        expect(torch.allclose(got, F.softmax(scores, 1), atol=1e-5), "Sums are right, but not the values.")


@exercise("7.3", hint="Pick, in each row, the number that belongs to the right class. Then what is the sign?")
def negative_log_likelihood(answer):
    for rows, classes in ((6, 2), (5, 10)):
        log_probabilities = torch.log_softmax(torch.randn(rows, classes), 1)
        labels = torch.randint(classes, (rows,))
        got = torch.as_tensor(answer(log_probabilities, labels))
        expect(got.ndim == 0, "One number for the whole batch, please.")
        right = F.nll_loss(log_probabilities, labels)
        expect(
            torch.allclose(got, right, atol=1e-5), f"Got {float(got):.4f}; nll_loss says {float(right):.4f}."
        )


@exercise("7.4", hint="confusion[t, p] counts the images of class t that were taken for class p.")
def confusion(answer):
    for classes in (2, 5):
        labels, predicted = torch.randint(classes, (60,)), torch.randint(classes, (60,))
        predicted[0], labels[0] = 1, 0  # so that rows and columns differ
        got = answer(labels, predicted, classes)
        _tensor(got, (classes, classes))
        right = torch.zeros(classes, classes)
        for t, p in zip(labels, predicted, strict=True):
            right[t, p] += 1
        expect(int(got.sum()) == 60, "Every image must be counted exactly once.")
        expect(torch.equal(got.float(), right), "Counts in the wrong place: rows are the true classes.")


@exercise("7.5", hint="Normalization was subtract, then divide. Undo the steps in the opposite order.")
def to_bytes(answer):
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    for _ in range(3):
        original = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
        normalized = (original / 255 - mean) / std
        got = answer(normalized, MEAN, STD)
        _tensor(got, (32, 32, 3))
        expect(got.dtype == torch.uint8, "imshow and PIL want torch.uint8 here.")
        expect(
            torch.equal(got, original.permute(1, 2, 0)), "Some pixels differ from the original. Rounded down?"
        )


@exercise("7.6", hint="Two layers: each has inputs x outputs weights and one bias per output.")
def size_for_photographs(answer):
    for height, width, hidden, classes in ((32, 32, 512, 2), (224, 224, 512, 1000), (10, 20, 7, 3)):
        right = 3 * height * width * hidden + hidden + hidden * classes + classes
        got = answer(height, width, hidden, classes)
        expect(got == right, f"For {height}x{width} pixels: not {got} parameters.")
