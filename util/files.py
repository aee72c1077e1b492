"""Writes that survive a crash: to a temporary name first, then one atomic rename."""

import glob
import os
import platform
import shutil
import uuid
import zlib
from contextlib import contextmanager
from pathlib import Path

import psutil

from util.errors import FULL
from util.errors import UserError as UserError  # where other checks look for it

MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"  # process numbers mean nothing on another one


@contextmanager
def atomic_path(path):
    """Yield a temporary path beside `path`; on success it becomes `path`, on failure it is removed.

    The caller creates a file or a folder at the yielded path. A reader never sees a half-written
    `path`: it is either the old version, the new one, or not there. What a killed process left of an
    earlier try is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.{MACHINE}.*.*.part"):
        process = left.name.split(".")[-3]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            remove(left)
    temporary = path.with_name(f".{path.name}.{MACHINE}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        if temporary.is_file():
            with open(temporary, "rb+") as written:
                os.fsync(written.fileno())
        os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def remove(path):
    """Remove a file or a whole folder; nothing happens if there is none."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def is_full(folder, error=None) -> bool:
    """Did `error` come from a full disk? Without a telling error number: is the disk of `folder` full?"""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    return shutil.disk_usage(folder).free < 1_000_000
