"""Chapter 13's exercises: each with its text, stub, hints, check, solution and wrong answers."""

from collections import deque

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

areas_exercise = Exercise(
    "13.2",
    title="False alarms below zero",
    difficulty=2,
    minutes=15,
    kind=BUG,
    text="""
    `areas` should count pixels: found, missed, and marked wrongly. It runs, and reports fewer than no false
    alarms. Mend it. The labels are whole numbers, as they come from a file: 1 for nodule, 0 for the rest.
    """,
    stub='''
    def areas(probability, label):
        """probability: (N, 1, H, W) from 0 to 1, marked above 0.5; label: 0 or 1, int64, of the same shape.

        Returns three numbers of pixels: found, missed, false alarms.
        """
        marked = (probability > 0.5).long()
        found = (marked * label).sum()
        missed = (~marked * label).sum()
        false_alarms = (marked * ~label).sum()
        return found, missed, false_alarms
    ''',
    hints=(
        "Print `~torch.tensor([0, 1])`. What did you expect?",
        "`~` turns round every bit of a whole number: ~0 is -1 and ~1 is -2. Only of `bool` is it a *not*.",
        "Keep both as `bool` and use `&`, or write `1 - label` for what is not nodule.",
    ),
    why="""
    A `~` on whole numbers is a correct program that computes something else, and nobody complains. Where all labels
    are `bool` from the dataset on, it cannot happen. And a quantity that can have no sign is worth an
    assertion: these false alarms gave themselves away by being negative, and a recall above one would have too.
    """,
)


def _areas(probability, label):
    marked, label = probability > 0.5, label > 0
    return [int((marked & label).sum()), int((~marked & label).sum()), int((marked & ~label).sum())]


@areas_exercise.check
def check_areas(answer):
    for shape in ((1, 1, 1, 1), (1, 1, 1, 2), (2, 1, 1, 1), (1, 1, 2, 2), (3, 1, 4, 4)):
        for _ in range(8):
            probability = torch.randint(0, 5, shape) / 4
            label = torch.randint(0, 2, shape)
            with case(probability=probability, label=label):
                got = parts(
                    answer(probability.clone(), label.clone()), 3, "return found, missed, false alarms."
                )
                for value, want, name in zip(
                    got, _areas(probability, label), ("found", "missed", "false alarms")
                ):
                    same(value, want, name)


@areas_exercise.solution
def areas(probability, label):
    marked, nodule = probability > 0.5, label.bool()
    return (marked & nodule).sum(), (~marked & nodule).sum(), (marked & ~nodule).sum()


@areas_exercise.right
def with_one_minus(probability, label):
    marked = (probability > 0.5).long()
    return (marked * label).sum(), ((1 - marked) * label).sum(), (marked * (1 - label)).sum()


@areas_exercise.right
def from_sums(probability, label):
    marked = probability > 0.5
    found = int(marked[label == 1].sum())
    return [found, int(label.sum()) - found, int(marked.sum()) - found]


@areas_exercise.right
def as_array(probability, label):
    kind = 2 * label.numpy() + (probability.numpy() > 0.5)
    counts = np.bincount(kind.ravel(), minlength=4)
    return counts[[3, 2, 1]]


@areas_exercise.wrong
def without_the_sign(probability, label):
    marked = (probability > 0.5).long()
    return (marked * label).sum(), (~marked * label).sum().abs(), (marked * ~label).sum().abs()


@areas_exercise.wrong
def only_the_last_mended(probability, label):
    marked = (probability > 0.5).long()
    return (marked * label).sum(), (~marked * label).sum(), (marked * (1 - label)).sum()


@areas_exercise.wrong
def the_other_way_round(probability, label):
    found, missed, wrong = _areas(probability, label)
    return found, wrong, missed


@areas_exercise.wrong
def from_one_half_on(probability, label):
    return _areas(probability + 1e-6, label)


@areas_exercise.wrong
def sums_of_probabilities(probability, label):
    return (probability * label).sum(), ((1 - probability) * label).sum(), (probability * (1 - label)).sum()


@areas_exercise.wrong
def all_marks_are_false(probability, label):
    found, missed, _ = _areas(probability, label)
    return found, missed, (probability > 0.5).sum()


# ---------------------------------------------------------------- 13.3

click = Exercise(
    "13.3",
    title="Click on it",
    difficulty=3,
    minutes=40,
    kind=BUILD,
    text="""
    The newest segmentation networks let themselves be *prompted*: click on a thing, and it is marked; click
    beside it, on what was marked too much, and that goes. Build one without a network. Walk from a click
    over pixels denser than -700 HU, up, down, left or right, one step at a time. A pixel is marked if one of
    the clicks `inside` reaches it in fewer steps than each of the clicks `outside`. A click reaches its own
    pixel in no steps; a click on lung (-700 HU or less) reaches nothing.
    """,
    stub='''
    def clicked(hu, inside, outside):
        """hu: (H, W) int16; inside, outside: lists of (row, column). Returns a mask of the shape of `hu`."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "First write a function that gives, for a list of clicks, the steps in which each pixel is reached "
        "from the nearest of them, infinity where none does.",
        "A wave: all clicks have 0; in every round, dense pixels beside the last round's, and not reached "
        "yet, get one more. `collections.deque` or `ndimage.binary_dilation(wave, mask=dense)` will do.",
        "`steps_of(dense, inside) < steps_of(dense, outside)`; two infinities are not less than one another.",
    ),
    why="""
    A nodule on a vessel needs one click inside and one on the vessel, and the border falls half way between
    them, in steps and not in millimetres. What a network adds is knowledge of where such borders usually lie. The
    same wave, with other costs for a step, is behind the random walker and the fast marching of older programs.
    """,
)


def _steps(dense, clicks):
    steps = np.full(dense.shape, np.inf)
    waiting = deque()
    for place in map(tuple, clicks):
        if dense[place] and steps[place]:
            steps[place] = 0
            waiting.append(place)
    while waiting:
        row, column = waiting.popleft()
        for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            is_inside = 0 <= near[0] < dense.shape[0] and 0 <= near[1] < dense.shape[1]
            if is_inside and dense[near] and np.isinf(steps[near]):
                steps[near] = steps[row, column] + 1
                waiting.append(near)
    return steps


@click.check
def check_click(answer):
    sizes = [(1, 1), (1, 2), (2, 2), (1, 4), (3, 3), (4, 5), (12, 12)]
    for height, width in sizes:
        for _ in range(25):
            hu = np.where(np.random.rand(height, width) < 0.75, 40, -850).astype(np.int16)
            hu[np.random.rand(height, width) < 0.1] = -700
            places = [tuple(map(int, place)) for place in np.ndindex(height, width)]
            picked = [places[n] for n in np.random.permutation(len(places))[: np.random.randint(0, 5)]]
            half = np.random.randint(0, len(picked) + 1)
            inside, outside = picked[:half], picked[half:]
            want = _steps(hu > -700, inside) < _steps(hu > -700, outside)
            with case(hu=hu, inside=inside, outside=outside):
                got = as_tensor(answer(hu.copy(), list(inside), list(outside)), "the mask").numpy()
                expect(got.shape == hu.shape, f"the mask should have the shape {hu.shape}, not {got.shape}.")
                same(got.astype(bool), want, "the mask")


@click.solution
def clicked(hu, inside, outside):
    dense = hu > -700

    def steps_of(clicks):
        steps, wave = np.full(hu.shape, np.inf), np.zeros(hu.shape, dtype=bool)
        for place in clicks:
            wave[place] = dense[place]
        round_number = 0
        while wave.any():
            steps[wave] = round_number
            wave = ndimage.binary_dilation(wave) & dense & np.isinf(steps)
            round_number += 1
        return steps

    return steps_of(inside) < steps_of(outside)


@click.right
def with_a_queue(hu, inside, outside):
    """Breadth first, as it is taught."""
    steps = []
    for clicks in (inside, outside):
        seen = {place: 0 for place in clicks if hu[place] > -700}
        waiting = deque(seen)
        while waiting:
            row, column = waiting.popleft()
            for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                is_inside = min(near) >= 0 and near[0] < len(hu) and near[1] < hu.shape[1]
                if is_inside and near not in seen and hu[near] > -700:
                    seen[near] = seen[row, column] + 1
                    waiting.append(near)
        steps.append(seen)
    mask = torch.zeros(hu.shape)
    for place, count in steps[0].items():
        mask[place] = count < steps[1].get(place, 10**9)
    return mask


@click.right
def two_waves_at_once(hu, inside, outside):
    """Round by round: what outside reaches first, or at the same time, is theirs."""
    dense = hu > -700
    waves = [np.zeros(hu.shape, dtype=bool) for _ in range(2)]
    for wave, clicks in zip(waves, (inside, outside)):
        for place in clicks:
            wave[place] |= dense[place]
    for _ in range(hu.size):
        waves[0] &= ~waves[1]
        waves = [
            ndimage.binary_dilation(waves[0], mask=dense & ~waves[1]),
            ndimage.binary_dilation(waves[1], mask=dense & ~waves[0]),
        ]
    return (waves[0] & ~waves[1]).tolist()


@click.wrong
def the_whole_component(hu, inside, outside):
    labels, _ = ndimage.label(hu > -700)
    return np.isin(labels, [labels[place] for place in inside if labels[place]])


@click.wrong
def ties_go_inside(hu, inside, outside):
    steps = _steps(hu > -700, inside)
    return np.isfinite(steps) & (steps <= _steps(hu > -700, outside))


@click.wrong
def as_the_crow_flies(hu, inside, outside):
    grid = np.stack(np.indices(hu.shape), axis=-1)

    def away(clicks):
        clicks = [place for place in clicks if hu[place] > -700]
        return np.min([np.abs(grid - place).sum(-1) for place in clicks], axis=0) if clicks else np.inf

    return np.isfinite(_steps(hu > -700, inside)) & (away(inside) < away(outside))


@click.wrong
def over_corners_too(hu, inside, outside):
    def steps(clicks):
        out, wave = np.full(hu.shape, np.inf), np.zeros(hu.shape, dtype=bool)
        for place in clicks:
            wave[place] = hu[place] > -700
        number = 0
        while wave.any():
            out[wave] = number
            wave = ndimage.binary_dilation(wave, np.ones((3, 3))) & (hu > -700) & np.isinf(out)
            number += 1
        return out

    return steps(inside) < steps(outside)


@click.wrong
def clicks_on_lung_count(hu, inside, outside):
    dense = hu > -700
    for place in [*inside, *outside]:
        dense[place] = True
    return _steps(dense, inside) < _steps(dense, outside)


@click.wrong
def the_threshold_itself_is_dense(hu, inside, outside):
    return _steps(hu >= -700, inside) < _steps(hu >= -700, outside)


@click.wrong
def nothing_outside(hu, inside, outside):
    return np.isfinite(_steps(hu > -700, inside))


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
