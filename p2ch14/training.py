"""Classifying nodules with chapter 14's options: from another training, on another dataset (chapter 14).

    python -m p2ch14.training --balanced --augmented nodule-nonnodule
    python -m p2ch14.training --malignant --balanced --finetune data/p2ch14/classification.safetensors malben

Chapter 11's loop with chapter 12's balance and augmentation; what changes is the dataset, which layers learn, and
what TensorBoard shows.
"""

import numpy as np

from p2ch11 import training
from p2ch11.training import METRICS_LABEL_NDX, METRICS_PRED_NDX, METRICS_SCORE_NDX, load_weights
from p2ch12.dsets import LunaDataset
from p2ch12.metrics import roc_auc
from p2ch12.training import LunaTrainingApp
from p2ch14.dsets import MalignantLunaDataset
from p2ch14.malignancy import plot_rocs
from p2ch14.model import LunaModel, MalignancyModel
from util.errors import UserError, main_guard

DATASETS = {"LunaDataset": LunaDataset, "MalignantLunaDataset": MalignantLunaDataset}


class ClassificationTrainingApp(LunaTrainingApp):
    """Trains `LunaModel` to tell nodules from the rest or, with `--malignant`, malignant nodules from benign ones.

    `--finetune PATH` starts from a trained nodule classifier: its last `--finetune-depth` parts with
    parameters learn (1: the linear head, 2: the last convolutional block, too), the head from a fresh
    start, and all before them stays exactly as it is.
    """

    chapter = "p2ch14"

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--malignant", action="store_true", help="malignant or benign? (else: a nodule?)")
        parser.add_argument("--dataset", metavar="NAME", help=f"{' or '.join(DATASETS)}; --malignant decides")
        parser.add_argument("--model", default="LunaModel", metavar="NAME", help="only LunaModel")
        # An empty value is let through, so that a forgotten file gets a sentence and not a usage message.
        parser.add_argument("--finetune", nargs="?", const="", metavar="PATH", help="a classifier's weights")
        parser.add_argument("--finetune-depth", type=int, default=1, metavar="N", help="parts that learn")

    @property
    def is_malignant(self) -> bool:
        """Is malignancy the question? `--malignant` asks it, and so does its dataset."""
        return self.cli_args.malignant or self.cli_args.dataset == MalignantLunaDataset.__name__

    def initModel(self):
        """A model whose first parts are frozen, as the command line asks."""
        args = self.cli_args
        self._check()
        model = MalignancyModel() if self.is_malignant else LunaModel()
        parts = [name for name, part in model.named_children() if list(part.parameters())]
        self.frozen = []
        if args.finetune is not None:
            if not 1 <= args.finetune_depth <= len(parts):
                raise UserError(
                    f"--finetune-depth {args.finetune_depth}: give a number from 1 to {len(parts)}"
                )
            fresh_head = {name: value.clone() for name, value in model.head_linear.state_dict().items()}
            load_weights(model, args.finetune)
            # The old head answers another question; only what leads up to it is worth keeping.
            model.head_linear.load_state_dict(fresh_head)
            self.frozen = [getattr(model, name) for name in parts[: -args.finetune_depth]]
            for part in self.frozen:
                part.requires_grad_(False)
        return self.to_device(model)

    def _check(self):
        """One sentence for options that name nothing or contradict each other."""
        args = self.cli_args
        if args.dataset is not None and args.dataset not in DATASETS:
            raise UserError(f"--dataset {args.dataset}: there is none; use {' or '.join(DATASETS)}")
        if args.malignant and args.dataset == LunaDataset.__name__:
            raise UserError(
                "--malignant asks about nodules only, and --dataset LunaDataset holds others; leave one out"
            )
        if args.model != LunaModel.__name__:
            raise UserError(f"--model {args.model}: the course has only LunaModel; leave the option out")
        if args.finetune == "":
            raise UserError(
                "--finetune needs the weights file of a trained classifier, such as "
                "data/p2ch14/classification.safetensors"
            )

    def initTrainDl(self):
        if not self.is_malignant:
            return super().initTrainDl()
        dataset = MalignantLunaDataset(
            val_stride=self.cli_args.val_stride, isValSet_bool=False, ratio_int=int(self.cli_args.balanced)
        )
        return self.make_loader(dataset, shuffle=True)

    def initValDl(self):
        if not self.is_malignant:
            return super().initValDl()
        self.val_set = MalignantLunaDataset(val_stride=self.cli_args.val_stride, isValSet_bool=True)
        return self.make_loader(self.val_set, shuffle=False)

    def doTraining(self, epoch_ndx, train_dl):
        """Chapter 12's, but frozen parts stay in evaluation mode.

        Without gradients alone, the batch norm in front would still move its running mean and variance
        to those of the new data, and the frozen layers behind it would no longer see what they know.
        """
        if self.cli_args.balanced:
            train_dl.dataset.shuffleSamples(train_dl.generator)
        self.model.train()
        for part in self.frozen:
            part.eval()
        return self._run_epoch(epoch_ndx, train_dl, "training")

    def computeBatchLoss(self, batch_ndx, batch_tup, batch_size, metrics_g, augment=True):
        """Chapter 12's; with `augment=False` the crops are taken as they are, in training, too."""
        if augment:
            return super().computeBatchLoss(batch_ndx, batch_tup, batch_size, metrics_g)
        return training.LunaTrainingApp.computeBatchLoss(self, batch_ndx, batch_tup, batch_size, metrics_g)

    def logMetrics(self, epoch_ndx, mode_str, metrics_t, classificationThreshold=0.5):
        """Chapter 12's metrics, and in TensorBoard histograms of the probabilities and the ROC curve."""
        metrics = super().logMetrics(epoch_ndx, mode_str, metrics_t, classificationThreshold)
        label = metrics_t[METRICS_LABEL_NDX] > 0.5
        probability = metrics_t[METRICS_PRED_NDX]
        if not self.is_main or not (label.any() and (~label).any()):
            return metrics
        writer, step = self.writer(mode_str), self.totalTrainingSamples_count
        curves = {"network": metrics_t[METRICS_SCORE_NDX]}
        if self.is_malignant:
            bins = np.linspace(0, 1, 51)
            writer.add_histogram("probability/benign", probability[~label], step, bins=bins)
            writer.add_histogram("probability/malignant", probability[label], step, bins=bins)
        if self.is_malignant and mode_str == "val" and self.world_size == 1:
            # With several processes the samples come back in another order than the diameters.
            diameter = probability.new_tensor([info.diameter_mm for info in self.val_set.candidateInfo_list])
            curves["diameter"] = diameter
            metrics["roc/auc_diameter"] = roc_auc(label, diameter)
            self.log_scalars(mode_str, {"roc/auc_diameter": metrics["roc/auc_diameter"]})
        what = ("benign nodules", "malignant nodules") if self.is_malignant else ("the rest", "nodules")
        writer.add_figure("roc", plot_rocs(label, curves, classes=what).figure, step)
        return metrics

    def score(self, val_metrics):
        """The area under the ROC curve: what is malignant, or a nodule, is to rank above the rest."""
        return val_metrics["roc/auc"]


if __name__ == "__main__":
    main_guard(lambda: ClassificationTrainingApp().main() and None)
