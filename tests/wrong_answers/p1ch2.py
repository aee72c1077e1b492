"""Typical wrong answers to chapter 2's exercises."""

import torch
import torch.nn.functional as F
from torchvision.transforms import v2


def _in_place(model, picture, answer):
    before = model(picture).softmax(1)[0, answer]
    drop = torch.zeros(8, 8)
    for i in range(64):
        r, c = divmod(i, 8)
        picture[:, :, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8] = 0
        drop[r, c] = before - model(picture).softmax(1)[0, answer]
    return drop


def _scores(model, picture, answer):
    before = model(picture)[0, answer]
    drop = torch.zeros(8, 8)
    for i in range(64):
        r, c = divmod(i, 8)
        covered = picture.clone()
        covered[:, :, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8] = 0
        drop[r, c] = before - model(covered)[0, answer]
    return drop


def _with_size(image, size):
    pixels = v2.functional.pil_to_tensor(image)
    return (v2.functional.center_crop(v2.functional.resize(pixels, size), 64)[None] / 255 - 0.5) / 0.25


WRONG = {
    "2.1": [
        lambda scores, names, k: [(names[i], float(scores[0, i])) for i in scores[0].topk(k).indices],
        lambda scores, names, k: [(n, 100 * p) for n, p in zip(names, scores.softmax(1)[0].tolist())][:k],
        lambda scores, names, k: [(names[i], 100.0) for i in scores.softmax(0)[0].topk(k).indices],
    ],
    "2.2": [
        lambda image: _with_size(image, [64, 64]),
        lambda image: _with_size(image, 64)[0],
        lambda image: _with_size(image, 64) * 0.25 + 0.5,
        lambda image: _with_size(image, 128),
    ],
    "2.3": [
        lambda state: state,
        lambda state: {name.replace("module.", ""): value for name, value in state.items()},
        lambda state: {name.split(".", 1)[1]: value for name, value in state.items()},
    ],
    "2.4": [
        lambda f, g, a, b: (g(f(a)) - a).abs().mean(),
        lambda f, g, a, b: (g(f(a)) - a).square().mean() + (f(g(b)) - b).square().mean(),
        lambda f, g, a, b: (f(a) - a).abs().mean() + (g(b) - b).abs().mean(),
    ],
    "2.5": [
        lambda real, forged: -(real.sigmoid().log().mean() + (1 - forged.sigmoid()).log().mean()) / 2,
        lambda real, forged: -(F.logsigmoid(real).mean() + F.logsigmoid(forged).mean()) / 2,
        lambda real, forged: -(F.logsigmoid(real).sum() + F.logsigmoid(-forged).sum()) / 2,
    ],
    "2.6": [_in_place, _scores, lambda model, picture, answer: torch.zeros(64)],
}
