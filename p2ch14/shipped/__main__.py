"""Trains and measures the networks that the course ships in data/p2ch14.

    COURSE_DATA=D COURSE_OUTPUT=O COURSE_CACHE=C python -m p2ch14.shipped    minutes on a GPU, else some hours
    COURSE_DATA=E COURSE_OUTPUT=O COURSE_CACHE=F python -m p2ch14.shipped --evaluate [--varied]    ten minutes

The folders keep its patients apart from yours: 480 generated ones that no chapter uses, two thirds of them varied
(`p2ch09.varied`). Four fifths of them train the networks, malignancy only the usual ones; the others are for choices.
What is reported comes from 60 further patients, in folders of their own. Interrupted, it goes on where it was. A GPU
holds all examples, for which it wants 80 GB, and sees 3 to 12 times as many, but for malignancy. That network is
weighed against the diameter afterwards, on cohorts of its own: `python -m p2ch14.malignancy --fit-size`, as
data/p2ch14/README.md says.
"""

import argparse
import os
import zlib

from p2ch10.dsets import getCt, scan_paths
from p2ch10.store import fill_store
from p2ch14.dsets import series_of
from p2ch14.main_job import VAL_STRIDE
from p2ch14.pipeline import NodulePipeline
from p2ch14.scoring import irrelevant_findings, print_validation, threshold_for, truth_by_series
from p2ch14.shipped.patients import (
    REPORTED_RICHNESS,
    REPORTED_SCANS,
    REPORTED_SEED,
    VARIED_SEED,
    cohort,
    patients_of,
    training_cohort,
)
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
# From where on the U-Net's marks count; chosen by looking at three scans, then seen to do on 29 (data/p2ch14/LOG.md).
MASK_THRESHOLD = 0.98
LISTED = 30_000  # of LUNA's candidates that are no nodules, at most
MINED_SCANS, MINED_ON_GPU = 140, 240  # of the scans that train; more take longer than the training
FALSE_POSITIVES = 0.5  # per scan, where the threshold is chosen; one of the seven rates of the CPM
BATCH = 16
LARGER, FEWER = 16, 5  # on a GPU batches are so many times as large, and there are so many times fewer epochs


def small_steps(epochs, lr):
    """The options of a training in a CPU's batches."""
    loaders = 0 if get_device().type == "cpu" else max(cores() - 1, 1)
    options = {"epochs": epochs, "lr": lr, "batch_size": BATCH, "val_every": 0, "one_cycle": True}
    return options | {"num_workers": loaders}


def paced(epochs, lr, more, **examples):
    """The options of a training for this machine's device, given a CPU's.

    more: how many times as many examples a GPU sees. examples: how many in an epoch.
    """
    options = small_steps(epochs, lr)
    if get_device().type == "cpu":
        return options | examples
    longer = {name: FEWER * more * count for name, count in examples.items()}
    large_steps = {"epochs": epochs // FEWER, "lr": 2 * lr, "batch_size": LARGER * BATCH, "held": True}
    return options | large_steps | longer


def cores() -> int:
    """Processors of this machine."""
    return os.cpu_count() or 1


def analysed(pipeline, series, what):
    """The results of `series`, without voxels."""
    return [
        pipeline.analyse(getCt(uid), uid).without_voxels() for _, uid in enumerateWithEstimate(series, what)
    ]


def trained(app):
    """The network of a training, which is carried on if it was interrupted."""
    if app.first_epoch <= app.cli_args.epochs:
        app.main()
    return app.model


def train_segmentation():
    """The U-Net with balls for targets."""
    recipe = paced(epochs=100, lr=0.003, more=12, samples=1600) | {"augmented": True}
    app = BallTargetTrainingApp.start_or_resume("ship-segmentation", **recipe)
    save_with_settings(
        SHIPPED_SEGMENTATION,
        trained(app),
        grouping=OWN_GROUPING.grouping,
        mask_threshold=MASK_THRESHOLD,
    )


def examples_of_classifiers():
    """The options that both classifiers' trainings share: candidates and what the segmentation proposes."""
    scans = MINED_SCANS if get_device().type == "cpu" else MINED_ON_GPU
    # What another U-Net proposed is another file.
    of_unet = zlib.crc32(SHIPPED_SEGMENTATION.read_bytes())
    mined = output_root() / "p2ch14" / f"ship-mined-{scans}-{of_unet:08x}.json"
    return {"balanced": True, "augmented": True, "listed": LISTED, "mined": str(mined), "mine_scans": scans}


def train_second():
    """The second classifier."""
    recipe = examples_of_classifiers() | paced(epochs=20, lr=0.002, more=10, epoch_samples=4000)
    app = SecondClassifierTrainingApp.start_or_resume("ship-second", **recipe)
    save_with_settings(SHIPPED / SECOND_CLASSIFIER, trained(app), **OWN_SECOND)


def train_first():
    """The first classifier."""
    recipe = examples_of_classifiers() | paced(epochs=30, lr=0.002, more=3, epoch_samples=4000)
    app = HardNegativeTrainingApp.start_or_resume("ship-classification", **recipe)
    save_with_settings(SHIPPED_CLASSIFIER, trained(app), second_classifier=SECOND_CLASSIFIER)


def choose_threshold():
    """Choose the classifier's threshold on tuning scans, and keep it in its file."""
    usual = patients_of("usual")
    series = [uid for uid in series_of(VAL_STRIDE) if uid in usual][:TUNING_SCANS]
    results = analysed(NodulePipeline(), series, "choosing a threshold")
    threshold = threshold_for(results, truth_by_series(), FALSE_POSITIVES, irrelevant_findings())
    print(f"a finding counts as a nodule from a probability of {threshold:.4f}")
    change_settings(SHIPPED_CLASSIFIER, threshold=round(threshold, 4))


def train_malignancy():
    """Fine-tunes all but the first block; without --augment-scale, since size is what tells most."""
    recipe = small_steps(epochs=20, lr=0.002) | {"epoch_samples": 2000, "malignant": True, "balanced": True}
    recipe |= {f"augment_{name}": True for name in ("flip", "offset", "rotate", "noise")}
    start = HardNegativeTrainingApp.latest_run("ship-classification") / "last.state"
    recipe |= {"finetune": str(start), "finetune_depth": 4}
    app = UsualMalignancyTrainingApp.start_or_resume("ship-malignancy", **recipe)
    save_with_settings(SHIPPED_MALIGNANCY, trained(app))


def evaluate(is_varied):
    """Print found, missed and false positives, and LUNA16's curve, of the shipped files on patients of their own."""
    if not (SHIPPED_SEGMENTATION.is_file() and SHIPPED_CLASSIFIER.is_file()):
        raise UserError("there are no shipped networks to measure; run this without --evaluate first")
    cohort(REPORTED_SCANS, VARIED_SEED if is_varied else REPORTED_SEED, REPORTED_RICHNESS, is_varied)
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
    train_segmentation()
    train_second()
    train_first()
    train_malignancy()
    choose_threshold()


if __name__ == "__main__":
    main_guard(main)
