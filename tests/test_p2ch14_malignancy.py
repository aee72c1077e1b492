"""Chapter 14: malignancy as a dataset, as a training, and as a question of statistics."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import TensorDataset

from p2ch10 import dsets
from p2ch10.dsets import CandidateInfoTuple
from p2ch11.model import LunaModel
from p2ch11.training import METRICS_SIZE
from p2ch14 import resampling
from p2ch14.dsets import MalignantLunaDataset
from p2ch14.malignancy import (
    compare,
    paired_bootstrap,
    plot_rocs,
    predict,
    similar_pairs,
    size_matched_auc,
    wins,
)
from p2ch14.model import MalignancyModel
from p2ch14.resampling import SPACING_IRC, resampled_crop
from p2ch14.size import fit_size, with_size
from p2ch14.training import ClassificationTrainingApp
from p2ch14.weights import change_settings, load_malignancy, settings_of
from util.errors import UserError

both_classes = st.lists(
    st.tuples(st.booleans(), st.integers(0, 6), st.floats(3, 30)), min_size=2, max_size=40
).filter(lambda rows: len({row[0] for row in rows}) == 2)


@given(both_classes)
def test_areas_agree_with_scikit_learn(rows):
    label, score, diameter = (np.array(column) for column in zip(*rows))
    assert wins(label, score).mean() == pytest.approx(roc_auc_score(label, score))
    # When every size counts as equal, the size-matched area is the area.
    assert size_matched_auc(label, score, diameter, factor=100) == pytest.approx(roc_auc_score(label, score))


@given(both_classes, st.sampled_from([1.0, 1.2, 1.6]))
def test_size_matched_area_agrees_with_the_obvious_way(rows, factor):
    won = [
        1.0 if p[1] > n[1] else 0.5 if p[1] == n[1] else 0.0
        for p in rows if p[0]
        for n in rows if not n[0] and abs(math.log(p[2] / n[2])) <= math.log(factor) + 1e-12
    ]  # fmt: skip
    label, score, diameter = (np.array(column) for column in zip(*rows))
    got = size_matched_auc(label, score, diameter, factor)
    assert math.isnan(got) if not won else got == pytest.approx(sum(won) / len(won))


def cohort(count=400, seed=0):
    """Sizes and labels like LUNA16's, and a score that knows more than the size."""
    rng = np.random.default_rng(seed)
    label = rng.random(count) < 0.32
    diameter = np.exp(np.where(label, rng.normal(2.48, 0.41, count), rng.normal(1.76, 0.29, count)))
    return label, diameter, np.log(diameter) + 0.5 * label + rng.normal(0, 0.2, count)


def test_matching_takes_the_size_away():
    label, diameter, score = cohort()
    assert roc_auc_score(label, diameter) > 0.85
    assert 0.4 < size_matched_auc(label, diameter, diameter) < 0.7
    assert size_matched_auc(label, score, diameter) > 0.75


def test_paired_bootstrap_agrees_with_scikit_learn_draw_by_draw():
    label, diameter, score = cohort(80)
    series = np.arange(80) // 3
    got = paired_bootstrap(label, score, diameter, series, draws=150, seed=5)
    rng = np.random.default_rng(5)
    count = series.max() + 1
    differences = []
    for _ in range(150):
        chosen = np.concatenate([np.flatnonzero(series == g) for g in rng.integers(count, size=count)])
        differences.append(
            roc_auc_score(label[chosen], score[chosen]) - roc_auc_score(label[chosen], diameter[chosen])
        )
    assert got.auc == pytest.approx(roc_auc_score(label, score))
    assert got.difference == pytest.approx(got.auc - roc_auc_score(label, diameter))
    np.testing.assert_allclose(got.ci, np.percentile(differences, [2.5, 97.5]), atol=1e-12)


def test_interval_tells_a_better_score_from_the_same_one():
    label, diameter, score = cohort()
    better = paired_bootstrap(label, score, diameter, draws=300)
    assert better.ci[0] > 0
    # The same order of nodules is the same area in every draw: the interval is a point.
    same = paired_bootstrap(label, diameter**2, diameter, draws=300)
    assert same.ci == (0, 0)
    noise = np.random.default_rng(1).normal(0, 0.02, len(label))
    low, high = paired_bootstrap(label, np.log(diameter) + noise, diameter, draws=300).ci
    assert low < 0.005
    assert high > -0.005


@pytest.mark.slow
def test_pairing_narrows_the_interval():
    label, diameter, score = cohort(120)
    paired = paired_bootstrap(label, score, diameter, draws=400)
    unpaired = []
    rng = np.random.default_rng(0)
    for _ in range(400):
        one, two = (rng.integers(len(label), size=len(label)) for _ in range(2))
        unpaired.append(roc_auc_score(label[one], score[one]) - roc_auc_score(label[two], diameter[two]))
    low, high = np.percentile(unpaired, [2.5, 97.5])
    assert paired.ci[1] - paired.ci[0] < 0.8 * (high - low)


def test_one_class_alone_is_a_sentence():
    with pytest.raises(UserError, match="both classes"):
        paired_bootstrap([True, True], [1, 2], [1, 2])


def test_pairs_of_similar_size():
    pairs = similar_pairs([True, True, False, False], [10.0, 20.0, 12.0, 12.1])
    assert pairs.tolist() == [[True, False], [False, False]]


# --- the dataset --------------------------------------------------------------------------------------


def info(number, kind):
    """A candidate at voxel (20, 30, number); kind: malignant, benign, unsized (no annotation), other."""
    return CandidateInfoTuple(
        kind != "other", kind in ("malignant", "benign"), kind == "malignant",
        8.0 if kind in ("malignant", "benign") else 0.0, "1.7", (float(number), 0.0, 0.0),
    )  # fmt: skip


@pytest.fixture
def infos(monkeypatch):
    """Three malignant, five benign, one unsized nodule and seven others; crops hold their number."""

    def crop(series_uid, center_xyz, width_irc):
        return np.full(width_irc, center_xyz[0], dtype=np.int16), dsets.IrcTuple(20, 30, int(center_xyz[0]))

    monkeypatch.setattr("p2ch14.dsets.getCtRawCandidate", crop)
    monkeypatch.setattr(resampling, "getCtRawCandidate", crop)
    monkeypatch.setattr(resampling, "_spacing_irc", lambda series_uid: (2.5, 0.5, 1.4))
    kinds = ["malignant"] * 3 + ["benign"] * 5 + ["unsized"] + ["other"] * 7
    return [info(number, kind) for number, kind in enumerate(kinds)]


@pytest.mark.parametrize("resampled", [True, False])
def test_unbalanced_set_is_every_annotated_nodule_once(infos, resampled):
    dataset = MalignantLunaDataset(candidateInfo_list=infos, resampled=resampled)
    items = [dataset[n] for n in range(len(dataset))]
    assert sorted(int(center[2]) for *_, center in items) == list(range(8))
    for crop, label, _, center in items:
        assert label.tolist() == ([0, 1] if center[2] < 3 else [1, 0])
        assert (crop == float(center[2])).all()


def test_balanced_set_takes_turns_and_holds_every_nodule(infos):
    dataset = MalignantLunaDataset(candidateInfo_list=infos, ratio_int=1)
    chosen = [dataset.candidate_at(n) for n in range(len(dataset))]
    assert [c.isMal_bool for c in chosen] == [n % 2 == 0 for n in range(len(chosen))]
    assert [c.isNodule_bool for c in chosen[1::2]] == [n % 2 == 0 for n in range(len(chosen) // 2)]
    assert {c for c in chosen if c.hasAnnotation_bool} == {i for i in infos if i.hasAnnotation_bool}
    assert not any(c.isNodule_bool and not c.hasAnnotation_bool for c in chosen)
    labels = torch.stack([label for _, label, _, _ in dataset.__getitems__(range(len(dataset)))])
    assert labels[:, 1].tolist() == [int(c.isMal_bool) for c in chosen]
    before = list(dataset.ben_list)
    torch.manual_seed(1)
    dataset.shuffleSamples()
    assert dataset.ben_list != before
    assert set(dataset.ben_list) == set(before)


@pytest.mark.parametrize("spacing_irc", [(1.0, 0.5, 0.5), (2.5, 0.9, 0.9), SPACING_IRC])
@pytest.mark.parametrize("extent", [1.0, 0.85, 1.2])
def test_a_ball_is_as_large_in_every_resampled_crop(spacing_irc, extent):
    """And seen from farther away, smaller in proportion."""
    shape = (120, 160, 160)
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    distance = sum(((g - n // 2) * mm) ** 2 for g, n, mm in zip(grid, shape, spacing_irc))
    hu = np.where(distance < 8**2, 40, -900).astype(np.int16)

    def cut(width):
        return hu[dsets.crop_window([n // 2 for n in shape], width, shape)]

    crop_t = resampled_crop(cut, spacing_irc, extent=extent)
    assert crop_t.shape == (32, 48, 48)
    volume_mm3 = float(((crop_t + 900) / 940).sum()) * math.prod(SPACING_IRC) * extent**3
    assert volume_mm3 == pytest.approx(4 / 3 * math.pi * 8**3, rel=0.08)
    if spacing_irc == SPACING_IRC and extent == 1:
        np.testing.assert_array_equal(crop_t.numpy(), cut((32, 48, 48)))


def test_balancing_without_a_class_is_a_sentence(infos):
    with pytest.raises(UserError, match="0 malignant and 5 benign"):
        MalignantLunaDataset(candidateInfo_list=infos[3:], ratio_int=1)


# --- fine-tuning --------------------------------------------------------------------------------------


class ToyMalignancyApp(ClassificationTrainingApp):
    """The real app on sixteen crops: large bright blobs are malignant."""

    def _loader(self):
        generator = torch.Generator().manual_seed(3)
        label = torch.arange(16) % 2
        crops = torch.randn(16, 1, 32, 48, 48, generator=generator) * 40 - 850
        crops[:, :, 12:20, 18:30, 18:30] += 800 * label[:, None, None, None, None]
        self.val_set = SimpleNamespace(
            candidateInfo_list=[SimpleNamespace(diameter_mm=float(5 + 6 * is_mal)) for is_mal in label]
        )
        return self.make_loader(
            TensorDataset(
                crops, torch.stack([1 - label, label], dim=1), torch.arange(16), torch.zeros(16, 3)
            ),
            shuffle=False,
        )

    initTrainDl = initValDl = _loader


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A classifier whose batch norm has seen other data than the toy crops."""
    torch.manual_seed(4)
    model = LunaModel()
    model.tail_batchnorm.running_mean.fill_(-700)
    model.tail_batchnorm.running_var.fill_(300**2)
    path = tmp_path_factory.mktemp("classifier") / "classification.state"
    torch.save({"model_state": model.state_dict()}, path)
    return path, model.state_dict()


def toy(*more):
    return ToyMalignancyApp(["--malignant", "--batch-size", "8", "--device", "cpu", "--epochs", "1", *more])


@pytest.mark.parametrize(
    ("depth", "learning"), [(1, {"head_linear"}), (2, {"head_linear", "block4"})]
)  # fmt: skip
def test_frozen_parts_stay_exactly_as_they_are(clean_output, classifier, depth, learning):
    path, before = classifier
    app = toy("--finetune", str(path), "--finetune-depth", str(depth))
    app.main()
    changed = {
        name.split(".")[0]
        for name, value in app.model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == learning
    assert {n.split(".")[0] for n, p in app.model.named_parameters() if p.requires_grad} == learning


def test_without_eval_mode_the_batch_norm_would_have_drifted(clean_output, classifier):
    """Guards the test above: gradients switched off are not enough."""
    path, before = classifier

    class Careless(ToyMalignancyApp):
        def doTraining(self, epoch_ndx, train_dl):
            self.model.train()
            return self._run_epoch(epoch_ndx, train_dl, "training")

    app = Careless(["--malignant", "--finetune", str(path), "--batch-size", "8", "--device", "cpu"])
    app.main()
    assert not torch.equal(app.model.tail_batchnorm.running_mean, before["tail_batchnorm.running_mean"])


def test_head_starts_afresh_and_the_rest_from_the_file(clean_output, classifier):
    path, before = classifier
    app = toy("--finetune", str(path))
    same = {name for name, value in app.model.state_dict().items() if torch.equal(value, before[name])}
    assert same == set(before) - {"head_linear.weight", "head_linear.bias"}


@pytest.mark.slow
def test_training_learns_and_tensorboard_gets_curves_and_histograms(clean_output):
    app = toy("--epochs", "4")
    history = app.main()
    assert history[-1]["val"]["roc/auc"] > 0.9
    assert history[-1]["val"]["roc/auc_diameter"] == 1
    log = EventAccumulator(str(next((app.folder / "runs").glob("*-val"))), size_guidance={"histograms": 0})
    tags = log.Reload().Tags()
    assert {"probability/benign", "probability/malignant"} <= set(tags["histograms"])
    assert "roc" in tags["images"]
    assert "roc/auc" in tags["scalars"]
    assert log.Histograms("probability/malignant")[-1].histogram_value.num == 8
    assert app.folder.parent.name == "p2ch14"


def test_metrics_of_one_class_do_not_fail(clean_output):
    app = toy()
    metrics = app.logMetrics(1, "val", torch.zeros(METRICS_SIZE, 5))
    assert math.isnan(metrics["roc/auc"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--malignant", "--dataset", "LunaDataset"], "--malignant asks about nodules only"),
        (["--dataset", "Cifar10"], "--dataset Cifar10: there is none"),
        (["--model", "ResNet"], "--model ResNet: the course has only LunaModel"),
        (["--malignant", "--finetune"], "--finetune needs the weights file"),
        (["--malignant", "--finetune", "nowhere.state"], "there is no weights file"),
        (["--malignant", "--finetune-depth", "9", "--finetune", "x.state"], "a number from 1 to 6"),
        (["--malignant", "--finetune-depth", "0", "--finetune", "x.state"], "a number from 1 to 6"),
    ],
)
def test_forgotten_or_wrong_options_are_one_sentence(clean_output, arguments, said):
    with pytest.raises(UserError, match=said) as caught:
        ClassificationTrainingApp(arguments)
    assert "\n" not in str(caught.value)


def test_weights_say_which_crops_they_want(clean_output, classifier, tmp_path):
    path, _ = classifier
    assert load_malignancy(path)[1] is False  # such as the book's published ones
    app = toy("--finetune", str(path))
    app.saveModel("cls", 1, isBest=True)
    model, is_resampled = load_malignancy(app.folder / "best.state")
    assert is_resampled
    assert torch.equal(model.head_linear.weight, app.model.head_linear.weight)
    save_file(model.state_dict(), tmp_path / "m.safetensors", {"model_name": "MalignancyModel"})
    assert load_malignancy(tmp_path / "m.safetensors")[1]
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    assert not load_malignancy(tmp_path / "m.safetensors")[1]


def test_size_and_network_together_know_more_than_either():
    rng = np.random.default_rng(3)
    label = rng.random(800) < 0.4
    logit, size = rng.normal(2 * label, 1), rng.normal(2.2 + 0.4 * label, 0.4)
    probability, diameter_mm = 1 / (1 + np.exp(-logit)), np.exp(size)
    weights = fit_size(label[::2], probability[::2], diameter_mm[::2])
    together = with_size(probability, diameter_mm, weights)
    oracle = LogisticRegression(C=1e9).fit(np.stack([logit, size], axis=1)[::2], label[::2])
    np.testing.assert_allclose(weights, [*oracle.coef_[0], oracle.intercept_[0]], atol=0.02)
    other = np.arange(800) % 2 == 1
    parts = [paired_bootstrap(label[other], together[other], s[other]) for s in (probability, diameter_mm)]
    assert all(part.ci[0] > 0 for part in parts)
    one = with_size(float(probability[0]), float(diameter_mm[0]), weights)
    assert one == pytest.approx(together[0])
    with pytest.raises(UserError, match="malignant and benign"):
        fit_size(np.ones(5, bool), probability[:5], diameter_mm[:5])


def test_weights_for_the_size_are_stored_with_the_network(tmp_path):
    path = tmp_path / "m.safetensors"
    model = MalignancyModel()
    save_file(model.state_dict(), path, {"model_name": "MalignancyModel"})
    assert settings_of(path).size_weights is None
    change_settings(path, size_weights=(0.5, 3.0, -7.0))
    assert settings_of(path).size_weights == (0.5, 3.0, -7.0)
    loaded, is_resampled = load_malignancy(path)
    assert is_resampled
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), model.state_dict().values()))
    with pytest.raises(UserError, match="safetensors"):
        change_settings(tmp_path / "m.state", size_weights=(0.5, 3.0, -7.0))


# --- measuring ---------------------------------------------------------------------------------------


def test_predict_keeps_the_order_and_compare_measures_both_ways(infos):
    dataset = MalignantLunaDataset(candidateInfo_list=infos)

    class ByBrightness(torch.nn.Module):
        def forward(self, crops):
            p = crops.mean(dim=(1, 2, 3, 4)) / 10
            return None, torch.stack([1 - p, p], dim=1)

    score = predict(ByBrightness(), dataset, batch_size=3, device="cpu")
    np.testing.assert_allclose(score * 10, [i.center_xyz[0] for i in dataset.candidateInfo_list], atol=1e-4)
    parts = compare(dataset, {"dark is malignant": -score}, draws=20)["dark is malignant"]
    # All diameters are equal here: the diameter knows nothing, and every pair is matched.
    for part in parts.values():
        assert (part.auc, part.auc_baseline) == (1.0, 0.5)


def test_roc_figure_names_every_curve():
    label, diameter, score = cohort(60)
    axis = plot_rocs(label, {"diameter": diameter, "network": score})
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert [name.split(",")[0] for name in names] == ["diameter", "network", "by chance"]
    assert f"{roc_auc_score(label, diameter):.3f}" in names[0]
