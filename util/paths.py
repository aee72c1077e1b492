"""Where things are. Environment variables move them:

COURSE_DATA       real data that you brought or downloaded   (default data/downloaded)
COURSE_OUTPUT     everything a run writes                    (default output)
COURSE_GENERATED  generated stand-ins, made once             (default data/generated)
COURSE_CACHE      compressed copies of scans, made once      (default data/cache)
COURSE_REAL       real files for tests and benchmarks alone  (none by default)

A relative path counts from the project's folder, so that it means the same in a notebook and in a shell.
"""

import os
from pathlib import Path

from util.errors import UserError

PROJECT = Path(__file__).resolve().parent.parent


def _from_environment(variable: str, default: Path) -> Path:
    value = os.environ.get(variable)
    return (PROJECT / Path(value).expanduser()).resolve() if value else default


def data_root() -> Path:
    """Folder of real data: `COURSE_DATA`, else `data/downloaded`. May not exist yet."""
    return _from_environment("COURSE_DATA", PROJECT / "data" / "downloaded")


def output_root() -> Path:
    """Folder for everything a run writes: `COURSE_OUTPUT`, else `output`. May not exist yet."""
    return _from_environment("COURSE_OUTPUT", PROJECT / "output")


def generated_root() -> Path:
    """Folder of generated stand-ins: `COURSE_GENERATED`, else `data/generated`."""
    return _from_environment("COURSE_GENERATED", _writable("generated"))


def cache_root() -> Path:
    """Folder of the scan store: `COURSE_CACHE`, else `data/cache`."""
    return _from_environment("COURSE_CACHE", _writable("cache"))


def real_root() -> Path | None:
    """Folder of real files that tests and benchmarks take: `COURSE_REAL`, or None.

    Raises `UserError` where it names no folder.
    """
    value = os.environ.get("COURSE_REAL")
    if not value:
        return None
    folder = _from_environment("COURSE_REAL", PROJECT)
    if not folder.is_dir():
        raise UserError(
            f"COURSE_REAL is '{value}', which is no folder; unset it, or name the folder of real files"
        )
    return folder


def _writable(name) -> Path:
    """`data/name`; in a read-only checkout, `name` under `output_root()`."""
    data = PROJECT / "data"
    return (data if os.access(data, os.W_OK) else output_root()) / name


def shown(path) -> str:
    """`path` as a reader should see it: relative to the project where it lies inside."""
    path = Path(path).resolve()
    try:
        return path.relative_to(PROJECT).as_posix()
    except ValueError:
        return str(path) if path.parent == path else f"…/{path.parent.name}/{path.name}"
