"""Solutions to chapter 4's exercises."""

from collections import Counter

import torch
import torch.nn.functional as F


def displayable(batch, mean, std):
    pixels = (batch * std[:, None, None] + mean[:, None, None]) * 255
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def coronal(hu, row, spacing_mm):
    plane = hu[:, row].flip(0).float()  # (Z, X), head up
    rows = round(len(hu) * spacing_mm[0] / spacing_mm[2])
    resized = F.interpolate(plane[None, None], (rows, plane.shape[1]), mode="bilinear", align_corners=True)
    return resized[0, 0]


def one_hot_labels(labels):
    kinds, places = labels.unique(return_inverse=True)
    return F.one_hot(places, len(kinds)).float()


def threshold(values, good):
    candidates = torch.cat([values, values.max()[None] + 1])
    right = ((values[None] < candidates[:, None]) == good).float().mean(1)
    return candidates[right.argmax()].item()


def with_the_past(counts):
    return torch.stack([counts[167:-1], counts[:-168]], dim=1), counts[168:]


def merge_pair(tokens):
    if len(tokens) < 2:
        return list(tokens)
    # max keeps the first of equals, and a Counter remembers the order of appearance.
    pairs = Counter(zip(tokens, tokens[1:], strict=False))
    best = max(pairs, key=pairs.get)
    merged, place = [], 0
    while place < len(tokens):
        if tuple(tokens[place : place + 2]) == best:
            merged.append("".join(best))
            place += 2
        else:
            merged.append(tokens[place])
            place += 1
    return merged


def encode_hour(hours):
    angle = hours.float() / 24 * 2 * torch.pi
    return torch.stack([angle.sin(), angle.cos()], dim=1)


SOLUTIONS = {
    "4.1": displayable,
    "4.2": coronal,
    "4.3": one_hot_labels,
    "4.4": threshold,
    "4.5": with_the_past,
    "4.6": merge_pair,
    "4.7": encode_hour,
}
