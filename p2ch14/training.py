"""Fine-tuning the nodule classifier to judge malignancy (chapter 14, "Reusing preexisting weights").

    python -m p2ch14.training --malignant --finetune data/p2ch14/classification.safetensors --finetune-depth 2

Chapter 11's loop with chapter 12's augmentation; what changes is the dataset, which layers learn, and
what TensorBoard shows.
"""

import numpy as np

from p2ch11.training import METRICS_LABEL_NDX, METRICS_PRED_NDX, load_weights
from p2ch12.metrics import roc_auc
from p2ch12.training import BalancedLunaTrainingApp
from p2ch14.dsets import MalignantLunaDataset
from p2ch14.malignancy import MalignancyModel, plot_rocs
from util.errors import UserError, main_guard


class MalignancyTrainingApp(BalancedLunaTrainingApp):
    """Trains `LunaModel` to tell malignant nodules from benign ones, by default all of it from scratch.

    `--finetune PATH` starts from a trained nodule classifier: its last `--finetune-depth` parts with
    parameters learn (1: the linear head, 2: the last convolutional block, too), the head from a fresh
    start, and all before them stays exactly as it is.
    """

    chapter = "p2ch14"

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--malignant", action="store_true", help="say that malignancy is what you want")
        # An empty value is let through, so that a forgotten file gets a sentence and not a usage message.
        parser.add_argument("--finetune", nargs="?", const="", metavar="PATH", help="a classifier's weights")
        parser.add_argument("--finetune-depth", type=int, default=1, metavar="N", help="parts that learn")

    def initModel(self):
        """A model whose first parts are frozen, as the command line asks."""
        args = self.cli_args
        if not args.malignant:
            raise UserError(
                "this training is for malignancy; add --malignant, or train the nodule classifier "
                "with 'python -m p2ch12.training'"
            )
        if args.finetune == "":
            raise UserError(
                "--finetune needs the weights file of a trained classifier, such as "
                "data/p2ch14/classification.safetensors"
            )
        model = MalignancyModel()
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

    def initTrainDl(self):
        dataset = MalignantLunaDataset(
            val_stride=self.cli_args.val_stride, isValSet_bool=False, ratio_int=int(self.cli_args.balanced)
        )
        return self.make_loader(dataset, shuffle=True)

    def initValDl(self):
        self.val_set = MalignantLunaDataset(val_stride=self.cli_args.val_stride, isValSet_bool=True)
        return self.make_loader(self.val_set, shuffle=False)

    def doTraining(self, epoch_ndx, train_dl):
        """Chapter 11's, but each epoch draws other candidates, and frozen parts stay in evaluation mode.

        Without gradients alone, the batch norm in front would still move its running mean and variance
        to those of the new data, and the frozen layers behind it would no longer see what they know.
        """
        if self.cli_args.balanced:
            train_dl.dataset.shuffleSamples(train_dl.generator)
        self.model.train()
        for part in self.frozen:
            part.eval()
        return self._run_epoch(epoch_ndx, train_dl, "training")

    def logMetrics(self, epoch_ndx, mode_str, metrics_t, classificationThreshold=0.5):
        """Chapter 12's metrics, and in TensorBoard histograms of the probabilities and the ROC curve."""
        metrics = super().logMetrics(epoch_ndx, mode_str, metrics_t, classificationThreshold)
        label = metrics_t[METRICS_LABEL_NDX] > 0.5
        probability = metrics_t[METRICS_PRED_NDX]
        if not self.is_main or not (label.any() and (~label).any()):
            return metrics
        writer, step = self.writer(mode_str), self.totalTrainingSamples_count
        bins = np.linspace(0, 1, 51)
        writer.add_histogram("probability/benign", probability[~label], step, bins=bins)
        writer.add_histogram("probability/malignant", probability[label], step, bins=bins)
        curves = {"network": probability}
        if mode_str == "val" and self.world_size == 1:
            # With several processes the samples come back in another order than the diameters.
            diameter = probability.new_tensor([info.diameter_mm for info in self.val_set.candidateInfo_list])
            curves["diameter"] = diameter
            metrics["roc/auc_diameter"] = roc_auc(label, diameter)
            self.log_scalars(mode_str, {"roc/auc_diameter": metrics["roc/auc_diameter"]})
        writer.add_figure("roc", plot_rocs(label, curves).figure, step)
        return metrics

    def score(self, val_metrics):
        return val_metrics["roc/auc"]


if __name__ == "__main__":
    main_guard(lambda: MalignancyTrainingApp().main() and None)
