"""The training loop of chapter 11, which chapters 12, 13 and 14 reuse by overriding a method or two.

    python -m p2ch11.training --epochs 2
    torchrun --nproc-per-node=2 -m p2ch11.training --epochs 2

Read `LunaTrainingApp.main` first: it is the whole story. A variant overrides `initModel`,
`initTrainDl`, `initValDl`, `computeBatchLoss` or `logMetrics`.
"""

import argparse
import contextlib
import datetime
import inspect
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from p2ch10.dsets import LunaDataset
from p2ch11.model import LunaModel
from p2ch11.parallel import share_batch_norm
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.paths import output_root, shown
from util.runtime import get_device, has_fast_bfloat16, keep_freed_memory, seed_everything
from util.util import enumerateWithEstimate

# Rows of the metrics tensor, one column per sample of an epoch.
METRICS_LABEL_NDX = 0
METRICS_PRED_NDX = 1
METRICS_LOSS_NDX = 2
METRICS_SIZE = 3


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


class LunaTrainingApp:
    """Trains `LunaModel` on candidate crops (chapter 11, "The main entry point for our application").

    `sys_argv`: the command line as a list, or None for this process's own. Output goes to
    `output/<chapter>/<comment>/`: `last.state` after every epoch, `best.state` whenever the score
    improves, TensorBoard's files in `runs/`.
    """

    chapter = "p2ch11"
    metrics_size = METRICS_SIZE
    default_batch_size = 32
    default_lr = 0.001
    # The memory layout of convolutions that is fastest for this app's inputs.
    memory_format = torch.channels_last_3d

    def __init__(self, sys_argv=None):
        parser = argparse.ArgumentParser(description=inspect.getdoc(type(self)).splitlines()[0])
        self.add_arguments(parser)
        self.cli_args = parser.parse_args(sys_argv)
        self.time_str = datetime.datetime.now().strftime("%Y-%m-%d_%H.%M.%S")
        # torchrun starts several processes and tells each its place in these variables.
        self.rank = int(os.environ.get("RANK", 0))
        self.world_size = int(os.environ.get("WORLD_SIZE", 1))
        self.device = get_device(self.cli_args.device)
        if self.world_size > 1:
            if self.cli_args.batch_size % self.world_size:
                raise UserError(
                    f"--batch-size {self.cli_args.batch_size} does not split evenly; "
                    f"choose a multiple of the {self.world_size} processes"
                )
            if self.device.type == "cuda":
                self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
                torch.cuda.set_device(self.device)
            if not distributed.is_initialized():
                distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        self.is_fast = not self.cli_args.plain
        self.use_bfloat16 = self.is_fast and has_fast_bfloat16(self.device)
        if self.is_fast:
            keep_freed_memory()
        self.totalTrainingSamples_count = 0
        self.first_epoch = 1
        self.best_score = -math.inf
        self.history = []
        self._writers = {}
        seed_everything(self.cli_args.seed)
        self.model = self.initModel()
        if self.world_size > 1:
            self.model = share_batch_norm(self.model)
        self.optimizer = self.initOptimizer()
        if self.cli_args.resume:
            self.load_checkpoint()
        self.parallel = DistributedDataParallel(self.model) if self.world_size > 1 else None
        if self.cli_args.compile:
            self.model.compile()

    def add_arguments(self, parser):
        """Declare the command line; a variant calls this one and adds its own."""
        parser.add_argument("--epochs", type=int, default=1, help="passes over the training set")
        parser.add_argument("--batch-size", type=int, default=self.default_batch_size)
        parser.add_argument("--num-workers", type=int, default=0, help="processes that load data")
        parser.add_argument("--lr", type=float, default=self.default_lr, help="learning rate")
        parser.add_argument("--val-stride", type=int, default=5, help="every n-th scan is held out")
        parser.add_argument("--val-every", type=int, default=1, help="0: no validation")
        parser.add_argument(
            "--epoch-samples", type=int, default=0, help="stop an epoch after so many samples"
        )
        parser.add_argument("--one-cycle", action="store_true", help="let --lr rise and fall over all epochs")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--device", help="such as cpu or cuda:1; the course chooses by default")
        parser.add_argument("--plain", action="store_true", help="float32 and contiguous memory only")
        parser.add_argument("--compile", action="store_true", help="torch.compile the network")
        parser.add_argument("--resume", action="store_true", help="carry on from last.state")
        parser.add_argument("comment", nargs="?", default="run", help="name of the output folder")

    @property
    def is_main(self) -> bool:
        """True in the one process that prints and writes files."""
        return self.rank == 0

    @property
    def network(self) -> nn.Module:
        """What a batch goes through: with several processes, training also averages their gradients."""
        return self.parallel if self.parallel is not None and self.model.training else self.model

    def say(self, text):
        if self.is_main:
            print(text)

    @property
    def folder(self) -> Path:
        return output_root() / self.chapter / self.cli_args.comment

    def initModel(self) -> nn.Module:
        return self.to_device(LunaModel())

    def to_device(self, model):
        model = model.to(self.device)
        return model.to(memory_format=self.memory_format) if self.is_fast else model

    def initOptimizer(self):
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return torch.optim.AdamW(parameters, lr=self.cli_args.lr, weight_decay=1e-4, fused=self.is_fast)

    def initTrainDl(self) -> DataLoader:
        dataset = LunaDataset(val_stride=self.cli_args.val_stride, isValSet_bool=False)
        return self.make_loader(self.with_nodules(dataset, "training"), shuffle=True)

    def initValDl(self) -> DataLoader:
        dataset = LunaDataset(val_stride=self.cli_args.val_stride, isValSet_bool=True)
        return self.make_loader(self.with_nodules(dataset, "validation"), shuffle=False)

    def with_nodules(self, dataset, split):
        """`dataset`, if it holds a nodule; without one, nothing can be learnt or measured."""
        if len(dataset) and not dataset.pos_list:
            raise UserError(
                f"the {split} split holds {len(dataset)} candidates but no nodule; "
                "generate or download more scans, or change --val-stride"
            )
        return dataset

    def make_loader(self, dataset, shuffle: bool, is_even: bool | None = None) -> DataLoader:
        """Batches of `dataset`. is_even: as in `ShardedBatchSampler`; by default where it shuffles."""
        if len(dataset) == 0:
            raise UserError("a split has no samples; generate or download more scans, or change --val-stride")
        # A generator of its own: whatever else draws random numbers, all processes draw the same batches.
        generator = torch.Generator()
        sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        batches = ShardedBatchSampler(
            sampler,
            self.cli_args.batch_size,
            self.rank,
            self.world_size,
            shuffle if is_even is None else is_even,
        )
        return DataLoader(
            dataset,
            batch_sampler=batches,
            generator=generator,
            num_workers=self.cli_args.num_workers,
            pin_memory=self.device.type == "cuda",
            # Workers hold a copy of the dataset; one that is shuffled between epochs must be copied anew.
            persistent_workers=self.cli_args.num_workers > 0 and not getattr(dataset, "ratio_int", 0),
        )

    def main(self):
        """Train for the asked epochs; returns the history, one dict of metrics per epoch."""
        train_dl = self.initTrainDl()
        val_dl = self.initValDl()
        self.say(
            f"{type(self).__name__}: {len(train_dl.dataset)} training and {len(val_dl.dataset)} validation "
            f"samples, batches of {self.cli_args.batch_size}, {self.device}, "
            f"{'bfloat16' if self.use_bfloat16 else 'float32'}"
        )
        for epoch_ndx in range(self.first_epoch, self.cli_args.epochs + 1):
            # Seeded by epoch, so that a resumed run draws the same numbers as an uninterrupted one.
            epoch_seed = self.cli_args.seed * 1_000_003 + epoch_ndx
            seed_everything(epoch_seed + 7919 * self.rank)
            for loader in (train_dl, val_dl):
                loader.generator.manual_seed(epoch_seed)
            start = time.perf_counter()
            trn_metrics_t = self.doTraining(epoch_ndx, train_dl)
            trn_metrics = self.logMetrics(epoch_ndx, "trn", trn_metrics_t)
            entry = {"epoch": epoch_ndx, "trn": trn_metrics}
            score = math.nan
            every = self.cli_args.val_every
            if every and (epoch_ndx % every == 0 or epoch_ndx == self.cli_args.epochs):
                val_metrics_t = self.doValidation(epoch_ndx, val_dl)
                entry["val"] = self.logMetrics(epoch_ndx, "val", val_metrics_t)
                self.logImages(epoch_ndx, "val", val_dl, val_metrics_t)
                score = self.score(entry["val"])
            entry["seconds"] = time.perf_counter() - start
            self.history.append(entry)
            if self.is_main:
                self.save_checkpoint(epoch_ndx, score)
        for writer in self._writers.values():
            writer.close()
        return self.history

    def doTraining(self, epoch_ndx, train_dl):
        self.model.train()
        return self._run_epoch(epoch_ndx, train_dl, "training")

    def doValidation(self, epoch_ndx, val_dl):
        self.model.eval()
        with torch.no_grad():
            return self._run_epoch(epoch_ndx, val_dl, "validation")

    def _run_epoch(self, epoch_ndx, loader, what):
        is_training = what == "training"
        batch_size = self.cli_args.batch_size // self.world_size
        total = len(loader)
        if is_training and self.cli_args.epoch_samples:
            total = min(total, math.ceil(self.cli_args.epoch_samples / self.cli_args.batch_size))
        # Metrics stay on the device until the epoch ends: fetching each batch would stall a GPU.
        metrics_g = torch.zeros(self.metrics_size, total * batch_size, device=self.device)
        filled = 0
        for batch_ndx, batch_tup in enumerateWithEstimate(
            loader, f"epoch {epoch_ndx} {what}", iter_len=total
        ):
            if batch_ndx >= total:
                break
            if is_training:
                self.set_learning_rate((epoch_ndx - 1 + batch_ndx / total) / self.cli_args.epochs)
                self.optimizer.zero_grad(set_to_none=True)
            with self.autocast():
                loss_var = self.computeBatchLoss(batch_ndx, batch_tup, batch_size, metrics_g)
            if is_training:
                loss_var.backward()
                # One batch full of surprises must not throw the network far away.
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                self.optimizer.step()
            filled += len(batch_tup[0])
        metrics_t = self._gathered(metrics_g[:, :filled].to("cpu"))
        if is_training:
            self.totalTrainingSamples_count += metrics_t.shape[1]
        if not torch.isfinite(metrics_t).all():
            raise UserError(
                f"the {what} of epoch {epoch_ndx} met a loss that is not a number; "
                f"lower --lr (it is {self.cli_args.lr:g}) and start from the last good checkpoint"
            )
        return metrics_t

    def set_learning_rate(self, progress):
        """With `--one-cycle`: rise over the first fifth of the training, then fall to almost nothing.

        progress: share of the whole training that is done, 0 to 1. A short training gains most: large steps
        while there is far to go, small ones at the end (Smith and Topin 2018).
        """
        if self.cli_args.one_cycle:
            rise = 0.1 + 0.9 * min(progress / 0.2, 1)
            fall = 0.5 + 0.5 * math.cos(math.pi * max(progress - 0.2, 0) / 0.8)
            for group in self.optimizer.param_groups:
                group["lr"] = self.cli_args.lr * rise * max(fall, 0.01)

    def _gathered(self, metrics_t):
        """The metrics of all processes side by side; each may have seen another number of samples."""
        if self.world_size == 1:
            return metrics_t
        shares = [None] * self.world_size
        distributed.all_gather_object(shares, metrics_t)
        return torch.cat(shares, dim=1)

    def autocast(self):
        if self.use_bfloat16:
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def computeBatchLoss(self, batch_ndx, batch_tup, batch_size, metrics_g):
        """Mean cross-entropy of one batch; notes label, probability and loss per sample in `metrics_g`.

        metrics_g: (METRICS_SIZE, samples of the epoch), filled in the columns of this batch.
        """
        input_t, label_t, _series_list, _center_list = batch_tup
        input_g = input_t.to(self.device, non_blocking=True)  # (N, 1, 32, 48, 48)
        label_g = label_t.to(self.device, non_blocking=True)  # (N, 2), one-hot
        logits_g, probability_g = self.network(input_g)
        loss_g = nn.functional.cross_entropy(logits_g.float(), label_g[:, 1], reduction="none")
        start = batch_ndx * batch_size
        columns = slice(start, start + label_t.size(0))
        metrics_g[METRICS_LABEL_NDX, columns] = label_g[:, 1].float()
        metrics_g[METRICS_PRED_NDX, columns] = probability_g[:, 1].detach()
        metrics_g[METRICS_LOSS_NDX, columns] = loss_g.detach()
        return loss_g.mean()

    def logMetrics(self, epoch_ndx, mode_str, metrics_t, classificationThreshold=0.5):
        """Print and graph loss and share of correct answers, all and per class; returns them as a dict.

        metrics_t: (METRICS_SIZE, samples) on the CPU. A class without samples has NaN.
        """
        label = metrics_t[METRICS_LABEL_NDX] > 0.5
        correct = (metrics_t[METRICS_PRED_NDX] > classificationThreshold) == label
        loss = metrics_t[METRICS_LOSS_NDX]
        metrics = {"loss/all": loss.mean().item()}
        metrics["correct/all"] = correct.float().mean().item() * 100
        for name, members in (("neg", ~label), ("pos", label)):
            metrics[f"loss/{name}"] = loss[members].mean().item()
            metrics[f"correct/{name}"] = correct[members].float().mean().item() * 100
        self.say(
            f"E{epoch_ndx} {mode_str}  loss {metrics['loss/all']:.4f}  "
            f"correct {metrics['correct/all']:6.2f} %  neg {metrics['correct/neg']:6.2f} %  "
            f"pos {metrics['correct/pos']:6.2f} % ({int(correct[label].sum())} of {int(label.sum())})"
        )
        self.log_scalars(mode_str, metrics)
        if self.is_main:
            for name, members in (("neg", ~label), ("pos", label)):
                if members.any():
                    self.writer(mode_str).add_histogram(
                        f"probability/{name}",
                        metrics_t[METRICS_PRED_NDX, members],
                        self.totalTrainingSamples_count,
                    )
        return metrics

    def logImages(self, epoch_ndx, mode_str, loader, metrics_t, count=4):
        """Show TensorBoard the middle slices of the candidates that the network judges worst.

        One row of nodules with the lowest probabilities, one of others with the highest; each (1, H, W),
        HU -1000 to 400 as black to white. Only with one process: else the order is another.
        """
        if self.world_size > 1:
            return
        label, probability = metrics_t[METRICS_LABEL_NDX] > 0.5, metrics_t[METRICS_PRED_NDX]
        for name, members, worst_first in (
            ("missed", label, probability),
            ("false_alarm", ~label, -probability),
        ):
            indices = torch.nonzero(members)[:, 0]
            chosen = indices[torch.argsort(worst_first[indices])][:count].tolist()
            if chosen:
                crops = torch.stack([loader.dataset[i][0] for i in chosen])  # (count, 1, D, H, W)
                slices = ((crops[:, :, crops.shape[2] // 2] + 1000) / 1400).clamp(0, 1)
                self.writer(mode_str).add_images(f"worst/{name}", slices, self.totalTrainingSamples_count)

    def score(self, val_metrics) -> float:
        """What `best.state` is the best of; NaN counts as the worst."""
        return -val_metrics["loss/all"]

    def writer(self, mode_str):
        """TensorBoard's writer for "trn" or "val", made on first use."""
        if mode_str not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            folder = self.folder / "runs" / f"{self.time_str}-{mode_str}"
            try:
                self._writers[mode_str] = SummaryWriter(log_dir=str(folder))
            except OSError as error:
                raise UserError(
                    f"cannot write logs to {shown(folder)} ({error.strerror}); "
                    "set COURSE_OUTPUT to another folder"
                ) from error
        return self._writers[mode_str]

    def log_scalars(self, mode_str, metrics):
        if not self.is_main:
            return
        writer = self.writer(mode_str)
        for name, value in metrics.items():
            if not np.isnan(value):
                writer.add_scalar(name, value, self.totalTrainingSamples_count)

    def save_checkpoint(self, epoch_ndx, score):
        """Write `last.state`, and `best.state` too if the score improved; each atomically."""
        is_best = not math.isnan(score) and score > self.best_score
        if is_best:
            self.best_score = score
        state = {
            "model_state": self.model.state_dict(),
            "model_name": type(self.model).__name__,
            "optimizer_state": self.optimizer.state_dict(),
            "optimizer_name": type(self.optimizer).__name__,
            "epoch": epoch_ndx,
            "totalTrainingSamples_count": self.totalTrainingSamples_count,
            "best_score": self.best_score,
        }
        for name in ("last.state", "best.state") if is_best else ("last.state",):
            with atomic_path(self.folder / name) as temporary:
                torch.save(state, temporary)

    def load_checkpoint(self):
        """Carry on from `last.state`, if there is one."""
        path = self.folder / "last.state"
        if not path.exists():
            return
        state = read_state(path, self.device)
        missing = {"model_state", "optimizer_state", "epoch"} - set(state)
        if missing:
            raise UserError(
                f"{shown(path)} is no checkpoint of this course (it lacks {sorted(missing)[0]}); "
                "move it away and start without --resume"
            )
        load_weights_into(self.model, state["model_state"], path)
        try:
            self.optimizer.load_state_dict(state["optimizer_state"])
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{shown(path)} comes from a training of other layers or another optimizer; "
                "use the same options as then, or start without --resume"
            ) from error
        self.first_epoch = state["epoch"] + 1
        self.totalTrainingSamples_count = state["totalTrainingSamples_count"]
        self.best_score = state["best_score"]
        self.say(f"resuming after epoch {state['epoch']} from {shown(path)}")


def load_weights(model, path):
    """Fill `model` from `path`: a `.state` file (a dict with `model_state`) or safetensors; returns it.

    Raises `UserError` for a file that is missing, damaged, or of another model.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no weights file {shown(path)}; train one or leave the option out")
    state = read_state(path)
    return load_weights_into(model, state.get("model_state", state), path)


def read_state(path, device="cpu") -> dict:
    """What a `.state` or safetensors file holds; `UserError` for one that is damaged or something else."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(state, dict):
            raise TypeError("not a dictionary")
    except Exception as error:
        raise UserError(
            f"{shown(path)} is no readable weights file ({type(error).__name__}); "
            "it may be damaged: fetch it again, or train anew without --resume"
        ) from error
    return state


def load_weights_into(model, state, path):
    """Load the state dict, or say in one sentence that it belongs to another model."""
    try:
        model.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        own = {name: tuple(t.shape) for name, t in model.state_dict().items()}
        theirs = (
            {n: tuple(t.shape) for n, t in state.items() if torch.is_tensor(t)}
            if isinstance(state, dict)
            else {}
        )
        differing = next((name for name in own if own[name] != theirs.get(name)), "an unexpected entry")
        raise UserError(
            f"{shown(path)} holds weights of another model than {type(model).__name__} "
            f"(differs at {differing}, expected {own.get(differing)}, found {theirs.get(differing)})"
        ) from error
    return model


if __name__ == "__main__":
    main_guard(lambda: LunaTrainingApp().main() and None)
