"""Chapter 14's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import itertools
import math

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from p2ch10.dsets import CandidateInfoTuple
from p2ch14.scoring import Detection, Score, match_and_score
from util.exercises import (
    BUG,
    BUILD,
    EXPERIMENT,
    PREDICT,
    Exercise,
    as_tensor,
    case,
    expect,
    parts,
    predicted,
    same,
)

# ---------------------------------------------------------------- 14.1

rule = Exercise(
    "14.1",
    title="By LUNA16's rule",
    difficulty=1,
    minutes=10,
    kind=PREDICT,
    text="""
    A scan has one nodule, at (0, 0, 0), 10 mm in diameter, and one irrelevant finding, at (30, 0, 0), 6 mm in
    diameter. `count(marks)` answers (nodules found, false positives) for marks at these places, in mm. What
    does it say?
    """,
    stub="""
    counts = {
        "count([(4, 0, 0)])": ...,
        "count([(5, 0, 0)])": ...,
        "count([(4, 4, 4)])": ...,
        "count([(1, 0, 0), (0, 3, 0)])": ...,
        "count([(31, 0, 0), (0, 0, 2)])": ...,
        "count([(60, 0, 0), (61, 0, 0)])": ...,
        "count([])": ...,
    }
    """,
    hints=(
        "A diameter is two radii, and distances are taken in three dimensions.",
        "A mark exactly at the radius is outside. A mark on an irrelevant finding counts neither way.",
        "Of several marks on one nodule, one is the hit and the others are nothing; of several marks beside "
        "everything, each is a false positive.",
    ),
    why="""
    Each of these decisions could have been made otherwise, and each moves every figure of the chapter. That is
    why one rule, written once, has to be behind all of them.
    """,
)


def _count(marks):
    nodule = CandidateInfoTuple(True, True, False, 10.0, "1.2.3", (0.0, 0.0, 0.0))
    detections = [Detection(0.9, None, mark, None) for mark in marks]
    irrelevant = np.array([[30.0, 0.0, 0.0, 6.0]])
    score = Score.of(match_and_score(detections, [nodule], irrelevant=irrelevant))
    return [score.found, score.false_positives]


@rule.check
def check_rule(prediction):
    predicted(prediction, {line: eval(line, {"count": _count}) for line in rule.stub_keys})


rule.solution("""
counts = {
    "count([(4, 0, 0)])": (1, 0),
    "count([(5, 0, 0)])": (0, 1),
    "count([(4, 4, 4)])": (0, 1),
    "count([(1, 0, 0), (0, 3, 0)])": (1, 0),
    "count([(31, 0, 0), (0, 0, 2)])": (1, 0),
    "count([(60, 0, 0), (61, 0, 0)])": (0, 2),
    "count([])": (0, 0),
}
""")
_COUNTS = dict(zip(rule.stub_keys, ((1, 0), (0, 1), (0, 1), (1, 0), (1, 0), (0, 2), (0, 0))))
rule.right({line: list(value) for line, value in _COUNTS.items()})
rule.right({line: torch.tensor(value) for line, value in _COUNTS.items()})
rule.wrong({**_COUNTS, rule.stub_keys[1]: (1, 0)})
rule.wrong({**_COUNTS, rule.stub_keys[2]: (1, 0)})
rule.wrong({**_COUNTS, rule.stub_keys[3]: (1, 1)})
rule.wrong({**_COUNTS, rule.stub_keys[4]: (1, 1)})
rule.wrong({**_COUNTS, rule.stub_keys[5]: (0, 1)})
rule.wrong(dict.fromkeys(_COUNTS, (1, 0)))

# ---------------------------------------------------------------- 14.2

once_exercise = Exercise(
    "14.2",
    title="Each nodule once",
    difficulty=2,
    minutes=25,
    kind=BUILD,
    text="""
    A large nodule falls apart into several candidates, and a report that lists it three times is read by
    nobody twice. `once(findings)` keeps the most probable finding, drops every other one whose centre lies
    inside it (nearer than its radius), and goes on with what is left in the same way. It answers the
    *indices* of the findings that stay, the most probable first; among equally probable ones, the earlier.
    """,
    stub='''
    def once(findings):
        """findings: list of (probability, (x, y, z) in mm, diameter_mm). Returns a list of indices."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Sort indices, not findings. Who may throw out whom?",
        "Only a finding that *stays* drops others. One that was dropped itself drops nobody.",
        "Go through the indices by falling probability, and keep one if its centre lies in none of those kept "
        "so far: `all(math.dist(center, kept_center) >= kept_diameter / 2 for …)`.",
    ),
    why="""
    Detectors of all kinds end like this; it is called non-maximum suppression. Mind the chain: B lies in A, C
    in B, but C not in A. C stays, because B is gone.
    """,
)


def _once(findings):
    kept = []
    for index in sorted(range(len(findings)), key=lambda i: -findings[i][0]):
        center = findings[index][1]
        if all(math.dist(center, findings[k][1]) >= findings[k][2] / 2 for k in kept):
            kept.append(index)
    return kept


@once_exercise.check
def check_once(answer):
    with case(findings=[]):
        got = as_tensor(answer([]), "what stays")
        expect(got.numel() == 0, "without findings, nothing stays.")
    places, probabilities = ((0, 0, 0), (4, 0, 0), (0, 7, 0)), (0.5, 0.9, 0.9)
    for count in (1, 2, 3):
        for where in itertools.product(places, repeat=count):
            for order in itertools.permutations(probabilities, count):
                for diameter in (6, 8, 16):
                    _same_indices(answer, [(p, xyz, diameter) for p, xyz in zip(order, where)])
    chain = [(0.9, (0, 0, 0), 10), (0.8, (4, 0, 0), 10), (0.7, (8, 0, 0), 10)]
    _same_indices(answer, chain)
    _same_indices(answer, [(0.9, (0, 0, 0), 4), (0.8, (3, 0, 0), 20)])
    for _ in range(20):
        findings = [
            (round(p, 2), tuple(xyz), round(d, 1))
            for p, xyz, d in zip(
                np.random.rand(12).tolist(),
                np.random.uniform(0, 25, (12, 3)).round().tolist(),
                np.random.uniform(4, 20, 12).tolist(),
            )
        ]
        _same_indices(answer, findings)


def _same_indices(answer, findings):
    with case(findings=findings if len(findings) < 4 else f"{len(findings)} of them"):
        got = as_tensor(answer(list(findings)), "the list of indices").tolist()
        expect(isinstance(got, list), "a list of indices is wanted.")
        got = [int(index) if isinstance(index, float) and index == int(index) else index for index in got]
        want = _once(findings)
        expect(got == want, f"the findings that stay are {want}; you got {got}.")


@once_exercise.solution
def once(findings):
    kept = []
    for index in sorted(range(len(findings)), key=lambda i: -findings[i][0]):  # stable: earlier first
        center = findings[index][1]
        if all(math.dist(center, findings[k][1]) >= findings[k][2] / 2 for k in kept):
            kept.append(index)
    return kept


@once_exercise.right
def by_striking_out(findings):
    left, kept = set(range(len(findings))), []
    while left:
        best = min(left, key=lambda i: (-findings[i][0], i))
        kept.append(best)
        inside = {i for i in left if math.dist(findings[i][1], findings[best][1]) < findings[best][2] / 2}
        left -= inside | {best}
    return kept


@once_exercise.right
def in_numpy(findings):
    if not findings:
        return np.array([], dtype=int)
    probability = np.array([f[0] for f in findings])
    center, radius = np.array([f[1] for f in findings], float), np.array([f[2] for f in findings]) / 2
    away = np.linalg.norm(center[:, None] - center, axis=2)
    kept = []
    for i in np.argsort(-probability, kind="stable"):
        if not kept or (away[i, kept] >= radius[kept]).all():
            kept.append(i)
    return np.array(kept)


@once_exercise.wrong
def the_findings_themselves(findings):
    return [findings[index] for index in _once(findings)]


@once_exercise.wrong
def everybody_drops(findings):
    order = sorted(range(len(findings)), key=lambda i: -findings[i][0])
    return [
        index
        for place, index in enumerate(order)
        if all(math.dist(findings[index][1], findings[k][1]) >= findings[k][2] / 2 for k in order[:place])
    ]


@once_exercise.wrong
def takes_the_diameter_for_the_radius(findings):
    return _once([(p, xyz, 2 * diameter) for p, xyz, diameter in findings])


@once_exercise.wrong
def by_its_own_radius(findings):
    kept = []
    for index in sorted(range(len(findings)), key=lambda i: -findings[i][0]):
        if all(math.dist(findings[index][1], findings[k][1]) >= findings[index][2] / 2 for k in kept):
            kept.append(index)
    return kept


@once_exercise.wrong
def in_the_order_of_the_list(findings):
    return sorted(_once(findings))


@once_exercise.wrong
def drops_what_lies_exactly_at_the_radius(findings):
    kept = []
    for index in sorted(range(len(findings)), key=lambda i: -findings[i][0]):
        if all(math.dist(findings[index][1], findings[k][1]) > findings[k][2] / 2 for k in kept):
            kept.append(index)
    return kept


@once_exercise.wrong
def the_later_of_equals(findings):
    order = sorted(range(len(findings)), key=lambda i: (-findings[i][0], -i))
    return [order[k] for k in _once([findings[i] for i in order])]


# ---------------------------------------------------------------- 14.3

operating_exercise = Exercise(
    "14.3",
    title="Where the hospital puts the threshold",
    difficulty=2,
    minutes=25,
    kind=BUILD,
    text="""
    A hospital can put up with `rate` false positives per scan. A mark is a probability and the number of the nodule
    that it hits, or `None` if it is a false positive; marks of at least the threshold count. Which threshold finds
    most? Answer the lowest one, among the probabilities that occur, that leaves no more false positives than `rate`
    per scan, and the share of all nodules that it finds. Where even the highest leaves too many, or there are no
    marks, answer `(None, 0)`.
    """,
    stub='''
    def operating_point(marks, n_nodules, n_scans, rate):
        """marks: list of (probability, number of the nodule or None), in any order. Returns (threshold, share)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Go down through the different probabilities, the highest first. What may happen at the next one?",
        "Several marks may share a probability, and then they all come in together. A nodule that several marks hit is "
        "found once.",
        "For each probability in falling order: count the `None`s of at least that probability; if there are more than "
        "`rate * n_scans`, stop. The share is the size of the *set* of nodules hit, divided by `n_nodules`.",
    ),
    why="""
    This is how a point on the FROC curve becomes a product. The threshold is a parameter that was fitted, like any
    weight: on other patients it will leave another number of false positives, so it is chosen on scans that are not
    reported.
    """,
)


def _operating_point(marks, n_nodules, n_scans, rate):
    best = (None, 0.0)
    for threshold in sorted({p for p, _ in marks}, reverse=True):
        kept = [nodule for p, nodule in marks if p >= threshold]
        if sum(nodule is None for nodule in kept) > rate * n_scans:
            break
        best = (threshold, len({nodule for nodule in kept if nodule is not None}) / n_nodules)
    return best


@operating_exercise.check
def check_operating_point(answer):
    for n_marks in (0, 1, 1, 2, 2, 3, 3, 4, 5, 8, 12):
        for _ in range(12):
            n_nodules, n_scans = int(np.random.randint(1, 4)), int(np.random.randint(1, 4))
            marks = [
                (
                    float(np.random.randint(1, 9)) / 10,
                    None if np.random.rand() < 0.5 else int(np.random.randint(n_nodules)),
                )
                for _ in range(n_marks)
            ]
            rate = float(np.random.choice([0, 0.25, 0.5, 1, 2]))
            want = _operating_point(marks, n_nodules, n_scans, rate)
            with case(marks=marks, n_nodules=n_nodules, n_scans=n_scans, rate=rate):
                threshold, share = parts(
                    answer(list(marks), n_nodules, n_scans, rate), 2, "return the threshold and the share."
                )
                if want[0] is None:
                    expect(threshold is None, f"no threshold will do here, but you answer {threshold}.")
                else:
                    expect(threshold is not None, f"{want[0]} will do as a threshold, but you answer None.")
                    same(threshold, want[0], "the threshold")
                same(share, want[1], "the share")


@operating_exercise.solution
def operating_point(marks, n_nodules, n_scans, rate):
    best = (None, 0)
    for threshold in sorted({probability for probability, _ in marks}, reverse=True):
        kept = [nodule for probability, nodule in marks if probability >= threshold]
        if kept.count(None) > rate * n_scans:
            break
        best = threshold, len(set(kept) - {None}) / n_nodules
    return best


@operating_exercise.right
def mark_by_mark(marks, n_nodules, n_scans, rate):
    answer, false, found = (None, 0), 0, set()
    ordered = sorted(marks, key=lambda mark: -mark[0])
    for n, (probability, nodule) in enumerate(ordered):
        false += nodule is None
        found |= set() if nodule is None else {nodule}
        is_last = n + 1 == len(ordered) or ordered[n + 1][0] < probability
        if false > rate * n_scans:
            return answer
        if is_last:
            answer = (probability, len(found) / n_nodules)
    return answer


@operating_exercise.right
def in_arrays(marks, n_nodules, n_scans, rate):
    if not marks:
        return None, 0
    p = np.array([mark[0] for mark in marks])
    nodule = np.array([-1 if mark[1] is None else mark[1] for mark in marks])
    thresholds = np.unique(p)
    good = [t for t in thresholds if ((p >= t) & (nodule < 0)).sum() <= rate * n_scans]
    if not good:
        return None, 0
    found = np.unique(nodule[(p >= good[0]) & (nodule >= 0)])
    return torch.tensor(good[0]), torch.tensor(len(found) / n_nodules)


@operating_exercise.wrong
def ties_come_one_by_one(marks, n_nodules, n_scans, rate):
    answer, false, found = (None, 0), 0, set()
    for probability, nodule in sorted(marks, key=lambda mark: (-mark[0], mark[1] is None)):
        false += nodule is None
        if false > rate * n_scans:
            return answer
        found |= set() if nodule is None else {nodule}
        answer = (probability, len(found) / n_nodules)
    return answer


@operating_exercise.wrong
def counts_marks_not_nodules(marks, n_nodules, n_scans, rate):
    threshold, share = _operating_point(marks, n_nodules, n_scans, rate)
    if threshold is not None:
        share = sum(p >= threshold and n is not None for p, n in marks) / n_nodules
    return threshold, share


@operating_exercise.wrong
def rate_of_all_scans_together(marks, n_nodules, n_scans, rate):
    return _operating_point(marks, n_nodules, 1, rate)


@operating_exercise.wrong
def above_and_not_from(marks, n_nodules, n_scans, rate):
    best = (None, 0)
    for threshold in sorted({p for p, _ in marks}, reverse=True):
        kept = [nodule for p, nodule in marks if p > threshold]
        if kept.count(None) > rate * n_scans:
            break
        best = threshold, len(set(kept) - {None}) / n_nodules
    return best


@operating_exercise.wrong
def fewer_than_allowed(marks, n_nodules, n_scans, rate):
    return _operating_point(marks, n_nodules, n_scans, rate - 1 / (2 * n_scans))


@operating_exercise.wrong
def share_of_the_nodules_marked(marks, n_nodules, n_scans, rate):
    threshold, share = _operating_point(marks, n_nodules, n_scans, rate)
    marked = len({n for _, n in marks if n is not None})
    return threshold, share * n_nodules / marked if marked else 0


# ---------------------------------------------------------------- 14.4

moves_exercise = Exercise(
    "14.4",
    title="What moves?",
    difficulty=2,
    minutes=15,
    kind=PREDICT,
    text="""
    A network is a batch norm `bn` and a linear layer `head`, which learns. `bn` is to stay as it is. `moves(name)`
    shows the network ten random batches, takes a step of AdamW (with weight decay) after each, and says whether the
    parameter or buffer of that name is another than before. The batch norm is frozen by `requires_grad_(False)`, or
    by setting its gradients to zero before each step (`"zeros"`), or not at all; and it is in training mode or in
    evaluation mode.
    """,
    stub="""
    answers = {
        "moves('bn.running_mean', freeze='requires_grad', mode='train')": ...,
        "moves('bn.running_mean', freeze='requires_grad', mode='eval')": ...,
        "moves('bn.weight', freeze='requires_grad', mode='train')": ...,
        "moves('bn.weight', freeze='zeros', mode='eval')": ...,
        "moves('bn.weight', freeze='no', mode='eval')": ...,
        "moves('bn.running_mean', freeze='no', mode='eval')": ...,
        "moves('head.weight', freeze='requires_grad', mode='eval')": ...,
    }
    """,
    hints=(
        "Three things can move something: a gradient, weight decay, and a batch norm that keeps its own books.",
        "Running means are no parameters; no optimizer touches them. They follow the mode alone.",
        "AdamW pulls every parameter that has a gradient towards zero, and a gradient of zero is a gradient; `None` is "
        "none.",
    ),
    why="""
    Gradients move parameters; the mode moves running statistics; and weight decay moves whatever has a gradient, be it
    zero. To freeze a layer takes `requires_grad_(False)` *and* `eval()`, and an optimizer that has not been given its
    parameters cannot move them by accident.
    """,
)


def _moves(name, freeze, mode):
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("bn", nn.BatchNorm1d(3))
    net.add_module("head", nn.Linear(3, 1))
    net.bn.train(mode == "train")
    if freeze == "requires_grad":
        net.bn.requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    for _ in range(10):
        optimizer.zero_grad()
        (net(torch.randn(8, 3) + 2) ** 2).mean().backward()
        if freeze == "zeros":
            for parameter in net.bn.parameters():
                parameter.grad.zero_()
        optimizer.step()
    return not torch.equal(before[name], net.state_dict()[name])


@moves_exercise.check
def check_moves(prediction):
    predicted(prediction, {line: eval(line, {"moves": _moves}) for line in moves_exercise.stub_keys})


moves_exercise.solution("""
answers = {
    "moves('bn.running_mean', freeze='requires_grad', mode='train')": True,
    "moves('bn.running_mean', freeze='requires_grad', mode='eval')": False,
    "moves('bn.weight', freeze='requires_grad', mode='train')": False,
    "moves('bn.weight', freeze='zeros', mode='eval')": True,
    "moves('bn.weight', freeze='no', mode='eval')": True,
    "moves('bn.running_mean', freeze='no', mode='eval')": False,
    "moves('head.weight', freeze='requires_grad', mode='eval')": True,
}
""")
_MOVES = dict(zip(moves_exercise.stub_keys, (True, False, False, True, True, False, True)))
moves_exercise.right({line: int(value) for line, value in _MOVES.items()})
moves_exercise.right({line: torch.tensor(value) for line, value in _MOVES.items()})
moves_exercise.wrong({**_MOVES, moves_exercise.stub_keys[0]: False})
moves_exercise.wrong({**_MOVES, moves_exercise.stub_keys[2]: True})
moves_exercise.wrong({**_MOVES, moves_exercise.stub_keys[3]: False})
moves_exercise.wrong({**_MOVES, moves_exercise.stub_keys[5]: True})
moves_exercise.wrong(dict.fromkeys(_MOVES, True))

# ---------------------------------------------------------------- 14.5

mirrors_exercise = Exercise(
    "14.5",
    title="Four looks, three of them elsewhere",
    difficulty=2,
    minutes=15,
    kind=BUG,
    text="""
    Test-time augmentation for the U-Net: the mean of what it says of the slices as they are, mirrored up and down,
    left and right, and both. It runs, and nodules that the network is sure of come out at a quarter of their
    probability. Mend it: the answer has to lie over the slices as they came in.
    """,
    stub='''
    def mean_of_mirrors(model, slices):
        """model: takes (N, 7, H, W), answers (N, 1, H, W). slices: (N, 7, H, W). Returns the mean, (N, 1, H, W)."""
        answers = []
        for axes in ((), (2,), (3,), (2, 3)):
            answers.append(model(slices.flip(axes)))
        return torch.stack(answers).mean(dim=0)
    ''',
    hints=(
        "Let `model` be `lambda slices: slices[:, 3:4]`, which answers its input's middle slice. What should come "
        "out, and what does?",
        "The answer to a mirrored slice is a mirrored mask. What has to happen before the mean?",
        "A mirror undoes itself: `model(slices.flip(axes)).flip(axes)`.",
    ),
    why="""
    A classifier's answer has no left and right, so for the chapter's second classifier a mean is enough. A mask has.
    The test that shows it at once is a model whose answer is known, such as one that hands its input back.
    """,
)


def _mean_of_mirrors(model, slices):
    return sum(model(slices.flip(axes)).flip(axes) for axes in ((), (2,), (3,), (2, 3))) / 4


def _models():
    """Of one pixel, of its neighbours, and of where it stands: none is its own mirror image but the first."""
    kernel = torch.randint(-3, 4, (1, 7, 3, 3)).float()
    yield "the middle slice", lambda slices: slices[:, 3:4]
    yield "a convolution", lambda slices: nn.functional.conv2d(slices, kernel, padding=1)
    yield "a sum from the left", lambda slices: slices[:, :1].cumsum(dim=3)


@mirrors_exercise.check
def check_mirrors(answer):
    for n, height, width in ((1, 1, 2), (1, 2, 1), (1, 2, 2), (2, 2, 3), (2, 4, 4)):
        for name, model in _models():
            slices = torch.randint(0, 10, (n, 7, height, width)).float()
            with case(f"a model that answers {name}", slices=slices[:, 3]):
                kept = slices.clone()
                same(answer(model, slices), _mean_of_mirrors(model, slices), "the mean")
                expect(torch.equal(kept, slices), "the slices that came in have changed.")


@mirrors_exercise.solution
def mean_of_mirrors(model, slices):
    answers = []
    for axes in ((), (2,), (3,), (2, 3)):
        answers.append(model(slices.flip(axes)).flip(axes))
    return torch.stack(answers).mean(dim=0)


@mirrors_exercise.right
def by_negative_axes(model, slices):
    total = 0
    for axes in ([], [-1], [-2], [-1, -2]):
        total = total + torch.flip(model(torch.flip(slices, axes)), axes)
    return total / 4


@mirrors_exercise.right
def in_one_batch(model, slices):
    rows = torch.cat([slices, slices.flip(2)])
    four = model(torch.cat([rows, rows.flip(3)]))
    rows = (four[: len(rows)] + four[len(rows) :].flip(3)) / 2
    return (rows[: len(slices)] + rows[len(slices) :].flip(2)) / 2


@mirrors_exercise.wrong
def only_as_they_are(model, slices):
    return model(slices)


@mirrors_exercise.wrong
def left_and_right_only(model, slices):
    return (model(slices) + model(slices.flip(3)).flip(3)) / 2


@mirrors_exercise.wrong
def both_undone_by_one(model, slices):
    axes_sets = ((), (2,), (3,), (2, 3))
    return sum(model(slices.flip(axes)).flip(axes[:1]) for axes in axes_sets) / 4


@mirrors_exercise.wrong
def the_surest_of_four(model, slices):
    answers = [model(slices.flip(axes)).flip(axes) for axes in ((), (2,), (3,), (2, 3))]
    return torch.stack(answers).amax(dim=0)


@mirrors_exercise.wrong
def the_mean_undone_afterwards(model, slices):
    mean = sum(model(slices.flip(axes)) for axes in ((), (2,), (3,), (2, 3))) / 4
    return mean.flip((2, 3))


@mirrors_exercise.wrong
def the_sum_of_four(model, slices):
    return 4 * _mean_of_mirrors(model, slices)


# ---------------------------------------------------------------- 14.6

candidates_exercise = Exercise(
    "14.6",
    title="What the erosion loses",
    difficulty=3,
    minutes=50,
    kind=EXPERIMENT,
    text="""
    One erosion and connected components lose two kinds of nodule: those of two slices, which the erosion removes
    whole, and those that hang on a vessel, whose component's centre lies far outside. Find candidates in a
    mask, as a list of centres (index, row, column), better than that. The check makes masks with a nodule
    that stands alone, one on a vessel, a thin one, and a single noisy voxel. It counts what your candidates
    hit: all three nodules, not the voxel, with at most twelve candidates a mask. Then try yours on the scans
    above, and hold what it gains against the candidates that it adds.
    """,
    stub='''
    def candidates(mask):
        """mask: bool (I, R, C). Returns the centres of candidates, a list of (index, row, column)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Where is a component thicker than its surroundings? `ndimage.distance_transform_edt` says how deep each "
        "voxel lies.",
        "Peaks of the (smoothed) depth are centres of bumps. Thin components have no deep voxels: treat those "
        "that an erosion removes apart, by their size.",
        "Centres of eroded components, plus the peaks (`ndimage.maximum_filter`) with a depth above 2, plus the "
        "centres of components that the erosion removed and that have more than eight voxels.",
    ),
    why="""
    The shape of a component knows more than its centre. The shipped grouping, `way="split"`, works like
    this; every candidate that it adds has to be judged by the classifier, which costs time and false alarms.
    """,
    seconds=2,
)


def _ball(shape, center, radius):
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum((g - c) ** 2 for g, c in zip(grid, center)) < radius**2


def _masks():
    for _ in range(4):
        mask = np.zeros((40, 70, 110), dtype=bool)
        nodule = (20, int(np.random.randint(25, 45)), 14)
        alone = (int(np.random.randint(8, 30)), 60, int(np.random.randint(20, 95)))
        speck = (34, 12, int(np.random.randint(20, 95)))
        for center, radius in ((nodule, 6), (alone, 4)):
            mask |= _ball(mask.shape, center, radius)
        mask[19:22, nodule[1] - 1 : nodule[1] + 2, 14:104] = True
        mask[speck[0] : speck[0] + 2, speck[1] : speck[1] + 3, speck[2] : speck[2] + 3] = True
        mask[3, 3, 3] = True
        if np.random.rand() < 0.5:
            mask, flip = mask[:, :, ::-1], lambda c: (c[0], c[1], 109 - c[2])
        else:
            flip = tuple
        thin = np.add(speck, (0.5, 1, 1))
        yield np.ascontiguousarray(mask), flip(nodule), flip(alone), flip(thin), flip((3, 3, 3))


@candidates_exercise.check
def check_candidates(answer):
    for mask, on_vessel, alone, thin, voxel in _masks():
        with case("a mask with three nodules"):
            centers = as_tensor(answer(mask.copy()), "the list of centres").numpy()
            expect(centers.size, "there are no candidates at all.")
            expect(centers.ndim == 2 and centers.shape[1] == 3, "each centre should be three numbers.")
            expect(
                np.isfinite(centers).all(), "a centre is not a number; a component without voxels has none."
            )
            expect(len(centers) <= 12, f"at most 12 candidates are asked for; there are {len(centers)}.")
            for place, radius, words in (
                (alone, 4, "the nodule that stands alone"),
                (on_vessel, 6, "the nodule on the vessel"),
                (thin, 2, "the nodule of two slices"),
            ):
                away = np.linalg.norm(centers - place, axis=1).min()
                expect(
                    away < radius,
                    f"{words} has no candidate nearer than {radius} voxels to its centre; the nearest is {away:.1f} "
                    "off.",
                )
            expect(
                np.linalg.norm(centers - voxel, axis=1).min() >= 1,
                "a single voxel is noise, and no candidate.",
            )


@candidates_exercise.solution
def candidates(mask):
    eroded, count = ndimage.label(ndimage.binary_erosion(mask))
    centers = ndimage.center_of_mass(eroded > 0, eroded, range(1, count + 1))
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1.0)
    is_bump = (ndimage.maximum_filter(depth, size=13) == depth) & (depth > 2)
    whole, count = ndimage.label(mask)
    for number in range(1, count + 1):
        component = whole == number
        if component.sum() > 8 and not (eroded[component] > 0).any():
            centers.append(ndimage.center_of_mass(component))
    return centers + [tuple(bump) for bump in np.argwhere(is_bump)]


@candidates_exercise.right
def by_opening(mask):
    """A strong opening leaves bumps without their vessels; what is small and removed comes back whole."""
    thick = ndimage.binary_opening(mask, ndimage.generate_binary_structure(3, 1), iterations=3)
    labels, count = ndimage.label(thick)
    centers = list(ndimage.center_of_mass(thick, labels, range(1, count + 1)))
    whole, count = ndimage.label(mask)
    for number in range(1, count + 1):
        component = whole == number
        if component.sum() > 4 and not thick[component].any():
            centers.append(ndimage.center_of_mass(component))
    return np.array(centers)


@candidates_exercise.right
def by_the_deepest_voxel(mask):
    """The deepest voxel of every component that has more than one voxel."""
    labels, count = ndimage.label(mask)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 0.5)
    sizes = ndimage.sum_labels(mask, labels, range(1, count + 1))
    deepest = ndimage.maximum_position(depth, labels, range(1, count + 1))
    return [place for place, size in zip(deepest, sizes) if size > 1]


@candidates_exercise.wrong
def erosion_only(mask):
    labels, count = ndimage.label(ndimage.binary_erosion(mask))
    return ndimage.center_of_mass(labels > 0, labels, range(1, count + 1))


@candidates_exercise.wrong
def components_only(mask):
    labels, count = ndimage.label(mask)
    return ndimage.center_of_mass(mask, labels, range(1, count + 1))


@candidates_exercise.wrong
def every_voxel(mask):
    return np.argwhere(mask)


@candidates_exercise.wrong
def deepest_voxels_and_the_noise(mask):
    labels, count = ndimage.label(mask)
    depth = ndimage.distance_transform_edt(mask)
    return ndimage.maximum_position(depth, labels, range(1, count + 1))


@candidates_exercise.wrong
def bumps_only(mask):
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1.0)
    return np.argwhere((ndimage.maximum_filter(depth, size=13) == depth) & (depth > 2))


@candidates_exercise.wrong
def where_the_first_mask_had_them(mask):
    return [(20, 35, 14), (20, 60, 50), (34.5, 13, 50)]
