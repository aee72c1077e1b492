"""Chapter 14: the segmentation's own proposals as examples for the classifier."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from p2ch10.dsets import CandidateInfoTuple
from p2ch11.model import LunaModel
from p2ch14.dsets import series_of
from p2ch14.main_job import VAL_STRIDE
from p2ch14.resampling import SPACING_IRC
from p2ch14.second_classifier import SMALL_CROP_IRC, SecondClassifier, SmallCropDataset
from p2ch14.shipped import __main__ as shipped
from p2ch14.shipped import hard_negatives, trainings
from p2ch14.shipped.hard_negatives import kept, label_findings
from p2ch14.shipped.trainings import (
    HardNegativeTrainingApp,
    SecondClassifierTrainingApp,
    SmallCropTrainingApp,
)
from p2ch14.weights import SECOND_CLASSIFIER
from util.errors import UserError

points = st.tuples(*[st.integers(-20, 20).map(float)] * 3)


def sized(center, diameter):
    return SimpleNamespace(center_xyz=center, diameter_mm=diameter)


@given(st.lists(points, max_size=10), st.lists(st.tuples(points, st.integers(3, 20)), max_size=4))
def test_labels_agree_with_the_obvious_way(centers, truths):
    nodules = [sized(center, diameter) for center, diameter in truths]
    mined = label_findings([sized(center, 5.0) for center in centers], nodules, "1.2")
    wanted = []
    for center in centers:
        # Squares of halves are exact: at a radius, and at three millimetres beyond it, a centre is outside.
        apart = [
            (sum((a - b) ** 2 for a, b in zip(center, n.center_xyz)), n.diameter_mm / 2) for n in nodules
        ]
        is_inside = any(square < radius**2 for square, radius in apart)
        if is_inside or all(square >= (radius + 3) ** 2 for square, radius in apart):
            wanted.append((is_inside, center))
    assert [(c.isNodule_bool, c.center_xyz) for c in mined] == wanted
    assert not any(c.hasAnnotation_bool for c in mined)


def test_proposals_on_irrelevant_findings_teach_nothing():
    nodules, irrelevant = [sized((0, 0, 0), 10.0)], [(40, 0, 0, -1), (0, 0, 0, 30)]
    proposed = [sized((float(x), 0.0, 0.0), 5.0) for x in (0, 14, 36, 44, 60)]
    mined = label_findings(proposed, nodules, "1.2", irrelevant=irrelevant)
    assert [(c.isNodule_bool, c.center_xyz[0]) for c in mined] == [(True, 0), (False, 60)]


def candidate(number, is_nodule):
    return CandidateInfoTuple(is_nodule, is_nodule, False, 0.0, f"2.25.{number}", (float(number), 0.0, 0.0))


@pytest.fixture
def listed(monkeypatch):
    """Candidates of thirty scans, of which some are held out, and a U-Net that proposes one place in each."""
    infos = [candidate(number, number % 3 == 0) for number in range(30)]
    asked = []

    def mine(segmentation, series, *_):
        asked.extend(series)
        return [CandidateInfoTuple(False, False, False, 0.0, uid, (1.0, 2.0, 3.0)) for uid in series]

    monkeypatch.setattr(trainings, "getCandidateInfoList", lambda: infos)
    monkeypatch.setattr("p2ch14.dsets.getCandidateInfoList", lambda: infos)
    monkeypatch.setattr(trainings, "mine", mine)
    monkeypatch.setattr("p2ch14.shipped.hard_negatives.irrelevant_findings", dict)
    return infos, asked


def test_mined_candidates_join_those_of_training_scans_only(listed, clean_output):
    infos, asked = listed
    app = HardNegativeTrainingApp(["--balanced", "--device", "cpu", "--val-stride", "3"])
    dataset = app.initTrainDl().dataset
    held_out = set(series_of(3))
    assert held_out
    assert not set(asked) & held_out
    series = {info.series_uid for info in dataset.candidateInfo_list}
    assert series == {info.series_uid for info in infos} - held_out
    assert len(dataset.negative_list) > len([i for i in infos if not i.isNodule_bool]) - len(held_out)
    assert sum(info.center_xyz == (1.0, 2.0, 3.0) for info in dataset.candidateInfo_list) == len(series)


def test_one_kind_of_patients_can_be_left_out(listed, clean_output, monkeypatch):
    theirs = {f"2.25.{number}" for number in range(15)}
    monkeypatch.setattr(trainings, "patients_of", lambda kind: theirs)
    options = ["--balanced", "--device", "cpu", "--val-stride", "3", "--patients", "usual"]
    dataset = HardNegativeTrainingApp(options).initTrainDl().dataset
    assert {info.series_uid for info in dataset.candidateInfo_list} == theirs - set(series_of(3))


def test_every_epoch_shows_other_negatives(listed, clean_output, monkeypatch):
    app = HardNegativeTrainingApp(["--balanced", "--device", "cpu", "--val-stride", "3"])
    loader = app.initTrainDl()
    monkeypatch.setattr(app, "_run_epoch", lambda *_: None)
    orders = []
    for epoch in range(3):
        app.doTraining(epoch, loader)
        orders.append([loader.dataset.candidate_at(n) for n in range(len(loader.dataset))])
    assert orders[0] != orders[1] != orders[2]


def test_training_starts_from_the_given_weights(listed, clean_output, tmp_path):
    torch.manual_seed(5)
    torch.save({"model_state": LunaModel().state_dict()}, tmp_path / "c.state")
    app = HardNegativeTrainingApp(["--device", "cpu", "--start", str(tmp_path / "c.state")])
    saved = torch.load(tmp_path / "c.state", weights_only=True)["model_state"]
    assert all(torch.equal(value, saved[name]) for name, value in app.model.state_dict().items())


def test_a_unet_that_proposes_nothing_is_a_sentence(listed, clean_output, monkeypatch):
    monkeypatch.setattr(trainings, "mine", lambda *_: [])
    with pytest.raises(UserError, match="proposed nothing"):
        HardNegativeTrainingApp(["--balanced", "--device", "cpu"]).initTrainDl()


def test_both_classifiers_of_the_command_are_trained_and_kept(listed, clean_output, monkeypatch):
    trained = []

    def main(app):
        trained.append((app.cli_args.comment, Path(app.cli_args.mined).name[:15], app.cli_args.listed))
        app.saveModel(app.type_str, 1)

    monkeypatch.setattr(HardNegativeTrainingApp, "main", main)
    monkeypatch.setattr(shipped, "save_with_settings", lambda path, model, **_: trained.append(path.name))
    shipped.train_second()
    shipped.train_first()
    assert trained == [
        ("ship-second", "ship-mined-140-", shipped.LISTED),
        SECOND_CLASSIFIER,
        ("ship-classification", "ship-mined-140-", shipped.LISTED),
        "classification.safetensors",
    ]


def test_so_many_of_lunas_candidates_at_most(listed, clean_output):
    app = HardNegativeTrainingApp(["--balanced", "--device", "cpu", "--val-stride", "3", "--listed", "4"])
    dataset = app.initTrainDl().dataset
    mined = [c for c in dataset.negative_list if c.center_xyz == (1.0, 2.0, 3.0)]
    assert len(dataset.negative_list) - len(mined) == 4
    assert len(mined) == len(series_of(3, held_out=False))
    assert len(dataset.pos_list) == sum(c.isNodule_bool for c in trainings.listed_for_training(3))


@pytest.mark.slow
def test_several_processes_mine_what_one_does_in_order(tmp_path):
    series = series_of(VAL_STRIDE, held_out=False)[:2]
    alone = hard_negatives.mine(None, series, "cpu")
    assert {candidate.series_uid for candidate in alone} == set(series)
    assert hard_negatives.mine(None, series, "cpu", processes=2) == alone
    with pytest.raises(UserError, match="there is no weights file"):
        hard_negatives.mine(tmp_path / "none.state", series, "cpu", processes=2)


def test_what_was_mined_is_kept_and_taken_from_the_file(tmp_path):
    path, made = tmp_path / "new" / "mined.json", []

    def make():
        made.append(1)
        return [candidate(1, True), candidate(2, False)]

    first = kept(path, make)
    assert first == kept(path, make) == make()
    assert all(isinstance(c, CandidateInfoTuple) for c in first)
    assert len(made) == 2, "once for the file, once here"
    assert kept(None, make) == first


@pytest.mark.parametrize("model_class", [LunaModel, SecondClassifier])
def test_hard_examples_are_those_that_the_given_weights_take_for_nodules(
    listed, clean_output, tmp_path, monkeypatch, model_class
):
    infos, _ = listed
    name = model_class.__name__
    torch.save({"model_state": model_class().state_dict(), "model_name": name}, tmp_path / "c.state")

    def predict(model, dataset, *_):
        assert isinstance(model, model_class), "the weights say which network they belong to"
        assert isinstance(dataset, SmallCropDataset) == (model_class is SecondClassifier)
        # Sure of everything but what comes from every seventh scan.
        numbers = [int(c.series_uid.split(".")[2]) for c in dataset.candidateInfo_list]
        return np.array([0.9 if n % 7 == 4 else 0.001 for n in numbers])

    monkeypatch.setattr(trainings, "predict", predict)
    options = ["--balanced", "--device", "cpu", "--val-stride", "3", "--hard-from", str(tmp_path / "c.state")]
    none_hard = HardNegativeTrainingApp([*options, "--hard-probability", "0.95"])
    assert not none_hard.hardest([info for info in infos if not info.isNodule_bool])
    dataset = HardNegativeTrainingApp(options).initTrainDl().dataset
    held_out = set(series_of(3))
    numbers = [int(c.series_uid.split(".")[2]) for c in dataset.negative_list]
    hard = [n for n in numbers if n % 7 == 4]
    assert hard
    assert len(numbers) == 2 * len(hard)
    nodules = [info for info in infos if info.isNodule_bool and info.series_uid not in held_out]
    assert set(dataset.pos_list) == set(nodules), "no nodule is ever left out"
    assert not {c.series_uid for c in dataset.candidateInfo_list} & held_out


def test_the_second_classifier_sees_equal_millimetres(monkeypatch):
    """A ball of one size is one size in the crops, whatever the scan's voxels are."""
    sizes = []
    for spacing_irc in ((1.25, 0.7, 0.7), (2.5, 0.5, 0.5), (1.0, 0.9, 0.9)):

        def crop(series_uid, center_xyz, width_irc, spacing_irc=spacing_irc):
            axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(width_irc, spacing_irc)]
            z, y, x = np.meshgrid(*axes, indexing="ij")
            return np.where(z**2 + y**2 + x**2 < 5**2, 0, -1000).astype(np.int16), (1, 2, 3)

        monkeypatch.setattr("p2ch14.resampling.getCtRawCandidate", crop)
        monkeypatch.setattr(
            "p2ch14.resampling._spacing_irc", lambda uid, spacing_irc=spacing_irc: spacing_irc
        )
        dataset = SmallCropDataset(candidateInfo_list=[candidate(1, True)])
        crop_t, label_t, series_uid, center_t = dataset[0]
        assert crop_t.shape == (1, *SMALL_CROP_IRC)
        assert (label_t.tolist(), series_uid, center_t.tolist()) == ([0, 1], "2.25.1", [1, 2, 3])
        sizes.append(((crop_t + 1000) / 1000).sum().item() * np.prod(SPACING_IRC))
    assert sizes == pytest.approx([4 / 3 * np.pi * 5**3] * 3, rel=0.1)


def test_the_second_classifier_trains_every_parameter(listed, clean_output, monkeypatch):
    model = SecondClassifierTrainingApp(["--device", "cpu"]).model.train()
    logits, probability = model(torch.randn(4, 1, *SMALL_CROP_IRC) * 300 - 500)
    assert logits.shape == probability.shape == (4, 2)
    logits.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_first_evenings_second_classifier_learns_from_the_list_less_irrelevant_findings(
    listed, clean_output, monkeypatch
):
    infos, _ = listed
    spared = next(info for info in infos if not info.isNodule_bool and info.series_uid not in series_of(3))
    monkeypatch.setattr(
        hard_negatives,
        "irrelevant_findings",
        lambda: {spared.series_uid: np.array([[*spared.center_xyz, 8.0]])},
    )
    options = ["--balanced", "--augmented", "--device", "cpu", "--val-stride", "3", "--muon"]
    app = SmallCropTrainingApp(options)
    dataset = app.initTrainDl().dataset
    held_out = set(series_of(3))
    wanted = {info for info in infos if info.series_uid not in held_out} - {spared}
    assert set(dataset.candidateInfo_list) == wanted
    assert isinstance(dataset, SmallCropDataset)
    # What an augmentation turns into the crop is read with it.
    assert app.crop_irc == SMALL_CROP_IRC
    assert all(wide > n for wide, n in zip(dataset.patch_irc, SMALL_CROP_IRC))


@pytest.mark.parametrize("words", [[], ["nodules"]])
def test_an_unknown_training_is_a_sentence(words):
    with pytest.raises(UserError, match="name one of segmentation, classification, second, small"):
        trainings.main(words)
