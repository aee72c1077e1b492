"""Solutions of chapter 2's exercises. Try first!"""

import torch
import torch.nn.functional as F
from torchvision.transforms import v2


def top_names(scores, names, k):
    percent, places = (scores.softmax(1)[0] * 100).topk(k)
    return [(names[place], value.item()) for place, value in zip(places, percent, strict=True)]


def to_batch(image):
    pixels = v2.functional.pil_to_tensor(image)  # (3, H, W) uint8
    pixels = v2.functional.center_crop(v2.functional.resize(pixels, 64), 64)
    return (pixels[None] / 255 - 0.5) / 0.25  # (1, 3, 64, 64)


def unwrap(state):
    return {name.removeprefix("module."): value for name, value in state.items()}


def cycle_loss(to_b, to_a, a, b):
    return (to_a(to_b(a)) - a).abs().mean() + (to_b(to_a(b)) - b).abs().mean()


def detective_loss(real, forged):
    return -(F.logsigmoid(real).mean() + F.logsigmoid(-forged).mean()) / 2


@torch.inference_mode()
def occlusion_map(model, picture, answer):
    before = model(picture).softmax(1)[0, answer]
    drop = torch.zeros(8, 8)
    for row in range(8):
        for column in range(8):
            covered = picture.clone()
            covered[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 0
            drop[row, column] = before - model(covered).softmax(1)[0, answer]
    return drop


SOLUTIONS = {
    "2.1": top_names,
    "2.2": to_batch,
    "2.3": unwrap,
    "2.4": cycle_loss,
    "2.5": detective_loss,
    "2.6": occlusion_map,
}
