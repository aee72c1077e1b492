"""Where tracing goes wrong, and two ways to mend it (chapter 15, "Scripting the gaps of traceability").

Test-time augmentation for some: crops of which the classifier is unsure are computed once more, mirrored, and
the two answers averaged. Whether that happens depends on the *values*, and that is what tracing cannot see.
"""

import torch
from torch import nn


class FlipWhenUnsure(nn.Module):
    """`model` (a `LunaModel`), averaged with its answer to mirror images where it is unsure.

    (N, 1, 32, 48, 48) HU -> (N, 2) logits. unsure: probabilities from `unsure` to 1 - `unsure` are.
    Works in eager PyTorch and scripted; traced, it silently keeps whichever way the example went.
    """

    def __init__(self, model, unsure: float = 0.05):
        super().__init__()
        self.model = model
        self.unsure = unsure

    def forward(self, crops):
        logits, probabilities = self.model(crops)
        nodule = probabilities[:, 1]
        is_unsure = (nodule > self.unsure) & (nodule < 1 - self.unsure)  # (N,)
        if is_unsure.any():
            mirrored = self.model(crops.flip(4))[0]
            logits = torch.where(is_unsure[:, None], (logits + mirrored) / 2, logits)
        return logits


class FlipWhenUnsureCond(FlipWhenUnsure):
    """The same with `torch.cond`, which `torch.export` understands: both ways become part of the graph."""

    def forward(self, crops):
        logits, probabilities = self.model(crops)
        nodule = probabilities[:, 1]
        is_unsure = (nodule > self.unsure) & (nodule < 1 - self.unsure)

        def look_again(crops, logits, is_unsure):
            mirrored = self.model(crops.flip(4))[0]
            return torch.where(is_unsure[:, None], (logits + mirrored) / 2, logits)

        def leave(crops, logits, is_unsure):
            return logits.clone()

        return torch.cond(is_unsure.any(), look_again, leave, (crops, logits, is_unsure))
