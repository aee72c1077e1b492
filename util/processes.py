"""Processes that a command starts, and how they end with it."""

import multiprocessing
import os
import threading
from multiprocessing import connection


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
