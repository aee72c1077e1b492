"""Chapter 12's comparison: what its record and its notebook's trainings show, on generated scans.

`python -m p2ch12.lessons --write` records it, with three seeds.
"""

import json

import pytest
import torch

from p2ch10.dsets import LunaDataset
from p2ch12 import lessons
from p2ch12.metrics import precision_recall_f1, roc_auc
from util.errors import UserError

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def record():
    return json.loads(lessons.RECORD.read_text())


@pytest.fixture(scope="module")
def label(record):
    return torch.tensor(record["judged"]["nodule"]).bool()


@pytest.fixture(scope="module")
def runs(record):
    return {(run["arm"], run["seed"]): run for run in record["runs"]}


def test_the_record_is_of_the_present_patients_and_of_equal_budgets(record, runs):
    infos = lessons.judged_candidates(lessons.BUDGET["val_stride"])
    assert record["judged"] == lessons.judged_table(infos)
    assert record["budget"] == lessons.BUDGET
    assert {(arm, seed) for arm in lessons.COMPARED for seed in SEEDS} <= set(runs)
    steps = lessons.BUDGET["epochs"] * lessons.BUDGET["epoch_samples"] // lessons.BUDGET["batch_size"]
    assert {runs[arm, seed]["steps"] for arm in lessons.COMPARED for seed in SEEDS} == {steps}
    assert all(len(run["scores"]) == len(infos) for run in runs.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_balance_finds_what_training_as_is_does_not(runs, label, seed):
    recall, f1, area = {}, {}, {}
    for arm in ("as is", "balanced"):
        score = torch.tensor(runs[arm, seed]["scores"])
        _, recall[arm], f1[arm] = precision_recall_f1(label, score > 0)
        area[arm] = roc_auc(label, score)
    assert recall["as is"] < 0.2
    assert f1["balanced"] > f1["as is"]
    assert area["balanced"] > area["as is"]


@pytest.mark.lesson
def test_balance_in_the_notebook_gains_recall_f1_and_area(trained):
    history = {
        arm: trained("p2ch12", **options)["history"][-1]["val"]
        for arm, options in (
            ("as is", {"balanced": False, "weighted": False}),
            ("balanced", {"balanced": True, "augmented": False}),
        )
    }
    assert history["as is"]["pr/recall"] < 0.2
    assert history["balanced"]["pr/f1_score"] > history["as is"]["pr/f1_score"]
    assert history["balanced"]["roc/auc"] > history["as is"]["roc/auc"]


@pytest.mark.lesson
def test_as_is_the_notebook_is_right_nearly_always_and_finds_nothing(trained):
    result = trained("p2ch12", balanced=False, weighted=False)["history"][-1]["val"]
    assert result["correct/neg"] >= 99
    assert result["correct/pos"] <= 20


@pytest.mark.command
def test_the_command_trains_every_arm_and_records_it(clean_output, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lessons, "RECORD", tmp_path / "lessons.json")
    monkeypatch.setattr(lessons, "BUDGET", {**lessons.BUDGET, "epochs": 2, "epoch_samples": 16})
    held_out = LunaDataset(val_stride=2, isValSet_bool=True)
    few = sorted(
        held_out.pos_list[:12] + held_out.negative_list[:24], key=lambda i: (i.series_uid, i.center_xyz)
    )
    monkeypatch.setattr(lessons, "judged_candidates", lambda val_stride: few)
    monkeypatch.setattr("sys.argv", ["lessons", "--seeds", "1", "--write"])
    lessons.main()
    said = capsys.readouterr().out
    assert all(f"seed 0  {arm} " in said for arm in lessons.COMPARED)
    record = json.loads(lessons.RECORD.read_text())
    assert [(run["arm"], run["seed"], run["steps"]) for run in record["runs"]] == [
        (arm, 0, 4) for arm in lessons.COMPARED
    ]
    assert all(len(run["val"]) == 2 and len(run["scores"]) == 36 for run in record["runs"])
    assert record["judged"]["nodule"] == [int(info.isNodule_bool) for info in few]
    monkeypatch.setattr("sys.argv", ["lessons", "--seeds", "1", "--arm", "balanced", "--write"])
    lessons.main()
    again = [(run["arm"], run["seed"]) for run in json.loads(lessons.RECORD.read_text())["runs"]]
    assert sorted(again) == sorted((arm, 0) for arm in lessons.COMPARED), (
        "a run recorded again takes its place"
    )
    for words, said in (
        (["--arm", "best"], "give one of as is"),
        (["--epochs", "1", "--write"], "full budget"),
    ):
        monkeypatch.setattr("sys.argv", ["lessons", *words])
        with pytest.raises(UserError, match=said):
            lessons.main()


def test_weights_make_both_classes_count_alike():
    app = lessons.ComparedApp(weighted=True, device="cpu")
    app.others_per_nodule = 9.0
    app.model.train()
    loss, label = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0, 0, 1])
    expected = (1 + 2 + 9 * 5) / (1 + 1 + 9)
    assert app.batch_loss(loss, label).item() == pytest.approx(expected)
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.5]])
    each = torch.nn.functional.cross_entropy(logits, label, reduction="none")
    pytorchs = torch.nn.functional.cross_entropy(logits, label, weight=torch.tensor([1.0, 9.0]))
    assert app.batch_loss(each, label).item() == pytest.approx(pytorchs.item())
    app.model.eval()
    assert app.batch_loss(loss, label).item() == pytest.approx(loss.mean().item())
