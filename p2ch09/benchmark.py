"""How fast patients are made: CPU seconds and memory per scan (chapter 9).

python -m p2ch09.benchmark [--full] [--json F]
"""

import argparse
import json
import time
from pathlib import Path

from p2ch09.phantom import SHAPE, make_patient
from util.errors import main_guard
from util.files import atomic_path

FULL = (250, 512, 512)


def cpu_seconds(shape, seeds):
    """CPU seconds of `make_patient` per seed, the first call's imports left out."""
    make_patient(0, (16, 64, 64))
    seconds = []
    for seed in seeds:
        start = time.process_time()
        make_patient(seed, shape)
        seconds.append(time.process_time() - start)
    return seconds


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m p2ch09.benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="also a scan of 250 x 512 x 512")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    small = cpu_seconds(SHAPE, range(1, 9))
    result = {"small_mean_s": sum(small) / len(small), "small_max_s": max(small)}
    print(f"{SHAPE}: {result['small_mean_s']:.2f} s of CPU on average, {result['small_max_s']:.2f} s at most")
    if options.full:
        result["full_s"] = cpu_seconds(FULL, [1])[0]
        line = f"{FULL}: {result['full_s']:.1f} s of CPU"
        try:
            import resource
        except ImportError:  # Windows has no such count
            pass
        else:
            # Kilobytes on Linux, bytes on macOS.
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            result["peak_gb"] = peak / (1e9 if peak > 1e8 else 1e6)
            line += f", {result['peak_gb']:.1f} GB of memory at most"
        print(line)
    if options.json:
        with atomic_path(options.json) as temporary:
            temporary.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main_guard(main)
