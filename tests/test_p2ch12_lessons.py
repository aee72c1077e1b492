"""The lessons of chapter 12 on held-out generated scans, in the numbers that their notebooks log.

`python -m p2ch12.lessons` measures them for three seeds.
"""

import json
from functools import partial

import pytest
import torch

from p2ch10.dsets import LunaDataset
from p2ch12 import lessons
from p2ch12.lessons import class_loss, recall_at_precision


@pytest.fixture(scope="module")
def losses(trained):
    """{is it augmented: (training losses, validation losses)} of the notebook's balanced training, by epoch."""
    return {
        augmented: by_epoch(trained("p2ch12", balanced=True, augmented=augmented)["history"])
        for augmented in (False, True)
    }


def by_epoch(history):
    return [[class_loss(entry[mode]) for entry in history] for mode in ("trn", "val")]


@pytest.mark.lesson
def test_without_augmentation_the_curves_part(losses):
    training, validation = losses[False]
    assert len(training) == len(validation) == 4
    assert training == sorted(training, reverse=True), "the training loss falls in every epoch"
    assert validation[-1] > training[-1] + 0.1


@pytest.mark.lesson
def test_augmentation_improves_the_validation_loss_and_narrows_the_gap(losses):
    gap = {key: validation[-1] - training[-1] for key, (training, validation) in losses.items()}
    assert losses[True][1][-1] < losses[False][1][-1]
    assert gap[True] < gap[False]


@pytest.mark.command
def test_the_command_measures_every_training_and_records_it(clean_output, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lessons, "RECORD", tmp_path / "lessons.json")
    monkeypatch.setattr(lessons, "as_it_is", partial(lessons.as_it_is, samples=32))
    infos = LunaDataset(val_stride=5, isValSet_bool=True).candidateInfo_list
    few = [*(i for i in infos if i.isNodule_bool), *(i for i in infos if not i.isNodule_bool)][20:90]

    def small(app):
        return app.make_loader(LunaDataset(candidateInfo_list=few), shuffle=False)

    for app_class in (lessons.LunaTrainingApp, lessons.SmallValidationApp):
        monkeypatch.setattr(app_class, "initValDl", small)
    options = ["--seeds", "1", "--epochs", "2", "--epoch-samples", "16", "--write"]
    monkeypatch.setattr("sys.argv", ["lessons", *options])
    lessons.main()
    said = capsys.readouterr().out
    assert all(f"seed 0  {what}" in said for what in ("as it is: ", "balanced: ", "balanced, augmented: "))
    records = json.loads(lessons.RECORD.read_text())
    assert [(record["seed"], record["augmented"]) for record in records] == [(0, False), (0, True)]
    assert all(len(record[mode]) == 2 for record in records for mode in ("trn", "val"))


def test_recall_at_precision_by_hand():
    label, probability = torch.tensor([True, False, True, False]), torch.tensor([0.9, 0.8, 0.7, 0.1])
    assert recall_at_precision(label, probability, 0.9) == 0.5
    assert recall_at_precision(label, probability, 0.6) == 1.0
    assert recall_at_precision(torch.tensor([False, True]), torch.tensor([0.9, 0.1]), 0.6) == 0.0
