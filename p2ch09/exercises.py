"""Chapter 9's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import functools
import itertools

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, grey_opening

from util.exercises import (
    BUG,
    BUILD,
    EXPERIMENT,
    PREDICT,
    Exercise,
    Picture,
    as_tensor,
    case,
    expect,
    predicted,
    same,
)

# ---------------------------------------------------------------- 9.1

tissues = Exercise(
    "9.1",
    title="Grey values",
    difficulty=1,
    minutes=10,
    kind=PREDICT,
    text="""
    Air is -1000 HU, lung about -860, fat -100, water 0, muscle 50, bone 700. A *window* shows its centre as
    mid-grey (0.5), half its width below as black (0), half its width above as white (1), and what lies
    outside as the nearer of the two. How bright is what, and what is left of it? The windows are named by
    centre and width. Exact numbers are wanted, none needs more than five decimals; fractions such as `3 / 8`
    are welcome.
    """,
    stub="""
    brightness = {
        "water in (0, 400)": ...,
        "fat in (0, 400)": ...,
        "muscle in (50, 400)": ...,
        "bone in (50, 400)": ...,
        "air in (-600, 1600)": ...,
        "water in (-600, 1600)": ...,
        "difference of muscle and water in (50, 400)": ...,
        "difference of muscle and water in (-600, 1600)": ...,
    }
    """,
    hints=(
        "Where does the window (0, 400) begin, and where does it end? How far along is fat?",
        "From -200 to 200; fat lies 100 above the start, of 400. The lung window goes from -1400 to 200.",
        "brightness = (HU - (centre - width / 2)) / width, not below 0 and not above 1. A difference of "
        "50 HU is 50 / width, if both lie inside.",
    ),
    why="""
    A wide window shows lung and bone at once, and hides that muscle is not water: 3 % of the scale, less
    than the eye can see. No window shows everything, which is why radiologists switch, and why networks get
    the numbers and not the picture.
    """,
)
_HU = {"air": -1000, "lung": -860, "fat": -100, "water": 0, "muscle": 50, "bone": 700}


def _bright(hu, center, width):
    return min(max((hu - (center - width / 2)) / width, 0.0), 1.0)


@tissues.check
def check_tissues(prediction):
    truth = {}
    for key in tissues.stub_keys:
        words, _, window = key.partition(" in ")
        center, width = (float(v) for v in window.strip("()").split(","))
        if words.startswith("difference"):
            truth[key] = _bright(50, center, width) - _bright(0, center, width)
        else:
            truth[key] = _bright(_HU[words], center, width)
    predicted(prediction, truth)


tissues.solution("""
brightness = {
    "water in (0, 400)": 0.5,
    "fat in (0, 400)": 0.25,
    "muscle in (50, 400)": 0.5,
    "bone in (50, 400)": 1,
    "air in (-600, 1600)": 0.25,
    "water in (-600, 1600)": 0.875,
    "difference of muscle and water in (50, 400)": 50 / 400,
    "difference of muscle and water in (-600, 1600)": 50 / 1600,
}
""")
_BRIGHT = dict(zip(tissues.stub_keys, (0.5, 0.25, 0.5, 1, 0.25, 0.875, 0.125, 0.03125)))
tissues.right({key: np.float32(value) for key, value in _BRIGHT.items()})
tissues.right({key: torch.tensor(value) for key, value in _BRIGHT.items()})
tissues.wrong({**_BRIGHT, tissues.stub_keys[1]: -0.25})
tissues.wrong({**_BRIGHT, tissues.stub_keys[3]: 2.125})
tissues.wrong({**_BRIGHT, tissues.stub_keys[4]: 0})
tissues.wrong({**_BRIGHT, tissues.stub_keys[7]: 0.125})
tissues.wrong({**_BRIGHT, tissues.stub_keys[0]: 0})

# ---------------------------------------------------------------- 9.2

stored = Exercise(
    "9.2",
    title="Bones of air",
    difficulty=2,
    minutes=20,
    kind=BUG,
    text="""
    Scanners store whole numbers in 12 of 16 bits, and say with them how to get Hounsfield units: HU =
    stored · slope + intercept. With this function the lungs of some scans come out denser than bone, and
    others are off by a little. Two things are wrong with it. The answer should be int16, rounded to the
    nearest whole number (halves either way).
    """,
    stub='''
    def to_hu(stored, slope, intercept):
        """stored: uint16 array; slope, intercept: floats from the header. Returns HU as an int16 array."""
        return ((stored - np.uint16(-intercept)) * slope).clip(-1024, 3071).astype(np.int16)
    ''',
    hints=(
        "Put in 24, with the slope 1 and the intercept -1024. What is `24 - 1024` in a type without a sign?",
        "Turn the stored numbers into floats before anything else. And where does the slope belong, "
        "according to the text?",
        "`np.rint(stored.astype(float) * slope + intercept).astype(np.int16)`",
    ),
    why="""
    A uint16 below zero starts again at 65,535, without a word: chapter 3's lesson. The order of slope and
    intercept is the quieter mistake, since the slope of most scanners is 1; and cutting off in place of
    rounding moves everything by half a unit.
    """,
)


@stored.check
def check_stored(answer):
    cases = [((1024,), 1.0, -1024.0), ((24,), 1.0, -1024.0), ((0,), 1.0, -1000.0), ((100,), 2.0, -1024.0)]
    cases += [
        ((1,), 0.8, 0.0),
        ((3,), 0.9, -1.0),
        ((0, 1000, 4095), 1.0, -1024.0),
        ((0, 500, 4095), 0.6, -1000.0),
    ]
    cases.append((tuple(np.random.randint(0, 4096, 6).tolist()), 0.7, -1024.0))
    for values, slope, intercept in cases:
        given = np.array(values, np.uint16)
        exact = np.array(values) * slope + intercept
        with case(stored=given, slope=slope, intercept=intercept):
            got = answer(given.copy(), slope, intercept)
            numbers = as_tensor(got, "the HU").numpy()
            expect(numbers.shape == exact.shape, f"the shape should be {exact.shape}, not {numbers.shape}.")
            off = np.abs(numbers - exact)
            place = int(off.argmax())
            expect(
                off[place] < 0.501,
                f"{values[place]} should become {exact[place]:g} HU; you got {numbers[place]:g}.",
            )
            expect(
                "int16" in str(getattr(got, "dtype", "")), "the values are right; the type should be int16."
            )
    volume = np.random.randint(0, 4096, (2, 3, 4)).astype(np.uint16)
    before = volume.copy()
    with case("a volume of (2, 3, 4) voxels"):
        same(np.asarray(answer(volume, 1.0, -1024.0)).shape, (2, 3, 4), "the shape")
        expect(np.array_equal(volume, before), "your function changed what it was given.")


@stored.solution
def to_hu(stored, slope, intercept):
    return np.rint(stored.astype(float) * slope + intercept).astype(np.int16)


@stored.right
def in_torch(stored, slope, intercept):
    return (
        torch.from_numpy(stored.astype(np.int32)).double().mul(slope).add(intercept).round().to(torch.int16)
    )


@stored.right
def half_added_and_floored(stored, slope, intercept):
    return np.floor(np.float64(slope) * stored + (intercept + 0.5)).astype("int16")


@stored.wrong
def intercept_before_slope(stored, slope, intercept):
    return np.rint((stored.astype(float) + intercept) * slope).astype(np.int16)


@stored.wrong
def cuts_off(stored, slope, intercept):
    return (stored.astype(float) * slope + intercept).astype(np.int16)


@stored.wrong
def without_a_sign(stored, slope, intercept):
    return np.rint(stored * slope + intercept).astype(np.int64).astype(np.uint16)


@stored.wrong
def as_floats(stored, slope, intercept):
    return stored.astype(float) * slope + intercept


@stored.wrong
def always_1024(stored, slope, intercept):
    return (stored.astype(np.int32) - 1024).astype(np.int16)


@stored.wrong
def in_eight_bits(stored, slope, intercept):
    return np.rint(stored.astype(float) * slope + intercept).astype(np.int8).astype(np.int16)


# ---------------------------------------------------------------- 9.3

diluted = Exercise(
    "9.3",
    title="What a thick slice leaves of it",
    difficulty=1,
    minutes=15,
    kind=BUILD,
    text="""
    A flat sheet of tissue of 30 HU, a scar perhaps, lies in lung of -860 HU, parallel to the slices. It is
    `thickness_mm` thick, and its middle lies `offset_mm` above the middle of a slice that is `slice_mm` deep.
    A voxel measures the average of what is in it. How many HU does that slice show in the sheet's place? (The
    sheet may lie partly or wholly outside of the slice.)
    """,
    stub='''
    def seen_hu(thickness_mm, slice_mm, offset_mm):
        """thickness_mm, slice_mm: more than 0; offset_mm: any number. Returns HU."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "The slice reaches from -slice_mm / 2 to slice_mm / 2. From where to where does the sheet reach?",
        "The share of the slice that is sheet is the length of the two intervals' overlap, divided by slice_mm.",
        "overlap = min(upper ends) - max(lower ends), not below 0. HU = -860 + share * (30 + 860).",
    ),
    why="""
    A sheet of 1 mm reads -415 HU in a slice of 2 mm, if it lies inside, and -682 in one of 5 mm: hardly more than
    lung. Small nodules fade in the same way, which is why screening uses thin slices, and why a threshold that
    is right for large nodules misses small ones.
    """,
)


def _seen(thickness, slice_mm, offset):
    top = min(offset + thickness / 2, slice_mm / 2)
    bottom = max(offset - thickness / 2, -slice_mm / 2)
    return -860 + 890 * max(top - bottom, 0) / slice_mm


@diluted.check
def check_diluted(answer):
    cases = [
        (1.0, 1.0, 0.0),
        (1.0, 2.0, 0.0),
        (4.0, 2.0, 0.0),
        (1.0, 2.0, 0.5),
        (1.0, 2.0, 1.0),
        (1.0, 2.0, -1.0),
    ]
    cases += [(1.0, 2.0, 5.0), (1.0, 2.0, -5.0), (4.0, 2.0, 2.0), (4.0, 2.0, -2.5), (0.5, 5.0, 1.0)]
    for _ in range(8):
        cases.append(tuple(np.random.uniform((0.5, 0.5, -4), (6, 5, 4)).round(1).tolist()))
    for thickness, slice_mm, offset in cases:
        with case(thickness_mm=thickness, slice_mm=slice_mm, offset_mm=offset):
            same(answer(thickness, slice_mm, offset), _seen(thickness, slice_mm, offset), "the HU", atol=1.0)


@diluted.solution
def seen_hu(thickness_mm, slice_mm, offset_mm):
    top = min(offset_mm + thickness_mm / 2, slice_mm / 2)
    bottom = max(offset_mm - thickness_mm / 2, -slice_mm / 2)
    share = max(top - bottom, 0) / slice_mm
    return -860 + share * (30 + 860)


@diluted.right
def by_counting_thin_layers(thickness_mm, slice_mm, offset_mm):
    layers = (np.arange(20_000) + 0.5) / 20_000 * slice_mm - slice_mm / 2
    return np.where(abs(layers - offset_mm) < thickness_mm / 2, 30, -860).mean()


@diluted.right
def by_clamping_in_torch(thickness_mm, slice_mm, offset_mm):
    ends = torch.tensor([offset_mm - thickness_mm / 2, offset_mm + thickness_mm / 2])
    share = ends.clamp(-slice_mm / 2, slice_mm / 2).diff().item() / slice_mm
    return 30 * share - 860 * (1 - share)


@diluted.wrong
def as_if_in_the_middle(thickness_mm, slice_mm, offset_mm):
    return _seen(thickness_mm, slice_mm, 0)


@diluted.wrong
def more_than_all(thickness_mm, slice_mm, offset_mm):
    return -860 + 890 * thickness_mm / slice_mm


@diluted.wrong
def less_than_nothing(thickness_mm, slice_mm, offset_mm):
    top = min(offset_mm + thickness_mm / 2, slice_mm / 2)
    return -860 + 890 * (top - max(offset_mm - thickness_mm / 2, -slice_mm / 2)) / slice_mm


@diluted.wrong
def on_one_side_only(thickness_mm, slice_mm, offset_mm):
    overlap = slice_mm / 2 - (abs(offset_mm) - thickness_mm / 2)
    return -860 + 890 * min(max(overlap, 0) / slice_mm, 1)


@diluted.wrong
def all_or_nothing(thickness_mm, slice_mm, offset_mm):
    return 30 if abs(offset_mm) < slice_mm / 2 else -860


@diluted.wrong
def added_to_the_lung(thickness_mm, slice_mm, offset_mm):
    return -860 + 30 * (_seen(thickness_mm, slice_mm, offset_mm) + 860) / 890


@diluted.wrong
def whole_slice_for_half(thickness_mm, slice_mm, offset_mm):
    return _seen(thickness_mm, 2 * slice_mm, offset_mm)


# ---------------------------------------------------------------- 9.4

believed = Exercise(
    "9.4",
    title="Is the alarm right?",
    difficulty=2,
    minutes=15,
    kind=BUILD,
    text="""
    A scan has `candidates` places of which `nodules` are nodules (on average, so 1.3 is fine). A classifier
    recognizes the share `sensitivity` of the nodules, and takes the share `false_alarm_rate` of everything
    else for one. Of the places that it reports, what share are nodules? Before you compute it for 600, 1.3,
    0.95 and 0.05, guess. Where nothing at all is reported, return 0.
    """,
    stub='''
    def precision_of_screening(candidates, nodules, sensitivity, false_alarm_rate):
        """Returns a share, from 0 to 1."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Count first: how many nodules does it report in a scan, and how many other places?",
        "Nodules: 1.3 · 0.95 = 1.2. Others: (600 - 1.3) · 0.05 = 30.",
        "right / (right + false), with `right = nodules * sensitivity` and `false = (candidates - "
        "nodules) * false_alarm_rate`.",
    ),
    why="""
    Four per cent of the alarms are nodules, from a test that is right 95 times in 100 on either kind. Most
    people guess 95. What is rare is mostly found by mistake; chapter 12 builds on this.
    """,
)


@believed.check
def check_believed(answer):
    cases = [
        (2, 1, 1.0, 0.0),
        (2, 1, 0.0, 0.0),
        (2, 1, 1.0, 1.0),
        (2, 1, 0.5, 0.5),
        (4, 1, 1.0, 1.0),
        (10, 0, 0.9, 0.1),
    ]
    cases += [(10, 10, 0.9, 0.1), (600, 1.3, 0.95, 0.05)]
    for _ in range(6):
        n, s, f = np.random.randint(100, 900), *np.random.uniform(0.01, 0.99, 2).round(2)
        cases.append((n, float(np.random.randint(1, 9)), float(s), float(f)))
    for n, k, s, f in cases:
        right, false = k * s, (n - k) * f
        want = right / (right + false) if right + false else 0.0
        with case(candidates=n, nodules=k, sensitivity=s, false_alarm_rate=f):
            same(answer(n, k, s, f), want, "the share")


@believed.solution
def precision_of_screening(candidates, nodules, sensitivity, false_alarm_rate):
    right = nodules * sensitivity
    false = (candidates - nodules) * false_alarm_rate
    return right / (right + false) if right + false else 0.0


@believed.right
def by_bayes(candidates, nodules, sensitivity, false_alarm_rate):
    prior = nodules / candidates
    reported = prior * sensitivity + (1 - prior) * false_alarm_rate
    return torch.tensor(prior * sensitivity / max(reported, 1e-300))


@believed.right
def by_odds(candidates, nodules, sensitivity, false_alarm_rate):
    if nodules * sensitivity == 0:
        return 0
    return 1 / (1 + (candidates - nodules) * false_alarm_rate / (nodules * sensitivity))


@believed.wrong
def the_sensitivity(candidates, nodules, sensitivity, false_alarm_rate):
    return sensitivity


@believed.wrong
def as_if_both_were_equally_likely(candidates, nodules, sensitivity, false_alarm_rate):
    return sensitivity / (sensitivity + false_alarm_rate) if sensitivity + false_alarm_rate else 0


@believed.wrong
def alarms_among_all_candidates(candidates, nodules, sensitivity, false_alarm_rate):
    right = nodules * sensitivity
    return right / (right + candidates * false_alarm_rate) if right else 0.0


@believed.wrong
def divides_by_zero(candidates, nodules, sensitivity, false_alarm_rate):
    right = nodules * sensitivity
    return right / (right + (candidates - nodules) * false_alarm_rate)


@believed.wrong
def for_the_chapters_numbers(candidates, nodules, sensitivity, false_alarm_rate):
    return precision_of_screening(600, 1.3, sensitivity, false_alarm_rate)


# ---------------------------------------------------------------- 9.5

projected = Exercise(
    "9.5",
    title="What the eye overlooks",
    difficulty=2,
    minutes=25,
    kind=BUILD,
    text="""
    Radiologists look at a *maximum intensity projection* of a few slices at a time: each pixel shows the
    highest value among neighbouring slices, so that vessels turn into lines, while nodules stay dots.
    Return for every slice the maximum over it and `reach` slices on either side; at the ends, over those
    that there are.
    """,
    stub='''
    def sliding_mip(hu, reach):
        """hu: (slices, rows, columns); reach: 0 or more. Returns an array of the same shape."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "For one slice: which slices take part? What happens for the first and the last one?",
        "`hu[start:stop].max(axis=0)`. A negative start means something else in Python than you want.",
        "`[hu[max(i - reach, 0) : i + reach + 1].max(axis=0) for i in range(len(hu))]`; an end beyond the "
        "last slice does no harm.",
    ),
    why="""
    A slice `[-1:2]` starts at the *last* element and is empty, so forgetting `max(…, 0)` raises an error at
    best. The maximum over a thick slab makes vessels longer and nodules no larger: what continues is seen
    to continue, which exercise 9.6 can use.
    """,
)


@projected.check
def check_projected(answer):
    for slices in (1, 2, 3, 5, 8):
        for reach in (0, 1, 2, 9):
            hu = np.random.randint(-9, 10, (slices, 1, 2)).astype(np.int16)
            want = [hu[max(i - reach, 0) : i + reach + 1].max(axis=0) for i in range(slices)]
            before = hu.copy()
            with case(hu=hu, reach=reach):
                same(answer(hu, reach), np.stack(want), "the projection")
                expect(np.array_equal(hu, before), "your function changed the scan.")


@projected.solution
def sliding_mip(hu, reach):
    return np.stack([hu[max(i - reach, 0) : i + reach + 1].max(axis=0) for i in range(len(hu))])


@projected.right
def with_scipy(hu, reach):
    from scipy.ndimage import maximum_filter1d

    return maximum_filter1d(hu, 2 * reach + 1, axis=0, mode="nearest")


@projected.right
def with_pooling_in_torch(hu, reach):
    lines = torch.from_numpy(hu.astype(np.float32)).flatten(1).T[:, None]
    pooled = torch.nn.functional.max_pool1d(
        torch.nn.functional.pad(lines, (reach, reach), value=-torch.inf), 2 * reach + 1, stride=1
    )
    return pooled[:, 0].T.reshape(hu.shape)


@projected.wrong
def forgets_the_start(hu, reach):
    return np.stack([hu[i - reach : i + reach + 1].max(axis=0, initial=-32768) for i in range(len(hu))])


@projected.wrong
def one_slice_short(hu, reach):
    return np.stack([hu[max(i - reach, 0) : max(i + reach, i + 1)].max(axis=0) for i in range(len(hu))])


@projected.wrong
def over_all_slices(hu, reach):
    return np.broadcast_to(hu.max(axis=0), hu.shape)


@projected.wrong
def mean_instead(hu, reach):
    return np.stack([hu[max(i - reach, 0) : i + reach + 1].mean(axis=0) for i in range(len(hu))])


@projected.wrong
def air_at_the_ends(hu, reach):
    around = np.pad(hu, [(reach, reach), (0, 0), (0, 0)], constant_values=0)
    return np.stack([around[i : i + 2 * reach + 1].max(axis=0) for i in range(len(hu))])


@projected.wrong
def along_the_rows(hu, reach):
    return sliding_mip(hu.swapaxes(0, 2), reach).swapaxes(0, 2)


# ---------------------------------------------------------------- 9.6

score = Exercise(
    "9.6",
    title="Be the network",
    difficulty=3,
    minutes=60,
    kind=EXPERIMENT,
    seconds=6,
    text="""
    Write a function that takes a crop of 32 × 48 × 48 HU with the candidate in its middle and returns a
    number, the higher the more it looks like a nodule. To pass, nodules must beat other candidates 70 times
    in 100, in *generated* patients whom you have not seen. The check takes only candidates that are as
    bright in the middle as the nodules, so brightness does not help; what about the directions in which
    things continue? `from p2ch09.exercises import practice_crops` gives you `crops, labels` of other
    patients, chosen in the same way, to experiment with.
    """,
    stub='''
    def nodule_score(crop):
        """crop: (32, 48, 48) int16, slices about 1.6 times as far apart as pixels. Returns a number."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "A nodule is dense in the middle and has lung around it on all sides. What has a vessel?",
        "A vessel is dense in the middle and goes on in two opposite directions, some millimetres away; "
        "what sits on the wall is dense on one side.",
        "Smooth a little. Then: mean of the middle, minus the largest, over 13 directions, of the smaller "
        "of the two values 6 to 7 voxels away on opposite sides.",
    ),
    why="""
    One idea about shapes, written down in ten lines, tells apart what is equally bright. It also shows the
    limits of ideas: for each further point of AUC one needs another one, and a network finds them by
    itself. That practice crops and checked crops are of different patients is no detail: a score that is
    tuned to thirty nodules knows those thirty.
    """,
)


@functools.lru_cache(maxsize=2)
def _crops(seeds):
    from p2ch09.phantom import crop_at, make_patient

    crops, labels = [], []
    for seed in seeds:
        patient = make_patient(seed, (96, 224, 224), nodules=12)
        for row in patient.candidates[:160]:
            crops.append(crop_at(patient, row[:3]))
            labels.append(row[3] == 1)
    return _equally_bright(np.stack(crops), np.array(labels))


def _equally_bright(crops, labels, others=3):
    """To each nodule the other candidates that are nearest to it in brightness: brightness is no clue then."""
    bright = crops[:, 15:18, 23:26, 23:26].mean(axis=(1, 2, 3))
    nodules, left, kept = np.flatnonzero(labels), list(np.flatnonzero(~labels)), []
    for _ in range(others):
        for nodule in nodules:
            kept.append(min(left, key=lambda other, nodule=nodule: abs(bright[other] - bright[nodule])))
            left.remove(kept[-1])
    chosen = np.concatenate([nodules, kept])
    return crops[chosen], labels[chosen]


def practice_crops():
    """(crops, labels): (n, 32, 48, 48) int16 around candidates of two generated patients, bool (n,).

    For each nodule there are three other candidates that are about as bright in the middle.
    """
    crops, labels = _crops((901, 902))
    return crops.copy(), labels.copy()


@score.check
def check_score(answer):
    from p2ch09.calibration import auc

    crops, labels = _crops((911, 912, 913))
    scores = []
    for number, crop in enumerate(crops):
        with case(f"crop {number}"):
            one = as_tensor(answer(crop.copy()), "the score")
            expect(one.numel() == 1, "one number per crop is wanted.")
            expect(torch.isfinite(one).all(), "every score must be a finite number.")
            scores.append(float(one))
    scores = np.array(scores)
    area = auc(scores, labels)
    nodules, others = np.flatnonzero(labels), np.flatnonzero(~labels)
    low, high = nodules[scores[nodules].argmin()], others[scores[others].argmax()]
    picture = Picture(
        crops[high][16].clip(-1000, 400),
        crops[nodules[scores[nodules].argmax()]][16].clip(-1000, 400),
        crops[low][16].clip(-1000, 400),
        titles=("no nodule, highest score", "nodule, highest score", "nodule, lowest score"),
        compare=False,
    )
    expect(area > 0.5, f"Your score is higher for other things than for nodules (AUC {area:.2f}).", picture)
    expect(
        area >= LEAST,
        f"On new patients your score reaches an AUC of {area:.2f}; it takes {LEAST:.2f}.",
        picture,
    )


LEAST = 0.70
DIRECTIONS = [d for d in itertools.product((-1, 0, 1), repeat=3) if d > (0, 0, 0)]


@score.solution
def nodule_score(crop):
    hu = gaussian_filter(np.clip(crop.astype(float), -1000, 100), (0.6, 1, 1))
    step = np.array([1.6, 1, 1])  # slices lie about that much farther apart than pixels
    z, y, x = np.ogrid[-16:16, -24:24, -24:24]
    middle = hu[(step[0] * z) ** 2 + y**2 + x**2 <= 4].mean()
    both_ends = []
    for direction in itertools.product((-1, 0, 1), repeat=3):
        if direction > (0, 0, 0):  # one of each pair of opposite directions
            way = 6.8 * np.array(direction) / np.linalg.norm(direction) / step
            here, there = (hu[tuple(np.rint([16, 24, 24] + s * way).astype(int))] for s in (1, -1))
            both_ends.append(min(here, there))
    return middle - max(both_ends)


@score.right
def in_other_units(crop):
    return torch.sigmoid(torch.tensor(nodule_score(crop) / 300))


@score.right
def at_two_distances(crop):
    hu = gaussian_filter(np.clip(crop.astype(float), -1000, 100), (0.6, 1, 1))
    z, y, x = np.ogrid[-16:16, -24:24, -24:24]
    middle = hu[(1.6 * z) ** 2 + y**2 + x**2 <= 4].mean()
    worst = []
    for length in (6.0, 7.5):
        ends = []
        for direction in DIRECTIONS:
            way = length * np.array(direction) / np.linalg.norm(direction) / np.array([1.6, 1, 1])
            ends.append(min(hu[tuple(np.rint([16, 24, 24] + s * way).astype(int))] for s in (1, -1)))
        worst.append(max(ends))
    return [middle - sum(worst) / 2]


@score.right
def that_writes_into_its_crop(crop):
    np.clip(crop, -1000, 400, out=crop)
    return nodule_score(crop)


@score.wrong
def brightness_of_the_middle(crop):
    return float(crop[16, 24, 24])


@score.wrong
def best_brightness_on_the_practice_crops(crop):
    """The one threshold that separates the practice crops best."""
    return float((crop[14:19, 22:27, 22:27] > -350).mean())


@score.wrong
def how_much_is_dense(crop):
    return float(np.mean(crop > -400))


@score.wrong
def constant(crop):
    return 0.0


@score.wrong
def upside_down(crop):
    return -nodule_score(crop)


@score.wrong
def brightness_against_the_surroundings(crop):
    return float(crop[15:18, 23:26, 23:26].mean() - crop.mean())


@score.wrong
def small_bright_things(crop):
    middle = crop[10:22, 16:32, 16:32].astype(float)
    return float((middle - grey_opening(middle, (5, 7, 7)))[6, 8, 8])
