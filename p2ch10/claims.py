"""What notebook 10 says, held against the variables that it ends with. The numbers are those of generated patients."""

import numpy as np

from util.claims import Claim

_BOX, _QUARTER, _RADIUS = (
    "box of a quarter, as in the book",
    "a quarter of the diameter",
    "the radius, as LUNA16 scores",
)


def _sorted_by_fields(v):
    """Is the package's list annotated first, malignant before benign, and not simply by size?"""
    nodules = [i for i in v["theirs"] if i.isNodule_bool]
    flags = [(i.hasAnnotation_bool, i.isMal_bool) for i in nodules]
    sizes = [i.diameter_mm for i in nodules]
    return flags == sorted(flags, reverse=True) and sizes != sorted(sizes, reverse=True)


CLAIMS = [
    Claim(
        "Small nodules are the rule and large ones the exception: more than half measure less than 8 mm.",
        lambda v: np.median(v["diameters"]) < 8 and (v["diameters"] > 15).mean() < 0.2,
        [{"diameters": np.full(9, 9.0)}, {"diameters": np.array([5, 5, 5, 20, 20.0])}],
    ),
    Claim(
        "about one in a hundred among these generated patients",
        lambda v: 80 < v["one_in"] < 125,
        [{"one_in": 400.0}, {"one_in": 20.0}],
    ),
    Claim(
        "Every single one. So the unit must be the scan.",
        lambda v: v["leaked"] == 1,
        [{"leaked": 0.9}],
    ),
    Claim(
        "One new scan, and nearly everything that was held out is now trained on, and the other way round.",
        lambda v: v["moved"] >= len(v["last_month"]) + len(v["today"]) - 2 > 5,
        [{"moved": 3}, {"moved": 0}],
    ),
    Claim(
        "Each answers something else: Python salts the hashes of strings anew in every process",
        lambda v: len(set(v["python_hashes"])) > 1,
        [{"python_hashes": [512, 512, 512]}],
    ),
    Claim(
        "a scan stays on its side when you download another subset",
        lambda v: v["moved_by_hash"] == 0 and len(v["held_out"]) > 3,
        [{"moved_by_hash": 1}],
    ),
    Claim(
        "Both curves rise over the same range: neither set is made only of small or only of large nodules.",
        lambda v: all(min(mm) < 4 and max(mm) > 20 for mm in v["sizes_of"].values()),
        [{"sizes_of": {"training": [3.5, 30], "validation": [3.6, 8]}}],
    ),
    Claim(
        "None at all. The centres were placed by different people and programs, and no two agree to the last digit.",
        lambda v: not any(v["looked_up"]),
        [{"looked_up": [0.0, 6.4]}],
    ),
    Claim(
        "Nearly all lie within a quarter of the diameter, a few beyond it, and all within the radius",
        lambda v: 0.9 < (v["ratios"] < 0.25).mean() < 1 and v["ratios"].max() < 0.5,
        [{"ratios": np.full(9, 0.1)}, {"ratios": np.array([0.1] * 30 + [0.6])}],
    ),
    Claim(
        "The radius leaves nobody over here and takes no candidate of class 0",
        lambda v: v["left_over"][_RADIUS] == v["wrongly"][_RADIUS] == 0 < v["left_over"][_QUARTER],
        [{"left_over": {_RADIUS: 2, _QUARTER: 8}}, {"wrongly": {_RADIUS: 3}}],
    ),
    Claim(
        "That is a box, not a ball; in its corners the distance may reach √3/4, or 0.43 diameters",
        lambda v: v["left_over"][_BOX] < v["left_over"][_QUARTER],
        [{"left_over": {_BOX: 9, _QUARTER: 8, _RADIUS: 0}}],
    ),
    Claim(
        "annotated nodules first, malignant before benign, and only then by size. Is it the same list?",
        lambda v: _sorted_by_fields(v) and v["same_list"] and v["same_split"],
        [{"same_list": False}, {"theirs": []}],
    ),
    Claim(
        "Ours stops, which is better than guessing, and leaves you to search through half a million lines. The "
        "package's version names file and line.",
        lambda v: "line" not in v["complaints"][0] and "candidates.csv, line" in v["complaints"][1],
        [{"complaints": ["bad", "bad"]}, {"complaints": ["candidates.csv, line 3"] * 2}],
    ),
    Claim(
        "Nothing is thinner than air, so what lies at -2048? Noise around -1000 explains -1100 or so, not that.",
        lambda v: min(v["minima"].values()) == -2048 and sorted(v["minima"].values())[1] > -1300,
        [{"minima": {"a": -1100, "b": -1090}}, {"minima": {"a": -2048, "b": -1500}}],
    ),
    Claim(
        "Hills at air, lung, fat, soft tissue and bone: the scan is what it claims to be.",
        lambda v: all(
            (np.abs(v["ct"].hu_a - hill) < 15).sum() > 1.5 * (np.abs(v["ct"].hu_a + 350) < 15).sum()
            for hill in (-1000, -830, -110, 60, 500)
        ),
        [{"ct": type("Flat", (), {"hu_a": np.arange(-1000, 1000)})}],
    ),
    Claim(
        "Scan by scan, each scan is read once. But training shuffles, and then almost every candidate has the whole "
        "scan read for it.",
        lambda v: (
            v["reads_by_order"]["scan by scan"] == 3 and v["reads_by_order"]["shuffled"] > len(v["few"]) / 2
        ),
        [
            {"reads_by_order": {"scan by scan": 3, "shuffled": 5}},
            {"reads_by_order": {"scan by scan": 9, "shuffled": 20}},
        ],
    ),
    Claim(
        "On our scan the two classes should agree",
        lambda v: v["same_ct"] == [True] * 4,
        [{"same_ct": [True, True, True, False]}],
    ),
    Claim(
        "Most scans are stored along the axes, and then `RAI` in the header and LPS here mean the same thing.",
        lambda v: (
            v["letters_of_identity"] == "LPS"
            and list(v["letters"].values()).count("LPS") > 8
            and "RAS" in v["letters"].values()
        ),
        [{"letters_of_identity": "RAI"}, {"letters": {"a": "RAS"}}],
    ),
    Claim(
        "Within a slice they measure well under a millimetre; from slice to slice often 1.25 or 2.5.",
        lambda v: (
            v["sizes"][:, 0].max() < 0.95
            and np.isin(v["sizes"][:, 2].round(2), (1.25, 2.5)).mean() > 0.3
            and (v["sizes"][:, 2] > v["sizes"][:, 0]).all()
        ),
        [{"sizes": np.ones((9, 3))}, {"sizes": np.full((9, 3), 0.7)}],
    ),
    Claim(
        "The first mistake shows in the upright scan already: `int` cuts off, so that 2.9999999 becomes voxel 2. The "
        "second shows only in the tilted one.",
        lambda v: (
            0.3 < v["came_back"]["upright", "xyz2irc_at_first"] < 0.99
            and v["came_back"]["tilted", "xyz2irc_at_first"] < 0.05
            and v["came_back"]["upright", "xyz2irc"] == v["came_back"]["tilted", "xyz2irc"] == 1
        ),
        [
            {
                "came_back": {
                    (a, b): 1.0 for a in ("upright", "tilted") for b in ("xyz2irc", "xyz2irc_at_first")
                }
            },
            {
                "came_back": {
                    ("upright", "xyz2irc_at_first"): 0.7,
                    ("tilted", "xyz2irc_at_first"): 0.9,
                    ("upright", "xyz2irc"): 1.0,
                    ("tilted", "xyz2irc"): 1.0,
                }
            },
        ],
    ),
    Claim(
        "SimpleITK can tell where a voxel lies, and it knows nothing of our code",
        lambda v: 0 < v["off_mm"] < 1e-9,
        [{"off_mm": 0.4}],
    ),
    Claim(
        "Near the last slice the crop comes out too thin, and a batch of such crops cannot be stacked. Near the first "
        "it is *empty*",
        lambda v: (
            v["shapes_at_first"][0] == (32, 48, 48)
            and v["shapes_at_first"][1][0] == 0 < v["shapes_at_first"][2][0] < 32
        ),
        [
            {"shapes_at_first": [(32, 48, 48)] * 3},
            {"shapes_at_first": [(32, 48, 48), (18, 48, 48), (18, 48, 48)]},
        ],
    ),
    Claim(
        "Candidates lie anywhere in the lungs, and where a scan ends inside the chest, that is close to its edge.",
        lambda v: 0.05 < v["share_at_edges"] < 0.4,
        [{"share_at_edges": 0.0}],
    ),
    Claim(
        "A crop touches a few dozen blocks, and only those are decompressed.",
        lambda v: 24 <= v["blocks_used"] <= 80 and v["blocks_used"] < len(v["packed"]) / 20,
        [{"blocks_used": 2048}, {"packed": [0] * 60}],
    ),
    Claim(
        "Whichever way they come, the voxels are the same.",
        lambda v: v["same_voxels"] == [True] * 3,
        [{"same_voxels": [True, True, False]}],
    ),
    Claim(
        "That is quick to read, and it fills the disk",
        lambda v: v["crops_gb"] > 150 and v["per_scan"] > 5,
        [{"per_scan": 0.5}, {"crops_gb": 12.0}],
    ),
    Claim(
        "Beyond that, its items are ours",
        lambda v: v["same_items"] and sum(v["nodules_by_batch"][1:]) > 0,
        [{"same_items": False}, {"nodules_by_batch": [6, 0, 0, 0]}],
    ),
    Claim(
        "Building both halves is the moment to check that they share no scan.",
        lambda v: not v["shared_scans"] and all(v["scans_of"].values()),
        [{"shared_scans": {"1.2.3"}}],
    ),
    Claim(
        "The first idea marks the room, too: air is air.",
        lambda v: v["in_body"] < 0.8,
        [{"in_body": 1.0}],
    ),
    Claim(
        "Closing helps, and it is not enough",
        lambda v: v["counts"]["air"] < v["counts"]["lung"] < v["counts"]["all"],
        [{"counts": {"all": 15, "air": 15, "lung": 15}}, {"counts": {"all": 15, "air": 8, "lung": 8}}],
    ),
    Claim(
        "Grown-ups have four to six litres after breathing in. The generated patients are small people",
        lambda v: 0.8 < v["lung_litres"] < 3.5,
        [{"lung_litres": 5.0}],
    ),
]
