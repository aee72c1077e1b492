"""Builds and runs the C++ programs of `p3ch15/cpp` (chapter 15, "LibTorch: PyTorch in C++").

    python -m p3ch15.native                          builds them and says where they lie
    python -m p3ch15.native classify MODEL IN OUT    builds and runs one

Needs cmake and a C++ compiler (and takes ninja where there is one). What was built is kept in the
course's cache and built again only when a source or PyTorch itself has changed.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from util.errors import UserError, main_guard
from util.paths import PROJECT, cache_root, shown

SOURCES = PROJECT / "p3ch15" / "cpp"
PROGRAMS = ("stripes", "classify", "train", "generator")


def missing_tools() -> list[str]:
    """What a build would need and does not find here: an empty list if nothing."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    found = {"cmake": shutil.which("cmake"), "a C++ compiler": compiler}
    return [name for name, path in found.items() if not path]


def build(*programs) -> Path:
    """Build these programs, by default all, unless they are there already; returns their folder.

    Raises `UserError` with the compiler's last lines if it does not work out.
    """
    programs = programs or PROGRAMS
    digest = hashlib.sha256(f"{torch.__version__} {torch.__path__[0]}".encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.read_bytes())
    folder = cache_root() / "cpp" / digest.hexdigest()[:12]
    if all((folder / _file(name)).is_file() for name in programs):
        return folder
    missing = missing_tools()
    if missing:
        raise UserError(f"building the C++ programs needs {' and '.join(missing)}; install it and try again")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    _run(
        [
            "cmake",
            "-S",
            SOURCES,
            "-B",
            folder,
            *generator,
            f"-DTORCH_ROOT={Path(torch.__path__[0]).as_posix()}",
        ]
    )
    # A compiler takes 1.3 GB for PyTorch's headers: one at a time, however many cores there are.
    _run(["cmake", "--build", folder, "--config", "Release", "--parallel", "1", "--target", *programs])
    return folder


def _file(name) -> str:
    return f"{name}.exe" if os.name == "nt" else name


def _run(command):
    said = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if said.returncode:
        last = "\n".join((said.stdout + said.stderr).splitlines()[-15:])
        raise UserError(f"{command[0]} failed; its last lines:\n{last}")


def run(program, *arguments, threads=None) -> str:
    """Build if need be, run `program`, and answer what it printed.

    threads: how many the program computes with, default PyTorch's number. Raises `UserError` if it fails.
    """
    if program not in PROGRAMS:
        raise UserError(f"there is no program {program!r}; choose one of {', '.join(PROGRAMS)}")
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads or torch.get_num_threads()))
    said = subprocess.run(
        [str(build(program) / _file(program)), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )
    if said.returncode:
        raise UserError(f"{program}: {said.stderr.strip().removeprefix('error: ') or said.returncode}")
    return said.stdout


def write_floats(path, tensor):
    """The tensor as a file without a header, as the C++ programs read it: float32, C order."""
    np.asarray(tensor, dtype=np.float32).tofile(path)


def read_floats(path, *sample) -> torch.Tensor:
    """A file that a C++ program wrote, as (N, *sample)."""
    return torch.from_numpy(np.fromfile(path, dtype=np.float32)).reshape(-1, *sample)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m p3ch15.native", description=__doc__.splitlines()[0])
    parser.add_argument("program", nargs="?", choices=PROGRAMS)
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args(arguments)
    if options.program:
        sys.stdout.write(run(options.program, *options.arguments))
    else:
        print(f"{', '.join(PROGRAMS)} in {shown(build())}")


if __name__ == "__main__":
    main_guard(main)
