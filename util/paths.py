"""Where things are. Three environment variables move them:

COURSE_DATA       real data that you brought or downloaded   (default data/downloaded)
COURSE_OUTPUT     everything a run writes                    (default output)
COURSE_GENERATED  generated stand-ins, a cache               (default data/generated)
"""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def _from_environment(variable: str, default: Path) -> Path:
    value = os.environ.get(variable)
    return Path(value).expanduser().resolve() if value else default


def data_root() -> Path:
    """Folder of real data: `COURSE_DATA`, else `data/downloaded`. May not exist yet."""
    return _from_environment("COURSE_DATA", PROJECT / "data" / "downloaded")


def output_root() -> Path:
    """Folder for everything a run writes: `COURSE_OUTPUT`, else `output`. May not exist yet."""
    return _from_environment("COURSE_OUTPUT", PROJECT / "output")


def generated_root() -> Path:
    """Folder of generated stand-ins. In a read-only checkout it moves under `output_root()`."""
    default = PROJECT / "data" / "generated"
    if not os.access(PROJECT / "data", os.W_OK):
        default = output_root() / "generated"
    return _from_environment("COURSE_GENERATED", default)


def shown(path) -> str:
    """`path` as a reader should see it: relative to the project where it lies inside."""
    path = Path(path).resolve()
    try:
        return path.relative_to(PROJECT).as_posix()
    except ValueError:
        return str(path) if path.parent == path else f"…/{path.parent.name}/{path.name}"
