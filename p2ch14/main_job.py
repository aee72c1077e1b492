"""The main job, `python course.py run`: from patients to a report.

Makes or finds the patients, trains the segmentation and two classifiers, analyses scans that no network has
seen, and writes `report.html`, `nodules.csv` and `nodules.json` to the output folder; says beside it what the
shipped networks find in the same scans. Each training that is already done (by an earlier, perhaps interrupted,
run) is not done again.
"""

import argparse
import time

from p2ch09 import luna
from p2ch10.dsets import getCt, scan_paths
from p2ch10.store import fill_store
from p2ch12.training import LunaTrainingApp
from p2ch13.training import SegmentationTrainingApp
from p2ch14.dsets import series_of
from p2ch14.findings import print_result, write_csv, write_json
from p2ch14.froc import evaluate_results
from p2ch14.pipeline import NodulePipeline
from p2ch14.report import scan_section, write_report
from p2ch14.scoring import (
    Score,
    irrelevant_findings,
    print_validation,
    score_scan,
    threshold_for,
    truth_by_series,
)
from p2ch14.shipped.trainings import SmallCropTrainingApp
from p2ch14.weights import (
    OWN_GROUPING,
    SECOND_CLASSIFIER,
    SHIPPED,
    SHIPPED_CLASSIFIER,
    SHIPPED_SEGMENTATION,
    save_with_settings,
)
from util.errors import main_guard
from util.paths import output_root, shown
from util.runtime import get_device

VAL_STRIDE = 5
THRESHOLD_SCANS = 8


def main(arguments=None):
    """The whole job; see above."""
    parser = argparse.ArgumentParser(prog="course.py run", description=__doc__.splitlines()[0])
    for network, epochs, samples in (
        ("segmentation", 6, 1600),
        ("classification", 1, 4000),
        ("second", 5, 2000),
    ):
        parser.add_argument(f"--{network}-epochs", type=int, default=epochs)
        parser.add_argument(f"--{network}-samples", type=int, default=samples, help="crops in an epoch")
    parser.add_argument("--scans", type=int, default=12, help="held-out scans to analyse at most")
    parser.add_argument("--ship", action="store_true", help="make the trained weights the shipped ones")
    parser.add_argument("--fresh", action="store_true", help="train again, whatever earlier runs left")
    options = parser.parse_args(arguments)
    get_device()  # a device that is not there is better told now than after making the patients
    shipped = None if options.ship else NodulePipeline()  # and so are damaged weights
    start = time.perf_counter()

    def step(text):
        print(f"\n[{time.perf_counter() - start:4.0f} s] {text}", flush=True)

    step("Patients")
    fill_store(scan_paths(), processes=2)
    segmentation, classification, second = train_all(options, step)
    step("Threshold: chosen on training scans, at four false positives per scan")
    grouping = {"grouping": OWN_GROUPING.grouping, "mask_threshold": OWN_GROUPING.mask_threshold}
    pipeline = NodulePipeline(
        segmentation.folder / "last.state",
        classification.folder / "last.state",
        second=second.folder / "last.state",
        **grouping,
    )
    truth, irrelevant = truth_by_series(), irrelevant_findings()
    seen = series_of(VAL_STRIDE, held_out=False)[:THRESHOLD_SCANS]
    pipeline.threshold = threshold_for(
        [pipeline.analyse(getCt(uid), uid).without_voxels() for uid in seen], truth, irrelevant=irrelevant
    )
    print(f"a finding counts as a nodule from a probability of {pipeline.threshold:.3f}")
    if options.ship:
        save_with_settings(SHIPPED_SEGMENTATION, segmentation.model, **grouping)
        save_with_settings(SHIPPED / SECOND_CLASSIFIER, second.model)
        save_with_settings(
            SHIPPED_CLASSIFIER,
            classification.model,
            threshold=round(pipeline.threshold, 4),
            second_classifier=SECOND_CLASSIFIER,
        )
    step("Analysis of scans that no network was trained on")
    analyse_held_out(pipeline, series_of(VAL_STRIDE)[: options.scans], truth, irrelevant, shipped)
    report = shown(output_root() / "report.html")
    step(f"Done. Open {report} in a browser; nodules.json and nodules.csv lie beside it")


def train_all(options, step):
    """The trainings of the U-Net and both classifiers, carried on or begun; `step` is called with what comes next.

    Their last states are used, not the best: choosing the best epoch would tune on the scans reported later. Why
    these schedules: data/p2ch14/LOG.md.
    """
    # Trained on other patients, the weights of an earlier run would not do: hence the data's name.
    comment = f"main-job-{luna.path().name}"
    common = {"val_stride": VAL_STRIDE, "augmented": True, "val_every": 0, "comment": comment}

    def train(app_class, **own):
        app = (app_class if options.fresh else app_class.start_or_resume)(**common, **own)
        app.main()
        return app

    step("Segmentation: the U-Net of chapter 13 learns to mark suspicious pixels")
    cycle = {"one_cycle": True, "lr": 0.003}
    segmentation = train(
        SegmentationTrainingApp,
        epochs=options.segmentation_epochs,
        samples=options.segmentation_samples,
        muon=True,
        **cycle,
    )
    step("Classification: the network of chapter 11 learns to tell nodules from the rest")
    balanced = {"balanced": True, "batch_size": 16}
    classification = train(
        LunaTrainingApp,
        epochs=options.classification_epochs,
        epoch_samples=options.classification_samples,
        **balanced,
    )
    step("Second classifier: it learns from small cubes, of which there is time to see more")
    second = train(
        SmallCropTrainingApp,
        epochs=options.second_epochs,
        epoch_samples=options.second_samples,
        **balanced,
        **cycle,
    )
    return segmentation, classification, second


def analyse_held_out(pipeline, series, truth, irrelevant, shipped=None):
    """Analyse the scans `series`, print their scores, and write the report and both lists.

    shipped: another pipeline; what it finds in the same scans is told beside, in the report and in a last line.
    """
    results, theirs, their_score, sections = [], [], Score(0, 0, 0, 0), []
    for uid in series:
        ct = getCt(uid)
        result = pipeline.analyse(ct, f"scan …{uid[-12:]}")
        print_result(result, pipeline.threshold)
        score = score_scan(result.findings, truth[uid], pipeline.threshold, irrelevant.get(uid, ()))
        told = (
            f"Annotated nodules: {len(truth[uid])}. Found {score.found}, filtered out by the classifiers "
            f"{score.filtered}, missed {score.missed}; false positives {score.false_positives}."
        )
        if shipped is not None:
            theirs.append(shipped.analyse(ct).without_voxels())
            score = score_scan(theirs[-1].findings, truth[uid], shipped.threshold, irrelevant.get(uid, ()))
            their_score += score
            told += f" The shipped networks: found {score.found}; false positives {score.false_positives}."
        sections.append(scan_section(ct, result, pipeline.threshold, told))
        results.append(result.without_voxels())
    print_validation(results, pipeline.threshold)
    if theirs:
        print_beside(theirs, their_score, truth, irrelevant)
    output = output_root()
    write_json(output / "nodules.json", results, pipeline.threshold)
    write_csv(output / "nodules.csv", results)
    write_report(output / "report.html", sections)


def print_beside(results, score, truth, irrelevant):
    """Print in one line what the shipped networks find, whose `results` and `Score` these are."""
    cpm = evaluate_results(results, truth, irrelevant, bootstraps=0).cpm
    print(
        f"The shipped networks (data/p2ch14) find {score.found} of {score.found + score.filtered + score.missed} "
        f"nodules in these scans, with {score.false_positives / len(results):.1f} false positives per scan; "
        f"CPM {cpm:.4f}"
    )


if __name__ == "__main__":
    main_guard(main)
