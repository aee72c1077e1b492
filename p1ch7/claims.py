"""Chapter 7's claims: what its notebook says, held against what its cells computed."""

import torch

from util.claims import Claim

ONE, SIXTY_FOUR, MANY = 0, 2, 3  # places in `batch_sizes`
TRAINING, VALIDATION = 0, 1
EVEN = torch.full((4, 8), 0.5)
NO_GAP = torch.full((24, 2), 0.66)
FOUR_PIXELS = 3  # the place in `distances`


def _change(values, half, part):
    """By how much an accuracy rises in a half of the training: of its last three epochs over its first three."""
    return (values[half][-3:, part].mean() - values[half][:3, part].mean()).item()


DRAWINGS, FEW, ALL = "4,000 drawings", "4,000 photographs", "10,000 photographs"


def _recorded(values, kind, row):
    """A recorded accuracy, the mean over the seeds."""
    return values["recorded"][kind][row].mean().item()


def _record(**rows):
    """A record with only these rows; each holds the accuracies of drawings, few photographs, and all."""
    return {
        "recorded": {
            kind: {row.replace("_", " "): torch.tensor([float(means[place])]) for row, means in rows.items()}
            for place, kind in enumerate((DRAWINGS, FEW, ALL))
        }
    }


CLAIMS = [
    Claim(
        "Another tenth gives nearly the same numbers: none differs by more than 0.02.",
        lambda v: (
            max(
                (v["mean"] - v["other_mean"]).abs().max(),
                (v["std"] - v["other_std"]).abs().max(),
            )
            <= 0.02
        ),
        [{"other_mean": torch.tensor([0.6, 0.5, 0.5])}, {"other_std": torch.tensor([0.2, 0.2, 0.31])}],
    ),
    Claim(
        "Most of its numbers lie outside the range from 0 to 1 and are cut off.",
        lambda v: v["outside"] > 0.5,
        [{"outside": 0.3}],
    ),
    Claim(
        "infinity divided by infinity is not a number",
        lambda v: v["overflowed"].isnan().all(),
        [{"overflowed": torch.tensor([0.09, 0.24, 0.67])}],
    ),
    Claim(
        "The product is zero in 32-bit floats, and zero has nowhere to go.",
        lambda v: v["product"] == 0 and v["sum_of_logs"].isfinite() and v["sum_of_logs"] < -100,
        [{"product": torch.tensor(1e-30)}, {"sum_of_logs": torch.tensor(float("-inf"))}],
    ),
    Claim(
        "the logarithm's price for that one image rises by a factor of more than four, the square's by less "
        "than three",
        lambda v: v["price_ratios"]["NLL"] > 4 and v["price_ratios"]["squared error"] < 3,
        [
            {"price_ratios": {"NLL": 2.2, "squared error": 2.0}},
            {"price_ratios": {"NLL": 4.3, "squared error": 5.0}},
        ],
    ),
    Claim(
        "The more wrong the network is, the more the logarithm pulls, up to a slope of -1.",
        lambda v: (v["slopes"]["NLL"].diff() > 0).all() and -1 <= v["slopes"]["NLL"][0] < -0.99,
        [{"slopes": {"NLL": torch.tensor([-0.5, -0.9, 0.0])}}],
    ),
    Claim(
        "The squared error pulls hardest where the network is in doubt, and has hardly a slope left where it is "
        "sure and wrong.",
        lambda v: (
            v["score"][v["slopes"]["squared error"].argmin()].abs() < 1
            and -0.01 < v["slopes"]["squared error"][0] < 0
        ),
        [{"slopes": {"squared error": -torch.ones(321)}}],
    ),
    Claim(
        "The logarithm is past zero, and the answer right, in fewer than twenty steps. The squared error takes "
        "more than fifty times as many.",
        lambda v: (
            v["steps_needed"]["NLL"] < 20 < 50 * v["steps_needed"]["NLL"] < v["steps_needed"]["squared error"]
        ),
        [
            {"steps_needed": {"NLL": 18, "squared error": 300}},
            {"steps_needed": {"NLL": 28, "squared error": 1507}},
        ],
    ),
    Claim(
        "Softmax first and the logarithm afterwards fails where a probability is too small for a float; both in "
        "one step does not.",
        lambda v: v["in_two_steps"].isinf().any() and abs(v["in_one_step"][0, 0].item() + 200) < 1,
        [
            {"in_two_steps": torch.tensor([[-200.0, 0.0]])},
            {"in_one_step": torch.tensor([[float("-inf"), 0.0]])},
        ],
    ),
    Claim(
        "`nn.CrossEntropyLoss` does both at once, from the plain scores",
        lambda v: abs(v["by_nll"].item() - v["by_cross_entropy"].item()) < 1e-5,
        [{"by_cross_entropy": torch.tensor(0.5)}],
    ),
    Claim(
        "From image to image the loss jumps up and down, by far more than its mean changes.",
        lambda v: v["single_losses"].diff().abs().mean() > 3 * abs(v["smooth"][-1] - v["smooth"][0]),
        [{"smooth": torch.tensor([1.5, 0.3])}],
    ),
    Claim(
        "Before training, single images disagree wildly: some point the right way, some nowhere, some backwards.",
        lambda v: (
            v["cosines"]["before training"][ONE].max() > 0.5
            and v["cosines"]["before training"][ONE].min() < 0
        ),
        [{"cosines": {"before training": EVEN}}],
    ),
    Claim(
        "Most batches of 64 point roughly the right way, for a sixtieth of the work, and those of 512 all do.",
        lambda v: (
            v["cosines"]["before training"][SIXTY_FOUR].median() > 0.6
            and v["cosines"]["before training"][MANY].min() > 0.85
        ),
        [{"cosines": {"before training": EVEN}}],
    ),
    Claim(
        "After training, not even 512 images agree on a direction.",
        lambda v: v["cosines"]["after training"][MANY].mean() < 0.45,
        [{"cosines": {"after training": EVEN}}],
    ),
    Claim(
        "The network gets nearly all training images right, and a third of the others wrong.",
        lambda v: (
            v["accuracies"][-1, TRAINING] > 0.9 and abs(v["accuracies"][-1, VALIDATION] - 2 / 3) < 0.045
        ),
        [{"accuracies": NO_GAP}, {"accuracies": torch.full((24, 2), 0.95)}],
    ),
    Claim(
        "the upper curve climbs on, and the lower one hardly moves",
        lambda v: (
            _change(v, "last_half", TRAINING) > 0.05 and abs(_change(v, "last_half", VALIDATION)) < 0.03
        ),
        [{"last_half": NO_GAP}, {"last_half": torch.linspace(0.6, 0.9, 12)[:, None].expand(12, 2)}],
    ),
    Claim(
        "The network mistakes birds for airplanes about as often as airplanes for birds.",
        lambda v: 0.65 < v["confusion"][0, 1] / v["confusion"][1, 0] < 1.5,
        [{"confusion": torch.tensor([[300, 200], [100, 400]])}],
    ),
    Claim(
        "Of about half of the frogs it is more than 90 % sure: a bird, or else an airplane.",
        lambda v: 0.35 < (v["confidence"] > 0.9).float().mean() < 0.7,
        [{"confidence": torch.full((100,), 0.7)}, {"confidence": torch.full((100,), 0.97)}],
    ),
    Claim(
        "On images that nobody could recognize, the network does as well as on the proper ones.",
        lambda v: abs(v["on_shuffled"].mean() - v["on_proper"].mean()) < 0.025,
        [{"on_shuffled": torch.tensor([0.55, 0.56, 0.57])}],
    ),
    Claim(
        "the networks recognize much less of what they had learned by heart",
        lambda v: (v["moved"][TRAINING, :, 0] - v["moved"][TRAINING, :, FOUR_PIXELS]).min() > 0.1,
        [{"moved": torch.full((2, 3, 5), 0.8)}],
    ),
    Claim(
        "moved training images are hardly better known to them than new ones",
        lambda v: (
            v["moved"][TRAINING, :, FOUR_PIXELS].mean() - v["moved"][VALIDATION, :, FOUR_PIXELS].mean() < 0.1
        ),
        [{"moved": torch.stack([torch.full((3, 5), 0.85), torch.full((3, 5), 0.6)])}],
    ),
    Claim(
        "The validation images lose little, because there was less to lose.",
        lambda v: (v["moved"][VALIDATION, :, 0] - v["moved"][VALIDATION, :, FOUR_PIXELS]).mean() < 0.06,
        [{"moved": torch.linspace(0.9, 0.5, 5).expand(2, 3, 5)}],
    ),
    Claim(
        "The network knows its training images by heart, and gets a fifth of new ones wrong.",
        lambda v: all(
            _recorded(v, kind, "training") > 0.95 and abs(_recorded(v, kind, "validation") - 0.8) < 0.02
            for kind in (FEW, ALL)
        ),
        [
            _record(training=(0.9, 0.98, 0.85), validation=(0.7, 0.8, 0.8)),
            _record(training=(1, 1, 1), validation=(1, 1, 1)),
        ],
    ),
    Claim(
        "Moved by four pixels, the training photographs are no better known to it than new ones",
        lambda v: _recorded(v, FEW, "training, moved") < _recorded(v, FEW, "validation") + 0.01,
        [{"recorded": {FEW: {"training, moved": torch.tensor([0.9]), "validation": torch.tensor([0.8])}}}],
    ),
    Claim(
        "shuffled pixels change nothing there, either",
        lambda v: abs(_recorded(v, FEW, "validation, shuffled") - _recorded(v, FEW, "validation")) < 0.015,
        [
            {
                "recorded": {
                    FEW: {"validation, shuffled": torch.tensor([0.7]), "validation": torch.tensor([0.8])}
                }
            }
        ],
    ),
    Claim(
        "More than twice as many photographs hardly help it.",
        lambda v: abs(_recorded(v, ALL, "validation") - _recorded(v, FEW, "validation")) < 0.015,
        [_record(validation=(0.7, 0.8, 0.84))],
    ),
    Claim(
        "They are harder: 0.68, where the photographs give 0.80.",
        lambda v: (
            abs(_recorded(v, DRAWINGS, "validation") - 0.68) < 0.006
            and abs(_recorded(v, FEW, "validation") - 0.80) < 0.006
        ),
        [_record(validation=(0.72, 0.8, 0.8)), _record(validation=(0.68, 0.78, 0.8))],
    ),
    Claim(
        "are enough to tell three quarters of the photographs",
        lambda v: abs(_recorded(v, FEW, "mean color alone") - 0.75) < 0.03,
        [_record(mean_color_alone=(0.5, 0.65, 0.65))],
    ),
    Claim(
        "there, colour is worth hardly more than guessing",
        lambda v: _recorded(v, DRAWINGS, "mean color alone") < 0.58,
        [_record(mean_color_alone=(0.7, 0.75, 0.75))],
    ),
]
