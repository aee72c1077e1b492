"""Chapter 14's analysis, which tells on the way how far it is."""

from p2ch14.pipeline import NodulePipeline


class WatchedAnalysis(NodulePipeline):
    """Chapter 14's analysis, which calls `watch(stage, share)` after every batch of its networks."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.watch = lambda stage, share: None
        self._stage, self._total, self._done = "", 1, 0
        for model in (self.seg_model, self.cls_model):
            model.register_forward_hook(self._count)

    def segment_ct(self, ct, lungs=None, batch_size=None):
        self._begin("segmentation", len(ct.hu_a))
        return super().segment_ct(ct, lungs, batch_size)

    def classify_candidates(self, ct, findings):
        self._begin("classification", len(findings))
        return super().classify_candidates(ct, findings)

    def _begin(self, stage, total):
        self._stage, self._total, self._done = stage, max(total, 1), 0
        self.watch(stage, 0.0)

    def _count(self, _model, inputs, _outputs):
        self._done += len(inputs[0])
        self.watch(self._stage, min(self._done / self._total, 1.0))
