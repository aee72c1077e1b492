"""Chapter 8's claims: what its notebook says, held against what its cells computed and what it read from records."""

import itertools

import numpy as np
import torch

from util.claims import Claim


def _of(values, images, name, part="validation"):
    """What one design reached, per seed."""
    return torch.tensor([run[part] for run in values["record"][images]["designs"][name]])


def _with(images=("drawings", "photographs"), **changes):
    """A record in which all designs reach the same, but for `changes`: a design's name to what it reaches."""
    names = (
        "fully connected", "fully connected, augmented", "baseline", "baseline, augmented", "width", "l2 reg",
        "dropout", "batch norm", "augmented", "relu", "depth", "res", "res deep",
    )  # fmt: skip
    level = {"train": 0.85, "validation": 0.8, "shifted": 0.8}
    runs = {
        name: [{**level, **changes.get(name.replace(", ", "_").replace(" ", "_"), {})}] * 3 for name in names
    }
    return {"record": {name: {"designs": runs, "images": 2000, "epochs": 30} for name in images}}


def _with_stacks(changes):
    """A record in which each stack reaches what it does, but for `changes`: a stack's name to its accuracy."""
    level = {
        "plain, default": 0.5,
        "plain, kaiming": 0.8,
        "skip, default": 0.83,
        "skip, kaiming": 0.5,
        **changes,
    }
    stacks = {name: [{"train": reached, "validation": reached}] * 3 for name, reached in level.items()}
    return {"record": {name: {"stacks": stacks} for name in ("drawings", "photographs")}}


def _stack(values, images, name):
    return np.mean([run["validation"] for run in values["record"][images]["stacks"][name]])


def _ahead_by(values, name, other):
    """How many points one design is ahead of another on validation drawings, on average."""
    return 100 * float(_of(values, "drawings", name).mean() - _of(values, "drawings", other).mean())


def _lost(values, name):
    """Accuracy lost to a shift by six pixels, in the live comparison."""
    return values["moved"][name][0] - values["moved"][name][-1]


def _points(difference):
    return 100 * difference.mean().item()


def _ahead(values, images):
    return _points(_of(values, images, "baseline") - _of(values, images, "fully connected"))


def _gain(values, part):
    """What augmentation gives the convnet on the drawings, in points."""
    return _points(
        _of(values, "drawings", "baseline, augmented", part) - _of(values, "drawings", "baseline", part)
    )


def _price_of_a_shift(values, images):
    return _points(_of(values, images, "baseline") - _of(values, images, "baseline", "shifted"))


BOTH = ("drawings", "photographs")
LADDER = (
    "the book's loop",
    "images on the device",
    "channels_last, tanh after pooling",
    "bfloat16",
    "momentum and a schedule",
    "batches of 128, a network for speed",
    "whitening first layer",
    "Muon",
)


def _steps(values, images):
    """By how much each rung of the race is faster than the one before it."""
    seconds = [np.mean(values["race"][images]["rungs"][name]["seconds"]) for name in LADDER]
    return [before / after for before, after in itertools.pairwise(seconds)]


def _reached(values, images, name, kind="rungs"):
    row = values["race"][images]
    return float(np.mean((row[kind][name] if name else row[kind])["accuracy"]))


def _raced(seconds=(25, 27, 16, 14, 0.8, 0.7, 0.4, 0.4), extras=0.85, rungs=0.8, longer=0.88):
    """A race's record, the same for drawings and photographs."""
    rows = {
        name: {"seconds": [s], "accuracy": [rungs], "epochs": 30 if s > 10 else 2}
        for name, s in zip(LADDER, seconds)
    }
    names = (
        "nothing more",
        "label smoothing 0.1",
        "random shifts",
        "flips at random",
        "flips by turns",
        "small images first",
    )
    race = {"rungs": rows, "extras": {name: {"accuracy": [extras]} for name in names}, "target": 0.8}
    return {"race": {images: {**race, "longer": {"accuracy": [longer], "seconds": [1]}} for images in BOTH}}


CLAIMS = [
    Claim(
        "A convolution *is* a linear layer, one whose weights are mostly zero and otherwise shared.",
        lambda v: v["same_answer"] and v["n_used"] < v["matrix"].numel() / 2 and v["n_different"] == 9,
        [{"same_answer": False}, {"n_used": 576}, {"n_different": 144}],
    ),
    Claim(
        "Nothing but rounding for the convolution, and two unrelated images for the linear layer.",
        lambda v: v["equivariance"]["convolution"] < 1e-5 and v["equivariance"]["linear layer"] > 0.3,
        [
            {"equivariance": {"convolution": 0.1, "linear layer": 2.0}},
            {"equivariance": {"convolution": 1e-7, "linear layer": 1e-7}},
        ],
    ),
    Claim(
        "if you only keep the largest value of all places, it does not matter where it was",
        lambda v: max(v["strongest"]) - min(v["strongest"]) < 1e-5,
        [{"strongest": [1.2, 1.3, 1.2]}],
    ),
    Claim(
        "A second convolution adds two pixels; behind a pooling it adds four, behind two poolings eight.",
        lambda v: (
            v["seen"]["conv, conv"] - v["seen"]["conv"] == 2
            and v["seen"]["conv, pool, conv"] - v["seen"]["conv, pool"] == 4
            and v["seen"]["conv, pool, conv, pool, conv"] - v["seen"]["conv, pool, conv, pool"] == 8
        ),
        [
            {
                "seen": {
                    "conv": 3,
                    "conv, conv": 5,
                    "conv, pool": 4,
                    "conv, pool, conv": 6,
                    "conv, pool, conv, pool": 10,
                    "conv, pool, conv, pool, conv": 18,
                }
            },
        ],
    ),  # fmt: skip
    Claim(
        "Three convolutions alone see seven pixels; with poolings between them they see 22",
        lambda v: (
            v["seen"]["conv, conv, conv"] == 7 and v["seen"]["conv, pool, conv, pool, conv, pool"] == 22
        ),
        [{"seen": {"conv, conv, conv": 9, "conv, pool, conv, pool, conv, pool": 22}}],
    ),
    Claim(
        "there is nothing to register, and functions do the same with less ado",
        lambda v: (
            v["same_scores"] and len(list(v["model"].parameters())) == len(list(v["long_net"].parameters()))
        ),
        [{"same_scores": False}],
    ),
    Claim(
        "But modules that hide in a plain list are not found",
        lambda v: v["found_names"] == ["registered.0.weight", "registered.0.bias"],
        [{"found_names": ["in_a_list.0.weight", "registered.0.weight"]}],
    ),
    Claim(
        "The loaded model is as good as the saved one, to the last image.",
        lambda v: v["loaded_accuracy"] == v["net_accuracy"],
        [{"loaded_accuracy": {"train": 0.5, "val": 0.5}}],
    ),
    Claim(
        "SGD does that by itself if you give it `weight_decay`, which is therefore twice our `l2_lambda`.",
        lambda v: v["decay_difference"] < 1e-6,
        [{"decay_difference": 1e-4}],
    ),
    Claim(
        "`nn.Dropout2d` drops whole channels: all of a feature map or nothing of it.",
        lambda v: (
            all(len(channel.unique()) == 1 for channel in list(v["dropped"].values())[1][0])
            and all(len(channel.unique()) == 2 for channel in list(v["dropped"].values())[0][0])
        ),
        [{"dropped": {"a": torch.ones(1, 8, 2, 2), "b": torch.arange(32.0).reshape(1, 8, 2, 2)}}],
    ),
    Claim(
        "What stays is divided by 0.6, so that the mean does not change",
        lambda v: (
            all(seen == [0.0, 1.667] for seen in v["values_seen"].values())
            and abs(list(v["dropped"].values())[0].mean() - 1) < 0.15
        ),
        [{"values_seen": {"a": [0.0, 1.0]}}],
    ),
    Claim(
        "After one batch of numbers around 3, the running mean says 0.3",
        lambda v: abs(v["running"][1][0] - 0.3) < 0.08 and abs(v["running"][1][2]) < 1e-5,
        [{"running": {1: (3.0, 25.0, 0.0, 0.0, 1.0)}}],
    ),
    Claim(
        "in evaluation mode the layer answers with values that are far from mean 0 and deviation 1",
        lambda v: v["running"][1][3] > 1 and v["running"][1][4] > 2,
        [{"running": {1: (3.0, 25.0, 0.0, 0.1, 1.0)}}],
    ),
    Claim(
        "After sixty batches they are there.",
        lambda v: abs(v["running"][60][0] - 3) < 0.3 and abs(v["running"][60][1] - 25) < 3,
        [{"running": {60: (2.0, 25.0)}}, {"running": {60: (3.0, 16.0)}}],
    ),
    Claim(
        "Neighbouring pixels are much alike, and so are the three colours.",
        lambda v: v["off_diagonal"]["before: pixels"] > 0.5,
        [{"off_diagonal": {"before: pixels": 0.2, "after: outputs": 0.0}}],
    ),
    Claim(
        "The first layer is computed from the data, before any training, so that its outputs are uncorrelated",
        lambda v: v["off_diagonal"]["after: outputs"] < 0.05,
        [{"off_diagonal": {"before: pixels": 0.7, "after: outputs": 0.3}}],
    ),
    Claim(
        "Muon replaces it by a matrix that goes about equally far in all of them.",
        lambda v: (
            v["singular_values"]["Muon's step"].min() > 0.5 > 2 * v["singular_values"]["gradient"].min()
        ),
        [
            {
                "singular_values": {
                    "gradient": torch.tensor([1.0, 0.1]),
                    "Muon's step": torch.tensor([1.0, 0.2]),
                }
            },
            {
                "singular_values": {
                    "gradient": torch.tensor([1.0, 0.9]),
                    "Muon's step": torch.tensor([1.0, 0.9]),
                }
            },
        ],
    ),
    Claim(
        "The convnet is ahead wherever the images are",
        lambda v: all(
            a > b for a, b in zip(v["moved"]["convnet"], v["moved"]["fully connected"], strict=True)
        ),
        [{"moved": {"convnet": [0.8, 0.6], "fully connected": [0.7, 0.65]}}],
    ),
    Claim(
        "In points, the convnet even loses more than the fully connected network, as it has more to lose.",
        lambda v: _lost(v, "convnet") > _lost(v, "fully connected"),
        [{"moved": {"convnet": [0.8] * 5, "fully connected": [0.7, 0.7, 0.7, 0.6, 0.6]}}],
    ),
    Claim(
        "has learned to expect them in many places, and loses clearly less",
        lambda v: _lost(v, "convnet, augmented") < 0.85 * _lost(v, "convnet"),
        [{"moved": {"convnet": [0.8, 0.8, 0.8, 0.7, 0.7], "convnet, augmented": [0.8, 0.8, 0.8, 0.7, 0.6]}}],
    ),
    Claim(
        "The loss stays at 0.693, which is $\\log 2$, a coin's.",
        lambda v: abs(v["stack_losses"]["plain, default"][-1] - 0.693) < 0.005,
        [{"stack_losses": {"plain, default": [0.69, 0.62]}}],
    ),
    Claim(
        "On its way back the gradient shrinks by six powers of ten, and at the first layer next to nothing is left.",
        lambda v: (
            1e5 < v["gradients"]["plain, default"][-1] / v["gradients"]["plain, default"][0] < 1e7
            and v["gradients"]["plain, default"][0] < 1e-8
        ),
        [
            {"gradients": {"plain, default": [1e-11, 1e-10]}},
            {"gradients": {"plain, default": [1e-5, 10.0]}},
        ],
    ),
    Claim(
        "The gradient is as large at the first layer as at the last, and the stack learns.",
        lambda v: (
            0.1 < v["gradients"]["plain, kaiming"][0] / v["gradients"]["plain, kaiming"][-1] < 10
            and v["stack_accuracy"]["plain, kaiming"] > 0.56
        ),
        [
            {"gradients": {"plain, kaiming": [1e-4, 1e-2]}},
            {"stack_accuracy": {"plain, kaiming": 0.51}},
        ],
    ),
    Claim(
        "they make each layer a small change to what it is given. This stack learns, too.",
        lambda v: v["stack_accuracy"]["skip, default"] > 0.54,
        [{"stack_accuracy": {"skip, default": 0.5}}],
    ),
    Claim(
        "the gradient at the first layer is near ten thousand, and training ends in `nan` with its first steps",
        lambda v: (
            1e3 < v["gradients"]["skip, kaiming"][0] < 1e5
            and v["stack_losses"]["skip, kaiming"][0] != v["stack_losses"]["skip, kaiming"][0]
        ),
        [{"gradients": {"skip, kaiming": [20.0]}}, {"stack_losses": {"skip, kaiming": [1.3, 0.9]}}],
    ),
    Claim(
        "The gradient at the first layer is neither a ten-billionth nor ten thousand",
        lambda v: all(0.01 < size < 100 for size in v["deep_gradients"].values()),
        [{"deep_gradients": {10: 0.3, 50: 5e3}}, {"deep_gradients": {10: 1e-7, 50: 1.0}}],
    ),
    Claim(
        "the convnet is ahead of the fully connected network by nine points on the drawings and by six on the "
        "photographs",
        lambda v: abs(_ahead(v, "drawings") - 9.3) < 0.6 and abs(_ahead(v, "photographs") - 6.5) < 0.6,
        [_with(baseline={"validation": 0.83})],
    ),
    Claim(
        "Now the largest differences are larger than the spread of the seeds",
        lambda v: all(
            _of(v, images, "baseline").min() > _of(v, images, "fully connected, augmented").max()
            and _of(v, images, "fully connected, augmented").min() > _of(v, images, "fully connected").max()
            for images in BOTH
        ),
        [_with()],
    ),
    Claim(
        "It costs the convnet twelve points on its own training images, and gives it more than six on new ones and "
        "more than eight on new ones that were moved",
        lambda v: (
            abs(_gain(v, "train") + 11.8) < 0.7 and _gain(v, "validation") > 6 and _gain(v, "shifted") > 8
        ),
        [_with(baseline_augmented={"train": 0.84, "validation": 0.9, "shifted": 0.9}), _with()],
    ),
    Claim(
        "It helps the fully connected network, too, which still does not reach a convnet without.",
        lambda v: all(
            _of(v, images, "fully connected").max()
            < _of(v, images, "fully connected, augmented").min()
            < _of(v, images, "baseline").min()
            for images in BOTH
        ),
        [_with(fully_connected={"validation": 0.6}), _with(baseline={"validation": 0.9})],
    ),
    Claim(
        "ReLU in place of tanh is worth two points, and a third convolution one more. A sum around it changes nothing",
        lambda v: (
            abs(_ahead_by(v, "relu", "width") - 2.2) < 0.7
            and abs(_ahead_by(v, "depth", "relu") - 1.4) < 0.7
            and abs(_ahead_by(v, "res", "depth")) < 0.5
        ),
        [_with(), _with(relu={"validation": 0.82}, depth={"validation": 0.835}, res={"validation": 0.85})],
    ),
    Claim(
        "Dropout and batch norm, as they are here, end a point below the wide network without them.",
        lambda v: all(0.3 < _ahead_by(v, "width", name) < 2 for name in ("dropout", "batch norm")),
        [_with(), _with(dropout={"validation": 0.81}, width={"validation": 0.805})],
    ),
    Claim(
        "A shift by four pixels costs the convnet five points, where on photographs it costs three",
        lambda v: (
            abs(_price_of_a_shift(v, "drawings") - 5) < 0.6
            and abs(_price_of_a_shift(v, "photographs") - 3) < 0.6
        ),
        [_with(baseline={"shifted": 0.75}), _with(baseline={"shifted": 0.77})],
    ),
    Claim(
        "the same network with the same number of images gets 76 % of them and 85 % of the photographs",
        lambda v: (
            abs(_of(v, "drawings", "baseline").mean() - 0.76) < 0.005
            and abs(_of(v, "photographs", "baseline").mean() - 0.85) < 0.005
        ),
        [_with(baseline={"validation": 0.76})],
    ),
    Claim(
        "nothing helps as much as augmentation; dropout costs a point; L2 changes nothing on new images that stay "
        "where they are.",
        lambda v: all(
            _of(v, images, "baseline, augmented").min() > _of(v, images, "baseline").max()
            and _points(_of(v, images, "augmented") - _of(v, images, "width")) > 2
            and abs(_points(_of(v, images, "width") - _of(v, images, "dropout")) - 1.2) < 0.5
            and abs(_points(_of(v, images, "width") - _of(v, images, "l2 reg"))) < 0.3
            for images in BOTH
        ),
        [_with(), _with(augmented={"validation": 0.9}, l2_reg={"validation": 0.82})],
    ),
    Claim(
        "Of the four stacks the same two learn, and the other two stay with a coin, though on the drawings the "
        "well-initialized plain stack has, with one of its three seeds, hardly begun after six epochs.",
        lambda v: (
            all(
                (_stack(v, images, name) > 0.6) == (name in ("plain, kaiming", "skip, default"))
                for images in BOTH
                for name in v["record"][images]["stacks"]
            )
            and sum(run["train"] < 0.55 for run in v["record"]["drawings"]["stacks"]["plain, kaiming"]) == 1
        ),
        [_with_stacks({"plain, default": 0.7}), _with_stacks({"skip, default": 0.51}), _with_stacks({})],
    ),
    Claim(
        "in six epochs the stack with sums gets 83 % of the test images, the well-initialized plain one 80 %.",
        lambda v: (
            abs(_stack(v, "photographs", "skip, default") - 0.83) < 0.005
            and abs(_stack(v, "photographs", "plain, kaiming") - 0.80) < 0.005
        ),
        [_with_stacks({"skip, default": 0.8}), _with_stacks({"plain, kaiming": 0.83})],
    ),
    Claim(
        "augmentation gives it more than six, on photographs three. Twice the channels are worth nearly three points "
        "against one.",
        lambda v: (
            _gain(v, "validation") > 6
            and abs(
                _points(_of(v, "photographs", "baseline, augmented") - _of(v, "photographs", "baseline")) - 3
            )
            < 0.5
            and abs(_ahead_by(v, "width", "baseline") - 2.8) < 0.3
            and abs(_points(_of(v, "photographs", "width") - _of(v, "photographs", "baseline")) - 1) < 0.5
        ),
        [_with(), _with(baseline_augmented={"validation": 0.87}, width={"validation": 0.828})],
    ),
    Claim(
        "ReLU and a third convolution, three and a half points together on the drawings, are worth nothing on the "
        "photographs. There the sum around the third convolution is ahead, by less than a point",
        lambda v: (
            abs(_ahead_by(v, "depth", "width") - 3.5) < 0.3
            and abs(_points(_of(v, "photographs", "depth") - _of(v, "photographs", "width"))) < 0.4
            and 0.3 < _points(_of(v, "photographs", "res") - _of(v, "photographs", "depth")) < 1
        ),
        [_with(), _with(depth={"validation": 0.835}, res={"validation": 0.84})],
    ),
    Claim(
        "It gets there in a small part of the twelve epochs.",
        lambda v: v["n_epochs_needed"] <= 4 and v["raced_accuracy"] >= v["target"],
        [{"n_epochs_needed": 9}, {"raced_accuracy": 0.5}],
    ),
    Claim(
        "The sizes differ from seed to seed, but not so much that two of the four would meet.",
        lambda v: all(
            max(v["first_by_seed"][low]) < min(v["first_by_seed"][high])
            for low, high in itertools.pairwise(
                ("plain, default", "plain, kaiming", "skip, default", "skip, kaiming")
            )
        ),
        [
            {
                "first_by_seed": {
                    "plain, default": [1e-11],
                    "plain, kaiming": [1e-2, 5.0],
                    "skip, default": [2.0, 40.0],
                    "skip, kaiming": [800.0],
                }
            }
        ],
    ),
    Claim(
        "Nearly all of it is one rung.",
        lambda v: all(
            _steps(v, images)[3] > 10 and max(np.delete(_steps(v, images), 3)) < 2.5 for images in BOTH
        ),
        [_raced((25, 12, 6, 3, 1.5, 0.8, 0.4, 0.4)), _raced((25, 2.4, 2.3, 2.2, 0.8, 0.7, 0.4, 0.4))],
    ),
    Claim(
        "the layout in memory and the order of `tanh` and pooling save two fifths of the time, bfloat16 a tenth of "
        "what is left, and images that wait on the device gain nothing on a CPU",
        lambda v: all(
            0.33 < 1 - 1 / _steps(v, images)[1] < 0.47
            and 0.05 < 1 - 1 / _steps(v, images)[2] < 0.17
            and _steps(v, images)[0] < 1.05
            for images in BOTH
        ),
        [_raced((25, 27, 24, 14, 0.8, 0.7, 0.4, 0.4)), _raced((25, 20, 12, 10.6, 0.8, 0.7, 0.4, 0.4))],
    ),
    Claim(
        "thirty epochs become one or two",
        lambda v: all(
            v["race"][images]["rungs"][name]["epochs"] <= 2 for images in BOTH for name in LADDER[4:]
        ),
        [_raced((25, 27, 16, 14, 12, 0.7, 0.4, 0.4))],
    ),
    Claim(
        "save a second epoch on the drawings and buy accuracy on the photographs",
        lambda v: (
            v["race"]["drawings"]["rungs"][LADDER[-1]]["epochs"] == 1
            and _reached(v, "photographs", LADDER[-1]) - _reached(v, "photographs", LADDER[4]) > 0.02
        ),
        [_raced()],
    ),
    Claim(
        "On the drawings nothing more is best of all; on the photographs label smoothing and flips by turns gain two "
        "or three thousandths",
        lambda v: (
            all(
                _reached(v, "drawings", name, "extras") <= _reached(v, "drawings", "nothing more", "extras")
                for name in v["race"]["drawings"]["extras"]
            )
            and all(
                0.001
                < _reached(v, "photographs", name, "extras")
                - _reached(v, "photographs", "nothing more", "extras")
                < 0.004
                for name in ("label smoothing 0.1", "flips by turns")
            )
        ),
        [_raced()],
    ),
    Claim(
        "the network is far above the accuracy it raced for",
        lambda v: all(
            _reached(v, images, None, "longer") - v["race"][images]["target"] > 0.05 for images in BOTH
        ),
        [_raced(longer=0.82)],
    ),
]
