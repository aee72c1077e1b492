"""Training the U-Net (chapter 13): the loop of chapter 11 with another loss and other metrics.

python -m p2ch13.training --epochs 3 --augmented
"""

from dataclasses import asdict

import torch
from torch import nn

from p2ch11.training import LunaTrainingApp
from p2ch12.augment import Strengths, add_augmentation_arguments, chosen_strengths
from p2ch13.dsets import CONTEXT_SLICES, Luna2dSegmentationDataset, TrainingLuna2dSegmentationDataset
from p2ch13.model import SegmentationAugmentation, UNetWrapper
from util.errors import main_guard

# Rows of the metrics tensor, one column per sample of an epoch; areas in pixels.
METRICS_LOSS_NDX = 0
METRICS_TP_NDX = 1
METRICS_FN_NDX = 2
METRICS_FP_NDX = 3
METRICS_SIZE = 4
# Of chapter 12's transforms: a smaller shift, since crops already lie at random offsets.
FULL_STRENGTHS = Strengths(flip=True, offset=0.03, scale=0.2, rotate=True, noise=25.0)


# Sky blue, yellow and vermilion of Okabe and Ito, which colour-blind people can tell apart.
FOUND, MISSED, WRONG = (0.34, 0.71, 0.91), (0.94, 0.89, 0.26), (0.84, 0.37, 0.0)


def overlay(slice_hu, label, predicted):
    """A slice as a picture, float (3, H, W) in [0, 1], with what is `FOUND`, `MISSED` and marked `WRONG`ly.

    slice_hu: (H, W) HU; label, predicted: (H, W) bool.
    """
    picture = ((slice_hu + 1000) / 1400).clamp(0, 1).expand(3, -1, -1).clone()
    for where, colour in (
        (label & predicted, FOUND),
        (label & ~predicted, MISSED),
        (~label & predicted, WRONG),
    ):
        # Not all of it is colour: what lies beneath stays visible.
        picture[:, where] = 0.4 * picture[:, where] + 0.6 * torch.tensor(colour)[:, None]
    return picture


class SegmentationTrainingApp(LunaTrainingApp):
    """Trains `UNetWrapper` on crops around nodules; validates on whole slices of held-out scans."""

    chapter = "p2ch13"
    type_str = "seg"
    metrics_size = METRICS_SIZE
    default_batch_size = 16
    default_lr = 0.003
    memory_format = torch.channels_last

    def __init__(self, sys_argv=None, **options):
        super().__init__(sys_argv, **options)
        strengths = chosen_strengths(self.cli_args, FULL_STRENGTHS)
        self.augmentation_model = None
        if strengths != Strengths():
            self.augmentation_model = SegmentationAugmentation(**asdict(strengths))

    def add_arguments(self, parser):
        """Chapter 11's, augmentation, and the parts of the loss."""
        super().add_arguments(parser)
        add_augmentation_arguments(parser)
        parser.add_argument("--missed-weight", type=float, default=4.0, help="cost of a missed pixel")
        parser.add_argument("--entropy-weight", type=float, default=2.0, help="weight of the cross-entropy")
        parser.add_argument("--samples", type=int, default=1600, help="crops in an epoch")
        parser.add_argument(
            "--context-slices",
            type=int,
            default=CONTEXT_SLICES,
            help="neighbours that the network sees above and below a slice",
        )

    def initModel(self):
        """An untrained `UNetWrapper` for the slice and its neighbours."""
        return self.to_device(UNetWrapper(in_channels=2 * self.cli_args.context_slices + 1))

    def initTrainDl(self):
        """Batches of crops, `--samples` of them in an epoch."""
        args = self.cli_args
        dataset = TrainingLuna2dSegmentationDataset(
            args.val_stride, False, contextSlices_count=args.context_slices, samples=args.samples
        )
        return self.make_loader(dataset, shuffle=True)

    def initValDl(self):
        """Batches of whole held-out slices."""
        args = self.cli_args
        dataset = Luna2dSegmentationDataset(args.val_stride, True, contextSlices_count=args.context_slices)
        return self.make_slice_loader(dataset)

    def make_slice_loader(self, dataset):
        """Batches of whole slices, a quarter as many at a time as crops: a slice has far more pixels."""
        batch_size = self.world_size * max(1, self.cli_args.batch_size // (4 * self.world_size))
        return self.make_loader(dataset, shuffle=False, batch_size=batch_size)

    def diceLoss(self, prediction_g, label_g, epsilon=1, dim=(1, 2, 3)):
        """1 - Dice coefficient (Milletari et al. 2016) over `dim`: per sample, or over the batch.

        prediction_g, label_g: (N, 1, H, W) float in [0, 1]. Answers (N,), or a single number.
        """
        label_sum = label_g.sum(dim=dim)
        prediction_sum = prediction_g.sum(dim=dim)
        correct = (prediction_g * label_g).sum(dim=dim)
        return 1 - (2 * correct + epsilon) / (prediction_sum + label_sum + epsilon)

    def missed(self, prediction_g, label_g):
        """The Dice loss within the truth, over the batch: what was marked wrongly does not count in it."""
        return self.diceLoss(prediction_g * label_g, label_g, dim=(0, 1, 2, 3))

    def computeBatchLoss(self, batch_ndx, batch_tup, batch_size, metrics_g, classificationThreshold=0.5):
        """Dice loss, again within the truth so that misses cost more, and cross-entropy.

        The Dice loss alone is flat where the sigmoid is saturated: a network that begins by marking all
        dense tissue stays there. Cross-entropy has a slope everywhere.

        metrics_g: (METRICS_SIZE, samples of the epoch), filled in the columns of this batch.
        """
        input_t, label_t, _series_list, _slice_ndx_list = batch_tup
        input_g = input_t.to(self.device, non_blocking=True)  # (N, 7, H, W)
        label_g = label_t.to(self.device, non_blocking=True)  # (N, 1, H, W)
        if self.model.training and self.augmentation_model:
            input_g, label_g = self.augmentation_model(input_g, label_g)
        label_g = label_g.float()
        prediction_g = self.network(input_g.contiguous(memory_format=self.memory_format))
        # Over the whole batch: the Dice loss of a single crop without nodule is flat wherever a few pixels
        # are marked, so such crops would teach nothing.
        batch = (0, 1, 2, 3)
        dice_g = self.diceLoss(prediction_g, label_g, dim=batch)
        missed_g = self.missed(prediction_g, label_g)
        columns = slice(batch_ndx * batch_size, batch_ndx * batch_size + len(input_t))
        with torch.no_grad():
            predicted = (prediction_g > classificationThreshold).float()
            metrics_g[METRICS_LOSS_NDX, columns] = self.diceLoss(prediction_g, label_g)
            metrics_g[METRICS_TP_NDX, columns] = (predicted * label_g).sum(dim=[1, 2, 3])
            metrics_g[METRICS_FN_NDX, columns] = ((1 - predicted) * label_g).sum(dim=[1, 2, 3])
            metrics_g[METRICS_FP_NDX, columns] = (predicted * (1 - label_g)).sum(dim=[1, 2, 3])
        # CUDA's autocast refuses it: in half precision a probability rounds to 1, and its logarithm is lost.
        with torch.autocast(self.device.type, enabled=False):
            crossentropy = nn.functional.binary_cross_entropy(prediction_g.float(), label_g)
        return dice_g + missed_g * self.cli_args.missed_weight + crossentropy * self.cli_args.entropy_weight

    def logMetrics(self, epoch_ndx, mode_str, metrics_t):
        """Print and graph loss, pixel precision, recall and F1; areas are shares of the true area.

        metrics_t: (METRICS_SIZE, samples) on the CPU.
        """
        true_positive, false_negative, false_positive = metrics_t[METRICS_TP_NDX:].sum(dim=1).tolist()
        area = max(true_positive + false_negative, 1)
        metrics = {
            "loss/all": metrics_t[METRICS_LOSS_NDX].mean().item(),
            "pr/precision": true_positive / max(true_positive + false_positive, 1),
            "pr/recall": true_positive / area,
            "pr/f1_score": 2 * true_positive / max(2 * true_positive + false_positive + false_negative, 1),
            "percent_all/tp": true_positive / area * 100,
            "percent_all/fn": false_negative / area * 100,
            "percent_all/fp": false_positive / area * 100,
        }
        self.say(
            f"E{epoch_ndx} {mode_str}  loss {metrics['loss/all']:.4f}  recall {metrics['pr/recall']:.4f}  "
            f"precision {metrics['pr/precision']:.4f}  "
            f"false positives {metrics['percent_all/fp']:.0f} % of the area"
        )
        self.log_scalars(mode_str, metrics)
        return metrics

    def logImages(self, epoch_ndx, mode_str, dl, count=4):
        """Show TensorBoard slices with what was found (blue), missed (yellow) and marked wrongly (red).

        `count` slices, spread over the validation set; the same ones every time, so that TensorBoard's
        slider over the epochs shows how the marks change.
        """
        if not self.is_main:
            return
        dataset = dl.dataset
        self.model.eval()
        for place in range(min(count, len(dataset))):
            slices_t, label_t, _series_uid, _slice_ndx = dataset[place * len(dataset) // count]
            with torch.inference_mode(), self.autocast():
                prediction_g = self.model(slices_t[None].to(self.device))
            marked = overlay(slices_t[len(slices_t) // 2], label_t[0], prediction_g[0, 0].float().cpu() > 0.5)
            self.writer(mode_str).add_image(f"slice/{place}", marked, self.totalTrainingSamples_count)

    def score(self, val_metrics):
        """F2: recall, which counts four times as much as precision; what segmentation misses, no later step can find.

        By recall alone, a network that marks everything would be the best.
        """
        precision, recall = val_metrics["pr/precision"], val_metrics["pr/recall"]
        return 5 * precision * recall / (4 * precision + recall) if precision and recall else 0.0


if __name__ == "__main__":
    main_guard(lambda: SegmentationTrainingApp().main() and None)
