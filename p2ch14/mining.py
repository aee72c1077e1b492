"""Hard examples: train the classifier on what the segmentation really proposes.

    python -m p2ch14.mining --balanced --augmented --epochs 2 --start data/p2ch14/classification.safetensors

LUNA's candidates are places where other systems fired, centred by them. The U-Net proposes other
places, and its centres are off by a few millimetres; a classifier that never saw such crops is sure of
the wrong things. So the U-Net is run over the training scans, its proposals are labelled by LUNA16's
rule, and they join the candidates.
"""

import json
import random
from pathlib import Path

import numpy as np

from p2ch10.dsets import CandidateInfoTuple, getCandidateInfoList, getCt, is_held_out
from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p2ch12.dsets import LunaDataset
from p2ch12.training import BalancedLunaTrainingApp
from p2ch14.malignancy import judge
from p2ch14.nodule_analysis import NoduleAnalysisApp, series_of
from p2ch14.refined import without_irrelevant
from p2ch14.scoring import irrelevant_findings, is_irrelevant, truth_by_series
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.util import enumerateWithEstimate

HARD = 0.02  # what is no nodule is hard from this probability on
AMBIGUOUS_MM = 3.0  # a centre that misses the nodule by less than this teaches neither


def label_findings(
    findings, nodules, series_uid, ambiguous_mm=AMBIGUOUS_MM, irrelevant=()
) -> list[CandidateInfoTuple]:
    """Findings as candidates: nodules where they hit one, others where they are clear of all.

    findings: with `center_xyz` and `diameter_mm`; nodules: with `center_xyz` and `diameter_mm`; irrelevant:
    (n, 4) array of x, y, z, diameter in mm. What lies between a nodule's radius and `ambiguous_mm` beyond
    it is left out, and so is what lies on an irrelevant finding.
    """
    candidates = []
    places = np.array([nodule.center_xyz for nodule in nodules]).reshape(-1, 3)
    radius = np.array([nodule.diameter_mm / 2 for nodule in nodules])
    for finding in findings:
        beyond = np.linalg.norm(places - np.array(finding.center_xyz), axis=1) - radius
        is_nodule = bool((beyond < 0).any())
        is_clear = (beyond > ambiguous_mm).all() and not is_irrelevant(finding.center_xyz, irrelevant)
        if is_nodule or is_clear:
            size = finding.diameter_mm if is_nodule else 0.0
            candidates.append(
                CandidateInfoTuple(is_nodule, False, False, size, series_uid, tuple(finding.center_xyz))
            )
    return candidates


def mine(app: NoduleAnalysisApp, series) -> list[CandidateInfoTuple]:
    """What `app`'s U-Net proposes in the scans `series`, labelled by the annotations."""
    truth, irrelevant = truth_by_series(), irrelevant_findings()
    mined = []
    for _, series_uid in enumerateWithEstimate(series, "mining"):
        ct = getCt(series_uid)
        findings = app.group_segmentation_output(ct, app.segment_ct(ct))
        mined += label_findings(
            findings, truth[series_uid], series_uid, irrelevant=irrelevant.get(series_uid, ())
        )
    return mined


def kept(path, make) -> list[CandidateInfoTuple]:
    """What `make` answers, kept in the JSON file `path` if one is named: mining takes its time."""
    if path is None:
        return make()
    path = Path(path)
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(make()), encoding="utf-8")
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [CandidateInfoTuple(*row[:5], tuple(row[5])) for row in rows]


class HardExampleTrainingApp(BalancedLunaTrainingApp):
    """Trains `LunaModel` on candidates and on what the U-Net proposes in the training scans."""

    chapter = "p2ch14"

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--start", metavar="P", help="carry on from these weights of LunaModel")
        parser.add_argument("--segmentation-path", metavar="P", help="the U-Net; by default the shipped one")
        parser.add_argument("--mine-scans", type=int, default=0, metavar="N", help="at most; 0: all")
        parser.add_argument(
            "--mined", metavar="F", help="keep what is mined in this file, or take it from there"
        )
        parser.add_argument(
            "--hard-from", metavar="P", help="train on what these weights of LunaModel find hard"
        )
        parser.add_argument(
            "--hard", metavar="F", help="keep those examples in this file, or take them from there"
        )

    def initModel(self):
        model = super().initModel()
        return load_weights(model, self.cli_args.start) if self.cli_args.start else model

    def initTrainDl(self):
        candidates = kept(self.cli_args.hard, self.examples)
        return self.make_train_loader(self.dataset_of(candidates))

    def dataset_of(self, candidates):
        """The dataset of these candidates; a variant may see them in another way."""
        return LunaDataset(ratio_int=int(self.cli_args.balanced), candidateInfo_list=candidates)

    def mined(self) -> list[CandidateInfoTuple]:
        """What the U-Net proposes in the training scans."""
        args = self.cli_args
        series = series_of(args.val_stride, held_out=False)
        app = NoduleAnalysisApp(args.segmentation_path, device=str(self.device))
        return mine(app, series[: args.mine_scans] if args.mine_scans else series)

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
        listed = [c for c in getCandidateInfoList() if not is_held_out(c.series_uid, args.val_stride)]
        listed = without_irrelevant(listed)
        if not args.hard_from:
            return listed + mined
        nodules = [c for c in listed + mined if c.isNodule_bool]
        # As many of LUNA's candidates as were mined: judging all of them would take longer than training.
        others = [c for c in listed if not c.isNodule_bool]
        others = random.Random(args.seed).sample(others, min(len(others), len(mined)))
        return nodules + self.hardest(others + [c for c in mined if not c.isNodule_bool])

    def hardest(self, others) -> list[CandidateInfoTuple]:
        """Those of `others`, which are no nodules, that `--hard-from` is not sure of, and as many more."""
        model = self.to_device(load_weights(LunaModel(), self.cli_args.hard_from))
        dataset = LunaDataset(candidateInfo_list=others)
        is_hard = judge(model, dataset, device=str(self.device)) >= HARD
        hard = [c for c, it_is in zip(dataset.candidateInfo_list, is_hard) if it_is]
        easy = [c for c, it_is in zip(dataset.candidateInfo_list, is_hard) if not it_is]
        self.say(f"{len(hard)} of {len(others)} that are no nodules are hard")
        return hard + easy[: len(hard)]


if __name__ == "__main__":
    main_guard(lambda: HardExampleTrainingApp().main() and None)
