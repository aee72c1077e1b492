"""Chapter 14's analysis, which tells on the way how far it is."""

from torch import nn

from p2ch14.pipeline import NodulePipeline


class WatchedAnalysis(NodulePipeline):
    """Chapter 14's analysis, which calls `watch(stage, share)` after every batch of its networks.

    `share` runs from 0 to 1 in each stage. One classifier looks at every candidate, and what deserves further
    looks is known only when it has answered: so its first looks are the first half of the classification's share,
    which grows with every further batch afterwards, ever more slowly.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.watch = lambda stage, share: None
        self._stage, self._total, self._done, self._later = "", 1, 0, 0
        for model in [part for part in vars(self).values() if isinstance(part, nn.Module)]:
            model.register_forward_hook(self._count)

    def segment_ct(self, ct, lungs=None, batch_size=None):
        self._begin("segmentation", len(ct.hu_a))
        return super().segment_ct(ct, lungs, batch_size)

    def classify_candidates(self, ct, findings):
        self._begin("classification", len(findings))
        return super().classify_candidates(ct, findings)

    @property
    def _sees_all(self):
        return self.second_model if self.second_decides else self.cls_model

    def _begin(self, stage, total):
        self._stage, self._total, self._done, self._later = stage, max(total, 1), 0, 0
        self.watch(stage, 0.0)

    def _count(self, model, inputs, _outputs):
        if model is self.seg_model:
            self._done += len(inputs[0])
            share = min(self._done / self._total, 1.0)
        elif self._done < self._total and model is self._sees_all:
            self._done += len(inputs[0])
            share = 0.5 * min(self._done / self._total, 1.0)
        else:
            self._later += 1
            share = 1 - 0.5 * 0.8**self._later
        self.watch(self._stage, share)
