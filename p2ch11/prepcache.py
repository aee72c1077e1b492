"""Fill the scan store before training, so that no epoch waits for decompression.

python -m p2ch11.prepcache --num-workers 2
"""

import argparse

from p2ch10.dsets import scan_paths
from p2ch10.store import fill_store
from util.errors import UserError, main_guard


class LunaPrepCacheApp:
    """Stores every scan of the LUNA data that is not stored yet (chapter 11, "Care and feeding of data loaders").

    sys_argv: the command line as a list of words, or None for this process's own. Raises `UserError` for
    numbers below one.
    """

    def __init__(self, sys_argv=None):
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("--num-workers", type=int, default=2, help="scans to work on at the same time")
        parser.add_argument(
            "--batch-size", type=int, default=1, help="for the book's sake: scans are stored one by one"
        )
        self.cli_args = parser.parse_args(sys_argv)
        for name in ("num_workers", "batch_size"):
            value = getattr(self.cli_args, name)
            if value < 1:
                option = "--" + name.replace("_", "-")
                raise UserError(f"{option} is {value}; give a whole number of at least 1")

    def main(self):
        """Fill the store; prints and returns how many scans are new in it."""
        added = fill_store(scan_paths(), processes=self.cli_args.num_workers)
        print(f"{len(scan_paths())} scans are in the store, {added} of them new")
        return added


if __name__ == "__main__":
    main_guard(lambda: LunaPrepCacheApp().main() and None)
