"""What chapter 1's notebook says, held against what its cells computed."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from util.claims import Claim

# As `learned` and `ruled` of the notebook: a row for 10, 30, 100, 300 and 1,000 examples, a column per training.
LEARNED = np.array([[0.66, 0.82, 0.82], [0.88, 0.91, 0.93], [0.975] * 3, [0.994] * 3, [0.998] * 3])
RULED = np.array([[0.973] * 3, [0.974] * 3, [0.974] * 3, [0.972] * 3, [0.974] * 3])
SAME = dict.fromkeys(range(10_000), 50)  # every spot as bright, or as large
ROWS = {10: 0, 30: 1, 100: 2, 300: 3, 1000: 4}


def _changed(scores, count, to):
    """`scores` with another row for `count` examples."""
    scores = scores.copy()
    scores[ROWS[count]] = to
    return scores


def _mended_by_one_pixel(v):
    """Of the first rule's mistakes, the share that vanishes when the one pixel it looks at loses its noise."""
    pictures, labels = v["fresh"].clone(), v["fresh_labels"]
    wrong = v["first_rule"](pictures) != labels
    row, column = v["middle"](pictures)
    every = torch.arange(len(pictures))
    smooth = nn.functional.avg_pool2d(pictures, 3, stride=1, padding=1)
    pictures[every, 0, row, column] = smooth[every, 0, row, column]
    return (v["first_rule"](pictures)[wrong] == labels[wrong]).float().mean().item()


def _error_of_a_line(v):
    """Squared error of the best line through picture 3's wave."""
    x = torch.cat([v["xs"], torch.ones_like(v["xs"])], dim=1)
    return (x @ torch.linalg.lstsq(x, v["target"]).solution - v["target"]).square().mean()


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
        lambda v: _mended_by_one_pixel(v) > 0.5 and v["first_score"] < 0.95,
        [{"first_score": 0.99}, {"first_rule": lambda images: torch.zeros(len(images), dtype=torch.int64)}],
    ),
    Claim(
        "Much better: two thirds of the mistakes are gone.",
        lambda v: abs((1 - v["better_score"]) / (1 - v["first_score"]) - 1 / 3) < 0.08,
        [{"better_score": 0.955}, {"better_score": 0.99}],
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
        "The same loop, with a small network in place of the line, follows a wave that no line comes near.",
        lambda v: (v["bends"][800] - v["target"]).square().mean() < 0.01 * _error_of_a_line(v),
        [{"bends": {20: torch.zeros(80, 1), 800: torch.zeros(80, 1)}}],
    ),
    Claim(
        "So we sort all of them by size and take one from the middle: about half of them are smaller.",
        lambda v: abs(v["rank"] / len(v["nodules"]) - 0.5) < 0.08,
        [{"rank": 5}, {"rank": 283}],
    ),
    Claim(
        "The nodule is one of nine white spots in this slice, and the whole scan holds more than a hundred islands "
        "of a nodule's size. It has three nodules",
        lambda v: len(v["in_slice"]) == 9 and 100 < len(v["in_scan"]) < 130 and v["known"] == 3,
        [{"in_slice": [1, 2]}, {"in_scan": list(range(40))}, {"known": 60}],
    ),
    Claim(
        "Nothing in this slice says which spot it is: another one is brighter, two are larger",
        lambda v: [sum(x > of[v["it"]] for x in of.values()) for of in (v["bright"], v["large"])] == [1, 2],
        [{"bright": SAME}, {"large": SAME}],
    ),
]
