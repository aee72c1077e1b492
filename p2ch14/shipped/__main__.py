"""Trains and measures the networks that the course ships in data/p2ch14.

    COURSE_DATA=D COURSE_OUTPUT=O COURSE_CACHE=C python -m p2ch14.shipped          some hours on two cores
    COURSE_DATA=E COURSE_OUTPUT=O COURSE_CACHE=F python -m p2ch14.shipped --evaluate       ten minutes

The folders keep its patients apart from yours: 480 generated ones that no chapter uses. Four fifths of
them train all networks; the others are for every choice that is made by looking. What is reported comes from
60 further patients, in folders of their own. Interrupted, it goes on where it was. The malignancy network is
weighed against the diameter afterwards, on cohorts of its own: `python -m p2ch14.malignancy --fit-size`, as
data/p2ch14/README.md says.
"""

import argparse

from p2ch09.phantom import series_uid, write_cohort
from p2ch10.dsets import getCt, scan_paths
from p2ch10.store import fill_store
from p2ch14.dsets import series_of
from p2ch14.main_job import VAL_STRIDE
from p2ch14.pipeline import NodulePipeline
from p2ch14.scoring import irrelevant_findings, print_validation, threshold_for, truth_by_series
from p2ch14.shipped.trainings import (
    BallTargetTrainingApp,
    HardNegativeTrainingApp,
    SecondClassifierTrainingApp,
)
from p2ch14.training import ClassificationTrainingApp
from p2ch14.weights import (
    OWN_GROUPING,
    SECOND_CLASSIFIER,
    SHIPPED,
    SHIPPED_CLASSIFIER,
    SHIPPED_MALIGNANCY,
    SHIPPED_SEGMENTATION,
    change_settings,
    save_with_settings,
)
from util.errors import UserError, main_guard
from util.paths import data_root, output_root, shown
from util.util import enumerateWithEstimate

RICHNESS = 3  # LUNA16 scans' nodules in each patient
SCANS, SEED = 480, 100
REPORTED_SCANS, REPORTED_SEED = 60, 780
TUNING_SCANS = 24  # of the held-out ones; enough to choose one number
MINED_SCANS = 140  # of the scans that train; more take longer than the training
FALSE_POSITIVES = 0.5  # per scan, where the threshold is chosen; one of the seven rates of the CPM


def analysed(pipeline, series, what):
    """The results of `series`, without voxels."""
    return [
        pipeline.analyse(getCt(uid), uid).without_voxels() for _, uid in enumerateWithEstimate(series, what)
    ]


def train_segmentation():
    """The U-Net with balls for targets."""
    recipe = {"epochs": 100, "samples": 1600, "val_every": 0, "augmented": True, "one_cycle": True}
    app = BallTargetTrainingApp.start_or_resume("ship-segmentation", **recipe)
    app.main()
    save_with_settings(
        SHIPPED_SEGMENTATION,
        app.model,
        grouping=OWN_GROUPING.grouping,
        mask_threshold=OWN_GROUPING.mask_threshold,
    )


def train_classification():
    """The first network on candidates and on what the segmentation proposes; the second on what was hard for it."""
    folder = output_root() / "p2ch14"
    recipe = {"balanced": True, "augmented": True, "one_cycle": True, "batch_size": 16, "epoch_samples": 4000}
    recipe |= {"val_every": 0, "lr": 0.002}
    recipe |= {"mined": str(folder / "ship-mined.json"), "mine_scans": MINED_SCANS}
    first = HardNegativeTrainingApp.start_or_resume("ship-classification", epochs=30, **recipe)
    first.main()
    recipe |= {"hard_from": str(first.folder / "last.state"), "hard": str(folder / "ship-hard.json")}
    second = SecondClassifierTrainingApp.start_or_resume("ship-second", epochs=20, **recipe)
    second.main()
    save_with_settings(SHIPPED / SECOND_CLASSIFIER, second.model)
    save_with_settings(SHIPPED_CLASSIFIER, first.model, second_classifier=SECOND_CLASSIFIER)
    choose_threshold()


def choose_threshold():
    """Choose the classifier's threshold on tuning scans, and keep it in its file."""
    results = analysed(NodulePipeline(), series_of(VAL_STRIDE)[:TUNING_SCANS], "choosing a threshold")
    threshold = threshold_for(results, truth_by_series(), FALSE_POSITIVES, irrelevant_findings())
    print(f"a finding counts as a nodule from a probability of {threshold:.4f}")
    change_settings(SHIPPED_CLASSIFIER, threshold=round(threshold, 4))


def train_malignancy():
    """Fine-tunes all but the first block; without --augment-scale, since size is what tells most."""
    recipe = {"malignant": True, "balanced": True, "one_cycle": True, "batch_size": 16, "lr": 0.002}
    recipe |= {f"augment_{name}": True for name in ("flip", "offset", "rotate", "noise")}
    start = HardNegativeTrainingApp.latest_run("ship-classification") / "last.state"
    recipe |= {"finetune": str(start), "finetune_depth": 4}
    recipe |= {"epochs": 20, "epoch_samples": 2000, "val_every": 0}
    app = ClassificationTrainingApp.start_or_resume("ship-malignancy", **recipe)
    app.main()
    save_with_settings(SHIPPED_MALIGNANCY, app.model)


def evaluate():
    """Print found, missed and false positives, and LUNA16's curve, of the shipped files on patients of their own."""
    if not (SHIPPED_SEGMENTATION.is_file() and SHIPPED_CLASSIFIER.is_file()):
        raise UserError("there are no shipped networks to measure; run this without --evaluate first")
    cohort(REPORTED_SCANS, REPORTED_SEED)
    pipeline = NodulePipeline()
    # Of these patients, all are held out: none trained or tuned anything.
    results = analysed(pipeline, series_of(val_stride=1), "analysis of reported scans")
    print_validation(results, pipeline.threshold)


def cohort(scans, seed):
    """See that the data folder holds these patients and no others; make them if there are none."""
    folder = data_root() / "luna"
    if not folder.exists():
        write_cohort(folder, scans, seed, richness=RICHNESS)
    if set(scan_paths()) != {series_uid(seed, number) for number in range(scans)}:
        raise UserError(
            f"{shown(folder)} holds other scans than the {scans} generated patients that this needs; "
            "set COURSE_DATA to a folder of its own"
        )


def main():
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--evaluate", action="store_true", help="measure the shipped files, train nothing")
    options = parser.parse_args()
    if options.evaluate:
        evaluate()
        return
    cohort(SCANS, SEED)
    fill_store(scan_paths(), processes=2)
    train_segmentation()
    train_classification()
    train_malignancy()


if __name__ == "__main__":
    main_guard(main)
