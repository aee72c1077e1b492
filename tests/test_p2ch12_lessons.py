"""The lessons of chapters 11 and 12 on held-out generated scans.

One seed by default, which takes a minute and a half; COURSE_LESSON_SEEDS=3 takes all three.
"""

import json
import os

import pytest
import torch

from p2ch12.lessons import RECORD, as_it_is, balanced, class_loss, recall_at_precision

SEEDS = range(int(os.environ.get("COURSE_LESSON_SEEDS", "1")))

pytestmark = pytest.mark.lesson


@pytest.mark.parametrize("seed", SEEDS)
def test_chapter_11_is_right_nearly_always_and_finds_nothing(seed):
    result = as_it_is(seed)
    assert result["correct"] >= 0.99
    assert result["recall"] <= 0.2


@pytest.fixture(scope="module")
def losses():
    """{(seed, augmented): (training losses, validation losses)} of balanced training, by epoch."""
    trained = {}
    for seed in SEEDS:
        for augmented in (False, True):
            history = balanced(seed, augmented).history
            trained[seed, augmented] = tuple(
                [class_loss(e[mode]) for e in history] for mode in ("trn", "val")
            )
    return trained


def test_without_augmentation_the_curves_part(losses):
    for seed in SEEDS:
        training, validation = losses[seed, False]
        assert training == sorted(training, reverse=True), "the training loss falls in every epoch"
        assert validation[-1] > training[-1] + 0.1


def test_the_recorded_longer_training_overfits_and_augmentation_helps():
    """Recorded by `python -m p2ch12.lessons --epochs 10 --epoch-samples 2000 --write`, a quarter of an hour."""
    records = {(r["seed"], r["augmented"]): r for r in json.loads(RECORD.read_text())}
    assert len(records) == 6
    for seed in range(3):
        plain, augmented = records[seed, False], records[seed, True]
        assert plain["trn"][-1] < 0.1
        assert plain["val"][-1] > min(plain["val"]) + 0.1, "the validation loss rises"
        assert augmented["val"][-1] < plain["val"][-1]
        assert augmented["auc"] > plain["auc"]


@pytest.mark.parametrize("seed", SEEDS)
def test_augmentation_improves_the_validation_loss_and_narrows_the_gap(losses, seed):
    gap = {}
    for augmented in (False, True):
        training, validation = losses[seed, augmented]
        gap[augmented] = validation[-1] - training[-1]
    assert losses[seed, True][1][-1] < losses[seed, False][1][-1]
    assert gap[True] < gap[False]


def test_recall_at_precision_by_hand():
    label, probability = torch.tensor([True, False, True, False]), torch.tensor([0.9, 0.8, 0.7, 0.1])
    assert recall_at_precision(label, probability, 0.9) == 0.5
    assert recall_at_precision(label, probability, 0.6) == 1.0
    assert recall_at_precision(torch.tensor([False, True]), torch.tensor([0.9, 0.1]), 0.6) == 0.0
