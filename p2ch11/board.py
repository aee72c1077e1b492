"""What TensorBoard is given (chapter 11, "Adding TensorBoard support to the metrics logging function")."""

import torch

from util.errors import UserError
from util.paths import shown


def open_writer(folder):
    """A `SummaryWriter` for `folder`, made if need be. Raises `UserError` where it cannot be written."""
    from torch.utils.tensorboard import SummaryWriter

    try:
        return SummaryWriter(log_dir=str(folder))
    except OSError as error:
        raise UserError(
            f"cannot write logs to {shown(folder)} ({error.strerror}); set COURSE_OUTPUT to another folder"
        ) from error


def worst_candidates(dataset, label, score, count):
    """Yield ("missed" or "false_alarm", middle slices) of the candidates that the network judges worst.

    label: bool (N,), score: float (N,), higher is more suspicious, in the order of `dataset`. Slices: at most
    `count` nodules with the lowest scores, others with the highest; (n, 1, H, W) in [0, 1], HU -1000 to 400
    as black to white. Nothing where there is no such candidate.
    """
    for name, members, worst_first in (("missed", label, score), ("false_alarm", ~label, -score)):
        indices = torch.nonzero(members)[:, 0]
        chosen = indices[torch.argsort(worst_first[indices])][:count].tolist()
        if chosen:
            crops = torch.stack([dataset[i][0] for i in chosen])  # (n, 1, D, H, W)
            yield name, ((crops[:, :, crops.shape[2] // 2] + 1000) / 1400).clamp(0, 1)
