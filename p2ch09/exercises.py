"""Checks of chapter 9's exercises. The exercises themselves stand in the notebook."""

import functools

import numpy as np

from util.exercises import exercise, expect


@exercise(
    "9.1", hint="Water must come out as 0 and vacuum (attenuation 0) as -1000, whatever water attenuates."
)
def check_hounsfield(hounsfield):
    rng = np.random.default_rng()
    water = float(rng.uniform(0.15, 0.25))
    got = np.asarray(hounsfield(np.array([water, 0.0]), water), float)
    expect(got.shape == (2,), "The answer should have the shape of the attenuations that came in.")
    expect(abs(got[0]) < 1e-6, "Water does not come out as 0 HU.")
    expect(abs(got[1] + 1000) < 1e-6, "Vacuum, which attenuates nothing, should be -1000 HU.")
    mu = rng.uniform(0, 0.5, (3, 4))
    got = np.asarray(hounsfield(mu, water), float)
    expect(got.shape == mu.shape, "It should work on arrays of any shape.")
    expect(np.allclose(got, 1000 * (mu / water - 1)), "Between vacuum and water the scale is not right.")


@exercise("9.2", hint="A window of width w around c shows c - w/2 as black (0) and c + w/2 as white (1).")
def check_window(window):
    hu = np.array([[-2000, -1350, -600, 150, 3000]], np.int16)
    before = hu.copy()
    got = np.asarray(window(hu, -600, 1500), float)
    expect(got.shape == hu.shape, "The picture should keep its shape.")
    expect(np.array_equal(hu, before), "Your function changed the scan it was given; work on a copy.")
    expect(got.min() >= 0 and got.max() <= 1, "Values outside the window must be clipped to 0 and 1.")
    expect(
        np.allclose(got, [[0, 0, 0.5, 1, 1]]),
        "With center -600 and width 1500, -600 HU should be mid-grey (0.5).",
    )
    rng = np.random.default_rng()
    center, width = rng.uniform(-100, 100), rng.uniform(200, 500)
    low = np.asarray(window(np.array([center - width / 4]), center, width), float)
    expect(abs(low[0] - 0.25) < 1e-6, "A quarter of the way up the window should be 0.25.")


@exercise("9.3", hint="Volume of a ball divided by the volume of a voxel. The diameter is not the radius.")
def check_voxels(voxels_in_nodule):
    expect(
        abs(voxels_in_nodule(6.0, (1.0, 1.0, 1.0)) - 113.1) < 0.2,
        "A ball of 6 mm across has about 113 voxels of one cubic millimetre.",
    )
    rng = np.random.default_rng()
    diameter = float(rng.uniform(3, 30))
    # Never near a cube in volume, whichever side comes first: chance must not pass a wrong answer.
    spacing = tuple(float(s) for s in rng.uniform(0.8, 1.2) * rng.permutation([0.5, 1.0, 2.5]))
    want = np.pi / 6 * diameter**3 / np.prod(spacing)
    expect(
        abs(voxels_in_nodule(diameter, spacing) / want - 1) < 0.01,
        "Voxels are boxes: all three sides of a voxel count.",
    )


@exercise(
    "9.4",
    hint="Count first: how many nodules does the test find, and how many non-nodules does it call nodules?",
)
def check_precision(precision_of_screening):
    got = precision_of_screening(600, 1.3, 1.0, 0.0)
    expect(abs(got - 1) < 1e-9, "A test without false alarms is right whenever it speaks: 1.0.")
    got = precision_of_screening(600, 1.3, 0.95, 0.05)
    expect(
        abs(got - 1.3 * 0.95 / (1.3 * 0.95 + 598.7 * 0.05)) < 1e-9,
        "With 600 candidates, 1.3 nodules, sensitivity 0.95 and 5 % false alarms the answer is off.",
    )
    rng = np.random.default_rng()
    n, k, s, f = (
        float(rng.uniform(100, 900)),
        float(rng.uniform(1, 9)),
        rng.uniform(0.5, 1),
        rng.uniform(0.01, 0.2),
    )
    want = k * s / (k * s + (n - k) * f)
    expect(abs(precision_of_screening(n, k, s, f) - want) < 1e-9, "It should use all four numbers.")


@functools.lru_cache(maxsize=1)
def practice_crops():
    """(crops, labels): (n, 32, 48, 48) int16 around candidates of two generated patients, bool (n,)."""
    from p2ch09.phantom import crop_at, make_patient

    crops, labels = [], []
    for seed in (901, 902):
        patient = make_patient(seed, (96, 224, 224), nodules=12)
        for row in patient.candidates[:160]:
            crops.append(crop_at(patient, row[:3]))
            labels.append(row[3] == 1)
    return np.stack(crops), np.array(labels)


@exercise(
    "9.5", hint="A nodule is dense in the middle and has lung around it on all sides. A vessel has not."
)
def check_score(nodule_score):
    from p2ch09.calibration import auc

    crops, labels = practice_crops()
    before = crops[:3].copy()
    scores = np.array([float(nodule_score(crop)) for crop in crops])
    expect(np.array_equal(before, crops[:3]), "Your function changed a crop it was given; work on a copy.")
    expect(np.all(np.isfinite(scores)), "Every score must be a finite number.")
    area = auc(scores, labels)
    expect(area > 0.5, f"Your score is higher for other things than for nodules (AUC {area:.2f}).")
    expect(area >= 0.78, f"On the practice crops your score reaches an AUC of {area:.2f}; it takes 0.78.")
