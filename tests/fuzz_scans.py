"""Damaged files: whatever a disk or a network does to a scan, it is read right or refused in one sentence.

    python -m tests.fuzz_scans --files 500

flips, cuts, swaps and repeats bytes of headers and voxels. Counted are files refused, files read to the same
voxels, files read to other voxels with a note that says why, and, as failures, tracebacks and other voxels
without a word. One thing cannot be known: formats without a checksum (raw MetaImage and NIfTI, DICOM but for
its structure) say nothing of a changed byte among the voxels, so those bytes are left alone there; and of a header
field that no other field contradicts, such as the size of a voxel, a changed value is a valid value (so are two
sizes exchanged, which a lucky swap of bytes may do). Voxels are compared, therefore, not places.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from p2ch10.reading import read_volume
from tests import scan_files
from util.errors import UserError

FORMS = (*scan_files.FILES, "DICOM", "DICOM, JPEG-LS")
# Formats whose voxels carry a checksum: there any byte may change.
CHECKED = ("NIfTI, gzip", "NRRD, gzip", "MetaImage, zlib", "MetaImage, local, zlib")


def write(form, folder, hu):
    """(the scan to read, its files, how many bytes at a file's end are voxels without a checksum)."""
    folder.mkdir()
    if form.startswith("DICOM"):
        scan_files.dicom(folder, hu, syntax=form.partition(", ")[2] or "explicit", layout="<u2")
        # Pixels are the last element of a file.
        return folder, sorted(folder.iterdir()), hu[0].nbytes
    name, writer = scan_files.FILES[form]
    writer(folder / name, hu)
    return folder / name, sorted(folder.iterdir()), 0 if form in CHECKED else hu.nbytes


def damage(data: bytes, rng, unchecked) -> bytes:
    """`data`, damaged in one of several ways; the last `unchecked` bytes may be cut, not changed."""
    data = bytearray(data)
    last = len(data) - unchecked
    if last <= 0:  # voxels alone: nothing tells of a change, only of another length
        return bytes(data[: int(rng.integers(0, len(data)))] if rng.random() < 0.5 else data + b"more")
    # Headers are short, so half of the damage is aimed at the beginning.
    most = min(last, 400) if rng.random() < 0.5 else last
    place, other = (int(n) for n in rng.integers(0, most, 2))
    kind = rng.choice(["bit", "byte", "swap", "cut", "longer", "hole"])
    if kind == "bit":
        data[place] ^= 1 << int(rng.integers(8))
    elif kind == "byte":
        data[place] = int(rng.integers(256))
    elif kind == "swap":
        data[place], data[other] = data[other], data[place]
    elif kind == "cut":
        del data[int(rng.integers(0, len(data))) :]
    elif kind == "longer":
        data += rng.bytes(int(rng.integers(1, 50)))
    else:
        data[place : min(place + int(rng.integers(1, 16)), most)] = b""
    return bytes(data)


def try_one(form, folder, hu, want, rng) -> str:
    """What becomes of one damaged scan: "refused", "same", "told" or a sentence about the fault."""
    path, files, unchecked = write(form, folder, hu)
    file = files[int(rng.integers(len(files)))]
    data = file.read_bytes()
    if file.suffix == ".mhd":
        unchecked = 0
    damaged = damage(data, rng, unchecked)
    file.write_bytes(damaged)
    try:
        volume = read_volume(path)
    except UserError as error:
        return "refused" if "\n" not in str(error) else f"not one sentence: {error}"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"
    if volume.hu.shape == want.shape and np.array_equal(volume.hu, want):
        return "same"
    return (
        "told"
        if volume.notes
        else f"other voxels {volume.hu.shape} without a word: {_difference(data, damaged)}"
    )


def _difference(before, after):
    place = next((n for n, (a, b) in enumerate(zip(before, after)) if a != b), min(len(before), len(after)))
    return f"from byte {place}: {before[place : place + 12]!r} became {after[place : place + 12]!r}"


def fuzz(form, count, seed=0) -> Counter:
    """{outcome: how often} of `count` damaged scans of one form."""
    hu = scan_files.patient((6, 9, 11))
    want, outcomes = np.clip(hu, -1000, 1000), Counter()
    for number in range(count):
        rng = np.random.default_rng((seed, FORMS.index(form), number))
        with tempfile.TemporaryDirectory() as folder:
            outcomes[try_one(form, Path(folder) / "scan", hu, want, rng)] += 1
    return outcomes


def faults(outcomes) -> dict:
    return {outcome: n for outcome, n in outcomes.items() if outcome not in ("refused", "same", "told")}


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Damage scans, and see that no reader is fooled.")
    parser.add_argument("--files", type=int, default=500, help="of each form")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    found = 0
    for form in FORMS:
        outcomes = fuzz(form, options.files, options.seed)
        counts = ", ".join(f"{outcomes[name]} {name}" for name in ("refused", "same", "told"))
        print(f"{form}: {counts}, {sum(faults(outcomes).values())} faults")
        for outcome, count in faults(outcomes).items():
            print(f"  {count} x {outcome}")
        found += sum(faults(outcomes).values())
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
