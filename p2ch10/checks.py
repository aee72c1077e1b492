"""Are these numbers Hounsfield units? (chapter 10, "Hounsfield units")

Water is 0 and air is -1000 on every scanner in the world. So a chest CT has air below -500 HU and,
padding apart, nothing below -1100. What is otherwise was stored in other units: raw detector values, grey
levels of a picture, a mask, another kind of scan. Networks answer "nothing found" to those, so they are refused.
"""

import numpy as np

from p2ch10.volume import called
from util.errors import UserError

AIR_HU, DENSEST_HU = -1000, 1000
BELOW_IS_AIR = -500
LEAST_AIR = 0.001  # share of all voxels
MOST_BELOW_AIR = 0.05  # share of voxels below -1150 that are not all the same (that would be padding)


def sample_of(values) -> np.ndarray:
    """Enough voxels to judge by, without reading every one: about one in 128, without NaN, in float64."""
    steps = tuple(slice(None, None, step if size > 32 else 1) for size, step in zip(values.shape, (2, 8, 8)))
    some = values[steps].astype(np.float64).ravel()
    return some[~np.isnan(some)]


def check_hounsfield(values, path, hint=""):
    """Raises `UserError` where `values` (a volume or a part of one) are no Hounsfield units.

    hint: what the file's header says about it, such as that a rescale is missing.
    """
    some = sample_of(values)
    if not len(some):
        raise UserError(f"'{called(path)}' holds no numbers; fetch it again")
    low, high = some.min(), some.max()
    air = (some < BELOW_IS_AIR).mean()
    below = some[some < -1150]
    strange = (below != low).mean() * len(below) / len(some) if len(below) else 0.0
    if air >= LEAST_AIR and strange <= MOST_BELOW_AIR:
        return
    # The extremes of all values are worth a look now that something is wrong.
    with np.errstate(invalid="ignore"):
        low, high = np.nanmin(values), np.nanmax(values)
    reason = hint or _likely(low, high, values.dtype)
    raise UserError(
        f"the values of '{called(path)}', {low:.4g} to {high:.4g}, are not Hounsfield units (air -1000 HU, "
        f"water 0){': ' + reason if reason else ''}; give the CT scan itself, converted to HU"
    )


def _likely(low, high, dtype) -> str:
    if low >= 0 and high <= 1.001:
        return "they look like a mask or were scaled to 0 … 1; undo the scaling"
    if low >= 0 and high <= 20:
        return "they look like a mask"
    if low >= 0 and high <= 255.5:
        return "they look like the grey levels of a picture; export the scan with its full range"
    if low >= 0 and high > 60000:
        return "negative values may have been stored as unsigned; save the scan with signed voxels"
    if low >= 0:
        return (
            "they look like stored values before the rescale, an inverted picture, or no CT; "
            "subtract 1024, if that was added"
        )
    if low >= -100 and high < 100:
        return "they look normalized; undo the normalization"
    if low > BELOW_IS_AIR:
        return "there is no air; the range may have been cut to a window, or this is no CT"
    return "much is less dense than air; an offset or a factor may have been applied twice"


def as_hounsfield(values) -> np.ndarray:
    """Int16 HU in [-1000, 1000], contiguous, from numbers of any type; NaN becomes air.

    Below -1000 lies only padding outside the scanner's field of view; above 1000 only bone and metal.
    """
    if values.dtype.kind == "u":
        values = np.minimum(values, DENSEST_HU)
    else:
        values = np.clip(values, AIR_HU, DENSEST_HU)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), values.dtype.type(AIR_HU), np.rint(values))
    return np.ascontiguousarray(values.astype(np.int16, copy=False))
