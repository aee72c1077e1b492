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
    as_tensor,
    case,
    expect,
    parts,
    predicted,
    same,
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

marked = Exercise(
    "10.2",
    title="The box that vanishes",
    difficulty=2,
    minutes=15,
    kind=BUG,
    text="""
    `mark` draws a box into an empty mask: the centre's voxel and `reach_irc` more on either side, along each
    axis. Chapter 13 will need such boxes as ground truth. Unlike a crop, a box that sticks out of the scan is
    to be *cut off* there, not shifted: a nodule does not move because the scan ends. In some places the box
    vanishes altogether, and it is never quite as large as it should be. Two things are wrong.
    """,
    stub='''
    def mark(shape, center_irc, reach_irc):
        """shape, center_irc, reach_irc: three whole numbers each. Returns a bool array of this shape."""
        mask = np.zeros(shape, dtype=bool)
        mask[tuple(slice(c - r, c + r) for c, r in zip(center_irc, reach_irc))] = True
        return mask
    ''',
    hints=(
        "How many voxels has a box with a reach of 1, along one axis? And where does `slice(-1, 2)` begin?",
        "Three voxels: a slice leaves out its end. And a negative start counts from the other end of the axis.",
        "`slice(max(c - r, 0), c + r + 1)`. An end beyond the last voxel does no harm.",
    ),
    why="""
    NumPy raises no error for a slice that starts at -1: it begins at the last voxel and finds nothing up to
    the second. The first edition's ground truth had this fault, and nodules near the edge came out without
    a single voxel.
    """,
)


def _boxed(shape, center, reach):
    away = [np.abs(np.arange(n) - c) <= r for n, c, r in zip(shape, center, reach)]
    return away[0][:, None, None] & away[1][:, None] & away[2]


@marked.check
def check_marked(answer):
    def holds(shape, center, reach):
        with case(shape=shape, center_irc=center, reach_irc=reach):
            got = as_tensor(answer(shape, center, reach), "the mask")
            same(got, _boxed(shape, center, reach), "the mask")

    for size in range(1, 6):
        for reach in range(3):
            for center in range(size):
                holds((1, 1, size), (0, 0, center), (0, 0, reach))
                holds((size, 1, 1), (center, 0, 0), (reach, 0, 0))
    for center in ((0, 0, 0), (3, 4, 5), (0, 4, 0), (2, 2, 2)):
        holds((4, 5, 6), center, (1, 2, 1))
        holds((4, 5, 6), center, (0, 1, 7))


@marked.solution
def mark(shape, center_irc, reach_irc):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(max(c - r, 0), c + r + 1) for c, r in zip(center_irc, reach_irc))] = True
    return mask


@marked.right
def by_distance_in_torch(shape, center_irc, reach_irc):
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"), -1)
    return ((grid - torch.tensor(center_irc)).abs() <= torch.tensor(reach_irc)).all(-1)


@marked.right
def padded_and_cut(shape, center_irc, reach_irc):
    wide = np.zeros([n + 2 * r for n, r in zip(shape, reach_irc)], np.uint8)
    wide[tuple(slice(c, c + 2 * r + 1) for c, r in zip(center_irc, reach_irc))] = 1
    return wide[tuple(slice(r, r + n) for n, r in zip(shape, reach_irc))]


@marked.wrong
def still_without_the_last(shape, center_irc, reach_irc):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(max(c - r, 0), c + r) for c, r in zip(center_irc, reach_irc))] = True
    return mask


@marked.wrong
def still_negative(shape, center_irc, reach_irc):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(c - r, c + r + 1) for c, r in zip(center_irc, reach_irc))] = True
    return mask


@marked.wrong
def shifted_inside_as_a_crop(shape, center_irc, reach_irc):
    mask = np.zeros(shape, dtype=bool)
    for_crop = []
    for c, r, n in zip(center_irc, reach_irc, shape):
        width = min(2 * r + 1, n)
        start = min(max(c - r, 0), n - width)
        for_crop.append(slice(start, start + width))
    mask[tuple(for_crop)] = True
    return mask


@marked.wrong
def around_the_corner(shape, center_irc, reach_irc):
    mask = np.zeros(shape, dtype=bool)
    rows = [np.arange(c - r, c + r + 1) % n for c, r, n in zip(center_irc, reach_irc, shape)]
    mask[np.ix_(*rows)] = True
    return mask


@marked.wrong
def an_ellipsoid(shape, center_irc, reach_irc):
    grid = np.indices(shape).reshape(3, -1).T
    away = ((grid - np.array(center_irc)) / np.maximum(reach_irc, 0.5)) ** 2
    return (away.sum(1) <= 1).reshape(shape)


@marked.wrong
def one_reach_for_all(shape, center_irc, reach_irc):
    return _boxed(shape, center_irc, [max(reach_irc)] * 3)


# ---------------------------------------------------------------- 10.3

paired = Exercise(
    "10.3",
    title="Half a slice off",
    difficulty=2,
    minutes=20,
    kind=BUG,
    text="""
    `average_pairs` makes thick slices of thin ones: slices 0 and 1 become one, 2 and 3 the next, and a last
    one without a partner is left out. The voxels are right. But nodules that are marked in the patient's
    millimetres now lie in the wrong place. Two things are wrong with the geometry. Scans may be tilted.
    """,
    stub='''
    def average_pairs(hu_a, origin_xyz, vxSize_xyz, direction_a):
        """hu_a: (I, R, C). Returns (thicker slices, origin_xyz, vxSize_xyz)."""
        pairs = len(hu_a) // 2
        thick = hu_a[: 2 * pairs].reshape(pairs, 2, *hu_a.shape[1:]).mean(axis=1)
        return thick, origin_xyz, (2 * vxSize_xyz[0], vxSize_xyz[1], vxSize_xyz[2])
    ''',
    hints=(
        "Which of x, y and z grows when slices get thicker? And of what is the origin the place?",
        "z. The origin is the *centre* of the first voxel, and the first thick slice has its centre between two "
        "thin ones.",
        "Half a thin slice up: `origin_xyz + direction_a[:, 2] * vxSize_xyz[2] / 2`, as the third column of the "
        "direction is where slices lead.",
    ),
    why="""
    Half a slice is a millimetre, and a nodule of 4 mm is found or missed by less. Whatever changes the grid
    (averaging, pooling, resampling) moves the first voxel's centre; a test that sends a place through both
    geometries finds it at once.
    """,
)


@paired.check
def check_paired(answer):
    turned = Rotation.from_euler("xyz", [20, -50, 110], degrees=True).as_matrix()
    scans = {
        "an upright scan": np.eye(3),
        "flipped x and y": np.diag([-1.0, -1.0, 1.0]),
        "a tilted scan": turned,
    }
    for words, direction in scans.items():
        for shape in ((2, 1, 1), (2, 2, 3), (5, 2, 3), (8, 3, 2)):
            for origin, size in (
                ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
                ((-100.0, 50.0, 7.0), (0.5, 0.75, 1.25)),
            ):
                hu_a = np.random.randint(-1000, 1000, shape).astype(np.int16)
                count = shape[0] // 2
                with case(words, shape=shape, origin_xyz=origin, vxSize_xyz=size):
                    given = hu_a.copy(), origin, size, direction.copy()
                    thick, new_origin, new_size = parts(answer(*given), 3, "return three things.")
                    want = (hu_a[0 : 2 * count : 2].astype(float) + hu_a[1 : 2 * count : 2]) / 2
                    same(as_tensor(thick, "the slices"), want, "the slices", atol=0.6)
                    new_size = np.asarray(as_tensor(new_size, "the voxel size"), float)
                    new_origin = np.asarray(as_tensor(new_origin, "the origin"), float)
                    same(new_size, (size[0], size[1], 2 * size[2]), "the voxel size", atol=1e-4)
                    first = irc2xyz((0.5, 0, 0), origin, size, direction)
                    same(new_origin, np.array(first), "the origin", atol=1e-3)


@paired.solution
def average_pairs(hu_a, origin_xyz, vxSize_xyz, direction_a):
    pairs = len(hu_a) // 2
    thick = hu_a[: 2 * pairs].reshape(pairs, 2, *hu_a.shape[1:]).mean(axis=1)
    origin = np.array(origin_xyz) + direction_a[:, 2] * vxSize_xyz[2] / 2
    return thick, origin, (vxSize_xyz[0], vxSize_xyz[1], 2 * vxSize_xyz[2])


@paired.right
def through_irc2xyz(hu_a, origin_xyz, vxSize_xyz, direction_a):
    even = hu_a[: len(hu_a) // 2 * 2].astype(np.float32)
    size = np.array(vxSize_xyz) * (1, 1, 2)
    return (even[::2] + even[1::2]) / 2, irc2xyz((0.5, 0, 0), origin_xyz, vxSize_xyz, direction_a), size


@paired.right
def pooled_in_torch(hu_a, origin_xyz, vxSize_xyz, direction_a):
    thick = torch.nn.functional.avg_pool3d(torch.from_numpy(hu_a)[None, None].float(), (2, 1, 1))[0, 0]
    step = torch.tensor(direction_a) @ torch.tensor([0, 0, vxSize_xyz[2] / 2], dtype=torch.float64)
    return [thick, torch.tensor(origin_xyz) + step, [*vxSize_xyz[:2], vxSize_xyz[2] * 2]]


@paired.wrong
def origin_as_it_was(hu_a, origin_xyz, vxSize_xyz, direction_a):
    thick, _, size = average_pairs(hu_a, origin_xyz, vxSize_xyz, direction_a)
    return thick, origin_xyz, size


@paired.wrong
def as_if_upright(hu_a, origin_xyz, vxSize_xyz, direction_a):
    x, y, z = origin_xyz
    thick, _, size = average_pairs(hu_a, origin_xyz, vxSize_xyz, direction_a)
    return thick, (x, y, z + vxSize_xyz[2] / 2), size


@paired.wrong
def along_the_row_of_the_matrix(hu_a, origin_xyz, vxSize_xyz, direction_a):
    return average_pairs(hu_a, origin_xyz, vxSize_xyz, direction_a.T)


@paired.wrong
def half_a_thick_slice(hu_a, origin_xyz, vxSize_xyz, direction_a):
    thick, origin, size = average_pairs(hu_a, origin_xyz, vxSize_xyz, direction_a)
    return thick, 2 * origin - np.array(origin_xyz), size


@paired.wrong
def in_the_order_of_the_array(hu_a, origin_xyz, vxSize_xyz, direction_a):
    thick, origin, _ = average_pairs(hu_a, origin_xyz, vxSize_xyz, direction_a)
    return thick, origin, (2 * vxSize_xyz[0], vxSize_xyz[1], vxSize_xyz[2])


@paired.wrong
def every_second_slice(hu_a, origin_xyz, vxSize_xyz, direction_a):
    _, origin, size = average_pairs(hu_a, origin_xyz, vxSize_xyz, direction_a)
    return hu_a[: len(hu_a) // 2 * 2 : 2], origin, size


# ---------------------------------------------------------------- 10.4

agreed = Exercise(
    "10.4",
    title="Three of four readers",
    difficulty=2,
    minutes=25,
    kind=BUILD,
    text="""
    Make the list of nodules as LUNA16's authors did. `marks` is a list of `(reader, center_xyz, diameter_mm)`.
    Two marks mean the same nodule if their centres are nearer to each other than the radius of the *smaller*
    one; and if A means the same as B, and B as C, all three do. Return the centres of the nodules that at
    least three different readers have marked, in any order: each is the mean of all marks of that nodule.
    """,
    stub='''
    def nodules_of(marks):
        """marks: (reader, (x, y, z), diameter in mm) each. Returns a list of centres (x, y, z)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "First the groups, then the counting. What do you count: marks, or readers?",
        "Start a group with one mark, and add every mark that is near to *any* of the group, until none is left "
        "to add. A reader who marks twice is still one reader.",
        "Put each mark together with all groups that it touches: they become one group. Keep those with "
        "`len({reader for reader, _, _ in group}) >= 3`, and average their centres.",
    ),
    why="""
    "The same" is decided for pairs and wanted for groups, and there are two ways from one to the other: chains,
    as here, or everybody near to everybody. For nodules that lie apart they agree. SciPy has the chains ready
    as `scipy.sparse.csgraph.connected_components`.
    """,
)


def _agreed(marks):
    from scipy.sparse.csgraph import connected_components

    if not marks:
        return []
    centers = np.array([center for _, center, _ in marks], float)
    radii = np.array([diameter for _, _, diameter in marks]) / 2
    near = np.linalg.norm(centers[:, None] - centers, axis=-1) < np.minimum(radii[:, None], radii)
    _, group = connected_components(near)
    readers = np.array([hash(reader) for reader, _, _ in marks])
    return [centers[group == g].mean(0) for g in range(group.max() + 1) if len(set(readers[group == g])) >= 3]


@agreed.check
def check_agreed(answer):
    a, b, c, d = "ABCD"
    here, there = (0.0, 0.0, 0.0), (30.0, 0.0, 0.0)
    cases = [
        [],
        [(a, here, 8.0), (b, here, 8.0)],
        [(a, here, 8.0), (b, here, 8.0), (c, here, 8.0)],
        [(a, here, 8.0), (b, here, 8.0), (b, here, 8.0)],
        [(a, here, 8.0), (b, (1.0, 0.0, 0.0), 8.0), (c, (2.0, 0.0, 0.0), 8.0), (d, there, 8.0)],
        [(a, here, 8.0), (b, (3.0, 0.0, 0.0), 8.0), (c, (6.0, 0.0, 0.0), 8.0)],
        [(a, here, 20.0), (b, (3.0, 0.0, 0.0), 4.0), (c, here, 20.0), (d, here, 20.0)],
        [(a, here, 8.0), (c, (6.0, 0.0, 0.0), 8.0), (b, (3.0, 0.0, 0.0), 8.0)],
        [(a, here, 8.0), (b, (1.0, 0.0, 0.0), 8.0), (c, (4.0, 0.0, 0.0), 8.0)],
        [(r, p, 8.0) for p in (here, there) for r in (a, b, c, d)],
        [(r, (0.0, 0.0, z), 6.0) for z, r in enumerate((d, a, b, c, a))],
    ]
    for _ in range(20):
        cases.append(
            [
                (
                    "ABCD"[np.random.randint(4)],
                    tuple(np.random.randint(-6, 7, 3).astype(float).tolist()),
                    float(np.random.choice([3, 5, 9, 13])),
                )
                for _ in range(9)
            ]
        )
    for marks in cases:
        want = sorted(np.round(center, 4).tolist() for center in _agreed(marks))
        with case(marks=marks):
            answered = answer(list(marks))
            expect(answered is not None, "return a list, empty if there is no nodule.")
            got = sorted(np.round(np.asarray(as_tensor(one), float), 4).tolist() for one in answered)
            expect(len(got) == len(want), f"there should be {len(want)} nodules; you found {len(got)}.")
            if want:
                same(got, want, "the centres", atol=1e-3)


@agreed.solution
def nodules_of(marks):
    groups = []
    for mark in marks:
        _, center, diameter = mark
        apart, joined = [], [mark]
        for group in groups:
            near = any(np.linalg.norm(np.subtract(center, c)) < min(diameter, d) / 2 for _, c, d in group)
            if near:
                joined += group
            else:
                apart.append(group)
        groups = [*apart, joined]
    agreed = [group for group in groups if len({reader for reader, _, _ in group}) >= 3]
    return [np.mean([center for _, center, _ in group], axis=0) for group in agreed]


@agreed.right
def with_scipy(marks):
    return _agreed(marks)


@agreed.right
def spreading_from_a_seed(marks):
    left, found = list(marks), []
    while left:
        group, waiting = [], [left.pop()]
        while waiting:
            one = waiting.pop()
            group.append(one)
            near = [
                other
                for other in left
                if sum((p - q) ** 2 for p, q in zip(one[1], other[1])) < (min(one[2], other[2]) / 2) ** 2
            ]
            for other in near:
                left.remove(other)
            waiting += near
        if len({reader for reader, *_ in group}) > 2:
            found.append(tuple(torch.tensor([center for _, center, _ in group]).mean(0).tolist()))
    return found


def _with_readers(marks, keep):
    """Groups as in the solution, kept by a rule of their own."""
    alike = [(n, center, diameter) for n, (_, center, diameter) in enumerate(marks)]
    groups = []
    for one in alike:
        near = [
            g
            for g in groups
            if any(np.linalg.norm(np.subtract(one[1], c)) < min(one[2], d) / 2 for _, c, d in g)
        ]
        groups = [g for g in groups if not any(g is other for other in near)] + [[one, *sum(near, [])]]
    return [np.mean([c for _, c, _ in g], axis=0) for g in groups if keep([marks[n][0] for n, _, _ in g])]


@agreed.wrong
def counts_marks(marks):
    return _with_readers(marks, lambda readers: len(readers) >= 3)


@agreed.wrong
def exactly_three(marks):
    return _with_readers(marks, lambda readers: len(set(readers)) == 3)


@agreed.wrong
def two_are_enough(marks):
    return _with_readers(marks, lambda readers: len(set(readers)) >= 2)


@agreed.wrong
def the_larger_radius(marks):
    largest = max((diameter for *_, diameter in marks), default=1)
    return _agreed([(reader, center, largest) for reader, center, _ in marks])


@agreed.wrong
def within_the_diameter(marks):
    return _agreed([(reader, center, 2 * diameter) for reader, center, diameter in marks])


@agreed.wrong
def near_to_the_first_only(marks):
    groups = []
    for mark in marks:
        for group in groups:
            _, center, diameter = group[0]
            if np.linalg.norm(np.subtract(mark[1], center)) < min(mark[2], diameter) / 2:
                group.append(mark)
                break
        else:
            groups.append([mark])
    kept = [group for group in groups if len({reader for reader, _, _ in group}) >= 3]
    return [np.mean([center for _, center, _ in group], axis=0) for group in kept]


@agreed.wrong
def the_first_mark_as_centre(marks):
    means = _agreed(marks)
    return [
        min((c for _, c, _ in marks), key=lambda c: np.linalg.norm(np.subtract(c, mean))) for mean in means
    ]


# ---------------------------------------------------------------- 10.5

stable = Exercise(
    "10.5",
    title="Two scans of one patient",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    In LIDC, some patients were scanned twice. Two scans of one person are as alike as two crops of one scan, so
    they belong on the same side. `patient_of` says who is in which scan. Answer, for every scan, "training",
    "validation" or "test", of which about 70, 20 and 10 percent of the *patients* come. Next month more scans
    arrive, and others are lost: nobody may ever change sides, in whatever order and company, and whatever
    process asks.
    """,
    stub='''
    def split(patient_of):
        """patient_of: {series UID: name of the patient}. Returns {series UID: the set's name}."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "On what may the decision about one scan depend, if its patient's other scans must be decided alike?",
        "On the patient's name alone. Turn it into a number that looks random and is always the same.",
        "`int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100` is such a number from 0 to 99: below 70, "
        "below 90, or above.",
    ),
    why="""
    What must not be torn apart (crops of a scan, scans of a patient, sometimes patients of a hospital) is the
    unit of the split; and its name, not its place in a list, decides.
    """,
)
_SETS = {"training": 0.7, "validation": 0.2, "test": 0.1}


@stable.check
def check_stable(answer):
    def sides(patient_of):
        given = dict(patient_of)
        got = answer(given)
        expect(isinstance(got, dict), "return a dictionary.")
        expect(
            set(got) == set(patient_of), "the answer's keys should be the series UIDs that you were given."
        )
        strange = set(got.values()) - set(_SETS)
        expect(not strange, f"'{next(iter(strange), '')}' is none of the three sets.")
        return got

    numbers = np.random.randint(10**6, 10**9) + np.random.permutation(10_000)[:3000]
    patients = [f"LIDC-IDRI-{n}" for n in numbers]
    scans = {f"1.3.6.1.{n}": name for n, name in zip(np.random.permutation(numbers), patients)}
    second = {f"1.2.840.{k}": name for k, name in enumerate(patients[:600])}
    with case("3,000 patients with a scan each"):
        all_sides = sides(scans)
        for name, share in _SETS.items():
            part = list(all_sides.values()).count(name) / len(scans)
            expect(abs(part - share) < 0.035, f"{part:.1%} of them are in {name}.")
    with case("the same, and 600 of them were scanned a second time"):
        both = sides({**scans, **second})
        of_patient = {scans[uid]: side for uid, side in all_sides.items()}
        torn = sum(both[uid] != of_patient[name] for uid, name in second.items())
        expect(torn == 0, f"the second scan of {torn} patients is not where their first one is.")
        expect(all(both[uid] == side for uid, side in all_sides.items()), "first scans change sides.")
    with case("the same scans in another order, and a part of them"):
        backwards = sides(dict(reversed(scans.items())))
        expect(backwards == all_sides, "the order of the scans matters.")
        part = sides(dict(sorted(scans.items(), key=lambda scan: scan[1])[:1500]))
        expect(
            all(all_sides[uid] == side for uid, side in part.items()), "scans change sides when others leave."
        )
    with case("the same scans in two processes, between which Python's own hash differs"):
        some = list(scans.items())[:500]
        one, other = (sides({uid: _InAnotherProcess(name, salt) for uid, name in some}) for salt in "ab")
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
def split(patient_of):
    def side(name):
        number = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
        return "training" if number < 70 else "validation" if number < 90 else "test"

    return {uid: side(name) for uid, name in patient_of.items()}


@stable.right
def with_the_chapters_rule(patient_of):
    sides = {}
    for uid, name in patient_of.items():
        if is_held_out(name, 10):
            sides[uid] = "test"
        else:
            sides[uid] = (
                "validation" if is_held_out("second " + name, 9) or is_held_out(name + "!", 9) else "training"
            )
    return sides


@stable.right
def with_a_checksum(patient_of):
    edges = np.array([0.7, 0.9]) * 2**32
    names = list(_SETS)
    return {
        uid: names[int(np.searchsorted(edges, zlib.crc32(("x" + name).encode())))]
        for uid, name in patient_of.items()
    }


@stable.wrong
def by_the_scan(patient_of):
    return split({uid: uid for uid in patient_of})


@stable.wrong
def by_place_in_the_sorted_list(patient_of):
    names = sorted(set(patient_of.values()))
    place = {name: n / len(names) for n, name in enumerate(names)}
    return {
        uid: "training" if place[name] < 0.7 else "validation" if place[name] < 0.9 else "test"
        for uid, name in patient_of.items()
    }


@stable.wrong
def shuffled_with_a_seed(patient_of):
    names = sorted(set(patient_of.values()))
    place = dict(zip(names, np.random.default_rng(0).permutation(len(names)) / len(names)))
    return {
        uid: "training" if place[name] < 0.7 else "validation" if place[name] < 0.9 else "test"
        for uid, name in patient_of.items()
    }


@stable.wrong
def with_pythons_hash(patient_of):
    return {
        uid: "training" if hash(name) % 10 < 7 else "validation" if hash(name) % 10 < 9 else "test"
        for uid, name in patient_of.items()
    }


@stable.wrong
def two_sets_only(patient_of):
    return {uid: "validation" if is_held_out(name, 10) else "training" for uid, name in patient_of.items()}


@stable.wrong
def validation_and_test_exchanged(patient_of):
    swapped = {"training": "training", "validation": "test", "test": "validation"}
    return {uid: swapped[side] for uid, side in split(patient_of).items()}


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
