"""Chapter 11's claims: what its notebook says, held against what its cells computed."""

import math

import numpy as np
import torch

from util.claims import Claim


def _middle(values, nodules):
    """The median predicted probability of the held-out nodules, or of the others."""
    mask = values["label_mask"] if nodules else ~values["label_mask"]
    return values["pred_t"][mask].median().item()


def _by_size(values, key):
    """Means over the seeds, from the fewest nodules to the most."""
    records = values["records"]
    sizes = sorted({record["nodules"] for record in records})
    return [np.mean([record[key] for record in records if record["nodules"] == n]) for n in sizes]


def _all_like(key, number):
    return [
        {"nodules": n, "seed": 0, "trn": 0.1, "val": 1.0, "ranked_right": 0.6, "recall": 0.5, key: number}
        for n in (10, 50, 236)
    ]


CLAIMS = [
    Claim(
        "The same network, and the largest of these is more than twice the smallest.",
        lambda v: max(v["batch_losses"]) > 2 * min(v["batch_losses"]),
        [{"batch_losses": [0.5, 0.6, 0.7]}],
    ),
    Claim(
        "No error, no warning, and no learning",
        lambda v: not v["weights_moved"],
        [{"weights_moved": True}],
    ),
    Claim(
        "no scan is on both sides",
        lambda v: v["train_scans"] and v["val_scans"] and not v["train_scans"] & v["val_scans"],
        [{"val_scans": {"1.2"}, "train_scans": {"1.2", "1.3"}}],
    ),
    Claim(
        "a batch is still a mixture",
        lambda v: v["in_memory"]["groups of eight scans"] > 0.99 > 0.3 > v["in_memory"]["plain shuffle"],
        [{"in_memory": {"groups of eight scans": 0.2, "plain shuffle": 0.2}}],
    ),
    Claim(
        "Paper and network agree, and 76 voxels are more than our crop has",
        lambda v: all(paper == measured for paper, measured in v["fields"]) and v["fields"][-1][0] == 76,
        [{"fields": [(6, 6), (16, 16), (36, 35), (76, 68)]}],
    ),
    Claim(
        "With weights from one narrow bell curve, the signal loses more than nine tenths of its size over three blocks",
        lambda v: v["signals"]["all from N(0, 0.02)"][3] < 0.1 * v["signals"]["all from N(0, 0.02)"][0],
        [{"signals": {"all from N(0, 0.02)": [0.02, 0.02, 0.015, 0.01]}}],
    ),
    Claim(
        "so that the signal keeps its size",
        lambda v: 0.3 < v["signals"]["He, by inputs"][3] / v["signals"]["He, by inputs"][0] < 3,
        [{"signals": {"He, by inputs": [0.5, 0.2, 0.1, 0.05]}}],
    ),
    Claim(
        "As channels grow from 1 to 64, that makes the signal smaller.",
        lambda v: v["signals"]["He, by outputs"][3] < v["signals"]["He, by inputs"][3] / 2,
        [{"signals": {"He, by outputs": [0.5, 0.5, 0.5, 0.5], "He, by inputs": [0.5, 0.5, 0.5, 0.5]}}],
    ),
    Claim(
        "All three probabilities are rounded to the same number",
        lambda v: len(set(v["sure_probability"].tolist())) == 1 and len(set(v["sure_score"].tolist())) == 3,
        [{"sure_probability": np.array([0.9, 0.99, 0.999])}],
    ),
    Claim(
        "the careless way answers differently, depending on who else is in the batch",
        lambda v: abs(v["careless_answers"][0] - v["careless_answers"][1]) > 1e-4,
        [{"careless_answers": [0.71, 0.71]}],
    ),
    Claim(
        "In evaluation mode it uses the averages it collected in training, and the company no longer matters.",
        lambda v: math.isclose(*v["answers"], abs_tol=1e-5),
        [{"answers": [0.71, 0.73]}],
    ),
    Claim(
        "The last batch, six crops, has counted as much as one of sixteen.",
        lambda v: abs(v["mean_of_samples"] - v["mean_of_batches"]) > 1e-4,
        [{"mean_of_samples": 0.7, "mean_of_batches": 0.7}],
    ),
    Claim(
        "The first estimate is five times too long.",
        lambda v: 4.5 < v["too_early"] / v["took"] < 5.5,
        [{"too_early": 20.0}, {"too_early": 40.0}],
    ),
    Claim(
        'The network says "no" to everything.',
        lambda v: v["val"]["correct/pos"] == 0 and v["val"]["correct/neg"] == 100,
        [{"val": {"correct/pos": 40.0, "correct/neg": 99.0}}],
    ),
    Claim(
        "A program of one line does just as well",
        lambda v: abs(v["always_no_correct"] - v["val"]["correct/all"]) < 0.01,
        [{"always_no_correct": 90.0}],
    ),
    Claim(
        "On the left, TensorBoard takes both runs for one",
        lambda v: v["steps_back"] == 1 and len(v["shared"]) == 12,
        [{"steps_back": 0}, {"shared": [(1, 0.5)] * 6}],
    ),
    Claim(
        "For nodules and for the rest, the predicted probabilities are small and hardly differ",
        lambda v: (
            max(_middle(v, True), _middle(v, False)) < 0.1
            and abs(_middle(v, True) - _middle(v, False)) < 0.05
        ),
        [{"pred_t": torch.tensor([0.9, 0.01, 0.02]), "label_mask": torch.tensor([True, False, False])}],
    ),
    Claim(
        "Only the third one ends where the uninterrupted training does, bit for bit.",
        lambda v: [distance == 0 for distance in v["distances"].values()] == [False, False, True],
        [{"distances": {"a": 0.0, "b": 0.0, "c": 0.0}}, {"distances": {"a": 0.8, "b": 0.4, "c": 1e-6}}],
    ),
    Claim(
        "The same losses. The numbers that the package wrote to TensorBoard",
        lambda v: max(v["differences"]) < 1e-4,
        [{"differences": [0.0, 0.01]}],
    ),
    Claim(
        "All of them are nodules, and not the difficult ones",
        lambda v: v["nodules_on_top"] == int(v["label_mask"].sum()) > 12,
        [{"nodules_on_top": 3}],
    ),
    Claim(
        "So the network is large enough, the gradient flows, the labels belong to the crops.",
        lambda v: v["one_batch"][-1] < 0.45 < v["one_batch"][0],
        [{"one_batch": [0.9, 0.8, 0.69]}],
    ),
    Claim(
        'In most batches, "no" is the right answer to everything',
        lambda v: v["without_any"] > 0.7,
        [{"without_any": 0.4}],
    ),
    Claim(
        "The network does worse than the constant",
        lambda v: v["constant_loss"] < v["val"]["loss/all"] < 0.3,
        [{"constant_loss": 0.4}],
    ),
    Claim(
        "the training loss is the lowest, and on held-out candidates the loss is far above the dotted line",
        lambda v: (
            min(_by_size(v, "trn")) == _by_size(v, "trn")[0]
            and _by_size(v, "val")[0] > 2 * math.log(2) > 1.3 * max(_by_size(v, "val")[1:])
        ),
        [{"records": _all_like("val", 0.7)}, {"records": _all_like("val", 3.0)}],
    ),
]
