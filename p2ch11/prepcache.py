"""Fill the scan store before training, so that no epoch waits for decompression.

python -m p2ch11.prepcache --num-workers 2
"""

import argparse

from p2ch10.dsets import scan_paths
from p2ch10.store import fill_store
from util.errors import main_guard


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-workers", type=int, default=2, help="scans to work on at the same time")
    options = parser.parse_args(arguments)
    added = fill_store(scan_paths(), processes=options.num_workers)
    print(f"{len(scan_paths())} scans are in the store, {added} of them new")


if __name__ == "__main__":
    main_guard(main)
