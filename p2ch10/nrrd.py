"""NRRD (.nrrd), the format of 3D Slicer: a text header, an empty line, the voxels.

Format: "Definition of NRRD File Format" of Teem. Tested against ITK.
"""

import bz2
import math
import re
from pathlib import PurePosixPath

import numpy as np

from p2ch10.packed import GZIP, check_size, inflate
from p2ch10.volume import Stored, called, check_shape
from util.errors import UserError

LONGEST_HEADER = 1 << 20
_C_NAMES = {
    "i1": "signed char,int8,int8_t", "u1": "uchar,unsigned char,uint8,uint8_t",
    "i2": "short,short int,signed short,signed short int,int16,int16_t",
    "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t", "i4": "int,signed int,int32,int32_t",
    "u4": "uint,unsigned int,uint32,uint32_t",
    "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
    "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t", "f4": "float", "f8": "double",
}  # fmt: skip
TYPES = {name: kind for kind, names in _C_NAMES.items() for name in names.split(",")}
SPACES = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1), "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
OTHER_NAMES = {
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "centers": "centerings",
}
ABOUT_VOXELS = {
    "type", "dimension", "sizes", "encoding", "endian", "space", "space directions", "space origin", "data file",
    "line skip", "byte skip", "space units", "space dimension", "kinds",
}  # fmt: skip
HARMLESS = {
    "content", "number", "min", "max", "old min", "old max", "sample units", "spacings", "thicknesses",
    "axis mins", "axis maxs", "centerings", "labels", "units", "measurement frame", "sampleunits", "oldmin", "oldmax",
}  # fmt: skip


def read_nrrd(path, max_voxels=None) -> Stored:
    """The image at `path`. Raises `UserError`, one sentence, for what is damaged, cut or not a volume."""
    data = path.read_bytes()
    fields, data = _header(data, path)
    shape, values_axes = _shape(fields, path)
    check_shape(path, shape, max_voxels)
    kind = TYPES.get(fields["type"].lower())
    if kind is None:
        raise UserError(f"'{called(path)}' has voxels of type '{fields['type'][:20]}'; save it as short")
    endian = fields.get("endian", "little" if kind[1] == "1" else "").lower()
    if endian not in ("little", "big") and fields["encoding"].lower() not in ("ascii", "text", "txt"):
        raise UserError(
            f"the header of '{called(path)}' does not tell its byte order (endian); fetch it again"
        )
    dtype = np.dtype((">" if endian == "big" else "<") + kind)
    raw = _bytes(fields, data, math.prod(shape) * dtype.itemsize, path)
    values = np.frombuffer(raw, dtype).reshape(shape)
    steps, origin = _geometry(fields, values_axes, path)
    spacing = np.linalg.norm(steps, axis=0)
    return Stored(values, origin, spacing, steps / np.where(spacing > 0, spacing, 1), [])


def _header(data, path):
    """({field: value}, the bytes behind the header)."""
    if data[:6] != b"NRRD00":
        raise UserError(
            f"'{called(path)}' has no readable header; it is no NRRD file or damaged: fetch it again"
        )
    end = re.search(rb"\r?\n\r?\n", data[:LONGEST_HEADER])
    text = data[: end.start() if end else LONGEST_HEADER].decode("utf-8", "replace")
    fields = {}
    for line in text.splitlines()[1:]:
        if line.startswith("#") or ":=" in line:
            continue
        name, colon, value = line.partition(":")
        name = OTHER_NAMES.get(name.strip().lower(), name.strip().lower())
        if not colon or name not in ABOUT_VOXELS | HARMLESS:
            shown = "".join(c if c.isprintable() else "?" for c in line[:30])
            raise UserError(
                f"the header of '{called(path)}' has the line '{shown}', which is not known; fetch it again"
            )
        if name in fields:
            raise UserError(f"the header of '{called(path)}' says '{name}' twice; correct it")
        fields[name] = value.strip()
    for needed in ("type", "dimension", "sizes", "encoding"):
        if needed not in fields:
            raise UserError(f"'{called(path)}' has no readable header ({needed} is missing); fetch it again")
    if "data file" not in fields and end is None:
        raise UserError(f"'{called(path)}' ends with its header; it is truncated: fetch it again")
    return fields, data[end.end() :] if end else b""


def _shape(fields, path):
    """((k, j, i), which axes of the file those are)."""
    try:
        sizes = [int(part) for part in fields["sizes"].split()]
        dimension = int(fields["dimension"])
    except ValueError:
        sizes, dimension = [], -1
    if len(sizes) != dimension or min(sizes, default=0) < 1:
        raise UserError(
            f"the header of '{called(path)}' has the sizes {fields['sizes'][:40]} for dimension "
            f"{fields['dimension'][:10]}; correct it"
        )
    kinds = fields.get("kinds", "").lower().split()
    coloured = [n for n, kind in enumerate(kinds) if re.search("color|vector|matrix|complex", kind)]
    if any(n < len(sizes) and sizes[n] > 1 for n in coloured):
        raise UserError(f"'{called(path)}' holds colours; a CT scan has one number (HU) per voxel")
    axes = list(range(len(sizes)))
    while len(axes) > 3 and any(sizes[axis] == 1 for axis in axes):
        axes.remove(max(axis for axis in axes if sizes[axis] == 1))
    return tuple(sizes[axis] for axis in axes[::-1]), axes


def _bytes(fields, data, size, path):
    if "data file" in fields:
        name = fields["data file"]
        if name.upper().startswith("LIST") or "%" in name or name != PurePosixPath(name).name:
            raise UserError(
                f"'{called(path)}' names the data file '{name[:40]}', not one beside it; save it as one .nrrd"
            )
        if not (path.parent / name).is_file():
            raise UserError(
                f"'{called(path)}' names the data file '{name[:60]}', which is not there: fetch it again"
            )
        data = (path.parent / name).read_bytes()
    encoding = fields["encoding"].lower()
    try:
        skip = int(fields.get("byte skip", 0))
        lines = int(fields.get("line skip", 0))
    except ValueError:
        skip, lines = -2, 0
    if lines or skip < -1 or (skip and encoding != "raw"):
        raise UserError(
            f"the header of '{called(path)}' skips lines or bytes in a way not read here; save it again"
        )
    if encoding in ("gzip", "gz"):
        return inflate(data, size, GZIP, path)
    if encoding in ("bzip2", "bz2"):
        try:
            data = bz2.BZ2Decompressor().decompress(data, size + 1)
        except (OSError, EOFError) as error:
            raise UserError(f"'{called(path)}' is damaged or truncated ({error}); fetch it again") from error
    elif encoding != "raw":
        raise UserError(f"'{called(path)}' has the encoding '{encoding[:20]}'; save it as raw or gzip")
    data = data[len(data) - size :] if skip == -1 and len(data) >= size else data[max(skip, 0) :]
    check_size(len(data), size, path)
    return data


def _geometry(fields, axes, path):
    """(steps (3, 3): columns are one step along i, j, k; origin), LPS mm."""
    signs = SPACES.get(fields.get("space", "").lower())
    if signs is None or "space directions" not in fields or "space origin" not in fields:
        raise UserError(
            f"'{called(path)}' does not say how the patient lies in it (space, space directions and space origin); "
            "save it again with a tool that keeps them"
        )
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {"mm", ""}
    if units:
        raise UserError(f"'{called(path)}' has distances in '{units.pop()[:10]}'; write them in mm")
    given = re.findall(r"none|\(([^)]*)\)", fields["space directions"])
    try:
        steps = np.array([[float(v) for v in given[axis].split(",")] for axis in axes]).T
        origin = np.array([float(v) for v in fields["space origin"].strip("() ").split(",")])
        if steps.shape != (3, 3) or origin.shape != (3,):
            raise ValueError
    except (ValueError, IndexError):
        raise UserError(
            f"the header of '{called(path)}' has damaged space directions or a damaged origin; correct it"
        ) from None
    signs = np.array(signs, float)
    return steps * signs[:, None], origin * signs
