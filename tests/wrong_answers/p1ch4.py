"""Typical wrong answers to chapter 4's exercises."""

import torch
import torch.nn.functional as F


def _cut_off(batch, mean, std):
    pixels = (batch * std[:, None, None] + mean[:, None, None]) * 255
    return pixels.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _wraps(batch, mean, std):
    pixels = (batch * std[:, None, None] + mean[:, None, None]) * 255
    return (pixels.round().long() % 256).to(torch.uint8).permute(0, 2, 3, 1)


def _upside_down(hu, row, spacing_mm):
    rows = round(len(hu) * spacing_mm[0] / spacing_mm[2])
    return F.interpolate(hu[:, row].float()[None, None], (rows, hu.shape[2]))[0, 0]


WRONG = {
    "4.1": [
        _cut_off,
        _wraps,
        lambda batch, mean, std: (batch * 255).to(torch.uint8).permute(0, 2, 3, 1),
        lambda batch, mean, std: batch,
    ],
    "4.2": [
        _upside_down,
        lambda hu, row, spacing_mm: hu[:, row].flip(0),
        lambda hu, row, spacing_mm: hu[row],
    ],
    "4.3": [
        lambda labels: F.one_hot(labels - labels.min()).float(),
        lambda labels: F.one_hot(labels.unique(return_inverse=True)[1]),
    ],
    "4.4": [
        lambda values, good: values.mean().item(),
        lambda values, good: values[good].mean().item(),
    ],
    "4.5": [
        lambda counts: (torch.stack([counts[168:], counts[:-168]], 1), counts[168:]),
        lambda counts: (torch.stack([counts[1:], counts[:-1]], 1), counts),
        lambda counts: torch.stack([counts[167:-1], counts[:-168]], 1),
    ],
    "4.6": [
        lambda tokens: tokens,
        lambda tokens: ["".join(tokens[i : i + 2]) for i in range(0, len(tokens), 2)],
    ],
    "4.7": [
        lambda hours: hours.float()[:, None] / 24,
        lambda hours: F.one_hot(hours.long(), 24).float(),
        lambda hours: (hours.float()[:, None] / 24 * torch.pi).sin(),
    ],
}
