"""How many false candidates does the segmentation propose, and how many does the classifier let pass? (chapter 14)

    python -m p2ch14.check_nodule_fp_rate

A candidate is false by LUNA16's rule (`p2ch14.hits`): it lies on no nodule and on no irrelevant finding.
"""

import numpy as np
import torch
from torch.nn import functional as F

from p2ch10.dsets import CandidateInfoTuple, getCt
from p2ch14.apps import PipelineApp
from p2ch14.scoring import irrelevant_findings, outcome_of, truth_by_series
from util.errors import main_guard


class FalsePosRateCheckApp(PipelineApp):
    """Counts false candidates of held-out scans before and after the classifier. Arguments as for `PipelineApp`."""

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--series-uid", metavar="UID", help="only this scan of the LUNA data")

    def segmentCt(self, series_uid) -> torch.Tensor:
        """The suspicious voxels of a LUNA scan, bool (I, R, C), on the device that computes."""
        return torch.from_numpy(self.pipeline.segment_ct(getCt(series_uid))).to(self.pipeline.device)

    def erode(self, input_mask, radius, threshold=1):
        """The voxels around which at least the share `threshold` of a cube is marked: bool (I, R, C).

        input_mask: bool tensor (I, R, C). The cube reaches `radius` voxels to every side; outside of the scan
        nothing is marked. With `threshold=1` all of it must be marked, which is an erosion.
        """
        marked = input_mask[None, None].float()
        share = F.avg_pool3d(marked, 2 * radius + 1, stride=1, padding=radius)[0, 0]
        return share >= threshold - 1e-6

    def clusterSegmentationOutput(self, series_uid, ct, clean_g) -> list[CandidateInfoTuple]:
        """Neighbouring voxels of a mask, bool (I, R, C), as one candidate each: see `p2ch14.grouping`."""
        mask = np.asarray(torch.as_tensor(clean_g).cpu())
        return [
            CandidateInfoTuple(False, False, False, finding.diameter_mm, series_uid, finding.center_xyz)
            for finding in self.pipeline.group_segmentation_output(ct, mask)
        ]

    def main(self) -> dict[str, float]:
        """Print the counts of each scan and their sums; returns the sums and the rate at which false ones pass."""
        truth, irrelevant = truth_by_series(), irrelevant_findings()
        args = self.cli_args
        names = [args.series_uid] if args.series_uid else self.held_out()
        print(f"{'scan':>14}  candidates  false  false that pass")
        sums = np.zeros(3, dtype=int)
        for series_uid in names:
            ct = getCt(series_uid)
            candidates = self.clusterSegmentationOutput(series_uid, ct, self.segmentCt(series_uid))
            findings = self.pipeline.classify_points(ct, candidates).findings
            seen = outcome_of(findings, truth.get(series_uid, []), irrelevant.get(series_uid, ()))
            passes = np.array([f.probability >= self.pipeline.threshold for f in findings], dtype=bool)
            counts = len(findings), int(seen.is_false.sum()), int((seen.is_false & passes).sum())
            sums += counts
            print(f"{'…' + series_uid[-12:]:>14}  {counts[0]:10}  {counts[1]:5}  {counts[2]:15}")
        candidates, false, passed = sums.tolist()
        rate = passed / max(false, 1)
        print(f"{'all':>14}  {candidates:10}  {false:5}  {passed:15}")
        print(f"{passed / len(names):.1f} false positives per scan; {rate:.2%} of the false candidates pass")
        return {"candidates": candidates, "false": false, "passed": passed, "rate": rate}


if __name__ == "__main__":
    main_guard(lambda: FalsePosRateCheckApp().main() and None)
