"""Fill the scan store before training, so that no epoch waits for decompression.

python -m p2ch11.prepcache --num-workers 2
"""

import argparse

from p2ch10.dsets import getCandidateInfoList
from p2ch10.store import fill_store
from util.files import main_guard


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-workers", type=int, default=2, help="processes that decompress and store")
    options = parser.parse_args(arguments)
    series_uids = sorted({candidate.series_uid for candidate in getCandidateInfoList()})
    fill_store(series_uids, processes=options.num_workers)
    print(f"{len(series_uids)} scans are in the store")


if __name__ == "__main__":
    main_guard(main)
