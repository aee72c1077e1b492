"""Pictures of scans: three planes with true aspect, in a window of Hounsfield units (chapter 10)."""

import matplotlib.pyplot as plt
import numpy as np

from p2ch10.dsets import LunaDataset, getCandidateInfoDict, getCandidateInfoList, getCt
from util.errors import UserError
from util.plotting import ORANGE, SKY

# (centre, width) in HU: what shows as black to white. Radiology's usual presets.
WINDOWS = {"lung": (-600, 1500), "mediastinum": (40, 400), "bone": (400, 1800), "all": (0, 2000)}
# Per plane: the axis cut (0 index, 1 row, 2 column), then what runs down and what runs to the right.
PLANES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}


def window_limits(window) -> tuple[float, float]:
    """(HU shown black, HU shown white) of a preset's name or a (centre, width) pair."""
    center, width = WINDOWS[window] if isinstance(window, str) else window
    return center - width / 2, center + width / 2


def draw_plane(axis, ct, plane, at, window="lung", places_irc=(), colours=None):
    """Draw slice `at` of `ct` in `plane` ("axial", "coronal" or "sagittal") on a matplotlib axis.

    Millimetres have the same length in both directions, whatever the voxels' shape; heads are up.
    places_irc: voxels to mark with a cross where they lie within 2 mm of the slice.
    """
    cut, down, right = PLANES[plane]
    mm_irc = np.array(ct.vxSize_xyz)[::-1]
    low, high = window_limits(window)
    picture = np.take(ct.hu_a, at, axis=cut)
    axis.imshow(picture, vmin=low, vmax=high, cmap="gray", aspect=mm_irc[down] / mm_irc[right])
    if plane != "axial":
        axis.invert_yaxis()  # the first slice lies at the feet
    colours = colours or [ORANGE] * len(places_irc)
    for place, colour in zip(places_irc, colours):
        if abs(place[cut] - at) * mm_irc[cut] <= 2:
            axis.plot(place[right], place[down], "+", ms=13, mew=1.8, color=colour)
    names = ("index", "row", "column")
    axis.set(xlabel=names[right], ylabel=names[down], title=f"{plane}, {names[cut]} {at}")
    axis.grid(visible=False)


def show_planes(ct, center_irc=None, window="lung", places_irc=(), colours=None, figsize=(8.4, 3.3)):
    """A figure of the three planes through `center_irc` (by default the middle); returns the figure."""
    center_irc = tuple(n // 2 for n in ct.hu_a.shape) if center_irc is None else center_irc
    figure, axes = plt.subplots(1, 3, figsize=figsize)
    for axis, (plane, (cut, _, _)) in zip(axes, PLANES.items()):
        draw_plane(axis, ct, plane, center_irc[cut], window, places_irc, colours)
    return figure


def show_candidate(info, window="lung"):
    """The three planes through a candidate of `getCandidateInfoList`, with all candidates near them marked.

    Nodules have orange crosses, other candidates light blue ones. Returns the figure.
    """
    ct = getCt(info.series_uid)
    places, colours = [], []
    for other in getCandidateInfoDict()[info.series_uid]:
        places.append(ct.geometry.xyz2irc(other.center_xyz))
        colours.append(ORANGE if other.isNodule_bool else SKY)
    here = ct.geometry.clamped(ct.geometry.xyz2irc(info.center_xyz))
    return show_planes(ct, here, window, places, colours)


def findPositiveSamples(start_ndx=0, limit=100):
    """The first `limit` nodules from candidate `start_ndx` on, as `CandidateInfoTuple`s in the list's order."""
    later = getCandidateInfoList()[start_ndx:]
    return [info for info in later if info.isNodule_bool][:limit]


def candidate_of(series_uid, batch_ndx=None):
    """Candidate number `batch_ndx` of one scan, as `LunaDataset(series_uid=series_uid)` counts; else its first nodule.

    A scan without nodules answers its first candidate. Raises `UserError` where there is no such candidate.
    """
    infos = LunaDataset(series_uid=series_uid).candidateInfo_list
    if batch_ndx is None:
        batch_ndx = next((ndx for ndx, info in enumerate(infos) if info.isNodule_bool), 0)
    if not 0 <= batch_ndx < len(infos):
        raise UserError(
            f"scan {series_uid} has {len(infos)} candidates, numbered from 0; there is no number {batch_ndx}"
        )
    return infos[batch_ndx]


def showCandidate(series_uid, batch_ndx=None):
    """The three planes through a scan's candidate: see `candidate_of` and `show_candidate`. Returns the figure."""
    return show_candidate(candidate_of(series_uid, batch_ndx))


def show_crop(crop, vxSize_xyz, window="lung", slices=8):
    """Every few axial slices of a crop (index, row, column), in true proportions; returns the figure."""
    crop = np.asarray(crop)
    low, high = window_limits(window)
    chosen = np.linspace(0, len(crop) - 1, slices).round().astype(int)
    figure, axes = plt.subplots(2, -(-slices // 2), figsize=(10, 5.4))
    for axis in axes.flat:
        axis.axis("off")
    for axis, index in zip(axes.flat, chosen):
        axis.imshow(crop[index], vmin=low, vmax=high, cmap="gray", aspect=vxSize_xyz[1] / vxSize_xyz[0])
        axis.set_title(f"slice {index}", fontsize=10)
    return figure


def show_neighbours(hu_a, center_irc, vxSize_xyz, reach=2, width_mm=40, window="lung"):
    """A place in all three planes, a row each: its own slice in the middle, `reach` neighbours on either side.

    hu_a: (I, R, C) HU. Slices beyond the volume's edge are left blank. Returns the figure.
    """
    mm_irc = np.array(vxSize_xyz)[::-1]
    low, high = window_limits(window)
    figure, axes = plt.subplots(3, 2 * reach + 1, figsize=(1.8 * (2 * reach + 1), 6.0), squeeze=False)
    for row, (plane, (cut, down, right)) in zip(axes, PLANES.items()):
        for axis, shift in zip(row, range(-reach, reach + 1)):
            at = center_irc[cut] + shift
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
            if not 0 <= at < hu_a.shape[cut]:
                continue
            picture = np.take(hu_a, at, axis=cut)
            axis.imshow(picture, vmin=low, vmax=high, cmap="gray", aspect=mm_irc[down] / mm_irc[right])
            half = width_mm / 2 / mm_irc
            axis.set_xlim(center_irc[right] - half[right], center_irc[right] + half[right])
            ends = np.array([1, -1] if plane == "axial" else [-1, 1])
            axis.set_ylim(*(center_irc[down] + ends * half[down]))
            axis.set_title(f"{shift * mm_irc[cut]:+.1f} mm" if shift else "its own slice", fontsize=10)
        row[0].set_ylabel(plane)
    return figure


def draw_surface(axis, mask, vxSize_xyz, colour, step_mm=3.0):
    """Draw the surface of a mask (I, R, C) on a 3D axis, seen from the front left; returns its triangles' number.

    The mask is thinned out to cubes of `step_mm` first: what is finer costs time and shows nothing.
    """
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection
    from scipy.ndimage import zoom
    from skimage.measure import marching_cubes

    coarse = zoom(np.asarray(mask, np.float32), np.array(vxSize_xyz)[::-1] / step_mm, order=1)
    corners, faces, _, _ = marching_cubes(np.pad(coarse, 1), 0.5)
    corners_xyz = corners[:, ::-1] * step_mm
    axis.add_collection3d(Poly3DCollection(corners_xyz[faces], facecolors=colour, shade=True))
    axis.auto_scale_xyz(*corners_xyz.T)
    axis.set_box_aspect(np.ptp(corners_xyz, axis=0), zoom=1.25)
    axis.view_init(elev=10, azim=-65)
    axis.set_axis_off()
    return len(faces)


def explore(ct, center_irc=None, window="lung"):
    """Sliders for the three planes and a menu of windows (ipywidgets), and at once a static picture.

    The picture stays in the notebook where widgets do not run. Returns the widget.
    """
    import ipywidgets as widgets
    from IPython.display import display

    center_irc = tuple(n // 2 for n in ct.hu_a.shape) if center_irc is None else center_irc
    output = widgets.Output()
    sliders = [
        widgets.IntSlider(int(at), 0, n - 1, description=name, continuous_update=False)
        for at, n, name in zip(center_irc, ct.hu_a.shape, ("index", "row", "column"))
    ]
    menu = widgets.Dropdown(options=list(WINDOWS), value=window, description="window")

    def draw(_change=None):
        with output:
            output.clear_output(wait=True)
            figure = show_planes(ct, tuple(slider.value for slider in sliders), menu.value)
            display(figure)
            plt.close(figure)

    for control in (*sliders, menu):
        control.observe(draw, names="value")
    figure = show_planes(ct, center_irc, window, figsize=(7, 2.8))
    display(figure)
    plt.close(figure)
    return widgets.VBox([widgets.HBox(sliders), menu, output])
