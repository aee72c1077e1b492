"""The trainings of the shipped networks, and of the second classifier: chapters 12's and 13's with other examples.

    python -m p2ch14.shipped.trainings segmentation --epochs 40 --augmented --one-cycle
    python -m p2ch14.shipped.trainings classification --balanced --augmented --epochs 2 --start FIRST
    python -m p2ch14.shipped.trainings second --balanced --augmented --hard-from FIRST
    python -m p2ch14.shipped.trainings small --balanced --augmented --epochs 5 --epoch-samples 2000

FIRST are weights of the first classifier, such as data/p2ch14/classification.safetensors; after --hard-from, of
either.
"""

import random
import sys
from pathlib import Path

import torch

from p2ch10.ct import CROP_IRC
from p2ch10.dsets import CandidateInfoTuple, getCandidateInfoList, is_held_out
from p2ch11.loaders import with_nodules
from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p2ch12.dsets import LunaDataset
from p2ch12.training import LunaTrainingApp
from p2ch13.training import SegmentationTrainingApp
from p2ch14.dsets import MalignantLunaDataset, series_of
from p2ch14.malignancy import predict
from p2ch14.second_classifier import SMALL_CROP_IRC, SecondClassifier, SmallCropDataset
from p2ch14.shipped.ball_targets import BallCrops, BallSlices
from p2ch14.shipped.hard_negatives import kept, mine, without_irrelevant
from p2ch14.shipped.held import HeldBallCrops, HeldPatches, held_loader
from p2ch14.shipped.patients import KINDS, patients_of
from p2ch14.shipped.rescan import rescanned
from p2ch14.training import ClassificationTrainingApp
from p2ch14.weights import model_name_of
from util.errors import UserError, main_guard

HARD = 0.02  # what is no nodule is hard from this probability on


def listed_for_training(val_stride) -> list[CandidateInfoTuple]:
    """LUNA's candidates of the training scans, less irrelevant findings."""
    return without_irrelevant(c for c in getCandidateInfoList() if not is_held_out(c.series_uid, val_stride))


def add_held_argument(parser):
    """`--held`, for trainings on a device with room for their examples."""
    parser.add_argument("--held", action="store_true", help="keep all examples on the device: for a GPU")


class BallTargetTrainingApp(SegmentationTrainingApp):
    """Trains `UNetWrapper` to propose places: balls for truth, and every nodule counts alike.

    Chapter 13's loss adds up pixels over the batch, so that a nodule of 20 mm outweighs twenty of 4 mm. What
    is missed is counted here by crop.
    """

    chapter = "p2ch14"

    def add_arguments(self, parser):
        super().add_arguments(parser)
        add_held_argument(parser)

    def initTrainDl(self):
        args = self.cli_args
        dataset = BallCrops(args.val_stride, False, samples=args.samples)
        if args.held:
            return held_loader(self, HeldBallCrops(dataset, self.device))
        return self.make_loader(dataset, shuffle=True)

    def initValDl(self):
        return self.make_slice_loader(BallSlices(self.cli_args.val_stride, True))

    def computeBatchLoss(self, batch_ndx, batch_tup, batch_size, metrics_g, classificationThreshold=0.5):
        """Chapter 13's, of crops by various scanners while training."""
        if self.model.training:
            input_t, *rest = batch_tup
            batch_tup = (rescanned(input_t[:, None])[:, 0], *rest)
        return super().computeBatchLoss(batch_ndx, batch_tup, batch_size, metrics_g, classificationThreshold)

    def missed(self, prediction_g, label_g):
        """Chapter 13's loss within the truth, by crop, of the crops that show a nodule."""
        has_nodule_g = label_g.flatten(1).any(dim=1)
        if not has_nodule_g.any():
            return prediction_g.sum() * 0.0
        prediction_g, label_g = prediction_g[has_nodule_g], label_g[has_nodule_g]
        return self.diceLoss(prediction_g * label_g, label_g).mean()


class CandidateTrainingApp(LunaTrainingApp):
    """Chapter 12's training, which can hold all examples on the device."""

    chapter = "p2ch14"

    def add_arguments(self, parser):
        super().add_arguments(parser)
        add_held_argument(parser)

    def with_patches(self, dataset, crop_irc):
        """`dataset`; where its crops of `crop_irc` are augmented or held, with what an augmentation may turn in."""
        if self.strengths.moves or self.cli_args.held:
            dataset.patch_irc, self.crop_irc = self.strengths.patch(crop_irc), crop_irc
        return dataset

    def make_train_loader(self, dataset):
        args = self.cli_args
        if not args.held:
            return super().make_train_loader(dataset)
        dataset = with_nodules(dataset, "training")
        dataset.least_length = args.epoch_samples
        held = HeldPatches(dataset, self.device, args.num_workers)
        return held_loader(self, held, shuffle=not args.balanced)


class HardNegativeTrainingApp(CandidateTrainingApp):
    """Trains `LunaModel` on candidates and on what the U-Net proposes in the training scans."""

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--start", metavar="P", help="carry on from these weights of LunaModel")
        parser.add_argument("--segmentation-path", metavar="P", help="the U-Net; by default the shipped one")
        parser.add_argument("--mine-scans", type=int, default=0, metavar="N", help="at most; 0: all")
        parser.add_argument(
            "--mined", metavar="F", help="keep what is mined in this file, or take it from there"
        )
        parser.add_argument(
            "--listed", type=int, default=0, metavar="N", help="of LUNA's non-nodules, at most N; 0: all"
        )
        parser.add_argument(
            "--hard-from", metavar="P", help="train on what these weights, of either classifier, find hard"
        )
        parser.add_argument(
            "--hard-probability", type=float, default=HARD, metavar="P", help="from which one is hard"
        )
        parser.add_argument(
            "--hard", metavar="F", help="keep those examples in this file, or take them from there"
        )
        parser.add_argument(
            "--patients", choices=("all", *KINDS), default="all", help="train on those of one kind only"
        )

    def initModel(self):
        model = super().initModel()
        return load_weights(model, self.cli_args.start) if self.cli_args.start else model

    def initTrainDl(self):
        return self.make_train_loader(self.dataset_of(self.of_asked(kept(self.cli_args.hard, self.examples))))

    def of_asked(self, candidates):
        """Those of the kind of patients that `--patients` names."""
        if self.cli_args.patients == "all":
            return candidates
        theirs = patients_of(self.cli_args.patients)
        return [candidate for candidate in candidates if candidate.series_uid in theirs]

    def dataset_of(self, candidates):
        """The dataset of these candidates; a variant may see them in another way."""
        dataset = LunaDataset(ratio_int=int(self.cli_args.balanced), candidateInfo_list=candidates)
        return self.with_patches(dataset, CROP_IRC)

    def mined(self) -> list[CandidateInfoTuple]:
        """What the U-Net proposes in the training scans."""
        args = self.cli_args
        series = series_of(args.val_stride, held_out=False)
        series = series[: args.mine_scans] if args.mine_scans else series
        return mine(args.segmentation_path, series, str(self.device), max(args.num_workers, 1))

    def examples(self) -> list[CandidateInfoTuple]:
        """The training scans' candidates and mined proposals, less irrelevant findings."""
        args = self.cli_args
        mined = kept(args.mined, self.mined)
        if not mined:
            raise UserError(
                "the U-Net proposed nothing in the training scans; train it first (p2ch13.training)"
            )
        positive = sum(candidate.isNodule_bool for candidate in mined)
        self.say(f"mined {len(mined)} candidates, {positive} of them nodules")
        mined, listed = self.of_asked(mined), self.of_asked(listed_for_training(args.val_stride))
        nodules = [c for c in listed + mined if c.isNodule_bool]
        others = [c for c in listed if not c.isNodule_bool]
        if args.listed:
            others = random.Random(args.seed).sample(others, min(len(others), args.listed))
        if not args.hard_from:
            return nodules + others + [c for c in mined if not c.isNodule_bool]
        # As many of LUNA's candidates as were mined: judging all of them would take longer than training.
        others = random.Random(args.seed).sample(others, min(len(others), len(mined)))
        return nodules + self.hardest(others + [c for c in mined if not c.isNodule_bool])

    def hardest(self, others) -> list[CandidateInfoTuple]:
        """Those of `others`, which are no nodules, that `--hard-from` is not sure of, and as many more."""
        path = Path(self.cli_args.hard_from)
        is_second = model_name_of(path) == SecondClassifier.__name__
        model, dataset_class = (
            (SecondClassifier(), SmallCropDataset) if is_second else (LunaModel(), LunaDataset)
        )
        model = self.to_device(load_weights(model, path))
        dataset = dataset_class(candidateInfo_list=others)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.use_bfloat16):
            said = predict(model, dataset, 256, str(self.device), self.cli_args.num_workers)
        is_hard = said >= self.cli_args.hard_probability
        hard = [c for c, it_is in zip(dataset.candidateInfo_list, is_hard) if it_is]
        easy = [c for c, it_is in zip(dataset.candidateInfo_list, is_hard) if not it_is]
        self.say(f"{len(hard)} of {len(others)} that are no nodules are hard")
        return hard + easy[: len(hard)]


class SmallCropTrainingApp(CandidateTrainingApp):
    """Trains `SecondClassifier` on LUNA's candidates, less irrelevant findings: `course.py run` has no time to mine."""

    def initModel(self):
        return self.to_device(SecondClassifier())

    def initTrainDl(self):
        return self.make_train_loader(self.dataset_of(listed_for_training(self.cli_args.val_stride)))

    def dataset_of(self, candidates):
        """Small crops around these candidates."""
        dataset = SmallCropDataset(ratio_int=int(self.cli_args.balanced), candidateInfo_list=candidates)
        return self.with_patches(dataset, SMALL_CROP_IRC)

    def computeBatchLoss(self, batch_ndx, batch_tup, batch_size, metrics_g):
        """Chapter 12's, of crops by various scanners while training."""
        if self.model.training:
            input_t, *rest = batch_tup
            batch_tup = (rescanned(input_t), *rest)
        return super().computeBatchLoss(batch_ndx, batch_tup, batch_size, metrics_g)

    def initValDl(self):
        return self.make_loader(SmallCropDataset(self.cli_args.val_stride, True), shuffle=False)


class SecondClassifierTrainingApp(HardNegativeTrainingApp, SmallCropTrainingApp):
    """Trains `SecondClassifier` on nodules and on what the first classifier takes for some."""

    dataset_of = SmallCropTrainingApp.dataset_of


class UsualMalignancyTrainingApp(ClassificationTrainingApp):
    """Trains `MalignancyModel` on the chapters' kind of patients: size says less about it in varied ones."""

    def initTrainDl(self):
        theirs, stride = patients_of("usual"), self.cli_args.val_stride
        infos = [c for c in getCandidateInfoList() if c.series_uid in theirs]
        infos = [c for c in infos if not is_held_out(c.series_uid, stride)]
        dataset = MalignantLunaDataset(ratio_int=int(self.cli_args.balanced), candidateInfo_list=infos)
        return self.make_loader(dataset, shuffle=True)


TRAININGS = {
    "segmentation": BallTargetTrainingApp,
    "classification": HardNegativeTrainingApp,
    "second": SecondClassifierTrainingApp,
    "small": SmallCropTrainingApp,
}


def main(arguments=None):
    """The command: the training's name, then its options. Raises `UserError` for an unknown name."""
    words = sys.argv[1:] if arguments is None else arguments
    name = words[0] if words else ""
    if name not in TRAININGS:
        raise UserError(f"there is no training '{name}'; name one of {', '.join(TRAININGS)}")
    TRAININGS[name](words[1:]).main()


if __name__ == "__main__":
    main_guard(main)
