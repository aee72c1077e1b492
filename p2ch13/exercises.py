"""Chapter 13's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from skimage.segmentation import clear_border
from torch import nn

from util.exercises import (
    BUG,
    BUILD,
    EXPERIMENT,
    PREDICT,
    Exercise,
    Picture,
    as_tensor,
    case,
    expect,
    parts,
    predicted,
    same,
)
from util.unet import UNet

# ---------------------------------------------------------------- 13.1

sizes = Exercise(
    "13.1",
    title="Down, up, and across",
    difficulty=1,
    minutes=10,
    kind=PREDICT,
    text="""
    `x = torch.zeros(1, 8, 12, 20)`. `a` and `b` are masks of four pixels each, of which two are common.
    What does each line give? Shapes as tuples, numbers, `True` or `False`.
    """,
    stub="""
    gives = {
        "F.avg_pool2d(x, 2).shape": ...,
        "F.avg_pool2d(x[:, :, :7, :9], 2).shape": ...,
        "nn.ConvTranspose2d(8, 4, kernel_size=2, stride=2)(x).shape": ...,
        "torch.cat([x, x[:, :3]], dim=1).shape": ...,
        "nn.Conv2d(11, 1, kernel_size=1)(torch.cat([x, x[:, :3]], dim=1)).shape": ...,
        "bool(torch.sigmoid(torch.tensor(0.0)) > 0.5)": ...,
        "2 * (a & b).sum() / (a.sum() + b.sum())": ...,
        "(a & b).sum() / (a | b).sum()": ...,
        "2 * (a & a).sum() / (a.sum() + a.sum())": ...,
    }
    """,
    hints=(
        "Which of these change height and width, and which the number of channels?",
        "Pooling halves and drops what is left over; the transposed convolution doubles; `cat` along "
        "dimension 1 joins channels.",
        "Together the masks have six pixels. The first formula counts the common ones twice, above and "
        "below; 2 · 2 / 8.",
    ),
    why="""
    Dice is 0.5 and intersection over union a third for the same pair of masks: the two rank alike, but
    their numbers must not be compared. A sigmoid of exactly 0.5 is not above 0.5.
    """,
)


@sizes.check
def check_sizes(prediction):
    a, b = torch.zeros(2, 8, dtype=torch.bool)
    a[:4] = b[2:6] = True
    names = {"torch": torch, "F": F, "nn": nn, "x": torch.zeros(1, 8, 12, 20), "a": a, "b": b}
    predicted(prediction, {key: eval(key, names) for key in sizes.stub_keys})


sizes.solution("""
gives = {
    "F.avg_pool2d(x, 2).shape": (1, 8, 6, 10),
    "F.avg_pool2d(x[:, :, :7, :9], 2).shape": (1, 8, 3, 4),
    "nn.ConvTranspose2d(8, 4, kernel_size=2, stride=2)(x).shape": (1, 4, 24, 40),
    "torch.cat([x, x[:, :3]], dim=1).shape": (1, 11, 12, 20),
    "nn.Conv2d(11, 1, kernel_size=1)(torch.cat([x, x[:, :3]], dim=1)).shape": (1, 1, 12, 20),
    "bool(torch.sigmoid(torch.tensor(0.0)) > 0.5)": False,
    "2 * (a & b).sum() / (a.sum() + b.sum())": 1 / 2,
    "(a & b).sum() / (a | b).sum()": 1 / 3,
    "2 * (a & a).sum() / (a.sum() + a.sum())": 1,
}
""")
_SIZES = dict(
    zip(
        sizes.stub_keys,
        ((1, 8, 6, 10), (1, 8, 3, 4), (1, 4, 24, 40), (1, 11, 12, 20), (1, 1, 12, 20), 0, 0.5, 1 / 3, 1),
    )
)
sizes.right({key: list(v) if isinstance(v, tuple) else torch.tensor(v) for key, v in _SIZES.items()})
sizes.right({**_SIZES, sizes.stub_keys[5]: False, sizes.stub_keys[8]: True})
sizes.wrong({**_SIZES, sizes.stub_keys[1]: (1, 8, 4, 5)})
sizes.wrong({**_SIZES, sizes.stub_keys[2]: (1, 4, 6, 10)})
sizes.wrong({**_SIZES, sizes.stub_keys[6]: 1 / 3})
sizes.wrong({**_SIZES, sizes.stub_keys[7]: 0.25})
sizes.wrong({**_SIZES, sizes.stub_keys[5]: True})

# ---------------------------------------------------------------- 13.2

per_sample = Exercise(
    "13.2",
    title="One loss per picture",
    difficulty=2,
    minutes=15,
    kind=BUG,
    text="""
    `dice_loss` should give one loss per picture: 1 - (2 · overlap + 1) / (sum of the prediction + sum of
    the label + 1). It runs, it trains, and a large nodule in one picture hides that the small ones beside
    it in the batch are missed. Find out what it sums over.
    """,
    stub='''
    def dice_loss(prediction, label):
        """prediction: (N, 1, H, W) from 0 to 1; label: (N, 1, H, W), 0 or 1. Returns (N,) losses."""
        overlap = (prediction * label).sum(dim=(0, 1, 2))
        total = prediction.sum(dim=(0, 1, 2)) + label.sum(dim=(0, 1, 2))
        return 1 - (2 * overlap + 1) / (total + 1)
    ''',
    hints=(
        "Give it a batch of two pictures of 4 × 5 pixels. What is the shape of the answer?",
        "One loss per *column*: batch, channel and height are summed. Which axes belong to one picture?",
        "`dim=(1, 2, 3)`, three times.",
    ),
    why="""
    A wrong axis is silent whenever something may have any length: a mean over columns is a number as good
    as the mean over pictures. Shapes that all differ (2 pictures, 4 rows, 5 columns) show it at once, and
    squares of a batch of their own size never do.
    """,
)


def _dice_loss(prediction, label):
    sums = [(part.double().flatten(1)).sum(1) for part in (prediction * label, prediction, label)]
    return 1 - (2 * sums[0] + 1) / (sums[1] + sums[2] + 1)


@per_sample.check
def check_per_sample(answer):
    for n, height, width in ((1, 1, 1), (1, 1, 2), (2, 1, 1), (2, 1, 2), (2, 2, 2), (3, 2, 4), (4, 8, 8)):
        for _ in range(6):
            prediction = torch.randint(0, 3, (n, 1, height, width)) / 2
            label = torch.randint(0, 2, (n, 1, height, width)).float()
            with case(prediction=prediction, label=label):
                same(answer(prediction.clone(), label.clone()), _dice_loss(prediction, label), "the losses")
    prediction = torch.rand(2, 1, 3, 3, requires_grad=True)
    losses = answer(prediction, (torch.rand(2, 1, 3, 3) < 0.5).float())
    expect(isinstance(losses, torch.Tensor), "Return a tensor, so that the loss has a gradient.")
    losses.sum().backward()
    expect(
        prediction.grad is not None and torch.isfinite(prediction.grad).all(), "The gradient is not finite."
    )


@per_sample.solution
def dice_loss(prediction, label):
    overlap = (prediction * label).sum(dim=(1, 2, 3))
    total = prediction.sum(dim=(1, 2, 3)) + label.sum(dim=(1, 2, 3))
    return 1 - (2 * overlap + 1) / (total + 1)


@per_sample.right
def flattened(prediction, label):
    p, y = prediction.flatten(1), label.flatten(1)
    return 1 - (2 * torch.einsum("np,np->n", p, y) + 1) / (p.sum(1) + y.sum(1) + 1)


@per_sample.right
def picture_by_picture(prediction, label):
    pairs = zip(prediction.double(), label.double())
    return torch.stack([1 - (2 * (p * y).sum() + 1) / ((p + y).sum() + 1) for p, y in pairs])


@per_sample.wrong
def over_the_whole_batch(prediction, label):
    loss = 1 - (2 * (prediction * label).sum() + 1) / (prediction.sum() + label.sum() + 1)
    return loss.expand(len(prediction))


@per_sample.wrong
def mean_over_the_batch(prediction, label):
    return dice_loss(prediction, label).mean()


@per_sample.wrong
def without_the_one(prediction, label):
    overlap = (prediction * label).sum(dim=(1, 2, 3))
    return 1 - 2 * overlap / (prediction.sum(dim=(1, 2, 3)) + label.sum(dim=(1, 2, 3)))


@per_sample.wrong
def keeps_the_channel(prediction, label):
    overlap = (prediction * label).sum(dim=(2, 3))
    return 1 - (2 * overlap + 1) / (prediction.sum(dim=(2, 3)) + label.sum(dim=(2, 3)) + 1)


@per_sample.wrong
def intersection_over_union(prediction, label):
    overlap = (prediction * label).sum(dim=(1, 2, 3))
    return 1 - (overlap + 1) / (prediction.sum(dim=(1, 2, 3)) + label.sum(dim=(1, 2, 3)) - overlap + 1)


@per_sample.wrong
def the_score_and_not_the_loss(prediction, label):
    return 1 - dice_loss(prediction, label)


# ---------------------------------------------------------------- 13.3

sight = Exercise(
    "13.3",
    title="How far does a U-Net see?",
    difficulty=3,
    minutes=40,
    kind=BUILD,
    text="""
    Without a network, by counting: how many pixels across does an output of our U-Net see at most, for a
    number of levels? Each level has two 3 × 3 convolutions with padding, on the way down and again on the
    way up, except for the lowest, which has its two once. Between levels, 2 × 2 average pooling leads down
    and a 2 × 2 transposed convolution with stride 2 up. Outputs differ by a few pixels, according to where
    they stand; the one that sees most counts. Far from the edges, that is.
    """,
    stub='''
    def field_of_view(depth):
        """depth: number of levels, at least 1. Returns the pixels across that the luckiest output sees."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Follow one output back to the input as an interval of pixels, from `low` to `high`. What does "
        "each layer do to it?",
        "A 3 × 3 convolution: one more on either side. A transposed 2 × 2 with stride 2: place p came "
        "from p // 2. A pooling: place p came from 2p and 2p + 1.",
        "Backwards through the U: for each level but the lowest, `low -= 2; high += 2`, then both `//= "
        "2`. At the bottom -2 and +2. Then for each level `low, high = 2 * low - 2, 2 * high + 1 + 2`. "
        "Try all starts from 0 to 2 ** (depth - 1) - 1.",
    ),
    why="""
    5, 18, 44 and 100 pixels for one to four levels: each level more than doubles the view, at the price of
    four further convolutions. What the bottom adds counts most, since a pixel stands for 8 × 8 there;
    whether a nodule lies beside the heart or in the lung can be seen from below only.
    """,
)


def _field(depth):
    widest = 0
    for start in range(2 ** (depth - 1)):
        low = high = start
        for _ in range(depth - 1):
            low, high = (low - 2) // 2, (high + 2) // 2
        low, high = low - 2, high + 2
        for _ in range(depth - 1):
            low, high = 2 * low - 2, 2 * high + 1 + 2
        widest = max(widest, high - low + 1)
    return widest


@sight.check
def check_sight(answer):
    for depth in (1, 2, 3, 4, 5):
        with case(depth=depth):
            same(answer(depth), _field(depth), "the field of view", atol=1e-6, rtol=0)


def seen_by_gradient(depth, size=160):
    """The same, measured: what moves an output of a real U-Net with positive weights."""
    model = UNet(1, 1, depth=depth, wf=1, padding=True, batch_norm=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    picture = torch.ones(1, 1, 2 ** (depth - 1), size, dtype=torch.float64, requires_grad=True)
    output, widest = model.double()(picture), 0
    for start in range(2 ** (depth - 1)):
        (gradient,) = torch.autograd.grad(output[0, 0, 0, size // 2 + start], picture, retain_graph=True)
        widest = max(widest, int((gradient[0, 0] != 0).any(dim=0).sum()))
    return widest


@sight.solution
def field_of_view(depth):
    widest = 0
    for start in range(2 ** (depth - 1)):
        low = high = start
        for _ in range(depth - 1):  # back down the right side of the U
            low, high = (low - 2) // 2, (high + 2) // 2
        low, high = low - 2, high + 2
        for _ in range(depth - 1):  # and up its left side
            low, high = 2 * low - 2, 2 * high + 3
        widest = max(widest, high - low + 1)
    return widest


@sight.right
def with_sets_of_pixels(depth):
    def spread(places):
        return {p + step for p in places for step in (-2, -1, 0, 1, 2)}

    def seen(start):
        places = {start}
        for _ in range(depth - 1):
            places = {p // 2 for p in spread(places)}
        places = spread(places)
        for _ in range(depth - 1):
            places = spread({child for p in places for child in (2 * p, 2 * p + 1)})
        return len(places)

    return max(seen(start) for start in range(2 ** (depth - 1)))


@sight.right
def level_by_level(depth):
    """The luckiest place of the level below has neighbours on both sides: width w becomes ceil((w + 5) / 2)."""
    width = 1
    for _ in range(depth - 1):
        width = (width + 4) // 2 + 1
    width += 4
    for _ in range(depth - 1):
        width = 2 * width + 4
    return torch.tensor(width)


@sight.wrong
def without_the_way_up(depth):
    field, apart = 1, 1
    for level in range(depth):
        field += 4 * apart
        if level < depth - 1:
            field, apart = field + apart, 2 * apart
    return field


@sight.wrong
def forgets_the_pooling(depth):
    field, apart = 1, 1
    for level in range(depth):
        field += 4 * apart * (1 if level == depth - 1 else 2)
        apart *= 2
    return field


@sight.wrong
def convolutions_only(depth):
    return 1 + 4 * (2 * depth - 1)


@sight.wrong
def first_output_only(depth):
    low = high = 0
    for _ in range(depth - 1):
        low, high = (low - 2) // 2, (high + 2) // 2
    low, high = low - 2, high + 2
    for _ in range(depth - 1):
        low, high = 2 * low - 2, 2 * high + 2
    return high - low + 1


@sight.wrong
def one_convolution_per_level(depth):
    return (_field(depth) + 1) // 2


@sight.wrong
def of_the_chapters_depth(depth):
    return _field(3)


# ---------------------------------------------------------------- 13.4

together = Exercise(
    "13.4",
    title="The mask stays behind",
    difficulty=2,
    minutes=15,
    kind=BUG,
    text="""
    `augment` mirrors pictures and their masks at random, each pair of the batch by itself. With it,
    training gets worse instead of better. Look at a few pairs, and mend it: every pair must stay a pair,
    some are to be mirrored and some not, and what came in stays as it is.
    """,
    stub='''
    def augment(pictures, masks):
        """pictures, masks: (N, 1, H, W). Returns both, each pair mirrored left to right with probability 0.5."""
        pictures, masks = pictures.clone(), masks.clone()
        for n in range(len(pictures)):
            if torch.rand(()) < 0.5:
                pictures[n] = pictures[n].flip(-1)
            if torch.rand(()) < 0.5:
                masks[n] = masks[n].flip(-1)
        return pictures, masks
    ''',
    hints=(
        "How often is a coin tossed for one pair?",
        "Twice, so in half of the cases the mask does not belong to its picture any more.",
        "Toss once per pair, and flip both or none.",
    ),
    why="""
    Whatever moves the picture moves its truth. The bug costs no error, only half of the labels: nodules lie
    where there is nothing. One look at a pair after augmentation is the whole test.
    """,
)


@together.check
def check_together(answer):
    for n, height, width in ((1, 1, 2), (1, 2, 2), (2, 1, 2), (2, 2, 3), (40, 1, 4)):
        flipped = 0
        for _ in range(60 if n < 10 else 4):
            pictures = torch.randint(1, 50, (n, 1, height, width)).float().sort(dim=-1).values
            pictures[..., -1] += torch.arange(1.0, height + 1)
            masks = (pictures > pictures.mean(dim=-1, keepdim=True)).float()
            before = pictures.clone(), masks.clone()
            with case(pictures=pictures, masks=masks):
                got = parts(answer(pictures, masks), 2, "return pictures and masks.")
                new_pictures, new_masks = (as_tensor(part, "one of the two") for part in got)
                same(new_pictures.shape, pictures.shape, "the pictures' shape")
                same(new_masks.shape, masks.shape, "the masks' shape")
                unchanged = torch.equal(pictures, before[0]) and torch.equal(masks, before[1])
                expect(unchanged, "what came in has changed; mirror copies.")
                for number in range(n):
                    picture, mask = before[0][number].double(), before[1][number].double()
                    mirrored = torch.equal(new_pictures[number], picture.flip(-1))
                    kept = torch.equal(new_pictures[number], picture)
                    expect(kept or mirrored, "a picture is neither what it was nor mirrored left to right.")
                    want = mask if kept else mask.flip(-1)
                    same(
                        new_masks[number],
                        want,
                        f"the mask of a picture that was {'kept' if kept else 'mirrored'}",
                    )
                    flipped += mirrored
        total = n * (60 if n < 10 else 4)
        expect(
            0.15 * total < flipped < 0.85 * total,
            f"Of {total} pictures, {flipped} were mirrored; about half should be.",
        )
    pictures = torch.arange(4000.0).reshape(1000, 1, 2, 2)
    got = as_tensor(answer(pictures, pictures)[0])
    moved = (got != pictures).flatten(1).any(1)
    expect(
        moved.any() and not moved.all(),
        "All pictures of a batch share one toss; each pair should have its own.",
    )
    share = moved.double().mean().item()
    expect(0.4 < share < 0.6, f"Of 1,000 pictures, {share:.0%} were mirrored; about half should be.")


@together.solution
def augment(pictures, masks):
    pictures, masks = pictures.clone(), masks.clone()
    for n in range(len(pictures)):
        if torch.rand(()) < 0.5:
            pictures[n] = pictures[n].flip(-1)
            masks[n] = masks[n].flip(-1)
    return pictures, masks


@together.right
def with_where(pictures, masks):
    toss = torch.rand(len(pictures), 1, 1, 1) < 0.5
    return [torch.where(toss, part.flip(-1), part) for part in (pictures, masks)]


@together.right
def joined_as_channels(pictures, masks):
    pairs = torch.cat([pictures, masks], dim=1).numpy().copy()
    for pair in pairs:
        if np.random.rand() < 0.5:
            pair[:] = pair[:, :, ::-1].copy()
    return pairs[:, :1], pairs[:, 1:]


@together.right
def stacked_into_one_tensor(pictures, masks):
    pairs = torch.stack([pictures, masks])
    toss = torch.rand(len(pictures)) < 0.5
    pairs[:, toss] = pairs[:, toss].flip(-1)
    return pairs


@together.wrong
def never_flips(pictures, masks):
    return pictures, masks


@together.wrong
def always_flips(pictures, masks):
    return pictures.flip(-1), masks.flip(-1)


@together.wrong
def one_toss_for_the_batch(pictures, masks):
    return (pictures.flip(-1), masks.flip(-1)) if torch.rand(()) < 0.5 else (pictures, masks)


@together.wrong
def masks_never(pictures, masks):
    return augment(pictures, masks)[0], masks


@together.wrong
def in_place(pictures, masks):
    for n in range(len(pictures)):
        if torch.rand(()) < 0.5:
            pictures[n] = pictures[n].flip(-1)
            masks[n] = masks[n].flip(-1)
    return pictures, masks


@together.wrong
def turned_by_half_a_turn(pictures, masks):
    toss = torch.rand(len(pictures), 1, 1, 1) < 0.5
    return [torch.where(toss, part.flip(-1, -2), part) for part in (pictures, masks)]


@together.wrong
def three_in_ten(pictures, masks):
    toss = torch.rand(len(pictures), 1, 1, 1) < 0.3
    return [torch.where(toss, part.flip(-1), part) for part in (pictures, masks)]


@together.wrong
def masks_upside_down(pictures, masks):
    toss = torch.rand(len(pictures), 1, 1, 1) < 0.5
    return torch.where(toss, pictures.flip(-1), pictures), torch.where(toss, masks.flip(-2), masks)


# ---------------------------------------------------------------- 13.5

weighted = Exercise(
    "13.5",
    title="A weight on what is missed",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    The chapter's loss, as one number for a whole batch: the Dice loss of `prediction` against `label`, plus
    `weight` times the Dice loss of only that part of the prediction that lies inside the label. Dice loss:
    1 - (2 · overlap + 1) / (sum of one + sum of the other + 1), over all pixels.
    """,
    stub='''
    def weighted_loss(prediction, label, weight):
        """prediction: probabilities, label: 0 or 1, of one shape; weight: a number. Returns one number."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Which operation leaves of the prediction only what lies inside the label?",
        "`prediction * label`. False alarms vanish from it; missed pixels stay missed.",
        "A small function `dice_loss(one)` against the label; return `dice_loss(prediction) + weight * "
        "dice_loss(prediction * label)`.",
    ),
    why="""
    The second term cannot see false alarms, so its weight is a price for misses alone. The 1 above and
    below makes an empty prediction of an empty label perfect, where 0 / 0 would make it nan, and every
    later step with it.
    """,
)


def _weighted(prediction, label, weight):
    def loss(one):
        return 1 - (2 * (one * label).sum() + 1) / (one.sum() + label.sum() + 1)

    return loss(prediction) + weight * loss(prediction * label)


@weighted.check
def check_weighted(answer):
    for shape in ((1,), (2,), (1, 1, 2, 2), (2, 1, 4, 4)):
        for weight in (0.0, 1.0, 8.0):
            for _ in range(5):
                prediction = torch.randint(0, 3, shape) / 2
                label = torch.randint(0, 2, shape).float()
                with case(prediction=prediction, label=label, weight=weight):
                    want = _weighted(prediction.double(), label.double(), weight)
                    same(answer(prediction.clone(), label.clone(), weight), want, "the loss")
    with case("nothing there and nothing predicted"):
        same(answer(torch.zeros(4), torch.zeros(4), 8.0), 0.0, "the loss")
    prediction = torch.rand(2, 1, 4, 4, requires_grad=True)
    loss = answer(prediction, (torch.rand(2, 1, 4, 4) < 0.5).float(), 4.0)
    expect(
        isinstance(loss, torch.Tensor) and loss.requires_grad,
        "The loss has no gradient; compute with tensors.",
    )


@weighted.solution
def weighted_loss(prediction, label, weight):
    def dice_loss(one):
        return 1 - (2 * (one * label).sum() + 1) / (one.sum() + label.sum() + 1)

    return dice_loss(prediction) + weight * dice_loss(prediction * label)


@weighted.right
def in_one_go(prediction, label, weight):
    hit, size = torch.sum(prediction * label), label.sum()
    first = (prediction.sum() + size - 2 * hit) / (prediction.sum() + size + 1)
    return first + weight * (size - hit) / (hit + size + 1)


@weighted.right
def with_boolean_indices(prediction, label, weight):
    inside = prediction[label > 0.5]
    hit, size = inside.sum(), len(inside)
    losses = torch.stack([1 - (2 * hit + 1) / (total + size + 1) for total in (prediction.sum(), hit)])
    return losses @ torch.tensor([1.0, weight])


@weighted.wrong
def without_the_one_at_all(prediction, label, weight):
    def dice_loss(one):
        return 1 - 2 * (one * label).sum() / (one.sum() + label.sum())

    return dice_loss(prediction) + weight * dice_loss(prediction * label)


@weighted.wrong
def ones_only_below(prediction, label, weight):
    def dice_loss(one):
        return 1 - 2 * (one * label).sum() / (one.sum() + label.sum() + 1)

    return dice_loss(prediction) + weight * dice_loss(prediction * label)


@weighted.wrong
def without_the_weight(prediction, label, weight):
    return _weighted(prediction, label, 0.0)


@weighted.wrong
def weighs_everything(prediction, label, weight):
    return _weighted(prediction, label, 0.0) * (1 + weight)


@weighted.wrong
def weighs_false_alarms(prediction, label, weight):
    extra = prediction * (1 - label)
    return _weighted(prediction, label, 0.0) + weight * _weighted(extra, label, 0.0)


@weighted.wrong
def always_the_weight_of_the_chapter(prediction, label, weight):
    return _weighted(prediction, label, 8.0)


# ---------------------------------------------------------------- 13.6

air = Exercise(
    "13.6",
    title="Both lungs, without a network",
    difficulty=2,
    minutes=40,
    kind=EXPERIMENT,
    text="""
    Find both lungs in a slice: a mask with the vessels inside the lungs filled, without the windpipe and
    without the air outside. The check draws slices of its own, with noise, and measures the Dice
    coefficient with the true lungs: 0.95 is wanted. Then try it on real slices, and see where it fails. How
    would you limit the U-Net's marks to the lungs, and what could that cost?
    """,
    stub='''
    def lungs_of(hu):
        """hu: (128, 160) int16, Hounsfield units. Returns a mask of the same shape."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Threshold at -500 HU and look at the connected components. Which is the air around the patient, "
        "which the windpipe?",
        "What touches the picture's edge is outside; of the rest, the two largest are the lungs.",
        "`ndimage.label`, drop the labels on the four edges, keep the two largest by `np.bincount`, and "
        "`ndimage.binary_fill_holes`.",
    ),
    why="""
    Two facts about bodies replace a network: the outside touches the edge, lungs are the largest air
    inside. Each is also where it fails: a slice through the upper chest, a patient who does not fit the
    picture, a lung that is full of fluid.
    """,
)


def _slice():
    y, x = np.ogrid[0:128, 0:160]
    hu = np.full((128, 160), -1000.0)
    hu[((y - 64) / 52) ** 2 + ((x - 80) / 70) ** 2 < 1] = 30
    truth = np.zeros(hu.shape, dtype=bool)
    left, right = 50 + np.random.randint(-3, 4), 110 + np.random.randint(-3, 4)
    for middle in (left, right):
        truth |= ((y - 64) / np.random.randint(24, 33)) ** 2 + ((x - middle) / 19) ** 2 < 1
    hu[truth] = -850
    hu[((y - 64) ** 2 + (x - 80) ** 2) < 16] = -950  # the windpipe: air, but no lung
    vessel = ((y - 60) ** 2 + (x - left) ** 2) < 25
    hu[vessel] = 40
    hu += np.random.normal(0, 20, hu.shape)
    return hu.astype(np.int16), truth, vessel


@air.check
def check_air(answer):
    for number in range(1, 6):
        hu, truth, vessel = _slice()
        with case(f"slice {number} of the check"):
            got = as_tensor(answer(hu.copy()), "the mask").numpy()
            expect(
                got.shape == truth.shape, f"the mask should have the shape {truth.shape}, not {got.shape}."
            )
            expect(np.isin(got, (0, 1)).all(), "a mask holds 0 and 1, or False and True.")
            got = got.astype(bool)
            picture = Picture(hu, truth, got)
            expect(not got[0].any(), "the air around the patient is no lung.", picture)
            expect(not got[64, 80], "the windpipe is no lung.", picture)
            inside = ndimage.binary_erosion(vessel)
            expect(got[inside].mean() > 0.5, "a vessel inside a lung should count as lung.", picture)
            dice = 2 * (got & truth).sum() / max(got.sum() + truth.sum(), 1)
            expect(dice > 0.95, f"Dice with the true lungs is {dice:.3f}; 0.95 is wanted.", picture)


@air.solution
def lungs_of(hu):
    labels, count = ndimage.label(hu < -500)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    sizes[np.unique(edges)] = 0
    sizes[0] = 0
    return ndimage.binary_fill_holes(np.isin(labels, np.argsort(sizes)[-2:]))


@air.right
def with_scikit_image(hu):
    labels, count = ndimage.label(clear_border(hu < -400))
    sizes = ndimage.sum_labels(labels > 0, labels, range(1, count + 1))
    lungs = np.isin(labels, 1 + np.argsort(sizes)[-2:])
    return torch.from_numpy(ndimage.binary_closing(ndimage.binary_fill_holes(lungs), iterations=1)).float()


@air.right
def by_size_alone(hu):
    """Fill the body, keep the air inside it, drop what an opening removes: the windpipe."""
    body = ndimage.binary_fill_holes(ndimage.binary_opening(hu > -500, iterations=2))
    inside = body & (hu < -500)
    inside = ndimage.binary_fill_holes(inside)
    core = ndimage.binary_erosion(inside, iterations=6)
    return ndimage.binary_propagation(core, mask=inside).tolist()


@air.wrong
def all_air(hu):
    return hu < -500


@air.wrong
def by_values_alone(hu):
    return (hu < -500) & (hu > -920)


@air.wrong
def without_filling(hu):
    labels, count = ndimage.label(hu < -500)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[[0, labels[0, 0]]] = 0
    return np.isin(labels, np.argsort(sizes)[-2:])


@air.wrong
def with_the_windpipe(hu):
    return ndimage.binary_fill_holes(clear_border(hu < -500))


@air.wrong
def one_lung(hu):
    labels, count = ndimage.label(lungs_of(hu))
    return labels == 1


@air.wrong
def everything_inside_the_body(hu):
    return ndimage.binary_fill_holes(hu > -500)


@air.wrong
def two_fixed_ellipses(hu):
    y, x = np.ogrid[0:128, 0:160]
    lungs = [((y - 64) / 28) ** 2 + ((x - middle) / 19) ** 2 < 1 for middle in (50, 110)]
    return (lungs[0] | lungs[1]) & ((y - 64) ** 2 + (x - 80) ** 2 > 16)


@air.wrong
def where_lungs_usually_are(hu):
    y, x = np.ogrid[0:128, 0:160]
    return ((y - 64) / 20) ** 2 + ((x - 50) / 14) ** 2 < 1
