"""What a process remembers of the LUNA data: whole scans within a budget, and answers worked out once."""

import functools
import threading
from collections import OrderedDict

from p2ch10.store import gigabytes


class ScanMemory:
    """Whole scans within a byte budget (`COURSE_MEMORY_GB` per process), the least recently used dropped."""

    def __init__(self):
        self._scans = OrderedDict()
        self._lock = threading.Lock()

    @property
    def budget(self) -> float:
        """Bytes that all scans together may take."""
        return gigabytes("COURSE_MEMORY_GB", 1.5) * 1e9

    def used(self) -> int:
        """Bytes of the scans held."""
        return sum(ct.hu_a.nbytes for ct in self._scans.values())

    def get(self, series_uid):
        """The scan with this UID, or None."""
        with self._lock:
            ct = self._scans.get(series_uid)
            if ct is not None:
                self._scans.move_to_end(series_uid)
            return ct

    def put(self, ct):
        """Keep a `Ct`; the least recently used ones go where the budget is exceeded."""
        with self._lock:
            self._scans[ct.series_uid] = ct
            while len(self._scans) > 1 and self.used() > self.budget:
                self._scans.popitem(last=False)

    def has_room(self) -> bool:
        """Room for one more scan like those held, without dropping any? Never with a budget of 0."""
        with self._lock:
            used, count = self.used(), len(self._scans)
        return 0 < self.budget >= used * (1 + 1 / max(count, 1))

    def clear(self):
        """Drop all scans."""
        with self._lock:
            self._scans.clear()


memory = ScanMemory()
_forgettable = [memory.clear]


def remembered(maxsize=None):
    """`functools.lru_cache(maxsize)` for what is worked out from the LUNA data; `forget` empties it."""

    def decorate(function):
        cached = functools.lru_cache(maxsize)(function)
        _forgettable.append(cached.cache_clear)
        return cached

    return decorate


def forget():
    """Drop everything remembered about the LUNA data, after its files or environment variables changed."""
    for clear in _forgettable:
        clear()
