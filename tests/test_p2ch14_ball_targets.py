"""Chapter 14, "Refined training data": balls for truth, and irrelevant findings that teach nothing."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from p2ch10.dsets import CandidateInfoTuple
from p2ch14 import scoring
from p2ch14.shipped import hard_negatives
from p2ch14.shipped.ball_targets import ball_truth
from p2ch14.shipped.hard_negatives import without_irrelevant
from p2ch14.shipped.trainings import BallTargetTrainingApp

SHAPE = (9, 12, 14)


@given(
    st.tuples(*[st.floats(-3, size + 3) for size in SHAPE]),
    st.floats(1.5, 8),
    st.tuples(st.sampled_from([1.0, 1.25, 2.5]), st.floats(0.5, 1), st.floats(0.5, 1)),
)
def test_a_ball_agrees_with_the_obvious_way(center, radius, spacing):
    truth = ball_truth(SHAPE, center, radius, spacing)
    whole = np.zeros(SHAPE, dtype=bool)
    whole[truth.box] = truth.mask
    inside = [min(max(c, 0), size - 1) for c, size in zip(center, SHAPE)]
    for place in np.ndindex(SHAPE):
        reach = [max(radius, 0.75 * mm) for mm in spacing]
        share = sum(((p - c) * mm / r) ** 2 for p, c, mm, r in zip(place, inside, spacing, reach))
        assert whole[place] == (share <= 1) or share == pytest.approx(1)
    assert whole[tuple(math.floor(c + 0.5) for c in inside)], "the nearest voxel is always inside"


def candidate(is_nodule, x, series_uid="1.1"):
    return CandidateInfoTuple(is_nodule, False, False, 0.0, series_uid, (float(x), 0.0, 0.0))


def test_irrelevant_findings_are_no_examples_of_what_is_no_nodule(monkeypatch):
    # Without a diameter 10 mm count, as in LUNA16's evaluation; exactly at the radius is outside.
    findings = {"1.1": np.array([[0, 0, 0, -1.0], [40, 0, 0, 6.0]])}
    monkeypatch.setattr(hard_negatives, "irrelevant_findings", lambda: findings)
    candidates = [candidate(False, x) for x in (0, 4.9, 5, 42.9, 43, 100)]
    kept = without_irrelevant([*candidates, candidate(True, 0), candidate(False, 0, "1.2")])
    assert [c.center_xyz[0] for c in kept] == [5, 43, 100, 0, 0]
    assert [c.isNodule_bool for c in kept] == [False, False, False, True, False]


def test_without_a_list_nothing_is_irrelevant(monkeypatch):
    monkeypatch.setattr(scoring.luna, "list_path", lambda name: None)
    assert scoring.irrelevant_findings() == {}
    candidates = [candidate(False, 0), candidate(True, 1)]
    assert without_irrelevant(candidates) == candidates


def test_what_is_missed_counts_by_crop_and_not_by_pixel(clean_output):
    app = BallTargetTrainingApp(["--device", "cpu"])
    label = torch.zeros(3, 1, 32, 32)
    label[0, 0, :30, :30] = 1  # a large nodule, found
    label[1, 0, :2, :2] = 1  # a small one, missed
    prediction = torch.zeros_like(label, requires_grad=True)
    found = prediction + torch.cat([label[:1], torch.zeros(2, 1, 32, 32)])
    assert app.missed(found, label).item() == pytest.approx((0 + 1 - 1 / 5) / 2)
    by_pixel = super(BallTargetTrainingApp, app).missed(found, label).item()
    assert by_pixel == pytest.approx(1 - (2 * 900 + 1) / (900 + 904 + 1), abs=1e-6)
    nothing = app.missed(prediction, torch.zeros_like(label))
    nothing.backward()
    assert nothing.item() == 0
    assert not prediction.grad.any()
