"""Chapter 12's claims: what its notebook says, held against what its cells computed."""

import numpy as np
import torch

from util.claims import Claim

SEEDS = (0, 1, 2)


def _rows(values, arm):
    """What is reported of the recorded trainings of `arm`, by seed."""
    return [values["recorded"][arm, seed] for seed in SEEDS]


def _recorded(**rows):
    """A table of recorded trainings in which all seeds of an arm are alike."""
    table = {}
    for arm in ("as is", "weighted loss", "balanced", "balanced, augmented"):
        row = rows.get(
            arm.split(",")[-1].split()[0].strip(), {"recall": 0.5, "precision": 0.5, "F1": 0.5, "area": 0.7}
        )
        table.update({(arm, seed): row for seed in SEEDS})
    return table


POOR = {"recall": 0.0, "precision": 0.0, "F1": 0.0, "area": 0.5}
GOOD = {"recall": 0.7, "precision": 0.7, "F1": 0.7, "area": 0.9}

CLAIMS = [
    Claim(
        "Both dogs see the same visitors in the same order.",
        lambda v: (
            v["dogs"]["Roxie"][0] > v["dogs"]["Preston"][0]
            and v["dogs"]["Roxie"][1] < v["dogs"]["Preston"][1]
        ),
        [{"dogs": {"Roxie": (0.5, 0.5), "Preston": (0.5, 0.5)}}],
    ),
    Claim(
        "And no place on this line separates all triangles from all circles",
        lambda v: v["visitors"][v["is_burglar"]].min() < v["visitors"][~v["is_burglar"]].max(),
        [{"visitors": np.arange(35.0)}],
    ),
    Claim(
        "With a threshold of exactly 1, though, no label counts as a nodule any more",
        lambda v: v["label_at_1"] == 0 and v["strict"]["pr/recall"] == 0,
        [{"label_at_1": 143}],
    ),
    Claim(
        "F1 is strict at the edges, smooth inside, and lies on the same scale as the two.",
        lambda v: bool(
            (v["f1_score"] <= v["add_score"] + 1e-6).all() and (v["f1_score"] >= v["min_score"] - 1e-6).all()
        ),
        [{"f1_score": torch.full((200, 200), 0.6)}],
    ),
    Claim(
        "The geometric mean is close to F1 in the middle, and kinder where one number is nearly nothing",
        lambda v: (
            bool((v["sqrt_score"] >= v["f1_score"] - 1e-6).all())
            and (v["sqrt_score"] - v["f1_score"])[100:, 100:].max() < 0.06
        ),
        [{"sqrt_score": torch.zeros(200, 200)}],
    ),
    Claim(
        "Ten epochs of the same 400, out of more than 20,000.",
        lambda v: v["seen_others"][False] == 400 and v["seen_others"][True] > 3000 and v["others"] > 20_000,
        [{"seen_others": {False: 400, True: 400}}],
    ),
    Claim(
        "The package's p2ch12.dsets.LunaDataset is this class with any ratio, and with augmentation",
        lambda v: v["agree"],
        [{"agree": False}],
    ),
    Claim(
        "the training on balanced batches finds nodules, and the training as it is finds none",
        lambda v: v["live"]["balanced"]["recall"] > 0.1 > v["live"]["as is"]["recall"],
        [{"live": {"balanced": POOR, "as is": POOR}}],
    ),
    Claim(
        "With every seed the training as it is finds fewer than a fifth of the nodules",
        lambda v: all(row["recall"] < 0.2 for row in _rows(v, "as is")),
        [{"recorded": _recorded(**{"is": GOOD}) | {("as is", s): GOOD for s in SEEDS}}],
    ),
    Claim(
        "and with every seed balance has the higher F1 and the larger area",
        lambda v: all(
            b["F1"] > a["F1"] and b["area"] > a["area"]
            for a, b in zip(_rows(v, "as is"), _rows(v, "balanced"))
        ),
        [{"recorded": {(arm, s): POOR for arm in ("as is", "balanced") for s in SEEDS}}],
    ),
    Claim(
        "the training as it is gets to see two or three nodules in all its steps, and the balanced one 600",
        lambda v: 1.5 < v["steps"] * 8 * v["share"] < 3.5 and v["steps"] * 4 == 600,
        [{"share": 0.05}, {"steps": 400}],
    ),
    Claim(
        "The same network, at the same threshold.",
        lambda v: v["precisions"][1] > v["precisions"][2] > v["precisions"][20] > v["precisions"][400],
        [{"precisions": {1: 0.9, 2: 0.9, 20: 0.9, 400: 0.9}}],
    ),
    Claim(
        "on its own pictures it is not a year off",
        lambda v: v["nonsense"][-1, 0] < 1 and v["nonsense"][-1, 2] > 11,
        [{"nonsense": np.full((100, 3), 8.0)}],
    ),
    Claim(
        "what is learned in doing so is worse than nothing for strangers, whose error rises by a year",
        lambda v: 0.5 < v["course"][-1, 2] - v["course"][v["best"], 2] < 1.6 and v["course"][-1, 0] < 1,
        [{"course": np.full((100, 3), 9.0)}],
    ),
    Claim(
        "It does so only a little: on the nonsense ages, two years better than on strangers.",
        lambda v: 1 < v["nonsense"][-1, 2] - v["nonsense"][-1, 1] < 3 < v["nonsense"][-1, 1],
        [{"nonsense": np.full((100, 3), 13.0)}],
    ),
    Claim(
        "A turned square does not fill a square.",
        lambda v: 0.05 < v["outside"].float().mean() < 0.6,
        [{"outside": torch.zeros(32, 48, 48)}],
    ),
    Claim(
        "it can push air below -1000 HU, where no scan has a voxel",
        lambda v: v["below_air"] > 0 and v["lowest"] >= -1000 and v["highest"] <= 1000,
        [{"below_air": 0}, {"lowest": -1080.0}],
    ),
    Claim(
        "So the package smooths its noise a little, until neighbours correlate by a third",
        lambda v: (
            abs(v["neighbours_alike"](v["smooth"]) - 0.32) < 0.04
            and abs(v["neighbours_alike"](v["white"])) < 0.04
        ),
        [{"smooth": torch.randn(32, 48, 48, generator=torch.Generator().manual_seed(0))}],
    ),
    Claim(
        "Neighbours in these scans correlate by 0.2 to 0.4",
        lambda v: all(0.15 < alike < 0.4 and 15 < deviation < 50 for deviation, alike in v["scan_noise"]),
        [{"scan_noise": [(25.0, 0.0)]}, {"scan_noise": [(25.0, 0.7)]}],
    ),
    Claim(
        "Its interval lies above the areas of all the trainings on 40 nodules.",
        lambda v: v["shipped_area"][1] > max(row["area"] for row in v["recorded"].values()),
        [{"shipped_area": (0.6, 0.5, 0.7)}],
    ),
]
