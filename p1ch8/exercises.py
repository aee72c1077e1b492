"""Checks of chapter 8's exercises."""

import torch
import torch.nn.functional as F
from torch import nn

from util.exercises import exercise, expect


@exercise(
    "8.1", hint="Padding adds to both sides; the last start that fits is padded size minus kernel size."
)
def output_size(answer):
    for size, kernel, padding, stride in (
        (32, 3, 1, 1),
        (32, 3, 0, 1),
        (32, 5, 2, 2),
        (7, 3, 0, 2),
        (8, 4, 0, 3),
    ):
        right = nn.Conv2d(1, 1, kernel, stride, padding)(torch.zeros(1, 1, size, size)).shape[-1]
        got = answer(size, kernel, padding, stride)
        expect(
            got == right,
            f"Size {size}, kernel {kernel}, padding {padding}, stride {stride}: not {got} pixels.",
        )


@exercise(
    "8.2", hint="Each output pixel: a window of the image times the kernel, summed. Nothing is flipped."
)
def by_hand(answer):
    for height, width, k in ((6, 7, 3), (5, 5, 1), (8, 6, 5)):
        image, kernel = torch.randn(height, width), torch.randn(k, k)
        got = answer(image, kernel)
        expect(isinstance(got, torch.Tensor), "Return a tensor.")
        want = (height - k + 1, width - k + 1)
        expect(tuple(got.shape) == want, f"The shape should be {want}, not {tuple(got.shape)}.")
        right = F.conv2d(image[None, None], kernel[None, None])[0, 0]
        expect(torch.allclose(got, right, atol=1e-4), "The right shape, but not PyTorch's convolution.")


@exercise("8.3", hint="Bright to the right of dark gives a positive sum; equal brightness must give zero.")
def edge_kernel(answer):
    kernel = answer()
    expect(isinstance(kernel, torch.Tensor) and kernel.shape == (3, 3), "Return a (3, 3) tensor.")
    weight = kernel.float()[None, None]
    flat = F.conv2d(torch.full((1, 1, 6, 6), 0.7), weight)
    expect(bool(flat.abs().max() < 1e-5), "A uniform image must give zero everywhere.")
    step = torch.zeros(1, 1, 6, 6)
    step[..., 3:] = 1
    expect(
        bool(F.conv2d(step, weight).max() > 0.1),
        "A step from dark (left) to bright (right) must be positive.",
    )
    expect(
        bool(F.conv2d(step.transpose(2, 3), weight).abs().max() < 1e-5),
        "A step from top to bottom must give zero.",
    )


@exercise("8.4", hint="Walk back from the last layer: r = (r - 1) * stride + kernel.")
def receptive_field(answer):
    for layers in (
        [(3, 1)], [(3, 1), (3, 1)], [(3, 1), (2, 2), (3, 1), (2, 2)], [(5, 2), (3, 1), (3, 2)],
    ):  # fmt: skip
        size = 64
        image = torch.zeros(1, 1, size, size, dtype=torch.float64, requires_grad=True)
        out = image
        for kernel, stride in layers:
            out = F.conv2d(out, torch.ones(1, 1, kernel, kernel, dtype=torch.float64), stride=stride)
        middle = out.shape[-1] // 2
        out[0, 0, middle, middle].backward()
        right = int((image.grad[0, 0].abs().sum(0) > 0).sum())
        got = answer(layers)
        expect(
            got == right, f"Layers (kernel, stride) {layers}: one output does not see {got} pixels across."
        )


@exercise("8.5", hint="In training: drop, and scale what stays so that the mean is kept. Otherwise: nothing.")
def dropout(answer):
    x = torch.ones(200, 50) * 3
    still = answer(x, 0.4, False)
    expect(
        isinstance(still, torch.Tensor) and torch.equal(still, x), "Outside training, x must come back as is."
    )
    got = answer(x, 0.4, True)
    expect(isinstance(got, torch.Tensor) and got.shape == x.shape, "Return a tensor shaped like x.")
    part = float((got == 0).float().mean())
    expect(abs(part - 0.4) < 0.03, f"p = 0.4, but {part:.2f} of the values were dropped.")
    expect(
        abs(float(got.mean()) - 3) < 0.15, f"The mean should stay near 3; it became {float(got.mean()):.2f}."
    )
    expect(not torch.equal(got, answer(x, 0.4, True)), "Two calls drop the same values.")


@exercise("8.6", hint="The addition needs equal shapes. Which argument of Conv2d keeps height and width?")
def residual_block(answer):
    for channels in (4, 7):
        block = answer(channels)
        expect(isinstance(block, nn.Module), "Return an nn.Module.")
        x = torch.randn(2, channels, 9, 9)
        shape = tuple(block(x).shape)
        expect(shape == tuple(x.shape), f"Input {tuple(x.shape)} came out as {shape}.")
        convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
        expect(len(convolutions) == 2, f"Two convolutions are asked for; PyTorch finds {len(convolutions)}.")
        with torch.no_grad():
            for parameter in block.parameters():
                parameter.zero_()
        block.eval()
        expect(torch.allclose(block(x), x), "With all weights zero, the input must come out unchanged.")
