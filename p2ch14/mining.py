"""Hard examples: train the classifier on what the segmentation really proposes.

    python -m p2ch14.mining --balanced --augmented --epochs 2 --start data/p2ch14/classification.safetensors

LUNA's candidates are places where other systems fired, centred by them. The U-Net proposes other
places, and its centres are off by a few millimetres; a classifier that never saw such crops is sure of
the wrong things. So the U-Net is run over the training scans, its proposals are labelled by LUNA16's
rule, and they join the candidates.
"""

import numpy as np

from p2ch10.dsets import CandidateInfoTuple, LunaDataset, getCandidateInfoList, getCt, is_held_out
from p2ch11.training import load_weights
from p2ch12.training import BalancedLunaTrainingApp
from p2ch14.nodule_analysis import NoduleAnalysisApp, series_of
from p2ch14.scoring import truth_by_series
from util.files import UserError, main_guard
from util.progress import enumerateWithEstimate

AMBIGUOUS_MM = 3.0  # a centre that misses the nodule by less than this teaches neither


def label_findings(findings, nodules, series_uid, ambiguous_mm=AMBIGUOUS_MM) -> list[CandidateInfoTuple]:
    """Findings as candidates: nodules where they hit one, others where they are clear of all.

    findings: with `center_xyz` and `diameter_mm`; nodules: with `center_xyz` and `diameter_mm`. What lies
    between a nodule's radius and `ambiguous_mm` beyond it is left out.
    """
    candidates = []
    places = np.array([nodule.center_xyz for nodule in nodules]).reshape(-1, 3)
    radius = np.array([nodule.diameter_mm / 2 for nodule in nodules])
    for finding in findings:
        beyond = np.linalg.norm(places - np.array(finding.center_xyz), axis=1) - radius
        is_nodule = bool((beyond < 0).any())
        if is_nodule or (beyond > ambiguous_mm).all():
            size = finding.diameter_mm if is_nodule else 0.0
            candidates.append(
                CandidateInfoTuple(is_nodule, False, False, size, series_uid, tuple(finding.center_xyz))
            )
    return candidates


def mine(app: NoduleAnalysisApp, series) -> list[CandidateInfoTuple]:
    """What `app`'s U-Net proposes in the scans `series`, labelled by the annotations."""
    truth = truth_by_series()
    mined = []
    for _, series_uid in enumerateWithEstimate(series, "mining"):
        ct = getCt(series_uid)
        findings = app.group_segmentation_output(ct, app.segment_ct(ct))
        mined += label_findings(findings, truth[series_uid], series_uid)
    return mined


class HardExampleTrainingApp(BalancedLunaTrainingApp):
    """Trains `LunaModel` on candidates and on what the U-Net proposes in the training scans."""

    chapter = "p2ch14"

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--start", metavar="P", help="carry on from these weights of LunaModel")
        parser.add_argument("--segmentation-path", metavar="P", help="the U-Net; by default the shipped one")
        parser.add_argument("--mine-scans", type=int, default=0, metavar="N", help="at most; 0: all")

    def initModel(self):
        model = super().initModel()
        return load_weights(model, self.cli_args.start) if self.cli_args.start else model

    def initTrainDl(self):
        args = self.cli_args
        app = NoduleAnalysisApp(args.segmentation_path, device=str(self.device))
        series = series_of(args.val_stride, held_out=False)
        mined = mine(app, series[: args.mine_scans] if args.mine_scans else series)
        positive = sum(candidate.isNodule_bool for candidate in mined)
        if not mined:
            raise UserError(
                "the U-Net proposed nothing in the training scans; train it first (p2ch13.training)"
            )
        self.say(f"mined {len(mined)} candidates, {positive} of them nodules")
        listed = [c for c in getCandidateInfoList() if not is_held_out(c.series_uid, args.val_stride)]
        dataset = LunaDataset(ratio_int=int(args.balanced), candidateInfo_list=listed + mined)
        return self.make_loader(dataset, shuffle=True)


if __name__ == "__main__":
    main_guard(lambda: HardExampleTrainingApp().main() and None)
