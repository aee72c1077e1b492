"""Chapter 15's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import bisect
import copy
import functools
import io
import itertools
import math
import warnings
import zlib

import numpy as np
import torch
from torch import nn

from util.exercises import (
    BUG,
    BUILD,
    EXPERIMENT,
    PREDICT,
    Exercise,
    as_tensor,
    case,
    expect,
    predicted,
    same,
)

# ---------------------------------------------------------------- 15.1

percentile_exercise = Exercise(
    "15.1",
    title="What p95 means",
    difficulty=1,
    minutes=15,
    kind=BUILD,
    text="""
    `percentile(times, share)` is the smallest of the measured times that at least `share` of them (0.95 for
    p95) do not exceed. The list stays as it is.
    """,
    stub='''
    def percentile(times, share):
        """times: list of numbers; share: above 0, up to 1. Returns one of the times."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Sort a copy. How many of the times must not exceed the answer?",
        "Count from below: the k-th smallest is not exceeded by k of them. Which is the first k with "
        "k / n >= share?",
        "Mind the floats: 0.55 * 100 is a little more than 55, and `ceil` of that is 56. Comparing "
        "`k / n >= share` for each k does not fall into the trap.",
    ),
    why="""
    p95 is a time that somebody really waited, not a number between two. And `ceil(share * n)` looks right
    until floating point has its say: chapter 3's lesson, in a dashboard.
    """,
)


def _percentile(times, share):
    return min(t for t in times if sum(other <= t for other in times) / len(times) >= share)


@percentile_exercise.check
def check_percentile(answer):
    for count in (1, 2, 3, 5, 20, 100):
        times = torch.randperm(count).add(1).mul(3).tolist()
        for hundredths in (1, 7, 25, 28, 50, 55, 56, 57, 95, 99, 100):
            given = list(times)
            with case(
                times=times if count <= 5 else f"3, 6, ... {3 * count}, shuffled", share=hundredths / 100
            ):
                same(answer(given, hundredths / 100), _percentile(times, hundredths / 100), "the percentile")
                expect(given == times, "the list that you were given has changed.")
    with case(times=[2, 2, 9], share=0.6):
        same(answer([2, 2, 9], 0.6), 2, "the percentile")


@percentile_exercise.solution
def percentile(times, share):
    ordered = sorted(times)
    for count, time in enumerate(ordered, 1):
        if count / len(ordered) >= share:
            return time


@percentile_exercise.right
def by_definition(times, share):
    return min(t for t in times if sum(other <= t for other in times) / len(times) >= share)


@percentile_exercise.right
def rounds_before_it_takes_the_ceiling(times, share):
    return np.sort(times)[math.ceil(round(share * len(times), 9)) - 1]


@percentile_exercise.wrong
def ceiling_of_a_float(times, share):
    return sorted(times)[math.ceil(share * len(times)) - 1]


@percentile_exercise.wrong
def cuts_off(times, share):
    return sorted(times)[int(share * len(times)) - 1]


@percentile_exercise.wrong
def between_two_times(times, share):
    return float(np.quantile(times, share))


@percentile_exercise.wrong
def sorts_the_readers_list(times, share):
    times.sort()
    return percentile(times, share)


@percentile_exercise.wrong
def the_mean(times, share):
    return sum(times) / len(times)


# ---------------------------------------------------------------- 15.2

batcher_exercise = Exercise(
    "15.2",
    title="When is each answered?",
    difficulty=2,
    minutes=25,
    kind=BUILD,
    text="""
    Requests come at the sorted times `arrivals`. The network computes one batch at a time, and each batch takes
    `seconds`, whatever its size. As soon as the network is idle and somebody is there, it starts, with all who
    have come by then (those who come at this very moment, too), the oldest first, at most `max_batch`. When does
    each request have its answer?
    """,
    stub='''
    def answered(arrivals, seconds, max_batch):
        """arrivals: sorted times. Returns a list: for each request the time of its answer."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Go from batch to batch, not from request to request. What must you know to say when the next one starts?",
        "When the network is free, and when the oldest of those left came: the later of the two is the start.",
        "`start = max(free, arrivals[first])`; the batch is `arrivals[first:first + max_batch]`, as far as they "
        "came by `start`; all of them are answered at `start + seconds`, and then the network is free again.",
    ),
    why="""
    A burst pays for itself: those at its end wait for the batches before them, and nobody waits for company.
    Simulating the queue on paper is how one finds out what a `max_batch` brings, before any server is built.
    """,
)


def _answered(arrivals, seconds, max_batch):
    times, free = [], -math.inf
    while len(times) < len(arrivals):
        start = max(free, arrivals[len(times)])
        there = bisect.bisect_right(arrivals, start)
        free = start + seconds
        times += [free] * min(max_batch, there - len(times))
    return times


@batcher_exercise.check
def check_batcher(answer):
    for count in (1, 2, 3, 4, 5):
        for arrivals in itertools.combinations_with_replacement((0, 1, 2, 4, 9), count):
            for seconds, max_batch in itertools.product((1, 2, 5), (1, 2, 3)):
                with case(arrivals=list(arrivals), seconds=seconds, max_batch=max_batch):
                    want = _answered(list(arrivals), seconds, max_batch)
                    same(answer(list(arrivals), seconds, max_batch), want, "the times of the answers")


@batcher_exercise.solution
def answered(arrivals, seconds, max_batch):
    times = []
    free = arrivals[0]
    while len(times) < len(arrivals):
        first = len(times)
        start = max(free, arrivals[first])
        batch = [arrival for arrival in arrivals[first : first + max_batch] if arrival <= start]
        free = start + seconds
        times += [free] * len(batch)
    return times


@batcher_exercise.right
def request_by_request(arrivals, seconds, max_batch):
    times, start, taken = [], None, 0
    for arrival in arrivals:
        if start is None or taken == max_batch or arrival > start:
            start = arrival if start is None else max(arrival, start + seconds)
            taken = 0
        taken += 1
        times.append(start + seconds)
    return times


@batcher_exercise.right
def in_numpy(arrivals, seconds, max_batch):
    times = np.zeros(len(arrivals))
    waiting, free = np.array(arrivals, dtype=float), -np.inf
    while len(waiting):
        free = max(free, waiting[0]) + seconds
        size = min(int((waiting <= free - seconds).sum()), max_batch)
        times[len(arrivals) - len(waiting) :][:size] = free
        waiting = waiting[size:]
    return times


@batcher_exercise.wrong
def one_at_a_time(arrivals, seconds, max_batch):
    return _answered(arrivals, seconds, 1)


@batcher_exercise.wrong
def takes_everybody(arrivals, seconds, max_batch):
    return _answered(arrivals, seconds, len(arrivals))


@batcher_exercise.wrong
def never_waits_for_the_network(arrivals, seconds, max_batch):
    return [arrival + seconds for arrival in arrivals]


@batcher_exercise.wrong
def waits_for_a_full_batch(arrivals, seconds, max_batch):
    times, free = [], -math.inf
    for first in range(0, len(arrivals), max_batch):
        batch = arrivals[first : first + max_batch]
        free = max(free, batch[-1]) + seconds
        times += [free] * len(batch)
    return times


@batcher_exercise.wrong
def the_first_always_starts_alone(arrivals, seconds, max_batch):
    """Who comes at the very moment of the start is left for the next batch."""
    times, free = [], -math.inf
    while len(times) < len(arrivals):
        start = max(free, arrivals[len(times)])
        there = max(bisect.bisect_left(arrivals, start), len(times) + 1)
        free = start + seconds
        times += [free] * min(max_batch, there - len(times))
    return times


@batcher_exercise.wrong
def a_batch_takes_as_long_as_its_requests(arrivals, seconds, max_batch):
    times, free = [], -math.inf
    while len(times) < len(arrivals):
        start = max(free, arrivals[len(times)])
        size = min(max_batch, bisect.bisect_right(arrivals, start) - len(times))
        free = start + seconds * size
        times += [free] * size
    return times


@batcher_exercise.wrong
def never_idle(arrivals, seconds, max_batch):
    """Batch follows upon batch, even where nobody has come yet."""
    return [arrivals[0] + seconds * (place // max_batch + 1) for place in range(len(arrivals))]


# ---------------------------------------------------------------- 15.3

limit_exercise = Exercise(
    "15.3",
    title="A choice that survives tracing",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    `limit(crops)` gets crops (N, 1, H, W). Each crop whose largest value is above 100 is multiplied by a
    number, so that its largest value becomes 100; the others stay as they are. Write it so that it survives
    *tracing*, whatever the example was.
    """,
    stub='''
    def limit(crops):
        """crops: (N, 1, H, W). Returns (N, 1, H, W), no value above 100."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "An `if` is decided by the example, once and for all. What decides element by element?",
        "Get each crop's largest value as a tensor (N, 1, 1, 1), and compute the factor for all crops.",
        "`torch.where(peak > 100, 100 / peak, 1.0)` is a factor that stays in the recorded graph; so is "
        "`(100 / peak).clamp(max=1)` where the peak is positive.",
    ),
    why="""
    A trace records what was done, not why. What depends on values has to be an operation on tensors, and
    `torch.where` is the operation for "if".
    """,
)


def _limited(crops):
    peak = crops.amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(peak > 100, crops * (100 / peak), crops)


@limit_exercise.check
def check_limit(answer):
    quiet = torch.tensor([10.0, -40.0]).reshape(1, 1, 1, 2)
    loud = torch.tensor([200.0, 50.0]).reshape(1, 1, 1, 2)
    below_zero = torch.tensor([-300.0, -20.0]).reshape(1, 1, 1, 2)
    batches = [quiet, loud, below_zero, torch.cat([quiet, loud]), torch.cat([loud, below_zero, quiet])]
    batches.append(torch.randint(-1000, 400, (3, 1, 4, 5)).float())
    for crops in batches:
        with case(crops=crops):
            same(answer(crops.clone()), _limited(crops), "limit(crops)", atol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for example in batches[:3]:
            traced = torch.jit.trace(lambda crops: answer(crops), example.clone(), check_trace=False)
            for crops in batches:
                with case(f"traced with the example {example.flatten().tolist()}", crops=crops):
                    same(traced(crops.clone()), _limited(crops), "the traced function's answer", atol=1e-3)


@limit_exercise.solution
def limit(crops):
    peak = crops.amax(dim=(1, 2, 3), keepdim=True)  # (N, 1, 1, 1)
    return torch.where(peak > 100, crops * (100 / peak), crops)


@limit_exercise.right
def by_a_factor(crops):
    peak = crops.flatten(1).max(dim=1).values[:, None, None, None]
    return crops * torch.where(peak > 100, 100 / peak, torch.ones_like(peak))


@limit_exercise.right
def without_where(crops):
    return crops * (100 / torch.clamp(torch.amax(crops, (1, 2, 3), True), min=100))


@limit_exercise.right
def multiplied_in_place(crops):
    crops *= 100 / crops.amax((1, 2, 3), keepdim=True).clamp_min(100)
    return crops


@limit_exercise.wrong
def with_an_if(crops):
    if crops.max() > 100:
        return crops * (100 / crops.amax(dim=(1, 2, 3), keepdim=True).clamp(min=100))
    return crops


@limit_exercise.wrong
def crop_by_crop_in_python(crops):
    return torch.stack([crop * (100 / crop.max()) if crop.max() > 100 else crop for crop in crops])


@limit_exercise.wrong
def of_the_whole_batch(crops):
    return crops * (100 / crops.max().clamp(min=100))


@limit_exercise.wrong
def cuts_off_what_is_above(crops):
    return crops.clamp(max=100)


@limit_exercise.wrong
def scales_the_quiet_ones_too(crops):
    return crops * (100 / crops.amax(dim=(1, 2, 3), keepdim=True))


@limit_exercise.wrong
def with_a_number_of_the_example(crops):
    return crops * min(1.0, 100 / max(float(crops.max()), 1e-6))


# ---------------------------------------------------------------- 15.4

eight_bits = Exercise(
    "15.4",
    title="Eight bits for activations",
    difficulty=2,
    minutes=30,
    kind=BUILD,
    text="""
    Weights lie around zero; activations often do not (behind a ReLU, half of a symmetric range would be
    wasted). So they are stored as `uint8`, 0 to 255, with a *scale* and a *zero point*: a value is restored
    as `(q - zero_point) * scale`. Calibration found that the values lie between `low` and `high`. Zero has
    to be restored as exactly zero, since networks are full of zeros (padding, ReLU); so if the range does
    not contain zero, widen it until it does. Values outside the range become its nearest end.
    """,
    stub='''
    def quantize(x, low, high):
        """x: float tensor; low < high. Returns (uint8 tensor, scale, whole number zero_point)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "256 whole numbers have 255 steps between them. How wide is one?",
        "First `low = min(low, 0)` and `high = max(high, 0)`. Which whole number stands for 0.0?",
        "`zero_point = round(-low / scale)`; then `q = round(x / scale) + zero_point`, clamped to 0 … 255 "
        "before it becomes uint8.",
    ),
    why="""
    The zero point is a whole number, so that 0.0 costs no rounding. Clamp before you convert: a uint8 that
    runs over starts again at 0 and turns the brightest value into the darkest, without a word.
    """,
)


@eight_bits.check
def check_eight_bits(answer):
    ranges = ((0.0, 255.0), (-1.0, 1.0), (0.0, 6.0), (-0.3, 5.0), (2.0, 6.0), (-9.0, -1.0), (-1000.0, 1000.0))
    for low, high in ranges:
        bottom, top = min(low, 0.0), max(high, 0.0)
        x = torch.cat([torch.linspace(bottom, top, 97), torch.tensor([0.0, bottom - 1, top + 1])])
        with case(low=low, high=high):
            got = answer(x.clone(), low, high)
            expect(isinstance(got, tuple | list) and len(got) == 3, "three things are asked for.")
            q, scale, zero_point = torch.as_tensor(got[0]), float(got[1]), float(got[2])
            expect(q.dtype == torch.uint8, f"the numbers should be torch.uint8; they are {q.dtype}.")
            expect(q.shape == x.shape, f"{len(x)} values make {len(x)} numbers, not {tuple(q.shape)}.")
            expect(
                zero_point == int(zero_point) and 0 <= zero_point <= 255,
                f"the zero point should be a whole number from 0 to 255; it is {zero_point:g}.",
            )
            restored = (q.double() - zero_point) * scale
            step = (top - bottom) / 255
            for value, back in zip(x.tolist(), restored.tolist()):
                inside = min(max(value, bottom), top)
                allowed = 0.0 if value == 0 else step * (1.01 if inside in (bottom, top) else 0.51)
                expect(
                    abs(back - inside) <= allowed + 1e-5 * step,
                    f"{value:g} is restored as {back:.4g}; {inside:g} may be missed by {allowed:.2g} at most.",
                )


@eight_bits.solution
def quantize(x, low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    zero_point = round(-low / scale)
    q = (x / scale).round() + zero_point
    return q.clamp(0, 255).to(torch.uint8), scale, zero_point


@eight_bits.right
def by_pytorch(x, low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    zero_point = int(np.rint(-low / scale))
    q = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, 255)
    return (q / scale).round().add(zero_point).to(torch.uint8), torch.tensor(scale), torch.tensor(zero_point)


@eight_bits.right
def in_numpy_(x, low, high):
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    scale = (high - low) / 255
    zero_point = np.rint(-low / scale)
    q = np.clip(np.rint(x.numpy() / scale) + zero_point, 0, 255).astype(np.uint8)
    return [torch.from_numpy(q), scale, zero_point]


@eight_bits.wrong
def does_not_widen_the_range(x, low, high):
    scale = (high - low) / 255
    zero_point = round(-low / scale)
    return ((x / scale).round() + zero_point).clamp(0, 255).to(torch.uint8), scale, zero_point


@eight_bits.wrong
def zero_point_with_a_fraction(x, low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    return ((x - low) / scale).round().clamp(0, 255).to(torch.uint8), scale, -low / scale


@eight_bits.wrong
def runs_over(x, low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    zero_point = round(-low / scale)
    return ((x / scale).round() + zero_point).long().remainder(256).to(torch.uint8), scale, zero_point


@eight_bits.wrong
def cuts_the_fractions_off(x, low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    zero_point = round(-low / scale)
    return (x / scale + zero_point).clamp(0, 255).to(torch.uint8), scale, zero_point


@eight_bits.wrong
def symmetric_like_the_chapters_weights(x, low, high):
    scale = max(abs(low), abs(high)) / 127
    return ((x / scale).round() + 128).clamp(0, 255).to(torch.uint8), scale, 128


@eight_bits.wrong
def with_256_steps(x, low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 256 * 0.97
    zero_point = round(-low / scale)
    return ((x / scale).round() + zero_point).clamp(0, 255).to(torch.uint8), scale, min(zero_point, 255)


# ---------------------------------------------------------------- 15.5

fold_exercise = Exercise(
    "15.5",
    title="Fold the batch norm away",
    difficulty=3,
    minutes=35,
    kind=BUILD,
    text="""
    In evaluation mode, a batch norm behind a convolution can be *folded* into it. Return one `nn.Conv2d`
    that computes `norm(conv(x))`. The convolution may be any: without bias, with stride, padding of any kind,
    dilation, groups. What you were given stays as it is.
    """,
    stub='''
    def fold(conv, norm):
        """conv: nn.Conv2d, norm: nn.BatchNorm2d in evaluation mode. Returns an nn.Conv2d."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "y = (conv(x) - mean) / sqrt(var + eps) * weight + bias is, for each output channel, a factor times "
        "conv(x), and a constant.",
        "The factor goes into the weights of that output channel, factor and constant into its bias. How do "
        "you get a convolution with all the same settings?",
        "`copy.deepcopy(conv)` keeps every setting; then give it new weights and a new bias as "
        "`nn.Parameter`. A convolution without bias gets one.",
    ),
    why="""
    Exporters and compilers do this for you: one operation less for every layer, at no cost in accuracy.
    Copying and changing is safer than building anew, since what you do not know of is copied, too.
    """,
)


def _random_norm(channels):
    norm = nn.BatchNorm2d(channels, eps=0.01).eval()
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.02, 3)
        norm.weight.uniform_(0.3, 2).mul_(torch.tensor([1.0, -1.0]).repeat(channels)[:channels])
        norm.bias.normal_()
    return norm


_CONVOLUTIONS = (
    dict(kernel_size=1),
    dict(kernel_size=1, bias=False),
    dict(kernel_size=3),
    dict(kernel_size=3, padding=1),
    dict(kernel_size=3, stride=2),
    dict(kernel_size=3, dilation=2),
    dict(kernel_size=3, groups=2),
    dict(kernel_size=(1, 3), padding="same"),
    dict(kernel_size=3, padding=1, padding_mode="reflect"),
)


@fold_exercise.check
def check_fold(answer):
    for settings in _CONVOLUTIONS:
        conv, norm = nn.Conv2d(4, 6, **settings).eval(), _random_norm(6)
        before = copy.deepcopy((conv.state_dict(), norm.state_dict()))
        x = torch.randn(2, 4, 7, 7)
        words = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        with case(f"nn.Conv2d(4, 6, {words})"):
            got = answer(conv, norm)
            expect(isinstance(got, nn.Conv2d), f"one nn.Conv2d is asked for, not {type(got).__name__}.")
            after = (conv.state_dict(), norm.state_dict())
            untouched = all(
                then.keys() == now.keys() and all(torch.equal(then[name], now[name]) for name in then)
                for then, now in zip(before, after)
            )
            expect(untouched and got is not conv, "what you were given has changed; make a new convolution.")
            with torch.no_grad():
                same(got(x), norm(conv(x)), "the output of the folded convolution", atol=1e-4)


@fold_exercise.solution
def fold(conv, norm):
    folded = copy.deepcopy(conv)
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()  # one for each output channel
    bias = conv.bias if conv.bias is not None else torch.zeros(conv.out_channels)
    folded.weight = nn.Parameter(conv.weight.detach() * factor.detach()[:, None, None, None])
    folded.bias = nn.Parameter(((bias - norm.running_mean) * factor + norm.bias).detach())
    return folded


@fold_exercise.right
def built_anew(conv, norm):
    settings = {
        name: getattr(conv, name)
        for name in ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    }
    folded = nn.Conv2d(conv.in_channels, conv.out_channels, **settings)
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    with torch.no_grad():
        folded.weight.copy_(torch.einsum("oikl,o->oikl", conv.weight, factor))
        folded.bias.copy_(norm.bias - norm.running_mean * factor)
        if conv.bias is not None:
            folded.bias.add_(conv.bias * factor)
    return folded


@fold_exercise.right
def by_pytorchs_own(conv, norm):
    return torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)


@fold_exercise.wrong
def drops_groups_and_dilation(conv, norm):
    folded = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
    like = fold(conv, norm)
    if folded.weight.shape == like.weight.shape:
        folded.load_state_dict(like.state_dict())
    return folded


@fold_exercise.wrong
def forgets_the_convolutions_bias(conv, norm):
    bare = copy.deepcopy(conv)
    bare.bias = None
    return fold(bare, norm)


@fold_exercise.wrong
def forgets_eps(conv, norm):
    other = copy.deepcopy(norm)
    other.eps = 0.0
    return fold(conv, other)


@fold_exercise.wrong
def forgets_the_mean(conv, norm):
    other = copy.deepcopy(norm)
    other.running_mean.zero_()
    return fold(conv, other)


@fold_exercise.wrong
def in_place(conv, norm):
    folded = fold(conv, norm)
    conv.weight, conv.bias = folded.weight, folded.bias
    return conv


@fold_exercise.wrong
def two_modules(conv, norm):
    return nn.Sequential(conv, norm)


# ---------------------------------------------------------------- 15.6

pack_exercise = Exercise(
    "15.6",
    title="A network in a seventh of its size",
    difficulty=3,
    minutes=45,
    kind=EXPERIMENT,
    text="""
    Pack a network. `pack(state)` gets the state dict of a small classifier and returns `bytes`, at most 0.14
    of the size of its floats, and a function that makes a float32 state dict from such bytes. The check
    trains networks, packs and unpacks them with your functions, and measures: the restored network has to
    agree with the original on 97 % of inputs. Eight bits alone are not enough. How small can you get?
    """,
    stub='''
    def pack(state):
        """state: {name: float32 tensor}. Returns (bytes, function from bytes to such a dictionary)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Eight bits per weight are a quarter of the size. Do you need eight?",
        "Round to a few levels, say -4 to 4, with a scale for each row, and keep the result as int8. What do "
        "bytes that take only nine values hold, and which module of the standard library finds out?",
        "Write the scales as float16 and the levels as int8 one after the other (`numpy().tobytes()`), and "
        "`zlib.compress(…, 9)` the whole. The shapes say where each begins; `np.frombuffer` reads them back.",
    ),
    why="""
    Networks hold far fewer than 32 bits of information per weight. Rounding decides how much is thrown away,
    and a general compressor then turns "few different values" into "few bytes". What was lost is measured
    by what the network answers, not by the weights.
    """,
    seconds=4,
)


@functools.lru_cache(maxsize=2)
def _trained_classifier(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1500, 20, generator=generator)
    y = ((x[:, :5].sum(1) > 0) ^ (x[:, 5:10].sum(1) > 0)).long()
    model = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.requires_grad_(False), x


@pack_exercise.check
def check_pack(answer):
    unpackers = []
    for seed in torch.randint(10**6, (2,)).tolist():
        model, x = _trained_classifier(seed)
        state = model.state_dict()
        size = sum(t.nbytes for t in state.values())
        got = answer({name: t.clone() for name, t in state.items()})
        expect(isinstance(got, tuple | list) and len(got) == 2, "Return the bytes and a function.")
        blob, unpack = got
        expect(isinstance(blob, bytes), f"The first should be bytes; it is {type(blob).__name__}.")
        unpackers.append(unpack)
        expect(
            len(blob) <= 0.14 * size,
            f"{len(blob):,} bytes are {len(blob) / size:.2f} of the floats' size; 0.14 are allowed.",
        )
        # The bytes alone have to do: they are unpacked by the function that came with the first network.
        restored = unpackers[0](blob)
        expect(set(restored) == set(state), "What is unpacked has other names than the state dict.")
        for name, t in restored.items():
            expect(
                isinstance(t, torch.Tensor) and t.shape == state[name].shape and t.dtype == torch.float32,
                f"{name} comes back with another shape or type.",
            )
        agree = torch.func.functional_call(model, restored, (x,)).argmax(1) == model(x).argmax(1)
        expect(
            agree.float().mean() >= 0.97,
            f"The restored network agrees with the original on {agree.float().mean():.1%} of 1,500 inputs; "
            "97 % are asked for.",
        )


@pack_exercise.solution
def pack(state):
    shapes = {name: tuple(t.shape) for name, t in state.items()}
    raw = b""
    for t in state.values():
        rows = t if t.dim() > 1 else t[None]  # a bias is one row
        scale = (rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-6) / 4.49).half()
        levels = (rows / scale.float()).round().clamp(-4, 4).to(torch.int8)
        raw += scale.numpy().tobytes() + levels.numpy().tobytes()

    def unpack(blob):
        raw, at, restored = zlib.decompress(blob), 0, {}
        for name, shape in shapes.items():
            n_rows, count = shape[0] if len(shape) > 1 else 1, math.prod(shape)
            scale = np.frombuffer(raw, np.float16, n_rows, at).astype(np.float32)[:, None]
            levels = np.frombuffer(raw, np.int8, count, at + 2 * n_rows).reshape(n_rows, -1)
            restored[name] = torch.from_numpy((levels * scale).reshape(shape))
            at += 2 * n_rows + count
        return restored

    return zlib.compress(raw, 9), unpack


def _two_to_a_byte(levels):
    """Whole numbers from -7 to 7, (n,), as bytes of two."""
    nibbles = np.pad(levels + 8, (0, len(levels) % 2)).astype(np.uint8)
    return (nibbles[::2] << 4 | nibbles[1::2]).tobytes()


@pack_exercise.right
def four_bits_by_hand(state):
    shapes = {name: tuple(t.shape) for name, t in state.items()}
    parts = []
    for t in state.values():
        rows = t.numpy().reshape(len(t), -1) if t.dim() > 1 else None
        if rows is None:
            parts.append(t.half().numpy().tobytes())
        else:
            scale = np.abs(rows).max(axis=1, keepdims=True).astype(np.float16) / np.float16(7)
            levels = np.clip(np.rint(rows / np.maximum(scale, 1e-6)), -7, 7).astype(int)
            parts += [scale.tobytes(), _two_to_a_byte(levels.ravel())]

    def unpack(blob):
        restored, at = {}, 0
        for name, shape in shapes.items():
            count = math.prod(shape)
            if len(shape) == 1:
                restored[name] = torch.from_numpy(
                    np.frombuffer(blob, np.float16, count, at).astype(np.float32)
                )
                at += 2 * count
                continue
            scale = np.frombuffer(blob, np.float16, shape[0], at).astype(np.float32)[:, None]
            at += 2 * shape[0]
            pairs = np.frombuffer(blob, np.uint8, -(-count // 2), at)
            at += len(pairs)
            levels = np.stack([pairs >> 4, pairs & 15], axis=1).ravel()[:count].astype(np.float32) - 8
            restored[name] = torch.from_numpy(levels.reshape(shape) * scale)
        return restored

    return b"".join(parts), unpack


@pack_exercise.right
def with_torch_save_and_lzma(state):
    import lzma

    small = {}
    for name, t in state.items():
        scale = t.abs().flatten(1).amax(1).half() if t.dim() > 1 else t.abs().max().half()
        wide = scale.float().reshape(-1, *[1] * (t.dim() - 1))
        small[name] = [(t / wide * 3.4).round().to(torch.int8), scale]
    raw = b"".join(levels.numpy().tobytes() for levels, _ in small.values())
    about = [(name, tuple(levels.shape), scale.tolist()) for name, (levels, scale) in small.items()]
    blob = lzma.compress(raw)

    def unpack(blob):
        import json

        head, raw = blob.split(b"\n", 1)
        raw, at, restored = lzma.decompress(raw), 0, {}
        for name, shape, scale in json.loads(zlib.decompress(bytes.fromhex(head.decode()))):
            levels = torch.frombuffer(bytearray(raw), dtype=torch.int8, count=math.prod(shape), offset=at)
            wide = torch.tensor(scale).reshape(-1, *[1] * (len(shape) - 1))
            restored[name] = levels.reshape(shape) * (wide / 3.4)
            at += math.prod(shape)
        return restored

    import json

    return zlib.compress(json.dumps(about).encode(), 9).hex().encode() + b"\n" + blob, unpack


@pack_exercise.wrong
def eight_bits_only(state):
    small = {
        name: ((t / t.abs().max() * 127).round().to(torch.int8), t.abs().max()) for name, t in state.items()
    }
    buffer = io.BytesIO()
    torch.save(small, buffer)

    def unpack(blob):
        packed = torch.load(io.BytesIO(blob), weights_only=True)
        return {name: levels.float() * top / 127 for name, (levels, top) in packed.items()}

    return buffer.getvalue(), unpack


@pack_exercise.wrong
def eight_bits_and_zipped(state):
    blob, unpack = eight_bits_only(state)
    return zlib.compress(blob, 9), lambda blob: unpack(zlib.decompress(blob))


@pack_exercise.wrong
def only_zipped(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return zlib.compress(buffer.getvalue(), 9), lambda blob: torch.load(
        io.BytesIO(zlib.decompress(blob)), weights_only=True
    )


@pack_exercise.wrong
def keeps_the_weights_in_the_function(state):
    kept = copy.deepcopy(state)
    return b"see the function", lambda blob: kept


@pack_exercise.wrong
def signs_only(state):
    small = {name: (t.sign().to(torch.int8), t.abs().mean()) for name, t in state.items()}
    buffer = io.BytesIO()
    torch.save(small, buffer)

    def unpack(blob):
        packed = torch.load(io.BytesIO(zlib.decompress(blob)), weights_only=True)
        return {name: sign.float() * size for name, (sign, size) in packed.items()}

    return zlib.compress(buffer.getvalue(), 9), unpack


@pack_exercise.wrong
def comes_back_as_half(state):
    blob, unpack = pack(state)
    return blob, lambda blob: {name: t.half() for name, t in unpack(blob).items()}


# ---------------------------------------------------------------- 15.7

trace_exercise = Exercise(
    "15.7",
    title="What a trace remembers",
    difficulty=1,
    minutes=15,
    kind=PREDICT,
    text="""
    Four functions, each traced with `torch.ones(3)`:

    ```python
    def choose(x):  return x * 2 if x.sum() > 0 else x - 1
    def behind(x):  return x[len(x) // 2 :]
    def average(x): return x.sum() / x.shape[0]
    def shifted(x): return x - float(x.min())
    ```

    `traced_choose`, `traced_behind`, … are what `torch.jit.trace` made of them. What do these lines give?
    """,
    stub="""
    remembered = {
        "choose(torch.tensor([-1.0, -2.0, -3.0])).tolist()": ...,
        "traced_choose(torch.tensor([-1.0, -2.0, -3.0])).tolist()": ...,
        "behind(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).tolist()": ...,
        "traced_behind(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).tolist()": ...,
        "traced_average(torch.tensor([2.0, 4.0, 6.0, 8.0])).item()": ...,
        "traced_shifted(torch.tensor([5.0, 7.0])).tolist()": ...,
    }
    """,
    hints=(
        "Go through each function with `torch.ones(3)` and write down the operations on tensors that happen. "
        "That list is the trace.",
        "What became a Python number or a Python decision on the way is a constant in the list. Shapes are an "
        "exception, where one asks for `x.shape`: a trace records that. `len(x)` is a Python number.",
        "`choose` took its first branch, `behind` cut off one element, and `shifted` subtracted 1.0.",
    ),
    why="""
    A trace is the list of what happened to the example. Branches, `len(x)`, and tensors turned into Python numbers
    are frozen; `x.shape` is not. PyTorch warns while tracing, once; afterwards,
    the traced function is wrong without a word.
    """,
)


def _choose(x):
    return x * 2 if x.sum() > 0 else x - 1


def _behind(x):
    return x[len(x) // 2 :]


def _average(x):
    return x.sum() / x.shape[0]


def _shifted(x):
    return x - float(x.min())


@functools.cache
def _what_happens():
    names = {"torch": torch}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for function in (_choose, _behind, _average, _shifted):
            names[function.__name__[1:]] = function
            names[f"traced{function.__name__}"] = torch.jit.trace(function, torch.ones(3), check_trace=False)
        return {line: eval(line, names) for line in trace_exercise.stub_keys}


@trace_exercise.check
def check_trace_prediction(prediction):
    predicted(prediction, _what_happens())


trace_exercise.solution("""
remembered = {
    "choose(torch.tensor([-1.0, -2.0, -3.0])).tolist()": [-2, -3, -4],
    "traced_choose(torch.tensor([-1.0, -2.0, -3.0])).tolist()": [-2, -4, -6],
    "behind(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).tolist()": [3, 4, 5],
    "traced_behind(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).tolist()": [2, 3, 4, 5],
    "traced_average(torch.tensor([2.0, 4.0, 6.0, 8.0])).item()": 5,
    "traced_shifted(torch.tensor([5.0, 7.0])).tolist()": [4, 6],
}
""")
_REMEMBERED = dict(
    zip(
        trace_exercise.stub_keys,
        ([-2, -3, -4], [-2, -4, -6], [3, 4, 5], [2, 3, 4, 5], 5, [4, 6]),
    )
)
trace_exercise.right({line: torch.tensor(value) for line, value in _REMEMBERED.items()})
trace_exercise.right({line: np.array(value, dtype=float) for line, value in _REMEMBERED.items()})
_KEYS = trace_exercise.stub_keys
trace_exercise.wrong({**_REMEMBERED, _KEYS[1]: [-2, -3, -4]})
trace_exercise.wrong({**_REMEMBERED, _KEYS[3]: [3, 4, 5]})
trace_exercise.wrong({**_REMEMBERED, _KEYS[4]: 20 / 3})
trace_exercise.wrong({**_REMEMBERED, _KEYS[5]: [0, 2]})
trace_exercise.wrong({**_REMEMBERED, _KEYS[3]: [2, 3]})

# ---------------------------------------------------------------- 15.8

company_exercise = Exercise(
    "15.8",
    title="The answer depends on the company",
    difficulty=2,
    minutes=20,
    kind=BUG,
    text="""
    This function answers requests in batches. It passes a quick test, and yet users complain that the same
    crop gets another answer each time. A crop's answer must be what it would be if it were alone: the crop
    less its own mean, divided by its own standard deviation, through the network as it was evaluated. Find
    what is wrong (there is more than one thing). The network that you are given may be in any mode.
    """,
    stub='''
    def answer_all(network, crops, max_batch=4):
        """crops: list of tensors (1, 8, 8). Returns a list with one number per crop, in their order."""
        answers = []
        for first in range(0, len(crops), max_batch):
            batch = torch.stack(crops[first : first + max_batch])  # (n, 1, 8, 8)
            batch = (batch - batch.mean()) / batch.std()
            with torch.inference_mode():
                scores = network(batch)  # (n, 1)
            answers += torch.sigmoid(scores)[:, 0].tolist()
        return answers
    ''',
    hints=(
        "Ask for the same crop alone, and together with three others. Which lines mix what belongs to "
        "different crops?",
        "`batch.mean()` is the mean of all crops together. And what does a batch norm do in training mode?",
        "`network.eval()` before the loop; `batch.mean(dim=(1, 2, 3), keepdim=True)`, and the deviation "
        "likewise.",
    ),
    why="""
    In training mode, a batch norm looks at the batch, so every answer depends on who else asked at that
    moment, and the running averages drift with every request. Any statistic over the batch axis has the same
    effect. A test that compares "alone" with "in company" finds all such bugs at once.
    """,
)


class _Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 1)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.3, 2)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).mean(dim=(2, 3)))


def _alone(network, crops, correction):
    """Answers (N,) of crops that are alone; `correction` says which deviation: 1 the sample's, 0 the population's."""
    still = copy.deepcopy(network).eval()
    with torch.inference_mode():
        scaled = [(crop - crop.mean()) / crop.std(correction=correction) for crop in crops]
        return torch.sigmoid(torch.cat([still(one[None]) for one in scaled]))[:, 0]


@company_exercise.check
def check_company(answer):
    for count, max_batch in ((1, 4), (2, 4), (3, 1), (4, 4), (5, 2), (9, 4)):
        for mode in (False, True):
            network = _Tiny().train(mode)
            before = copy.deepcopy(network.state_dict())
            crops = [torch.randn(1, 8, 8) * 40 * (k + 1) - 100 * k for k in range(count)]
            sample, population = (_alone(network, crops, correction) for correction in (1, 0))
            with case(
                f"{count} crop(s), batches of {max_batch}, network in {'training' if mode else 'evaluation'} mode"
            ):
                got = as_tensor(answer(network, [crop.clone() for crop in crops], max_batch), "the answers")
                either = got.shape == population.shape and torch.allclose(got, population.double(), atol=1e-5)
                same(got, population if either else sample, "the answers")
                drifted = [
                    name for name, t in network.state_dict().items() if not torch.equal(t, before[name])
                ]
                expect(not drifted, f"your function has changed the network ({', '.join(drifted)}).")


@company_exercise.solution
def answer_all(network, crops, max_batch=4):
    network.eval()
    answers = []
    for first in range(0, len(crops), max_batch):
        batch = torch.stack(crops[first : first + max_batch])  # (n, 1, 8, 8)
        mean = batch.mean(dim=(1, 2, 3), keepdim=True)  # (n, 1, 1, 1)
        std = batch.std(dim=(1, 2, 3), keepdim=True)
        with torch.inference_mode():
            scores = network((batch - mean) / std)  # (n, 1)
        answers += torch.sigmoid(scores)[:, 0].tolist()
    return answers


@company_exercise.right
def scales_before_it_stacks(network, crops, max_batch=4):
    scaled = torch.stack([(crop - crop.mean()) / crop.std() for crop in crops])
    with torch.no_grad():
        return torch.cat([network.eval()(part) for part in scaled.split(max_batch)]).sigmoid().flatten()


@company_exercise.right
def puts_the_mode_back(network, crops, max_batch=4):
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            return [torch.sigmoid(network(((c - c.mean()) / c.std())[None])).item() for c in crops]
    finally:
        network.train(was_training)


@company_exercise.right
def with_numpys_deviation(network, crops, max_batch=4):
    scaled = [(crop - crop.mean()) / float(crop.numpy().std()) for crop in crops]
    with torch.no_grad():
        return [network.eval()(one[None]).sigmoid().item() for one in scaled]


@company_exercise.wrong
def forgets_eval(network, crops, max_batch=4):
    scaled = torch.stack([(crop - crop.mean()) / crop.std() for crop in crops])
    with torch.no_grad():
        return torch.cat([network(part) for part in scaled.split(max_batch)]).sigmoid().flatten().tolist()


@company_exercise.wrong
def one_by_one_but_in_training_mode(network, crops, max_batch=4):
    with torch.no_grad():
        return [torch.sigmoid(network(((c - c.mean()) / c.std())[None])).item() for c in crops]


@company_exercise.wrong
def still_scales_by_the_batch(network, crops, max_batch=4):
    batch = torch.stack(crops)
    with torch.no_grad():
        return torch.sigmoid(network.eval()((batch - batch.mean()) / batch.std()))[:, 0].tolist()


@company_exercise.wrong
def subtracts_the_crops_mean_but_divides_by_the_batchs_deviation(network, crops, max_batch=4):
    batch = torch.stack(crops)
    batch = (batch - batch.mean(dim=(1, 2, 3), keepdim=True)) / batch.std()
    with torch.no_grad():
        return torch.sigmoid(network.eval()(batch))[:, 0].tolist()


@company_exercise.wrong
def loses_the_last_incomplete_batch(network, crops, max_batch=4):
    whole = len(crops) - len(crops) % max_batch
    return answer_all(network, crops[:whole], max_batch)


@company_exercise.wrong
def forgets_the_sigmoid(network, crops, max_batch=4):
    return torch.logit(torch.tensor(answer_all(network, crops, max_batch), dtype=torch.float64))
