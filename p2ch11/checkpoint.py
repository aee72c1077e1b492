"""What a training writes, so that nothing is lost: a folder per run, and in it checkpoints to carry on from.

Chapter 11 introduces it; chapters 12 to 14 inherit it.
"""

import platform
import zipfile
from pathlib import Path

import numpy as np
import torch

from p2ch11.options import read_options
from util.errors import UserError
from util.files import atomic_path
from util.paths import shown

NEEDED = {"model_state", "optimizer_state", "epoch", "totalTrainingSamples_count", "best_score"}
# Options that a resumed run may change: they decide where and how long it computes, not what.
FREE_OPTIONS = {"epochs", "num_workers", "device", "compile", "val_every", "resume", "comment", "tb_prefix"}


class OtherOptions(UserError):
    """A checkpoint comes from a training with other options, so that it cannot be carried on with these."""


def latest_run(parent: Path, comment: str) -> Path | None:
    """The newest folder of a run with this comment that holds a checkpoint, or None."""
    runs = [path.parent for path in parent.glob("*/last.state") if path.parent.name[20:] == comment]
    return max(runs, key=lambda folder: folder.name, default=None)


def new_run(parent: Path, time_str: str, comment: str) -> Path:
    """A folder for a run, made now and named after time and comment; never one that is there already."""
    for attempt in range(40):
        # Digits that sort: the second run of a second comes after the first.
        moment = time_str if attempt == 0 else f"{time_str[:-2]}{int(time_str[-2:]) + attempt:02d}"
        folder = parent / f"{moment}-{comment}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"cannot make the folder {shown(folder)} ({error.strerror}); set COURSE_OUTPUT to another folder"
            ) from error
        return folder
    raise UserError(f"{shown(parent)} has no name left for a run at {time_str}; wait a second")


def run_to_resume(parent: Path, comment: str) -> Path:
    """`latest_run`; raises `UserError` where there is none."""
    found = latest_run(parent, comment)
    if found is None:
        raise UserError(
            f"there is no run '{comment}' to resume in {shown(parent)}; "
            "check the comment, or start without --resume"
        )
    return found


def versions() -> dict[str, str]:
    """What computed: versions of Python, PyTorch and NumPy."""
    return {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}


def state_of(app, type_str, epoch_ndx) -> dict:
    """All that is needed to carry on the training `app`, and to tell later how its weights came about."""
    return {
        "type": type_str,
        "model_state": app.model.state_dict(),
        "model_name": type(app.model).__name__,
        "optimizer_state": app.optimizer.state_dict(),
        "optimizer_name": type(app.optimizer).__name__,
        "epoch": epoch_ndx,
        "totalTrainingSamples_count": app.totalTrainingSamples_count,
        "best_score": app.best_score,
        "history": app.history,
        "options": dict(vars(app.cli_args)),
        "versions": versions(),
        "time": app.time_str,
    }


def save_state(state: dict, folder: Path, names):
    """Write `state` to each of the files `names` in `folder`, atomically."""
    for name in names:
        with atomic_path(folder / name) as temporary:
            torch.save(state, temporary)


def restore(app, path):
    """Set `app` (a training) to where the checkpoint at `path` left off; returns the epoch that it ended.

    Raises `UserError` for a checkpoint that is damaged, of another model, or made with other options.
    """
    state = read_state(path, app.device)
    missing = NEEDED - set(state)
    if missing:
        raise UserError(
            f"{shown(path)} is no checkpoint of this course (it lacks {sorted(missing)[0]}); "
            "move it away and start without --resume"
        )
    # An option that is younger than the checkpoint had no effect then, as it has none by default.
    then = vars(read_options(app, [], {})) | state.get("options", {})
    _check_options(vars(app.cli_args), then, path)
    load_weights_into(app.model, state["model_state"], path)
    try:
        app.optimizer.load_state_dict(state["optimizer_state"])
        app.first_epoch = int(state["epoch"]) + 1
        app.totalTrainingSamples_count = int(state["totalTrainingSamples_count"])
        app.best_score = float(state["best_score"])
        app.history = list(state.get("history", []))
        is_whole = all(
            value.shape in ((), parameter.shape)
            for parameter, moments in app.optimizer.state.items()
            for value in moments.values()
            if torch.is_tensor(value)
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(_not_of_this_training(path)) from error
    if not is_whole:
        raise UserError(_not_of_this_training(path))
    return app.first_epoch - 1


def _not_of_this_training(path) -> str:
    return (
        f"{shown(path)} comes from a training of other layers or another optimizer, or is damaged; "
        "use the same options as then, or start without --resume"
    )


def _check_options(now, then, path):
    """Another learning rate or data set makes another training, which must not pass for the old one."""
    free = FREE_OPTIONS - ({"epochs"} if then.get("one_cycle") else set())  # the cycle spans all epochs
    for name in sorted(set(then) - free):
        if name in now and now[name] != then[name]:
            option = "--" + name.replace("_", "-")
            raise OtherOptions(
                f"{shown(path)} was trained with {option} {then[name]}, not {now[name]}; "
                "give the same, or start without --resume"
            )


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
            # PyTorch compares no checksums when it reads, but the file (a zip archive) has them.
            if zipfile.is_zipfile(path) and zipfile.ZipFile(path).testzip() is not None:
                raise ValueError("checksums differ")
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
