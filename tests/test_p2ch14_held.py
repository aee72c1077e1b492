"""Chapter 14: examples held on the device are those of the datasets behind them."""

import copy
import itertools
from types import SimpleNamespace

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
from p2ch14.shipped.trainings import BallTargetTrainingApp, HardNegativeTrainingApp, SmallCropTrainingApp
from util.errors import UserError

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
def test_every_other_held_crop_shows_a_nodule_and_the_others_lie_elsewhere(crops, held):
    torch.manual_seed(2)
    slices, balls, *_ = held.__getitems__(range(63))
    assert slices.shape == (63, 7, 64, 64)
    assert balls.shape == (63, 1, 64, 64)
    assert balls.flatten(1).any(dim=1)[0::2].all()
    again, *_ = held.__getitems__(range(63))
    assert not torch.equal(slices, again)
    scan, place = held._places(2000)
    odd = torch.cat([scan[:, None], place], dim=1)[1::2].tolist()
    listed = {tuple(row) for row in held.background_g.tolist()}
    assert 0.4 < np.mean([tuple(row) in listed for row in odd]) < 0.6
    assert {row[0] for row in odd} == set(range(len(crops.series_list)))
    assert all(0 <= index < size for row in odd for index, size in zip(row, held.hu_g.shape))


@pytest.mark.slow
def test_background_is_that_of_the_dataset(crops, held):
    for row, candidate in zip(held.background_g.tolist(), crops.background_list):
        uid = crops.series_list[row[0]]
        assert uid == candidate.series_uid
        assert tuple(row[1:]) == tuple(getCt(uid).geometry.xyz2irc(candidate.center_xyz))


@pytest.mark.slow
def test_without_candidates_background_lies_anywhere(crops):
    bare = copy.copy(crops)
    bare.background_list = []
    slices, balls, *_ = HeldBallCrops(bare, CPU).__getitems__(range(8))
    assert len(slices) == len(balls) == 8


def test_what_cannot_be_held_is_a_sentence(crops, monkeypatch):
    bare = copy.copy(crops)
    bare.nodule_list = []
    with pytest.raises(UserError, match="no nodules to learn from"):
        HeldBallCrops(bare, CPU)
    shapes = itertools.count(64)

    def stored(uid):
        return SimpleNamespace(geometry=SimpleNamespace(shape=(next(shapes), 64, 64)))

    monkeypatch.setattr("p2ch14.shipped.held.open_stored", stored)
    with pytest.raises(UserError, match="scans of one shape"):
        HeldBallCrops(crops, CPU)


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
    app = SimpleNamespace(cli_args=SimpleNamespace(batch_size=4), rank=0, world_size=1)
    batches = list(held_loader(app, held))
    app.rank, app.world_size = 1, 2
    assert [len(patches) for patches, *_ in held_loader(app, held)] == [2, 2, 1], "a share of each batch"
    assert [len(patches) for patches, *_ in batches] == [4, 4, 2]
    patches, labels = (torch.cat(parts) for parts in list(zip(*batches))[:2])
    wanted = dataset.__getitems__(range(10))
    assert torch.equal(patches, torch.stack([item[0] for item in wanted]).round())
    assert torch.equal(labels, torch.stack([item[1] for item in wanted]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("app_class", "augmented", "balanced"),
    [
        (BallTargetTrainingApp, True, False),
        (SmallCropTrainingApp, True, True),
        (HardNegativeTrainingApp, False, False),
    ],
)
def test_a_training_runs_on_held_examples(app_class, augmented, balanced, clean_output, monkeypatch, crops):
    monkeypatch.setattr("p2ch14.shipped.trainings.BallCrops", lambda *_, **__: crops)
    infos = [i for i in getCandidateInfoList() if i.series_uid in crops.series_list]
    infos = [i for i in infos if i.isNodule_bool] + [i for i in infos if not i.isNodule_bool][:20]
    monkeypatch.setattr("p2ch14.shipped.trainings.listed_for_training", lambda _: infos)
    monkeypatch.setattr("p2ch14.shipped.trainings.mine", lambda *_: infos[:1])
    options = {"augmented": augmented, "val_every": 0, "device": "cpu", "held": True, "batch_size": 8}
    if app_class is not BallTargetTrainingApp:
        options |= {"balanced": balanced, "epoch_samples": 24}
    history = app_class(**options).main()
    assert np.isfinite(history[0]["trn"]["loss/all"])
