"""A trained U-Net over a whole scan, fast, and in the plain way that it is measured against (chapter 13)."""

import numpy as np
import torch

from p2ch13.dsets import CONTEXT_SLICES, slices_with_context
from util.progress import enumerateWithEstimate


@torch.inference_mode()
def segment(model, hu, threshold=0.5, batch_size=2, use_bfloat16=False) -> np.ndarray:
    """Suspicious voxels of a scan: bool, of the shape of `hu`, int16 (I, R, C).

    model: a `UNetWrapper` in evaluation mode. What lies outside the patient is left out, `batch_size`
    slices go through together, and with `use_bfloat16` in that arithmetic.
    """
    device = next(model.parameters()).device
    window = body_window(hu)
    body = hu[(slice(None), *window)]
    mask = np.zeros(hu.shape, dtype=bool)
    starts = range(0, len(body), batch_size)
    for _, start in enumerateWithEstimate(starts, "segmentation"):
        stop = min(start + batch_size, len(body))
        # Neighbouring slices share most of their context, so each is converted and sent only once.
        wanted = np.clip(np.arange(start - CONTEXT_SLICES, stop + CONTEXT_SLICES), 0, len(body) - 1)
        slab_g = torch.from_numpy(body[wanted].astype(np.float32)).to(device)  # (N + 6, H, W)
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


def body_window(hu, air_hu=-500, multiple=4, margin=8):
    """Two slices (rows, columns): the smallest window that holds all that is not air around the patient.

    Its edges are multiples of `multiple`, as the U-Net needs, where the image allows it.
    """
    window = []
    occupied = (hu[::2] > air_hu).any(axis=0)
    for axis in (0, 1):
        places = np.flatnonzero(occupied.any(axis=1 - axis))
        size = hu.shape[1 + axis]
        if len(places) == 0:
            places = np.array([0, size - 1])
        start = max(int(places[0]) - margin, 0)
        length = min(int(places[-1]) + margin + 1, size) - start
        length = min(-(-length // multiple) * multiple, size // multiple * multiple)
        start = min(start, size - length)
        window.append(slice(start, start + length))
    return tuple(window)
