"""MetaImage, the format of LUNA16: a text header (.mhd) and the voxels beside it, or both in one (.mha).

Written by hand because chapter 10 opens these files by hand ("Raw CT data files"), and because a header has
two names for several fields; whoever knows only one of them reads other voxels. Tested against ITK.
"""

import math
from pathlib import Path, PurePosixPath

import numpy as np

from p2ch10.packed import ZLIB, check_size, inflate
from p2ch10.volume import Stored, called, check_shape
from util.errors import UserError

LONGEST_HEADER = 1 << 20
TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
OTHER_NAMES = {
    "Position": "Offset",
    "Origin": "Offset",
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
IN_MM = {"mm": 1.0, "um": 0.001, "cm": 10.0, "?": 1.0, "": 1.0}
# Fields that begin like these say how the voxels are stored. One that is not known here may change them.
ABOUT_VOXELS = ("Element", "Binary", "Compress", "Header", "Dim", "NDims", "Distance")
KNOWN = {
    "NDims", "DimSize", "BinaryData", "BinaryDataByteOrderMSB", "CompressedData", "CompressedDataSize",
    "CompressionLevel", "HeaderSize", "ElementType", "ElementSize", "ElementSpacing", "ElementDataFile",
    "ElementNumberOfChannels", "ElementNBits", "ElementMin", "ElementMax", "ElementToIntensityFunctionSlope",
    "ElementToIntensityFunctionOffset", "DistanceUnits",
}  # fmt: skip


def read_metaimage(path, max_voxels=None) -> Stored:
    """The image at `path`. Raises `UserError`, one sentence, for what is missing, damaged or not a volume."""
    fields, behind = _header(path)
    shape = _shape(fields, path)
    check_shape(path, shape, max_voxels)
    if fields.get("Modality", "MET_MOD_CT") in ("MET_MOD_MR", "MET_MOD_NM", "MET_MOD_US"):
        raise UserError(f"'{called(path)}' says that it is no CT ({fields['Modality']}); give a CT scan")
    values = _values(fields, shape, path, behind)
    slope = _numbers(fields, "ElementToIntensityFunctionSlope", path, 1, [1.0])[0]
    shift = _numbers(fields, "ElementToIntensityFunctionOffset", path, 1, [0.0])[0]
    notes = []
    if (slope, shift) != (1, 0):
        values = values * slope + shift
        notes.append(f"values were taken times {slope:g} plus {shift:g}, as the header says")
    if "ElementSpacing" not in fields and "ElementSize" not in fields:
        raise UserError(
            f"'{called(path)}' does not say how large its voxels are; add ElementSpacing (in mm) to the header"
        )
    unit = fields.get("DistanceUnits", "").lower()
    if unit not in IN_MM:
        raise UserError(f"'{called(path)}' has distances in '{unit}'; write them in mm")
    spacing = _numbers(fields, "ElementSpacing" if "ElementSpacing" in fields else "ElementSize", path, 3)
    if not all(mm > 0 for mm in spacing):
        raise UserError(
            f"'{called(path)}' has a voxel size of zero or less in its header; correct the spacing (in mm)"
        )
    # One row of the file per axis; here columns are axes.
    direction = np.reshape(
        _numbers(fields, "TransformMatrix", path, 9, [1, 0, 0, 0, 1, 0, 0, 0, 1]), (3, 3)
    ).T
    origin = _numbers(fields, "Offset", path, 3, [0, 0, 0])
    return Stored(values, np.array(origin) * IN_MM[unit], np.array(spacing) * IN_MM[unit], direction, notes)


def data_files(path) -> list[Path]:
    """The files of voxels that the header at `path` names; [] where they follow the header."""
    return _data_files(_header(path)[0], path)


def _header(path):
    """({field: value}, where the voxels begin that follow the header)."""
    with open(path, "rb") as file:
        data = file.read(LONGEST_HEADER)
    fields, start = {}, 0
    while start < len(data) and "ElementDataFile" not in fields:
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        line, start = data[start:end], end + 1
        name, equals, value = line.decode("utf-8", "replace").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name.isprintable():
            if line.strip():
                raise UserError(
                    f"'{called(path)}' has no readable header (line '{_short(line)}'); fetch it again"
                )
            continue
        known_as = OTHER_NAMES.get(name, name)
        if known_as in fields and fields[known_as] != value:
            raise UserError(f"the header of '{called(path)}' says {known_as} twice, differently; correct it")
        fields[known_as] = value
    for needed in ("NDims", "DimSize", "ElementType", "ElementDataFile"):
        if needed not in fields:
            raise UserError(f"'{called(path)}' has no readable header ({needed} is missing); fetch it again")
    strange = [name for name in fields if name.startswith(ABOUT_VOXELS) and name not in KNOWN]
    if strange:
        raise UserError(
            f"the header of '{called(path)}' has a field {strange[0][:40]}, and what it does to the voxels is "
            "not known here; save the scan again without it"
        )
    first, *more = fields["ElementDataFile"].split() or [""]
    if first == "LIST":  # one name a line, to the end
        fields["LIST"] = data[start:].decode("utf-8", "replace")
    elif first.upper() != "LOCAL" and data[start:].strip(b"\0 \t\r\n"):
        raise UserError(
            f"the header of '{called(path)}' goes on after ElementDataFile, which must be its last line"
        )
    return fields, start


def _short(line) -> str:
    return "".join(c if c.isprintable() else "?" for c in line[:30].decode("ascii", "replace"))


def _numbers(fields, name, path, count, otherwise=None):
    if name not in fields:
        return otherwise
    try:
        numbers = [float(part) for part in fields[name].split()]
    except ValueError:
        numbers = []
    if len(numbers) < count or not np.isfinite(numbers).all():
        raise UserError(
            f"the header of '{called(path)}' has {name} = {fields[name][:40]}, which is not {count} numbers; correct it"
        )
    return numbers[:count]


def _is_true(fields, name, path, otherwise=False):
    value = fields.get(name, str(otherwise)).lower()
    if value not in ("true", "false", "t", "f", "1", "0", "yes", "no"):
        raise UserError(f"the header of '{called(path)}' has {name} = {value[:20]}; it must be True or False")
    return value in ("true", "t", "1", "yes")


def _shape(fields, path):
    """(k, j, i)."""
    try:
        sizes = [int(part) for part in fields["DimSize"].split()]
        dimensions = int(fields["NDims"])
    except ValueError:
        sizes, dimensions = [], -1
    if len(sizes) != dimensions or min(sizes, default=0) < 1:
        raise UserError(
            f"the header of '{called(path)}' has DimSize = {fields['DimSize'][:40]} for NDims = "
            f"{fields['NDims'][:10]}; correct it"
        )
    while len(sizes) > 3 and sizes[-1] == 1:  # one volume of a series in time
        sizes.pop()
    return tuple(sizes[::-1])


def _data_files(fields, path):
    path = Path(path)
    first, *more = fields["ElementDataFile"].split() or [""]
    if first.upper() == "LOCAL":
        return []
    if first.upper() == "LIST":
        names = [line.strip() for line in fields["LIST"].splitlines() if line.strip()]
    elif "%" in first and len(more) in (2, 3):
        try:
            begin, end, step = (*map(int, more), 1)[:3]
            names = [first % number for number in range(begin, end + 1, step)][:100_000]
        except (ValueError, TypeError):
            raise UserError(
                f"'{called(path)}' names its data files by '{fields['ElementDataFile'][:40]}'; list them instead"
            ) from None
    else:
        names = [fields["ElementDataFile"]]
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        # A header from elsewhere must not make this machine read any file it likes.
        if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]:
            raise UserError(
                f"'{called(path)}' names the data file '{parts[-1][:60] if parts else ''}' in another "
                "folder, not beside it; put both into one folder and write the plain name"
            )
    return [path.parent / PurePosixPath(name.replace("\\", "/")) for name in names]


def _values(fields, shape, path, behind):
    kind = TYPES.get(fields["ElementType"])
    channels = fields.get("ElementNumberOfChannels", "1")
    if channels != "1" or fields["ElementType"].endswith("_ARRAY"):
        raise UserError(f"'{called(path)}' holds colours; a CT scan has one number (HU) per voxel")
    if kind is None:
        raise UserError(
            f"'{called(path)}' has voxels of type {fields['ElementType'][:20]}, which is not read here; "
            "save it as MET_SHORT"
        )
    order = ">" if _is_true(fields, "BinaryDataByteOrderMSB", path) else "<"
    dtype = np.dtype(order + kind)
    files = _data_files(fields, path)
    for file in files:
        if not file.is_file():
            raise UserError(
                f"'{called(path)}' names the data file '{file.name}', which is not there: fetch it again"
            )
    if not files:
        raw = _bytes(fields, Path(path), math.prod(shape) * dtype.itemsize, path, behind)
    elif len(files) == 1:
        raw = _bytes(fields, files[0], math.prod(shape) * dtype.itemsize, path)
    else:
        if len(files) != shape[0]:
            raise UserError(
                f"'{called(path)}' names {len(files)} data files for {shape[0]} slices; fetch it again"
            )
        size = math.prod(shape[1:]) * dtype.itemsize
        raw = b"".join(_bytes(fields, file, size, path) for file in files)
    return np.frombuffer(raw, dtype).reshape(shape)


def _bytes(fields, file, size, path, start=0):
    """The `size` bytes of voxels in `file`, behind a header of its own where the fields say so."""
    data = file.read_bytes()[start:]
    if not _is_true(fields, "BinaryData", path, otherwise=True):
        raise UserError(f"'{called(path)}' holds its voxels as text; save it as binary data")
    is_packed = _is_true(fields, "CompressedData", path)
    skip = int(_numbers(fields, "HeaderSize", path, 1, [0])[0])
    if skip > 0:
        data = data[skip:]
    elif skip == -1 and not is_packed:  # "the voxels are what stands last"
        data = data[max(len(data) - size, 0) :]
    elif skip < 0:
        raise UserError(
            f"the header of '{called(path)}' has HeaderSize = {skip} for compressed voxels; correct it"
        )
    if not is_packed:
        check_size(len(data), size, file)
        return data
    if "CompressedDataSize" in fields:
        check_size(len(data), int(_numbers(fields, "CompressedDataSize", path, 1)[0]), file)
    if len(data) == 0:
        raise UserError(f"'{called(file)}' is empty; fetch it again")
    return inflate(data, size, ZLIB, file)
