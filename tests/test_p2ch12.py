"""Chapter 12: metrics and augmentation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

from p2ch10.ct import CROP_IRC
from p2ch10.dsets import CandidateInfoTuple, getCt, getCtRawCandidate
from p2ch12.augment import ALL, HU_RANGE, Strengths, augment, random_affine, scanner_noise, transform
from p2ch12.dsets import LunaDataset, getCtPatch
from p2ch12.metrics import (
    average_precision,
    calibration_error,
    confusion,
    pr_curve,
    precision_recall_f1,
    prior_shift,
    roc_auc,
    roc_curve,
)
from p2ch12.training import LunaTrainingApp
from util.errors import UserError


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_precision_recall_f1_agree_with_scikit_learn(pairs):
    label, predicted = (np.array(column) for column in zip(*pairs))
    expected = precision_recall_fscore_support(label, predicted, average="binary", zero_division=0)[:3]
    got = precision_recall_f1(torch.from_numpy(label), torch.from_numpy(predicted))
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_confusion_counts():
    label = torch.tensor([True, True, False, False, False])
    predicted = torch.tensor([True, False, True, False, False])
    assert confusion(label, predicted) == (1, 1, 1, 2)


def a_volume():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 1, 8, 12, 12, generator=generator) * 300 - 400


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 3))
def test_slice_by_slice_resampling_equals_pytorchs_own_in_3d(seed, depth, channels):
    generator = torch.Generator().manual_seed(seed)
    volume = torch.randn(3, channels, depth, 7, 6, generator=generator)
    affine = random_affine(3, 3, Strengths(flip=True, offset=0.5, scale=0.4, rotate=True), None, generator)
    grid = torch.nn.functional.affine_grid(affine, list(volume.shape), align_corners=False)
    expected = torch.nn.functional.grid_sample(volume, grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(transform(volume, affine), expected, rtol=0, atol=1e-4)


def test_a_tilted_volume_is_resampled_in_3d():
    volume = torch.arange(27.0).reshape(1, 1, 3, 3, 3)
    turn = torch.tensor([[[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0.0]]])  # x and z change places
    torch.testing.assert_close(transform(volume, turn), volume.transpose(2, 4))


def test_zero_strength_is_the_identity_to_the_bit():
    volume = a_volume()
    assert torch.equal(augment(volume, Strengths()), volume)


def test_offset_really_shifts():
    volume = torch.zeros(1, 1, 1, 9, 9)
    volume[0, 0, 0, 4, 4] = 1
    # Two pixels to the right in the input are two ninths of the whole edge, which spans 2.
    affine = torch.tensor([[[1, 0, 0, 4 / 9], [0, 1, 0, 0], [0, 0, 1, 0.0]]])
    moved = transform(volume, affine)
    assert moved[0, 0, 0, 4, 2] == pytest.approx(1, abs=1e-5)
    shifts = random_affine(200, 3, Strengths(offset=0.1), generator=torch.Generator().manual_seed(0))[:, :, 3]
    assert shifts.abs().max() <= 0.1
    assert shifts.abs().mean() > 0.03


def test_every_sample_gets_its_own_transform():
    same = a_volume()[:1].repeat(4, 1, 1, 1, 1)
    for strengths in (
        Strengths(offset=0.2),
        Strengths(scale=0.2),
        Strengths(rotate=True),
        Strengths(noise=10),
    ):
        out = augment(same, strengths, torch.Generator().manual_seed(1))
        assert not torch.allclose(out[0], out[1]), strengths
        assert out.shape == same.shape


def test_flip_is_a_mirror_along_each_axis():
    volume = torch.arange(2 * 3 * 4.0).reshape(1, 1, 2, 3, 4)
    seen = set()
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        out = augment(volume, Strengths(flip=True), generator)
        matches = [
            dims
            for dims in ((), (2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4))
            if torch.allclose(out, volume.flip(dims) if dims else volume, atol=1e-4)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 8


def test_rotation_stays_in_the_slice_and_keeps_the_size():
    affine = random_affine(50, 3, Strengths(rotate=True), generator=torch.Generator().manual_seed(0))
    linear = affine[:, :, :3]
    torch.testing.assert_close(
        linear @ linear.transpose(1, 2), torch.eye(3).expand(50, 3, 3), atol=1e-5, rtol=0
    )
    assert (linear[:, 2] == torch.tensor([0.0, 0.0, 1.0])).all()


def test_all_strengths_together_leave_numbers_finite_and_in_range():
    volume = a_volume()
    out = augment(volume, ALL, torch.Generator().manual_seed(2))
    assert torch.isfinite(out).all()
    assert out.min() > volume.min() - 6 * ALL.noise
    assert out.max() < volume.max() + 6 * ALL.noise


some_strengths = st.builds(
    Strengths,
    flip=st.booleans(),
    offset=st.sampled_from([0.0, 0.1, 0.3]),
    scale=st.sampled_from([0.0, 0.2, 0.4]),
    rotate=st.booleans(),
)


@given(some_strengths, st.integers(0, 10_000))
def test_what_is_cut_from_a_patch_shows_nothing_from_beyond_it(strengths, seed):
    size = (4, 6, 6)
    patch = torch.zeros(3, 1, *strengths.patch(size))
    # One voxel more all round, and only that one is bright: whatever asked for a voxel beyond would be bright, too.
    wider = torch.nn.functional.pad(patch, [1] * 6, value=1000.0)
    affine = random_affine(3, 3, strengths, None, torch.Generator().manual_seed(seed))
    shares = torch.tensor([part / whole for part, whole in zip(size[::-1], wider.shape[:1:-1])])
    assert transform(wider, affine * shares[:, None], size=size).max() < 1e-3 * 1000
    shares = torch.tensor([part / whole for part, whole in zip(size[::-1], patch.shape[:1:-1])])
    grid = torch.nn.functional.affine_grid(affine * shares[:, None], [3, 1, *size], align_corners=False)
    assert grid.abs().max() <= 1 + 1e-5


@given(some_strengths, st.integers(0, 10_000))
def test_augmented_hu_stay_in_the_range_of_their_patch(strengths, seed):
    generator = torch.Generator().manual_seed(seed)
    patch = torch.rand(2, 1, *strengths.patch((4, 6, 6)), generator=generator) * 700 - 900
    out = augment(patch, strengths, generator, size=(4, 6, 6))
    assert out.shape == (2, 1, 4, 6, 6)
    assert patch.min() - 1e-3 <= out.min()
    assert out.max() <= patch.max() + 1e-3


@given(st.integers(0, 10_000), st.sampled_from([5.0, 25.0, 300.0]))
def test_noise_leaves_no_hu_out_of_range(seed, noise):
    extremes = torch.tensor([-1000.0, 1000.0]).repeat(2, 1, 3, 4, 3)
    out = augment(extremes, Strengths(noise=noise), torch.Generator().manual_seed(seed))
    assert out.min() >= HU_RANGE[0]
    assert out.max() <= HU_RANGE[1]
    assert not torch.equal(out, extremes)


def test_noise_has_the_deviation_asked_for_and_is_alike_in_neighbours_of_a_slice():
    noise = scanner_noise(torch.zeros(2, 1, 20, 64, 64), 25.0, torch.Generator().manual_seed(0))
    assert noise.std().item() == pytest.approx(25, rel=0.02)

    def alike(a, b):
        return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()

    assert alike(noise[..., 1:], noise[..., :-1]) == pytest.approx(0.32, abs=0.03)
    assert alike(noise[..., 1:, :], noise[..., :-1, :]) == pytest.approx(0.32, abs=0.03)
    assert alike(noise[:, :, 1:], noise[:, :, :-1]) == pytest.approx(0, abs=0.03)


def test_a_transform_from_a_patch_agrees_with_the_crop_where_the_crop_has_voxels():
    patch = torch.randn(1, 1, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    crop = patch[:, :, 2:6, 3:9, 3:9]
    assert torch.equal(augment(patch, Strengths(), size=(4, 6, 6)), crop)
    mirror = torch.tensor([[[-1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]])
    cut = mirror * torch.tensor([0.5, 0.5, 0.5])[:, None]
    torch.testing.assert_close(transform(patch, cut, size=(4, 6, 6)), crop.flip(4), atol=1e-5, rtol=0)


def test_a_patch_holds_its_crop_in_the_middle_and_mirrors_a_scan_at_its_border():
    patch_irc = ALL.patch(CROP_IRC)
    margins = [(wide - width) // 2 for wide, width in zip(patch_irc, CROP_IRC)]
    middle = tuple(slice(margin, margin + width) for margin, width in zip(margins, CROP_IRC))
    mirrored = 0
    for info in LunaDataset(val_stride=5, isValSet_bool=True).candidateInfo_list[:120]:
        crop, center_irc = getCtRawCandidate(info.series_uid, info.center_xyz, CROP_IRC)
        patch, same_irc = getCtPatch(info.series_uid, info.center_xyz, CROP_IRC, patch_irc)
        assert patch.shape == patch_irc
        assert center_irc == same_irc
        np.testing.assert_array_equal(patch[middle], crop)
        hu = getCt(info.series_uid).hu_a
        start = [
            min(max(c - w // 2, 0), s - w) - m for c, w, s, m in zip(center_irc, CROP_IRC, hu.shape, margins)
        ]
        expected = np.pad(hu, [(margin, margin) for margin in margins], mode="reflect")
        inside = tuple(slice(s + m, s + m + wide) for s, m, wide in zip(start, margins, patch_irc))
        np.testing.assert_array_equal(patch, expected[inside])
        mirrored += any(s < 0 or s + wide > size for s, wide, size in zip(start, patch_irc, hu.shape))
    assert mirrored


def test_a_training_augments_what_it_cuts_from_patches(clean_output):
    app = LunaTrainingApp(["--balanced", "--augmented", "--batch-size", "2", "--device", "cpu"])
    loader = app.initTrainDl()
    batch_tup = next(iter(loader))
    assert batch_tup[0].shape == (2, 1, *ALL.patch(CROP_IRC))
    assert batch_tup[1].tolist() == [[0, 1], [1, 0]]
    seen = []
    app.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    app.model.train()
    assert torch.isfinite(app.computeBatchLoss(0, batch_tup, 2, torch.zeros(4, 2)))
    assert seen == [(2, 1, *CROP_IRC)]
    plain = LunaTrainingApp(["--balanced", "--batch-size", "2", "--device", "cpu"])
    assert next(iter(plain.initTrainDl()))[0].shape == (2, 1, *CROP_IRC)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_the_prior_shift_moves_the_odds_by_bayes_rule(trained, true):
    likelihood_ratio = 3.0
    score = np.log(trained / (1 - trained) * likelihood_ratio)
    wanted = true * likelihood_ratio / (true * likelihood_ratio + 1 - true)
    assert 1 / (1 + np.exp(-(score + prior_shift(trained, true)))) == pytest.approx(wanted)
    assert prior_shift(trained, trained) == 0


def test_calibration_error_is_nought_for_shares_that_come_true_and_grows_with_their_distance():
    label = torch.tensor([False, False, False, True] * 10 + [True, True, True, False] * 10)
    told = torch.tensor([0.25] * 40 + [0.75] * 40)
    assert calibration_error(label, told, bins=2) == pytest.approx(0)
    assert calibration_error(label, told + 0.1, bins=2) == pytest.approx(0.1)
    assert calibration_error(label, torch.tensor([0.0] * 40 + [1.0] * 40), bins=2) == pytest.approx(0.25)


def test_works_on_slices_too():
    slices = torch.randn(3, 7, 16, 16)
    assert augment(slices, ALL).shape == slices.shape


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60))
def test_curves_agree_with_scikit_learn(pairs):
    label, score = (np.array(column) for column in zip(*pairs))
    label_t, score_t = torch.from_numpy(label), torch.from_numpy(score / 6.0)
    if not label.any():
        assert np.isnan(average_precision(label_t, score_t))
    else:
        expected = average_precision_score(label, score)
        assert average_precision(label_t, score_t) == pytest.approx(expected)
    if label.all() or not label.any():
        assert np.isnan(roc_auc(label_t, score_t))
        return
    assert roc_auc(label_t, score_t) == pytest.approx(roc_auc_score(label, score))
    expected = metrics.roc_curve(label, score / 6.0, drop_intermediate=False)
    for own, oracle in zip(roc_curve(label_t, score_t), expected):
        np.testing.assert_allclose(own, oracle)
    precision, recall, threshold = metrics.precision_recall_curve(label, score / 6.0)
    own = pr_curve(label_t, score_t)
    np.testing.assert_allclose(own[0], precision[:-1][::-1])
    np.testing.assert_allclose(own[1], recall[:-1][::-1])
    np.testing.assert_allclose(own[2], threshold[::-1])


def test_log_metrics_reports_the_areas_and_bears_a_split_without_nodules(clean_output):
    app = LunaTrainingApp(["--device", "cpu"])
    label, probability = torch.tensor([0.0, 0, 1, 1]), torch.tensor([0.1, 0.6, 0.4, 0.9])
    loss = torch.tensor([0.1, 0.9, 0.9, 0.1])
    metrics_t = torch.stack([label, probability, loss, torch.logit(probability)])
    logged = app.logMetrics(1, "val", metrics_t)
    assert logged["roc/auc"] == pytest.approx(0.75)
    assert logged["pr/f1_score"] == pytest.approx(0.5)
    empty = app.logMetrics(1, "val", metrics_t[:, :2])
    assert np.isnan(empty["roc/auc"])
    assert empty["pr/recall"] == 0


def some_candidates(nodules=3, others=20):
    kinds = [True] * nodules + [False] * others
    return [CandidateInfoTuple(kind, kind, False, 5.0, "1.2", (n, 0, 0)) for n, kind in enumerate(kinds)]


@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_balanced_items_come_one_nodule_to_ratio_others_and_show_every_other(ratio):
    infos = some_candidates()
    dataset = LunaDataset(ratio_int=ratio, candidateInfo_list=infos)
    drawn = [dataset.candidate_at(n) for n in range(len(dataset))]
    assert [info.isNodule_bool for info in drawn] == [n % (ratio + 1) == 0 for n in range(len(dataset))]
    assert {info for info in infos if not info.isNodule_bool} <= set(drawn)
    assert len(dataset) < 20 * (ratio + 1) / ratio + ratio + 1
    with pytest.raises(UserError, match="both classes"):
        LunaDataset(ratio_int=1, candidateInfo_list=some_candidates(others=0))
    with pytest.raises(ValueError, match="ratio_int"):
        LunaDataset(ratio_int=-1, candidateInfo_list=infos)


def test_a_balanced_epoch_is_as_long_as_asked():
    dataset = LunaDataset(ratio_int=1, candidateInfo_list=some_candidates(others=6000))
    assert len(dataset) == 12000
    dataset.least_length = 20001
    assert [dataset.candidate_at(n).isNodule_bool for n in range(20001)] == [n % 2 == 0 for n in range(20001)]


@pytest.mark.parametrize("asked", [24, 100])
def test_a_balanced_training_sees_as_many_samples_as_asked(clean_output, monkeypatch, asked):
    def items(self, indices):
        return [(torch.zeros(1), torch.zeros(1), str(n), torch.zeros(1)) for n in indices]

    monkeypatch.setattr(LunaDataset, "__getitems__", items)
    seen = []

    class Counting(LunaTrainingApp):
        def initTrainDl(self):
            infos = some_candidates(others=20)
            return self.make_train_loader(LunaDataset(ratio_int=1, candidateInfo_list=infos))

        def computeBatchLoss(self, batch_ndx, batch_tup, batch_size, metrics_g):
            seen.extend(batch_tup[2])
            return sum(parameter.sum() for parameter in self.model.parameters())

    app = Counting(balanced=True, epoch_samples=asked, batch_size=4, device="cpu")
    app.doTraining(1, app.initTrainDl())
    assert len(seen) == asked


def test_shuffling_reorders_a_balanced_dataset_only():
    infos = some_candidates(nodules=40, others=40)
    balanced, plain = (
        LunaDataset(ratio_int=1, candidateInfo_list=infos),
        LunaDataset(candidateInfo_list=infos),
    )
    before, order = list(balanced.pos_list), list(plain.candidateInfo_list)
    balanced.shuffleSamples(), plain.shuffleSamples()
    assert balanced.pos_list != before
    assert sorted(balanced.pos_list) == sorted(before)
    assert plain.candidateInfo_list == order


def test_a_balanced_training_sees_other_negatives_in_every_epoch(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_OUTPUT", str(tmp_path))
    seen = []

    class Watching(LunaTrainingApp):
        def _run_epoch(self, epoch_ndx, loader, what):
            seen.append(tuple(loader.dataset.candidate_at(i) for i in range(1, 2000, 2)))
            raise StopIteration

    for epoch in (1, 2, 1):
        app = Watching(["--balanced"])
        loader = app.initTrainDl()
        loader.generator.manual_seed(epoch)
        with pytest.raises(StopIteration):
            app.doTraining(epoch, loader)
    assert seen[0] == seen[2]
    assert len(set(seen[0]) & set(seen[1])) < len(seen[0]) / 2


def test_every_batch_of_a_balanced_training_is_balanced_and_its_order_is_drawn_anew():
    app = LunaTrainingApp(["--balanced", "--batch-size", "8"])
    loader = app.initTrainDl()
    batches = list(loader.batch_sampler)
    assert sorted(i for batch in batches for i in batch) == list(range(len(loader.dataset)))
    orders = []
    for epoch in (1, 2):
        loader.generator.manual_seed(epoch)
        loader.dataset.shuffleSamples(loader.generator)
        drawn = [[loader.dataset.candidate_at(i) for i in batch] for batch in batches]
        assert all(2 * sum(info.isNodule_bool for info in batch) == len(batch) for batch in drawn)
        orders.append(drawn)
    assert orders[0] != orders[1]
