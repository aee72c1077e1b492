"""Chapter 5's claims: what its notebook says, held against what its cells computed."""

import torch

from util.claims import Claim


def _good(values, which, name):
    """The learning rates at which optimizer `name` came within 1 % of the minimum on inputs `which`."""
    return values["reached"][which, name]


def _with(values_of, which, name, rates):
    return {**values_of, (which, name): rates}


NONE_REACHED = {
    (which, name): []
    for which in ("raw", "times 0.1", "mean 0, deviation 1")
    for name in ("SGD", "SGD with momentum", "RMSprop", "Adam")
}
ALL_REACHED = {key: [0.01, 0.03, 0.1, 0.3] for key in NONE_REACHED}

CLAIMS = [
    Claim(
        "One step took off four fifths of the loss.",
        lambda v: 0.78 < 1 - v["loss_after_one_step"].item() / v["several_losses"][-1].item() < 0.84,
        [{"loss_after_one_step": torch.tensor(900.0)}, {"loss_after_one_step": torch.tensor(90.0)}],
    ),
    Claim(
        "The two agree, almost to the last digit",
        lambda v: torch.allclose(v["by_calculus"], v["by_knobs"], rtol=1e-5),
        [{"by_knobs": torch.tensor([4517.3, 83.5])}],
    ),
    Claim(
        "Without a bias, the best of these nine weights is the smallest one.",
        lambda v: int(v["several_losses"].argmin()) == 0,
        [{"several_losses": torch.tensor([3.0, 2.0, 4.0])}],
    ),
    Claim(
        "from the tenth epoch on the loss stands still near 29",
        lambda v: 25 < v["loss_fn"](v["model"](v["t_u"], *v["slow"]), v["t_c"]) < 30,
        [{"slow": torch.tensor([0.5367, -17.3])}, {"slow": torch.tensor([1e9, 1e7])}],
    ),
    Claim(
        "`b` has hardly moved from zero",
        lambda v: abs(v["slow"][1].item()) < 0.1,
        [{"slow": torch.tensor([0.23, -1.5])}],
    ),
    Claim(
        "In the first line its slope is more than fifty times the slope for `b`",
        lambda v: v["by_calculus"][0] > 50 * v["by_calculus"][1] > 0,
        [{"by_calculus": torch.tensor([4517.0, 120.0])}],
    ),
    Claim(
        "Each step overshoots the valley and lands higher on its other side",
        lambda v: v["exploded"].abs().min() > 1e9,
        [{"exploded": torch.tensor([0.5367, -17.3])}],
    ),
    Claim(
        "Condition 33,599 before, 357 after multiplying by 0.1, and 1.1 with mean and deviation: nearly round.",
        lambda v: [round(c, 1) for c in v["condition"].values()] == [33598.9, 357.0, 1.1],
        [{"condition": {"raw": 33598.9, "times 0.1": 357.0, "mean 0, deviation 1": 1.3}}],
    ),
    Claim(
        "Ten epochs, and the loss is where five thousand left it.",
        lambda v: abs(v["loss_after_ten"] - v["loss_with_autograd"]) < 1e-3,
        [{"loss_after_ten": torch.tensor(2.94)}],
    ),
    Claim(
        "Two steps with mean and deviation, about twelve hundred with the factor 0.1, and more than 20,000 on the "
        "raw readings",
        lambda v: (
            v["steps"]["mean 0, deviation 1"] == 2
            and 1150 < v["steps"]["times 0.1"] < 1250
            and v["steps"]["raw"] is None
        ),
        [
            {"steps": {"raw": 19_000, "times 0.1": 1200, "mean 0, deviation 1": 2}},
            {"steps": {"raw": None, "times 0.1": 1300, "mean 0, deviation 1": 2}},
            {"steps": {"raw": None, "times 0.1": 1200, "mean 0, deviation 1": 3}},
        ],
    ),
    Claim(
        "The thermometer shows degrees Fahrenheit",
        lambda v: abs(v["w_raw"] - 5 / 9) < 0.03 and abs(v["b_raw"] + 160 / 9) < 1,
        [{"w_raw": 0.6}, {"b_raw": -15.0}],
    ),
    Claim(
        "The same numbers, and we wrote no derivative.",
        lambda v: torch.allclose(v["by_autograd"], v["by_calculus"], rtol=1e-5),
        [{"by_autograd": torch.tensor([9034.6, 165.2])}],
    ),
    Claim(
        "The same line as before, 5.3671 and -17.3012.",
        lambda v: torch.allclose(v["with_autograd"], torch.tensor([5.3671, -17.3012]), atol=1e-3),
        [{"with_autograd": torch.tensor([5.36, -17.26])}],
    ),
    Claim(
        "On **raw readings**, SGD gets stuck or diverges at every rate, and momentum does not save it.",
        lambda v: not _good(v, "raw", "SGD") and not _good(v, "raw", "SGD with momentum"),
        [{"reached": ALL_REACHED}],
    ),
    Claim(
        "Adam gets there, with a rate of 1 or more.",
        lambda v: bool(_good(v, "raw", "Adam")) and min(_good(v, "raw", "Adam")) >= 1,
        [{"reached": NONE_REACHED}, {"reached": ALL_REACHED}],
    ),
    Claim(
        "momentum and Adam find the minimum at several rates, RMSprop at one",
        lambda v: (
            len(_good(v, "times 0.1", "SGD with momentum")) >= 2
            and len(_good(v, "times 0.1", "Adam")) >= 2
            and len(_good(v, "times 0.1", "RMSprop")) == 1
        ),
        [{"reached": ALL_REACHED}, {"reached": NONE_REACHED}],
    ),
    Claim(
        "Plain SGD comes close, at the last rate before it diverges.",
        lambda v: (
            not _good(v, "times 0.1", "SGD")
            and min(v["left"]["times 0.1", "SGD"]) < 1.1 * v["loss_after_ten"]
            and v["left"]["times 0.1", "SGD"][v["rates"].index(0.1)] == float("inf")
        ),
        [{"reached": ALL_REACHED}, {"loss_after_ten": torch.tensor(2.0)}],
    ),
    Claim(
        "all four get there, over a wide range of rates",
        lambda v: all(
            max(good) >= 9 * min(good)
            for (which, _), good in v["reached"].items()
            if which == "mean 0, deviation 1"
        ),
        [{"reached": _with(ALL_REACHED, "mean 0, deviation 1", "RMSprop", [0.1, 0.3])}],
    ),
    Claim(
        "On raw readings, the best that momentum leaves is 18, dividing alone (RMSprop) leaves 6, and only the two "
        "together, Adam, reach the minimum",
        lambda v: (
            round(min(v["left"]["raw", "SGD with momentum"])) in (18, 19)
            and round(min(v["left"]["raw", "RMSprop"])) == 6
            and min(v["left"]["raw", "Adam"]) < 1.01 * v["loss_after_ten"]
        ),
        [
            {"left": dict.fromkeys(NONE_REACHED, [3.0])},
            {"left": {**dict.fromkeys(NONE_REACHED, [18.4]), ("raw", "RMSprop"): [6.0]}},
        ],
    ),
    Claim(
        "at the largest rate it ends above the minimum in every panel",
        lambda v: all(
            v["left"][which, "RMSprop"][-1] > 1.05 * v["loss_after_ten"] > v["left"][which, "Adam"][-1]
            for which in v["inputs_of"]
        ),
        [{"loss_after_ten": torch.tensor(9.0)}],
    ),
    Claim(
        "nine splits in ten give a validation loss anywhere between 2 and 8.3; the worst gives 21",
        lambda v: 2 <= v["low"] < v["high"] <= 8.3 and round(v["val_losses"].max().item()) == 21,
        [{"low": 1.4}, {"high": 8.8}, {"val_losses": torch.tensor([2.0, 12.0])}],
    ),
    Claim(
        "The validation loss ends a little above the training loss, and neither is far from the 2.93 of all readings.",
        lambda v: v["train_loss"] < v["val_loss"] < 1.5 * v["train_loss"] and v["val_loss"] < 4,
        [{"val_loss": 2.5}, {"val_loss": 4.6}],
    ),
    Claim(
        "The more freedom, the smaller the training loss",
        lambda v: list(v["train_curve"]) == sorted(v["train_curve"], reverse=True),
        [{"train_curve": (3.0, 2.0, 2.5)}],
    ),
    Claim(
        "**Degrees 1 and 2** are about equally good",
        lambda v: (
            abs(v["val_curve"][1] - v["val_curve"][2]) < 0.5 and min(v["val_curve"]) in v["val_curve"][1:3]
        ),
        [{"val_curve": (93.0, 4.5, 3.5, 16.0)}, {"val_curve": (93.0, 4.5, 4.4, 1.0, 2.0)}],
    ),
    Claim(
        "**From degree 3 on** the two curves part.",
        lambda v: v["val_curve"][3] > 2 * v["val_curve"][1] and v["val_curve"][4] > 10 * v["val_curve"][1],
        [{"val_curve": (93.0, 4.5, 4.1, 5.0, 6.0)}],
    ),
    Claim(
        "Most of that comes from the two outermost readings",
        lambda v: all(2 * 9 * v["inner_curve"][d] < 11 * v["val_curve"][d] for d in range(3, 8)),
        [{"inner_curve": (44.0, 4.1, 3.6, 12.0, 50.0, 7000.0, 2000.0, 1e6)}],
    ),
    Claim(
        "among the nine inner ones the loss explodes from degree 5 on",
        lambda v: (
            max(v["inner_curve"][1:5]) < 5
            and all(v["inner_curve"][d] > 2 * v["inner_curve"][4] for d in (5, 7))
        ),
        [{"inner_curve": (44.0, 4.1, 3.6, 4.4, 9.0, 38.0, 9.0, 684.0)}],
    ),
    Claim(
        "misses the next one by thousands of degrees",
        lambda v: abs(v["missed_by"]) > 2000,
        [{"missed_by": 300.0}],
    ),
]
