"""Chapter 14, "Independence of the validation set": no scan is on two sides, whichever list one looks at."""

import pytest
import torch

from p2ch09.phantom import series_uid
from p2ch10.dsets import getCandidateInfoList, is_held_out
from p2ch12.dsets import LunaDataset
from p2ch13.dsets import TrainingLuna2dSegmentationDataset
from p2ch14.dsets import MalignantLunaDataset, series_of
from p2ch14.main_job import THRESHOLD_SCANS, VAL_STRIDE
from p2ch14.shipped.__main__ import LARGER, TUNING_SCANS, paced
from p2ch14.shipped.patients import (
    KINDS,
    MADE_AS,
    REPORTED_RICHNESS,
    REPORTED_SCANS,
    REPORTED_SEED,
    RICHNESS,
    SCANS,
    SEED,
    VARIED_SEED,
    cohort,
    patients_of,
)
from util.errors import UserError


@pytest.fixture(scope="module")
def reported():
    """Scans whose figures the main job, `--run-validation` and the model card report."""
    return set(series_of(VAL_STRIDE))


def test_reported_scans_and_training_scans_are_all_scans_and_share_none(reported):
    training = set(series_of(VAL_STRIDE, held_out=False))
    assert reported
    assert training
    assert not reported & training
    assert reported | training == {info.series_uid for info in getCandidateInfoList()}


@pytest.mark.parametrize(
    "series_of_training",
    [
        lambda: {i.series_uid for i in LunaDataset(VAL_STRIDE, False, ratio_int=1).candidateInfo_list},
        lambda: set(TrainingLuna2dSegmentationDataset(VAL_STRIDE, False).series_list),
        lambda: {
            info.series_uid
            for dataset in [MalignantLunaDataset(VAL_STRIDE, False, ratio_int=1)]
            for infos in (dataset.mal_list, dataset.ben_list, dataset.negative_list)
            for info in infos
        },
    ],
    ids=["classification", "segmentation", "malignancy"],
)
def test_no_network_trains_on_a_reported_scan(reported, series_of_training, monkeypatch):
    # Which scans are trained on does not need their voxels.
    monkeypatch.setattr("p2ch13.dsets.truths_of", lambda series_uid: [])
    trained_on = series_of_training()
    assert trained_on
    assert not trained_on & reported


def test_the_threshold_is_chosen_on_other_scans(reported):
    chosen_on = set(series_of(VAL_STRIDE, held_out=False)[:THRESHOLD_SCANS])
    assert len(chosen_on) == THRESHOLD_SCANS
    assert not chosen_on & reported


def test_the_shipped_threshold_is_chosen_on_scans_of_its_own():
    made = patients_of("all")
    tuning = [uid for uid in sorted(patients_of("usual")) if is_held_out(uid, VAL_STRIDE)][:TUNING_SCANS]
    assert len(tuning) == TUNING_SCANS
    report = {series_uid(seed, n) for seed in (REPORTED_SEED, VARIED_SEED) for n in range(REPORTED_SCANS)}
    assert len(report) == 2 * REPORTED_SCANS >= 60
    assert not report & made


def test_the_shipped_networks_meet_no_scan_but_their_own(tmp_path, monkeypatch):
    """Nor the same patients made in another way: their names are the same."""
    made = []

    def write_cohort(folder, *given, **named):
        folder.mkdir()
        made.append(folder)

    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    there = {series_uid(SEED, number) for number in range(SCANS)}
    monkeypatch.setattr("p2ch14.shipped.patients.write_cohort", write_cohort)
    monkeypatch.setattr("p2ch14.shipped.patients.scan_paths", lambda: dict.fromkeys(there))
    ours = (SCANS, SEED, RICHNESS, [True, False])
    cohort(*ours)
    cohort(*ours)
    assert len(made) == 1
    assert made[0] != tmp_path / "luna", "a cohort appears whole"
    for others in (
        (REPORTED_SCANS, REPORTED_SEED, REPORTED_RICHNESS),
        (SCANS, SEED, RICHNESS + 1, [True, False]),
        (SCANS, SEED, RICHNESS),
    ):
        with pytest.raises(UserError, match="set COURSE_DATA to a folder of its own"):
            cohort(*others)
    there.add("1.2.3")
    with pytest.raises(UserError, match="set COURSE_DATA to a folder of its own"):
        cohort(*ours)
    there.remove("1.2.3")
    (tmp_path / "luna" / MADE_AS).unlink()
    with pytest.raises(UserError, match="set COURSE_DATA to a folder of its own"):
        cohort(*ours)


def test_two_of_three_patients_are_varied_and_a_kind_has_its_own():
    kinds = [patients_of(kind) for kind in KINDS]
    assert [len(kind) for kind in kinds] == [SCANS // 3, 2 * SCANS // 3]
    assert not kinds[0] & kinds[1]
    assert kinds[0] | kinds[1] == patients_of("all")


@pytest.mark.parametrize(("device", "times"), [("cpu", 1), ("cuda", 3)])
def test_a_gpu_sees_more_examples_by_the_same_recipe(device, times, monkeypatch):
    monkeypatch.setattr("p2ch14.shipped.__main__.get_device", lambda: torch.device(device))
    options = paced(epochs=30, lr=0.002, more=3, epoch_samples=4000)
    assert options["epochs"] * options["epoch_samples"] == times * 30 * 4000
    assert options["batch_size"] == (16 if device == "cpu" else 16 * LARGER)
    assert bool(options["num_workers"]) == ("held" in options) == (device != "cpu")
    assert options["one_cycle"]


def test_the_shipped_networks_come_from_other_patients_than_the_courses(reported):
    theirs = {series_uid(SEED, number) for number in range(SCANS)}
    assert len(theirs) == SCANS
    everyone = {info.series_uid for info in getCandidateInfoList()}
    assert not theirs & everyone
    # Malignancy is judged on a cohort of its own, see the model card, and chosen on another.
    judged, chosen = ({series_uid(seed, number) for number in range(70)} for seed in (778, 777))
    report = {series_uid(REPORTED_SEED, number) for number in range(REPORTED_SCANS)}
    assert not judged & (theirs | everyone | chosen | report)
    assert not report & (theirs | everyone | chosen)


def test_malignancy_is_validated_on_reported_scans_only(reported):
    infos = MalignantLunaDataset(VAL_STRIDE, True).candidateInfo_list
    assert infos
    assert {info.series_uid for info in infos} <= reported


def test_a_scan_keeps_its_side_whatever_else_is_there(reported):
    # The side follows from the name alone, so that it cannot change when more scans arrive.
    assert all(is_held_out(uid, VAL_STRIDE) for uid in reported)
