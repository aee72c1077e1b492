"""Chapter 11's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import copy
import math
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from p2ch11.model import LunaBlock, LunaModel
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

# ---------------------------------------------------------------- 11.1

followed = Exercise(
    "11.1",
    title="Follow the crop",
    difficulty=1,
    minutes=15,
    kind=PREDICT,
    text="""
    `crops = torch.zeros(2, 1, 32, 48, 48)` is a batch of two. What does each line give? Shapes as tuples,
    and numbers; a pencil helps.
    """,
    stub="""
    gives = {
        "LunaBlock(1, 8)(crops).shape": ...,
        "LunaBlock(1, 8)(crops[:, :, :20]).shape": ...,
        "LunaModel()(crops)[0].shape": ...,
        "LunaModel()(crops)[1].sum(dim=1)": ...,
        "sum(p.numel() for p in LunaBlock(1, 8).parameters())": ...,
        "LunaModel(conv_channels=16).head_linear.weight.shape": ...,
        "F.cross_entropy(torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64), reduction='none').shape": ...,
        "len(DataLoader(range(65), batch_size=32))": ...,
        "len(DataLoader(range(65), batch_size=32, drop_last=True))": ...,
    }
    """,
    hints=(
        "A block: two convolutions with padding 1, then a pooling by 2 in all three directions.",
        "Halves: 32 × 48 × 48 becomes 16 × 24 × 24. A softmax over two classes sums to 1 per row. The "
        "last batch may be smaller, or be dropped.",
        "8 · 1 · 27 + 8 for the first convolution, 8 · 8 · 27 + 8 for the second. With 16 channels to "
        "begin with, the head sees 128 · 2 · 3 · 3 numbers.",
    ),
    why="""
    Four poolings leave 2 × 3 × 3 places of 8 times as many channels as the first block has: 64 · 18 = 1152,
    or 2304 with twice the channels. Without a reduction the loss is one number per sample, which is what
    lets one ask about nodules and others separately.
    """,
)


@followed.check
def check_followed(prediction):
    names = {"torch": torch, "F": F, "DataLoader": DataLoader, "LunaBlock": LunaBlock, "LunaModel": LunaModel}
    names["crops"] = torch.zeros(2, 1, 32, 48, 48)
    predicted(prediction, {key: eval(key, names) for key in followed.stub_keys})


followed.solution("""
gives = {
    "LunaBlock(1, 8)(crops).shape": (2, 8, 16, 24, 24),
    "LunaBlock(1, 8)(crops[:, :, :20]).shape": (2, 8, 10, 24, 24),
    "LunaModel()(crops)[0].shape": (2, 2),
    "LunaModel()(crops)[1].sum(dim=1)": (1, 1),
    "sum(p.numel() for p in LunaBlock(1, 8).parameters())": 1960,
    "LunaModel(conv_channels=16).head_linear.weight.shape": (2, 2304),
    "F.cross_entropy(torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64), reduction='none').shape": (5,),
    "len(DataLoader(range(65), batch_size=32))": 3,
    "len(DataLoader(range(65), batch_size=32, drop_last=True))": 2,
}
""")
_FOLLOWED = dict(
    zip(
        followed.stub_keys,
        ((2, 8, 16, 24, 24), (2, 8, 10, 24, 24), (2, 2), (1, 1), 1960, (2, 2304), (5,), 3, 2),
    )
)
followed.right({key: list(v) if isinstance(v, tuple) else float(v) for key, v in _FOLLOWED.items()})
followed.right({key: torch.tensor(v) for key, v in _FOLLOWED.items()})
followed.wrong({**_FOLLOWED, followed.stub_keys[0]: (2, 8, 32, 48, 48)})
followed.wrong({**_FOLLOWED, followed.stub_keys[1]: (2, 8, 16, 24, 24)})
followed.wrong({**_FOLLOWED, followed.stub_keys[4]: 1944})
followed.wrong({**_FOLLOWED, followed.stub_keys[5]: (2, 1152)})
followed.wrong({**_FOLLOWED, followed.stub_keys[7]: 2})

# ---------------------------------------------------------------- 11.2

overwritten = Exercise(
    "11.2",
    title="Metrics that vanish",
    difficulty=2,
    minutes=15,
    kind=BUG,
    text="""
    `collect` writes label and probability of every sample into one tensor, batch by batch, as section 11.5
    does. As long as all batches have the same size, all is well. With a smaller last batch some samples
    stay zero, and others are overwritten. Why?
    """,
    stub='''
    def collect(batches, n_samples):
        """batches: list of (labels (n,), probabilities (n,)). Returns (2, n_samples), labels first."""
        metrics = torch.zeros(2, n_samples)
        for batch_ndx, (labels, probabilities) in enumerate(batches):
            start = batch_ndx * len(labels)
            end = start + len(labels)
            metrics[0, start:end] = labels
            metrics[1, start:end] = probabilities
        return metrics
    ''',
    hints=(
        "Take batches of 4, 4 and 1 samples. Where does the third one begin?",
        "It should begin behind the eight before it. `2 * len(labels)` is 2, since *this* batch has one "
        "sample.",
        "Keep a counter, `start`, that grows by `len(labels)` after each batch; or multiply by the "
        "loader's batch size.",
    ),
    why="""
    The start depends on the batches before, not on this one. Nothing complains, the epoch's means are only
    a little off, and only when the number of samples is no multiple of the batch size. A counter that is
    carried along cannot be wrong.
    """,
)


@overwritten.check
def check_overwritten(answer):
    # As a loader makes them: only the last batch may be smaller.
    for sizes in ((1,), (1, 1), (2, 1), (2, 2), (2, 2, 1), (4, 4, 1), (32, 32, 7)):
        batches = [(torch.randint(2, (n,)), torch.randint(1, 9, (n,)) / 10) for n in sizes]
        want = torch.stack([torch.cat(column) for column in zip(*[(a.float(), b) for a, b in batches])])
        with case(f"batches of {sizes} samples"):
            same(answer([tuple(batch) for batch in batches], sum(sizes)), want, "the metrics")


@overwritten.solution
def collect(batches, n_samples):
    metrics = torch.zeros(2, n_samples)
    start = 0
    for labels, probabilities in batches:
        end = start + len(labels)
        metrics[0, start:end] = labels
        metrics[1, start:end] = probabilities
        start = end
    return metrics


@overwritten.right
def joins_them(batches, n_samples):
    labels, probabilities = zip(*batches)
    return torch.stack([torch.cat(labels).double(), torch.cat(probabilities).double()])


@overwritten.right
def in_numpy_lists(batches, n_samples):
    rows = [], []
    for batch in batches:
        for row, values in zip(rows, batch):
            row.extend(values.numpy())
    return np.array(rows)


@overwritten.right
def by_the_size_of_the_first_batch(batches, n_samples):
    metrics = torch.zeros(2, n_samples)
    size = len(batches[0][0])
    for batch_ndx, (labels, probabilities) in enumerate(batches):
        start = batch_ndx * size
        metrics[0, start : start + len(labels)] = labels
        metrics[1, start : start + len(labels)] = probabilities
    return metrics


@overwritten.wrong
def a_counter_that_starts_anew(batches, n_samples):
    metrics = torch.zeros(2, n_samples)
    for labels, probabilities in batches:
        start = 0
        metrics[0, start : start + len(labels)] = labels
        metrics[1, start : start + len(labels)] = probabilities
        start += len(labels)
    return metrics


@overwritten.wrong
def drops_the_last(batches, n_samples):
    metrics = collect(batches, n_samples)
    metrics[:, len(batches[0][0]) * (n_samples // len(batches[0][0])) :] = 0
    return metrics


@overwritten.wrong
def probabilities_first(batches, n_samples):
    return collect(batches, n_samples).flip(0)


@overwritten.wrong
def one_row_per_sample(batches, n_samples):
    return collect(batches, n_samples).T


@overwritten.wrong
def for_batches_of_32(batches, n_samples):
    metrics = torch.zeros(2, n_samples)
    for batch_ndx, (labels, probabilities) in enumerate(batches):
        part = metrics[:, 32 * batch_ndx : 32 * batch_ndx + len(labels)]
        part[0], part[1] = labels[: part.shape[1]], probabilities[: part.shape[1]]
    return metrics


# ---------------------------------------------------------------- 11.3

kept = Exercise(
    "11.3",
    title="The best so far",
    difficulty=2,
    minutes=15,
    kind=BUILD,
    text="""
    After each epoch a training has a score, and it writes `best.state` whenever the score is better than all
    before. An epoch without nodules in its validation has the score `nan`, not a number: it never counts as
    better, and it does not spoil what comes after. Return the epochs after which the file is written.
    """,
    stub='''
    def epochs_kept(scores):
        """scores: a list of floats, higher is better, some of them nan. Returns a list of epochs, counted from 1."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "What are `float('nan') > 0.5`, `0.5 > float('nan')` and `max(float('nan'), 0.5)`?",
        "The first two are False. Keep the best score so far in a variable; what should it be before the "
        "first epoch? Scores may be negative.",
        "`best = -math.inf`; write if `score > best`. A nan is not greater than anything, so it never gets "
        "into `best`.",
    ),
    why="""
    `score > best` is False for nan, and so is `score <= best`. Written the other way round, `if not score <=
    best`, the same comparison takes every nan for the best of all, and from then on nothing is better. A nan
    that gets into `best` by `max` does the same.
    """,
)


@kept.check
def check_kept(answer):
    nan = math.nan
    cases = [
        [0.5],
        [0.5, 0.6],
        [0.6, 0.5],
        [0.5, 0.5],
        [-0.7],
        [-0.7, -0.4, -0.5],
        [nan],
        [nan, 0.3],
        [0.3, nan],
    ]
    cases += [[0.3, nan, 0.2], [0.3, nan, 0.4], [nan, nan, -0.2, -0.3], [0.2, 0.4, 0.3, nan, 0.4, 0.5], []]
    cases += [[round(float(x), 1) if x < 0.8 else nan for x in torch.rand(12)] for _ in range(4)]
    for scores in cases:
        best, want = -math.inf, []
        for epoch, score in enumerate(scores, 1):
            if score > best:
                best = score
                want.append(epoch)
        with case(scores=scores):
            same(answer(list(scores)), want, "the epochs")


@kept.solution
def epochs_kept(scores):
    best, epochs = -math.inf, []
    for epoch, score in enumerate(scores, 1):
        if score > best:
            best = score
            epochs.append(epoch)
    return epochs


@kept.right
def among_the_numbers(scores):
    numbers = [(score, epoch) for epoch, score in enumerate(scores, 1) if not math.isnan(score)]
    return [
        epoch for place, (score, epoch) in enumerate(numbers) if all(score > s for s, _ in numbers[:place])
    ]


@kept.right
def with_a_running_maximum(scores):
    values = np.nan_to_num(np.array([-np.inf, *scores]), nan=-np.inf)
    return np.nonzero(values[1:] > np.maximum.accumulate(values)[:-1])[0] + 1


@kept.wrong
def counts_from_zero(scores):
    return [epoch - 1 for epoch in epochs_kept(scores)]


@kept.wrong
def begins_at_zero(scores):
    best, epochs = 0.0, []
    for epoch, score in enumerate(scores, 1):
        if score > best:
            best = score
            epochs.append(epoch)
    return epochs


@kept.wrong
def takes_equal_for_better(scores):
    best, epochs = -math.inf, []
    for epoch, score in enumerate(scores, 1):
        if score >= best:
            best = score
            epochs.append(epoch)
    return epochs


@kept.wrong
def nan_is_better_than_all(scores):
    best, epochs = -math.inf, []
    for epoch, score in enumerate(scores, 1):
        if not score <= best:
            best = score
            epochs.append(epoch)
    return epochs


@kept.wrong
def the_first_score_whatever_it_is(scores):
    best, epochs = None, []
    for epoch, score in enumerate(scores, 1):
        if best is None or score > best:
            best = score
            epochs.append(epoch)
    return epochs


@kept.wrong
def only_the_very_best(scores):
    return epochs_kept(scores)[-1:]


# ---------------------------------------------------------------- 11.4

enough = Exercise(
    "11.4",
    title="How large must a batch be?",
    difficulty=2,
    minutes=15,
    kind=BUILD,
    text="""
    A share `share` of all candidates are nodules, and batches are drawn at random. Return the smallest
    batch size for which a batch holds at least one nodule with a probability of at least `chance`. On
    LUNA16 about one candidate in 400 is a nodule: how large would it have to be for nine batches in ten?
    """,
    stub='''
    def batch_needed(share, chance):
        """share: above 0, at most 1; chance: from 0 to below 1. Returns a whole number, at least 1."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "How likely is it that a batch of one holds no nodule? Of two? Of n?",
        "No nodule in n draws: (1 - share)ⁿ. You want that to be at most 1 - chance.",
        "Count upwards until it is, or solve for n with logarithms and round up: log(1 - chance) / log(1 "
        "- share).",
    ),
    why="""
    921 candidates per batch for nine batches in ten: with 32, more than nine batches in ten hold nothing to
    learn from. This is why chapter 12 chooses what the network sees.
    """,
)


@enough.check
def check_enough(answer):
    for share, chance in (
        (0.5, 0.5),
        (0.5, 0.75),
        (0.5, 0.76),
        (1.0, 0.9),
        (0.5, 0.0),
        (0.25, 0.5),
        (0.1, 0.9),
    ):
        _enough_for(answer, share, chance)
    for _ in range(10):
        _enough_for(
            answer,
            *(round(float(v), 3) for v in (np.random.uniform(0.002, 0.3), np.random.uniform(0.1, 0.99))),
        )
    _enough_for(answer, 1 / 400, 0.9)


def _enough_for(answer, share, chance):
    n = 1
    while 1 - (1 - share) ** n < chance - 1e-12:
        n += 1
    with case(share=share, chance=chance):
        same(answer(share, chance), n, "the batch size", atol=1e-6, rtol=0)


@enough.solution
def batch_needed(share, chance):
    size, none = 1, 1 - share
    while none > 1 - chance:
        size, none = size + 1, none * (1 - share)
    return size


@enough.right
def with_logarithms(share, chance):
    if share == 1:
        return 1
    return max(1, math.ceil(math.log(1 - chance) / math.log(1 - share) - 1e-9))


@enough.right
def by_trying_many_at_once(share, chance):
    sizes = np.arange(1, 10_000)
    return sizes[1 - (1 - share) ** sizes >= chance - 1e-12][0]


@enough.wrong
def one_over_the_share(share, chance):
    return math.ceil(1 / share)


@enough.wrong
def in_proportion(share, chance):
    return max(1, math.ceil(chance / share))


@enough.wrong
def rounds_down(share, chance):
    return 1 if share == 1 else max(1, int(math.log(1 - chance) / math.log(1 - share)))


@enough.wrong
def one_too_many(share, chance):
    return batch_needed(share, chance) + 1


@enough.wrong
def for_nine_in_ten(share, chance):
    return batch_needed(share, 0.9)


# ---------------------------------------------------------------- 11.5

found = Exercise(
    "11.5",
    title="Better than always no",
    difficulty=2,
    minutes=35,
    kind=EXPERIMENT,
    seconds=3,
    text="""
    One sample in a hundred is a nodule here: 4,000 samples of 8 numbers, in some of which nodules tend to
    be larger. Trained as usual, a network soon says no to everything and is right 99 times in 100. Train
    one that finds at least 70 % of the nodules and gives at most 40 % false alarms among the others, on
    samples that it has not seen. Any way will do: weights in the loss, showing nodules more often, another
    way to read the logits.
    """,
    stub='''
    def fit(samples, labels):
        """samples: (4000, 8), labels: (4000,), 1 for a nodule. Returns a model, (N, 8) -> logits (N, 2)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Plot how many samples are called nodule after each epoch. What would a wrong yes cost, and what "
        "a wrong no?",
        "`nn.CrossEntropyLoss` takes a weight per class. Or draw as many nodules as others into each batch.",
        "`nn.Linear(8, 2)`, Adam at 0.05, 200 steps on all samples, `weight=torch.tensor([1.0, 99.0])`.",
    ),
    why="""
    The network was never stupid: for one nodule in a hundred, "no" is the best bet on most samples.
    Weights, or a balanced choice of samples, change the question into: if both were equally likely, which
    is it? Chapter 12 does the second, and then needs other measures than the share of right answers.
    """,
)


def _candidates(count, share):
    labels = (torch.arange(count) < count * share).long()
    samples = torch.randn(count, 8)
    samples[:, :4] += 1.0 * labels[:, None]
    order = torch.randperm(count)
    return samples[order], labels[order]


@found.check
def check_found(answer):
    samples, labels = _candidates(4000, 0.01)
    model = answer(samples.clone(), labels.clone())
    expect(callable(model), "Return the trained model.")
    if isinstance(model, nn.Module):
        model.eval()
    samples, labels = _candidates(4000, 0.5)
    with torch.no_grad():
        logits = as_tensor(model(samples), "the model's answer")
    expect(logits.shape == (4000, 2), f"The logits should be (4000, 2), not {tuple(logits.shape)}.")
    says = logits.argmax(1)
    recall = (says[labels == 1] == 1).double().mean().item()
    alarms = (says[labels == 0] == 1).double().mean().item()
    expect(recall >= 0.70, f"Of new nodules, {recall:.0%} are found; 70 % are wanted.")
    expect(alarms <= 0.40, f"Of the others, {alarms:.0%} are called nodules; at most 40 % may be.")


def _descend(model, samples, labels, steps, weight=None):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(samples), labels, weight=weight).backward()
        optimizer.step()
    return model


@found.solution
def fit(samples, labels):
    model = nn.Linear(8, 2)
    loss_fn = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 99.0]))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss_fn(model(samples), labels).backward()
        optimizer.step()
    return model


@found.right
def shows_nodules_more_often(samples, labels):
    nodules, others = samples[labels == 1], samples[labels == 0]
    model = nn.Linear(8, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        batch = torch.cat([part[torch.randint(len(part), (64,))] for part in (nodules, others)])
        optimizer.zero_grad()
        F.cross_entropy(model(batch), (torch.arange(128) < 64).long()).backward()
        optimizer.step()
    return model


@found.right
def moves_the_threshold(samples, labels):
    model = _descend(nn.Linear(8, 2), samples, labels, 300)
    with torch.no_grad():
        model.bias += torch.tensor([0.0, math.log(99)])
    return model


@found.wrong
def as_usual(samples, labels):
    return _descend(nn.Linear(8, 2), samples, labels, 200)


@found.wrong
def always_no(samples, labels):
    return lambda x: torch.tensor([1.0, 0.0]).expand(len(x), 2)


@found.wrong
def always_yes(samples, labels):
    return lambda x: torch.tensor([0.0, 1.0]).expand(len(x), 2)


@found.wrong
def weights_the_wrong_class(samples, labels):
    return _descend(nn.Linear(8, 2), samples, labels, 200, torch.tensor([99.0, 1.0]))


@found.wrong
def weighted_too_much(samples, labels):
    return _descend(nn.Linear(8, 2), samples, labels, 200, torch.tensor([1.0, 1e6]))


@found.wrong
def weighted_too_little(samples, labels):
    return _descend(nn.Linear(8, 2), samples, labels, 200, torch.tensor([1.0, 5.0]))


# ---------------------------------------------------------------- 11.6

resumed = Exercise(
    "11.6",
    title="As if nothing had happened",
    difficulty=3,
    minutes=35,
    kind=BUILD,
    text="""
    A training that was stopped and resumed should end with exactly the weights of one that was not. Write
    `save` and `load`. The check's optimizer has momentum, its learning rate follows a schedule, and its
    model has batch norm and dropout, which draws random numbers (on the CPU). The file must be one that
    `torch.load(path, weights_only=True)` opens.
    """,
    stub='''
    def save(path, model, optimizer, scheduler, epoch):
        raise NotImplementedError("your turn")


    def load(path, model, optimizer, scheduler):
        """Puts everything back into newly made objects. Returns the epoch that was saved."""
        raise NotImplementedError("your turn")


    save_and_load = (save, load)
    ''',
    hints=(
        "Which objects change while one trains? Each of them has a state.",
        "Model, optimizer and scheduler have `state_dict()` and `load_state_dict()`. One more thing "
        "decides what dropout drops next.",
        "`torch.get_rng_state()` is a tensor that can be saved with the rest in one dictionary; "
        "`torch.set_rng_state` puts it back, last of all.",
    ),
    why="""
    Weights alone bring back the network, not the training: without its momentum and its second moments an
    optimizer starts anew with steps that are too large, without the scheduler the rate jumps back. Exact
    equality is a test that forgets nothing.
    """,
)


def _training():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)


def _epochs(training, batches):
    model, optimizer, scheduler = training
    for samples, labels in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(samples), labels).backward()
        optimizer.step()
        scheduler.step()


@resumed.check
def check_resumed(answer):
    expect(isinstance(answer, tuple | list) and len(answer) == 2, "Hand over both functions, (save, load).")
    save, load = answer
    for before, after in ((1, 1), (2, 1), (3, 4)):
        batches = [(torch.randn(6, 4), torch.randint(2, (6,))) for _ in range(before + after)]
        training = _training()
        _epochs(training, batches[:before])
        with tempfile.TemporaryDirectory() as folder, case(f"{before} epochs, a stop, and {after} more"):
            path = Path(folder) / "checkpoint.pt"
            save(path, *training, before)
            expect(path.exists(), "save wrote no file there.")
            try:
                torch.load(path, weights_only=True)
            except Exception as error:
                expect(
                    False,
                    f"torch.load(path, weights_only=True) does not open it: {str(error).splitlines()[0]}",
                )
            _epochs(training, batches[before:])
            torch.manual_seed(int(torch.randint(10**6, ())))
            again = _training()
            epoch = load(path, *again)
            same(epoch, before, "the epoch that load returns")
            _epochs(again, batches[before:])
            for (name, want), got in zip(training[0].state_dict().items(), again[0].state_dict().values()):
                same(got, want, f"the resumed model's {name}", atol=1e-7, rtol=1e-6)
            same(
                again[1].param_groups[0]["lr"],
                training[1].param_groups[0]["lr"],
                "the learning rate at the end",
            )


resumed.solution("""
import torch


def save(path, model, optimizer, scheduler, epoch):
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    torch.save({**states, "epoch": epoch, "random": torch.get_rng_state()}, path)


def load(path, model, optimizer, scheduler):
    states = torch.load(path, weights_only=True)
    model.load_state_dict(states["model"])
    optimizer.load_state_dict(states["optimizer"])
    scheduler.load_state_dict(states["scheduler"])
    torch.set_rng_state(states["random"])
    return states["epoch"]


save_and_load = (save, load)
""")


def _saver(*parts):
    """save and load for some of: model, optimizer, scheduler, random."""

    def save(path, model, optimizer, scheduler, epoch):
        objects = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
        state = {name: copy.deepcopy(objects[name].state_dict()) for name in parts if name in objects}
        torch.save({**state, "epoch": epoch, "random": torch.get_rng_state()}, path)

    def load(path, model, optimizer, scheduler):
        state = torch.load(path, weights_only=True)
        for name, one in (("model", model), ("optimizer", optimizer), ("scheduler", scheduler)):
            if name in parts:
                one.load_state_dict(state[name])
        if "random" in parts:
            torch.random.set_rng_state(state["random"])
        return state["epoch"]

    return save, load


resumed.right(_saver("model", "optimizer", "scheduler", "random"))


def _in_a_list():
    def save(path, *things):
        *objects, epoch = things
        torch.save([[one.state_dict() for one in objects], epoch, torch.random.get_rng_state()], str(path))

    def load(path, *objects):
        states, epoch, numbers = torch.load(str(path))
        for one, state in zip(objects, states):
            one.load_state_dict(state)
        torch.set_rng_state(numbers)
        return torch.tensor(epoch)

    return [save, load]


resumed.right(_in_a_list())
resumed.wrong(_saver("model"))
resumed.wrong(_saver("model", "optimizer", "scheduler"))
resumed.wrong(_saver("model", "scheduler", "random"))
resumed.wrong(_saver("model", "optimizer", "random"))
resumed.wrong((lambda path, model, *rest: torch.save(model, path), lambda path, *rest: 1))
resumed.wrong((lambda *things: None, lambda path, *rest: 1))
