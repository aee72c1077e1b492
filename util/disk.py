"""The book's compressed disk cache. It has no successor here, and both names say what to use instead.

The first edition pickled each candidate's crop into a folder per chapter; its compression passed tuples
by, so that all candidates took some 163 GB. Here `p2ch10.store` keeps each scan once, compressed in small
blocks, and a crop is read from it about as fast as from a cache of crops.
"""

from util.errors import UserError

INSTEAD = (
    "crops need no cache of their own here: 'p2ch10.dsets.getCtRawCandidate' reads each from the scan store "
    "(p2ch10.store.ScanStore), which keeps every scan once, compressed"
)


def getCache(scope_str):
    """Raises `UserError`: it names the scan store, which is used instead."""
    raise UserError(f"there is no cache '{scope_str}'; {INSTEAD}")


class GzipDisk:
    """Raises `UserError` when made: it names the scan store, which is used instead."""

    def __init__(self, *args, **kwargs):
        raise UserError(f"there is no GzipDisk; {INSTEAD}")
