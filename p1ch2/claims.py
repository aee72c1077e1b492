"""What chapter 2's notebook says, held against what its cells computed."""

import numpy as np
import torch

from p1ch2.drawing import COLOURS, DAYLIGHT
from util.claims import Claim

GREEN = list(COLOURS).index("green")
MEADOW, SNOW, DESERT = (
    list(DAYLIGHT).index(f"in {place}") for place in ("a meadow", "the snow", "the desert")
)
EVEN_SHIFT = torch.full((len(COLOURS), len(DAYLIGHT)), 14.0)


def _recorded(v, layers, residual, key="loss"):
    return [r[key] for r in v["recorded"] if r["layers"] == layers and r["residual"] == residual]


def _rows(loss, gradient=(1.0, 1.0), layers=(6, 10, 18, 34, 58)):
    """A record like the notebook's: loss(layers, residual); gradients of plain and residual stacks."""
    return [
        {"layers": n, "residual": r, "loss": loss(n, r), "first_gradient": gradient[r], "last_gradient": 0.3}
        for n in layers
        for r in (False, True)
    ]


def _firsts(v):
    return {name: names[0] for name, (names, _) in v["answers"].items()}


def _one_answer(v_name, name, first, percent):
    """Near miss: `v_name` as the notebook has it but for one picture is not at hand, so only that picture."""
    return {v_name: {name: ([first, "other"], torch.tensor([percent, 1.0]))}}


def _others(shift):
    """Mean shifts of everything but green."""
    return torch.cat([shift[:GREEN], shift[GREEN + 1 :]])


CLAIMS = [
    Claim(
        "Nearly all the numbers sit in the fully connected layers, nearly all the work is done by the others.",
        lambda v: (
            v["connected"][0] > 9 * v["convolutional"][0] and v["convolutional"][1] > 9 * v["connected"][1]
        ),
        [{"connected": (2e6, 54e6)}, {"convolutional": (2e6, 54e6)}],
    ),
    Claim(
        "Up to ten layers the sum makes no difference worth speaking of.",
        lambda v: all(
            abs(np.mean(_recorded(v, n, True)) - np.mean(_recorded(v, n, False))) < 0.2 for n in (6, 10)
        ),
        [{"recorded": _rows(lambda n, r: 1.0 if r else 2.0)}],
    ),
    Claim(
        "From 18 layers on, the plain stacks get worse with every step in depth",
        lambda v: (
            np.mean(_recorded(v, 10, False))
            < np.mean(_recorded(v, 18, False))
            < np.mean(_recorded(v, 34, False))
            < np.mean(_recorded(v, 58, False))
        ),
        [{"recorded": _rows(lambda n, r: 2.0)}, {"recorded": _rows(lambda n, r: 3 - n / 58)}],
    ),
    Claim(
        "with 58 layers they hardly do better than guessing",
        lambda v: all(2.4 < loss < np.log(13) for loss in _recorded(v, 58, False)),
        [{"recorded": _rows(lambda n, r: 2.0)}],
    ),
    Claim(
        "the residual ones get better until 18 layers, and keep most of that to the end",
        lambda v: (
            np.mean(_recorded(v, 6, True)) > np.mean(_recorded(v, 10, True)) > np.mean(_recorded(v, 18, True))
            and np.mean(_recorded(v, 58, True)) < np.mean(_recorded(v, 10, True))
        ),
        [{"recorded": _rows(lambda n, r: n / 20)}, {"recorded": _rows(lambda n, r: 1.0)}],
    ),
    Claim(
        "it is *larger* at the first block of a deep plain stack than of a deep residual one, by a factor of hundreds",
        lambda v: (
            min(_recorded(v, 58, False, "first_gradient"))
            > 100 * max(_recorded(v, 58, True, "first_gradient"))
        ),
        [
            {"recorded": _rows(lambda n, r: 1.0, gradient=(0.001, 1.0))},
            {"recorded": _rows(lambda n, r: 1.0, gradient=(10.0, 1.0))},
        ],
    ),
    Claim(
        "The youngest is right far more often than AlexNet with a thirteenth of its numbers.",
        lambda v: (
            12.5 < v["costs"]["AlexNet"][0] / v["costs"]["EfficientNet-Lite0"][0] < 13.5
            and v["claimed"]["EfficientNet-Lite0"] > v["claimed"]["AlexNet"] + 15
        ),
        [
            {"costs": {"AlexNet": (61e6, 1), "EfficientNet-Lite0": (61e6 / 5, 1)}},
            {"claimed": {"AlexNet": 66.0, "EfficientNet-Lite0": 75.1}},
        ],
    ),
    Claim(
        "the cat turns into velvet",
        lambda v: v["careless_names"][0].startswith("velvet") and "cat" in v["careless_names"][1],
        [
            {"careless_names": ("tabby, 30 %", "tabby, 30 %")},
            {"careless_names": ("velvet, 4 %", "wool, 4 %")},
        ],
    ),
    Claim(
        "Four out of five name the subject, in the words that the list has to offer.",
        lambda v: (
            [
                _firsts(v).get("cat") in ("tabby", "tiger cat", "Egyptian cat"),
                _firsts(v).get("coffee") == "espresso",
                _firsts(v).get("rocket") == "missile",
                _firsts(v).get("motorcycle") == "moped",
            ]
            == [True] * 4
        ),
        [_one_answer("answers", "cat", "velvet", 4.0), _one_answer("answers", "coffee", "espresso", 84.0)],
    ),
    Claim(
        "the five best answers together get less than a sixth of the belief",
        lambda v: "astronaut" in v["answers"] and v["answers"]["astronaut"][1].sum() < 100 / 6,
        [_one_answer("answers", "astronaut", "space shuttle", 60.0)],
    ),
    Claim(
        "There is one in the picture, and the man behind it has no name in the list.",
        lambda v: v["strange_answers"]["a man"][0][0] == "tripod" and "man" not in v["labels"],
        [_one_answer("strange_answers", "a man", "bow tie", 93.0), {"labels": ["tripod", "man"]}],
    ),
    Claim(
        "Cover a third of the picture, wherever you like, even the middle of the face: belief in a cat falls by two "
        "points at most, and nearly everywhere it rises.",
        lambda v: v["fall"].max() < 2.5 and (v["fall"] < 0).float().mean() > 0.85 and v["whole"] > 80,
        [{"fall": torch.full((7, 7), 30.0)}, {"fall": torch.full((7, 7), 1.0)}, {"whole": 12.0}],
    ),
    Claim(
        "some fur and the corner of an eye, a twelfth of the picture, are enough for a cat, and whiskers nearly so. "
        "The nose is not, nor is the plain fur above it.",
        lambda v: (
            v["enough"][1, 3] > 70  # the corner of an eye
            and v["enough"][5, 1] > 45  # whiskers
            and v["enough"][5:, 3:6].max() < 25  # the nose
            and v["enough"][1:5, 4].max() < 5  # the fur above it
        ),
        [{"enough": torch.zeros(7, 7)}, {"enough": torch.full((7, 7), 80.0)}],
    ),
    Claim(
        "The espresso, the missile and the tripod fall to pieces with their pictures. The cat stays a cat, as firmly "
        "as before.",
        lambda v: (
            all(v["kept_belief"][n][1] < 0.35 * v["kept_belief"][n][0] for n in ("coffee", "rocket", "a man"))
            and abs(v["kept_belief"]["cat"][0] - v["kept_belief"]["cat"][1]) < 10
        ),
        [
            {"kept_belief": dict.fromkeys(("cat", "coffee", "rocket", "a man"), (80.0, 78.0))},
            {"kept_belief": dict.fromkeys(("cat", "coffee", "rocket", "a man"), (80.0, 8.0))},
        ],
    ),
    Claim(
        "the true share of mistakes is then below 3/520, or 0.6 %, with 95 % confidence",
        lambda v: (
            v["right"]["as drawn"] == 1 and abs((1 - 3 / len(v["drawn"])) ** len(v["drawn"]) - 0.05) < 0.005
        ),
        [{"right": {"as drawn": 0.99}}, {"drawn": torch.zeros(2)}],
    ),
    Claim(
        "Drawings that stand on their heads were not, and it gets half of them wrong; with negated colours, or with "
        "half of the picture hidden, about two thirds.",
        lambda v: (
            v["right"]["mirrored"] > 0.99
            and 0.42 < v["right"]["upside down"] < 0.6
            and all(0.27 < v["right"][way] < 0.42 for way in ("colours negated", "left half grey"))
        ),
        [
            {
                "right": {
                    "mirrored": 1.0,
                    "upside down": 0.9,
                    "colours negated": 0.35,
                    "left half grey": 0.35,
                }
            },
            {
                "right": {
                    "mirrored": 1.0,
                    "upside down": 0.5,
                    "colours negated": 0.8,
                    "left half grey": 0.35,
                }
            },
        ],
    ),
    Claim(
        "whatever it starts from, the forger makes one and the same thing, and the detective sees through it",
        lambda v: (
            torch.pdist(v["piles"]["move 100"].flatten(1)[:100]).mean()
            < 0.6 * torch.pdist(v["piles"]["move 1500"].flatten(1)[:100]).mean()
            and v["losses"][90:110, 1].mean() > 2
        ),
        [
            {"piles": dict.fromkeys(("move 100", "move 1500"), torch.rand(200, 1, 8, 8))},
            {"losses": np.full((1501, 2), 0.69)},
        ],
    ),
    Claim(
        "though the judge is about two thirds sure of them on average, and more than four fifths of genuine ones",
        lambda v: (
            0.6 < v["sureties"]["move 1500"] < 0.74
            and 0.8 < v["sureties"]["genuine, new to the judge"] < 0.86
        ),
        [
            {"sureties": {"move 1500": 0.82, "genuine, new to the judge": 0.83}},
            {"sureties": {"move 1500": 0.4, "genuine, new to the judge": 0.83}},
        ],
    ),
    Claim(
        "every digit is there, if unequally; and none is a copy",
        lambda v: (
            v["counts"].min() >= 10
            and v["counts"].max() > 1.5 * v["counts"].min()
            and v["nearest"].values.min() > v["between"].quantile(0.01)
        ),
        [
            {"counts": np.array([600] + [0] * 9)},
            {"counts": np.full(10, 60)},
            {"nearest": torch.zeros(600, 3).min(1)},
        ],
    ),
    Claim(
        "the one that comes closest to a genuine digit is still more than 1.3 away from it. Genuine digits by "
        "themselves are about as close to their nearest neighbours, 2.0 as a rule",
        lambda v: (
            1.3 < v["nearest"].values.min().item() < 2.2 and abs(v["between"].median().item() - 2.0) < 0.1
        ),
        [{"nearest": torch.zeros(600, 3).min(1)}, {"between": torch.full((1797,), 3.0)}],
    ),
    Claim(
        "In the first four hundred moves the forger loses badly",
        lambda v: v["losses"][50:350, 1].mean() > 2.5 * v["losses"][-300:, 1].mean(),
        [{"losses": np.full((1501, 2), 0.7)}],
    ),
    Claim(
        "from move 700 on they hardly change. Has the game come to rest? The judge says no",
        lambda v: (
            np.abs(v["losses"][700:900].mean(0) - v["losses"][-200:].mean(0)).max() < 0.2
            and v["sureties"]["move 1500"] - v["sureties"]["move 700"] > 0.02
        ),
        [
            {"losses": np.linspace(2, 0.7, 1501)[:, None].repeat(2, 1)},
            {"sureties": {"move 700": 0.68, "move 1500": 0.68}},
        ],
    ),
    Claim(
        "the mean distance between two of them has shrunk to less than half",
        lambda v: v["spread"]["alone"] < 0.5 * v["spread"]["forged"] and v["spread"]["forged"] > 4,
        [{"spread": {"forged": 5.4, "alone": 5.0}}, {"spread": {"forged": 1.0, "alone": 0.4}}],
    ),
    Claim(
        "Both win the game; the cycle loss tells them apart.",
        lambda v: min(v["won"].values()) > 0.95 and v["round_trip"]["cheat"] > 3 * v["round_trip"]["honest"],
        [{"won": {"honest": 1.0, "cheat": 0.5}}, {"round_trip": {"honest": 0.2, "cheat": 0.25}}],
    ),
    Claim(
        "Repainted twice, a coat is off by some 10 to 23 of a possible 442, which one hardly sees.",
        lambda v: _others(v["shift"]).min() > 8 and _others(v["shift"]).max() < 26,
        [{"shift": 3 * EVEN_SHIFT}, {"shift": 0.3 * EVEN_SHIFT}],
    ),
    Claim(
        "A green animal comes back green from the meadow. From the desert it usually comes back much greyer, from the "
        "snow now and then",
        lambda v: (
            [(v["off"][GREEN, place] > 25).sum().item() for place in (MEADOW, SNOW, DESERT)] == [0, 4, 9]
        ),
        [{"off": torch.full((8, 3, 12), 20.0)}, {"off": torch.full((8, 3, 12), 40.0)}],
    ),
    Claim(
        "same animals, same poses, another ground, and in the desert the error is three times as large",
        lambda v: 2.3 < v["shift"][GREEN, DESERT] / v["shift"][GREEN, MEADOW] < 3.7,
        [{"shift": EVEN_SHIFT}],
    ),
    Claim(
        "At the animal's name the weights swap sides with the animal, in every one of the scenes.",
        lambda v: ((v["looks"][:, 0] < 0.5) != (v["looks"][:, 1] < 0.5)).all() and len(v["looks"]) > 40,
        [{"looks": np.full((80, 4), 0.4)}, {"looks": np.array([[0.4, 0.9, 0.7, 0.7]] * 80 + [[0.4] * 4])}],
    ),
    Claim(
        'Two words later, before "tree" or "house", the same network hardly cares about sides.',
        lambda v: ((v["looks"][:, 2] < 0.5) != (v["looks"][:, 3] < 0.5)).mean() < 0.1,
        [{"looks": np.array([[0.4, 0.9, 0.3, 0.8]] * 80)}],
    ),
    Claim(
        "the animals swapped sides, and the sentence swapped them, too",
        lambda v: (
            " left of " in v["scene"].sentence
            and set(v["odd_said"][2].split()) == set(v["scene"].sentence.split())
            and v["odd_said"][2].split(" left of ")[0].split()[1:]
            == v["scene"].sentence.split(" left of ")[1].split()[1:3]
        ),
        [{"odd_said": ["", "", "a green horse left of a red cat in the snow"]}],
    ),
    Claim(
        "The empty meadow gets an animal because every training sentence had one.",
        lambda v: any(v["odd_said"][0].split().count(animal) for animal in v["CLASSES"]),
        [{"odd_said": ["a meadow", "", ""]}],
    ),
]
