"""Chapter 10's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import hashlib
import zlib

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from p2ch10.dsets import is_held_out
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
    shown,
)
from util.util import irc2xyz, xyz2irc

# ---------------------------------------------------------------- 10.1

places = Exercise(
    "10.1",
    title="Where is this voxel?",
    difficulty=1,
    minutes=15,
    kind=PREDICT,
    text="""
    A scan of 4 slices, 5 rows, 6 columns: `hu_a.shape` is (4, 5, 6), its first voxel lies at (100, 200,
    300) mm, and `vxSize_xyz` is (0.5, 1, 2). `upright` stands for origin, voxel size, and a direction
    without rotation; `flipped` is the same with x and y pointing the other way, as in many files. Predict
    the tuples.
    """,
    stub="""
    gives = {
        "irc2xyz((0, 0, 0), *upright)": ...,
        "irc2xyz((1, 0, 0), *upright)": ...,
        "irc2xyz((0, 0, 3), *upright)": ...,
        "xyz2irc((101, 202, 304), *upright)": ...,
        "xyz2irc((101.4, 200, 300), *upright)": ...,
        "irc2xyz((0, 1, 0), *flipped)": ...,
        "xyz2irc((99, 199, 302), *flipped)": ...,
        "irc2xyz((3, 4, 5), *upright)": ...,
    }
    """,
    hints=(
        "Which of x, y, z goes with index, which with row, which with column? And which one has 2 mm?",
        "Index goes with z, row with y, column with x: the order turns around. One slice up is 2 mm in z.",
        "101.4 mm is 1.4 mm from the origin, which is 2.8 columns, so the nearest is column 3. In the "
        "flipped scan one row on is 1 mm *less* in y.",
    ),
    why="""
    Arrays count slices first, patients are measured x first; half of all mistakes with scans are this turn,
    the other half a direction that somebody took for granted. The last voxel is at (102.5, 204, 306).
    """,
)
_ORIGIN, _SIZE = (100, 200, 300), (0.5, 1, 2)
_UPRIGHT = (_ORIGIN, _SIZE, np.eye(3))
_FLIPPED = (_ORIGIN, _SIZE, np.diag([-1, -1, 1]))


@places.check
def check_places(prediction):
    names = {"irc2xyz": irc2xyz, "xyz2irc": xyz2irc, "upright": _UPRIGHT, "flipped": _FLIPPED}
    predicted(prediction, {key: tuple(eval(key, names)) for key in places.stub_keys})


places.solution("""
gives = {
    "irc2xyz((0, 0, 0), *upright)": (100, 200, 300),
    "irc2xyz((1, 0, 0), *upright)": (100, 200, 302),
    "irc2xyz((0, 0, 3), *upright)": (101.5, 200, 300),
    "xyz2irc((101, 202, 304), *upright)": (2, 2, 2),
    "xyz2irc((101.4, 200, 300), *upright)": (0, 0, 3),
    "irc2xyz((0, 1, 0), *flipped)": (100, 199, 300),
    "xyz2irc((99, 199, 302), *flipped)": (1, 1, 2),
    "irc2xyz((3, 4, 5), *upright)": (102.5, 204, 306),
}
""")
_PLACES = dict(
    zip(
        places.stub_keys,
        (
            *((100, 200, 300), (100, 200, 302), (101.5, 200, 300), (2, 2, 2)),
            *((0, 0, 3), (100, 199, 300), (1, 1, 2), (102.5, 204, 306)),
        ),
    )
)
places.right({key: list(value) for key, value in _PLACES.items()})
places.right({key: np.array(value) for key, value in _PLACES.items()})
places.wrong({**_PLACES, places.stub_keys[1]: (102, 200, 300)})
places.wrong({**_PLACES, places.stub_keys[2]: (100, 200, 306)})
places.wrong({**_PLACES, places.stub_keys[4]: (0, 0, 2)})
places.wrong({**_PLACES, places.stub_keys[5]: (100, 201, 300)})
places.wrong({**_PLACES, places.stub_keys[6]: (2, 1, 1)})

# ---------------------------------------------------------------- 10.2

window = Exercise(
    "10.2",
    title="The crop that comes out small",
    difficulty=2,
    minutes=15,
    kind=BUG,
    text="""
    `crop` cuts a window of `width_irc` voxels around a centre. In the middle of the scan all is well; near
    an edge the crop comes out too small, and a batch of such crops cannot be stacked. A window that would
    stick out should be shifted inside, as far as needed and no farther, so that every crop has its full
    size. Widths may be odd: the window begins `width // 2` before its centre.
    """,
    stub='''
    def crop(hu_a, center_irc, width_irc):
        """hu_a: (I, R, C), not smaller than width_irc. Returns an array of the shape width_irc."""
        slices = []
        for center, width, size in zip(center_irc, width_irc, hu_a.shape):
            start = max(center - width // 2, 0)
            end = min(start + width, size)
            slices.append(slice(start, end))
        return hu_a[tuple(slices)]
    ''',
    hints=(
        "Try a scan of 5 voxels and a window of 3, around each of the centres 0 to 4. Where is it too small?",
        "At the start, the window is shifted as it should be. At the far end, it is only cut off.",
        "The start must not lie beyond `size - width`: clip it between 0 and that, then the end is `start "
        "+ width`.",
    ),
    why="""
    One number decides: the start, clipped to [0, size - width]. Cutting both ends separately is how windows
    get lost. Shifting keeps real voxels in the crop, at the price that the nodule is not in its middle;
    padding would put air there that nobody scanned.
    """,
)


def _window_start(center, width, size):
    return min(max(center - width // 2, 0), size - width)


@window.check
def check_window(answer):
    def holds(shape, center, width):
        hu_a = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
        starts = [_window_start(*numbers) for numbers in zip(center, width, shape)]
        want = hu_a[tuple(slice(start, start + w) for start, w in zip(starts, width))]
        before = hu_a.copy()
        with case(f"a scan of {shape} voxels", center_irc=center, width_irc=width):
            got = as_tensor(answer(hu_a, center, width), "the crop")
            expect(
                tuple(got.shape) == width,
                f"the crop should have the shape {width}; it has {tuple(got.shape)}.",
                Picture(hu_a, want, got),
            )
            same(got, want, "the crop")
            expect(np.array_equal(hu_a, before), "your function changed the scan.")

    for size in range(1, 7):
        for width in range(1, size + 1):
            for center in range(size):
                holds((1, 1, size), (0, 0, center), (1, 1, width))
                holds((size, 1, 1), (center, 0, 0), (width, 1, 1))
    for center in ((0, 0, 0), (3, 4, 5), (0, 4, 0), (2, 2, 2)):
        holds((4, 5, 6), center, (2, 4, 3))
        holds((4, 5, 6), center, (4, 5, 6))


@window.solution
def crop(hu_a, center_irc, width_irc):
    slices = []
    for center, width, size in zip(center_irc, width_irc, hu_a.shape):
        start = min(max(center - width // 2, 0), size - width)
        slices.append(slice(start, start + width))
    return hu_a[tuple(slices)]


@window.right
def in_torch_with_narrow(hu_a, center_irc, width_irc):
    part = torch.from_numpy(hu_a)
    for axis in range(3):
        start = center_irc[axis] - width_irc[axis] // 2
        start = torch.tensor(start).clamp(0, hu_a.shape[axis] - width_irc[axis])
        part = part.narrow(axis, int(start), width_irc[axis])
    return part


@window.right
def step_by_step(hu_a, center_irc, width_irc):
    ends = []
    for center, width, size in zip(center_irc, width_irc, hu_a.shape):
        start = center - width // 2
        end = start + width
        if start < 0:
            start, end = 0, width
        if end > size:
            start, end = size - width, size
        ends.append((start, end))
    (a, b), (c, d), (e, f) = ends
    return hu_a[a:b, c:d, e:f].copy()


@window.wrong
def not_shifted_at_the_start(hu_a, center_irc, width_irc):
    starts = [min(c - w // 2, s - w) for c, w, s in zip(center_irc, width_irc, hu_a.shape)]
    return hu_a[tuple(slice(max(start, 0), start + w) for start, w in zip(starts, width_irc))]


@window.wrong
def padded(hu_a, center_irc, width_irc):
    around = np.pad(hu_a, [(w, w) for w in width_irc], constant_values=-1000)
    starts = [c - w // 2 + w for c, w in zip(center_irc, width_irc)]
    return around[tuple(slice(start, start + w) for start, w in zip(starts, width_irc))]


@window.wrong
def always_the_first_voxels(hu_a, center_irc, width_irc):
    return hu_a[: width_irc[0], : width_irc[1], : width_irc[2]]


@window.wrong
def one_voxel_off_for_odd_widths(hu_a, center_irc, width_irc):
    starts = [_window_start(c + w % 2, w, s) for c, w, s in zip(center_irc, width_irc, hu_a.shape)]
    return hu_a[tuple(slice(start, start + w) for start, w in zip(starts, width_irc))]


@window.wrong
def with_the_crop_of_the_chapter(hu_a, center_irc, width_irc):
    return crop(hu_a, center_irc, [min(s, w) for s, w in zip(hu_a.shape, (32, 48, 48))])


# ---------------------------------------------------------------- 10.3

oblique = Exercise(
    "10.3",
    title="Half a voxel off",
    difficulty=2,
    minutes=20,
    kind=BUG,
    text="""
    `voxel_of` finds the voxel nearest to a place in the patient. Going there and back does not always end
    where it began: some voxels come back as a neighbour, and in tilted scans as something else altogether.
    Two things are wrong.
    """,
    stub='''
    def voxel_of(center_xyz, origin_xyz, vxSize_xyz, direction_a):
        """All in mm; direction_a: (3, 3), a rotation. Returns (index, row, column) as whole numbers."""
        offset = np.array(center_xyz) - np.array(origin_xyz)
        column, row, index = direction_a @ offset / np.array(vxSize_xyz)
        return int(index), int(row), int(column)
    ''',
    hints=(
        "First an upright scan: what does `int(2.9999999)` give?",
        "`int` cuts off; the nearest voxel is asked for. Then the tilt: `irc2xyz` multiplies by the "
        "direction. What takes that back?",
        "`np.linalg.inv(direction_a) @ offset` (for a rotation, its transpose), divide by the voxel size, "
        "and `round`.",
    ),
    why="""
    Cutting off is off by up to a whole voxel, and always to the same side. Rotating twice in place of back
    stays unseen while all scans are upright: the matrix that is its own inverse is the only one that such
    tests try.
    """,
)


@oblique.check
def check_oblique(answer):
    rotations = {
        "an upright scan": np.eye(3),
        "a scan with x and y flipped": np.diag([-1.0, -1.0, 1.0]),
        "a scan tilted by 30 degrees": Rotation.from_euler("x", 30, degrees=True).as_matrix(),
        "a scan turned any way": Rotation.from_euler("xyz", [20, -50, 110], degrees=True).as_matrix(),
    }
    for words, direction in rotations.items():
        for origin, size in (((0, 0, 0), (1, 1, 1)), ((-100, 50, 7), (0.7, 0.7, 2.5))):
            for index in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 2, 3), (9, 7, 30), (57, 200, 131)):
                for shift in (0.0, -0.4, 0.4):
                    voxel = np.array(index) + shift
                    place = np.array(irc2xyz(voxel, origin, size, direction))
                    given = tuple(round(float(c), 3) for c in place)
                    with case(words, center_xyz=given, origin_xyz=origin, vxSize_xyz=size):
                        got = as_tensor(answer(place, origin, size, direction))
                        same(got, index, "(index, row, column)", atol=1e-6, rtol=0)


@oblique.solution
def voxel_of(center_xyz, origin_xyz, vxSize_xyz, direction_a):
    offset = np.array(center_xyz) - np.array(origin_xyz)
    column, row, index = np.linalg.inv(direction_a) @ offset / np.array(vxSize_xyz)
    return round(index), round(row), round(column)


@oblique.right
def with_solve(center_xyz, origin_xyz, vxSize_xyz, direction_a):
    scaled = np.asarray(direction_a) * np.asarray(vxSize_xyz)
    return np.rint(np.linalg.solve(scaled, np.subtract(center_xyz, origin_xyz)))[::-1].astype(int)


@oblique.right
def with_the_transpose_in_torch(center_xyz, origin_xyz, vxSize_xyz, direction_a):
    offset = torch.as_tensor(np.asarray(center_xyz, float)) - torch.tensor(origin_xyz)
    cri = torch.as_tensor(direction_a).T @ offset / torch.tensor(vxSize_xyz)
    return cri.round().int().flip(0)


@oblique.wrong
def rounds_but_rotates_on(center_xyz, origin_xyz, vxSize_xyz, direction_a):
    cri = direction_a @ np.subtract(center_xyz, origin_xyz) / np.array(vxSize_xyz)
    return tuple(np.rint(cri)[::-1])


@oblique.wrong
def truncates(center_xyz, origin_xyz, vxSize_xyz, direction_a):
    cri = np.linalg.inv(direction_a) @ np.subtract(center_xyz, origin_xyz) / np.array(vxSize_xyz)
    return tuple(int(v) for v in cri[::-1])


@oblique.wrong
def divides_before_it_rotates(center_xyz, origin_xyz, vxSize_xyz, direction_a):
    cri = np.linalg.inv(direction_a) @ (np.subtract(center_xyz, origin_xyz) / np.array(vxSize_xyz))
    return tuple(np.rint(cri)[::-1])


@oblique.wrong
def column_first(center_xyz, origin_xyz, vxSize_xyz, direction_a):
    return voxel_of(center_xyz, origin_xyz, vxSize_xyz, direction_a)[::-1]


@oblique.wrong
def ignores_the_direction(center_xyz, origin_xyz, vxSize_xyz, direction_a):
    return voxel_of(center_xyz, origin_xyz, vxSize_xyz, np.eye(3))


# ---------------------------------------------------------------- 10.4

joined = Exercise(
    "10.4",
    title="The same nodule?",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    Join by hand. `annotations` is a list of `(center_xyz, diameter_mm)`. A candidate belongs to an
    annotation if it is nearer to its centre than a quarter of its diameter. Return the place in the list of
    the one that the candidate belongs to, the nearest if there are several, or `None`.
    """,
    stub='''
    def same_nodule(candidate_xyz, annotations):
        """Returns a place in annotations, or None."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Each annotation has a reach of its own. In what order do you ask: who is nearest, who is in reach?",
        "A small nodule may be nearest and out of reach, while the candidate lies inside a large one. "
        "First reach, then distance.",
        "Collect `(distance, place)` for every annotation with `distance < diameter_mm / 4`, the distance "
        "in three dimensions; return the place of the smallest, if there is any.",
    ),
    why="""
    Taking the nearest first and asking for its reach afterwards loses candidates beside small nodules. A
    rule for joins is three decisions: which distance, which reach, and what to do with several. Write down
    all three.
    """,
)


@joined.check
def check_joined(answer):
    origin = (0.0, 0.0, 0.0)
    near, far = ((0.0, 0.0, 0.0), 8.0), ((10.0, 0.0, 0.0), 20.0)
    two = [((0.0, 0.0, 0.0), 20.0), ((3.0, 0.0, 0.0), 20.0)]
    small_and_large = [((2.0, 0.0, 0.0), 4.0), ((4.0, 0.0, 0.0), 20.0)]
    cases = [
        (origin, [], None),
        (origin, [near], 0),
        ((1.5, 1.5, 1.5), [near], None),
        ((1.9, 0.0, 0.0), [near], 0),
        ((2.1, 0.0, 0.0), [near], None),
        ((0.0, 0.0, -1.9), [near], 0),
        ((10.0, 4.0, 0.0), [near, far], 1),
        ((10.0, 4.0, 0.0), [far, near], 0),
        ((2.9, 0.0, 0.0), two, 1),
        ((0.1, 0.0, 0.0), two, 0),
        ((0.5, 0.0, 0.0), small_and_large, 1),
        ((0.5, 0.0, 0.0), small_and_large[::-1], 0),
    ]
    for _ in range(20):
        some = [
            (tuple(np.random.randint(-4, 5, 3).tolist()), float(np.random.randint(4, 21))) for _ in range(4)
        ]
        place = tuple(np.random.randint(-4, 5, 3).tolist())
        away = [np.linalg.norm(np.subtract(place, center)) for center, _ in some]
        reach = [(d, n) for n, d in enumerate(away) if d < some[n][1] / 4]
        if len({d for d, _ in reach}) == len(reach) and all(d != s[1] / 4 for d, s in zip(away, some)):
            cases.append((place, some, min(reach)[1] if reach else None))
    for place, annotations, want in cases:
        with case(candidate_xyz=place, annotations=annotations):
            got = answer(place, list(annotations))
            number = None if got is None else as_tensor(got, "the place in the list, or None,")
            expect(number is None or number.ndim == 0, "one place in the list is wanted, or None.")
            right = number is None if want is None else number is not None and float(number) == want
            expect(right, f"the answer should be {want}; you got {shown(got)}.")


@joined.solution
def same_nodule(candidate_xyz, annotations):
    within = []
    for place, (center_xyz, diameter_mm) in enumerate(annotations):
        distance = np.linalg.norm(np.subtract(candidate_xyz, center_xyz))
        if distance < diameter_mm / 4:
            within.append((distance, place))
    return min(within)[1] if within else None


@joined.right
def in_numpy_without_a_loop(candidate_xyz, annotations):
    if not annotations:
        return None
    centers = np.array([center for center, _ in annotations])
    diameters = np.array([diameter for _, diameter in annotations])
    distance = np.sqrt(((centers - np.array(candidate_xyz)) ** 2).sum(1))
    distance[distance >= diameters / 4] = np.inf
    return distance.argmin() if np.isfinite(distance).any() else None


@joined.right
def keeps_the_best_so_far(candidate_xyz, annotations):
    best, nearest = None, float("inf")
    for place, (center, diameter) in enumerate(annotations):
        squared = sum((a - b) ** 2 for a, b in zip(candidate_xyz, center))
        if squared < (diameter / 4) ** 2 and squared < nearest:
            best, nearest = place, squared
    return best


def _distances(candidate_xyz, annotations):
    return [np.linalg.norm(np.subtract(candidate_xyz, center)) for center, _ in annotations]


@joined.wrong
def the_annotation_itself(candidate_xyz, annotations):
    place = same_nodule(candidate_xyz, annotations)
    return None if place is None else annotations[place]


@joined.wrong
def minus_one_for_none(candidate_xyz, annotations):
    place = same_nodule(candidate_xyz, annotations)
    return -1 if place is None else place


@joined.wrong
def nearest_first(candidate_xyz, annotations):
    away = _distances(candidate_xyz, annotations)
    if not away:
        return None
    place = int(np.argmin(away))
    return place if away[place] < annotations[place][1] / 4 else None


@joined.wrong
def first_in_reach(candidate_xyz, annotations):
    away = _distances(candidate_xyz, annotations)
    return next((n for n, d in enumerate(away) if d < annotations[n][1] / 4), None)


@joined.wrong
def half_a_diameter(candidate_xyz, annotations):
    return same_nodule(candidate_xyz, [(center, 2 * diameter) for center, diameter in annotations])


@joined.wrong
def axis_by_axis(candidate_xyz, annotations):
    for place, (center, diameter) in enumerate(annotations):
        if all(abs(a - b) < diameter / 4 for a, b in zip(candidate_xyz, center)):
            return place
    return None


@joined.wrong
def in_the_slice_only(candidate_xyz, annotations):
    flat = [((*center[:2], 0.0), diameter) for center, diameter in annotations]
    return same_nodule((*candidate_xyz[:2], 0.0), flat)


@joined.wrong
def a_fixed_reach(candidate_xyz, annotations):
    return same_nodule(candidate_xyz, [(center, 8.0) for center, _ in annotations])


# ---------------------------------------------------------------- 10.5

stable = Exercise(
    "10.5",
    title="A split that stays",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    Hold out about `share` of the scans for validation (0.5, 0.2 or 0.1). Next month more scans arrive, and
    others are lost: no scan may ever change sides, in whatever order and company it comes, and whatever
    process asks.
    """,
    stub='''
    def split(series_uids, share):
        """series_uids: list of strings. Returns those that are held out."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Which scans may the decision about one scan depend on?",
        "On that one alone. Its name is all there is; turn it into a number that looks random and is "
        "always the same.",
        "Python's own `hash` of a string changes from process to process; `hashlib.sha256(uid.encode())` "
        "does not. Take it modulo a number, or as a fraction.",
    ),
    why="""
    A decision that looks at one scan alone cannot be changed by others. With shuffled lists and a seed, one
    scan more moves all that follow, and what was trained on last month is validated on today.
    """,
)


@stable.check
def check_stable(answer):
    def held(uids, share):
        got = answer(list(uids), share)
        expect(got is not None, "the answer is None. Is a `return` missing?")
        expect(np.ndim(got) == 1 or isinstance(got, set | frozenset), "return a list of UIDs.")
        got = [str(uid) for uid in got]
        expect(set(got) <= {str(uid) for uid in uids}, "the answer should be some of the UIDs that came in.")
        return set(got)

    uids = [f"2.25.{n}" for n in np.random.randint(10**9, 10**12, 3000)]
    for share in (0.5, 0.2, 0.1):
        with case(f"3,000 scans, share = {share}"):
            all_held = held(uids, share)
            part = len(all_held) / len(uids)
            expect(abs(part - share) < 0.3 * share, f"{part:.1%} of them are held out.")
            expect(held(uids, share) == all_held, "a second call holds out others.")
        with case(f"share = {share}"):
            alone = [uid for uid in uids[:200] if bool(held([uid], share)) != (uid in all_held)]
            expect(
                not alone, f"a scan that is alone is on another side than among 3,000 ({len(alone)} of 200)."
            )
            expect(held(uids[::-1], share) == all_held, "the order of the scans matters.")
            for some in (uids[:700], uids[1::2], sorted(all_held)):
                expect(held(some, share) == all_held & set(some), "scans change sides when others leave.")
        with case(f"3,000 scans of one machine, whose UIDs count up, share = {share}"):
            counted = [f"1.2.840.{1000 + n}" for n in range(3000)]
            part = len(held(counted, share)) / 3000
            expect(abs(part - share) < 0.3 * share, f"{part:.1%} of them are held out.")
    with case("the same scans in two processes, between which Python's own hash differs"):
        one, other = (held([_InAnotherProcess(uid, salt) for uid in uids[:500]], 0.5) for salt in "ab")
        expect(one == other, "they are split differently.")


class _InAnotherProcess(str):
    """A string whose hash depends on a salt, as those of strings do on the process."""

    def __new__(cls, text, salt):
        self = super().__new__(cls, text)
        self.salt = salt
        return self

    def __hash__(self):
        return hash(self.salt + str(self))


@stable.solution
def split(series_uids, share):
    def fraction(uid):
        return int(hashlib.sha256(uid.encode()).hexdigest()[:12], 16) / 16**12

    return [uid for uid in series_uids if fraction(uid) < share]


@stable.right
def as_in_the_chapter(series_uids, share):
    return {uid for uid in series_uids if is_held_out(uid, round(1 / share))}


@stable.right
def with_a_checksum(series_uids, share):
    return np.array([uid for uid in series_uids if zlib.crc32(uid.encode()) < share * 2**32])


@stable.wrong
def every_fifth_in_the_list(series_uids, share):
    return series_uids[:: round(1 / share)]


@stable.wrong
def every_fifth_when_sorted(series_uids, share):
    return sorted(series_uids)[:: round(1 / share)]


@stable.wrong
def shuffled_with_a_seed(series_uids, share):
    order = np.random.default_rng(0).permutation(len(series_uids))
    return [series_uids[n] for n in order[: round(share * len(series_uids))]]


@stable.wrong
def with_pythons_hash(series_uids, share):
    return [uid for uid in series_uids if hash(uid) % 1000 < 1000 * share]


@stable.wrong
def by_the_last_digit(series_uids, share):
    return [uid for uid in series_uids if uid[-1] == "0"]


@stable.wrong
def drawn_anew_for_each(series_uids, share):
    return [uid for uid in series_uids if np.random.rand() < share]


# ---------------------------------------------------------------- 10.6

counted = Exercise(
    "10.6",
    title="How wrong is a counted volume?",
    difficulty=2,
    minutes=30,
    kind=EXPERIMENT,
    seconds=2,
    text="""
    Radiologists watch whether a nodule grows, by its volume. Suppose one counts the voxels whose centre
    lies inside a perfect ball, times the volume of a voxel. How far off is that, only because the ball may
    lie anywhere between the voxels? Measure it: put the ball at many random places, and return the root of
    the mean squared *relative* error of the volume. The check does the same, and allows 15 %, so take a
    thousand places or so.
    """,
    stub='''
    def volume_error(diameter_mm, vxSize_xyz):
        """Returns the root mean squared error of the counted volume, relative to the true one."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "A small grid of voxel centres is enough. Rather than moving the grid, move the ball's centre by "
        "up to one voxel in each direction.",
        "For one place: distances of all voxel centres to the ball's centre, how many are below the "
        "radius, times the volume of a voxel, divided by π/6 · d³, minus 1.",
        "Centres along one axis: `np.arange(-n, n + 1) * size + shift`, with a shift that is drawn from 0 "
        "to `size`. Average the squares over a thousand draws, then the root.",
    ),
    why="""
    A ball of 6 mm is off by 3 % in voxels of 0.7 × 0.7 × 2.5 mm, and by 11 % in cubes of 2 mm: two scans of
    the same day would seem to show growth. And this is the best case, a ball without noise whose border is
    known.
    """,
)


def _volume_error(diameter, size, count):
    size, radius = np.array(size, float), diameter / 2
    reach = np.ceil(radius / size).astype(int) + 1
    squared = []
    for _ in range(count):
        shift = np.random.rand(3) * size
        axes = [(np.arange(-n, n + 1) * s + d) ** 2 for n, s, d in zip(reach, size, shift)]
        inside = axes[0][:, None, None] + axes[1][:, None] + axes[2] < radius**2
        squared.append((inside.sum() * size.prod() / (np.pi / 6 * diameter**3) - 1) ** 2)
    return float(np.sqrt(np.mean(squared)))


@counted.check
def check_counted(answer):
    for diameter, size in (
        (6.0, (2.0, 2.0, 2.0)),
        (4.0, (1.0, 1.0, 1.0)),
        (6.0, (0.7, 0.7, 2.5)),
        (8.0, (1.0, 3.0, 1.0)),
    ):
        want = _volume_error(diameter, size, 4000)
        with case(diameter_mm=diameter, vxSize_xyz=size):
            got = as_tensor(answer(diameter, size))
            expect(got.ndim == 0, "one number is wanted.")
            off = abs(float(got) / want - 1)
            expect(off < 0.15, f"the error is about {want:.3f}; you got {float(got):.3f}.")


@counted.solution
def volume_error(diameter_mm, vxSize_xyz):
    size, radius = np.array(vxSize_xyz), diameter_mm / 2
    volume, squares = np.pi / 6 * diameter_mm**3, []
    reach = np.ceil(radius / size).astype(int) + 1
    for _ in range(1500):
        shift = np.random.rand(3) * size
        x, y, z = (np.arange(-n, n + 1) * s + d for n, s, d in zip(reach, size, shift))
        inside = x[:, None, None] ** 2 + y[:, None] ** 2 + z**2 < radius**2
        squares.append((inside.sum() * size.prod() / volume - 1) ** 2)
    return np.sqrt(np.mean(squares))


@counted.right
def all_places_at_once_in_torch(diameter_mm, vxSize_xyz):
    size = torch.tensor(vxSize_xyz, dtype=torch.float64)
    reach = int((diameter_mm / 2 / size.min()).ceil()) + 1
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis, axis) * size
    errors = []
    for _ in range(12):
        shift = torch.rand(100, 1, 3, dtype=torch.float64) * size
        count = (((grid + shift) ** 2).sum(-1) < (diameter_mm / 2) ** 2).sum(1)
        errors.append(count * size.prod() / (torch.pi / 6 * diameter_mm**3) - 1)
    return torch.cat(errors).square().mean().sqrt()


@counted.right
def on_a_regular_lattice_of_places(diameter_mm, vxSize_xyz):
    size = np.array(vxSize_xyz)
    reach = np.ceil(diameter_mm / 2 / size).astype(int) + 1
    shifts = (np.arange(11) + 0.5) / 11
    square = [[(np.arange(-n, n + 1) * s + d * s) ** 2 for d in shifts] for n, s in zip(reach, size)]
    errors = [
        (x[:, None, None] + y[:, None] + z < diameter_mm**2 / 4).sum()
        * size.prod()
        / (np.pi / 6 * diameter_mm**3)
        - 1
        for x in square[0]
        for y in square[1]
        for z in square[2]
    ]
    return np.std(errors)


@counted.wrong
def in_the_middle_of_a_voxel_only(diameter_mm, vxSize_xyz):
    size = np.array(vxSize_xyz)
    reach = np.ceil(diameter_mm / 2 / size).astype(int) + 1
    x, y, z = ((np.arange(-n, n + 1) * s) ** 2 for n, s in zip(reach, size))
    count = (x[:, None, None] + y[:, None] + z < diameter_mm**2 / 4).sum()
    return abs(count * size.prod() / (np.pi / 6 * diameter_mm**3) - 1)


@counted.wrong
def squared(diameter_mm, vxSize_xyz):
    return _volume_error(diameter_mm, vxSize_xyz, 1000) ** 2


@counted.wrong
def mean_of_the_absolute_errors(diameter_mm, vxSize_xyz):
    size, radius = np.array(vxSize_xyz), diameter_mm / 2
    reach, off = np.ceil(radius / size).astype(int) + 1, []
    for _ in range(1500):
        axes = [(np.arange(-n, n + 1) * s + np.random.rand() * s) ** 2 for n, s in zip(reach, size)]
        inside = axes[0][:, None, None] + axes[1][:, None] + axes[2] < radius**2
        off.append(abs(inside.sum() * size.prod() / (np.pi / 6 * diameter_mm**3) - 1))
    return np.mean(off)


@counted.wrong
def in_cubic_millimetres(diameter_mm, vxSize_xyz):
    return _volume_error(diameter_mm, vxSize_xyz, 1000) * np.pi / 6 * diameter_mm**3


@counted.wrong
def diameter_for_radius(diameter_mm, vxSize_xyz):
    return _volume_error(2 * diameter_mm, vxSize_xyz, 500)


@counted.wrong
def pixels_only(diameter_mm, vxSize_xyz):
    return _volume_error(diameter_mm, [vxSize_xyz[0]] * 3, 1000)


@counted.wrong
def a_tenth(diameter_mm, vxSize_xyz):
    return 0.1


# ---------------------------------------------------------------- 10.7

part = Exercise(
    "10.7",
    title="The geometry of a part",
    difficulty=3,
    minutes=30,
    kind=BUILD,
    text="""
    Someone keeps only a part of a scan, and only every so many voxels: `hu_a[i0::step_i, r0::step_r,
    c0::step_c]`. What are the part's origin, voxel size and direction, so that every voxel that is left
    lies where it was in the patient? Scans may be tilted. A step may be negative: then the slices run the
    other way, from `i0` down.
    """,
    stub='''
    def geometry_of_part(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc):
        """direction_a: (3, 3), columns x, y, z. Returns (origin_xyz, vxSize_xyz, direction_a) of the part."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Where in the patient does the part's first voxel lie? That is its origin. And how far is it to "
        "the next one?",
        "The origin is `irc2xyz` of the start. Voxel sizes grow by the steps, in the order x, y, z. Sizes "
        "are never negative, so where does the sign of a step go?",
        "steps in xyz order: `step = np.array(step_irc)[::-1]`; sizes `* abs(step)`; columns of the "
        "direction `* np.sign(step)`, which multiplies column by column.",
    ),
    why="""
    Whoever cuts, flips or thins out a scan and keeps the old header moves the patient. The test for it is
    the same whatever was done: a voxel of the part, through the part's geometry, has to land where the
    original voxel was.
    """,
)


@part.check
def check_part(answer):
    turned = Rotation.from_euler("xyz", [20, -50, 110], degrees=True).as_matrix()
    scans = {
        "an upright scan": np.eye(3),
        "flipped x and y": np.diag([-1.0, -1.0, 1.0]),
        "a tilted scan": turned,
    }
    parts = [((0, 0, 0), (1, 1, 1)), ((1, 0, 0), (1, 1, 1)), ((0, 0, 3), (1, 1, 1)), ((0, 0, 0), (2, 1, 1))]
    parts += [
        ((0, 0, 0), (1, 1, 3)),
        ((4, 2, 1), (2, 3, 1)),
        ((9, 0, 0), (-1, 1, 1)),
        ((9, 8, 7), (-2, -1, 3)),
    ]
    for words, direction in scans.items():
        for start, step in parts:
            origin, size = (-100.0, 50.0, 7.0), (0.5, 0.75, 2.5)
            with case(words, origin_xyz=origin, vxSize_xyz=size, start_irc=start, step_irc=step):
                got = answer(origin, size, direction.copy(), start, step)
                expect(isinstance(got, tuple | list) and len(got) == 3, "return three things.")
                new_origin, new_size, new_direction = (np.asarray(as_tensor(v)) for v in got)
                for name, value, shape in (("origin", new_origin, (3,)), ("size", new_size, (3,))):
                    expect(value.shape == shape, f"the {name} should be three numbers.")
                expect(new_direction.shape == (3, 3), "the direction should be a (3, 3) matrix.")
                expect((new_size > 0).all(), "voxel sizes should be positive.")
                lengths = np.linalg.norm(new_direction, axis=0)
                expect(np.allclose(lengths, 1), "the columns of the direction should have the length 1.")
                for voxel in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 2, 3)):
                    whole = tuple(s + k * v for s, k, v in zip(start, step, voxel))
                    want = np.array(irc2xyz(whole, origin, size, direction))
                    place = np.array(irc2xyz(voxel, new_origin, new_size, new_direction))
                    same(place, want, f"the place of the part's voxel {voxel}", atol=1e-3)


@part.solution
def geometry_of_part(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc):
    step_xyz = np.array(step_irc)[::-1]
    origin = np.array(origin_xyz) + direction_a @ (np.array(start_irc)[::-1] * vxSize_xyz)
    return origin, np.array(vxSize_xyz) * abs(step_xyz), direction_a * np.sign(step_xyz)


@part.right
def through_the_chapters_function(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc):
    origin = irc2xyz(start_irc, origin_xyz, vxSize_xyz, direction_a)
    size = [s * abs(k) for s, k in zip(vxSize_xyz, reversed(step_irc))]
    signs = np.diag([1 if k > 0 else -1 for k in reversed(step_irc)])
    return origin, size, direction_a @ signs


@part.right
def by_asking_for_neighbours(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc):
    def place(*irc):
        return np.array(irc2xyz(irc, origin_xyz, vxSize_xyz, direction_a))

    first = place(*start_irc)
    columns = []
    for axis in (2, 1, 0):
        there = list(start_irc)
        there[axis] += step_irc[axis]
        columns.append(place(*there) - first)
    columns = np.stack(columns, axis=1)
    size = np.linalg.norm(columns, axis=0)
    return torch.tensor(first), torch.tensor(size), torch.tensor(columns / size)


@part.wrong
def keeps_the_origin(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc):
    _, size, direction = geometry_of_part(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc)
    return origin_xyz, size, direction


@part.wrong
def steps_in_the_wrong_order(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc):
    return geometry_of_part(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc[::-1])


@part.wrong
def forgets_the_tilt(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc):
    _, size, direction = geometry_of_part(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc)
    return np.array(origin_xyz) + np.array(start_irc)[::-1] * vxSize_xyz, size, direction


@part.wrong
def negative_sizes(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc):
    origin, _, _ = geometry_of_part(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc)
    return origin, np.array(vxSize_xyz) * np.array(step_irc)[::-1], direction_a


@part.wrong
def signs_on_rows(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc):
    origin, size, _ = geometry_of_part(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc)
    return origin, size, direction_a * np.sign(np.array(step_irc)[::-1])[:, None]


@part.wrong
def start_counted_in_steps(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc):
    start = np.array(start_irc) * np.array(step_irc)
    return geometry_of_part(origin_xyz, vxSize_xyz, direction_a, start, step_irc)


@part.wrong
def ignores_negative_steps(origin_xyz, vxSize_xyz, direction_a, start_irc, step_irc):
    return geometry_of_part(origin_xyz, vxSize_xyz, direction_a, start_irc, np.abs(step_irc))
