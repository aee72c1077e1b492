"""The classifier under BentoML: the same three wishes, said in another way.

    python -m p3ch15.serve bento               or: bentoml serve p3ch15.serve.bento_app:Nodules

POST `{"crops": [...]}`, a list of crops, to `/predict`. BentoML lays the requests of several clients end to
end and divides the answers: hence a list, even for one crop. Autoscaling is not part of the open engine: it
belongs to Kubernetes or to the makers' own cloud.
"""

from typing import Annotated

import bentoml
import numpy as np
import torch
from pydantic import AfterValidator

from p3ch15.classifier import CropClassifier
from p3ch15.server.inputs import checked_crops


@bentoml.service(workers=1, traffic={"timeout": 30, "max_concurrency": 256})
class Nodules:
    """One worker process: a network, and a queue in front of it."""

    def __init__(self):
        torch.set_num_threads(1)
        self.classify = CropClassifier()

    # Checked for each request by itself: one that fails in the batch would fail the others, too.
    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=1000)
    def predict(self, crops: Annotated[np.ndarray, AfterValidator(checked_crops)]) -> np.ndarray:
        """Crops (N, 32, 48, 48) HU -> probabilities (N,)."""
        return np.array(self.classify(list(crops)), dtype=np.float32)
