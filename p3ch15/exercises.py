"""Checks of chapter 15's exercises."""

import copy
import random
import warnings

import torch
from torch import nn

from util.exercises import exercise, expect


@exercise(
    "15.1", hint="Sort the times. The 95th of 100 is the smallest that at least 95 in 100 do not exceed."
)
def percentile(answer):
    rng = random.Random(15)
    times = [float(n) for n in range(1, 101)]
    rng.shuffle(times)
    before = list(times)
    for share, want in ((0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)):
        got = answer(times, share)
        expect(got == want, f"Of the times 1 to 100 ms, p{share * 100:g} is {want}, not {got}.")
    expect(times == before, "Your function changed the list that it was given.")
    got = answer([7.0, 3.0, 900.0, 5.0, 4.0], 0.95)
    expect(got == 900, f"Of five times, four are 80 %, too few for p95; it is the slowest, not {got}.")
    expect(answer([12.0], 0.5) == 12, "One time is every percentile of itself.")


@exercise(
    "15.2",
    hint="Two moments matter: when the batch would be full, and when the oldest has waited enough. "
    "The earlier counts; but no batch starts before the worker is free.",
)
def next_batch(answer):
    cases = (
        ([0.0, 1.0, 2.0, 3.0], 0.0, 2, 10.0, (1.0, 2)),  # full after the second
        ([0.0, 1.0, 20.0], 0.0, 4, 5.0, (5.0, 2)),  # the oldest has waited enough
        ([0.0, 1.0, 2.0, 3.0, 4.0], 3.5, 8, 1.0, (3.5, 4)),  # the worker was busy; take all who came
        ([0.0, 0.0, 0.0], 0.0, 2, 5.0, (0.0, 2)),  # full at once
        ([4.0], 0.0, 8, 0.0, (4.0, 1)),  # no waiting at all
        ([0.0, 1.0, 2.0, 3.0, 4.0], 9.0, 3, 1.0, (9.0, 3)),  # more wait than fit
    )
    for arrivals, free_at, max_batch, max_wait, want in cases:
        got = tuple(answer(list(arrivals), free_at, max_batch, max_wait))
        expect(
            got == want,
            f"Arrivals {arrivals}, worker free at {free_at}, at most {max_batch}, wait {max_wait}: not {got}.",
        )


@exercise("15.3", hint="torch.where chooses element by element, and both ways stay in the recorded graph.")
def traceable(answer):
    quiet, loud = torch.rand(2, 1, 4, 4) * 50, torch.rand(2, 1, 4, 4) * 100 + 150
    mixed = torch.cat([quiet[:1], loud[:1]])

    def wanted(crops):
        peak = crops.flatten(1).amax(1)
        scale = torch.where(peak > 100, 100 / peak, torch.ones_like(peak))
        return crops * scale[:, None, None, None]

    for crops in (quiet, loud, mixed):
        got = answer(crops.clone())
        expect(
            isinstance(got, torch.Tensor) and got.shape == crops.shape, "Return a tensor of the same shape."
        )
        close = torch.allclose(got, wanted(crops), atol=1e-3)
        expect(close, "Crop by crop: where the peak is above 100, scale so that it is 100; else leave it.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for example in (quiet, loud):
            traced = torch.jit.trace(answer, example, check_trace=False)
            for crops in (quiet, loud, mixed, torch.cat([mixed, loud])):
                close = torch.allclose(traced(crops), wanted(crops), atol=1e-3)
                expect(close, "In eager PyTorch it is right, but traced it does what the example needed.")


@exercise(
    "15.4", hint="For each output channel, the largest absolute weight becomes 127. Round; do not cut off."
)
def to_int8(answer):
    generator = torch.Generator().manual_seed(15)
    weight = torch.randn(6, 4, 3, 3, generator=generator) * torch.logspace(-3, 1, 6)[:, None, None, None]
    for given in (weight, torch.randn(5, 7, generator=generator)):
        before = given.clone()
        got = answer(given)
        expect(isinstance(got, tuple) and len(got) == 2, "Return two tensors: the integers and the scales.")
        integers, scale = got
        expect(
            integers.dtype == torch.int8, f"The first must have the type torch.int8, not {integers.dtype}."
        )
        expect(torch.equal(given, before), "Your function changed the weights.")
        expect(integers.shape == given.shape, "As many integers as weights, in the same shape.")
        expect(scale.shape == (len(given),), f"One scale per output channel: ({len(given)},).")
        expect(int(integers.amin()) >= -127, "Symmetric: from -127 to 127.")
        wide = scale.reshape(-1, *[1] * (given.dim() - 1))
        error = (integers.float() * wide - given).abs().flatten(1).amax(1)
        step = given.abs().flatten(1).amax(1) / 127
        worst = (error / step).max().item()
        expect(worst <= 0.501, f"Restored, a weight is off by {worst:.2f} steps; half a step is possible.")


@exercise(
    "15.5",
    hint="y = (conv(x) - mean) / sqrt(var + eps) * weight + bias is linear in conv(x): "
    "a factor for each output channel, and a constant.",
)
def fold(answer):
    torch.manual_seed(15)
    for groups in (False, True):
        conv, norm = nn.Conv2d(3, 5, 3, padding=1, bias=groups), nn.BatchNorm2d(5).eval()
        with torch.no_grad():
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.2, 3)
            norm.weight.normal_()
            norm.bias.normal_()
        old = copy.deepcopy(conv.state_dict())
        got = answer(conv, norm)
        expect(isinstance(got, nn.Conv2d), "Return one nn.Conv2d.")
        same = all(torch.equal(t, old[name]) for name, t in conv.state_dict().items())
        expect(same, "Your function changed the convolution that it was given; make a new one.")
        x = torch.randn(2, 3, 8, 8)
        with torch.no_grad():
            wanted, said = norm(conv(x)), got(x)
        expect(said.shape == wanted.shape, f"The output has the shape {tuple(said.shape)}: copy the padding.")
        far = (said - wanted).abs().max().item()
        expect(far < 1e-4, f"The output is off by {far:.3g}" + ("." if groups else " (no bias in the conv)."))


@exercise(
    "15.6", hint="8 bits and their scales are about a quarter; zlib, or zeros for it to find, do the rest."
)
def pack(answer):
    torch.manual_seed(15)
    x = torch.randn(1500, 20)
    y = ((x[:, :5].sum(1) > 0) ^ (x[:, 5:10].sum(1) > 0)).long()
    model = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    state = {name: t.detach().clone() for name, t in model.state_dict().items()}
    size = sum(t.nbytes for t in state.values())
    got = answer({name: t.clone() for name, t in state.items()})
    expect(isinstance(got, tuple) and len(got) == 2, "Return (the bytes, a function that unpacks them).")
    blob, unpack = got
    expect(isinstance(blob, bytes), f"The first must be bytes, not {type(blob).__name__}.")
    expect(
        len(blob) <= 0.3 * size,
        f"{len(blob)} bytes are {len(blob) / size:.2f} of the float size; 0.3 may be.",
    )
    restored = unpack(blob)
    expect(set(restored) == set(state), "What is unpacked has other names than the state dict.")
    for name, t in restored.items():
        expect(
            t.shape == state[name].shape and t.dtype == torch.float32, f"{name} has another shape or type."
        )
    # The bytes alone must do: unpack a copy of a different network with the same function.
    other = {name: -t for name, t in state.items()}
    blob_other, unpack_other = answer(other)
    expect(
        not torch.equal(unpack_other(blob_other)["0.weight"], restored["0.weight"]),
        "Another network gives the same weights.",
    )
    again = unpack(blob_other)["0.weight"]
    expect(
        not torch.equal(again, restored["0.weight"]),
        "The weights come from the function, not from the bytes.",
    )
    with torch.no_grad():
        before = model(x).argmax(1)
        model.load_state_dict(restored)
        agree = (model(x).argmax(1) == before).float().mean().item()
    expect(agree >= 0.97, f"The restored network agrees on {agree:.1%} of 1,500 inputs; 97 % are asked for.")
