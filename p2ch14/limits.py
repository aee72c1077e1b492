"""What limits the findings in a scan: said beside them, so that "0 nodules" is not read as "healthy" (chapter 14).

The networks answer for any volume, also for one that they were not made for. What the training saw:
slices of 1 to 2.5 mm, kernels from smooth to moderately sharp, vessels up to 300 HU with contrast agent, chests.
"""

import re

import numpy as np

from p2ch13.lungs import STEP_IRC, Lungs

THICKEST_MM = 2.6
LEAST_LUNG_LITRES = 0.2
LUNG_HU = (-960, -600)  # air in the bowel or in a sinus is less dense, and hardly any of it is lung
CUT_SHARE = 0.2  # of the largest slice's lungs: where the outermost slice has more, lungs go on beyond
BRIGHTEST_BLOOD_HU = 300
# Names of sharp kernels: Siemens' numbers from 60 on (B70f, Br64), GE's, Canon's FC5x and FC8x.
_SHARP = re.compile(r"^(?:[a-z]{1,2}[6-9]\d[a-z]?|bone\w*|edge|ultra|fc[58]\d)\b", re.IGNORECASE)


def limits_of(ct, lungs: Lungs | None = None) -> tuple[str, ...]:
    """Sentences, without a full stop: how the scan was read where that was not plain, and what to expect of it.

    ct: a `p2ch10.dsets.Ct`. lungs: of its voxels, where they are known already.
    """
    return (*ct.notes, *_of_slices(ct), *_of_lungs(ct, lungs or Lungs(ct.hu_a)), *_of_header(ct.header))


def _of_slices(ct):
    thickness = float(ct.vxSize_xyz.z)
    thickness = max(thickness, float(ct.header.get("SliceThickness", 0)))
    if thickness > THICKEST_MM:
        yield (
            f"thick slices ({thickness:.3g} mm; the training had 1 to 2.5 mm): small nodules may be missed, "
            "and sizes are uncertain"
        )


def _of_lungs(ct, lungs):
    coarse = ct.hu_a[tuple(slice(None, None, step) for step in STEP_IRC)]
    voxel_mm3 = np.prod(ct.vxSize_xyz) * np.prod(STEP_IRC)
    is_lung = lungs.mask & (coarse > LUNG_HU[0]) & (coarse < LUNG_HU[1])
    per_slice = is_lung.sum(axis=(1, 2))
    if per_slice.sum() * voxel_mm3 / 1e6 < LEAST_LUNG_LITRES:
        yield "no lungs found: this may be another part of the body, or a scan whose lungs hold no air"
        return
    if not lungs.are_two:
        yield "the lungs fill less than half of the body's width: one may have collapsed, or lie outside the picture"
    last = [name for name, end in (("feet", 0), ("head", -1)) if per_slice[end] > CUT_SHARE * per_slice.max()]
    if last:
        yield f"lungs cut: they go on beyond the scan's end towards the {' and the '.join(last)}"
    sides = is_lung.any(axis=0)
    edges = sides[0].sum() + sides[-1].sum() + sides[:, 0].sum() + sides[:, -1].sum()
    if edges > 0.1 * sum(sides.shape):
        yield "lungs cut: they go on beyond the edge of the slices"


def _of_header(header):
    kernel = header.get("ConvolutionKernel", "").strip()
    if _SHARP.match(kernel):
        yield f"sharp kernel ({kernel}): sharper than what the training had; expect more false findings"
    if header.get("ContrastBolusAgent", "").strip():
        yield (
            f"contrast agent given: vessels brighter than {BRIGHTEST_BLOOD_HU} HU were not in the training, "
            "and may be taken for something else"
        )
