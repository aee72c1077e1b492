"""The training loop of chapter 11, which chapters 12, 13 and 14 reuse by overriding a method or two.

    python -m p2ch11.training --epochs 2
    torchrun --nproc-per-node=2 -m p2ch11.training --epochs 2

Read `LunaTrainingApp.main` first: it is the whole story. A variant overrides `initModel`,
`initTrainDl`, `initValDl`, `computeBatchLoss` or `logMetrics`. What it takes from other modules: its options
(`options`), batches (`loaders`), checkpoints (`checkpoint`), several processes (`parallel`), TensorBoard
(`board`).
"""

import contextlib
import datetime
import functools
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from p2ch10.dsets import LunaDataset
from p2ch11 import loaders
from p2ch11.board import open_writer, worst_candidates
from p2ch11.checkpoint import OtherOptions, latest_run, new_run, restore, run_to_resume, save_state, state_of
from p2ch11.checkpoint import load_weights as load_weights
from p2ch11.model import LunaModel
from p2ch11.muon import MuonWithAdamW
from p2ch11.options import read_options
from p2ch11.parallel import gathered, join_processes, share_batch_norm
from p2ch11.schedule import one_cycle
from util.errors import UserError, main_guard
from util.paths import output_root, shown
from util.runtime import get_device, has_fast_bfloat16, keep_freed_memory, seed_everything
from util.util import enumerateWithEstimate

# Rows of the metrics tensor, one column per sample of an epoch.
METRICS_LABEL_NDX = 0
METRICS_PRED_NDX = 1
METRICS_LOSS_NDX = 2
# The nodule's logit less the other one. Probabilities near 1 round to the same number; these still rank.
METRICS_SCORE_NDX = 3
METRICS_SIZE = 4
LOOK_EVERY = 20  # batches: asking a GPU for a number makes it wait, so its losses are looked at now and then


class LunaTrainingApp:
    """Trains `LunaModel` on candidate crops (chapter 11, "The main entry point for our application").

    sys_argv: the command line as a list of words, or None for this process's own. Options can be given as
    arguments instead: `LunaTrainingApp(epochs=2, comment="mine")`. Each run has a folder of its own,
    `output/<tb_prefix>/<time>-<comment>/` (tb_prefix: by default the chapter): `last.state` after every
    epoch, `best.state` whenever the score improves, TensorBoard's files in `runs/`. Raises `UserError` for
    options that make no sense, and for a checkpoint that `--resume` cannot use.
    """

    chapter = "p2ch11"
    type_str = "cls"
    metrics_size = METRICS_SIZE
    default_batch_size = 32
    default_lr = 0.001
    # The memory layout of convolutions that is fastest for this app's inputs.
    memory_format = torch.channels_last_3d

    def __init__(self, sys_argv=None, **options):
        self.cli_args = read_options(self, sys_argv, options)
        self.time_str = datetime.datetime.now().strftime("%Y-%m-%d_%H.%M.%S")
        device = get_device(self.cli_args.device)
        self.rank, self.world_size, self.device = join_processes(self.cli_args.batch_size, device)
        self.is_fast = not self.cli_args.plain
        self.use_bfloat16 = self.is_fast and has_fast_bfloat16(self.device)
        if self.is_fast:
            keep_freed_memory()
        self.totalTrainingSamples_count = 0
        self.first_epoch = 1
        self.best_score = -math.inf
        self.history = []
        self.trn_writer = self.val_writer = None
        self.latest_metrics = {}
        seed_everything(self.cli_args.seed)
        self.model = self.initModel()
        if self.world_size > 1:
            self.model = share_batch_norm(self.model)
        self.optimizer = self.initOptimizer()
        if self.cli_args.resume:
            path = self.folder / "last.state"
            self.say(f"resuming after epoch {restore(self, path)} from {shown(path)}")
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
        parser.add_argument("--epoch-samples", type=int, default=0, help="samples of an epoch; 0: all")
        parser.add_argument("--scans-at-once", type=int, default=0, help="shuffle within so many (0: all)")
        parser.add_argument("--one-cycle", action="store_true", help="let --lr rise and fall over all epochs")
        parser.add_argument("--muon", action="store_true", help="Muon for the convolutions: see p2ch11.muon")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--device", help="such as cpu or cuda:1; the course chooses by default")
        parser.add_argument("--plain", action="store_true", help="float32 and contiguous memory only")
        parser.add_argument("--compile", action="store_true", help="torch.compile the network")
        parser.add_argument("--resume", action="store_true", help="carry on the newest run with this comment")
        parser.add_argument("--tb-prefix", default=self.chapter, help="folder of runs, for TensorBoard")
        parser.add_argument("comment", nargs="?", default="run", help="ends the name of the run's folder")

    @property
    def is_main(self) -> bool:
        """True in the one process that prints and writes files."""
        return self.rank == 0

    @property
    def network(self) -> nn.Module:
        """What a batch goes through: with several processes, training also averages their gradients."""
        return self.parallel if self.parallel is not None and self.model.training else self.model

    def say(self, text):
        """Print, in the one process that does."""
        if self.is_main:
            print(text)

    @classmethod
    def latest_run(cls, comment, tb_prefix=None) -> Path | None:
        """The folder of the newest run with this comment that has a checkpoint, or None."""
        return latest_run(output_root() / (tb_prefix or cls.chapter), comment)

    @classmethod
    def start_or_resume(cls, comment, **options):
        """The newest run with this comment, carried on if its options were the same, else a new one."""
        if cls.latest_run(comment, options.get("tb_prefix")) is not None:
            try:
                return cls(comment=comment, resume=True, **options)
            except OtherOptions as error:
                print(f"a new run '{comment}' starts: {error}")
        return cls(comment=comment, **options)

    @functools.cached_property
    def folder(self) -> Path:
        """The run's own folder, made on first use; of a resumed run, the folder that it began in."""
        args = self.cli_args
        parent = output_root() / args.tb_prefix
        if args.resume:
            return run_to_resume(parent, args.comment)
        if not self.is_main:  # which writes nothing
            return parent / f"{self.time_str}-{args.comment}"
        return new_run(parent, self.time_str, args.comment)

    def initModel(self) -> nn.Module:
        """The network, on its device, not yet trained; a variant trains another one."""
        return self.to_device(LunaModel())

    def to_device(self, model):
        """`model` on this training's device, in the memory layout that is fastest there."""
        model = model.to(self.device)
        return model.to(memory_format=self.memory_format) if self.is_fast else model

    def initOptimizer(self):
        """AdamW over all parameters that may learn; with `--muon`, over those that Muon leaves."""
        if self.cli_args.muon:
            return MuonWithAdamW(self.model, self.cli_args.lr, fused=self.is_fast)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return torch.optim.AdamW(parameters, lr=self.cli_args.lr, weight_decay=1e-4, fused=self.is_fast)

    def initTrainDl(self) -> DataLoader:
        """Batches of the training set, in a new order each epoch. Raises `UserError` for a set without nodules."""
        dataset = LunaDataset(val_stride=self.cli_args.val_stride, isValSet_bool=False)
        return self.make_loader(loaders.with_nodules(dataset, "training"), shuffle=True)

    def initValDl(self) -> DataLoader:
        """Batches of the validation set, always in the same order. Raises `UserError` as above."""
        dataset = LunaDataset(val_stride=self.cli_args.val_stride, isValSet_bool=True)
        return self.make_loader(loaders.with_nodules(dataset, "validation"), shuffle=False)

    def make_loader(self, dataset, shuffle: bool, is_even=None, batch_size=None) -> DataLoader:
        """Batches of `dataset`: see `p2ch11.loaders.make_loader`."""
        return loaders.make_loader(self, dataset, shuffle, is_even, batch_size)

    def initTensorboardWriters(self):
        """Open TensorBoard's writers for training and validation, once. Raises `UserError` where they cannot write."""
        if self.trn_writer is None:
            runs = self.folder / "runs"
            self.trn_writer = open_writer(runs / f"{self.time_str}-trn")
            self.val_writer = open_writer(runs / f"{self.time_str}-val")

    def writer(self, mode_str):
        """TensorBoard's writer for "trn" or "val"."""
        self.initTensorboardWriters()
        return {"trn": self.trn_writer, "val": self.val_writer}[mode_str]

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
            entry = {
                "epoch": epoch_ndx,
                "trn": self._log("trn", epoch_ndx, self.doTraining(epoch_ndx, train_dl)),
            }
            score = math.nan
            every = self.cli_args.val_every
            if every and (epoch_ndx % every == 0 or epoch_ndx == self.cli_args.epochs):
                entry["val"] = self._log("val", epoch_ndx, self.doValidation(epoch_ndx, val_dl))
                self.logImages(epoch_ndx, "val", val_dl)
                score = self.score(entry["val"])
            entry["seconds"] = time.perf_counter() - start
            self.history.append(entry)
            if self.is_main:
                self.saveModel(self.type_str, epoch_ndx, isBest=self.improves(score))
        for writer in (self.trn_writer, self.val_writer):
            if writer is not None:
                writer.close()
        if self.is_main:
            print(f"checkpoints and logs lie in {shown(self.folder)}")
        return self.history

    def _log(self, mode_str, epoch_ndx, metrics_t):
        self.latest_metrics[mode_str] = metrics_t  # for logImages
        return self.logMetrics(epoch_ndx, mode_str, metrics_t)

    def doTraining(self, epoch_ndx, train_dl):
        """One pass over the training set; returns the metrics of its samples (METRICS_SIZE, samples), on the CPU."""
        self.model.train()
        return self._run_epoch(epoch_ndx, train_dl, "training")

    def doValidation(self, epoch_ndx, val_dl):
        """The same over the validation set, without learning."""
        self.model.eval()
        with torch.no_grad():
            return self._run_epoch(epoch_ndx, val_dl, "validation")

    def _run_epoch(self, epoch_ndx, loader, what):
        is_training = what == "training"
        batch_size = loader.batch_sampler.batch_size // self.world_size
        total = len(loader)
        if is_training and self.cli_args.epoch_samples:
            total = min(total, math.ceil(self.cli_args.epoch_samples / self.cli_args.batch_size))
        # Metrics stay on the device until the epoch ends: fetching each batch would stall a GPU.
        metrics_g = torch.zeros(self.metrics_size, total * batch_size, device=self.device)
        filled = 0
        # The sum of all losses and gradients' norms: not a number as soon as one of them is none.
        health_g = torch.zeros((), device=self.device)
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
            health_g += loss_var.detach().float()
            if is_training:
                loss_var.backward()
                # One batch full of surprises must not throw the network far away.
                health_g += nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                if self.device.type == "cpu" or batch_ndx % LOOK_EVERY == 0:
                    self._check_numbers(health_g, epoch_ndx, what)
                self.optimizer.step()
            filled += len(batch_tup[0])
        self._check_numbers(health_g, epoch_ndx, what)
        metrics_t = gathered(metrics_g[:, :filled].to("cpu"), self.world_size)
        self._check_numbers(metrics_t, epoch_ndx, what)
        if is_training:
            self.totalTrainingSamples_count += metrics_t.shape[1]
        return metrics_t

    def _check_numbers(self, values_t, epoch_ndx, what):
        if not torch.isfinite(values_t).all():
            raise UserError(
                f"the {what} of epoch {epoch_ndx} met a loss that is not a number; "
                f"lower --lr (it is {self.cli_args.lr:g}) and start from the last good checkpoint"
            )

    def set_learning_rate(self, progress):
        """With `--one-cycle`: as `p2ch11.schedule.one_cycle` says. progress: part of the training that is done."""
        if self.cli_args.one_cycle:
            for group in self.optimizer.param_groups:
                group["lr"] = self.cli_args.lr * one_cycle(progress)

    def autocast(self):
        """The context in which batches are computed: bfloat16 where that is fast and not `--plain`."""
        if self.use_bfloat16:
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def computeBatchLoss(self, batch_ndx, batch_tup, batch_size, metrics_g):
        """Mean cross-entropy of one batch; notes label, probability, loss and score per sample in `metrics_g`.

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
        metrics_g[METRICS_SCORE_NDX, columns] = (logits_g[:, 1] - logits_g[:, 0]).detach()
        return self.batch_loss(loss_g, label_g[:, 1])

    def batch_loss(self, loss_g, label_g):
        """The mean of one loss per sample (N,), which a variant may weight; label_g: (N,), 1 for a nodule."""
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

    def logImages(self, epoch_ndx, mode_str, dl, count=4):
        """Show TensorBoard the candidates that the network judges worst: see `p2ch11.board.worst_candidates`.

        Only with one process: else the order is another.
        """
        if self.world_size > 1:
            return
        metrics_t = self.latest_metrics[mode_str]
        label, score = metrics_t[METRICS_LABEL_NDX] > 0.5, metrics_t[METRICS_SCORE_NDX]
        for name, slices in worst_candidates(dl.dataset, label, score, count):
            self.writer(mode_str).add_images(f"worst/{name}", slices, self.totalTrainingSamples_count)

    def score(self, val_metrics) -> float:
        """What `best.state` is the best of; NaN counts as the worst."""
        return -val_metrics["loss/all"]

    def improves(self, score) -> bool:
        """Is this the best score so far? Then it is remembered. NaN never is."""
        if math.isnan(score) or score <= self.best_score:
            return False
        self.best_score = score
        return True

    def log_scalars(self, mode_str, metrics):
        """Graph every number of `metrics`, a dict by name, that is one."""
        if not self.is_main:
            return
        writer = self.writer(mode_str)
        for name, value in metrics.items():
            if not np.isnan(value):
                writer.add_scalar(name, value, self.totalTrainingSamples_count)

    def saveModel(self, type_str, epoch_ndx, isBest=False):
        """Write `last.state`, and if isBest `best.state` too, with all that is needed to carry on; atomically.

        type_str: "cls" or "seg", noted in the file.
        """
        names = ("last.state", "best.state") if isBest else ("last.state",)
        save_state(state_of(self, type_str, epoch_ndx), self.folder, names)


if __name__ == "__main__":
    main_guard(lambda: LunaTrainingApp().main() and None)
