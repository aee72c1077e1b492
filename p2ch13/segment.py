"""A trained U-Net over a whole scan, fast, and in the plain way that it is measured against (chapter 13)."""

import numpy as np
import torch

from p2ch13.dsets import CONTEXT_SLICES, slices_with_context
from p2ch13.lungs import Lungs
from util.runtime import on_each_core
from util.util import enumerateWithEstimate

EDGE = 8  # of which so many only inform the others: at an edge the network sees zeros instead of its surroundings


def segment(model, hu, threshold=0.5, batch_size=1, use_bfloat16=False, lungs=None) -> np.ndarray:
    """Suspicious voxels of a scan: bool, of the shape of `hu`, int16 (I, R, C).

    model: a `UNetWrapper` in evaluation mode. What lies far outside the lungs is left out, `batch_size`
    slices go through together, on a CPU so many on every core, and with `use_bfloat16` in that arithmetic.
    lungs: the scan's `Lungs` where they have been found already.
    """
    device = next(model.parameters()).device
    mask = np.zeros(hu.shape, dtype=bool)
    slabs = [
        (slice(start, min(start + batch_size, slab.stop)), window)
        for slab, window in (lungs or Lungs(hu)).windows()
        for start in range(slab.start, slab.stop, batch_size)
    ]

    @torch.inference_mode()
    def mark(place):
        slab, window = place
        # Neighbouring slices share most of their context, so each is converted and sent only once.
        wanted = np.clip(np.arange(slab.start - CONTEXT_SLICES, slab.stop + CONTEXT_SLICES), 0, len(hu) - 1)
        slab_g = torch.from_numpy(hu[wanted][(slice(None), *window)].astype(np.float32)).to(device)
        input_g = slab_g.unfold(0, 2 * CONTEXT_SLICES + 1, 1).permute(0, 3, 1, 2)  # (N, 7, H, W)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bfloat16):
            probability_g = model(input_g.contiguous(memory_format=torch.channels_last))
        rows, columns = judged = trusted(window, hu.shape[1:])
        within = tuple(slice(j.start - w.start, j.stop - w.start) for j, w in zip(judged, window))
        mask[slab, rows, columns] = (probability_g[:, 0][(slice(None), *within)] > threshold).cpu().numpy()

    marked = on_each_core(mark, slabs, device)
    for _ in enumerateWithEstimate(marked, "segmentation", iter_len=len(slabs)):
        pass
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
