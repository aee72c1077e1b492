"""Where a scan lies in the patient: one class, against ITK as oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from p2ch09.geometry import Geometry
from util.util import XyzTuple

SHAPE = (5, 7, 9)


def a_geometry(angles=(0.0, 0.0, 0.0), flips=(1, 1, 1)):
    turn = Rotation.from_euler("xyz", angles).as_matrix() * np.array(flips)
    return Geometry(SHAPE, (-120.5, 33.25, -310.0), [0.7, 0.8, 1.25], turn)


angles = st.tuples(*[st.floats(-3, 3)] * 3)
flips = st.tuples(*[st.sampled_from((-1, 1))] * 3)


@given(angles, flips, st.tuples(*[st.floats(-3, 12)] * 3))
def test_places_are_those_of_itk_and_come_back(angles, flips, coord_irc):
    geometry = a_geometry(angles, flips)
    image = geometry.to_itk(np.zeros(SHAPE, dtype=np.int16))
    place = geometry.irc2xyz(coord_irc)
    oracle = image.TransformContinuousIndexToPhysicalPoint(tuple(map(float, coord_irc[::-1])))
    assert place == pytest.approx(oracle, abs=1e-6)
    assert geometry.xyz2irc_exactly(place) == pytest.approx(coord_irc, abs=1e-6)
    nearest = geometry.irc2xyz([round(c) for c in coord_irc])
    assert geometry.xyz2irc(nearest) == tuple(round(c) for c in coord_irc)


@given(angles, flips)
def test_an_itk_image_and_back_is_the_same_geometry(angles, flips):
    geometry = a_geometry(angles, flips)
    again = Geometry.from_itk(geometry.to_itk(np.zeros(SHAPE, dtype=np.uint8)))
    assert again.shape == SHAPE
    assert again.origin_xyz == geometry.origin_xyz
    assert again.spacing_xyz == geometry.spacing_xyz
    assert np.array_equal(again.direction, geometry.direction)


def test_whatever_comes_in_plain_numbers_and_an_array_that_stays_come_out():
    geometry = Geometry(np.array(SHAPE), np.zeros(3), np.array([0.7, 0.8, 1.25]), np.eye(3).ravel().tolist())
    assert geometry.shape == SHAPE
    assert geometry.spacing_xyz == XyzTuple(0.7, 0.8, 1.25)
    assert geometry.spacing_irc == (1.25, 0.8, 0.7)
    assert {type(mm) for mm in geometry.origin_xyz} == {float}
    with pytest.raises(ValueError, match="read-only"):
        geometry.direction[0, 0] = 2


def test_inside_means_at_most_one_voxel_beside():
    geometry = a_geometry()
    assert geometry.contains((0, 0, 0))
    assert geometry.contains((-1, 7, 9))
    assert not geometry.contains((-2, 0, 0))
    assert not geometry.contains((0, 0, 10))
    assert geometry.clamped((-1, 7, 4)) == (0, 6, 4)


@given(angles, flips, st.tuples(*[st.floats(-4, 13)] * 3))
def test_a_place_is_held_where_its_voxel_is_contained(angles, flips, coord_irc):
    geometry = a_geometry(angles, flips)
    place = geometry.irc2xyz(coord_irc)
    exactly = geometry.xyz2irc_exactly(place) + 0.5
    if np.abs(exactly - exactly.round()).min() > 1e-9:  # at a half the two may round apart
        assert geometry.holds(place) == geometry.contains(geometry.xyz2irc(place))
