"""Chapter 14's claims: what its notebook says, held against what its cells computed."""

import numpy as np

from util.claims import Claim


def _holds_zero(comparison):
    return comparison[2] <= 0 <= comparison[3]


def _lost(by_size):
    return by_size["filtered out"] + by_size["missed"]


def _share_below_6_mm(by_size):
    counts = sum(by_size.values())
    return counts[:2].sum() / counts.sum()


CLAIMS = [
    Claim(
        "In the first split every scan is on both sides.",
        lambda v: v["on_both_sides"] == len(v["scans"]),
        [{"on_both_sides": 12}],
    ),
    Claim(
        "In the second, one newcomer moves more than a third of the scans",
        lambda v: 1 / 3 < v["moved"] / len(v["scans"]) < 0.45,
        [{"moved": 0}, {"moved": 40}],
    ),
    Claim(
        "whether a scan is held out depends on its series UID alone",
        lambda v: v["moved_by_hash"] == 0 and v["same_split"],
        [{"moved_by_hash": 3}, {"same_split": False}],
    ),
    Claim(
        "The two agree on more than 99.9 percent of the voxels.",
        lambda v: v["same_voxels"] > 0.999 and v["fast_a"].any(),
        [{"same_voxels": 0.997}],
    ),
    Claim(
        "As marked, the two things and the vessel between them are one island",
        lambda v: v["island_counts"]["as marked"] == 2,
        [{"island_counts": {"as marked": 3, "after an erosion": 2}}],
    ),
    Claim(
        "But the flat thing, all surface, is gone.",
        lambda v: v["small"][5:7, 2:6].all() and not v["islands"]["after an erosion"][5:7, 2:6].any(),
        [{"islands": {"after an erosion": np.ones((8, 16), dtype=bool)}}],
    ),
    Claim(
        "The package's way erode finds the same centres.",
        lambda v: v["farthest"] < 1e-3 and len(v["eroded"]) == len(v["package_eroded"]) > 5,
        [{"farthest": 0.3}, {"eroded": []}],
    ),
    Claim(
        "Splitting proposes half as many candidates again, and hits nodules that the erosion loses.",
        lambda v: (
            1.4 < sum(map(len, v["groups"]["split"])) / sum(map(len, v["groups"]["erode"])) < 1.7
            and any(
                split and not erode
                for split, erode in zip(v["grouped_hits"]["split"], v["grouped_hits"]["erode"])
            )
            and sum(v["grouped_hits"]["split"]) > sum(v["grouped_hits"]["erode"])
        ),
        [{"grouped_hits": {"split": [True], "erode": [True]}}, {"groups": {"split": [[1]], "erode": [[1]]}}],
    ),
    Claim(
        "By hand and in the pipeline, the second classifier says the same. Most candidates, the first of the three "
        "numbers above the table, get one look.",
        lambda v: (
            np.median(v["off"]) < 0.01
            and len(v["off"]) > 4
            and np.mean([views == 1 for _, views in v["second_opinions"]]) > 0.5
        ),
        [{"off": np.full(11, 0.2)}, {"second_opinions": [(0.9, 24)] * 30}],
    ),
    Claim(
        "Half, and not one as first planned, because of a look, with earlier networks, at the one real scan",
        lambda v: 0.75 < v["threshold"] < 0.85,
        [{"threshold": 0.6045}],
    ),
    Claim(
        "The naive count says that in the first scan both nodules were found.",
        lambda v: v["naive"][0][0] == 2 and np.isfinite(v["hand_judged"][0][0]).sum() == 1,
        [{"naive": [(1, 3), (1, 1)]}, {"hand_judged": [([0.9, 0.9], []), ([0.4], [])]}],
    ),
    Claim(
        "In scan 1 the mark at 6 mm misses a nodule of radius 5, however sure it is; the doubtful one hits.",
        lambda v: v["hand_judged"][1] == ([0.40], [0.85]),
        [{"hand_judged": [([0.9], []), ([0.85], [0.4])]}],
    ),
    Claim(
        "The surest mark, 0.95, hits: a third of the nodules, no false positive. At 0.85 a false one comes, at 0.60 "
        "another, at 0.40 the second hit.",
        lambda v: (
            [x.tolist() for x in v["froc"](v["hand_judged"])]
            == [[0, 0, 0.5, 1, 1], [0, 1 / 3, 1 / 3, 1 / 3, 2 / 3]]
        ),
        [{"hand_judged": [([0.95, 0.9], [0.6]), ([0.4], [0.85])]}],
    ),
    Claim(
        "It does, to the last digit.",
        lambda v: (
            abs(v["cpm"](v["hand_judged"]) - v["hand_froc"].cpm) < 1e-12
            and (v["hand_froc"].hits, v["hand_froc"].false_positives, v["hand_froc"].ignored) == (2, 2, 2)
            and abs(v["cpm"](v["pipeline_judged"]) - v["official"].cpm) < 1e-9
        ),
        [{"hand_judged": [([0.95, 0.9], [0.6]), ([0.4], [0.85])]}],
    ),
    Claim(
        "The package's table is the same, scan by scan.",
        lambda v: all(np.array_equal(a, b) for a, b in zip(v["tables"], v["package_tables"], strict=True)),
        [{"package_tables": [np.zeros((3, 4))] * 12}],
    ),
    Claim(
        "of the nodules it filters out some, and of what is no nodule nearly everything",
        lambda v: (
            0 < v["table"][1:, 1].sum() < 0.2 * v["nodule_count"]
            and v["rejected"] > 20 * v["false_positives"]
        ),
        [{"rejected": 100, "false_positives": 50}],
    ),
    Claim(
        "Several times as many. Neither number is wrong",
        lambda v: v["plain_false"] > 3 * v["false_positives"],
        [{"plain_false": 10, "false_positives": 5}],
    ),
    Claim(
        "Small ones: nearly all that are lost are below 6 mm, where a third of the nodules are.",
        lambda v: (
            _lost(v["by_size"])[:2].sum() > 0.6 * _lost(v["by_size"]).sum()
            and 0.25 < _share_below_6_mm(v["by_size"]) < 0.42
        ),
        [
            {
                "by_size": {
                    "found": np.array([2, 16, 12, 10, 9]),
                    "filtered out": np.array([0, 0, 2, 2, 2]),
                    "missed": np.zeros(5),
                }
            }
        ],
    ),
    Claim(
        "with another dozen of patients, the curve might as well lie anywhere in it",
        lambda v: v["cpm_high"] - v["cpm_low"] > 0.04 and v["cpm_low"] < v["official"].cpm < v["cpm_high"],
        [{"cpm_low": 0.93, "cpm_high": 0.94}],
    ),
    Claim(
        "The paired interval is the narrower of the two: what both systems have in common cancels. Here it lies above "
        "zero",
        lambda v: (
            v["paired_high"] - v["paired_low"] < 0.85 * (v["unpaired_high"] - v["unpaired_low"])
            and v["paired_low"] > 0
        ),
        [{"paired_high": 0.4, "paired_low": 0.1}, {"paired_low": -0.01}],
    ),
    Claim(
        "On generated scans the pipeline finds seven nodules in eight at the strictest rate, and nearly all of them at "
        "four false positives per scan; on real ones two in three at the strictest, and more than nine in ten from "
        "four on.",
        lambda v: (
            0.8 < v["generated_at"][0] < 0.92
            and v["generated_at"][4] > 0.95
            and v["real"]["fp_rates"] == [0.25, 0.5, 1, 2, 4, 8]
            and 0.62 < v["real"]["sensitivities"][0] < 0.7
            and min(v["real"]["sensitivities"][4:]) > 0.9
        ),
        [{"generated_at": np.array([0.7, 0.8, 0.9, 0.9, 0.9, 0.9])}, {"generated_at": np.ones(6)}],
    ),
    Claim(
        "Solid nodules are all found; what is missing is ground glass, and what is between part solid and solid.",
        lambda v: (
            [kind for kind, part in v["real"]["by_texture"].items() if np.subtract(*part) < 0]
            == ["ground glass", "between, 4"]
        ),
        [
            {"real": {"by_texture": {"ground glass": [8, 11], "solid": [33, 33]}}},
            {"real": {"by_texture": {"ground glass": [8, 11], "between, 4": [7, 9], "solid": [32, 33]}}},
        ],
    ),
    Claim(
        "A ruler does remarkably well.",
        lambda v: v["auc_diam"] > 0.88,
        [{"auc_diam": 0.8}],
    ),
    Claim(
        "In evaluation mode nothing moves.",
        lambda v: v["drift"]["eval"] == 0 and v["drift"]["train"] > 0.01,
        [{"drift": {"eval": 0.02, "train": 0.2}}, {"drift": {"eval": 0.0, "train": 0.0}}],
    ),
    Claim(
        "Neither network beats the ruler on these nodules.",
        lambda v: max(v["auc_finetune"], v["auc_modified"]) < v["auc_diam"],
        [{"auc_modified": 0.94}],
    ),
    Claim(
        "Letting the last block learn, too, moves the area by a few hundredths at most.",
        lambda v: abs(v["auc_modified"] - v["auc_finetune"]) < 0.04,
        [{"auc_modified": 0.85}],
    ),
    Claim(
        "Over all nodules the intervals of both differences hold zero",
        lambda v: all(_holds_zero(v["comparisons"][name, "all"]) for name in ("head", "head and last block")),
        [
            {
                "comparisons": dict.fromkeys(
                    [("head", "all"), ("head and last block", "all")], (0.95, 0.9, 0.02, 0.1)
                )
            }
        ],
    ),  # fmt: skip
    Claim(
        "Among pairs of equal size both networks come out ahead of it, with intervals that span half the scale and "
        "more.",
        lambda v: all(
            network > ruler and high - low > 0.5
            for (_, which), (network, ruler, low, high) in v["comparisons"].items()
            if which == "equal size"
        ),
        [{"comparisons": {("head", "equal size"): (0.7, 0.55, 0.1, 0.2)}}],
    ),
    Claim(
        "within a factor of 1.2 a ruler is still right in 0.68 of them",
        lambda v: round(v["ruler_left"][1.2], 2) == 0.68 and v["ruler_left"][1.1] < v["ruler_left"][1.2],
        [{"ruler_left": {1.2: 0.52, 1.1: 0.5}}],
    ),
    Claim(
        "Within 1.1 little of it is left, and little else: 27 pairs.",
        lambda v: v["equal_pairs"][1.1] == 27 and abs(v["ruler_left"][1.1] - 0.5) < 0.1,
        [{"equal_pairs": {1.1: 59}}],
    ),
    Claim(
        "On these twelve scans both come out above the ruler, and the intervals of both differences still hold zero",
        lambda v: all(
            v["comparisons"][name, "all"][0] > v["auc_diam"] and _holds_zero(v["comparisons"][name, "all"])
            for name in ("shipped", "shipped, with size")
        ),
        [{"auc_diam": 0.97}],
    ),
    Claim(
        "The package's paired bootstrap gives the same interval as ours.",
        lambda v: np.allclose(v["oracle"].ci, v["comparisons"]["shipped, with size", "all"][2:], atol=2e-3),
        [{"comparisons": {("shipped, with size", "all"): (0.9, 0.9, -0.05, 0.1)}}],
    ),
    Claim(
        "The best coin looks a third better than chance, and is not better at all.",
        lambda v: 0.63 < v["best_on_validation"].mean() < 0.7 and abs(v["best_on_test"].mean() - 0.5) < 0.01,
        [{"best_on_validation": np.array([0.55])}, {"best_on_test": np.array([0.6])}],
    ),
    Claim(
        "On these scans the views cost about three points, and the interval reaches to about nothing.",
        lambda v: (
            0 < v["cpm"](v["one_look_judged"]) - v["cpm"](v["pipeline_judged"]) < 0.06
            and abs(v["view_high"]) < 0.02
        ),
        [{"view_high": -0.04}, {"one_look_judged": [([], [1.0])] * 12 + [([1.0], [2.0])]}],
    ),
    Claim(
        "What is marked from 6 mm on changes little: nodules stay at the top, and the large things that look like them "
        "stay with them. Smaller marks get less probable with distance, those elsewhere more than nodules.",
        lambda v: (
            abs(np.subtract(*v["by_distance"][False, True][[0, 2]])) < 0.05
            and v["by_distance"][False, False].min() > 0.8
            and np.subtract(*v["by_distance"][True, True][[0, 2]]) > 0.1
            and np.subtract(*v["by_distance"][True, False][[0, 2]])
            > np.subtract(*v["by_distance"][True, True][[0, 2]]) + 0.05
        ),
        [{"by_distance": dict.fromkeys([(a, b) for a in (0, 1) for b in (0, 1)], np.array([0.9, 0.9, 0.9]))}],
    ),
    Claim(
        "9 % are below 6 mm, and none below 5.5, where LUNA16's list has 42 % below 6. If sizes had the shares that "
        "they have there, the mean sensitivity would be 0.68 and not 0.77",
        lambda v: (
            v["real"]["mean_by_luna16_sizes"]["below_6_mm"] == [0.09, 0.42]
            and round(v["real"]["mean_by_luna16_sizes"]["mean"], 2) == 0.68
            and round(v["real"]["mean"], 2) == 0.77
        ),
        [{"real": {"mean": 0.77, "mean_by_luna16_sizes": {"mean": 0.75, "below_6_mm": [0.09, 0.42]}}}],
    ),
    Claim(
        "For half of the suspects the views change the probability by 0.02 or more, for some by half.",
        lambda v: 0.01 < np.median(v["probability_moves"]) < 0.05 and v["probability_moves"].max() > 0.45,
        [{"probability_moves": np.array([0.02, 0.03])}, {"probability_moves": np.array([0.2, 0.6])}],
    ),
    Claim(
        "it is a few scattered pixels, and the U-Net learns that ground glass is not worth marking",
        lambda v: v["grown_truth"].mask.sum() < 0.1 * v["ball"].mask.sum(),
        [{"grown_truth": type("Truth", (), {"mask": np.ones((30, 30, 30))})()}],
    ),
    Claim(
        "its candidates stand in our lists as",
        lambda v: 0 < len(v["others"]) - len(v["clear"]) < 0.2 * len(v["others"]),
        [{"clear": []}],
    ),
    Claim(
        "Fine-tuning on generated examples alone costs a few points. Real nodules among them win some of that back, "
        "and no row's mean comes out above that of the shipped layer",
        lambda v: (
            v["few_means"][0].mean() < v["few_means"][None].mean() - 0.01
            and all(
                v["few_means"][0].mean() < v["few_means"][n].mean() < v["few_means"][None].mean()
                for n in (4, 16, 52)
            )
        ),
        [
            {
                "few_means": {
                    None: np.array([0.52]),
                    0: np.array([0.5]),
                    **dict.fromkeys((4, 16), np.array([0.5])),
                    52: np.array([0.6]),
                }
            },
            {"few_means": dict.fromkeys((None, 0, 4, 16, 52), np.array([0.5]))},
        ],
    ),
]
