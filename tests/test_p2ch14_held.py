"""Chapter 14: examples held on the device are those of the datasets behind them."""

import numpy as np
import pytest
import torch

from p2ch10.dsets import getCandidateInfoList, getCt
from p2ch12.augment import ALL
from p2ch12.dsets import LunaDataset
from p2ch13.dsets import slices_with_context, truth_of_slice
from p2ch14.main_job import VAL_STRIDE
from p2ch14.second_classifier import SMALL_CROP_IRC, SmallCropDataset
from p2ch14.shipped.ball_targets import BallCrops, ball_truths_of
from p2ch14.shipped.held import HeldBallCrops, HeldPatches, held_loader
from p2ch14.shipped.trainings import BallTargetTrainingApp, SmallCropTrainingApp

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def crops():
    crops = BallCrops(VAL_STRIDE, False, samples=64)
    crops.series_list = crops.series_list[:6]
    chosen = set(crops.series_list)
    crops.background_list = [c for c in crops.background_list if c.series_uid in chosen]
    return crops


@pytest.fixture(scope="module")
def held(crops):
    return HeldBallCrops(crops, CPU)


@pytest.mark.slow
def test_a_held_crop_is_the_one_of_that_place_in_the_scan(crops, held):
    torch.manual_seed(1)
    scan, place = held._places(64)
    corner = held._corners(place)
    slices, balls = held.cut(scan, place[:, 0], corner)
    for n in range(64):
        uid, index = crops.series_list[scan[n]], int(place[n, 0])
        hu, (row, column) = getCt(uid).hu_a, corner[n].tolist()
        window = (slice(row, row + 64), slice(column, column + 64))
        assert np.array_equal(slices[n], slices_with_context(hu, index)[(slice(None), *window)])
        truth = truth_of_slice(ball_truths_of(uid), index, hu.shape[1:])[window]
        assert np.array_equal(balls[n, 0], truth)


@pytest.mark.slow
def test_every_other_held_crop_shows_a_nodule_and_the_others_lie_anywhere(held):
    torch.manual_seed(2)
    slices, balls, *_ = held.__getitems__(range(63))
    assert slices.shape == (63, 7, 64, 64)
    assert balls.shape == (63, 1, 64, 64)
    has_nodule = balls.flatten(1).any(dim=1)
    assert has_nodule[0::2].all()
    assert not has_nodule[1::2].all()
    again, *_ = held.__getitems__(range(63))
    assert not torch.equal(slices, again)


@pytest.mark.slow
@pytest.mark.parametrize("dataset_class", [LunaDataset, SmallCropDataset])
def test_held_patches_are_the_datasets_own_in_its_order(dataset_class):
    infos = getCandidateInfoList()
    infos = [i for i in infos if i.isNodule_bool][:3] + [i for i in infos if not i.isNodule_bool][:5]
    dataset = dataset_class(ratio_int=1, candidateInfo_list=infos)
    dataset.patch_irc = ALL.patch(SMALL_CROP_IRC) if dataset_class is SmallCropDataset else (34, 52, 52)
    held = HeldPatches(dataset, CPU, at_once=3)
    assert len(held) == len(dataset) == 10
    held.shuffleSamples(torch.Generator().manual_seed(3))
    batches = list(held_loader(held, 4))
    assert [len(patches) for patches, *_ in batches] == [4, 4, 2]
    patches, labels = (torch.cat(parts) for parts in list(zip(*batches))[:2])
    wanted = dataset.__getitems__(range(10))
    assert torch.equal(patches, torch.stack([item[0] for item in wanted]).round())
    assert torch.equal(labels, torch.stack([item[1] for item in wanted]))


@pytest.mark.slow
@pytest.mark.parametrize("app_class", [BallTargetTrainingApp, SmallCropTrainingApp])
def test_a_training_runs_on_held_examples(app_class, clean_output, monkeypatch, crops):
    monkeypatch.setattr("p2ch14.shipped.trainings.BallCrops", lambda *_, **__: crops)
    infos = [i for i in getCandidateInfoList() if i.series_uid in crops.series_list]
    infos = [i for i in infos if i.isNodule_bool] + [i for i in infos if not i.isNodule_bool][:20]
    monkeypatch.setattr("p2ch14.shipped.trainings.listed_for_training", lambda _: infos)
    options = {"augmented": True, "val_every": 0, "device": "cpu", "held": True, "batch_size": 8}
    if app_class is SmallCropTrainingApp:
        options |= {"balanced": True, "epoch_samples": 24}
    history = app_class(**options).main()
    assert np.isfinite(history[0]["trn"]["loss/all"])
