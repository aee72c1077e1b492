"""The main job, `python course.py run`: from patients to a report.

Makes or finds the patients, trains both networks, analyses scans that neither network has seen, and
writes `report.html`, `nodules.csv` and `nodules.json` to the output folder. Each step that is already
done (by an earlier, perhaps interrupted, run) is not done again.
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
from p2ch14.pipeline import NodulePipeline
from p2ch14.report import scan_section, write_report
from p2ch14.scoring import irrelevant_findings, print_validation, score_scan, threshold_for, truth_by_series
from p2ch14.weights import OWN_GROUPING, SHIPPED_CLASSIFIER, SHIPPED_SEGMENTATION, save_with_settings
from util.errors import main_guard
from util.paths import output_root, shown
from util.runtime import get_device

VAL_STRIDE = 5
THRESHOLD_SCANS = 8


def main(arguments=None):
    """The whole job; see above."""
    parser = argparse.ArgumentParser(prog="course.py run", description=__doc__.splitlines()[0])
    parser.add_argument("--segmentation-epochs", type=int, default=10)
    parser.add_argument("--classification-epochs", type=int, default=2)
    parser.add_argument("--segmentation-samples", type=int, default=1600, help="crops in an epoch")
    parser.add_argument("--classification-samples", type=int, default=4000, help="crops in an epoch")
    parser.add_argument("--scans", type=int, default=12, help="held-out scans to analyse at most")
    parser.add_argument("--ship", action="store_true", help="make the trained weights the shipped ones")
    parser.add_argument("--fresh", action="store_true", help="train again, whatever earlier runs left")
    options = parser.parse_args(arguments)
    get_device()  # a device that is not there is better told now than after making the patients
    start = time.perf_counter()

    def step(text):
        print(f"\n[{time.perf_counter() - start:4.0f} s] {text}", flush=True)

    step("Patients")
    fill_store(scan_paths(), processes=2)
    segmentation, classification = train_both(options, step)
    step("Threshold: chosen on training scans, at four false positives per scan")
    grouping = {"grouping": OWN_GROUPING.grouping, "mask_threshold": OWN_GROUPING.mask_threshold}
    pipeline = NodulePipeline(
        segmentation.folder / "last.state", classification.folder / "last.state", **grouping
    )
    truth, irrelevant = truth_by_series(), irrelevant_findings()
    seen = series_of(VAL_STRIDE, held_out=False)[:THRESHOLD_SCANS]
    pipeline.threshold = threshold_for(
        [pipeline.analyse(getCt(uid), uid).without_voxels() for uid in seen], truth, irrelevant=irrelevant
    )
    print(f"a finding counts as a nodule from a probability of {pipeline.threshold:.3f}")
    if options.ship:
        save_with_settings(SHIPPED_SEGMENTATION, segmentation.model, **grouping)
        save_with_settings(SHIPPED_CLASSIFIER, classification.model, threshold=round(pipeline.threshold, 4))
    step("Analysis of scans that neither network was trained on")
    analyse_held_out(pipeline, series_of(VAL_STRIDE)[: options.scans], truth, irrelevant)
    report = shown(output_root() / "report.html")
    step(f"Done. Open {report} in a browser; nodules.json and nodules.csv lie beside it")


def train_both(options, step):
    """The trainings of both networks, carried on or begun; `step` is called with what comes next.

    Their last states are used, not the best: choosing the best epoch would tune on the scans reported later.
    """
    # Trained on other patients, the weights of an earlier run would not do: hence the data's name.
    comment = f"main-job-{luna.path().name}"
    common = {"val_stride": VAL_STRIDE, "augmented": True, "val_every": 0, "comment": comment}

    def train(app_class, **own):
        app = (app_class if options.fresh else app_class.start_or_resume)(**common, **own)
        app.main()
        return app

    step("Segmentation: the U-Net of chapter 13 learns to mark suspicious pixels")
    # With a rate that falls to zero it proposes half as many places (data/p2ch14/LOG.md).
    segmentation = train(
        SegmentationTrainingApp,
        epochs=options.segmentation_epochs,
        samples=options.segmentation_samples,
        one_cycle=True,
    )
    step("Classification: the network of chapter 11 learns to tell nodules from the rest")
    classification = train(
        LunaTrainingApp,
        epochs=options.classification_epochs,
        epoch_samples=options.classification_samples,
        batch_size=16,
        balanced=True,
    )
    return segmentation, classification


def analyse_held_out(pipeline, series, truth, irrelevant):
    """Analyse the scans `series`, print their scores, and write the report and both lists."""
    results, sections = [], []
    for uid in series:
        ct = getCt(uid)
        result = pipeline.analyse(ct, f"scan …{uid[-12:]}")
        print_result(result, pipeline.threshold)
        score = score_scan(result.findings, truth[uid], pipeline.threshold, irrelevant.get(uid, ()))
        told = (
            f"Annotated nodules: {len(truth[uid])}. Found {score.found}, filtered out by the classifier "
            f"{score.filtered}, missed {score.missed}; false positives {score.false_positives}."
        )
        sections.append(scan_section(ct, result, pipeline.threshold, told))
        results.append(result.without_voxels())
    print_validation(results, pipeline.threshold)
    output = output_root()
    write_json(output / "nodules.json", results, pipeline.threshold)
    write_csv(output / "nodules.csv", results)
    write_report(output / "report.html", sections)


if __name__ == "__main__":
    main_guard(main)
