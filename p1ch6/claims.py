"""Chapter 6's claims: what its notebook says, held against what its cells computed."""

import torch

from util.claims import Claim

HELD_OUT = 1  # the last axis of `scores` holds training and held-out losses
EVEN = torch.ones(3, 5, 2)


def _at(values, name, budget, part=HELD_OUT):
    """The losses of one model at one number of epochs, over the seeds."""
    return values["scores"][name][:, values["budget"].index(budget), part]


def _held_out_loss(values):
    """Of the network as it is after its last step, which the figure draws."""
    network, loss = values["seq_model"], values["loss_fn"]
    with torch.no_grad():
        return loss(network(values["t_un_val"]), values["t_c_val"]).item()


def _best(values, name):
    return values["scores"][name][:, :, HELD_OUT].mean(dim=0).min().item()


ALL_ALIKE = {"line": EVEN, "13 neurons": EVEN, "50 neurons": EVEN}

CLAIMS = [
    Claim(
        "Two minima, not one.",
        lambda v: (
            v["pair_loss"](v["path_a"][-1]) < 1e-6
            and v["pair_loss"](v["path_b"][-1]) < 1e-6
            and (v["path_a"][-1] - v["path_b"][-1]).abs().min() > 2
        ),
        [
            {"path_b": torch.tensor([[1.6, 1.0], [0.5, 3.0]])},
            {"path_a": torch.tensor([[1.0, 1.6], [1.3, 1.3]])},
        ],
    ),
    Claim(
        "The map is its own mirror image",
        lambda v: torch.allclose(v["pair_loss"](v["grid"]), v["pair_loss"](v["grid"].flip(-1)), atol=1e-6),
        [{"pair_loss": lambda weights: weights[..., 0]}],
    ),
    Claim(
        "Two starts close to each other lead to different minima.",
        lambda v: (
            (v["path_a"][0] - v["path_b"][0]).norm() < 1 and (v["path_a"][-1] - v["path_b"][-1]).norm() > 3
        ),
        [{"path_b": torch.tensor([[1.6, 1.0], [0.5, 3.0]])}],
    ),
    Claim(
        "A hundred layers without activations can do no more than one.",
        lambda v: v["collapse_error"] < 1e-4,
        [{"collapse_error": 0.02}],
    ),
    Claim(
        "Where it has become flat, a change of the weight changes almost nothing",
        lambda v: v["slopes"][6.0] < 1e-4 and v["slopes"][0.0] == 1,
        [{"slopes": {0.0: 1.0, 6.0: 0.2}}],
    ),
    Claim(
        "With `tanh` and ReLU, the first layer gets a gradient about as large as the last one's.",
        lambda v: all(
            (v["first_layer"][name] > 0.1).all() and (v["first_layer"][name] < 10).all()
            for name in ("tanh", "ReLU")
        ),
        [
            {"first_layer": {"tanh": torch.tensor([0.03]), "ReLU": torch.tensor([0.5])}},
            {"first_layer": {"tanh": torch.tensor([1.0]), "ReLU": torch.tensor([40.0])}},
        ],
    ),
    Claim(
        "With the sigmoid it gets a ten-trillionth",
        lambda v: 3e-14 < v["first_layer"]["sigmoid"].mean() < 3e-13,
        [
            {"first_layer": {"sigmoid": torch.tensor([1e-9])}},
            {"first_layer": {"sigmoid": torch.tensor([1e-16])}},
        ],
    ),
    Claim(
        "four times as large, they help the sigmoid, but do not save it",
        lambda v: 1e-8 < v["larger_weights"][:, 0].max() < 1e-3,
        [{"larger_weights": torch.tensor([[0.2]])}, {"larger_weights": torch.tensor([[1e-13]])}],
    ),
    Claim(
        "a neuron that lands there for every sample has no gradient",
        lambda v: v["grad_of_bias"]["ReLU()"] == 0,
        [{"grad_of_bias": {"ReLU()": 0.1}}],
    ),
    Claim(
        "It is *dead*, which `LeakyReLU` avoids.",
        lambda v: v["grad_of_bias"]["LeakyReLU(negative_slope=0.1)"] > 1,
        [{"grad_of_bias": {"LeakyReLU(negative_slope=0.1)": 0.0}}],
    ),
    Claim(
        "The hook ran once, for the call; `forward()` went past it without a word.",
        lambda v: len(v["after_call"]) == len(v["after_forward"]) == 1,
        [{"after_forward": [(2, 1), (2, 1)]}, {"after_call": []}],
    ),
    Claim(
        "A weight of nearly zero and a bias near the mean temperature",
        lambda v: (
            abs(v["trapped"].weight.item()) < 0.1
            and abs(v["trapped"].bias.item() - v["t_c"].mean().item()) < 0.3
        ),
        [{"trapped": torch.nn.Linear(1, 1)}],
    ),
    Claim(
        "About the line of chapter 5, though only nine readings taught it.",
        lambda v: (
            abs(v["linear_model"].weight.item() - 5.3671) < 0.3
            and abs(v["linear_model"].bias.item() + 17.3012) < 1.5
        ),
        [{"linear_model": torch.nn.Linear(1, 1)}],
    ),
    Claim(
        "give all of them the same forty numbers, and compare what they answer",
        lambda v: (v["answers"] - v["answers"][0]).abs().max() < 1e-5 and len(v["answers"]) == 4,
        [{"answers": torch.tensor([[1.0], [1.0], [1.0], [1.01]])}],
    ),
    Claim(
        "The network fits its readings better than the line did, and does a little better even on the two that were "
        "held out: 3.7 against 4.0.",
        lambda v: (
            v["network_losses"][0] < v["linear_losses"][0]
            and abs(v["network_losses"][1] - 3.7) < 0.1
            and abs(v["linear_losses"][1] - 4.0) < 0.1
            and abs(_held_out_loss(v) - v["network_losses"][1]) < 0.05
        ),
        [{"network_losses": (3.1, 3.7)}, {"network_losses": (1.9, 2.6)}, {"linear_losses": (2.85, 4.6)}],
    ),
    Claim(
        "The line would gain nothing from 5,000 epochs",
        lambda v: abs(v["longer_losses"][0] - v["linear_losses"][0]) < 0.01,
        [{"longer_losses": (2.4, 3.9)}],
    ),
    Claim(
        "It gives the same numbers as the loop above",
        lambda v: all(
            abs(a - b) < 1e-3 * b for a, b in zip(v["stacked_scores"], v["plain_scores"], strict=True)
        ),
        [{"stacked_scores": (3.03, 3.7)}],
    ),
    Claim(
        "no curve ever rises, and after 1,600 epochs both networks are far below the line",
        lambda v: (
            all((score[:, :, 0].mean(dim=0).diff() < 1e-3).all() for score in v["scores"].values())
            and max(_at(v, "13 neurons", 1600, 0).max(), _at(v, "50 neurons", 1600, 0).max())
            < 0.7 * _at(v, "line", 1600, 0).min()
        ),
        [{"scores": ALL_ALIKE}],
    ),
    Claim(
        "At the end both are worse than the line, with every seed.",
        lambda v: all(
            _at(v, name, 1600).min() > _at(v, "line", 1600).max() for name in ("13 neurons", "50 neurons")
        ),
        [{"scores": ALL_ALIKE}],
    ),
    Claim(
        "their held-out errors fall and then rise again",
        lambda v: all(
            v["scores"][name][:, 0, HELD_OUT].mean()
            > _best(v, name)
            < v["scores"][name][:, -1, HELD_OUT].mean()
            for name in ("13 neurons", "50 neurons")
        ),
        [{"scores": ALL_ALIKE}],
    ),
    Claim(
        "to the 4.52 of least squares",
        lambda v: abs(_at(v, "line", 1600).mean() - 4.52) < 0.02,
        [{"scores": {**ALL_ALIKE, "line": 4.6 * EVEN}}],
    ),
    Claim(
        "Stopped so, 50 neurons reach about what the line reaches.",
        lambda v: abs(_best(v, "50 neurons") - _best(v, "line")) < 0.7,
        [{"scores": {"line": 3 * EVEN, "50 neurons": 4 * EVEN, "13 neurons": EVEN}}],
    ),
    Claim(
        "By their numbers, the neurons have nothing to do with each other.",
        lambda v: v["by_number"].max() > 2,
        [{"by_number": torch.tensor([0.4, 0.9])}],
    ),
    Claim(
        "pair each with its nearest in the other network, and no pair is more than one degree apart",
        lambda v: v["in_pairs"].max() < 1 and len(set(v["theirs"].tolist())) == 13,
        [{"in_pairs": torch.tensor([0.3, 1.4])}],
    ),
    Claim(
        "the sums nearly agree",
        lambda v: v["difference"] < 1,
        [{"difference": 2.5}],
    ),
]
