"""Batches for one process or several (chapter 11, "Care and feeding of data loaders")."""

import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from p2ch10.dsets import ScanGroupSampler
from util.errors import UserError


class ShardedBatchSampler(BatchSampler):
    """This process's share of every batch: with several processes, each batch is dealt out like cards.

    All processes draw the same batches, so together they see what one process would. In training the
    shares are made equally large (`is_even`), because the processes wait for each other at every step.
    """

    def __init__(self, sampler, batch_size, rank=0, world_size=1, is_even=False):
        super().__init__(sampler, batch_size, drop_last=False)
        self.rank, self.world_size, self.is_even = rank, world_size, is_even

    def __iter__(self):
        for batch in super().__iter__():
            even = len(batch) - len(batch) % self.world_size if self.is_even else len(batch)
            share = batch[:even][self.rank :: self.world_size]
            if share:
                yield share


def with_nodules(dataset, split):
    """`dataset`, if it holds a nodule; without one, nothing can be learnt or measured: `UserError`."""
    if len(dataset) and not dataset.pos_list:
        raise UserError(
            f"the {split} split holds {len(dataset)} candidates but no nodule; "
            "generate or download more scans, or change --val-stride"
        )
    return dataset


def make_loader(
    app, dataset, shuffle: bool, is_even: bool | None = None, batch_size: int | None = None
) -> DataLoader:
    """Batches of `dataset` for the training `app`. is_even: as in `ShardedBatchSampler`; by default where it shuffles.

    batch_size: samples at a time, of all processes together; by default `--batch-size`. Raises `UserError` for a
    dataset without items.
    """
    if len(dataset) == 0:
        raise UserError("a split has no samples; generate or download more scans, or change --val-stride")
    # A generator of its own: whatever else draws random numbers, all processes draw the same batches.
    generator = torch.Generator()
    if not shuffle:
        sampler = SequentialSampler(dataset)
    elif app.cli_args.scans_at_once:
        series = [dataset.candidate_at(ndx).series_uid for ndx in range(len(dataset))]
        sampler = ScanGroupSampler(series, app.cli_args.scans_at_once, generator)
    else:
        sampler = RandomSampler(dataset, generator=generator)
    batches = ShardedBatchSampler(
        sampler,
        batch_size or app.cli_args.batch_size,
        app.rank,
        app.world_size,
        shuffle if is_even is None else is_even,
    )
    return DataLoader(
        dataset,
        batch_sampler=batches,
        generator=generator,
        num_workers=app.cli_args.num_workers,
        pin_memory=app.device.type == "cuda",
        # Workers hold a copy of the dataset; one that is shuffled between epochs must be copied anew.
        persistent_workers=app.cli_args.num_workers > 0 and not getattr(dataset, "ratio_int", 0),
    )
