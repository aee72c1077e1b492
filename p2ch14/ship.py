"""Trains and measures the networks that the course ships in data/p2ch14.

    COURSE_DATA=D COURSE_OUTPUT=O COURSE_CACHE=C python -m p2ch14.ship          about two hours on two cores
    COURSE_DATA=D COURSE_OUTPUT=O COURSE_CACHE=C python -m p2ch14.ship --evaluate

The folders keep its patients apart from yours: 240 generated ones that no chapter uses. Four fifths of
them train all three networks; of the others every fourth chooses the threshold, and the rest is reported.
Interrupted, it goes on where it was. The malignancy network is weighed against the diameter afterwards, on a
cohort of its own: `python -m p2ch14.malignancy --fit-size`, as data/p2ch14/README.md says.
"""

import argparse

from p2ch09.phantom import write_cohort
from p2ch10.dsets import getCt, scan_paths
from p2ch10.store import fill_store
from p2ch13.training import SegmentationTrainingApp
from p2ch14.main_job import VAL_STRIDE, ship
from p2ch14.mining import HardExampleTrainingApp
from p2ch14.nodule_analysis import (
    OWN_GROUPING,
    SHIPPED_CLASSIFIER,
    SHIPPED_SEGMENTATION,
    NoduleAnalysisApp,
    series_of,
    threshold_of,
)
from p2ch14.scoring import print_validation, threshold_for, truth_by_series
from p2ch14.training import MalignancyTrainingApp
from util.files import UserError, main_guard
from util.paths import data_root, shown
from util.progress import enumerateWithEstimate

SCANS, SEED, RICHNESS = 240, 100, 3
FALSE_POSITIVES = 3.0  # per scan, where the threshold is chosen; a margin, since 4 are to hold elsewhere


def tuning_and_reported(held_out) -> tuple[list[str], list[str]]:
    """Held-out series UIDs in two: every fourth chooses the threshold, the others are reported."""
    held_out = sorted(held_out)
    tuning = held_out[::4]
    return tuning, [uid for uid in held_out if uid not in set(tuning)]


def analysed(app, series, what):
    """The results of `series`, without voxel lists, which would fill the memory."""
    results = []
    for _, series_uid in enumerateWithEstimate(series, what):
        results.append(app.analyse(getCt(series_uid), series_uid))
        for finding in results[-1].findings:
            finding.voxels = None
    return results


def train_segmentation():
    options = ["--epochs", "40", "--samples", "1600", "--val-every", "0", "--augmented", "--one-cycle"]
    app = SegmentationTrainingApp([*options, "--resume", "ship"])
    app.main()
    ship("segmentation", app.model, OWN_GROUPING)


def train_classification():
    """With hard examples, proposed by the segmentation; the threshold is chosen and stored with it."""
    options = ["--balanced", "--augmented", "--one-cycle", "--batch-size", "16", "--lr", "0.002"]
    options += ["--epochs", "30", "--epoch-samples", "4000", "--val-every", "0"]
    app = HardExampleTrainingApp([*options, "--resume", "ship"])
    app.main()
    ship("classification", app.model, {"second_look": "mirrors"})
    choose_threshold(app.model)


def choose_threshold(model):
    tuning, _ = tuning_and_reported(series_of(VAL_STRIDE))
    results = analysed(NoduleAnalysisApp(), tuning, "choosing a threshold")
    threshold = threshold_for(results, truth_by_series(), FALSE_POSITIVES)
    print(f"a finding counts as a nodule from a probability of {threshold:.4f}")
    ship("classification", model, {"threshold": f"{threshold:.4f}", "second_look": "mirrors"})


def train_malignancy():
    """Fine-tunes all but the first block; without scaling, since size is what tells most."""
    options = ["--malignant", "--balanced", "--one-cycle", "--batch-size", "16", "--lr", "0.002"]
    options += ["--augment-flip", "--augment-offset", "--augment-rotate", "--augment-noise"]
    options += ["--finetune", str(SHIPPED_CLASSIFIER), "--finetune-depth", "4"]
    options += ["--epochs", "20", "--epoch-samples", "2000", "--val-every", "0"]
    app = MalignancyTrainingApp([*options, "--resume", "ship-malignancy"])
    app.main()
    ship("malignancy", app.model, {"model_name": type(app.model).__name__})


def evaluate():
    """Print found, missed and false positives, and LUNA16's curve, of the shipped files on reported scans."""
    threshold = threshold_of(SHIPPED_CLASSIFIER)
    _, reported = tuning_and_reported(series_of(VAL_STRIDE))
    app = NoduleAnalysisApp(threshold=threshold)
    print_validation(analysed(app, reported, "analysis of reported scans"), threshold)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--evaluate", action="store_true", help="measure the shipped files, train nothing")
    options = parser.parse_args()
    folder = data_root() / "luna"
    if not folder.exists():
        write_cohort(folder, SCANS, SEED, richness=RICHNESS)
    if len(scan_paths()) != SCANS:
        raise UserError(
            f"{shown(folder)} holds {len(scan_paths())} scans and not the {SCANS} generated patients of the "
            "shipped networks; set COURSE_DATA to a folder of its own"
        )
    fill_store(scan_paths(), processes=2)
    if options.evaluate:
        if not (SHIPPED_SEGMENTATION.is_file() and SHIPPED_CLASSIFIER.is_file()):
            raise UserError("there are no shipped networks to measure; run this without --evaluate first")
    else:
        train_segmentation()
        train_classification()
        train_malignancy()
    evaluate()


if __name__ == "__main__":
    main_guard(main)
