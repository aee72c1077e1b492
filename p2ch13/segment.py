"""A trained U-Net over a whole scan, fast, and in the plain way that it is measured against (chapter 13)."""

import numpy as np
import torch
from scipy import ndimage

from p2ch13.dsets import CONTEXT_SLICES, slices_with_context
from util.progress import enumerateWithEstimate


@torch.inference_mode()
def segment(model, hu, threshold=0.5, batch_size=1, use_bfloat16=False) -> np.ndarray:
    """Suspicious voxels of a scan: bool, of the shape of `hu`, int16 (I, R, C).

    model: a `UNetWrapper` in evaluation mode. What lies far outside the lungs is left out, `batch_size`
    slices go through together, and with `use_bfloat16` in that arithmetic.
    """
    device = next(model.parameters()).device
    window = lung_window(hu)
    chest = hu[(slice(None), *window)]
    mask = np.zeros(hu.shape, dtype=bool)
    starts = range(0, len(chest), batch_size)
    for _, start in enumerateWithEstimate(starts, "segmentation"):
        stop = min(start + batch_size, len(chest))
        # Neighbouring slices share most of their context, so each is converted and sent only once.
        wanted = np.clip(np.arange(start - CONTEXT_SLICES, stop + CONTEXT_SLICES), 0, len(chest) - 1)
        slab_g = torch.from_numpy(chest[wanted].astype(np.float32)).to(device)  # (N + 6, H, W)
        input_g = slab_g.unfold(0, 2 * CONTEXT_SLICES + 1, 1).permute(0, 3, 1, 2)  # (N, 7, H, W)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bfloat16):
            probability_g = model(input_g.contiguous(memory_format=torch.channels_last))
        mask[(slice(start, stop), *window)] = (probability_g[:, 0] > threshold).cpu().numpy()
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


def lung_window(hu, air_hu=-500, margin=16):
    """Two slices (rows, columns) of the smallest window that holds the lungs and `margin` pixels around them.

    hu: int16 (I, R, C). Lungs are air that no path through air, within a slice, leads out of. Where this
    does not look like two lungs, because they fill less than half of the patient's width, as when one has
    collapsed, it is the window of the whole body.
    """
    body = body_window(hu, air_hu)
    air = hu[::2, ::4, ::4] < air_hu  # a few millimetres are precise enough here
    within_slices = np.zeros((3, 3, 3), dtype=bool)
    within_slices[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(air, within_slices)
    is_lung = np.bincount(labels.ravel(), minlength=count + 1) >= 30
    is_lung[0] = False
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        is_lung[edge] = False
    lungs = is_lung[labels].any(axis=0)
    if not lungs.any():
        return body
    window = tuple(
        _window(np.flatnonzero(lungs.any(axis=1 - axis)) * 4, hu.shape[1 + axis], margin) for axis in (0, 1)
    )
    width, of_body = (part[1].stop - part[1].start for part in (window, body))
    return window if 2 * (width - 2 * margin) >= of_body else body


def body_window(hu, air_hu=-500, margin=8):
    """Two slices (rows, columns) of the smallest window that holds all that is not air around the patient."""
    occupied = (hu[::2] > air_hu).any(axis=0)
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
