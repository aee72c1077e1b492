"""Chapter 13's claims: what its notebook says, held against what its cells computed."""

import numpy as np

from util.claims import Claim


def _mean(values):
    return sum(values) / len(values)


CLAIMS = [
    Claim(
        "only what lies in them is kept",
        lambda v: (v["mask_tup"].candidate_mask & ~v["mask_tup"].lung_mask).sum() == 0 and v["count"] > 10,
        [{"count": 1}],
    ),
    Claim(
        "Most of those components are vessels, and bits at the rim of the lungs",
        lambda v: v["count"] > 20 and 1 <= v["at_the_rim"] < v["count"] and v["instance_count"] <= 2,
        [{"instance_count": 30}, {"at_the_rim": 0}],
    ),
    Claim(
        "A network that marks nothing at all is right on more than 99 percent of the pixels of this slice, and on more "
        "than 99.8 percent of the voxels of the scan.",
        lambda v: v["share_of_scan"] < 0.002 < v["share_of_slice"] < 0.01,
        [{"share_of_slice": 0.012}, {"share_of_scan": 0.0024}],
    ),
    Claim(
        "Convolutions alone do worst with every seed",
        lambda v: all(
            one < min(two, three) for one, two, three in zip(*(v["toy_dice"][name] for name in v["toy_nets"]))
        ),
        [{"toy_dice": dict.fromkeys(("convolutions only", "pooling, no bridges", "U-Net"), [0.9, 0.9, 0.9])}],
    ),
    Claim(
        "the U-Net comes out ahead of both with every seed",
        lambda v: all(
            three > max(one, two) for one, two, three in zip(*(v["toy_dice"][name] for name in v["toy_nets"]))
        ),
        [
            {
                "toy_dice": {
                    "convolutions only": [0.7] * 3,
                    "pooling, no bridges": [0.9, 0.9, 0.99],
                    "U-Net": [0.98] * 3,
                }
            }
        ],
    ),
    Claim("Given the same weights, the two answer alike", lambda v: v["same_unet"], [{"same_unet": False}]),
    Claim(
        "Each level more than doubles the view. With three levels an output pixel sees 44 pixels",
        lambda v: all(b > 2 * a for a, b in zip(v["views"], v["views"][1:])) and v["views"] == [5, 18, 44],
        [{"views": [5, 18, 36]}, {"views": [5, 18, 46]}],
    ),
    Claim(
        "With a bias of 0 an untrained network believes in about half of all pixels",
        lambda v: 0.35 < v["first_marks"][0.0] < 0.7,
        [{"first_marks": {0.0: 0.2, -4.0: 0.1}}],
    ),
    Claim(
        "With -4 it begins by believing in less than half as many.",
        lambda v: v["first_marks"][-4.0] < 0.5 * v["first_marks"][0.0],
        [{"first_marks": {0.0: 0.5, -4.0: 0.3}}],
    ),
    Claim(
        "the shipped weights fit both, and the two answer alike",
        lambda v: v["same_wrapper"],
        [{"same_wrapper": False}],
    ),
    Claim(
        "an edge that is no multiple of four comes back shorter, without a word",
        lambda v: v["short"] == (64, 100) and "64 x 102" in v["refusal"] and "multiples of 4" in v["refusal"],
        [{"short": (64, 102)}, {"refusal": "error"}],
    ),
    Claim(
        "crops fit, but each costs sixty-four times as much as in 2D",
        lambda v: (
            v["memory"]["sixteen 3D crops, 64×64×64"] == 64 * v["memory"]["sixteen 2D crops, 64×64"]
            and v["memory"]["a whole scan in 3D, 128×512×512"] > 12
        ),
        [
            {
                "memory": {
                    "sixteen 3D crops, 64×64×64": 1.0,
                    "sixteen 2D crops, 64×64": 0.1,
                    "a whole scan in 3D, 128×512×512": 13,
                }
            }
        ],
    ),  # fmt: skip
    Claim(
        "Seven slices are better than one with every seed, by 0.04 to 0.14.",
        lambda v: (
            [round(seven - one, 2) for one, seven in zip(v["by_slices"][1], v["by_slices"][7])]
            == [0.04, 0.14, 0.07]
        ),
        [{"by_slices": {1: [0.36, 0.41, 0.42], 3: [0.4] * 3, 7: [0.4, 0.4, 0.5]}}],
    ),
    Claim(
        "Three are better than one with two seeds of three",
        lambda v: sum(three > one for one, three in zip(v["by_slices"][1], v["by_slices"][3])) == 2,
        [{"by_slices": {1: [0.3] * 3, 3: [0.4] * 3, 7: [0.5] * 3}}],
    ),
    Claim(
        "Two slices from the bottom it does not, and no error says so",
        lambda v: v["naive_voxels"][10] > 200 and v["naive_voxels"][2] == 0 and v["boxes"][2][0].start < 0,
        [{"naive_voxels": {10: 257, 2: 40}}, {"naive_voxels": {10: 0, 2: 0}}],
    ),
    Claim(
        "So the radius must stop at the edge of the volume",
        lambda v: v["edge_box"][0].start == 0 and v["same_mask"],
        [{"edge_box": (slice(-1, 6), slice(11, 20), slice(11, 20))}, {"same_mask": False}],
    ),
    Claim(
        "The boxes agree with the truth a little better than half",
        lambda v: 0.5 < np.mean(v["overlaps"]) < 0.7,
        [{"overlaps": [0.4, 0.5]}, {"overlaps": [0.8]}],
    ),
    Claim(
        "most of the masks are too large",
        lambda v: np.mean(v["too_large"]) > 0.7,
        [{"too_large": [True, False, False]}],
    ),
    Claim(
        "In a whole slice with a nodule, a pixel in some hundreds is nodule; in a crop of 64×64 around one, a few in a "
        "hundred",
        lambda v: 0.001 < v["share_in_slices"] < 0.005 and 0.015 < v["share_in_crops"] < 0.06,
        [{"share_in_slices": 0.02}, {"share_in_crops": 0.005}],
    ),
    Claim(
        "With one transform for both, slice and mask go on agreeing perfectly; with one for each, most of the truth is "
        "elsewhere.",
        lambda v: (
            v["agree"]["together"] == v["agree"]["the package's"] == 1 and v["agree"]["each by itself"] < 0.3
        ),
        [
            {"agree": {"together": 1.0, "the package's": 1.0, "each by itself": 0.6}},
            {"agree": {"together": 0.97, "the package's": 1.0, "each by itself": 0.1}},
        ],
    ),  # fmt: skip
    Claim(
        "A square that misses its target completely has a Dice loss of almost 1, while four fifths of the pixels are "
        'still "right".',
        lambda v: v["dice_losses"][-1] > 0.99 and 0.78 < 1 - v["wrong_pixels"][-1] < 0.82,
        [{"dice_losses": [0.0, 0.9]}, {"wrong_pixels": [0.0, 0.4]}],
    ),
    Claim(
        "The Dice loss alone stays where it is: all pixels marked, after 300 steps.",
        lambda v: len(v["marked_after"]["Dice"]) == 300 and v["marked_after"]["Dice"][-1] == 1,
        [{"marked_after": {"Dice": [1.0] * 299 + [0.4]}}],
    ),
    Claim(
        "With cross-entropy, alone or added to it, only the truth is left.",
        lambda v: all(
            v["marked_after"][name][-1] == v["square"].mean().item() for name in ("cross-entropy", "both")
        ),
        [{"marked_after": {"cross-entropy": [0.2], "both": [0.1]}}],
    ),
    Claim(
        "But then nothing beats a network that marks everything",
        lambda v: (
            max(v["scores"], key=lambda name: v["scores"][name]["recall"]) == "marks everything"
            and max(v["scores"], key=lambda name: v["scores"][name]["F2"]) == "useful"
        ),
        [{"scores": {"marks everything": {"recall": 1, "F2": 0.9}, "useful": {"recall": 0.9, "F2": 0.6}}}],
    ),
    Claim(
        "Given the same network and the same batch, its loss is ours",
        lambda v: abs(v["losses"][0] - v["losses"][1]) < 1e-5 * v["losses"][0],
        [{"losses": [5.87, 5.88]}],
    ),
    Claim(
        "On whole held-out slices the network finds more of the nodules' area than on training crops",
        lambda v: v["last"]["val"]["percent_all/tp"] > v["last"]["trn"]["percent_all/tp"],
        [{"last": {"val": {"percent_all/tp": 70}, "trn": {"percent_all/tp": 74}}}],
    ),
    Claim(
        "its false alarms cover about ten times the nodules' area, and that is why the Dice loss there is higher",
        lambda v: (
            500 < v["last"]["val"]["percent_all/fp"] < 2000
            and v["last"]["val"]["percent_all/fp"] > v["last"]["trn"]["percent_all/fp"]
            and v["last"]["val"]["loss/all"] > v["last"]["trn"]["loss/all"]
        ),
        [
            {
                "last": {
                    "val": {"percent_all/fp": 150, "loss/all": 0.8},
                    "trn": {"percent_all/fp": 100, "loss/all": 0.7},
                }
            }
        ],
    ),
    Claim(
        "Going from 0.5 to 0.1 finds some more of the area and costs many more false alarms",
        lambda v: (
            0 < v["found"][v["at"][0.1]] - v["found"][v["at"][0.5]] < 0.15
            and v["false"][v["at"][0.1]] > 1.3 * v["false"][v["at"][0.5]]
        ),
        [{"at": {0.1: 500, 0.5: 500}}],
    ),
    Claim(
        "The points lie below the diagonal: the network is overconfident",
        lambda v: (v["share_true"] < v["believed"])[2:].all(),
        [{"share_true": np.linspace(0.1, 1, 10)}],
    ),
    Claim(
        "Nearly every nodule of 5 mm or more is touched, though a part of its pixels is missed.",
        lambda v: v["result"]["touched"] >= 0.93 and v["result"]["recall"] < 0.95,
        [{"result": {"touched": 0.8, "recall": 0.85}}],
    ),
]
