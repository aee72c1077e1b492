"""What chapter 1's notebook says, held against what its cells computed."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from util.claims import Claim

# As `learned` and `ruled` of the notebook: a row for 10, 30, 100, 300 and 1,000 examples, a column per training.
LEARNED = np.array([[0.66, 0.82, 0.82], [0.88, 0.91, 0.93], [0.975] * 3, [0.994] * 3, [0.998] * 3])
RULED = np.array([[0.973] * 3, [0.974] * 3, [0.974] * 3, [0.972] * 3, [0.974] * 3])
ROWS = {10: 0, 30: 1, 100: 2, 300: 3, 1000: 4}


def _changed(scores, count, to):
    """`scores` with another row for `count` examples."""
    scores = scores.copy()
    scores[ROWS[count]] = to
    return scores


def _losses_of_guesses(v):
    """Squared error of each remembered line, in the order of learning."""
    lines = v["guesses"].values()
    return [((w * 0.1 * v["t_u"] + b - v["t_c"]) ** 2).mean().item() for w, b in lines]


CLAIMS = [
    Claim(
        "Half of the pictures are rings, so guessing would be right half of the time.",
        lambda v: (
            abs(v["fresh_labels"].float().mean().item() - 0.5) < 0.02 and abs(v["untrained"] - 0.5) < 0.1
        ),
        [{"untrained": 0.9}, {"fresh_labels": torch.tensor([0, 0, 0, 1])}],
    ),
    Claim(
        "a single noisy pixel flips the answer",
        lambda v: 0.05 < 1 - v["first_score"] < 0.12,
        [{"first_score": 0.99}, {"first_score": 0.8}],
    ),
    Claim(
        "Much better: two thirds of the mistakes are gone.",
        lambda v: abs((1 - v["better_score"]) / (1 - v["first_score"]) - 1 / 3) < 0.08,
        [{"better_score": 0.955}, {"better_score": 0.99}],
    ),
    Claim(
        "Inside are about 1,800 adjustable numbers, which start out random.",
        lambda v: 1700 < sum(p.numel() for p in v["new_network"]().parameters()) < 1900,
        [{"new_network": lambda: nn.Linear(100, 20)}],
    ),
    Claim(
        "With ten examples the network is far behind, and the three trainings disagree",
        lambda v: (
            v["ruled"][0].min() - v["learned"][0].max() > 0.05
            and v["learned"][0].max() - v["learned"][0].min() > 0.05
        ),
        [{"learned": _changed(LEARNED, 10, 0.94)}, {"learned": _changed(LEARNED, 10, 0.75)}],
    ),
    Claim(
        "At a hundred the two are level.",
        lambda v: abs(v["learned"][2].mean() - v["ruled"][2].mean()) < 0.01,
        [{"learned": _changed(LEARNED, 100, 0.995)}, {"learned": _changed(LEARNED, 100, 0.94)}],
    ),
    Claim(
        "From three hundred on the network is ahead in all three trainings",
        lambda v: all(v["learned"][row].min() > v["ruled"][row].max() for row in (3, 4)),
        [{"learned": _changed(LEARNED, 300, [0.995, 0.995, 0.96])}, {"ruled": RULED + 0.025}],
    ),
    Claim(
        "at a thousand it errs about once in five hundred pictures where the rule errs once in forty",
        lambda v: 330 < 1 / (1 - v["learned"][4].mean()) < 800 and 33 < 1 / (1 - v["ruled"][4].mean()) < 50,
        [{"learned": LEARNED - 0.003}, {"ruled": RULED - 0.02}, {"ruled": RULED + 0.01}],
    ),
    Claim(
        "The rule does not get better with more examples.",
        lambda v: abs(v["ruled"][4].mean() - v["ruled"][1].mean()) < 0.01,
        [{"ruled": _changed(RULED, 1000, 0.99)}, {"ruled": _changed(RULED, 30, 0.95)}],
    ),
    Claim(
        "It has one dial, and ten examples are enough to set that",
        lambda v: v["ruled"][1:].mean() - v["ruled"][0].min() < 0.01,
        [{"ruled": _changed(RULED, 10, [0.95, 0.97, 0.97])}],
    ),
    Claim(
        "With few examples a good rule wins; with enough, learning does.",
        lambda v: (
            v["ruled"][0].mean() > v["learned"][0].mean() and v["ruled"][4].mean() < v["learned"][4].mean()
        ),
        [{"learned": RULED + 0.01}, {"learned": RULED - 0.01}],
    ),
    Claim(
        "a pile of numbers that nobody wrote, which can be confidently wrong",
        lambda v: len(v["mistakes"]) > 0 and bool((v["sure"][v["mistakes"]] > 0.9).any()),
        [{"mistakes": torch.tensor([], dtype=torch.int64)}, {"sure": torch.full((4000,), 0.6)}],
    ),
    Claim(
        "there are gradients, through exactly the turns that happened",
        # tanh(2 tanh(2 x)) has the slope 4 at 0 after two turns; one turn would give 2.
        lambda v: abs(v["start"].grad[2].item() - 4) < 1e-4,
        [{"start": SimpleNamespace(grad=torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0]))}],
    ),
    Claim(
        "Each pale line is an earlier guess; gradients lead from each to the next.",
        lambda v: all(a > b for a, b in zip(_losses_of_guesses(v), _losses_of_guesses(v)[1:])),
        [{"guesses": {0: (5.4, -17.3), 3000: (1.0, 0.0)}}],
    ),
    Claim(
        "The same loop, with a small network in place of the line, can follow any curve.",
        lambda v: (
            (v["bends"][800] - v["target"]).square().mean()
            < 0.05 * (v["bends"][20] - v["target"]).square().mean()
        ),
        [{"bends": {20: torch.zeros(80, 1), 800: torch.zeros(80, 1)}}],
    ),
    Claim(
        "half of them are smaller",
        lambda v: abs(v["rank"] / len(v["nodules"]) - 0.5) < 0.08,
        [{"rank": 5}, {"rank": 283}],
    ),
    Claim(
        "The nodule is one white spot among more than a dozen in this slice, and the whole scan holds close to ninety "
        "islands of a nodule's size. It has eight nodules; the rest are pieces of vessels.",
        lambda v: len(v["in_slice"]) > 12 and 80 <= len(v["in_scan"]) <= 92 and v["known"] == 8,
        [{"in_slice": [1, 2]}, {"in_scan": list(range(40))}, {"known": 60}],
    ),
]
