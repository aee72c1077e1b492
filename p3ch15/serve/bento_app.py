"""The classifier under BentoML: the same three wishes, said in another way.

    python -m p3ch15.serve bento               or: bentoml serve p3ch15.serve.bento_app:Nodules

POST `{"crops": [text, …]}` to `/predict`, each text a `.npy` file in base64. BentoML lays the
requests of several clients end to end and divides the answers: hence a list, even for one crop. Autoscaling is
not part of the open engine: it belongs to Kubernetes or to the makers' own cloud.
"""

from typing import Annotated

import bentoml
import numpy as np
import torch
from pydantic import AfterValidator

from p3ch15.classifier import CropClassifier
from p3ch15.serve import WORKERS
from p3ch15.server.inputs import MAX_CROPS, crop_from_text
from util.errors import UserError


def checked(texts):
    """The texts, if every one holds a crop. BentoML answers a `ValueError` as the client's fault."""
    try:
        for text in texts:
            crop_from_text(text)
    except UserError as error:
        raise ValueError(str(error)) from error
    if not 1 <= len(texts) <= MAX_CROPS:
        raise ValueError(f"send 1 to {MAX_CROPS} crops")
    return texts


@bentoml.service(workers=WORKERS, traffic={"timeout": 30, "max_concurrency": 256})
class Nodules:
    """One worker process: a network, and a queue in front of it."""

    def __init__(self):
        torch.set_num_threads(1)
        self.classify = CropClassifier()

    # Checked for each request by itself: one that fails in the batch would fail the others, too.
    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=1000)
    def predict(self, crops: Annotated[list[str], AfterValidator(checked)]) -> np.ndarray:
        """Crops, (32, 48, 48) HU each -> probabilities (N,)."""
        return np.array(self.classify([crop_from_text(text) for text in crops]), dtype=np.float32)
