"""Checks of chapter 13's exercises."""

import numpy as np
import torch
from scipy import ndimage

from p2ch13.dsets import nodule_box
from util.exercises import exercise, expect
from util.unet import UNet


@exercise("13.1", hint="Twice the overlap, divided by the sum of both areas.")
def check_dice(dice):
    generator = torch.Generator().manual_seed(131)
    a, b = torch.rand(2, 20, 30, generator=generator) < 0.3
    got = float(dice(a, b))
    overlap, union = (a & b).sum().item(), (a | b).sum().item()
    expect(
        abs(got - overlap / union) > 1e-3 or overlap == union,
        "That is the intersection over the union; Dice counts the overlap twice.",
    )
    expect(abs(got - 2 * overlap / (a.sum() + b.sum()).item()) < 1e-6, "Dice of two random masks is another.")
    expect(float(dice(a, a)) == 1, "A mask agrees perfectly with itself.")
    expect(float(dice(a, ~a)) == 0, "Masks that do not overlap have a Dice of 0.")
    empty = torch.zeros(4, 4, dtype=torch.bool)
    expect(float(dice(empty, empty)) == 1, "Two empty masks agree: their Dice is 1, not a division by zero.")


@exercise("13.2", hint="Which slices lie outside the scan? Repeat the first or the last one for them.")
def check_context(with_context):
    hu = np.arange(6 * 2 * 3).reshape(6, 2, 3).astype(np.int16)
    for index, context in ((3, 1), (0, 2), (5, 3), (2, 0)):
        got = np.asarray(with_context(hu, index, context))
        want = hu[[min(max(k, 0), 5) for k in range(index - context, index + context + 1)]]
        expect(
            got.shape == want.shape,
            f"{context} slices on each side make {want.shape}, yours is {got.shape}; what about the edge?",
        )
        expect((got == want).all(), f"Around slice {index} with {context} on each side, slices are wrong.")


@exercise(
    "13.3", hint="Per level two convolutions of 3×3; each adds 2 pixels, times how far pixels are apart."
)
def check_receptive_field(receptive_field):
    for depth in (2, 3, 4):
        model = UNet(1, 1, depth=depth, wf=2, padding=True, batch_norm=True).eval()
        size = 128
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(0.01)
        picture = torch.full((1, 1, size, size), 1.0, requires_grad=True)
        # The last pixel before the middle: of the 2**(depth-1) places in a pooling window, the lowest right.
        middle = size // 2 - 1
        model(picture)[0, 0, middle, middle].backward()
        seen = (picture.grad[0, 0] != 0).any(dim=0).sum().item()
        got = receptive_field(depth)
        expect(
            abs(got - seen) <= 2 ** (depth - 1),
            f"A U-Net with {depth} levels sees {seen} pixels across (a few more or less elsewhere), not {got}.",
        )


@exercise("13.4", hint="Start from the centre and step outwards on both sides at once, along each axis.")
def check_box(box):
    hu = np.full((21, 31, 41), -900, dtype=np.int16)
    distance = [(np.arange(n) - c) ** 2 for n, c in zip(hu.shape, (10, 15, 20))]
    ball = distance[0][:, None, None] / 4 + distance[1][None, :, None] / 9 + distance[2][None, None] / 16
    hu[ball < 4] = 40
    for center in ((10, 15, 20), (11, 15, 20), (10, 16, 19)):
        got = box(hu, center)
        want = nodule_box(hu, center)
        expect(len(got) == 3 and all(isinstance(part, slice) for part in got), "Answer three slices.")
        expect(all(p.start <= c < p.stop for p, c in zip(got, center)), "The box must hold the centre.")
        expect(tuple(got) == tuple(want), f"Around {center} the box is {want}, yours {got}.")
    hu[:] = 40
    got = box(hu, (0, 15, 40))
    expect(
        all(0 <= p.start < p.stop <= n for p, n in zip(got, hu.shape)),
        "In a volume that is dense everywhere the box must stop at the edge.",
    )


@exercise("13.5", hint="Weigh the term of the missed pixels; at weight 0 only the plain Dice loss is left.")
def check_loss(loss):
    label = torch.zeros(1, 1, 8, 8)
    label[0, 0, 2:6, 2:6] = 1
    missed, extra = label.clone(), label.clone()
    missed[0, 0, 2] = 0
    extra[0, 0, 6, 2:6] = 1
    for weight in (0.0, 4.0):
        values = [float(loss(prediction, label, weight)) for prediction in (label, missed, extra)]
        expect(values[0] < 1e-3 + 1e-2 * weight, "A perfect prediction should cost next to nothing.")
        expect(
            weight == 0 or values[1] > 3 * values[2],
            "At weight 4, four missed pixels must cost far more than four extra ones.",
        )
    plain = float(loss(missed, label, 0.0))
    want = 1 - (2 * 12 + 1) / (12 + 16 + 1)
    expect(abs(plain - want) < 0.02, f"Without the weight it is the Dice loss, {want:.3f}, not {plain:.3f}.")
    prediction = label.clone().requires_grad_()
    loss(prediction, label, 4.0).backward()
    expect(torch.isfinite(prediction.grad).all(), "The loss has no finite gradient.")


@exercise("13.6", hint="Lungs are the dark components that do not touch the picture's edge.")
def check_lungs(lungs):
    """Open-ended: any way to find both lungs in a slice without a network."""
    rng = np.random.default_rng(136)
    for _ in range(3):
        y, x = np.ogrid[0:128, 0:160]
        hu = np.full((128, 160), -1000.0)
        hu[((y - 64) / 52) ** 2 + ((x - 80) / 70) ** 2 < 1] = 30
        truth = np.zeros(hu.shape, dtype=bool)
        for middle in (50 + rng.integers(-3, 4), 110 + rng.integers(-3, 4)):
            truth |= ((y - 64) / 30) ** 2 + ((x - middle) / 19) ** 2 < 1
        hu[truth] = -850
        hu[((y - 64) ** 2 + (x - 80) ** 2) < 9] = -950  # the windpipe: air, but no lung
        vessel = truth & (((y - 60) ** 2 + (x - 50) ** 2) < 16)
        hu[vessel] = 40
        hu += rng.normal(0, 20, hu.shape)
        got = np.asarray(lungs(hu.astype(np.int16)), dtype=bool)
        expect(got.shape == truth.shape, "Answer a mask of the slice's shape.")
        dice = 2 * (got & truth).sum() / max(got.sum() + truth.sum(), 1)
        expect(not got[0].any(), "The air around the patient is no lung.")
        expect(dice > 0.95, f"Dice with the true lungs is {dice:.2f}; 0.95 should be within reach.")
        inside = ndimage.binary_erosion(vessel)
        expect(got[inside].mean() > 0.5, "Vessels inside the lungs should count as lung: fill the holes.")
