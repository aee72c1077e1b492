"""Typical wrong answers to chapter 15's exercises."""

import copy
import io
import zlib

import torch


def sorted_in_place(times, share):
    times.sort()
    return times[min(len(times) - 1, round(share * len(times)) - 1)]


def never_waits_for_the_worker(arrivals, free_at, max_batch, max_wait):
    start = arrivals[0] + max_wait
    return start, min(max_batch, sum(a <= start for a in arrivals))


def always_waits_to_the_end(arrivals, free_at, max_batch, max_wait):
    start = max(arrivals[0] + max_wait, free_at)
    return start, min(max_batch, sum(a <= start for a in arrivals))


def with_an_if(crops):
    if crops.max() > 100:
        peak = crops.flatten(1).amax(1).clamp(min=100)[:, None, None, None]
        return crops * (100 / peak)
    return crops


def of_the_whole_batch(crops):
    return crops * (100 / crops.max().clamp(min=100))


def one_scale_for_all(weight):
    scale = weight.abs().max() / 127
    return (weight / scale).round().to(torch.int8), scale.expand(len(weight))


def cut_off(weight):
    scale = weight.abs().flatten(1).amax(1) / 127
    return (weight / scale.reshape(-1, *[1] * (weight.dim() - 1))).to(torch.int8), scale


def forgets_the_bias(conv, norm):
    folded = torch.nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, padding=conv.padding)
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    with torch.no_grad():
        folded.weight.copy_(conv.weight * factor[:, None, None, None])
        folded.bias.copy_(norm.bias - norm.running_mean * factor)
    return folded


def in_place(conv, norm):
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    with torch.no_grad():
        conv.weight.mul_(factor[:, None, None, None])
        bias = conv.bias if conv.bias is not None else torch.zeros(conv.out_channels)
        conv.bias = torch.nn.Parameter((bias - norm.running_mean) * factor + norm.bias)
    return conv


def only_zipped(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return zlib.compress(buffer.getvalue(), 9), lambda blob: torch.load(
        io.BytesIO(zlib.decompress(blob)), weights_only=True
    )


def cheats(state):
    kept = copy.deepcopy(state)
    return b"see the function", lambda blob: kept


WRONG = {
    "15.1": [
        lambda times, share: times[int(share * len(times)) - 1],
        sorted_in_place,
        lambda times, share: sum(times) / len(times),
    ],
    "15.2": [never_waits_for_the_worker, always_waits_to_the_end],
    "15.3": [with_an_if, of_the_whole_batch, lambda crops: crops.clamp(max=100)],
    "15.4": [one_scale_for_all, cut_off],
    "15.5": [forgets_the_bias, in_place],
    "15.6": [only_zipped, cheats],
}
