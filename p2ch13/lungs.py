"""Where the lungs are in a scan: found once, and handed on (chapters 13 and 14).

The segmentation looks only at windows around the lungs, and what it marks far from them is no candidate.
"""

from functools import cached_property

import numpy as np
from scipy import ndimage

TISSUE_HU = -500  # halfway between air and tissue: what is less dense is air, or lung
ROOM_HU = -950  # lung is denser than the air around the patient
THICK = 0.11  # of the picture's edge; couch and clothes are thinner than a lung
RIM = 0.04  # of the picture's edge; the blurred rim of a body is thinner than any part of a lung
STEP_IRC = (2, 4, 4)  # a few millimetres are precise enough to see where the lungs are
MARGIN = 20  # pixels around the lungs


class Lungs:
    """The lungs of one scan. hu: int16 (index, row, column).

    shape: of the scan. body: window (rows, columns) of all that is not air around the patient. mask: the
    lungs, bool, every `STEP_IRC`-th voxel. Lungs are air that no path through air, within a slice, leads out
    of; "out" are the corners. Where the picture shows only part of the chest, its edge, or that of the circle
    the scanner sees, may cut a lung open. So what leads out is lung as well where it is denser than a room's
    air and at least `THICK`; the rim of the body is as dense, but thin.
    """

    def __init__(self, hu):
        self.shape = hu.shape
        self.body = body_window(hu)
        coarse = hu[tuple(slice(None, None, step) for step in STEP_IRC)]
        self._air = coarse < TISSUE_HU
        labels, count = ndimage.label(self._air, _WITHIN_SLICES)
        leads_out = np.zeros(count + 1, dtype=bool)
        leads_out[labels[:, [0, 0, -1, -1], [0, -1, 0, -1]]] = True
        leads_out[0] = False
        self._is_out = leads_out[labels]
        self._dense_and_out = (self._is_out & (coarse > ROOM_HU)).astype(np.uint8)
        self.mask = self._mask(THICK)

    def _mask(self, thick):
        """The lungs, where what leads out counts from a thickness of this share of the picture's edge on."""
        least = (1, *(max(round(thick * size), 3) for size in self._air.shape[1:]))
        cut_open = ndimage.grey_opening(self._dense_and_out, size=least) > 0
        labels, count = ndimage.label((self._air & ~self._is_out) | cut_open, _WITHIN_SLICES)
        is_lung = np.bincount(labels.ravel(), minlength=count + 1) >= 30
        is_lung[0] = False
        return is_lung[labels]

    @cached_property
    def are_two(self) -> bool:
        """Do the lungs fill half of the patient's width at least? Less may mean that one has collapsed."""
        if not self.mask.any():
            return False
        width = self._window(self.mask.any(axis=0))[1]
        return 2 * (width.stop - width.start - 2 * MARGIN) >= self.body[1].stop - self.body[1].start

    def windows(self, slab=8, around=8):
        """[(slices, (rows, columns))]: slabs of `slab` slices, each with the smallest window that holds its lungs.

        Lungs within `around` slices above and below count, too, so that what sits on the diaphragm or in the
        tip of a lung is inside; slabs without any are left out. Where there do not seem to be two lungs, every
        slab has the window of the whole body.
        """
        slabs = [slice(start, min(start + slab, self.shape[0])) for start in range(0, self.shape[0], slab)]
        if not self.are_two:
            return [(part, self.body) for part in slabs]
        step = STEP_IRC[0]
        near = [
            self.mask[max(part.start - around, 0) // step : (part.stop + around) // step + 1].any(axis=0)
            for part in slabs
        ]
        return [(part, self._window(area)) for part, area in zip(slabs, near) if area.any()]

    def _window(self, area):
        """The window of the scan around lungs seen from the feet: bool (rows, columns) / `STEP_IRC`."""
        return tuple(
            _window(np.flatnonzero(area.any(axis=1 - axis)) * step, self.shape[1 + axis], MARGIN)
            for axis, step in enumerate(STEP_IRC[1:])
        )

    @cached_property
    def _generous(self):
        """In doubt it is lung: a thin slice of one that the picture cuts open, and so a couch."""
        return self._mask(RIM)

    def distance_mm(self, spacing_irc) -> np.ndarray | None:
        """How far every `STEP_IRC`-th voxel of the scan lies from the lungs, in mm; inside it is 0.

        spacing_irc: mm. In doubt it is lung. None where there do not seem to be two lungs.
        """
        if not self.are_two:
            return None
        return ndimage.distance_transform_edt(~self._generous, sampling=np.array(spacing_irc) * STEP_IRC)


_WITHIN_SLICES = np.zeros((3, 3, 3), dtype=bool)
_WITHIN_SLICES[1] = ndimage.generate_binary_structure(2, 1)


def body_window(hu, margin=8):
    """Two slices (rows, columns) of the smallest window that holds all that is not air around the patient."""
    occupied = (hu[::2] > TISSUE_HU).any(axis=0)
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
