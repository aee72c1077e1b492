"""A training's options: on the command line, or as arguments (chapter 11, "The main entry point").

Each is checked before anything is computed, and a bad one is one sentence.
"""

import argparse
import inspect
import math

from util.errors import UserError

# The least that options may be, by name, those of all chapters' trainings.
_WHOLE = {
    "epochs": 1,
    "batch_size": 1,
    "num_workers": 0,
    "val_stride": 2,
    "val_every": 0,
    "epoch_samples": 0,
    "samples": 1,
    "scans_at_once": 0,
    "listed": 0,
    "mine_scans": 0,
}
_WEIGHTS = ("missed_weight", "entropy_weight")
LARGEST_SEED = 2**40  # each epoch and process has a seed of its own, and PyTorch takes 64 bits


def read_options(app, sys_argv, given: dict) -> argparse.Namespace:
    """The options of a training: its defaults, then the command line, then those `given` as arguments.

    sys_argv: a list of words. None is this process's own command line, unless options are given. Raises
    `UserError` for a value that makes no sense, `TypeError` for an unknown argument.
    """
    parser = argparse.ArgumentParser(description=inspect.getdoc(type(app)).splitlines()[0])
    app.add_arguments(parser)
    options = parser.parse_args([] if sys_argv is None and given else sys_argv)
    unknown = sorted(set(given) - set(vars(options)))
    if unknown:
        raise TypeError(
            f"{type(app).__name__} has no option {', '.join(unknown)}; it has {', '.join(sorted(vars(options)))}"
        )
    vars(options).update(given)
    check_options(options)
    return options


def check_options(options):
    """Raise `UserError` for the first option whose value makes no sense."""
    for name, least in _WHOLE.items():
        value = getattr(options, name, least)
        if not isinstance(value, int) or value < least:
            raise UserError(f"{flag(name)} is {value}; give a whole number of at least {least}")
    if not isinstance(options.seed, int) or not 0 <= options.seed <= LARGEST_SEED:
        raise UserError(f"--seed is {options.seed}; give a whole number from 0 to {LARGEST_SEED}")
    if not (math.isfinite(options.lr) and options.lr > 0):
        raise UserError(f"--lr is {options.lr:g}; give a learning rate above 0, such as 0.001")
    for name in _WEIGHTS:
        value = getattr(options, name, 0)
        if not (math.isfinite(value) and value >= 0):
            raise UserError(f"{flag(name)} is {value:g}; give a number of at least 0")
    for name in ("comment", "tb_prefix"):
        value = getattr(options, name)
        if value is not None and (not value or value.startswith(".") or set(value) & set('/\\:*?"<>|')):
            raise UserError(f"{flag(name)} is '{value}'; give a name that can be part of a folder's name")


def flag(name) -> str:
    """How an option is written on the command line."""
    return name if name == "comment" else "--" + name.replace("_", "-")
