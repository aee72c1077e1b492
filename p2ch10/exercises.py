"""Checks of chapter 10's exercises. The exercises themselves stand in the notebook."""

import numpy as np
from scipy.spatial.transform import Rotation

from p2ch10.dsets import CandidateInfoTuple, irc2xyz
from util.exercises import exercise, expect


@exercise("10.1", hint="vxSize_xyz is in the order x, y, z; the answer is wanted as index, row, column.")
def check_diameter(diameter_in_voxels):
    got = np.asarray(diameter_in_voxels(10.0, (0.5, 0.5, 2.5)), float)
    expect(got.shape == (3,), "The answer should be three numbers: index, row, column.")
    expect(not np.allclose(got, [20, 20, 4]), "These are the right numbers in the wrong order.")
    expect(np.allclose(got, [4, 20, 20]), "10 mm are 4 slices of 2.5 mm, and 20 pixels of 0.5 mm.")
    size = np.random.default_rng().uniform(0.4, 3, 3)
    got = np.asarray(diameter_in_voxels(7.0, tuple(size)), float)
    expect(np.allclose(got, 7.0 / size[::-1]), "It fails when x and y voxels differ in size.")


@exercise("10.2", hint="First put the window around the centre, then push it back in from either side.")
def check_crop_start(crop_start):
    rng = np.random.default_rng()
    expect(
        crop_start(50, 32, 100) == 34, "In the middle of the scan the window should sit around its centre."
    )
    expect(crop_start(3, 32, 100) == 0, "Near the start the window should begin at 0.")
    expect(crop_start(99, 32, 100) == 68, "Near the end the window should end with the scan.")
    for _ in range(50):
        size = int(rng.integers(32, 80))
        center = int(rng.integers(0, size))
        want = sorted((0, center - 16, size - 32))[1]
        expect(crop_start(center, 32, size) == want, f"Wrong for centre {center} in a scan of {size}.")


@exercise("10.3", hint="Undo the steps of irc2xyz in the opposite order. A matrix and its transpose differ.")
def check_oblique(voxel_of):
    rng = np.random.default_rng()
    for degrees in (0, 30):
        direction = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
        for _ in range(10):
            origin, size = rng.uniform(-300, 300, 3), rng.uniform(0.5, 2.5, 3)
            # Three different numbers, so that a wrong order shows.
            irc = tuple(rng.choice(200, 3, replace=False).tolist())
            got = voxel_of(irc2xyz(irc, origin, size, direction), origin, size, direction)
            got = tuple(np.asarray(got).tolist())
            expect(len(got) == 3, "The answer should be index, row, column.")
            expect(got != irc[::-1], "The voxel is right but its order is not: index, row, column.")
            where = "an upright scan" if degrees == 0 else "a scan whose table was tilted by 30 degrees"
            expect(got == irc, f"In {where} the voxel is not the one that irc2xyz started from.")


@exercise("10.4", hint="Each annotation has a reach of its own: a quarter of its own diameter, in mm, in 3D.")
def check_same_nodule(same_nodule):
    annotations = [((0.0, 0.0, 0.0), 8.0), ((10.0, 0.0, 0.0), 20.0)]
    expect(same_nodule((0.5, 0.5, 0.5), annotations) == 0, "A candidate close to the first is not joined.")
    expect(same_nodule((1.5, 1.5, 1.5), annotations) is None, "Distance in 3D: this one lies 2.6 mm away.")
    expect(same_nodule((10.0, 4.0, 0.0), annotations) == 1, "The larger nodule reaches 5 mm.")
    close = [((0.0, 0.0, 0.0), 20.0), ((3.0, 0.0, 0.0), 20.0)]
    expect(same_nodule((2.9, 0.0, 0.0), close) == 1, "Where two are within reach, the nearer one counts.")
    expect(same_nodule((0.0, 0.0, 0.0), []) is None, "Without annotations there is nothing to join.")


@exercise("10.5", hint="Two candidates of one scan are different candidates but the same patient.")
def check_shared_scans(shared_scans):
    rng = np.random.default_rng()

    def infos(scans):
        return [
            CandidateInfoTuple(False, False, False, 0.0, f"2.25.{n}", tuple(rng.normal(size=3)))
            for n in scans
        ]

    base = int(rng.integers(1000))
    clean = set(shared_scans(infos([base, base + 1]), infos([base + 2])))
    expect(clean == set(), "Two lists without a common scan share nothing.")
    leaking = set(shared_scans(infos([base, base, base + 1]), infos([base, base + 2])))
    expect(leaking, "A scan with candidates on both sides went unnoticed.")
    expect(leaking == {f"2.25.{base}"}, "The answer should be the series UIDs that both lists have.")


@exercise(
    "10.6", hint="Decide for each scan from its own name alone. Python's hash() changes from run to run."
)
def check_split(split):
    uids = [f"2.25.{n}" for n in np.random.default_rng().integers(10**9, 10**12, 2000)]
    held_out = set(split(uids, 0.2))
    expect(held_out <= set(uids), "The answer should be some of the series UIDs that came in.")
    expect(0.15 < len(held_out) / len(uids) < 0.25, "About a fifth of the scans should be held out.")
    expect(set(split(uids[::-1], 0.2)) == held_out, "The split depends on the order of the scans.")
    # With the held-out scans alone, a share of the sorted scans cannot be right by chance.
    for some in (uids[:700], sorted(held_out)):
        expect(set(split(some, 0.2)) == held_out & set(some), "Scans change sides when others arrive.")
    expect(
        held_out <= set(split(uids, 0.4)), "A larger share should keep the scans that a smaller one held out."
    )
