"""A trained U-Net over a whole scan, fast, and in the plain way that it is measured against (chapter 13)."""

import numpy as np
import torch
from scipy import ndimage

from p2ch13.dsets import CONTEXT_SLICES, slices_with_context
from util.util import enumerateWithEstimate

AIR_HU = -500
ROOM_HU = -950  # lung is denser than the air around the patient
THICK = 0.11  # of the picture's edge; couch and clothes are thinner than a lung
RIM = 0.04  # of the picture's edge; the blurred rim of a body is thinner than any part of a lung
STEP_IRC = (2, 4, 4)  # a few millimetres are precise enough to see where the lungs are
MARGIN = 20  # pixels around the lungs
EDGE = 8  # of which so many only inform the others: at an edge the network sees zeros instead of its surroundings


@torch.inference_mode()
def segment(model, hu, threshold=0.5, batch_size=1, use_bfloat16=False) -> np.ndarray:
    """Suspicious voxels of a scan: bool, of the shape of `hu`, int16 (I, R, C).

    model: a `UNetWrapper` in evaluation mode. What lies far outside the lungs is left out, `batch_size`
    slices go through together, and with `use_bfloat16` in that arithmetic.
    """
    device = next(model.parameters()).device
    mask = np.zeros(hu.shape, dtype=bool)
    slabs = [
        (slice(start, min(start + batch_size, slab.stop)), window)
        for slab, window in lung_windows(hu)
        for start in range(slab.start, slab.stop, batch_size)
    ]
    for _, (slab, window) in enumerateWithEstimate(slabs, "segmentation"):
        # Neighbouring slices share most of their context, so each is converted and sent only once.
        wanted = np.clip(np.arange(slab.start - CONTEXT_SLICES, slab.stop + CONTEXT_SLICES), 0, len(hu) - 1)
        slab_g = torch.from_numpy(hu[wanted][(slice(None), *window)].astype(np.float32)).to(device)
        input_g = slab_g.unfold(0, 2 * CONTEXT_SLICES + 1, 1).permute(0, 3, 1, 2)  # (N, 7, H, W)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bfloat16):
            probability_g = model(input_g.contiguous(memory_format=torch.channels_last))
        rows, columns = judged = trusted(window, hu.shape[1:])
        within = tuple(slice(j.start - w.start, j.stop - w.start) for j, w in zip(judged, window))
        mask[slab, rows, columns] = (probability_g[:, 0][(slice(None), *within)] > threshold).cpu().numpy()
    return mask


@torch.inference_mode()
def segment_plainly(model, hu, threshold=0.5) -> np.ndarray:
    """The same, as one would write it down first: slice by slice, whole slices, float32."""
    device = next(model.parameters()).device
    mask = np.zeros(hu.shape, dtype=bool)
    for ndx in range(len(hu)):
        slices = slices_with_context(hu, ndx).astype(np.float32)
        probability_g = model(torch.from_numpy(slices)[None].to(device))
        mask[ndx] = (probability_g[0, 0] > threshold).cpu().numpy()
    return mask


def trusted(window, shape):
    """The part of a window (rows, columns) of an image of `shape` that is not `EDGE` pixels from where it was cut."""
    return tuple(
        slice(part.start + EDGE * (part.start > 0), part.stop - EDGE * (part.stop < size))
        for part, size in zip(window, shape)
    )


def lung_windows(hu, slab=8, around=8):
    """[(slices, (rows, columns))]: slabs of `slab` slices, each with the smallest window that holds its lungs.

    hu: int16 (I, R, C). Lungs within `around` slices above and below count, too, so that what sits on the
    diaphragm or in the tip of a lung is inside; slabs without any are left out. Where there do not seem to be
    two lungs, every slab has the window of the whole body.
    """
    lungs, body = _lungs(hu), body_window(hu)
    starts = range(0, len(hu), slab)
    if not _are_two(lungs, body, hu.shape):
        return [(slice(start, min(start + slab, len(hu))), body) for start in starts]
    windows = []
    for start in starts:
        stop = min(start + slab, len(hu))
        near = lungs[max(start - around, 0) // STEP_IRC[0] : (stop + around) // STEP_IRC[0] + 1].any(axis=0)
        if near.any():
            windows.append((slice(start, stop), _window_of_lungs(near, hu.shape)))
    return windows


def _are_two(lungs, body, shape) -> bool:
    """Do the lungs fill half of the patient's width at least? Less may mean that one has collapsed."""
    if not lungs.any():
        return False
    width = _window_of_lungs(lungs.any(axis=0), shape)[1]
    return 2 * (width.stop - width.start - 2 * MARGIN) >= body[1].stop - body[1].start


def _lungs(hu, thick=THICK):
    """Air that no path through air, within a slice, leads out of: bool, every `STEP_IRC`-th voxel of `hu`.

    "Out" are the corners. Where the picture shows only part of the chest, its edge, or that of the circle the
    scanner sees, may cut a lung open. So what leads out is lung as well where it is denser than a room's air
    and at least `thick`, a share of the picture's edge; the rim of the body is as dense, but thin.
    """
    coarse = hu[tuple(slice(None, None, step) for step in STEP_IRC)]
    within_slices = np.zeros((3, 3, 3), dtype=bool)
    within_slices[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(coarse < AIR_HU, within_slices)
    leads_out = np.zeros(count + 1, dtype=bool)
    leads_out[labels[:, [0, 0, -1, -1], [0, -1, 0, -1]]] = True
    leads_out[0] = False
    is_out = leads_out[labels]
    least = (1, *(max(round(thick * size), 3) for size in coarse.shape[1:]))
    cut_open = ndimage.grey_opening((is_out & (coarse > ROOM_HU)).astype(np.uint8), size=least) > 0
    labels, count = ndimage.label(((coarse < AIR_HU) & ~is_out) | cut_open, within_slices)
    is_lung = np.bincount(labels.ravel(), minlength=count + 1) >= 30
    is_lung[0] = False
    return is_lung[labels]


def _window_of_lungs(area, shape):
    """The window of `shape` (I, R, C) around lungs seen from the feet: bool (rows, columns) / `STEP_IRC`."""
    return tuple(
        _window(np.flatnonzero(area.any(axis=1 - axis)) * step, shape[1 + axis], MARGIN)
        for axis, step in enumerate(STEP_IRC[1:])
    )


def distance_to_lungs(hu, spacing_irc) -> np.ndarray | None:
    """How far every `STEP_IRC`-th voxel of `hu` lies from the lungs, in mm; inside it is 0.

    hu: int16 (I, R, C); spacing_irc: mm. In doubt it is lung: a thin slice of one that the picture cuts open,
    and so a couch. None where there do not seem to be two lungs.
    """
    if not _are_two(_lungs(hu), body_window(hu), hu.shape):
        return None
    return ndimage.distance_transform_edt(~_lungs(hu, RIM), sampling=np.array(spacing_irc) * STEP_IRC)


def body_window(hu, margin=8):
    """Two slices (rows, columns) of the smallest window that holds all that is not air around the patient."""
    occupied = (hu[::2] > AIR_HU).any(axis=0)
    return tuple(
        _window(np.flatnonzero(occupied.any(axis=1 - axis)), hu.shape[1 + axis], margin) for axis in (0, 1)
    )


def _window(places, size, margin, multiple=4):
    """From the first to the last of `places` (all, if none) and `margin` more on both sides.

    Its length is a multiple of `multiple`, as the U-Net needs, where the image allows it.
    """
    first, last = (places[0], places[-1]) if len(places) else (0, size - 1)
    start = max(int(first) - margin, 0)
    length = min(int(last) + margin + 1, size) - start
    length = min(-(-length // multiple) * multiple, size // multiple * multiple)
    start = min(start, size - length)
    return slice(start, start + length)
