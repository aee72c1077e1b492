"""Training with balance and augmentation (chapter 12): four methods of chapter 11's loop change.

python -m p2ch12.training --epochs 5 --balanced --augmented
"""

from p2ch10.ct import CROP_IRC
from p2ch11 import training
from p2ch11.loaders import with_nodules
from p2ch11.training import METRICS_LABEL_NDX, METRICS_PRED_NDX, METRICS_SCORE_NDX
from p2ch12.augment import ALL, add_augmentation_arguments, augment, chosen_strengths
from p2ch12.dsets import LunaDataset
from p2ch12.metrics import average_precision, precision_recall_f1, roc_auc
from util.errors import main_guard


class LunaTrainingApp(training.LunaTrainingApp):
    """Trains `LunaModel` with as many nodules as non-nodules, and with augmentation, as asked."""

    chapter = "p2ch12"

    def __init__(self, sys_argv=None, **options):
        super().__init__(sys_argv, **options)
        self.strengths = chosen_strengths(self.cli_args, ALL)
        self.crop_irc = (
            None  # what `computeBatchLoss` cuts out of wider patches, where the training set gives such
        )

    def add_arguments(self, parser):
        """Chapter 11's, balance and augmentation."""
        super().add_arguments(parser)
        parser.add_argument("--balanced", action="store_true", help="as many nodules as non-nodules")
        add_augmentation_arguments(parser)

    def initTrainDl(self):
        """Chapter 11's, balanced where that is asked."""
        dataset = LunaDataset(
            val_stride=self.cli_args.val_stride, isValSet_bool=False, ratio_int=int(self.cli_args.balanced)
        )
        if self.strengths.moves:
            dataset.patch_irc, self.crop_irc = self.strengths.patch(CROP_IRC), CROP_IRC
        return self.make_train_loader(dataset)

    def make_train_loader(self, dataset):
        """Batches for training. A balanced dataset shuffles itself and then keeps its order, nodule, other, nodule, …

        So each batch is balanced, too. Were the items shuffled once more, a batch of eight would hold six of a
        kind now and then, and a young network would spend its steps on following that up and down.
        """
        dataset = with_nodules(dataset, "training")
        dataset.least_length = self.cli_args.epoch_samples
        return self.make_loader(dataset, shuffle=not self.cli_args.balanced, is_even=True)

    def doTraining(self, epoch_ndx, train_dl):
        """Chapter 11's; an epoch of `--epoch-samples` holds only some of the others, and other ones each time."""
        if self.cli_args.balanced:
            train_dl.dataset.shuffleSamples(train_dl.generator)
        return super().doTraining(epoch_ndx, train_dl)

    def computeBatchLoss(self, batch_ndx, batch_tup, batch_size, metrics_g):
        """Chapter 11's, of crops that are augmented first while training."""
        if self.model.training:
            input_t, *rest = batch_tup
            input_g = augment(input_t.to(self.device, non_blocking=True), self.strengths, size=self.crop_irc)
            batch_tup = (input_g, *rest)
        return super().computeBatchLoss(batch_ndx, batch_tup, batch_size, metrics_g)

    def logMetrics(self, epoch_ndx, mode_str, metrics_t, classificationThreshold=0.5):
        """Chapter 11's metrics, precision, recall and F1, and the areas under the two curves."""
        metrics = super().logMetrics(epoch_ndx, mode_str, metrics_t, classificationThreshold)
        label = metrics_t[METRICS_LABEL_NDX] > 0.5
        predicted = metrics_t[METRICS_PRED_NDX] > classificationThreshold
        precision, recall, f1 = precision_recall_f1(label, predicted)
        added = {"pr/precision": precision, "pr/recall": recall, "pr/f1_score": f1}
        probability, score = metrics_t[METRICS_PRED_NDX], metrics_t[METRICS_SCORE_NDX]
        added["roc/auc"] = roc_auc(label, score)
        added["pr/average"] = average_precision(label, score)
        self.say(
            f"E{epoch_ndx} {mode_str}  precision {precision:.4f}  recall {recall:.4f}  F1 {f1:.4f}  "
            f"ROC-AUC {added['roc/auc']:.4f}"
        )
        self.log_scalars(mode_str, added)
        if self.is_main:
            self.writer(mode_str).add_pr_curve("pr", label, probability, self.totalTrainingSamples_count)
        return metrics | added

    def score(self, val_metrics):
        """The F1 score."""
        return val_metrics["pr/f1_score"]


if __name__ == "__main__":
    main_guard(lambda: LunaTrainingApp().main() and None)
