"""One crop as chapter 14's pipeline judges it (chapter 15, "What we want from deployment").

`/predict` answers with chapter 11's classifier: fast, and all that can be done for a crop whose voxels are of
unknown size. The model card's figures and threshold are the pipeline's, whose second classifier sees
cubes of a fixed size in millimetres. With the spacing they can be cut out of the crop.
"""

import functools
from types import SimpleNamespace

import numpy as np

from p2ch10.ct import crop_window
from p2ch14.findings import Finding
from p2ch14.pipeline import NodulePipeline
from p2ch14.resampling import SPACING_IRC, voxels_across
from p2ch14.second_classifier import SMALL_CROP_IRC
from p3ch15.server.inputs import CROP_SHAPE
from util.errors import UserError

_CENTER_IRC = tuple(size // 2 for size in CROP_SHAPE)


def read_spacing(text) -> tuple[float, float, float]:
    """ "1.25,0.7,0.7", millimetres from slice to slice, row to row, column to column, as three numbers.

    Raises `UserError` for anything else.
    """
    try:
        spacing = tuple(float(part) for part in text.split(","))
    except ValueError:
        spacing = ()
    if len(spacing) != 3 or not all(0.1 <= mm <= 20 for mm in spacing):
        raise UserError("spacing must be three numbers of mm, slice, row, column, such as 1.25,0.7,0.7")
    return spacing


class _CropAsScan:
    """What chapter 14's pipeline asks of a scan, answered out of one crop."""

    def __init__(self, crop, spacing_irc):
        self.crop, self.geometry = crop, SimpleNamespace(spacing_irc=spacing_irc)

    def getRawCandidate(self, _center_xyz, width_irc):
        return self.crop[crop_window(_CENTER_IRC, width_irc, self.crop.shape)], _CENTER_IRC


class WholeClassifier:
    """(32, 48, 48) HU and the spacing -> {"probability", "is_nodule", "threshold"} of the card's system.

    weights: of chapter 11's classifier; the second lies beside it. Networks are read at the first call. Raises
    `UserError` where the crop shows less than the second classifier may want to see.
    """

    def __init__(self, weights=None, device=None):
        self.weights, self.device = weights, device

    @functools.cached_property
    def pipeline(self) -> NodulePipeline:
        return NodulePipeline(classification=self.weights, device=self.device)

    def __call__(self, crop, spacing_irc) -> dict:
        self._check_that_all_views_fit(spacing_irc)
        finding = Finding(_CENTER_IRC, (0.0, 0.0, 0.0), None)
        self.pipeline.judge_candidates(_CropAsScan(np.asarray(crop), spacing_irc), [finding])
        threshold = self.pipeline.threshold
        return {
            "probability": finding.probability,
            "is_nodule": finding.probability >= threshold,
            "threshold": threshold,
        }

    def _check_that_all_views_fit(self, spacing_irc):
        """Also for a crop that will turn out to deserve one view: the spacing alone says what is refused."""
        settings = self.pipeline.second_settings
        if settings is None:
            return
        farthest = max(1.0, *settings.extents)
        width = voxels_across(SMALL_CROP_IRC, spacing_irc, farthest)
        if any(needs > has for needs, has in zip(width, CROP_SHAPE)):
            needs = " x ".join(f"{size * mm * farthest:.1f}" for size, mm in zip(SMALL_CROP_IRC, SPACING_IRC))
            raise UserError(
                f"with this spacing the crop shows less than the {needs} mm that are needed; have the whole scan "
                "analysed instead"
            )
