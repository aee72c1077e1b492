"""The lessons of chapters 11 and 12 on held-out generated scans, in the numbers that their notebooks log.

`python -m p2ch12.lessons` measures them for three seeds.
"""

import json
from functools import partial

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from p2ch10.dsets import LunaDataset
from p2ch11 import training
from p2ch12 import lessons
from p2ch12.lessons import RECORD, class_loss, recall_at_precision
from p2ch12.training import LunaTrainingApp


def logged(app_class, comment):
    """{mode: a dict of metrics per epoch} of the newest training with this comment."""
    metrics = {}
    for mode in ("trn", "val"):
        newest = max((app_class.latest_run(comment) / "runs").glob(f"*-{mode}"))
        events = EventAccumulator(str(newest)).Reload()
        by_name = {name: [event.value for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
        metrics[mode] = [dict(zip(by_name, values)) for values in zip(*by_name.values(), strict=True)]
    return metrics


@pytest.mark.lesson
def test_chapter_11_is_right_nearly_always_and_finds_nothing(executed):
    executed("p2ch11")
    result = logged(training.LunaTrainingApp, "notebook")["val"][-1]
    assert result["correct/all"] >= 99
    assert result["correct/pos"] <= 20


@pytest.fixture(scope="module")
def losses(executed):
    """{is it augmented: (training losses, validation losses)} of balanced training, by epoch."""
    executed("p2ch12")
    runs = {
        False: logged(LunaTrainingApp, "notebook-balanced"),
        True: logged(LunaTrainingApp, "notebook-augmented"),
    }
    return {
        key: [[class_loss(entry) for entry in run[mode]] for mode in ("trn", "val")]
        for key, run in runs.items()
    }


@pytest.mark.lesson
def test_without_augmentation_the_curves_part(losses):
    training, validation = losses[False]
    assert len(training) == len(validation) == 4
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
