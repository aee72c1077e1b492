"""NIfTI (.nii, .nii.gz), the format of research on the brain and, by now, of most segmentation tools.

A binary header of 348 bytes (NIfTI-2: 540) tells everything. It is read here, not by ITK, because ITK takes
`scan.nii` where `scan.nii.gz` was named, does not notice a file that was cut, and refuses axes that are
bent by rounding. Layout: nifti1.h and nifti2.h. Tested against ITK.
"""

import math

import numpy as np

from p2ch10.packed import GZIP, beginning, check_size, inflate
from p2ch10.volume import Stored, called, check_shape
from util.errors import UserError

_FIRST = [
    ("sizeof_hdr", "i4"), ("unused1", "S35"), ("dim_info", "u1"), ("dim", "i2", 8), ("intent", "f4", 3),
    ("intent_code", "i2"), ("datatype", "i2"), ("bitpix", "i2"), ("slice_start", "i2"), ("pixdim", "f4", 8),
    ("vox_offset", "f4"), ("scl_slope", "f4"), ("scl_inter", "f4"), ("slice_end", "i2"), ("slice_code", "u1"),
    ("xyzt_units", "u1"), ("unused2", "S128"), ("qform_code", "i2"), ("sform_code", "i2"),
    ("quatern", "f4", 3), ("qoffset", "f4", 3), ("srow", "f4", (3, 4)), ("intent_name", "S16"), ("magic", "S4"),
]  # fmt: skip
_SECOND = [
    ("sizeof_hdr", "i4"), ("magic", "S8"), ("datatype", "i2"), ("bitpix", "i2"), ("dim", "i8", 8),
    ("intent", "f8", 3), ("pixdim", "f8", 8), ("vox_offset", "i8"), ("scl_slope", "f8"), ("scl_inter", "f8"),
    ("unused1", "S32"), ("unused2", "S104"), ("qform_code", "i4"), ("sform_code", "i4"), ("quatern", "f8", 3),
    ("qoffset", "f8", 3), ("srow", "f8", (3, 4)), ("slice_code", "i4"), ("xyzt_units", "i4"),
    ("intent_code", "i4"), ("intent_name", "S16"), ("dim_info", "u1"), ("unused3", "S15"),
]  # fmt: skip
LAYOUTS = {348: np.dtype(_FIRST), 540: np.dtype(_SECOND)}
TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
COLOURS = {32, 128, 1792, 2304}
IN_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
SCANNER = 1  # the code of the scanner's own coordinates; others are an atlas's
LPS = np.diag([-1.0, -1.0, 1.0])  # NIfTI counts to the right and to the front


def read_nifti(path, max_voxels=None) -> Stored:
    """The image at `path`. Raises `UserError`, one sentence, for what is damaged, cut or not a volume."""
    data = path.read_bytes()
    is_packed = data[:2] == b"\x1f\x8b"
    header, order = _header(beginning(data, 540) if is_packed else data[:540], path)
    shape = _shape(header, path)
    check_shape(path, shape, max_voxels)
    dtype = _dtype(header, order, path)
    start, size = int(header["vox_offset"]), math.prod(shape) * dtype.itemsize
    if is_packed:
        data = inflate(data, start + size, GZIP, path)
    check_size(len(data) - start, size, path)
    values = np.frombuffer(data, dtype, offset=start).reshape(shape)
    notes = []
    slope, shift = float(header["scl_slope"]), float(header["scl_inter"])
    if slope != 0 and math.isfinite(slope) and math.isfinite(shift) and (slope, shift) != (1, 0):
        values = values * np.float32(slope) + np.float32(shift)
        notes.append(f"values were taken times {slope:g} plus {shift:g}, as the header says")
    steps, origin = _geometry(header, shape, path, notes)
    spacing = np.linalg.norm(steps, axis=0)
    return Stored(values, origin, spacing, steps / np.where(spacing > 0, spacing, 1), notes)


def _header(start, path):
    """(the header as a record, byte order)."""
    for size, layout in LAYOUTS.items():
        for order in "<>":
            if len(start) >= size and np.frombuffer(start, order + "i4", 1)[0] == size:
                header = np.frombuffer(start, layout.newbyteorder(order), 1)[0]
                magic = header["magic"][:3]
                if magic in (b"ni1", b"ni2"):
                    raise UserError(
                        f"'{called(path)}' is a header without its voxels; give the scan as one .nii file"
                    )
                if magic not in (b"n+1", b"n+2"):
                    raise UserError(
                        f"'{called(path)}' is no NIfTI file, or an older kind; save it as NIfTI-1"
                    )
                return header, order
    raise UserError(f"'{called(path)}' has no readable header; it is damaged or truncated: fetch it again")


def _shape(header, path):
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        raise UserError(
            f"the header of '{called(path)}' has the sizes {dim[1:]}; it is damaged: fetch it again"
        )
    sizes = dim[1 : dim[0] + 1]
    while len(sizes) > 3 and sizes[-1] == 1:  # one volume of a series in time
        sizes.pop()
    return tuple(sizes[::-1])


def _dtype(header, order, path):
    code, bits, start = int(header["datatype"]), int(header["bitpix"]), float(header["vox_offset"])
    if code in COLOURS:
        raise UserError(f"'{called(path)}' holds colours; a CT scan has one number (HU) per voxel")
    dtype = np.dtype(order + TYPES[code]) if code in TYPES else None
    if dtype is None or dtype.itemsize * 8 != bits or not 348 <= start < 2**31 or start != int(start):
        raise UserError(
            f"the header of '{called(path)}' contradicts itself (type {code}, {bits} bits, voxels from byte "
            f"{start:g}); it is damaged: fetch it again"
        )
    return dtype


def _geometry(header, shape, path, notes):
    """(steps (3, 3): columns are one step along i, j, k; origin), LPS mm."""
    unit = IN_MM.get(int(header["xyzt_units"]) & 7)
    if unit is None:
        raise UserError(f"'{called(path)}' has distances in an unknown unit; write them in mm")
    srow, qform_code, sform_code = (
        header["srow"].astype(float),
        int(header["qform_code"]),
        int(header["sform_code"]),
    )
    found = {}
    if sform_code > 0 and np.isfinite(srow).all():
        found["sform"] = srow
        lengths, pixdim = np.linalg.norm(srow[:, :3], axis=0), header["pixdim"][1:4].astype(float)
        if (pixdim > 0).all() and not np.allclose(lengths, pixdim, rtol=0.02):
            raise UserError(
                f"the header of '{called(path)}' has two voxel sizes, {_mm(lengths)} and {_mm(pixdim)} mm; correct it"
            )
    if qform_code > 0:
        qform = _from_quaternion(header, path, needed=not found)
        if qform is not None:
            found["qform"] = qform
    if not found:
        raise UserError(
            f"'{called(path)}' does not say how the patient lies in it (neither qform nor sform); "
            "convert the scan again with a tool that keeps its orientation"
        )
    chosen = "sform" if "sform" in found else "qform"
    if len(found) == 2 and _apart(found["sform"], found["qform"], shape) > 0.5:
        codes = {"sform": sform_code, "qform": qform_code}
        ours = [name for name, code in codes.items() if code == SCANNER]
        if len(ours) != 1:
            raise UserError(
                f"the header of '{called(path)}' puts the scan into two different places (qform and sform); "
                "delete the wrong one"
            )
        chosen = ours[0]
        notes.append(f"the header gives two places; the scanner's own ({chosen}) was taken")
    affine = LPS @ found[chosen] * unit
    return affine[:, :3], affine[:, 3]


def _mm(lengths):
    return " x ".join(f"{mm:.3g}" for mm in lengths)


def _from_quaternion(header, path, needed):
    b, c, d = header["quatern"].astype(float)
    rest = 1 - (b * b + c * c + d * d)
    pixdim = header["pixdim"].astype(float)
    if not all(np.isfinite((b, c, d))) or rest < -1e-3 or not (pixdim[1:4] > 0).all():
        if not needed:
            return None
        raise UserError(
            f"'{called(path)}' has a voxel size of zero or less, or a damaged qform; correct the header"
        )
    a = math.sqrt(max(rest, 0))
    turn = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])  # fmt: skip
    turn[:, 2] *= -1 if pixdim[0] < 0 else 1
    return np.column_stack([turn * pixdim[1:4], header["qoffset"].astype(float)])


def _apart(one, other, shape) -> float:
    """How far apart two affines put the volume's corners at most, in voxels of the smallest size."""
    corners = np.array(
        [[i, j, k, 1] for i in (0, shape[2] - 1) for j in (0, shape[1] - 1) for k in (0, shape[0] - 1)]
    )
    distance = np.linalg.norm(corners @ (one - other).T, axis=1).max()
    return float(distance / max(np.linalg.norm(one[:, :3], axis=0).min(), 1e-6))
