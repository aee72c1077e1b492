"""A scan's whole way from voxels to nodules: segment, group, classify (chapter 14)."""

import time
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit, log_expit

from p2ch10.ct import CROP_IRC, Ct
from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p2ch13.lungs import Lungs
from p2ch13.model import UNetWrapper
from p2ch13.segment import segment
from p2ch14.axes import axes_of
from p2ch14.findings import Finding, ScanResult, without_repeats
from p2ch14.grouping import beside_lungs, group_voxels
from p2ch14.limits import limits_of
from p2ch14.resampling import resampled_crop
from p2ch14.second_classifier import SMALL_CROP_IRC, SecondClassifier, ensemble
from p2ch14.size import with_size
from p2ch14.weights import (
    SHIPPED_CLASSIFIER,
    SHIPPED_MALIGNANCY,
    SHIPPED_SEGMENTATION,
    load_malignancy,
    settings_of,
)
from util.runtime import get_device, give_back_freed_memory, has_fast_bfloat16
from util.util import enumerateWithEstimate

# Where both classifiers count, the second is asked about candidates from this probability of the first on; the
# others are rejected at first sight.
SECOND_FROM = 0.005
MIRRORS = ((2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4))  # axes of (N, 1, D, H, W) to flip


class NodulePipeline:
    """Segments, groups and classifies; says of what it calls a nodule how likely it is malignant.

    segmentation, classification, malignancy: weights files (`.state` or safetensors); the shipped ones
    by default. second: weights of `SecondClassifier`, used as the settings in its file say; by default what the
    classifier's file names, or none. device: as `util.runtime.get_device` takes it. threshold: the least
    probability of a nodule, by default the one in the classifier's file. grouping, mask_threshold: likewise, in
    the U-Net's file. batch_size: crops at a time; by default what suits the device. Raises `UserError` for
    weights that are missing or of another model.
    """

    def __init__(
        self,
        segmentation=None,
        classification=None,
        malignancy=None,
        device=None,
        threshold=None,
        grouping=None,
        mask_threshold=None,
        batch_size=None,
        second=None,
    ):
        self.device = get_device(device)
        self.use_bfloat16 = has_fast_bfloat16(self.device)
        self.batch_size = batch_size or self._batch_size(cpu=8, gpu=64)
        segmentation = segmentation or SHIPPED_SEGMENTATION
        settings = settings_of(segmentation)
        self.grouping = grouping or settings.grouping
        self.mask_threshold = settings.mask_threshold if mask_threshold is None else mask_threshold
        self.seg_model = self._ready(UNetWrapper(), segmentation, torch.channels_last)
        classification = Path(classification or SHIPPED_CLASSIFIER)
        settings = settings_of(classification)
        self.threshold = settings.threshold if threshold is None else threshold
        self.cls_model = self._ready(LunaModel(), classification, torch.channels_last_3d)
        self.second_model, self.second_settings = None, None
        if second is None and settings.second_classifier:
            second = classification.with_name(settings.second_classifier)
        if second is not None:
            self.second_model = self._ready(SecondClassifier(), second, torch.channels_last_3d)
            self.second_settings = settings_of(second)
        self.malignancy_model, self.malignancy_crop_irc, self.size_weights = None, None, None
        if malignancy is None and SHIPPED_MALIGNANCY.is_file():
            malignancy = SHIPPED_MALIGNANCY
        if malignancy is not None:
            model, is_resampled = load_malignancy(malignancy)
            self.malignancy_model = self._placed(model, torch.channels_last_3d)
            self.malignancy_crop_irc = CROP_IRC if is_resampled else None
            self.size_weights = settings_of(malignancy).size_weights

    def _ready(self, model, path, memory_format):
        return self._placed(load_weights(model, path), memory_format)

    def _placed(self, model, memory_format):
        return model.to(self.device).to(memory_format=memory_format).eval()

    def _batch_size(self, cpu, gpu):
        """A CPU wants what its cache holds, a GPU enough to keep it busy."""
        return cpu if self.device.type == "cpu" else gpu

    def analyse(self, ct: Ct, path="", mask=None) -> ScanResult:
        """The whole way for one scan, called `path` in reports; findings are sorted by probability.

        mask: what `segment_ct` gives, where it is known already.
        """
        start = time.perf_counter()
        lungs = Lungs(ct.hu_a)
        mask = self.segment_ct(ct, lungs) if mask is None else mask
        findings = self.group_segmentation_output(ct, mask, lungs)
        self.classify_candidates(ct, findings)
        findings.sort(key=lambda finding: -finding.logit)
        if self.grouping == "split":
            findings = without_repeats(findings)
        for finding in findings:
            if finding.probability >= self.threshold:
                finding.axes_mm = axes_of(finding.voxels, ct.hu_a.shape, ct.geometry.spacing_irc)[:2]
        warnings = limits_of(ct, lungs)
        give_back_freed_memory()
        return ScanResult(ct.series_uid, str(path), time.perf_counter() - start, findings, warnings, lungs)

    def segment_ct(self, ct: Ct, lungs=None, batch_size=None) -> np.ndarray:
        """Suspicious voxels of a scan, bool (I, R, C), of the scan's shape: chapter 13's `segment`.

        lungs: the scan's `Lungs` where they have been found already. batch_size: slices at a time; by default
        what suits the device.
        """
        batch_size = batch_size or self._batch_size(cpu=2, gpu=8)
        mask = segment(self.seg_model, ct.hu_a, self.mask_threshold, batch_size, self.use_bfloat16, lungs)
        give_back_freed_memory()
        return mask

    def group_segmentation_output(self, ct: Ct, mask, lungs=None) -> list[Finding]:
        """Neighbouring voxels become one candidate each (chapter 14, "Grouping voxels").

        mask: bool (I, R, C). lungs: as in `segment_ct`. How: see `p2ch14.grouping`.
        """
        spacing_irc = ct.geometry.spacing_irc
        groups = group_voxels(ct.hu_a, mask, spacing_irc, self.grouping)
        if self.grouping == "split":
            groups = beside_lungs(groups, lungs or Lungs(ct.hu_a), spacing_irc)
        return [
            Finding(
                group.center_irc,
                tuple(ct.geometry.irc2xyz(group.center_irc)),
                group.diameter_mm,
                voxels=group.voxels,
            )
            for group in groups
        ]

    def classify_points(self, ct: Ct, points, path="") -> ScanResult:
        """What the networks say of given places: a finding for each of `points`, in their order.

        points: with `center_xyz` in mm and `diameter_mm`, or None or 0 for that. LUNA16 calls this the false positive
        reduction track. Malignancy is judged of every point. Raises `UserError` for one outside the scan.
        """
        start = time.perf_counter()
        findings = [
            Finding(ct.geometry.xyz2irc(point.center_xyz), point.center_xyz, point.diameter_mm or None)
            for point in points
        ]
        self.judge_candidates(ct, findings)
        self.judge_malignancy(ct, findings)
        seconds = time.perf_counter() - start
        return ScanResult(ct.series_uid, str(path), seconds, findings, limits_of(ct))

    def classify_candidates(self, ct: Ct, findings):
        """Fill in each finding's logit and, with a malignancy network, a nodule's malignancy."""
        self.judge_candidates(ct, findings)
        self.judge_malignancy(ct, [f for f in findings if f.probability >= self.threshold])

    def judge_candidates(self, ct, findings):
        """Fill in each finding's logit."""
        suspects = findings
        if not self.second_decides:
            for finding, logit in zip(findings, self.logits_of(self.cls_model, ct, findings)):
                finding.logit = float(logit)
            suspects = [finding for finding in findings if finding.probability >= SECOND_FROM]
        if self.second_model:
            self._ask_second(ct, suspects)

    @property
    def second_decides(self):
        """Whether the second classifier's word is all that counts, so that the first need not be asked."""
        return self.second_model is not None and self.second_settings.share == 1

    def judge_malignancy(self, ct, nodules):
        """Fill in how likely each of these findings is malignant; nothing happens without such a network."""
        if self.malignancy_model is None:
            return
        logits = self.logits_of(self.malignancy_model, ct, nodules, self.malignancy_crop_irc)
        for nodule, malignancy in zip(nodules, expit(logits.astype(np.float64))):
            if self.size_weights and nodule.diameter_mm is not None:
                malignancy = with_size(malignancy, nodule.diameter_mm, self.size_weights)
            nodule.malignancy = float(malignancy)

    def _ask_second(self, ct, suspects):
        """Join what the second classifier says of these findings to what the first said, if that counts.

        Chapter 14, "Competition results": the ensemble.
        """
        logits = self.logits_of(self.second_model, ct, suspects, SMALL_CROP_IRC)
        for finding, logit in zip(suspects, logits):
            logit = mean_logit(self.second_logits_in_views(ct, finding, logit))
            finding.logit = float(ensemble(finding.logit, logit, self.second_settings.share))

    def second_logits_in_views(self, ct, finding, logit) -> np.ndarray:
        """The second classifier's logit of one finding in as many views as it deserves, float32 (n,).

        Chapter 14, "Preventing overfitting": test-time augmentation, since a nodule is one in a mirror and from
        farther away, too. Only who is suspected after one step is seen in the next: the usual view, whose `logit` is
        given; all extents; all of those in all mirror images.
        """
        settings = self.second_settings
        logits = np.array([logit], dtype=np.float32)
        if expit(logit) < settings.viewed_from:
            return logits
        crops_t = torch.stack([crop_of(ct, finding, SMALL_CROP_IRC, e) for e in settings.extents])[:, None]
        others_t = crops_t[[extent != 1 for extent in settings.extents]]
        if len(others_t):
            logits = np.concatenate([logits, self._logits(self.second_model, others_t)])
        if expit(mean_logit(logits)) < settings.mirrored_from:
            return logits
        mirrored_t = torch.cat([crops_t.flip(axes) for axes in MIRRORS])
        return np.concatenate([logits, self._logits(self.second_model, mirrored_t)])

    def logits_of(self, model, ct, findings, crop_irc=None) -> np.ndarray:
        """The logit of class 1 for the crop around each finding, float32 (n,).

        crop_irc: None for crops of the scan's own voxels, else the size of resampled ones.
        """
        logits = [np.empty(0, np.float32)]
        starts = range(0, len(findings), self.batch_size)
        for _, start in enumerateWithEstimate(starts, "classification"):
            part = findings[start : start + self.batch_size]
            crops_t = torch.stack([crop_of(ct, finding, crop_irc) for finding in part])
            logits.append(self._logits(model, crops_t[:, None]))
        return np.concatenate(logits)

    @torch.inference_mode()
    def _logits(self, model, crops_t):
        """For crops (N, 1, D, H, W): by how much class 1's logit exceeds class 0's, float32 (N,).

        The probability is its sigmoid. Ranked by probability in float32, all that is surer than 1 - 3e-8 would
        tie.
        """
        logits = []
        for part_t in crops_t.split(self.batch_size):
            input_g = part_t.to(self.device, memory_format=torch.channels_last_3d)
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.use_bfloat16):
                both_g = model(input_g)[0].float()  # (N, 2)
            logits.append((both_g[:, 1] - both_g[:, 0]).cpu().numpy())
        return np.concatenate(logits)


def mean_logit(logits) -> float:
    """The logit of the mean of several probabilities, which are given as logits, too (n,)."""
    logits = np.asarray(logits, dtype=np.float64)
    return float(np.logaddexp.reduce(log_expit(logits)) - np.logaddexp.reduce(log_expit(-logits)))


def crop_of(ct, finding, crop_irc=None, extent=1.0):
    """The crop around a finding, float32 HU: the scan's own voxels (32, 48, 48), or resampled to `crop_irc`.

    extent: of a resampled crop, as for `resampled_crop`.
    """

    def cut(width):
        return ct.getRawCandidate(finding.center_xyz, tuple(width))[0]

    if crop_irc:
        return resampled_crop(cut, ct.geometry.spacing_irc, crop_irc, extent)
    return torch.from_numpy(cut(CROP_IRC).astype(np.float32))
