"""What a client sends, read with suspicion (chapter 15, "What we want from deployment").

Everything here comes from a stranger: sizes are checked before memory is taken, and nothing is unpickled.
"""

import base64
import io
import json
import re
from pathlib import PurePosixPath

import numpy as np

from util.errors import UserError

CROP_SHAPE = (32, 48, 48)
MAX_CROP_BYTES = 2**20  # a crop of float64 has 590 kB
MAX_CROPS = 64  # in one request that may hold several
_VOXELS = int(np.prod(CROP_SHAPE))


def read_crop(data: bytes, mimetype="") -> np.ndarray:
    """The crop in a request's body, float32 (32, 48, 48), clipped to [-1000, 1000] HU.

    data: the bytes of a `.npy` file, or with the mimetype `application/json` the text
    `{"crop": [[[…]]]}`. Raises `UserError` for anything else.
    """
    crop = _from_json(data) if mimetype == "application/json" else _from_npy(data)
    if not np.isfinite(crop).all():
        raise UserError("the crop has values that are not finite; give HU, -1000 to 1000")
    # Clipped first: in float32 a huge float64 would become infinite.
    return np.clip(crop, -1000, 1000).astype(np.float32)


def crop_from_text(text) -> np.ndarray:
    """As `read_crop`, for servers that take JSON: the bytes of the `.npy` file in base64.

    Raises `UserError` for anything else.
    """
    if not isinstance(text, str) or len(text) > 4 / 3 * MAX_CROP_BYTES:
        raise UserError("send a crop as the bytes of a .npy file in base64, at most 1 MB")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise UserError("the crop is no base64; encode the bytes of the .npy file") from error
    return read_crop(data)


def _check(shape, kind):
    if tuple(shape) != CROP_SHAPE or kind not in "fiu":
        raise UserError(f"the crop must have the shape {CROP_SHAPE} and hold real numbers (HU)")


def _from_npy(data):
    # numpy.load would also open .npz archives, and allocate what the header promises before it reads.
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, is_fortran, dtype = read_header(stream)
    except Exception as error:
        raise UserError("the body is no .npy file; write it with numpy.save") from error
    _check(shape, dtype.kind)
    voxels = data[stream.tell() :]
    if len(voxels) != _VOXELS * dtype.itemsize:
        raise UserError(f"the .npy file has {len(voxels):,} of {_VOXELS * dtype.itemsize:,} bytes of voxels")
    return np.frombuffer(voxels, dtype).reshape(CROP_SHAPE, order="F" if is_fortran else "C")


def _from_json(data):
    try:
        crop = json.loads(data)["crop"]
        crop = np.array(crop)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError('the body is not of the form {"crop": [[[…]]]}') from error
    _check(crop.shape, crop.dtype.kind)
    return crop


def kind_of_upload(start: bytes) -> str:
    """ "zip", "nii.gz", "nii", "nrrd", "mha" or "dcm", by the first bytes; `UserError` for anything else."""
    if start[:4] == b"PK\x03\x04":
        return "zip"
    if start[:3] == b"\x1f\x8b\x08":
        return "nii.gz"
    if start[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c"):
        return "nii"
    if start[:6] == b"NRRD00":
        return "nrrd"
    if start[128:132] == b"DICM":
        return "dcm"
    if b"NDims" in start and b"=" in start:
        return "mha"
    raise UserError(
        "send a scan as .nii.gz, .nrrd or .mha, or as a .zip of .mhd with .raw or .zraw, or of DICOM files"
    )


def plain_name(name) -> str:
    """A file's name, for people: no folders, no ending, letters, digits and a few signs, at most 80."""
    stem = re.sub(r"\.(mhd|mha|nii|nii\.gz|nrrd|dcm|zip)$", "", PurePosixPath(name).name, flags=re.IGNORECASE)
    return re.sub(r"[^\w.-]", "_", stem, flags=re.ASCII)[:80] or "scan"
