"""One crop through all networks that the model card speaks of (chapter 15, "What we want from deployment").

`/predict` answers with the first classifier alone: fast, and all that can be done for a crop whose voxels are of
unknown size. The card's figures are of two classifiers together, and of a threshold chosen for both; the second
one sees a cube of so many millimetres. With the spacing it can be cut out of the crop.
"""

import functools
from types import SimpleNamespace

import numpy as np

from p2ch10.ct import crop_window
from p2ch14.findings import Finding
from p2ch14.pipeline import NodulePipeline
from p2ch14.resampling import SPACING_IRC
from p2ch14.second_classifier import SMALL_CROP_IRC
from p3ch15.server.inputs import CROP_SHAPE
from util.errors import UserError

_CENTER_IRC = tuple(size // 2 for size in CROP_SHAPE)
_NEEDED_MM = tuple(size * mm for size, mm in zip(SMALL_CROP_IRC, SPACING_IRC))


def read_spacing(text) -> tuple[float, float, float]:
    """ "1.25,0.7,0.7", millimetres from slice to slice, row to row, column to column, as three numbers.

    Raises `UserError` for anything else, and for voxels so small that a crop shows less than the second
    classifier needs.
    """
    try:
        spacing = tuple(float(part) for part in text.split(","))
    except ValueError:
        spacing = ()
    if len(spacing) != 3 or not all(0.1 <= mm <= 20 for mm in spacing):
        raise UserError("spacing must be three numbers of mm, slice, row, column, such as 1.25,0.7,0.7")
    shown = [size * mm for size, mm in zip(CROP_SHAPE, spacing)]
    if any(has < needs for has, needs in zip(shown, _NEEDED_MM)):
        needs = " x ".join(f"{mm:.1f}" for mm in _NEEDED_MM)
        raise UserError(f"with this spacing the crop shows less than the {needs} mm that are needed")
    return spacing


class _CropAsScan:
    """What chapter 14's pipeline asks of a scan, answered out of one crop."""

    def __init__(self, crop, spacing_irc):
        self.crop, self.geometry = crop, SimpleNamespace(spacing_irc=spacing_irc)

    def getRawCandidate(self, _center_xyz, width_irc):
        return self.crop[crop_window(_CENTER_IRC, width_irc, self.crop.shape)], _CENTER_IRC


class WholeClassifier:
    """(32, 48, 48) HU and the spacing -> {"probability", "is_nodule", "threshold"} of the card's system.

    weights: of the first classifier; the second lies beside it. Networks are read at the first call.
    """

    def __init__(self, weights=None, device=None):
        self.weights, self.device = weights, device

    @functools.cached_property
    def pipeline(self) -> NodulePipeline:
        return NodulePipeline(classification=self.weights, device=self.device)

    def __call__(self, crop, spacing_irc) -> dict:
        finding = Finding(_CENTER_IRC, (0.0, 0.0, 0.0), None)
        self.pipeline.classify_candidates(_CropAsScan(np.asarray(crop), spacing_irc), [finding])
        threshold = self.pipeline.threshold
        return {
            "probability": finding.probability,
            "is_nodule": finding.probability >= threshold,
            "threshold": threshold,
        }
