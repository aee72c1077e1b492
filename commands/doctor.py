"""`python course.py doctor`: what this machine can do for the course, and what to do about the rest.

With --measure it also says how fast that is, by five small measurements (`commands.measure`).
`examine` answers with the table as rows, which chapter 1 shows; `main` prints it.
"""

import argparse
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass

import psutil
from packaging.requirements import Requirement

import course
from util.errors import UserError, main_guard
from util.paths import PROJECT, cache_root, data_root, generated_root, output_root, shown


@dataclass(frozen=True)
class Row:
    """One line of the table: what was looked at, what was found, and advice where something is amiss."""

    what: str
    found: str
    advice: str = ""


def examine() -> list[Row]:
    """Look at Python, the packages, the processor, memory, disk and GPU; nothing is changed."""
    return [*_machine(), *_torch(), *_packages(), *_data()]


def _machine():
    version = platform.python_version()
    supported = course.OLDEST <= sys.version_info[:2] <= course.NEWEST
    oldest, newest = (".".join(map(str, version)) for version in (course.OLDEST, course.NEWEST))
    yield Row("Python", version, "" if supported else f"use Python {oldest} to {newest}")
    yield Row("system", f"{platform.system()} {platform.machine()}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Row("CPU cores", str(cores), "" if cores >= 2 else "everything runs, about twice as long")
    memory = psutil.virtual_memory()
    advice = "" if memory.available > 4e9 else "close other programs: the largest step takes about 4 GB"
    yield Row("memory", f"{memory.total / 1e9:.0f} GB, {memory.available / 1e9:.0f} GB free", advice)
    yield from _disks()


def _disks():
    """A row for each disk that the course would write to."""
    folders = {"OUTPUT": output_root(), "GENERATED": generated_root(), "CACHE": cache_root()}
    disks = {}
    for name, folder in folders.items():
        place = next(p for p in [folder, *folder.parents] if p.exists())
        disks.setdefault(os.stat(place).st_dev, []).append((name, place))
    for places in disks.values():
        free = shutil.disk_usage(places[0][1]).free
        names = " and ".join(f"COURSE_{name}" for name, _ in places)
        advice = "" if free > 3e9 else f"make room, or set {names} to folders on a larger disk"
        for name, place in places:
            if not os.access(place, os.W_OK):
                advice = f"{shown(place)} cannot be written; set COURSE_{name} to a folder that can"
        yield Row("disk", f"{free / 1e9:.0f} GB free", advice)


def _torch():
    import torch

    from util.runtime import get_device, has_fast_bfloat16

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU"
    yield Row("PyTorch", f"{torch.__version__}, built for {built}")
    features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    useful = [name for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16") if features.get(name)]
    yield Row("CPU features", ", ".join(useful) or "none that PyTorch names")
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        yield Row("GPU", f"{properties.name}, {properties.total_memory / 1e9:.0f} GB")
    elif driver := _nvidia_driver():
        advice = (
            "update NVIDIA's driver" if torch.version.cuda else "install PyTorch's CUDA build (pytorch.org)"
        )
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
        yield Row("GPU", f"one with driver {driver}, but PyTorch, built for {built}, cannot use it", advice)
    else:
        yield Row("GPU", "none that PyTorch can use (the course does not need one)")
    try:
        device = get_device()
    except UserError:
        asked = os.environ.get("COURSE_DEVICE")
        yield Row(
            "computes on", f"nothing: COURSE_DEVICE is '{asked}', which is not here", "unset COURSE_DEVICE"
        )
        return
    numbers = "bfloat16 in hardware" if has_fast_bfloat16(device) else "float32"
    yield Row("computes on", f"{device}, {numbers}")


def _nvidia_driver() -> str:
    """The version of NVIDIA's driver, as its own tool tells it; empty without a card or driver."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return ""
    question = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.split("\n")[0].strip() if answer.returncode == 0 else ""


def _packages():
    """Every line of requirements.txt against what is installed."""
    wrong = []
    count = 0
    for line in (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
        if not text:
            continue
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        count += 1
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(installed.split("+")[0], prereleases=True):
            wrong.append(f"{requirement.name} is {installed}, not {requirement.specifier}")
    found = f"{count - len(wrong)} of {count} as required" + "".join(f"; {w}" for w in wrong)
    yield Row("packages", found, "run 'python3 course.py setup'" if wrong else "")


def _data():
    root = data_root()
    there = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    yield Row("real data", ", ".join(there) or "none (the course generates what it needs)")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="course.py doctor", description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="how fast this machine is, too: three minutes")
    parser.add_argument("--json", metavar="F", help="with --measure: write the figures to this file")
    options = parser.parse_args(arguments)
    if options.json and not options.measure:
        raise UserError("--json writes what --measure measures; give both")
    rows = examine()
    for row in rows:
        print(f"{row.what:13} {row.found}" + (f"\n{'':13} -> {row.advice}" if row.advice else ""))
    advised = sum(bool(row.advice) for row in rows)
    things = "one thing" if advised == 1 else f"{advised} things"
    print(f"\n{things} to look at (->)" if advised else "\nready for the course")
    if options.measure:
        from commands import measure  # imports most of the course

        print()
        measure.main(options.json)


if __name__ == "__main__":
    main_guard(main)
