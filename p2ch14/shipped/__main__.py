"""Trains and measures the networks that the course ships in data/p2ch14.

    COURSE_DATA=D COURSE_OUTPUT=O COURSE_CACHE=C python -m p2ch14.shipped    minutes on a GPU, else some hours
    COURSE_DATA=E COURSE_OUTPUT=O COURSE_CACHE=F python -m p2ch14.shipped --evaluate [--varied]    ten minutes

The folders keep its patients apart from yours: 600 generated ones that no chapter uses, half of them varied
(`p2ch09.varied`). Four fifths of them train all networks; the others are for every choice that is made by looking.
What is reported comes from 60 further patients, in folders of their own. Interrupted, it goes on where it was. A GPU
sees three times as many examples; with COURSE_MEMORY_GB=14 its loading processes share the scans. The malignancy
network is weighed against the diameter afterwards, on cohorts of its own: `python -m p2ch14.malignancy --fit-size`,
as data/p2ch14/README.md says.
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor

from p2ch10.dsets import getCt, scan_paths
from p2ch10.memory import memory
from p2ch10.store import fill_store
from p2ch14.dsets import series_of
from p2ch14.main_job import VAL_STRIDE
from p2ch14.pipeline import NodulePipeline
from p2ch14.scoring import irrelevant_findings, print_validation, threshold_for, truth_by_series
from p2ch14.shipped.patients import REPORTED_SCANS, REPORTED_SEED, cohort, training_cohort
from p2ch14.shipped.trainings import (
    BallTargetTrainingApp,
    HardNegativeTrainingApp,
    SecondClassifierTrainingApp,
    UsualMalignancyTrainingApp,
)
from p2ch14.weights import (
    OWN_GROUPING,
    OWN_SECOND,
    SECOND_CLASSIFIER,
    SHIPPED,
    SHIPPED_CLASSIFIER,
    SHIPPED_MALIGNANCY,
    SHIPPED_SEGMENTATION,
    change_settings,
    save_with_settings,
)
from util.errors import UserError, main_guard
from util.paths import output_root
from util.runtime import get_device
from util.util import enumerateWithEstimate

TUNING_SCANS = 24  # of the held-out ones; enough to choose one number
MINED_SCANS = 140  # of the scans that train; more take longer than the training
FALSE_POSITIVES = 0.5  # per scan, where the threshold is chosen; one of the seven rates of the CPM
MORE, LARGER = 3, 4  # times as many examples on a GPU, in batches so many times as large


def paced(epochs, lr, batch_size=16, **examples):
    """The options of a training for this machine's device, given a CPU's. examples: how many in an epoch."""
    options = {"epochs": epochs, "lr": lr, "batch_size": batch_size, "val_every": 0, "one_cycle": True}
    if get_device().type == "cpu":
        return options | examples
    options |= {"batch_size": LARGER * batch_size, "lr": 1.5 * lr, "num_workers": max(cores() - 1, 1)}
    # Loading processes start anew with each epoch, so there are fewer and longer ones.
    longer = {name: MORE * MORE * count for name, count in examples.items()}
    return options | {"epochs": round(epochs / MORE)} | longer


def cores() -> int:
    """Processors of this machine."""
    return os.cpu_count() or 1


def hold_scans(series):
    """Read scans into memory while there is room: processes that are forked later share this one copy."""

    def hold(uid):
        if memory.has_room():
            getCt(uid)

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(hold, series))


def analysed(pipeline, series, what):
    """The results of `series`, without voxels."""
    return [
        pipeline.analyse(getCt(uid), uid).without_voxels() for _, uid in enumerateWithEstimate(series, what)
    ]


def train_segmentation():
    """The U-Net with balls for targets."""
    recipe = paced(epochs=100, lr=0.003, samples=1600) | {"augmented": True}
    app = BallTargetTrainingApp.start_or_resume("ship-segmentation", **recipe)
    app.main()
    save_with_settings(
        SHIPPED_SEGMENTATION,
        app.model,
        grouping=OWN_GROUPING.grouping,
        mask_threshold=OWN_GROUPING.mask_threshold,
    )


def examples_of_classifiers():
    """The options that both classifiers' trainings share: candidates and what the segmentation proposes."""
    mined = output_root() / "p2ch14" / "ship-mined.json"
    return {"balanced": True, "augmented": True, "mined": str(mined), "mine_scans": MINED_SCANS}


def train_first():
    """The first classifier, on candidates and on what the segmentation proposes."""
    recipe = examples_of_classifiers() | paced(epochs=30, lr=0.002, epoch_samples=4000)
    app = HardNegativeTrainingApp.start_or_resume("ship-classification", **recipe)
    app.main()
    save_with_settings(SHIPPED_CLASSIFIER, app.model, second_classifier=SECOND_CLASSIFIER)


def second_recipe():
    """The options of the second classifier's training: examples that are hard for the first."""
    folder = output_root() / "p2ch14"
    first = HardNegativeTrainingApp.latest_run("ship-classification") / "last.state"
    recipe = {"hard_from": str(first), "hard": str(folder / "ship-hard.json")}
    return examples_of_classifiers() | recipe | paced(epochs=20, lr=0.002, epoch_samples=4000)


def second_again_recipe():
    """The options of its further training: from where it is, on examples that it finds hard itself."""
    second = str(SecondClassifierTrainingApp.latest_run("ship-second") / "last.state")
    hard = str(output_root() / "p2ch14" / "ship-hard-again.json")
    recipe = {"start": second, "hard_from": second, "hard": hard}
    return examples_of_classifiers() | recipe | paced(epochs=10, lr=0.002, epoch_samples=4000)


def train_second():
    """The second classifier, in two trainings."""
    SecondClassifierTrainingApp.start_or_resume("ship-second", **second_recipe()).main()
    app = SecondClassifierTrainingApp.start_or_resume("ship-second-again", **second_again_recipe())
    app.main()
    save_with_settings(SHIPPED / SECOND_CLASSIFIER, app.model, **OWN_SECOND)


def choose_threshold():
    """Choose the classifier's threshold on tuning scans, and keep it in its file."""
    results = analysed(NodulePipeline(), series_of(VAL_STRIDE)[:TUNING_SCANS], "choosing a threshold")
    threshold = threshold_for(results, truth_by_series(), FALSE_POSITIVES, irrelevant_findings())
    print(f"a finding counts as a nodule from a probability of {threshold:.4f}")
    change_settings(SHIPPED_CLASSIFIER, threshold=round(threshold, 4))


def train_malignancy():
    """Fine-tunes all but the first block; without --augment-scale, since size is what tells most."""
    recipe = paced(epochs=20, lr=0.002, epoch_samples=2000) | {"malignant": True, "balanced": True}
    recipe |= {"epochs": 20}  # an epoch is never longer than the few nodules with a judgement
    recipe |= {f"augment_{name}": True for name in ("flip", "offset", "rotate", "noise")}
    start = HardNegativeTrainingApp.latest_run("ship-classification") / "last.state"
    recipe |= {"finetune": str(start), "finetune_depth": 4}
    app = UsualMalignancyTrainingApp.start_or_resume("ship-malignancy", **recipe)
    app.main()
    save_with_settings(SHIPPED_MALIGNANCY, app.model)


def evaluate(is_varied):
    """Print found, missed and false positives, and LUNA16's curve, of the shipped files on patients of their own."""
    if not (SHIPPED_SEGMENTATION.is_file() and SHIPPED_CLASSIFIER.is_file()):
        raise UserError("there are no shipped networks to measure; run this without --evaluate first")
    cohort(REPORTED_SCANS, REPORTED_SEED, is_varied)
    pipeline = NodulePipeline()
    # Of these patients, all are held out: none trained or tuned anything.
    results = analysed(pipeline, series_of(val_stride=1), "analysis of reported scans")
    print_validation(results, pipeline.threshold)


def main():
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--evaluate", action="store_true", help="measure the shipped files, train nothing")
    parser.add_argument("--varied", action="store_true", help="with --evaluate: on varied patients")
    options = parser.parse_args()
    if options.evaluate:
        evaluate(options.varied)
        return
    training_cohort()
    fill_store(scan_paths(), processes=cores())
    if get_device().type != "cpu":
        hold_scans(series_of(VAL_STRIDE, held_out=False))
    train_segmentation()
    train_first()
    train_second()
    choose_threshold()
    train_malignancy()


if __name__ == "__main__":
    main_guard(main)
