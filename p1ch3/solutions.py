"""Solutions to chapter 3's exercises."""

import torch
from einops import rearrange


def corners(t):
    return t[:: t.shape[0] - 1, :: t.shape[1] - 1]


def address(index, stride, offset):
    return offset + sum(i * s for i, s in zip(index, stride, strict=True))


def sliding_windows(signal, size):
    step = signal.stride(0)
    return signal.as_strided((len(signal) - size + 1, size), (step, step))


def blend(a, b):
    return ((a.int() + b.int()) // 2).to(torch.uint8)


def luma(image, axes):
    return rearrange(image, f"{axes} -> height width channel") @ torch.tensor([0.2126, 0.7152, 0.0722])


def smallest(values):
    types = [
        torch.uint8,
        torch.int8,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
        torch.float16,
        torch.bfloat16,
        torch.int16,
        torch.float32,
        torch.int32,
    ]
    for dtype in types:
        if torch.equal(values.to(dtype).to(values.dtype), values):
            return values.to(dtype)
    return values


SOLUTIONS = {
    "3.1": corners,
    "3.2": address,
    "3.3": sliding_windows,
    "3.4": blend,
    "3.5": luma,
    "3.6": smallest,
}
