"""Pictures of scans with what the segmentation is about: the truth, and what a slice consists of (chapter 13)."""

import numpy as np
from scipy import ndimage

from p2ch10.vis import candidate_of, show_candidate
from p2ch10.vis import findPositiveSamples as findPositiveSamples
from p2ch13.dsets import LUNG_HU, MaskTuple, getCt, truth_of_slice, truths_of
from util.plotting import SKY


def showCandidate(series_uid, batch_ndx=None):
    """Chapter 10's three planes, with the annotated nodules outlined in the axial one. Returns the figure."""
    info = candidate_of(series_uid, batch_ndx)
    figure = show_candidate(info)
    geometry = getCt(series_uid).geometry
    slice_ndx = geometry.clamped(geometry.xyz2irc(info.center_xyz)).index
    truth = truth_of_slice(truths_of(series_uid), slice_ndx, geometry.shape[1:])
    if truth.any():
        figure.axes[0].contour(truth, levels=[0.5], colors=[SKY], linewidths=1.5)
    return figure


def build2dLungMask(series_uid, center_ndx) -> MaskTuple:
    """What slice `center_ndx` of a scan consists of, step by step: a `MaskTuple` of bool masks (H, W).

    Dense is what is denser than lung, raw and without specks; the body is the largest dense thing with its
    holes filled; air is what is not dense in it; the lungs are the air with its vessels and nodules. What is
    dense in the lungs could be a nodule (candidate): positive where it is annotated, else negative. Where
    `p2ch13.lungs.Lungs` sees the whole scan, this sees one slice only.
    """
    ct = getCt(series_uid)
    raw_dense = ct.hu_a[center_ndx] > LUNG_HU
    dense = ndimage.binary_opening(raw_dense, iterations=2)
    body = ndimage.binary_fill_holes(_largest(dense))
    air = ndimage.binary_opening(body & ~dense, iterations=2)
    lung = ndimage.binary_fill_holes(ndimage.binary_closing(air, iterations=4)) & body
    raw_candidate = raw_dense & lung
    candidate = ndimage.binary_opening(raw_candidate)
    positive = truth_of_slice(truths_of(series_uid), center_ndx, raw_dense.shape)
    negative = candidate & ~positive
    return MaskTuple(raw_dense, dense, body, air, raw_candidate, candidate, lung, negative, positive)


def _largest(mask):
    """The largest connected part of a mask; the mask itself where it is empty."""
    labels, count = ndimage.label(mask)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if count else mask
