"""Every import line, class, method, parameter and option of the book works, or is refused with what to use instead.

One row per module: the names as the book has them, with the parameters and defaults that it prints.
"""

import argparse
import importlib
import inspect
import re

import pytest
import torch

from p2ch09.phantom import write_cohort
from p2ch10.memory import forget
from util.errors import UserError

INFO = "isNodule_bool, hasAnnotation_bool, isMal_bool, diameter_mm, series_uid, center_xyz"
LISTS = [
    f"CandidateInfoTuple({INFO})",
    "getCandidateInfoList(requireOnDisk_bool=True)",
    "Ct(series_uid)",
    "Ct.getRawCandidate(center_xyz, width_irc)",
    "getCt(series_uid)",
    "getCtRawCandidate(series_uid, center_xyz, width_irc)",
]
VIS = ["findPositiveSamples(start_ndx=0, limit=100)", "showCandidate(series_uid, batch_ndx=None)"]
MODEL = [
    "LunaModel(in_channels=1, conv_channels=8)",
    "LunaModel.forward(input_batch)",
    "LunaBlock(in_channels, conv_channels)",
    "LunaBlock.forward(input_batch)",
]
PREPCACHE = ["LunaPrepCacheApp(sys_argv=None)", "LunaPrepCacheApp.main()"]
METHODS = [
    "initModel()",
    "initOptimizer()",
    "initTrainDl()",
    "initValDl()",
    "initTensorboardWriters()",
    "main()",
    "doTraining(epoch_ndx, train_dl)",
    "doValidation(epoch_ndx, val_dl)",
]
LUNA_APP = ["LunaTrainingApp(sys_argv=None)"] + [
    f"LunaTrainingApp.{method}"
    for method in [
        *METHODS,
        "computeBatchLoss(batch_ndx, batch_tup, batch_size, metrics_g)",
        "logMetrics(epoch_ndx, mode_str, metrics_t, classificationThreshold=0.5)",
    ]
]
SEGMENTATION_APP = ["SegmentationTrainingApp(sys_argv=None)"] + [
    f"SegmentationTrainingApp.{method}"
    for method in [
        *METHODS,
        "computeBatchLoss(batch_ndx, batch_tup, batch_size, metrics_g, classificationThreshold=0.5)",
        "diceLoss(prediction_g, label_g, epsilon=1)",
        "logImages(epoch_ndx, mode_str, dl)",
        "logMetrics(epoch_ndx, mode_str, metrics_t)",
        "saveModel(type_str, epoch_ndx, isBest=False)",
    ]
]
NETWORKS = [
    "initModelPath(type_str)",
    "initModels()",
    "initSegmentationDl(series_uid)",
    "initClassificationDl(candidateInfo_list)",
    "main()",
]
MASKS = (
    "raw_dense_mask, dense_mask, body_mask, air_mask, raw_candidate_mask, candidate_mask, lung_mask, "
    "neg_mask, pos_mask"
)
BATCHING = [
    "HandlingError(msg, code=500)",
    "ModelRunner(model_name)",
    "ModelRunner.schedule_processing_if_needed()",
    "ModelRunner.run_model(batch)",
]

NAMES = {
    "p2ch10.dsets": [*LISTS, "LunaDataset(val_stride=0, isValSet_bool=None, series_uid=None)"],
    "p2ch10.vis": VIS,
    "p2ch11.dsets": [
        *LISTS,
        "LunaDataset(val_stride=0, isValSet_bool=None, series_uid=None, sortby_str='random')",
    ],
    "p2ch11.model": MODEL,
    "p2ch11.prepcache": PREPCACHE,
    "p2ch11.training": LUNA_APP,
    "p2ch11.vis": VIS,
    "p2ch12.dsets": [
        *LISTS,
        "getCtAugmentedCandidate(augmentation_dict, series_uid, center_xyz, width_irc, use_cache=True)",
        "LunaDataset(val_stride=0, isValSet_bool=None, series_uid=None, sortby_str='random', ratio_int=0, "
        "augmentation_dict=None, candidateInfo_list=None)",
        "LunaDataset.shuffleSamples()",
    ],
    "p2ch12.model": MODEL,
    "p2ch12.prepcache": PREPCACHE,
    "p2ch12.training": LUNA_APP,
    "p2ch12.vis": ["findPositiveSamples(start_ndx=0, limit=10)", VIS[1]],
    "p2ch13.benchmark_seg": [
        "BenchmarkLuna2dSegmentationDataset()",
        "LunaBenchmarkApp.initTrainDl()",
        "LunaBenchmarkApp.main()",
    ],
    "p2ch13.dsets": [
        *LISTS,
        f"MaskTuple({MASKS})",
        "getCandidateInfoDict(requireOnDisk_bool=True)",
        "Ct.buildAnnotationMask(positiveInfo_list, threshold_hu=-700)",
        "getCtSampleSize(series_uid)",
        "Luna2dSegmentationDataset(val_stride=0, isValSet_bool=None, series_uid=None, contextSlices_count=3, "
        "fullCt_bool=False)",
        "Luna2dSegmentationDataset.getitem_fullSlice(series_uid, slice_ndx)",
        "TrainingLuna2dSegmentationDataset()",
        "TrainingLuna2dSegmentationDataset.shuffleSamples()",
        "TrainingLuna2dSegmentationDataset.getitem_trainingCrop(candidateInfo_tup)",
        "PrepcacheLunaDataset()",
        "TvTrainingLuna2dSegmentationDataset(isValSet_bool=False, val_stride=10, contextSlices_count=3)",
    ],
    "p2ch13.model": [
        "UNetWrapper()",
        "UNetWrapper(in_channels=7, n_classes=1, depth=3, wf=4, padding=True, batch_norm=True, up_mode='upconv')",
        "UNetWrapper.forward(input_batch)",
        "SegmentationAugmentation(flip=None, offset=None, scale=None, rotate=None, noise=None)",
        "SegmentationAugmentation.forward(input_g, label_g)",
    ],
    "p2ch13.prepcache": PREPCACHE,
    "p2ch13.training": SEGMENTATION_APP,
    "p2ch13.vis": [*VIS, "build2dLungMask(series_uid, center_ndx)"],
    "p2ch14.check_nodule_fp_rate": ["FalsePosRateCheckApp(sys_argv=None)"]
    + [
        f"FalsePosRateCheckApp.{method}"
        for method in [
            *NETWORKS,
            "segmentCt(series_uid)",
            "erode(input_mask, radius, threshold=1)",
            "clusterSegmentationOutput(series_uid, ct, clean_g)",
        ]
    ],
    "p2ch14.dsets": [
        *LISTS,
        f"MaskTuple({MASKS})",
        "getCandidateInfoDict(requireOnDisk_bool=True)",
        "getCtSampleSize(series_uid)",
        "getCtAugmentedCandidate(augmentation_dict, series_uid, center_xyz, width_irc, use_cache=True)",
        "LunaDataset(val_stride=0, isValSet_bool=None, series_uid=None, sortby_str='random', ratio_int=0, "
        "augmentation_dict=None, candidateInfo_list=None)",
        "LunaDataset.shuffleSamples()",
        "LunaDataset.sampleFromCandidateInfo_tup(candidateInfo_tup, label_bool)",
        "MalignantLunaDataset()",
    ],
    "p2ch14.model": [*MODEL, "augment3d(inp)"],
    "p2ch14.nodule_analysis": [
        "print_confusion(label, confusions, do_mal)",
        "match_and_score(detections, truth, threshold=0.5, threshold_mal=0.5)",
        "NoduleAnalysisApp(sys_argv=None)",
    ]
    + [
        f"NoduleAnalysisApp.{method}"
        for method in [
            *NETWORKS,
            "classifyCandidates(ct, candidateInfo_list)",
            "segmentCt(ct, series_uid)",
            "groupSegmentationOutput(series_uid, ct, clean_a)",
            "logResults(mode_str, filtered_list, series2diagnosis_dict, positive_set)",
        ]
    ],
    "p2ch14.prepcache": PREPCACHE,
    "p2ch14.screencts": ["LunaScreenCtDataset()", "LunaScreenCtApp(sys_argv=None)", "LunaScreenCtApp.main()"],
    "p2ch14.training": ["ClassificationTrainingApp(sys_argv=None)"]
    + [
        f"ClassificationTrainingApp.{method}"
        for method in [
            *METHODS,
            "computeBatchLoss(batch_ndx, batch_tup, batch_size, metrics_g, augment=True)",
            "logMetrics(epoch_ndx, mode_str, metrics_t, classificationThreshold=0.5)",
            "saveModel(type_str, epoch_ndx, isBest=False)",
        ]
    ],
    "p2ch14.vis": VIS,
    "p3ch15.cyclegan": [
        "ResNetBlock(dim)",
        "ResNetBlock.build_conv_block(dim)",
        "ResNetBlock.forward(x)",
        "ResNetGenerator(input_nc=3, output_nc=3, ngf=64, n_blocks=9)",
        "ResNetGenerator.forward(input)",
        "get_pretrained_model(model_path, map_location=None)",
    ],
    "p3ch15.flask_hello_world": ["hello()"],
    "p3ch15.flask_server": ["run_inference(in_tensor)", "predict()"],
    "p3ch15.request_batching_jit_server": BATCHING,
    "p3ch15.request_batching_server": BATCHING,
}

AUGMENT = "--augmented --augment-flip --augment-offset --augment-scale --augment-rotate --augment-noise"
OPTIONS = {
    "p2ch11.training:LunaTrainingApp": "--num-workers --batch-size --epochs --tb-prefix comment",
    "p2ch12.training:LunaTrainingApp": "--batch-size --num-workers --epochs --balanced --tb-prefix comment "
    + AUGMENT,
    "p2ch13.training:SegmentationTrainingApp": "--batch-size --num-workers --epochs --tb-prefix comment "
    + AUGMENT,
    "p2ch14.check_nodule_fp_rate:FalsePosRateCheckApp": "--batch-size --num-workers --series-uid --include-train "
    "--segmentation-path --classification-path --tb-prefix",
    "p2ch14.nodule_analysis:NoduleAnalysisApp": "--run-validation --include-train --segmentation-path "
    "--cls-model --classification-path --malignancy-model --malignancy-path --tb-prefix --batch-size "
    "--num-workers",
    "p2ch14.training:ClassificationTrainingApp": "--batch-size --num-workers --epochs --dataset --model "
    "--malignant --finetune --finetune-depth --tb-prefix comment",
}


def found(module_name, path):
    thing = importlib.import_module(module_name)
    for part in path.split("."):
        thing = getattr(thing, part)
    return thing


@pytest.mark.parametrize(
    ("module_name", "printed"), [(name, printed) for name, rows in NAMES.items() for printed in rows]
)
def test_names_take_the_parameters_that_the_book_prints(module_name, printed):
    path, parameters = re.fullmatch(r"([\w.]+)\((.*)\)", printed).groups()
    own = inspect.signature(found(module_name, path)).parameters
    of_method = "." in path
    for position, parameter in enumerate(filter(None, parameters.split(", "))):
        name, _, default = parameter.partition("=")
        assert name in own, f"{path} has no parameter {name}"
        assert list(own)[position + of_method] == name, f"{name} stands elsewhere"
        if default:
            # eval of this file's own literals: numbers, strings, True, False and None
            assert own[name].default == eval(default), name
    needed = {name for name, p in own.items() if p.default is p.empty and p.kind == p.POSITIONAL_OR_KEYWORD}
    known = {p.partition("=")[0] for p in parameters.split(", ")} | ({"self"} if of_method else set())
    assert needed <= known, f"{path} wants more than the book gives: {needed - known}"


@pytest.mark.parametrize(("where", "options"), OPTIONS.items(), ids=OPTIONS)
def test_commands_take_the_options_that_the_book_prints(where, options):
    app_class = found(*where.split(":"))
    parser = argparse.ArgumentParser()
    app_class.add_arguments(app_class.__new__(app_class), parser)
    known = {word for action in parser._actions for word in (*action.option_strings, action.dest)}
    assert set(options.split()) <= known


@pytest.fixture(scope="module")
def few_scans(tmp_path_factory):
    """Two small generated scans in place of LUNA16; their series UIDs."""
    root = tmp_path_factory.mktemp("few")
    write_cohort(root / "luna", 2, seed=5, shape=(40, 256, 256), processes=1, richness=6)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA", "CACHE", "OUTPUT"):
            patch.setenv(f"COURSE_{name}", str(root if name == "DATA" else root / name))
        forget()
        yield sorted(path.stem for path in root.glob("luna/**/*.mhd"))
    forget()


@pytest.fixture
def drawing():
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("chapter", ["p2ch10", "p2ch11", "p2ch12", "p2ch13", "p2ch14"])
def test_lists_scans_crops_and_pictures(few_scans, drawing, chapter):
    dsets, vis = (importlib.import_module(f"{chapter}.{name}") for name in ("dsets", "vis"))
    info = vis.findPositiveSamples(limit=1)[0]
    assert info == dsets.getCandidateInfoList(True)[0]
    assert len(vis.findPositiveSamples()) == (
        10 if chapter == "p2ch12" else sum(i.isNodule_bool for i in dsets.getCandidateInfoList())
    )
    ct = dsets.getCt(info.series_uid)
    assert isinstance(ct, dsets.Ct)
    crop, center_irc = ct.getRawCandidate(info.center_xyz, (8, 16, 16))
    again, same_irc = dsets.getCtRawCandidate(info.series_uid, info.center_xyz, (8, 16, 16))
    assert crop.shape == (8, 16, 16)
    assert (crop == again).all()
    assert center_irc == same_irc
    assert len(vis.showCandidate(info.series_uid).axes) == 3
    assert vis.showCandidate(info.series_uid, 3)
    with pytest.raises(UserError, match="no number 99999"):
        vis.showCandidate(info.series_uid, 99999)


def test_a_dataset_augments_and_balances_as_chapter_12_has_it(few_scans):
    from p2ch12.dsets import LunaDataset, getCtAugmentedCandidate

    augmentation = {"flip": True, "offset": 0.1, "scale": 0.2, "rotate": True, "noise": 25.0}
    plain = LunaDataset(series_uid=few_scans[0], ratio_int=1)
    changed = LunaDataset(series_uid=few_scans[0], ratio_int=1, augmentation_dict=augmentation)
    plain.shuffleSamples()
    assert len(plain) == len(changed)
    assert LunaDataset(ratio_int=0, augmentation_dict={}).candidateInfo_list
    info = changed.candidate_at(0)
    crop_t, center_irc = getCtAugmentedCandidate(augmentation, info.series_uid, info.center_xyz, (32, 48, 48))
    same_t, same_irc = getCtAugmentedCandidate({}, info.series_uid, info.center_xyz, (32, 48, 48), False)
    assert crop_t.shape == changed[0][0].shape == (1, 32, 48, 48)
    assert center_irc == same_irc
    assert not torch.equal(crop_t, same_t)
    assert not torch.equal(changed[0][0], changed[0][0])
    with pytest.raises(ValueError, match="use flip, offset, scale, rotate, noise"):
        LunaDataset(augmentation_dict={"mirror": True})


def test_slices_crops_and_truth_as_chapter_13_has_them(few_scans):
    from p2ch13 import dsets

    info = next(i for i in dsets.getCandidateInfoDict()[few_scans[0]] if i.hasAnnotation_bool)
    ct = dsets.getCt(few_scans[0])
    mask = ct.buildAnnotationMask([info])
    assert mask.shape == ct.hu_a.shape
    assert mask[ct.geometry.xyz2irc(info.center_xyz)]
    assert ct.buildAnnotationMask([info], threshold_hu=-300).sum() <= mask.sum()
    assert (ct.positive_mask >= mask).all()
    count, indexes = dsets.getCtSampleSize(few_scans[0])
    assert (count, indexes) == (len(ct.hu_a), ct.positive_indexes)
    whole = dsets.Luna2dSegmentationDataset(series_uid=few_scans[0], contextSlices_count=1, fullCt_bool=True)
    slices_t, label_t, series_uid, slice_ndx = whole.getitem_fullSlice(few_scans[0], indexes[0])
    assert len(whole) == count
    assert slices_t.shape == (3, *ct.hu_a.shape[1:])
    assert (label_t[0].numpy() == ct.positive_mask[indexes[0]]).all()
    assert (series_uid, slice_ndx) == (few_scans[0], indexes[0])
    training = dsets.TrainingLuna2dSegmentationDataset(series_uid=few_scans[0], contextSlices_count=3)
    training.shuffleSamples()
    slices_t, label_t, *_ = training.getitem_trainingCrop(info)
    assert slices_t.shape == (7, 64, 64)
    assert label_t.any()
    prepared = dsets.PrepcacheLunaDataset()
    assert [prepared[n][0] for n in range(len(prepared))] == few_scans
    with pytest.raises(UserError, match="use TrainingLuna2dSegmentationDataset"):
        dsets.TvTrainingLuna2dSegmentationDataset()
    with pytest.raises(ValueError, match="val_stride"):
        dsets.Luna2dSegmentationDataset(isValSet_bool=True)


def test_a_slice_is_taken_apart_as_chapter_13_has_it(few_scans):
    from p2ch13.dsets import getCtSampleSize
    from p2ch13.vis import build2dLungMask

    masks = build2dLungMask(few_scans[0], getCtSampleSize(few_scans[0])[1][0])
    assert masks._fields == tuple(MASKS.split(", "))
    assert {mask.dtype.name for mask in masks} == {"bool"}
    assert masks.lung_mask.any()
    assert (masks.lung_mask <= masks.body_mask).all()
    assert not (masks.neg_mask & masks.pos_mask).any()
    assert (masks.raw_candidate_mask == masks.raw_dense_mask & masks.lung_mask).all()


@pytest.mark.parametrize("chapter", ["p2ch11", "p2ch12", "p2ch13", "p2ch14"])
def test_the_store_is_filled_as_the_book_has_it(few_scans, capsys, chapter):
    app = importlib.import_module(f"{chapter}.prepcache").LunaPrepCacheApp
    app(["--batch-size", "4", "--num-workers", "1"]).main()
    assert "2 scans are in the store" in capsys.readouterr().out
    with pytest.raises(UserError, match="--num-workers is -1"):
        app(["--num-workers", "-1"])


def test_an_unet_wrapper_of_another_size(few_scans):
    from p2ch13.model import UNetWrapper

    wide = UNetWrapper(
        in_channels=3, n_classes=1, depth=2, wf=3, padding=True, batch_norm=True, up_mode="upconv"
    )
    assert wide(torch.zeros(1, 3, 16, 16)).shape == (1, 1, 16, 16)


def test_crops_per_second(few_scans, capsys):
    from p2ch13.benchmark_seg import LunaBenchmarkApp

    app = LunaBenchmarkApp(["--batch-size", "8", "--num-workers", "0", "--val-stride", "1000"])
    app.cli_args.samples = 16
    assert app.main() > 0
    assert "crops per second" in capsys.readouterr().out


# --- chapter 14 ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def analysis(few_scans):
    from p2ch14.nodule_analysis import NoduleAnalysisApp

    return NoduleAnalysisApp(["--batch-size", "4", "--num-workers", "0", "--device", "cpu", few_scans[0]])


@pytest.mark.slow
def test_a_scan_is_analysed_step_by_step_as_chapter_14_has_it(few_scans, analysis, capsys):
    from p2ch14.dsets import getCandidateInfoDict, getCt
    from p2ch14.nodule_analysis import match_and_score, print_confusion

    series_uid = few_scans[0]
    ct = getCt(series_uid)
    clean_a = analysis.segmentCt(ct, series_uid)
    assert clean_a.shape == ct.hu_a.shape
    candidateInfo_list = analysis.groupSegmentationOutput(series_uid, ct, clean_a)
    assert {info.series_uid for info in candidateInfo_list} == {series_uid}
    classifications_list = analysis.classifyCandidates(ct, candidateInfo_list)
    assert [one[2] for one in classifications_list] == [info.center_xyz for info in candidateInfo_list]
    for prob, prob_mal, center_xyz, center_irc in classifications_list:
        assert 0 <= prob <= 1
        assert 0 <= prob_mal <= 1
        assert ct.geometry.xyz2irc(center_xyz) == center_irc
    truth = getCandidateInfoDict()[series_uid]
    confusions = match_and_score(classifications_list, truth)
    assert confusions.shape == (3, 4)
    assert confusions[1:].sum() == sum(i.isNodule_bool and i.diameter_mm > 0 for i in truth)
    print_confusion("Total", confusions, True)
    print_confusion("Total", confusions, False)
    said = capsys.readouterr().out
    assert re.search(r"Complete Miss +Filtered Out +Pred. Benign +Pred. Malignant\n", said)
    assert re.search(r"Complete Miss +Filtered Out +Pred. Nodule\n", said)


def test_loaders_and_networks_as_chapter_14_has_them(few_scans, analysis):
    from p2ch14.dsets import getCandidateInfoDict, getCt

    assert analysis.initModelPath("seg").name == "segmentation.safetensors"
    assert all(not network.training for network in (analysis.seg_model, analysis.cls_model))
    slices_t, *_ = next(iter(analysis.initSegmentationDl(few_scans[0])))
    assert slices_t.shape == (4, 7, *getCt(few_scans[0]).hu_a.shape[1:])
    loader = analysis.initClassificationDl(getCandidateInfoDict()[few_scans[0]])
    assert next(iter(loader))[0].shape == (4, 1, 32, 48, 48)


def test_results_by_scan_as_chapter_14_has_them(analysis, capsys):
    diagnoses = {"1.1": (0.9, (1, 2, 3)), "1.2": (0.8, None), "1.3": (0.1, (4, 5, 6))}
    metrics = analysis.logResults("val", ["1.1", "1.2", "1.3", "1.4"], diagnoses, {"1.1", "1.3"})
    assert metrics == {"pr/precision": 0.5, "pr/recall": 0.5, "pr/f1_score": 0.5}
    assert len(capsys.readouterr().out.splitlines()) == 5


@pytest.mark.slow
def test_the_command_analyses_a_series_and_returns_what_it_found(few_scans, analysis, capsys):
    [result] = analysis.main()
    assert result.series_uid == few_scans[0]
    assert f"{few_scans[0]}: {len(result.findings)} candidates" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tb-prefix", "mine"], "nothing is written for TensorBoard"),
        (["--cls-model", "ResNet"], "--cls-model ResNet: the course has only LunaModel"),
        (["--malignancy-model", "ModifiedLunaModel"], "the course has only LunaModel"),
        (["--include-train"], "--include-train adds scans to --run-validation"),
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--num-workers", "-1"], "--num-workers is -1"),
    ],
)
def test_what_the_analysis_does_not_have_is_one_sentence(words, said):
    from p2ch14.nodule_analysis import NoduleAnalysisApp

    with pytest.raises(UserError, match=said):
        NoduleAnalysisApp(words)


@pytest.mark.slow
def test_false_candidates_are_counted_before_and_after_the_classifier(few_scans, capsys):
    from p2ch14.check_nodule_fp_rate import FalsePosRateCheckApp
    from p2ch14.dsets import getCt

    app = FalsePosRateCheckApp(["--series-uid", few_scans[0], "--device", "cpu"])
    counts = app.main()
    assert counts["candidates"] >= counts["false"] >= counts["passed"] >= 0
    assert "of the false candidates pass" in capsys.readouterr().out
    clean_g = app.segmentCt(few_scans[0])
    assert clean_g.dtype == torch.bool
    assert app.clusterSegmentationOutput(few_scans[0], getCt(few_scans[0]), clean_g)
    block = torch.zeros(9, 9, 9, dtype=torch.bool)
    block[2:7, 2:7, 2:7] = True
    eroded = app.erode(block, 1)
    assert eroded.sum() == 27
    assert eroded[3:6, 3:6, 3:6].all()
    assert app.erode(block, 1, threshold=0.5).sum() > 27
    assert app.erode(block, 2).sum() == 1


def test_scans_are_screened_for_their_lungs(few_scans, capsys):
    from p2ch14.screencts import LunaScreenCtApp, LunaScreenCtDataset

    dataset = LunaScreenCtDataset()
    assert [dataset[n][0] for n in range(len(dataset))] == few_scans
    odd = LunaScreenCtApp(["--batch-size", "2", "--num-workers", "0"]).main()
    assert f"{len(odd)} of 2 scans are odd" in capsys.readouterr().out
    assert {row[0] for row in odd} <= set(few_scans)
    with pytest.raises(UserError, match="--batch-size is 0"):
        LunaScreenCtApp(["--batch-size", "0"])


def test_crops_of_one_candidate_and_of_malignant_nodules(few_scans):
    from p2ch14.dsets import LunaDataset, MalignantLunaDataset
    from p2ch14.model import augment3d

    dataset = LunaDataset(series_uid=few_scans[0])
    info = dataset.candidateInfo_list[0]
    crop_t, label_t, series_uid, _ = dataset.sampleFromCandidateInfo_tup(info, True)
    assert torch.equal(crop_t, dataset[0][0])
    assert label_t.tolist() == [0, 1]
    assert series_uid == few_scans[0]
    ds = MalignantLunaDataset()
    assert {info.isNodule_bool for info in ds.ben_list + ds.mal_list} == {True}
    assert ds[0][0].shape == (1, 32, 48, 48)
    varied_t = augment3d(crop_t[None].repeat(4, 1, 1, 1, 1))
    assert varied_t.shape == (4, 1, 32, 48, 48)
    assert not torch.equal(varied_t[0], varied_t[1])
    assert varied_t.min() >= crop_t.min()


def test_a_training_of_chapter_14_asks_one_of_two_questions(few_scans):
    from p2ch14.training import ClassificationTrainingApp

    plain = ClassificationTrainingApp(["--device", "cpu", "--val-stride", "2", "nodule-nonnodule"])
    assert type(plain.model).__name__ == "LunaModel"
    for words in (["--malignant"], ["--dataset", "MalignantLunaDataset", "--model", "LunaModel"]):
        asked = ClassificationTrainingApp([*words, "--device", "cpu", "malben"])
        assert type(asked.model).__name__ == "MalignancyModel"
