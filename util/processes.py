"""Processes that a command starts, and how they end with it."""

import multiprocessing
import os
import threading
import time
from contextlib import suppress
from multiprocessing import connection

import psutil

# The process that all of a command ends with, as a number: `course.py`, or the test suite.
ENDS_WITH = "COURSE_ENDS_WITH"


def end_with_parent():
    """Let this process end as soon as the one that started it is gone, killed or not.

    The `initializer` of a process pool: without it, what a killed command had under way is computed to its end.
    Does nothing in a process that `multiprocessing` did not start.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait():
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def end_with_command():
    """Let this process end within a second of the one that `COURSE_ENDS_WITH` names, killed or not.

    Every command calls it (`util.errors.main_guard`). The variable is handed on, so that it holds for whatever a
    command starts, and on systems where a parent that was killed takes nothing with it. Does nothing where the
    variable is not set or names no process.
    """
    with suppress(KeyError, ValueError, psutil.Error):
        command = psutil.Process(int(os.environ[ENDS_WITH]))
        if command.pid != os.getpid():
            threading.Thread(target=_outlive_briefly, args=[command], daemon=True).start()


def _outlive_briefly(command: psutil.Process):
    with suppress(psutil.Error):
        while command.is_running() and command.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    os._exit(1)
