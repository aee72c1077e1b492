"""Voxels out of compressed bytes, believed only when length and checksum agree (chapter 10, "Raw CT data files").

zlib (MetaImage) ends with a checksum, gzip (NIfTI, NRRD) with a checksum and a length. Decompression stops
where more comes out than the header announced, so a small file cannot ask for all memory.
"""

import zlib

from p2ch10.volume import called
from util.errors import UserError

try:
    from isal import isal_zlib as fast  # the same results, three times as fast
except ImportError:
    fast = zlib

_ERRORS = (zlib.error, getattr(fast, "error", zlib.error))
ZLIB, GZIP = 15, 31  # zlib's own numbers for what stands around the compressed bytes


def inflate(data, size, kind, path) -> bytes:
    """The `size` bytes in `data`; gzip may come in several members. Raises `UserError` for any other size.

    path: the file's, for messages.
    """
    parts, got = [], 0
    while data:
        unpack = fast.decompressobj(kind)
        try:
            part = unpack.decompress(data, size - got + 1)
        except _ERRORS as error:
            raise UserError(f"'{called(path)}' is damaged or truncated ({error}); fetch it again") from error
        got += len(part)
        parts.append(part)
        if got > size:
            raise UserError(
                f"'{called(path)}' holds more than the {size:,} bytes that its header announces; fetch it again"
            )
        if not unpack.eof:
            raise UserError(
                f"'{called(path)}' is damaged or truncated ({got:,} of {size:,} bytes); fetch it again"
            )
        data = unpack.unused_data
        if kind == ZLIB and data:
            raise UserError(
                f"'{called(path)}' goes on after its voxels ({len(data):,} bytes); fetch it again"
            )
        if not data.strip(b"\0"):  # tapes pad with zeros
            break
    check_size(got, size, path)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def beginning(data, size) -> bytes:
    """The first `size` bytes, at most, of what gzip has in `data`; b"" where it is damaged."""
    try:
        return fast.decompressobj(GZIP).decompress(data, size)
    except _ERRORS:
        return b""


def check_size(got, size, path):
    """Raises `UserError` unless `got` bytes are the `size` that the header announces."""
    if got != size:
        raise UserError(
            f"'{called(path)}' holds {got:,} bytes of voxels, but its header announces {size:,}; "
            "it is damaged or truncated: fetch it again"
        )
