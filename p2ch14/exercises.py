"""Chapter 14's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import itertools
import math

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from p2ch10.dsets import CandidateInfoTuple
from p2ch11.model import LunaModel
from p2ch14.froc import FP_RATES
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

cpm_exercise = Exercise(
    "14.3",
    title="From marks to CPM",
    difficulty=3,
    minutes=45,
    kind=BUILD,
    text="""
    The chapter's one number, from the marks alone. A mark is a probability and the number of the nodule that it
    hits, or `None` if it is a false positive. For every threshold that occurs among the probabilities, marks
    of at least that probability count: the sensitivity is the share of the nodules that one of them hits, the
    rate is the number of false positives among them per scan. The curve starts at (0, 0), goes straight from
    one threshold's point to the next lower one's, and stays level after the last. Where several points have
    the same rate, the highest sensitivity counts. Return its mean over 1/8, 1/4, 1/2, 1, 2, 4 and 8 false
    positives per scan.
    """,
    stub='''
    def cpm(marks, n_nodules, n_scans):
        """marks: list of (probability, number of the nodule or None), in any order. Returns a number."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "First the points of the curve, from the highest threshold to the lowest; then the seven readings.",
        "A nodule that two marks hit is found once. Marks with equal probability come in together.",
        "`np.interp(rates, [0, *xs], [0, *ys])` reads the curve: it is level beyond the last point, and takes "
        "the last of several points with the same x.",
    ),
    why="""
    Three of the traps are in every home-made evaluation: nodules that no mark hits stay in the denominator,
    several marks on one nodule are one hit, and ties come in together, or the order of a list decides.
    """,
)


def _cpm(marks, n_nodules, n_scans):
    rates, sensitivities = [0.0], [0.0]
    for threshold in sorted({p for p, _ in marks}, reverse=True):
        counted = [nodule for p, nodule in marks if p >= threshold]
        sensitivities.append(len({nodule for nodule in counted if nodule is not None}) / n_nodules)
        rates.append(sum(nodule is None for nodule in counted) / n_scans)
    return float(np.interp(FP_RATES, rates, sensitivities).mean())


@cpm_exercise.check
def check_cpm(answer):
    kinds = (None, 0, 1)
    cases = [([], 2, 1)]
    for count in (1, 2, 3):
        for hit in itertools.product(kinds, repeat=count):
            for scores in itertools.product((0.9, 0.5), repeat=count):
                cases.append((list(zip(scores, hit)), 2, 2))
    for n_marks in (8, 40):
        for _ in range(6):
            hit = [None if h > 4 else h for h in np.random.randint(0, 12, n_marks).tolist()]
            cases.append((list(zip((np.random.randint(1, 9, n_marks) / 10).tolist(), hit)), 6, 3))
    for marks, n_nodules, n_scans in cases:
        shown = marks if len(marks) < 4 else f"{len(marks)} of them"
        with case(marks=shown, n_nodules=n_nodules, n_scans=n_scans):
            same(answer(list(marks), n_nodules, n_scans), _cpm(marks, n_nodules, n_scans), "the CPM")


@cpm_exercise.solution
def cpm(marks, n_nodules, n_scans):
    rates, sensitivities = [0.0], [0.0]
    for threshold in sorted({probability for probability, _ in marks}, reverse=True):
        counted = [nodule for probability, nodule in marks if probability >= threshold]
        found = {nodule for nodule in counted if nodule is not None}
        sensitivities.append(len(found) / n_nodules)
        rates.append(counted.count(None) / n_scans)
    return np.interp([0.125, 0.25, 0.5, 1, 2, 4, 8], rates, sensitivities).mean()


@cpm_exercise.right
def one_pass(marks, n_nodules, n_scans):
    points, found, false = [(0.0, 0.0)], set(), 0
    for _, together in itertools.groupby(sorted(marks, key=lambda mark: -mark[0]), key=lambda mark: mark[0]):
        for _, nodule in together:
            false += nodule is None
            found |= set() if nodule is None else {nodule}
        points.append((false / n_scans, len(found) / n_nodules))
    xs, ys = zip(*points)
    return float(np.mean([np.interp(rate, xs, ys) for rate in FP_RATES]))


@cpm_exercise.right
def without_numpy(marks, n_nodules, n_scans):
    best = {}
    for p, nodule in marks:
        if nodule is not None:
            best[nodule] = max(p, best.get(nodule, 0))
    points = [(0.0, 0.0)]
    for t in sorted({p for p, _ in marks}, reverse=True):
        false = sum(p >= t and nodule is None for p, nodule in marks)
        points.append((false / n_scans, sum(p >= t for p in best.values()) / n_nodules))

    def read(rate):
        before = [point for point in points if point[0] <= rate][-1]
        after = [point for point in points if point[0] > rate][:1]
        if not after:
            return before[1]
        share = (rate - before[0]) / (after[0][0] - before[0])
        return before[1] + share * (after[0][1] - before[1])

    return sum(read(rate) for rate in (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)) / 7


@cpm_exercise.wrong
def every_mark_is_a_hit(marks, n_nodules, n_scans):
    return _cpm(
        [(p, nodule if nodule is None else (k, nodule)) for k, (p, nodule) in enumerate(marks)],
        n_nodules,
        n_scans,
    )


@cpm_exercise.wrong
def missed_nodules_leave_the_denominator(marks, n_nodules, n_scans):
    hit = {nodule for _, nodule in marks if nodule is not None}
    return _cpm(marks, max(len(hit), 1), n_scans)


@cpm_exercise.wrong
def ties_in_the_order_of_the_list(marks, n_nodules, n_scans):
    return _cpm([(p - 1e-9 * k, nodule) for k, (p, nodule) in enumerate(marks)], n_nodules, n_scans)


@cpm_exercise.wrong
def a_curve_without_origin(marks, n_nodules, n_scans):
    rates, sensitivities = [], []
    for threshold in sorted({p for p, _ in marks}, reverse=True):
        counted = [nodule for p, nodule in marks if p >= threshold]
        rates.append(counted.count(None) / n_scans)
        sensitivities.append(len(set(counted) - {None}) / n_nodules)
    return np.interp(FP_RATES, rates, sensitivities).mean() if marks else 0.0


@cpm_exercise.wrong
def per_nodule_instead_of_per_scan(marks, n_nodules, n_scans):
    return _cpm(marks, n_nodules, n_nodules)


@cpm_exercise.wrong
def the_mean_of_the_points(marks, n_nodules, n_scans):
    found = {nodule for _, nodule in marks if nodule is not None}
    return len(found) / n_nodules


# ---------------------------------------------------------------- 14.4

freeze_exercise = Exercise(
    "14.4",
    title="Frozen stiff",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    `freeze(model, learning)` prepares a model in training mode for fine-tuning: the parts (children) named in
    `learning`, such as `["head_linear"]`, go on learning as before; everything else stays exactly as it is,
    however long one trains.
    """,
    stub='''
    def freeze(model, learning):
        """model: a module with named children, such as LunaModel. Changes it; returns nothing."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Parameters are frozen by `requires_grad_(False)`. What else does a model remember?",
        "The running averages of a batch norm are no parameters. They move in every forward pass in training "
        "mode, frozen or not.",
        "`for name, part in model.named_children()`: `requires_grad_` and `train` both, with `name in learning`.",
    ),
    why="""
    Frozen means without gradients *and* in evaluation mode. Call `model.train()` at the start of the next
    epoch, as training loops do, and the second half is undone: a subclass that overrides `train`, or freezing
    anew each epoch, keeps it.
    """,
)


class _WithNorms(nn.Module):
    """A small model with a batch norm in each of three parts."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU())
        self.head = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 2))

    def forward(self, x):
        return self.head(self.body(self.stem(x)))


def _luna():
    return LunaModel().train(), torch.randn(2, 1, 32, 48, 48) * 100 - 300


def _small():
    return _WithNorms().train(), torch.randn(5, 1, 6, 6) * 3 + 1


@freeze_exercise.check
def check_freeze(answer):
    for make, learning in (
        (_small, ["head"]),
        (_small, ["body", "head"]),
        (_small, ["stem"]),
        (_small, ["stem", "body", "head"]),
        (_luna, ["head_linear"]),
        (_luna, ["block4", "head_linear"]),
    ):
        model, x = make()
        before = {name: t.clone() for name, t in model.state_dict().items()}
        name = "a small model with batch norms" if make is _small else "LunaModel"
        with case(f"{name}, learning={learning}"):
            answer(model, list(learning))
            free = {p.split(".")[0] for p, t in model.named_parameters() if t.requires_grad}
            frozen_inside = {
                p.split(".")[0] for p, t in model.named_parameters() if not t.requires_grad
            } & set(learning)
            expect(
                free == set(learning),
                f"the parts with gradients should be {learning}; they are {sorted(free)}.",
            )
            expect(not frozen_inside, f"a part of {sorted(frozen_inside)} is frozen, too.")
            optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
            for _ in range(2):
                out = model(x)
                loss = (out[0] if isinstance(out, tuple) else out).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            _moved(model, before, learning)


def _moved(model, before, learning):
    """After two steps: what has to stand still does, what has to learn does."""
    for name, t in model.state_dict().items():
        part, moves = name.split(".")[0], not torch.equal(t, before[name])
        if part not in learning:
            expect(not moves, f"{name} has moved in two steps of training, though {part} is frozen.")
        elif name.endswith("running_mean"):
            expect(moves, f"{name} stands still, though {part} is to learn.")
    for name, part in model.named_children():
        dropouts = [m for m in part.modules() if isinstance(m, nn.Dropout)]
        expect(
            name not in learning or all(m.training for m in dropouts),
            f"the dropout in {name} is switched off, though {name} is to learn as before.",
        )


@freeze_exercise.solution
def freeze(model, learning):
    for name, part in model.named_children():
        part.requires_grad_(name in learning)
        part.train(name in learning)


@freeze_exercise.right
def only_batch_norms_in_eval_mode(model, learning):
    for name, part in model.named_children():
        if name not in learning:
            for p in part.parameters():
                p.requires_grad = False
            for module in part.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()


@freeze_exercise.right
def everything_first_then_back(model, learning):
    model.requires_grad_(False).eval()
    for name in learning:
        getattr(model, name).requires_grad_().train()
    return model


@freeze_exercise.wrong
def forgets_the_running_averages(model, learning):
    for name, part in model.named_children():
        part.requires_grad_(name in learning)


@freeze_exercise.wrong
def all_in_eval_mode(model, learning):
    forgets_the_running_averages(model, learning)
    model.eval()


@freeze_exercise.wrong
def forgets_the_gradients(model, learning):
    for name, part in model.named_children():
        part.train(name in learning)


@freeze_exercise.wrong
def only_the_first_that_is_named(model, learning):
    freeze(model, learning[:1])


@freeze_exercise.wrong
def knows_the_chapters_head_only(model, learning):
    freeze(model, ["head_linear"])


# ---------------------------------------------------------------- 14.5

interval_exercise = Exercise(
    "14.5",
    title="An interval that is too wide",
    difficulty=2,
    minutes=25,
    kind=BUG,
    text="""
    Does a network beat the ruler? Both scored the same nodules, so the difference of their areas under the ROC
    curve is known better than either area. This function ought to return its 95 % interval by a *paired*
    bootstrap over nodules. It runs, its interval is plausible, and it is wrong, in two ways. Mend it, and keep
    at least a thousand draws.
    """,
    stub='''
    def paired_interval(label, score, baseline, draws=1000):
        """label: bool (N,); score, baseline: float (N,). Returns (low, high) of AUC(score) - AUC(baseline)."""

        def auc(label, score):
            positive, negative = score[label], score[~label]
            above = (positive[:, None] > negative).mean()
            return above + 0.5 * (positive[:, None] == negative).mean()

        rng = np.random.default_rng(0)
        differences = []
        while len(differences) < draws:
            one = rng.integers(len(label), size=len(label))
            two = rng.integers(len(label), size=len(label))
            if label[one].any() and label[two].any() and not (label[one].all() or label[two].all()):
                differences.append(auc(label[one], score[one]) - auc(label[two], baseline[two]))
        low, high = np.percentile(differences, [5, 95])
        return low, high
    ''',
    hints=(
        "Compare a score with itself. What should every draw say, and what does it say?",
        "Both areas of one draw have to be measured on the same nodules. And how much lies between the 5th and "
        "the 95th percentile?",
        "One `rng.integers` per draw, used for both; percentiles 2.5 and 97.5.",
    ),
    why="""
    Drawn apart, the luck of the draw is counted twice; drawn together, most of it cancels, since a nodule that
    is hard for one is hard for the other. Unpaired intervals have buried many a real improvement, and 90 %
    intervals have made up for it.
    """,
    seconds=6,
)


def _auc(label, score):
    """Area under the ROC curve of float scores (N,), by ranks; ties count half."""
    order = np.sort(score)
    rank = (np.searchsorted(order, score, "left") + np.searchsorted(order, score, "right") + 1) / 2
    n_pos, n_neg = label.sum(), (~label).sum()
    return (rank[label].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg)


def _interval(label, score, baseline, draws, percentiles=(2.5, 97.5), paired=True, seed=0):
    rng = np.random.default_rng(seed)
    differences = []
    while len(differences) < draws:
        one = rng.integers(len(label), size=len(label))
        two = one if paired else rng.integers(len(label), size=len(label))
        if 0 < label[one].sum() < len(label) and 0 < label[two].sum() < len(label):
            differences.append(_auc(label[one], score[one]) - _auc(label[two], baseline[two]))
    return np.percentile(differences, percentiles)


def _ends(interval):
    low, high = parts(interval, 2, "two numbers are wanted, the lower and the upper end.")
    ends = as_tensor([low, high], "the interval")
    expect(ends.shape == (2,) and ends.isfinite().all(), "both ends should be finite numbers.")
    return ends.tolist()


@interval_exercise.check
def check_interval(answer):
    widths = []
    for count in (40, 100, 160):
        label = np.random.rand(count) < 0.4
        label[:2] = True, False
        diameter = np.where(label, np.random.normal(12, 4, count), np.random.normal(7, 3, count))
        with case(f"{count} nodules, a score compared with itself"):
            low, high = _ends(answer(label.copy(), diameter.copy(), diameter.copy()))
            expect(
                low == high == 0,
                f"the difference is 0 in every draw; your interval is {low:.3f} to {high:.3f}.",
            )
        better = diameter + 2.0 * label + np.random.normal(0, 1.5, count)
        want_low, want_high = _interval(label, better, diameter, 3000, seed=count)
        with case(f"{count} nodules"):
            low, high = _ends(answer(label.copy(), better.copy(), diameter.copy()))
            expect(low < high, f"the lower end comes first; you got {low:.3f}, {high:.3f}.")
            width = want_high - want_low
            expect(
                abs((low + high) - (want_low + want_high)) < 0.5 * width,
                f"your interval {low:.3f} to {high:.3f} lies elsewhere. It is of score minus baseline.",
            )
            widths.append((high - low) / width)
    mean = sum(widths) / len(widths)
    expect(
        0.91 < mean < 1.1,
        f"On three sets of nodules your intervals are on average {mean:.2f} times as wide as they should be: "
        "95 % of the draws lie inside.",
    )


@interval_exercise.solution
def paired_interval(label, score, baseline, draws=1000):
    def auc(label, score):
        positive, negative = score[label], score[~label]
        above = (positive[:, None] > negative).mean()
        return above + 0.5 * (positive[:, None] == negative).mean()

    rng = np.random.default_rng(0)
    differences = []
    while len(differences) < draws:
        drawn = rng.integers(len(label), size=len(label))  # the same nodules for both
        if label[drawn].any() and not label[drawn].all():
            differences.append(auc(label[drawn], score[drawn]) - auc(label[drawn], baseline[drawn]))
    low, high = np.percentile(differences, [2.5, 97.5])
    return low, high


@interval_exercise.right
def by_ranks_and_with_more_draws(label, score, baseline):
    return _interval(label, score, baseline, 2000, seed=7)


@interval_exercise.right
def with_torch(label, score, baseline):
    label_t = torch.from_numpy(label)
    areas = []
    generator = torch.Generator().manual_seed(11)
    while len(areas) < 1500:
        drawn = torch.randint(len(label_t), (len(label_t),), generator=generator)
        if 0 < label_t[drawn].sum() < len(label_t):
            areas.append([_auc(label[drawn], values[drawn]) for values in (score, baseline)])
    one, two = torch.tensor(areas).T
    return torch.quantile(one - two, torch.tensor([0.025, 0.975], dtype=one.dtype))


@interval_exercise.right
def nodules_and_others_drawn_apart(label, score, baseline):
    rng, differences = np.random.default_rng(5), []
    kinds = np.flatnonzero(label), np.flatnonzero(~label)
    for _ in range(2000):
        drawn = np.concatenate([rng.choice(kind, len(kind)) for kind in kinds])
        differences.append(_auc(label[drawn], score[drawn]) - _auc(label[drawn], baseline[drawn]))
    return np.percentile(differences, [2.5, 97.5]).tolist()


@interval_exercise.wrong
def paired_but_90_percent(label, score, baseline):
    return _interval(label, score, baseline, 2000, (5, 95))


@interval_exercise.wrong
def two_thirds(label, score, baseline):
    return _interval(label, score, baseline, 2000, (16, 84))


@interval_exercise.wrong
def still_unpaired(label, score, baseline):
    return _interval(label, score, baseline, 1000, paired=False)


@interval_exercise.wrong
def baseline_minus_score(label, score, baseline):
    return _interval(label, baseline, score, 1000)


@interval_exercise.wrong
def the_two_intervals_subtracted(label, score, baseline):
    nothing = np.zeros(len(label))
    low, high = (_interval(label, values, nothing, 400) for values in (score, baseline))
    return low[0] - high[0], low[1] - high[1]


@interval_exercise.wrong
def always_zero(label, score, baseline):
    return 0.0, 0.0


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
            expect(len(centers) <= 12, f"at most 12 candidates are asked for; there are {len(centers)}.")
            for place, radius, words in (
                (alone, 4, "the nodule that stands alone"),
                (on_vessel, 6, "the nodule on the vessel"),
                (thin, 2, "the nodule of two slices"),
            ):
                away = np.linalg.norm(centers - place, axis=1).min()
                expect(
                    away < radius,
                    f"{words} has no candidate within its radius; the nearest is {away:.1f} voxels off.",
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
