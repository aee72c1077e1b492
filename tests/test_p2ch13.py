"""Chapter 13: the U-Net, ground truth grown from centres, Dice loss."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from p2ch09.phantom import make_patient
from p2ch10.dsets import getCt, xyz2irc
from p2ch11.training import load_weights
from p2ch12.augment import Strengths
from p2ch13 import ablation, benchmark, lessons
from p2ch13.benchmark import SHIPPED
from p2ch13.dsets import (
    Luna2dSegmentationDataset,
    TrainingLuna2dSegmentationDataset,
    nodule_box,
    nodule_truth,
    slices_with_context,
    truth_of_slice,
)
from p2ch13.lessons import evaluate
from p2ch13.lungs import Lungs, body_window
from p2ch13.model import SegmentationAugmentation, UNetWrapper
from p2ch13.segment import segment, segment_plainly, trusted
from p2ch13.training import FOUND, MISSED, WRONG, SegmentationTrainingApp, overlay
from util.errors import UserError

PUBLISHED = json.loads((Path(__file__).parent / "published_checkpoints.json").read_text())


def test_parameters_are_those_of_the_published_weights():
    model = UNetWrapper()
    own = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert own == PUBLISHED["UNetWrapper"]["model_state"]


@pytest.mark.parametrize("shape", [(64, 64), (512, 512), (100, 36)])
def test_output_is_as_large_as_the_input(shape):
    with torch.inference_mode():
        out = UNetWrapper().eval()(torch.zeros(1, 7, *shape))
    assert out.shape == (1, 1, *shape)
    assert 0 <= out.min() <= out.max() <= 1


@pytest.mark.parametrize("shape", [(64, 102), (63, 64)])
def test_an_edge_that_would_come_back_shorter_is_one_sentence(shape):
    with pytest.raises(UserError, match=rf"{shape[0]} x {shape[1]} pixels; both must be multiples of 4, so"):
        UNetWrapper().eval()(torch.zeros(1, 7, *shape))
    UNetWrapper(depth=2).eval()(torch.zeros(1, 7, 66, 62))
    UNetWrapper(depth=2, padding=False).eval()(torch.zeros(1, 7, 65, 63))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:FutureWarning")
def test_the_check_of_edges_does_not_disturb_exports():
    model = UNetWrapper().eval()
    small, large = torch.randn(1, 7, 16, 20), torch.randn(2, 7, 32, 24)
    for exported in (torch.jit.script(model), torch.jit.trace(model, small)):
        torch.testing.assert_close(exported(large), model(large))
    edge = 4 * torch.export.Dim("quarter", min=4, max=64)
    program = torch.export.export(model, (torch.randn(2, 7, 32, 32),), dynamic_shapes=({2: edge},))
    torch.testing.assert_close(program.module()(torch.randn(2, 7, 64, 32).fill_(-500)).shape, (2, 1, 64, 32))


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    model = UNetWrapper()
    model(torch.randn(2, 7, 32, 32) * 300 - 500).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def ball(shape, center, radius):
    distance = sum((axis - c) ** 2 for axis, c in zip(np.ogrid[tuple(slice(n) for n in shape)], center))
    return np.where(distance <= radius**2, 40, -850).astype(np.int16)


def test_box_holds_a_ball_in_air():
    hu = ball((20, 40, 40), (9, 20, 21), 5)
    box = nodule_box(hu, (9, 20, 21))
    assert box == (slice(4, 15), slice(15, 26), slice(16, 27))
    assert nodule_truth(hu, (9, 20, 21)).mask.sum() == (hu > -700).sum()


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(-3, 12), st.integers(-3, 18), st.integers(-3, 22)), st.integers(1, 8))
def test_box_at_any_edge_lies_inside_and_is_never_empty(center, radius):
    shape = (10, 16, 20)
    truth = nodule_truth(ball(shape, center, radius), center)
    for part, size in zip(truth.box, shape):
        assert 0 <= part.start < part.stop <= size
    assert truth.mask.any()
    assert truth.mask.shape == tuple(part.stop - part.start for part in truth.box)


def test_truth_does_not_write_into_the_scan():
    hu = ball((12, 20, 20), (6, 10, 10), 3)
    before = hu.copy()
    nodule_truth(hu, (6, 10, 10))
    assert np.array_equal(hu, before)


def test_slice_of_truth_is_the_slice_of_the_ball():
    hu = ball((12, 20, 20), (6, 10, 9), 3)
    truths = [nodule_truth(hu, (6, 10, 9))]
    for index in range(12):
        assert np.array_equal(truth_of_slice(truths, index, (20, 20)), hu[index] > -700)


def test_context_repeats_the_edge_slices():
    hu = np.arange(5)[:, None, None] * np.ones((1, 2, 2), dtype=int)
    assert slices_with_context(hu, 0)[:, 0, 0].tolist() == [0, 0, 0, 0, 1, 2, 3]
    assert slices_with_context(hu, 4)[:, 0, 0].tolist() == [1, 2, 3, 4, 4, 4, 4]
    assert slices_with_context(hu, 2)[:, 0, 0].tolist() == [0, 0, 1, 2, 3, 4, 4]


def test_augmentation_moves_slice_and_label_together():
    torch.manual_seed(0)
    label = torch.zeros(6, 1, 32, 32, dtype=torch.bool)
    label[:, :, 10:20, 14:22] = True
    slices = label.float().repeat(1, 7, 1, 1) * 800 - 800
    out, moved = SegmentationAugmentation(flip=True, offset=0.1, scale=0.2, rotate=True)(slices, label)
    assert moved.dtype == torch.bool
    agreement = ((out[:, 3:4] > -400) == moved).float().mean()
    assert agreement > 0.99
    assert not torch.equal(moved[0], moved[1])
    unchanged, same = SegmentationAugmentation()(slices, label)
    assert torch.equal(unchanged, slices)
    assert torch.equal(same, label)


def test_dice_loss_by_hand(clean_output):
    app = SegmentationTrainingApp(["--device", "cpu"])
    label = torch.zeros(3, 1, 4, 4)
    label[:, :, :2] = 1  # eight pixels each
    prediction = torch.stack([label[0], torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    expected = [0, 1 - 1 / 9, 1 - (2 * 8 + 1) / (16 + 8 + 1)]
    torch.testing.assert_close(app.diceLoss(prediction, label), torch.tensor(expected))


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--samples", "0"], "--samples is 0"), (["--missed-weight", "nan"], "--missed-weight is nan")],
)
def test_options_that_make_no_sense_are_one_sentence(clean_output, words, said):
    with pytest.raises(UserError, match=said):
        SegmentationTrainingApp(words)


def test_one_transform_can_be_asked_for(clean_output):
    app = SegmentationTrainingApp(["--augment-flip", "--device", "cpu"])
    assert app.augmentation_model.strengths == Strengths(flip=True)
    assert SegmentationTrainingApp(["--device", "cpu"]).augmentation_model is None


def test_metrics_are_areas(clean_output):
    app = SegmentationTrainingApp(["--device", "cpu"])
    metrics_t = torch.tensor([[0.5, 0.5], [30.0, 50.0], [20.0, 0.0], [100.0, 0.0]])
    metrics = app.logMetrics(1, "val", metrics_t)
    assert metrics["pr/recall"] == pytest.approx(0.8)
    assert metrics["pr/precision"] == pytest.approx(80 / 180)
    assert metrics["percent_all/fp"] == pytest.approx(100)
    assert app.logMetrics(1, "val", torch.zeros(4, 3))["pr/recall"] == 0


def test_the_best_state_finds_much_and_does_not_mark_everything(clean_output):
    app = SegmentationTrainingApp(["--device", "cpu"])

    def score(precision, recall):
        return app.score({"pr/precision": precision, "pr/recall": recall})

    assert score(0.8, 0.5) == pytest.approx(5 * 0.4 / (3.2 + 0.5))
    assert score(0.4, 0.9) > score(0.5, 0.7), "recall counts more"
    assert score(0.01, 1.0) < score(0.3, 0.7), "marking everything does not win"
    assert score(0.0, 0.0) == score(0.0, 0.5) == 0


def test_overlay_paints_found_missed_and_wrong():
    label = torch.tensor([[True, True, False, False]])
    predicted = torch.tensor([[True, False, True, False]])
    picture = overlay(torch.full((1, 4), -1000.0), label, predicted)
    expected = 0.6 * torch.tensor([FOUND, MISSED, WRONG, (0, 0, 0)])
    torch.testing.assert_close(picture[:, 0].T, expected)


@pytest.mark.slow
def test_grown_boxes_agree_with_the_generators_exact_masks():
    """The annotation is a centre only; how good is what grows from it?"""
    agreement, is_too_large = [], []
    for number in range(6):
        patient = make_patient((5, number), (64, 192, 192), richness=6, masks=True)
        labels, _ = ndimage.label(patient.mask)
        for nodule in patient.nodules:
            center = xyz2irc(nodule.center_xyz, patient.origin_xyz, patient.spacing_xyz, patient.direction)
            exact = labels == labels[tuple(center)]
            if not labels[tuple(center)]:
                continue  # two nodules may share voxels; the label is the other's
            truth = nodule_truth(patient.hu, center)
            grown = np.zeros(patient.hu.shape, dtype=bool)
            grown[truth.box] = truth.mask
            assert grown.any()
            agreement.append((grown & exact).sum() / (grown | exact).sum())
            is_too_large.append(grown.sum() > exact.sum())
    assert len(agreement) >= 50
    assert 0.45 < np.mean(agreement) < 0.65
    assert np.mean(is_too_large) > 0.7


def test_a_dataset_is_made_without_reading_a_scan(monkeypatch):
    def unread(series_uid):
        raise AssertionError("a scan was read")

    monkeypatch.setattr("p2ch13.dsets.getCt", unread)
    dataset = TrainingLuna2dSegmentationDataset(5, False, samples=7)
    assert len(dataset) == 7
    Luna2dSegmentationDataset(5, True)


def test_training_crops_hold_a_nodule_every_other_time():
    dataset = TrainingLuna2dSegmentationDataset(5, False, samples=24)
    torch.manual_seed(0)
    items = [dataset[ndx] for ndx in range(24)]
    assert {tuple(slices_t.shape) for slices_t, *_ in items} == {(7, 64, 64)}
    assert {tuple(label_t.shape) for _, label_t, *_ in items} == {(1, 64, 64)}
    assert all(label_t.any() for _, label_t, *_ in items[0::2])
    assert sum(bool(label_t.any()) for _, label_t, *_ in items[1::2]) < 6


def test_validation_slices_are_those_with_a_nodule():
    dataset = Luna2dSegmentationDataset(5, True)
    for ndx in (0, len(dataset) // 2, len(dataset) - 1):
        slices_t, label_t, series_uid, slice_ndx = dataset[ndx]
        hu = getCt(series_uid).hu_a
        assert label_t.any()
        assert slices_t.shape == (7, *hu.shape[1:])
        np.testing.assert_array_equal(slices_t[3].numpy(), hu[slice_ndx])


def test_fast_and_plain_segmentation_agree():
    model = load_weights(UNetWrapper(), SHIPPED).eval()
    hu = make_patient((5, 1), (24, 160, 160), richness=6).hu
    plain = segment_plainly(model, hu)
    fast = segment(model, hu, batch_size=4)
    assert plain.sum() > 100
    assert (fast == plain).mean() > 0.999
    assert (fast & plain).sum() > 0.95 * (fast | plain).sum()


def test_the_benchmark_compares_what_both_ways_look_at(tmp_path, monkeypatch, capsys):
    hu = make_patient((5, 1), (24, 160, 160), richness=6).hu
    judged = benchmark.looked_at(hu)
    assert 0.05 < judged.mean() < 1
    model = load_weights(UNetWrapper(), SHIPPED).eval()
    assert not segment(model, hu)[~judged].any(), "the fast way marks nothing outside of its windows"
    monkeypatch.setattr(benchmark, "load_scan", lambda path: SimpleNamespace(hu_a=hu))
    benchmark.main(["any.mhd", "--device", "cpu"])
    said = capsys.readouterr().out
    same = re.search(r"same voxels  (\d+\.\d+)%  \(at least 99\.9%\)\n", said)
    assert float(same[1]) >= 99.9
    assert re.search(r"the plain way marks [\d,]+ voxels outside of it", said)


def test_neighbours_can_be_left_out(clean_output):
    app = SegmentationTrainingApp(["--context-slices", "1", "--samples", "2", "--device", "cpu"])
    slices_t, *_ = next(iter(app.initTrainDl()))
    assert slices_t.shape[1:] == (3, 64, 64)
    assert app.model(slices_t).shape[1:] == (1, 64, 64)
    assert app.initValDl().dataset[0][0].shape[0] == 3


def test_whole_slices_come_a_quarter_as_many_at_a_time(clean_output):
    app = SegmentationTrainingApp(device="cpu", batch_size=8)
    val_dl = app.initValDl()
    val_dl.dataset.sample_list[7:] = []  # the last of four batches is not full
    assert [len(batch[0]) for batch in val_dl] == [2, 2, 2, 1]
    metrics_t = app.doValidation(1, val_dl)
    one_by_one = app.make_loader(val_dl.dataset, shuffle=False, batch_size=1)
    assert metrics_t.shape == (4, 7)
    torch.testing.assert_close(metrics_t, app.doValidation(1, one_by_one))


def test_the_ablation_compares_over_all_thresholds():
    counts = np.zeros((2, 4), dtype=int)
    counts[1] = [0, 2, 0, 2]  # two nodule pixels at the top level, two at the second
    counts[0] = [50, 2, 2, 0]
    one = ablation.summary(counts)
    assert one["average_precision"] == pytest.approx(0.5 * 1 + 0.5 * 4 / 8)
    assert one["recall_at_equal_area"] == 1.0
    counts[0, 2] = 4
    assert ablation.summary(counts)["recall_at_equal_area"] == 0.5


@pytest.mark.command
def test_the_ablation_writes_its_record(clean_output, tmp_path, capsys):
    words = ["--context", "0", "1", "--seeds", "1", "--epochs", "1", "--samples", "16"]
    ablation.main([*words, "--json", str(tmp_path / "record.json")])
    runs = json.loads((tmp_path / "record.json").read_text())["runs"]
    assert [run["slices"] for run in runs] == [1, 3]
    assert all(0 <= run["average_precision"] <= 1 for run in runs)


def test_lungs_that_were_found_are_not_looked_for_again(monkeypatch):
    hu = np.full((8, 160, 200), -1000, dtype=np.int16)
    hu[:, 20:140, 20:180] = 0
    hu[:, 50:110, 40:80] = hu[:, 60:110, 120:160] = -850
    torch.manual_seed(0)
    model = UNetWrapper().eval()
    lungs, alone = Lungs(hu), segment(model, hu)
    monkeypatch.setattr("p2ch13.segment.Lungs", lambda hu: pytest.fail("looked for the lungs again"))
    assert np.array_equal(segment(model, hu, lungs=lungs), alone)


def test_the_distance_to_the_lungs_is_in_millimetres():
    hu = np.full((8, 160, 200), -1000, dtype=np.int16)
    hu[:, 20:140, 20:180] = 0
    hu[:, 48:108, 40:80] = hu[:, 60:108, 120:160] = -850
    lungs = Lungs(hu)
    away_mm = lungs.distance_mm((2.0, 0.5, 0.5))
    assert away_mm.shape == (4, 40, 50)
    assert away_mm[1, 80 // 4, 60 // 4] == 0
    # Row 120 is 12 rows below the lung's last; of every fourth row the last in it is 104.
    assert away_mm[1, 120 // 4, 60 // 4] == (120 - 104) * 0.5
    hu[:, 60:108, 120:160] = 0
    assert Lungs(hu).distance_mm((2.0, 0.5, 0.5)) is None, "one lung only: nothing may be left out"


def test_body_window_holds_the_body_and_fits_the_network():
    hu = np.full((4, 101, 130), -1000, dtype=np.int16)
    hu[:, 40:61, 50:90] = 0
    rows, columns = body_window(hu)
    assert rows.start <= 40
    assert rows.stop >= 61
    assert columns.start <= 50
    assert columns.stop >= 90
    for part, size in ((rows, 101), (columns, 130)):
        assert (part.stop - part.start) % 4 == 0
        assert 0 <= part.start < part.stop <= size
    assert Lungs(hu).windows() == [(slice(0, 4), (rows, columns))], "no lungs: the whole body"
    everything = body_window(np.full((4, 64, 64), -1000, dtype=np.int16))
    assert everything == (slice(0, 64), slice(0, 64))


def test_lung_window_holds_both_lungs_or_the_whole_body():
    hu = np.full((4, 160, 200), -1000, dtype=np.int16)
    hu[:, 20:140, 20:180] = 0
    hu[:, 50:110, 40:80] = hu[:, 60:110, 120:161] = -850
    hu[2, 70:74, 50:54] = 40  # a nodule
    [(slices, (rows, columns))] = Lungs(hu).windows()
    assert slices == slice(0, 4)
    assert rows.start <= 50 - 12
    assert rows.stop >= 110 + 12
    assert columns.start <= 40 - 12
    assert columns.stop >= 161 + 12
    assert (rows.stop - rows.start) % 4 == (columns.stop - columns.start) % 4 == 0
    assert rows.stop - rows.start < 120
    assert columns.stop - columns.start < 176
    hu[:, 60:110, 120:161] = 0
    assert Lungs(hu).windows() == [(slice(0, 4), body_window(hu))], (
        "one lung is full: its nodules must not be left out"
    )


def test_a_lung_that_the_picture_cuts_open_is_looked_at_and_a_couch_is_not():
    hu = np.full((4, 200, 240), -1000, dtype=np.int16)
    hu[:, 20:140, :200] = 0
    hu[:, 50:110, 110:160] = -850
    # The circle that the scanner sees ends within the other lung: beyond it is nothing, as around the patient.
    hu[:, 40:120, :90] = -850
    hu[:, 20:140, :20] = -1000
    hu[:, 170:178] = -900  # foam
    [(_, (rows, columns))] = Lungs(hu).windows()
    assert rows.start <= 40
    assert 120 <= rows.stop < 165
    assert columns.start <= 20
    assert 160 <= columns.stop < 200


def test_what_lies_where_a_window_was_cut_only_informs_the_rest():
    assert trusted((slice(0, 60), slice(20, 100)), (100, 100)) == (slice(0, 52), slice(28, 100))
    assert trusted((slice(4, 64), slice(0, 100)), (64, 100)) == (slice(12, 64), slice(0, 100))


def test_every_slab_has_the_window_of_the_lungs_in_and_around_it():
    hu = np.full((48, 160, 200), -1000, dtype=np.int16)
    hu[:, 20:140, 20:180] = 0
    # Lungs in slices 16 to 39, which grow downwards to the left.
    for index in range(16, 40):
        hu[index, 50:110, 100 - 2 * (index - 10) : 160] = -850
    windows = Lungs(hu).windows(slab=8, around=4)
    assert [slices.start for slices, _ in windows] == [8, 16, 24, 32, 40], "and none far from the lungs"
    widths = [columns.stop - columns.start for _, (_, columns) in windows]
    assert widths == sorted(widths)
    assert widths[1] < widths[-1]
    for slices, (rows, columns) in windows:
        for index in range(max(slices.start, 16), min(slices.stop, 40)):
            inside = np.argwhere(hu[index] == -850)
            assert rows.start <= inside[:, 0].min() - 12
            assert rows.stop >= inside[:, 0].max() + 12
            assert columns.start <= inside[:, 1].min() - 12
            assert columns.stop >= min(inside[:, 1].max() + 12, 200)


@pytest.mark.command
def test_the_lesson_s_command_trains_and_judges(clean_output, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lessons", "--seeds", "1", "--epochs", "1", "--samples", "16"])
    lessons.main()
    assert re.search(
        r"seed 0: \d+ s of training; pixel recall 0\.\d+, .* of \d+ nodules", capsys.readouterr().out
    )


@pytest.mark.lesson
def test_the_training_of_the_notebook_touches_the_large_nodules(trained):
    """The notebook's training; `python -m p2ch13.lessons` measures a longer one with three seeds."""
    app = SegmentationTrainingApp(comment="lesson")
    app.to_device(load_weights(app.model, trained("p2ch13")["path"]))
    result = evaluate(app)
    assert result["recall"] >= 0.8
    assert result["touched"] >= 0.95
    assert result["nodules"] >= 30
