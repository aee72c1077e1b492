"""Chapter 14: the segmentation's own proposals as examples for the classifier."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from p2ch10.dsets import CandidateInfoTuple
from p2ch11.model import LunaModel
from p2ch14 import mining
from p2ch14.mining import HardExampleTrainingApp, label_findings
from p2ch14.nodule_analysis import series_of
from util.files import UserError

points = st.tuples(*[st.integers(-20, 20).map(float)] * 3)


def sized(center, diameter):
    return SimpleNamespace(center_xyz=center, diameter_mm=diameter)


@given(st.lists(points, max_size=10), st.lists(st.tuples(points, st.integers(3, 20)), max_size=4))
def test_labels_agree_with_the_obvious_way(centers, truths):
    nodules = [sized(center, diameter) for center, diameter in truths]
    mined = label_findings([sized(center, 5.0) for center in centers], nodules, "1.2")
    wanted = []
    for center in centers:
        beyond = min((math.dist(center, n.center_xyz) - n.diameter_mm / 2 for n in nodules), default=math.inf)
        if beyond < 0 or beyond > 3:
            wanted.append((beyond < 0, center))
    assert [(c.isNodule_bool, c.center_xyz) for c in mined] == wanted
    assert not any(c.hasAnnotation_bool for c in mined)


def candidate(number, is_nodule):
    return CandidateInfoTuple(is_nodule, is_nodule, False, 0.0, f"2.25.{number}", (float(number), 0.0, 0.0))


@pytest.fixture
def listed(monkeypatch):
    """Candidates of thirty scans, of which some are held out, and a U-Net that proposes one place in each."""
    infos = [candidate(number, number % 3 == 0) for number in range(30)]
    asked = []

    def mine(app, series):
        asked.extend(series)
        return [CandidateInfoTuple(False, False, False, 0.0, uid, (1.0, 2.0, 3.0)) for uid in series]

    monkeypatch.setattr(mining, "getCandidateInfoList", lambda: infos)
    monkeypatch.setattr("p2ch14.nodule_analysis.getCandidateInfoList", lambda: infos)
    monkeypatch.setattr(mining, "mine", mine)
    return infos, asked


def test_mined_candidates_join_those_of_training_scans_only(listed, clean_output):
    infos, asked = listed
    app = HardExampleTrainingApp(["--balanced", "--device", "cpu", "--val-stride", "3"])
    dataset = app.initTrainDl().dataset
    held_out = set(series_of(3))
    assert held_out
    assert not set(asked) & held_out
    series = {info.series_uid for info in dataset.candidateInfo_list}
    assert series == {info.series_uid for info in infos} - held_out
    assert len(dataset.negative_list) > len([i for i in infos if not i.isNodule_bool]) - len(held_out)
    assert sum(info.center_xyz == (1.0, 2.0, 3.0) for info in dataset.candidateInfo_list) == len(series)


def test_every_epoch_shows_other_negatives(listed, clean_output, monkeypatch):
    app = HardExampleTrainingApp(["--balanced", "--device", "cpu", "--val-stride", "3"])
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
    app = HardExampleTrainingApp(["--device", "cpu", "--start", str(tmp_path / "c.state")])
    saved = torch.load(tmp_path / "c.state", weights_only=True)["model_state"]
    assert all(torch.equal(value, saved[name]) for name, value in app.model.state_dict().items())


def test_a_unet_that_proposes_nothing_is_a_sentence(listed, clean_output, monkeypatch):
    monkeypatch.setattr(mining, "mine", lambda app, series: [])
    with pytest.raises(UserError, match="proposed nothing"):
        HardExampleTrainingApp(["--balanced", "--device", "cpu"]).initTrainDl()
