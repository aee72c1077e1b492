"""A second classifier beside chapter 11's (chapter 14, "Competition results and research papers").

Chapter 11's network sees 48 pixels of the scan's own size. This one sees a smaller cube of always the same
millimetres, with twice the channels. Two networks that see different things err in different places, so an
ensemble of both errs less (Dou et al. 2017, "Multilevel contextual 3-D CNNs for false positive reduction in
pulmonary nodule detection"). So do those of `course.py run`; the shipped second one decides alone.
"""

import numpy as np
import torch
from torch import nn

from p2ch11.model import LunaBlock
from p2ch12.augment import augment
from p2ch14.dsets import LunaDataset
from p2ch14.resampling import resampled_candidate, resampled_patch

SMALL_CROP_IRC = (16, 32, 32)  # voxels of `p2ch14.resampling.SPACING_IRC`: a cube of 20 x 22 x 22 mm
SUREST = float(np.log((1 - 1e-6) / 1e-6))  # the logit of all but one in a million


class SecondClassifier(nn.Module):
    """Is there a nodule in the middle of this cube?

    `forward` takes (N, 1, 16, 32, 32) float HU of `p2ch14.resampling.SPACING_IRC` mm and answers
    (logits, probabilities), both (N, 2), float32, as `LunaModel` does.
    """

    def __init__(self, conv_channels=16, dropout=0.3):
        super().__init__()
        self.tail_batchnorm = nn.BatchNorm3d(1)
        self.block1 = LunaBlock(1, conv_channels)
        self.block2 = LunaBlock(conv_channels, conv_channels * 2)
        self.block3 = LunaBlock(conv_channels * 2, conv_channels * 4)
        self.dropout = nn.Dropout(dropout)
        self.head_linear = nn.Linear(conv_channels * 4 * 2 * 4 * 4, 2)
        self.head_softmax = nn.Softmax(dim=1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, input_batch):
        out = self.tail_batchnorm(input_batch)  # (N, 1, 16, 32, 32)
        out = self.block1(out)  # (N, 16, 8, 16, 16)
        out = self.block2(out)  # (N, 32, 4, 8, 8)
        out = self.block3(out)  # (N, 64, 2, 4, 4)
        out = self.dropout(out.flatten(1)).float()  # (N, 2048)
        # Findings are ranked by the difference of the logits, and bfloat16 has only 256 steps between powers of 2.
        with torch.autocast(out.device.type, enabled=False):
            logits = self.head_linear(out)  # (N, 2)
        return logits, self.head_softmax(logits)


class SmallCropDataset(LunaDataset):
    """`LunaDataset` with crops for `SecondClassifier`: float32 (1, 16, 32, 32) HU of equal millimetres."""

    def __getitems__(self, indices):
        infos = map(self.candidate_at, indices)
        return [self.sampleFromCandidateInfo_tup(info, info.isNodule_bool) for info in infos]

    def crop_at(self, info):
        """The crop, or the patch around it where `patch_irc` is set and the training augments it."""
        if self.patch_irc is not None:
            patch_t, center_irc = resampled_patch(info, SMALL_CROP_IRC, self.patch_irc)
            return patch_t[None], center_irc
        crop_t, center_irc = resampled_candidate(info, SMALL_CROP_IRC)
        return augment(crop_t[None, None], self.strengths)[0], center_irc


def ensemble(first, second, share):
    """Two classifiers' logits in one: their mean, in which the second counts for `share`, from 0 to 1.

    first, second: a number or an array. The mean of probabilities would hardly tell a sure answer from a very
    sure one. Lest one network overrule the other, however sure it is, what a logit has beyond `SUREST` counts for
    a thousandth: enough to rank by. With share 1 the first does not count at all, and may be NaN.
    """
    if share == 1:
        return _bounded(second)
    first, second = _bounded(first), _bounded(second)
    return (1 - share) * first + share * second


def _bounded(logit):
    inside = np.clip(logit, -SUREST, SUREST)
    return inside + (logit - inside) / 1000
