"""Pictures of chapter 10: a place with its neighbours, and surfaces of masks."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from p2ch10.vis import draw_surface, show_neighbours


def test_neighbours_are_the_slices_beside_it_in_each_plane():
    hu = np.arange(9 * 10 * 11, dtype=np.int16).reshape(9, 10, 11)
    figure = show_neighbours(hu, (4, 5, 6), (0.5, 0.5, 2.0), reach=1)
    pictures = [axis.images[0].get_array() for axis in figure.axes]
    wanted = [hu[3], hu[4], hu[5], hu[:, 4], hu[:, 5], hu[:, 6], hu[:, :, 5], hu[:, :, 6], hu[:, :, 7]]
    assert all(np.array_equal(picture, want) for picture, want in zip(pictures, wanted, strict=True))
    assert [axis.get_title() for axis in figure.axes[:3]] == ["-2.0 mm", "its own slice", "+2.0 mm"]
    # Forty millimetres along both sides, and heads up in the planes that show them.
    wide, high = np.diff(figure.axes[4].get_xlim())[0] * 0.5, np.diff(figure.axes[4].get_ylim())[0] * 2.0
    assert wide == pytest.approx(40)
    assert high == pytest.approx(40)
    assert np.diff(figure.axes[1].get_ylim())[0] < 0
    plt.close(figure)


def test_neighbours_beyond_the_edge_are_left_blank():
    figure = show_neighbours(np.zeros((9, 10, 11), np.int16), (0, 5, 6), (1, 1, 1), reach=2)
    assert [len(axis.images) for axis in figure.axes] == [0, 0, 1, 1, 1, *[1] * 10]
    plt.close(figure)


def test_a_surface_has_the_size_of_its_mask_in_millimetres():
    mask = np.zeros((20, 40, 60), bool)
    mask[5:15, 10:30, 15:45] = True  # 25 x 14 x 21 mm
    figure = plt.figure()
    axis = figure.add_subplot(projection="3d")
    triangles = draw_surface(axis, mask, (0.7, 0.7, 2.5), "red", step_mm=1.0)
    extent = [np.diff(ends())[0] for ends in (axis.get_xlim, axis.get_ylim, axis.get_zlim)]
    assert extent == pytest.approx((21, 14, 25), rel=0.2)
    assert triangles > 500
    plt.close(figure)
