"""What notebook 9 says, held against the variables that it ends with. The numbers are those of generated patients."""

import numpy as np

from p2ch09.calibration import REAL_MIDDLE_HU
from util.claims import Claim


def _close(v, kind, hu):
    """Do real and generated nodules of this kind agree in their typical middle, within `hu`?"""
    return abs(v["inside"][kind][1] - REAL_MIDDLE_HU[kind][1]) < hu


_SMOOTH, _SHARP, _THICK = "smooth kernel, 1 mm", "sharp kernel, 1 mm", "smooth kernel, 5 mm"

CLAIMS = [
    Claim(
        "which draws one from a seed: same seed, same patient, voxel for voxel.",
        lambda v: v["same_seed"] and not v["other_seed"],
        [{"same_seed": False}, {"other_seed": True}],
    ),
    Claim(
        "here it is three times as many pixels wide as it is slices high",
        lambda v: 2.8 < v["across"][0] / v["across"][2] < 3.4,
        [{"across": np.array([12.6, 12.6, 12.6])}],
    ),
    Claim(
        "That is no grown-up, whose chest is 300 to 400 mm wide and whose lungs hold four to six litres",
        lambda v: v["body_mm"] < 250 and 0.8 < v["lung_litres"] < 3,
        [{"body_mm": 340.0}, {"lung_litres": 4.8}],
    ),
    Claim(
        "Every tissue has its hill: air around the patient, lung (air with a little tissue in it), fat, then muscle "
        "and blood, and bone.",
        lambda v: min(v["hills"].values()) > 1.5 and len(v["hills"]) == 5,
        [{"hills": {**dict.fromkeys(("air", "lung", "fat", "muscle"), 20.0), "bone": 0.9}}],
    ),
    Claim(
        "its voxels are *edges*, part lung, part vessel, with a value somewhere between",
        lambda v: v["valley"] > 1e-4,
        [{"valley": 1e-7}],
    ),
    Claim(
        "the generator's bone is of one density, so its hill is narrow and nothing lies beyond 700 HU",
        lambda v: v["hu"].max() <= 700,
        [{"hu": np.array([1400])}],
    ),
    Claim(
        "The soft-tissue window throws away more than half of the scan to tell muscle from fat; the lung window, "
        "four times as wide, shows nearly everything",
        lambda v: v["cut_off"]["soft tissue"] > 0.5 and v["cut_off"]["lung"] < 0.1,
        [{"cut_off": {"soft tissue": 0.3, "lung": 0.03}}, {"cut_off": {"soft tissue": 0.6, "lung": 0.3}}],
    ),
    Claim(
        "The sharp kernel pays for its crisp vessels with more than twice the noise.",
        lambda v: (
            v["noises"][_SHARP] > 2 * v["noises"][_SMOOTH]
            and v["vessel_hu"][_SHARP] > v["vessel_hu"][_SMOOTH] + 50
        ),
        [
            {"noises": {_SHARP: 30, _SMOOTH: 20, _THICK: 9}},
            {"vessel_hu": {_SHARP: -500, _SMOOTH: -500, _THICK: -600}},
        ],
    ),
    Claim(
        "Averaging over 5 mm takes noise away, and the fine vessels along with it",
        lambda v: (
            v["noises"][_THICK] < 0.8 * v["noises"][_SMOOTH]
            and v["vessel_hu"][_THICK] < v["vessel_hu"][_SMOOTH] - 50
        ),
        [
            {"noises": {_SHARP: 50, _SMOOTH: 17, _THICK: 17}},
            {"vessel_hu": {_SHARP: -390, _SMOOTH: -520, _THICK: -510}},
        ],
    ),
    Claim(
        "One label per 65 million numbers, and the reason for the label hides in fewer than a hundred of them.",
        lambda v: 50 < v["nodule_voxels"] < 100 and v["scan_voxels"] // 10**6 == 65,
        [{"nodule_voxels": 400.0}, {"scan_voxels": 30_000_000}],
    ),
    Claim(
        "Solid ones pile up near 0 to 50 HU with a tail to the left",
        lambda v: (
            abs(np.median(np.concatenate(v["middles"]["solid"])) - 10) < 50
            and np.percentile(np.concatenate(v["middles"]["solid"]), 10) < -100
        ),
        [{"middles": {"solid": [np.full(27, -630)]}}, {"middles": {"solid": [np.full(27, 20)]}}],
    ),
    Claim(
        "Ground glass lies around -630, and that is a nuisance",
        lambda v: abs(np.median(np.concatenate(v["middles"]["ground-glass"])) + 630) < 50,
        [{"middles": {"ground-glass": [np.full(27, 20)]}}],
    ),
    Claim(
        "Solid and ground-glass nodules agree, where they are typical; at the ends the real ones vary more.",
        lambda v: (
            _close(v, "solid", 60)
            and _close(v, "ground-glass", 60)
            and all(
                np.ptp(v["inside"][kind]) < REAL_MIDDLE_HU[kind][2] - REAL_MIDDLE_HU[kind][0]
                for kind in ("solid", "ground-glass")
            )
        ),
        [
            {"inside": {"solid": (-300, -200, 0), "ground-glass": (-690, -597, -490)}},
            {"inside": {"solid": (-400, -7, 500), "ground-glass": (-690, -597, -490)}},
        ],
    ),
    Claim(
        "The part-solid ones differ: ours are thinner by far.",
        lambda v: v["inside"]["part-solid"][1] < REAL_MIDDLE_HU["part-solid"][1] - 100,
        [{"inside": {"part-solid": (-600, -340, -100)}}],
    ),
    Claim(
        "Size, taken this way, is not far from the coin. Brightness does much better",
        lambda v: 0.4 < v["auc_blob"] < 0.72 and v["auc_brightness"] > v["auc_blob"] + 0.15,
        [{"auc_blob": 0.9}, {"auc_brightness": 0.6}],
    ),
    Claim(
        "take the brightest candidates, as many as there are nodules, and most of them are none",
        lambda v: v["right_of_brightest"] < 0.5,
        [{"right_of_brightest": 0.7}],
    ),
    Claim(
        "every patient has about three times as many nodules as a LUNA16 scan",
        lambda v: 2.5 < v["per_scan"][0] / v["per_scan"][1] < 4,
        [{"per_scan": (1.3, 1.3)}, {"per_scan": (9.0, 1.3)}],
    ),
    Claim(
        "Half of LUNA16's nodules are smaller than 6.4 mm; of the few hundred that our cohort happened to draw it is a "
        "little less.",
        lambda v: 0.38 < v["below_median"] < 0.5,
        [{"below_median": 0.55}, {"below_median": 0.2}],
    ),
    Claim(
        "Drawn independently, it says nothing at all",
        lambda v: abs(v["facts"]["independent"][0] - 0.5) < 0.04,
        [{"facts": {"independent": (0.92, 0.5)}}],
    ),
    Claim(
        "With malignancy drawn *given* the size, that is right; but then spikes mean nothing",
        lambda v: (
            abs(v["facts"]["malignancy_by_size"][0] - 0.92) < 0.03
            and abs(v["facts"]["malignancy_by_size"][1] - 0.5) < 0.08
        ),
        [{"facts": {"malignancy_by_size": (0.5, 0.5)}}, {"facts": {"malignancy_by_size": (0.92, 0.72)}}],
    ),
    Claim(
        "So the looks are drawn last, given both.",
        lambda v: all(
            abs(v["facts"][way][0] - 0.92) < 0.03 and v["facts"][way][1] > 0.62
            for way in ("looks_by_both", "from_the_package")
        ),
        [{"facts": {"looks_by_both": (0.92, 0.5), "from_the_package": (0.92, 0.74)}}],
    ),
    Claim(
        "the excluded findings; diameter -1 where nobody measured one",
        lambda v: 0.5 < v["unmeasured"] < 1,
        [{"unmeasured": 0.0}],
    ),
]
