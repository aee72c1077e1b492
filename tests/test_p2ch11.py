"""Chapter 11: the classifier, its training loop, its checkpoints."""

import copy
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from p2ch10.dsets import CandidateInfoTuple, LunaDataset
from p2ch11 import lessons
from p2ch11.lessons import ranked_right
from p2ch11.loaders import with_nodules
from p2ch11.model import LunaBlock, LunaModel
from p2ch11.parallel import SharedBatchNorm, share_batch_norm
from p2ch11.training import (
    METRICS_PRED_NDX,
    METRICS_SCORE_NDX,
    METRICS_SIZE,
    LunaTrainingApp,
    load_weights,
)
from util.errors import UserError

PUBLISHED = json.loads((Path(__file__).parent / "published_checkpoints.json").read_text())


def test_parameters_are_those_of_the_published_weights():
    own = {name: list(value.shape) for name, value in LunaModel().state_dict().items()}
    assert own == PUBLISHED["LunaModel"]["model_state"]


def test_shapes_probabilities_and_gradients():
    torch.manual_seed(0)
    model = LunaModel()
    logits, probability = model(torch.empty(3, 1, 32, 48, 48).uniform_(-1000, 1000))
    assert logits.shape == probability.shape == (3, 2)
    torch.testing.assert_close(probability, torch.softmax(logits, dim=1))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_memory_format_does_not_change_the_answer():
    torch.manual_seed(0)
    model = LunaModel().eval()
    batch = torch.randn(2, 1, 32, 48, 48) * 300 - 500
    with torch.inference_mode():
        plain = model(batch)[0]
        model.to(memory_format=torch.channels_last_3d)
        fast = model(batch.contiguous(memory_format=torch.channels_last_3d))[0]
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


def test_block_halves_every_edge():
    assert LunaBlock(1, 8)(torch.zeros(2, 1, 8, 12, 16)).shape == (2, 8, 4, 6, 8)


def test_biases_are_spread_around_zero():
    torch.manual_seed(0)
    bias = torch.cat([LunaModel().block4.conv2.bias.detach() for _ in range(50)])
    bound = 1 / math.sqrt(64 * 27)
    assert bias.abs().max() <= bound
    assert abs(bias.mean()) < bound / 10


class ToyApp(LunaTrainingApp):
    """The real loop on sixteen crops: bright blobs are nodules."""

    chapter = "toy"

    def _loader(self):
        generator = torch.Generator().manual_seed(3)
        label = torch.arange(16) % 2
        crops = torch.randn(16, 1, 32, 48, 48, generator=generator) * 40 - 850
        crops[:, :, 12:20, 18:30, 18:30] += 800 * label[:, None, None, None, None]
        return self.make_loader(
            TensorDataset(
                crops, torch.stack([1 - label, label], dim=1), torch.arange(16), torch.zeros(16, 3)
            ),
            shuffle=True,
        )

    initTrainDl = initValDl = _loader


def arguments(epochs, *more):
    return ["--epochs", str(epochs), "--batch-size", "8", "--lr", "0.001", "--device", "cpu", *more]


@pytest.mark.slow
def test_training_learns_and_keeps_checkpoints(clean_output):
    app = ToyApp(arguments(4))
    history = app.main()
    assert history[-1]["trn"]["loss/all"] < history[0]["trn"]["loss/all"]
    assert history[-1]["trn"]["correct/all"] >= 90
    state = torch.load(app.folder / "last.state", weights_only=True)
    assert set(PUBLISHED["LunaModel"]["top_level_keys"]) <= set(state)
    assert state["totalTrainingSamples_count"] == 4 * 16
    assert (app.folder / "best.state").exists()
    assert not list(app.folder.glob("*.part"))
    loaded = load_weights(LunaModel(), app.folder / "last.state")
    torch.testing.assert_close(loaded.state_dict(), app.model.state_dict())


@pytest.mark.slow
def test_resumed_run_equals_uninterrupted_run(clean_output):
    whole = ToyApp(arguments(3, "whole"))
    whole.main()
    ToyApp(arguments(1, "parts")).main()
    parts = ToyApp(arguments(3, "--resume", "parts"))
    assert parts.first_epoch == 2
    parts.main()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[name]), name


def test_nan_ends_the_training_with_a_sentence(clean_output):
    class Broken(ToyApp):
        def computeBatchLoss(self, batch_ndx, batch_tup, batch_size, metrics_g):
            loss = super().computeBatchLoss(batch_ndx, batch_tup, batch_size, metrics_g)
            metrics_g[:] = float("nan")
            return loss

    with pytest.raises(UserError, match="lower --lr"):
        Broken(arguments(1)).main()


def test_tensorboard_gets_scalars_histograms_and_the_worst_candidates(clean_output):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    app = ToyApp(arguments(2))
    app.main()
    logged = EventAccumulator(str(next(app.folder.glob("runs/*-val")))).Reload()
    tags = logged.Tags()
    assert {"loss/all", "correct/pos"} <= set(tags["scalars"])
    assert {"probability/neg", "probability/pos"} <= set(tags["histograms"])
    assert {"worst/missed/0", "worst/false_alarm/0"} <= {
        tag.split("/image")[0] for tag in tags["images"]
    } or {
        "worst/missed",
        "worst/false_alarm",
    } <= set(tags["images"])
    assert [event.step for event in logged.Scalars("loss/all")] == [16, 32]


def test_shared_batch_norm_equals_pytorchs_own():
    torch.manual_seed(0)
    plain = LunaModel()
    shared = share_batch_norm(copy.deepcopy(plain))
    assert list(shared.state_dict()) == list(plain.state_dict())
    assert isinstance(shared.tail_batchnorm, SharedBatchNorm)
    batch = torch.randn(2, 1, 32, 48, 48) * 300 - 500
    assert torch.equal(shared(batch)[0], plain(batch)[0])
    assert torch.equal(shared.tail_batchnorm.running_var, plain.tail_batchnorm.running_var)


def test_every_run_has_a_folder_of_its_own_and_nothing_is_overwritten(clean_output):
    runs = [ToyApp(arguments(1, "mine")) for _ in range(3)]
    for app in runs:
        app.saveModel("cls", 1)
    assert len({app.folder for app in runs}) == 3
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d\.\d\d\.\d\d-mine", app.folder.name) for app in runs)
    assert {app.folder.parent for app in runs} == {clean_output / "toy"}
    assert ToyApp.latest_run("mine") == max(app.folder for app in runs)
    assert ToyApp.latest_run("min") is None
    assert ToyApp(arguments(1, "--tb-prefix", "other")).folder.parent == clean_output / "other"


def test_a_checkpoint_tells_how_it_came_about(clean_output):
    app = ToyApp(epochs=2, batch_size=8, seed=5, device="cpu", comment="told")
    history = app.main()
    state = torch.load(app.folder / "last.state", weights_only=True)
    assert state["history"] == history
    assert [entry["epoch"] for entry in state["history"]] == [1, 2]
    assert state["options"]["seed"] == 5
    assert state["options"]["batch_size"] == 8
    assert state["versions"]["torch"] == torch.__version__
    assert app.folder.name.startswith(state["time"])
    assert ToyApp(arguments(3, "--seed", "5", "--resume", "told")).history == history


def test_options_are_words_or_arguments():
    words, given = (
        ToyApp(arguments(3, "--seed", "4")),
        ToyApp(epochs=3, batch_size=8, lr=0.001, device="cpu", seed=4),
    )
    assert vars(words.cli_args) == vars(given.cli_args)
    with pytest.raises(TypeError, match="no option epoch;"):
        ToyApp(epoch=3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--val-stride", "0"], "--val-stride is 0"),
        (["--val-stride", "1"], "--val-stride is 1"),
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--num-workers", "-1"], "--num-workers is -1"),
        (["--lr", "nan"], "--lr is nan"),
        (["--lr", "0"], "--lr is 0"),
        (["--lr", "-1"], "--lr is -1"),
        (["--epochs", "0"], "--epochs is 0"),
        (["--epoch-samples", "-5"], "--epoch-samples is -5"),
        (["--val-every", "-1"], "--val-every is -1"),
        (["--seed", "-3"], "--seed is -3"),
        (["--tb-prefix", "../elsewhere"], "--tb-prefix is '../elsewhere'"),
        (["a/b"], "comment is 'a/b'"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(clean_output, words, said):
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        ToyApp(words)
    assert "\n" not in str(caught.value)
    assert not clean_output.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lr", "0.002"], "--lr 0.001, not 0.002"),
        (["--batch-size", "4"], "--batch-size 8, not 4"),
        (["--seed", "1"], "--seed 0, not 1"),
        (["--one-cycle"], "--one-cycle False, not True"),
    ],
)
def test_resuming_with_other_options_is_one_sentence(clean_output, words, said):
    ToyApp(arguments(1)).saveModel("cls", 1)
    with pytest.raises(UserError, match=re.escape(said)):
        ToyApp(arguments(2, "--resume", *words))
    ToyApp(arguments(2, "--resume", "--num-workers", "1", "--val-every", "2"))


def test_a_cycle_over_other_epochs_is_another_training(clean_output):
    ToyApp(arguments(2, "--one-cycle")).saveModel("cls", 1)
    with pytest.raises(UserError, match="--epochs 2, not 3"):
        ToyApp(arguments(3, "--one-cycle", "--resume"))
    assert ToyApp(arguments(2, "--one-cycle", "--resume")).first_epoch == 2


def test_resuming_a_run_that_does_not_exist_is_one_sentence(clean_output):
    ToyApp(arguments(1, "there")).saveModel("cls", 1)
    with pytest.raises(UserError, match="there is no run 'elsewhere' to resume in"):
        ToyApp(arguments(1, "--resume", "elsewhere"))


def test_an_option_younger_than_the_checkpoint_counts_as_its_default(clean_output):
    app = ToyApp(arguments(1))
    app.saveModel("cls", 1)
    path = app.folder / "last.state"
    state = torch.load(path, weights_only=True)
    del state["options"]["one_cycle"]
    torch.save(state, path)
    assert ToyApp(arguments(2, "--resume")).first_epoch == 2
    with pytest.raises(UserError, match="--one-cycle False, not True"):
        ToyApp(arguments(2, "--one-cycle", "--resume"))


def test_start_or_resume_carries_on_only_what_is_the_same(clean_output, capsys):
    options = {"epochs": 2, "batch_size": 8, "device": "cpu"}
    first = ToyApp.start_or_resume("job", **options)
    assert first.first_epoch == 1
    first.saveModel("cls", 1)
    again = ToyApp.start_or_resume("job", **options)
    assert again.first_epoch == 2
    assert again.folder == first.folder
    other = ToyApp.start_or_resume("job", **options | {"batch_size": 4})
    assert other.first_epoch == 1
    assert other.folder != first.folder
    assert "a new run 'job' starts" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_a_number_is_noticed_in_its_batch(clean_output, where):
    seen = []

    class Broken(ToyApp):
        def computeBatchLoss(self, batch_ndx, batch_tup, batch_size, metrics_g):
            loss = super().computeBatchLoss(batch_ndx, batch_tup, batch_size, metrics_g)
            if not self.model.training:
                return loss
            seen.append(batch_ndx)
            if self.totalTrainingSamples_count == 16 and batch_ndx == 1:
                # The square root's slope at 0 is infinite, its value is not.
                return loss * math.nan if where == "loss" else loss + (loss - loss.detach()).sqrt()
            return loss

    app = Broken(["--epochs", "3", "--batch-size", "4", "--device", "cpu"])
    with pytest.raises(UserError, match="epoch 2 met a loss that is not a number"):
        app.main()
    assert seen == [0, 1, 2, 3, 0, 1]
    assert all(torch.isfinite(parameter).all() for parameter in app.model.parameters())
    assert torch.load(app.folder / "last.state", weights_only=True)["epoch"] == 1


@pytest.mark.parametrize("kind", ["cut", "flipped"])
def test_a_damaged_checkpoint_is_one_sentence(clean_output, kind):
    app = ToyApp(arguments(1))
    app.saveModel("cls", 1)
    path = app.folder / "last.state"
    whole = path.read_bytes()
    for place in range(7, len(whole), len(whole) // 23):
        damaged = (
            whole[:place] if kind == "cut" else whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        )
        path.write_bytes(damaged)
        said, resumed = "", None
        try:
            resumed = ToyApp(arguments(2, "--resume"))
        except UserError as error:
            said = str(error)
        if resumed is None:
            assert "last.state" in said
            assert "\n" not in said
        else:  # padding between what counts: nothing may have changed
            assert kind == "flipped"
            torch.testing.assert_close(resumed.model.state_dict(), app.model.state_dict(), rtol=0, atol=0)


def test_scores_rank_where_probabilities_round_to_the_same(clean_output):
    """Under bfloat16, too: the last layer computes in float32."""
    torch.manual_seed(0)
    model = LunaModel().eval()
    with torch.no_grad():
        model.head_linear.weight.mul_(10)
    crops = torch.randn(40, 1, 32, 48, 48) * 200 - 600
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits, probability = model(crops)
    assert logits.dtype == probability.dtype == torch.float32
    difference = logits[:, 1] - logits[:, 0]
    assert len(difference.unique()) == 40
    assert len(difference.bfloat16().unique()) < 40, "rounded, some would tie"


def test_the_score_of_a_sample_is_its_logit_difference(clean_output):
    app = ToyApp(arguments(1, "--plain"))
    metrics_t = app.doValidation(1, app.initValDl())
    torch.testing.assert_close(
        torch.sigmoid(metrics_t[METRICS_SCORE_NDX]), metrics_t[METRICS_PRED_NDX], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "damage", ["text", "other shape", "no optimizer", "other optimizer", "no score", "moments"]
)
def test_resuming_from_a_bad_checkpoint_is_one_sentence(clean_output, damage):
    app = ToyApp(arguments(1))
    app.saveModel("cls", 1, isBest=True)
    path = app.folder / "last.state"
    state = torch.load(path, weights_only=True)
    if damage == "other shape":
        state["model_state"]["head_linear.weight"] = torch.zeros(2, 7)
    elif damage == "no optimizer":
        del state["optimizer_state"]
    elif damage == "other optimizer":
        state["optimizer_state"]["param_groups"] *= 2
    elif damage == "no score":
        del state["best_score"]
    elif damage == "moments":
        state["optimizer_state"]["state"] = {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(7)}}
    torch.save(state, path)
    if damage == "text":
        path.write_text("these are no weights")
    with pytest.raises(UserError, match=r"last\.state"):
        ToyApp(arguments(2, "--resume"))


def test_a_split_without_nodules_is_one_sentence(clean_output):
    dataset = LunaDataset(candidateInfo_list=[CandidateInfoTuple(False, False, False, 0.0, "1.2", (0, 0, 0))])
    with pytest.raises(UserError, match="no nodule"):
        with_nodules(dataset, "validation")


def test_metrics_of_an_empty_class_do_not_fail(clean_output):
    app = ToyApp(arguments(1))
    metrics_t = torch.zeros(METRICS_SIZE, 5)
    metrics = app.logMetrics(1, "val", metrics_t)
    assert metrics["correct/all"] == 100
    assert math.isnan(metrics["correct/pos"])


def test_nan_score_does_not_replace_the_best(clean_output):
    app = ToyApp(arguments(1))
    app.saveModel("cls", 1, isBest=app.improves(0.5))
    app.saveModel("cls", 2, isBest=app.improves(math.nan))
    assert torch.load(app.folder / "best.state", weights_only=True)["epoch"] == 1
    assert torch.load(app.folder / "last.state", weights_only=True)["epoch"] == 2


def test_empty_split_is_one_sentence(clean_output):
    app = ToyApp(arguments(1))
    with pytest.raises(UserError, match="no samples"):
        app.make_loader(TensorDataset(torch.zeros(0, 1)), shuffle=False)
    assert isinstance(app.initTrainDl(), DataLoader)


def test_a_shuffle_can_stay_within_a_few_scans_at_a_time(clean_output):
    ds = LunaDataset(val_stride=5, isValSet_bool=True)
    few = LunaDataset(candidateInfo_list=ds.candidateInfo_list[:300])
    app = LunaTrainingApp(scans_at_once=2, batch_size=10, device="cpu")
    batches = [[few.candidate_at(i).series_uid for i in b] for b in app.make_loader(few, True).batch_sampler]
    assert sum(map(len, batches)) == 300
    assert max(len(set(batch)) for batch in batches) <= 4  # of two groups, where one ends and the next begins
    plain = LunaTrainingApp(batch_size=10, device="cpu").make_loader(few, True).batch_sampler
    assert max(len({few.candidate_at(i).series_uid for i in batch}) for batch in plain) > 4


@pytest.mark.parametrize("kind", ["missing", "text", "other model", "not a dict"])
def test_bad_weights_are_one_sentence(tmp_path, kind):
    path = tmp_path / "weights.state"
    if kind == "text":
        path.write_text("these are no weights")
    elif kind == "other model":
        torch.save({"model_state": torch.nn.Linear(3, 2).state_dict()}, path)
    elif kind == "not a dict":
        torch.save([1, 2, 3], path)
    with pytest.raises(UserError, match=r"weights\.state"):
        load_weights(LunaModel(), path)


def test_log_folder_that_cannot_be_written_is_one_sentence(clean_output):
    app = ToyApp(arguments(1))
    (app.folder / "runs").write_text("a file in the way")
    with pytest.raises(UserError, match="cannot write logs"):
        app.writer("trn")


@pytest.mark.slow
def test_two_processes_follow_the_loss_curve_of_one(clean_output, tmp_path):
    script = tmp_path / "toy.py"
    script.write_text(
        "import json, sys\n"
        "from tests.test_p2ch11 import ToyApp\n"
        "app = ToyApp(sys.argv[2:])\n"
        "history = app.main()\n"
        "if app.is_main:\n"
        "    json.dump(history, open(sys.argv[1], 'w'))\n"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    out = tmp_path / "history.json"
    subprocess.run(
        [sys.executable, *command, str(out), *arguments(2, "--plain", "--lr", "0.0001", "two")],
        env=env,
        check=True,
        timeout=120,
    )
    for one, two in zip(
        ToyApp(arguments(2, "--plain", "--lr", "0.0001", "one")).main(),
        json.loads(out.read_text()),
        strict=True,
    ):
        for mode in ("trn", "val"):
            assert two[mode]["loss/all"] == pytest.approx(one[mode]["loss/all"], rel=0.001), mode
            assert two[mode]["correct/all"] == one[mode]["correct/all"], mode


def test_ranked_right_counts_pairs_and_ties_as_half():
    label = torch.tensor([True, True, False, False])
    score = torch.tensor([3.0, 1.0, 1.0, 0.0])
    assert ranked_right(label, score) == (1 + 1 + 0.5 + 1) / 4


@pytest.mark.command
def test_the_lesson_trains_on_as_many_different_nodules_as_it_says(
    clean_output, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(lessons, "RECORD", tmp_path / "sizes.json")
    monkeypatch.setattr(lessons, "SAMPLES", 40)
    monkeypatch.setattr(lessons, "SIZES", (3, None))
    app = lessons.SizeApp(3, device="cpu")
    infos = app.initTrainDl().dataset.candidateInfo_list
    assert len(infos) == 40
    assert 2 * sum(info.isNodule_bool for info in infos) == 40
    assert len({info for info in infos if info.isNodule_bool}) == 3
    held_out = LunaDataset(val_stride=5, isValSet_bool=True)
    few = LunaDataset(candidateInfo_list=held_out.pos_list[:4] + held_out.negative_list[:4])
    monkeypatch.setattr(lessons.SizeApp, "initValDl", lambda app: app.make_loader(few, shuffle=False))
    monkeypatch.setattr("sys.argv", ["lessons", "--seeds", "1", "--write"])
    lessons.main()
    records = json.loads(lessons.RECORD.read_text())
    assert [record["nodules"] for record in records] == [
        3,
        len(LunaDataset(val_stride=5, isValSet_bool=False).pos_list),
    ]
    assert all(0 <= record["ranked_right"] <= 1 and record["val"] > 0 for record in records)
