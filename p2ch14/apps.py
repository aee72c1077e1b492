"""What the chapter's two commands have in common: networks by name and weights, and loaders of what they see."""

import argparse
import inspect
from pathlib import Path

from torch.utils.data import DataLoader

from p2ch10.dsets import LunaDataset
from p2ch13.dsets import Luna2dSegmentationDataset
from p2ch14.dsets import series_of
from p2ch14.grouping import WAYS
from p2ch14.model import LunaModel
from p2ch14.pipeline import NodulePipeline
from p2ch14.weights import SHIPPED_CLASSIFIER, SHIPPED_MALIGNANCY, SHIPPED_SEGMENTATION
from util.errors import UserError


class PipelineApp:
    """A command around a `NodulePipeline`; a variant adds its options, and what it does with the pipeline.

    sys_argv: the command line as a list of words, or None for this process's own. Raises `UserError` for options
    that make no sense, and for weights that are missing or of another model.
    """

    def __init__(self, sys_argv=None):
        parser = argparse.ArgumentParser(
            description=inspect.getmodule(type(self)).__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_arguments(parser)
        self.cli_args = parser.parse_args(sys_argv)
        self.check()
        self.initModels()

    def add_arguments(self, parser):
        """Declare the command line: which networks, which scans of the LUNA data, and how much at a time."""
        add = parser.add_argument
        add("--segmentation-path", metavar="P", help="weights of UNetWrapper; by default the shipped ones")
        add("--classification-path", metavar="P", help="weights of LunaModel; likewise")
        add(
            "--second-path",
            metavar="P",
            help="weights of SecondClassifier; by default what the classifier's file names",
        )
        add("--malignancy-path", metavar="P", help="weights of LunaModel trained on malignancy; likewise")
        add("--cls-model", default="LunaModel", metavar="NAME", help="class of the classifier: LunaModel")
        add("--malignancy-model", default="LunaModel", metavar="NAME", help="likewise")
        add(
            "--threshold",
            type=float,
            help="least probability of a nodule; by default the one in the classifier's file, else 0.5",
        )
        add("--grouping", choices=WAYS, help="of the mask; by default as the U-Net's file has it")
        add("--mask-threshold", type=float, metavar="P", help="likewise")
        add("--include-train", action="store_true", help="besides held-out scans those of the training")
        add("--val-stride", type=int, default=5, help="as in training")
        add("--batch-size", type=int, metavar="N", help="crops at a time; by default what suits the device")
        add("--num-workers", type=int, default=0, metavar="N", help="of the loaders that a notebook asks for")
        add("--device", help="such as cpu or cuda:1; the course chooses by default")
        add("--tb-prefix", metavar="NAME", help="refused: nothing is written for TensorBoard")

    def check(self):
        """Raise `UserError` for the first option that makes no sense."""
        args = self.cli_args
        for option, name in (("--cls-model", args.cls_model), ("--malignancy-model", args.malignancy_model)):
            if name != LunaModel.__name__:
                raise UserError(f"{option} {name}: the course has only LunaModel; leave the option out")
        if args.tb_prefix is not None:
            raise UserError("--tb-prefix: nothing is written for TensorBoard here; leave the option out")
        for name, least in (("batch_size", 1), ("num_workers", 0), ("val_stride", 1)):
            value = getattr(args, name)
            if value is not None and value < least:
                option = "--" + name.replace("_", "-")
                raise UserError(f"{option} is {value}; give a whole number of at least {least}")

    def held_out(self) -> list[str]:
        """Series UIDs of the held-out LUNA scans and, with `--include-train`, the others; `UserError` without any."""
        args = self.cli_args
        names = series_of(args.val_stride)
        if not names:
            raise UserError(
                f"none of the scans on disk is held out by --val-stride {args.val_stride}; "
                "a smaller one holds out more (1: all), or get more scans"
            )
        return names + (series_of(args.val_stride, held_out=False) if args.include_train else [])

    def initModelPath(self, type_str) -> Path:
        """The weights file of a network: "seg", "cls" or "mal"; the shipped one unless an option names another."""
        given, shipped = {
            "seg": (self.cli_args.segmentation_path, SHIPPED_SEGMENTATION),
            "cls": (self.cli_args.classification_path, SHIPPED_CLASSIFIER),
            "mal": (self.cli_args.malignancy_path, SHIPPED_MALIGNANCY),
        }[type_str]
        return Path(given) if given else shipped

    def initModels(self):
        """Build the pipeline; answers its U-Net, classifier and malignancy network (or None), ready to use."""
        args, malignancy = self.cli_args, self.initModelPath("mal")
        self.pipeline = NodulePipeline(
            self.initModelPath("seg"),
            self.initModelPath("cls"),
            malignancy if args.malignancy_path or malignancy.is_file() else None,
            device=args.device,
            threshold=args.threshold,
            grouping=args.grouping,
            mask_threshold=args.mask_threshold,
            batch_size=args.batch_size,
            second=args.second_path,
        )
        self.seg_model = self.pipeline.seg_model
        self.cls_model = self.pipeline.cls_model
        self.malignancy_model = self.pipeline.malignancy_model
        return self.seg_model, self.cls_model, self.malignancy_model

    def initSegmentationDl(self, series_uid) -> DataLoader:
        """Every slice of a LUNA scan with its context, in order: batches as chapter 13's dataset has them."""
        dataset = Luna2dSegmentationDataset(series_uid=series_uid, fullCt_bool=True)
        return DataLoader(dataset, self.pipeline.batch_size, num_workers=self.cli_args.num_workers)

    def initClassificationDl(self, candidateInfo_list) -> DataLoader:
        """The crops around candidates of the LUNA data, by scan: batches as chapter 10's dataset has them."""
        dataset = LunaDataset(sortby_str="series_uid", candidateInfo_list=candidateInfo_list)
        return DataLoader(dataset, self.pipeline.batch_size, num_workers=self.cli_args.num_workers)
