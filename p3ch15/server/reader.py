"""Opens an uploaded scan, in a process of its own (chapter 15, "What we want from deployment").

    python -m p3ch15.server.reader UPLOAD FOLDER [--max-voxels N] [--max-files N]

A stranger's file goes through a zip library, an image library in C++ and megabytes of parsing; any of these
may crash or ask for all memory. So the server does not open it: this process does, with limits on memory
and time, and leaves `scan.mhd` and `scan.raw` of the server's own making in FOLDER. A file that cannot be
read gives one sentence and exit status 2.
"""

import argparse
import contextlib
import json
import re
import stat
import struct
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import SimpleITK as sitk

from p2ch10.scans import read_volume
from p3ch15.server.inputs import kind_of_upload, plain_name
from util.errors import UserError, main_guard

MAX_VOXELS = 512 * 512 * 1000
MAX_FILES = 4000
CPU_SECONDS = 120
# The fields of a MetaImage header that a scan needs; the others are not passed on.
_MHD_FIELDS = (
    "NDims", "DimSize", "ElementType", "ElementSpacing", "Offset", "TransformMatrix",
    "BinaryDataByteOrderMSB", "CompressedData", "CompressedDataSize",
)  # fmt: skip
_OTHER_NAMES = {
    "Position": "Offset",
    "Origin": "Offset",
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}


def read_upload(upload, folder, max_voxels=MAX_VOXELS, max_files=MAX_FILES) -> dict:
    """Turn an uploaded file into `folder`/scan.mhd and scan.raw (int16); answers `{"name": …}`, "" if unknown.

    Nothing is written outside `folder`. Raises `UserError` for what is no scan or too large.
    """
    folder = Path(folder)
    with open(upload, "rb") as file:
        kind = kind_of_upload(file.read(4))
    opened = folder / "opened"
    opened.mkdir()
    name = ""
    if kind == "zip":
        path, name = _unzip(upload, opened, max_files, max_bytes=8 * max_voxels)
    else:
        path = opened / "scan.nii.gz"
        path.hardlink_to(upload)
    if path.is_file():
        _check_size(path, max_voxels)
    volume = read_volume(path)
    if volume.hu.size > max_voxels:
        raise UserError(f"the scan has {volume.hu.size:,} voxels; at most {max_voxels:,} are taken")
    image = volume.geometry.to_itk(np.ascontiguousarray(volume.hu))
    sitk.WriteImage(image, str(folder / "scan.mhd"), useCompression=False)
    return {"name": name}


def _check_size(path, max_voxels):
    """Ask the header before any memory is taken."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UserError("the scan has no readable header; save it again") from error
    voxels = 1
    for size in reader.GetSize():
        voxels *= size
    if not 0 < voxels <= max_voxels:
        raise UserError(f"the scan has {voxels:,} voxels; at most {max_voxels:,} are taken")


def _unzip(upload, folder, max_files, max_bytes):
    """The path of the scan in an archive and the scan's name. Files get names of our own choosing."""
    try:
        with zipfile.ZipFile(upload) as archive:
            return _extract(archive, folder, max_files, max_bytes)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, struct.error, OSError) as error:
        raise UserError("the .zip file is damaged, encrypted or of an unusual kind; pack it again") from error
    except (ValueError, zipfile.zlib.error) as error:
        raise UserError("the .zip file is damaged; pack it again") from error


def _extract(archive, folder, max_files, max_bytes):
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > max_files:
        raise UserError(f"the .zip file holds {len(entries):,} files; at most {max_files:,} are taken")
    if sum(entry.file_size for entry in entries) > max_bytes:
        raise UserError(f"the .zip file unpacks to more than {max_bytes / 1e9:.1f} GB")
    for entry in entries:
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in entry.filename:
            raise UserError("the .zip file has names that point outside of it; pack it again")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UserError("the .zip file holds links; pack the files themselves")
    # macOS adds a folder of its own and files that start with a dot.
    entries = [e for e in entries if not PurePosixPath(e.filename).name.startswith((".", "__MACOSX"))]
    headers = [e for e in entries if e.filename.lower().endswith(".mhd")]
    if len(headers) > 1:
        raise UserError("the .zip file holds several scans; send them one by one")
    if headers:
        return _extract_mhd(archive, headers[0], entries, folder), plain_name(headers[0].filename)
    nifti = [e for e in entries if e.filename.lower().endswith(".nii.gz")]
    if len(nifti) == 1:
        return _copy(archive, nifti[0], folder / "scan.nii.gz"), plain_name(nifti[0].filename)
    if not entries:
        raise UserError("the .zip file holds no files")
    for number, entry in enumerate(entries):
        _copy(archive, entry, folder / f"{number:05d}.dcm")
    return folder, plain_name(str(PurePosixPath(entries[0].filename).parent.name) or "dicom")


def _copy(archive, entry, path):
    # zipfile itself reads no more than the size that was checked above.
    with archive.open(entry) as source, open(path, "wb") as target:
        while block := source.read(2**20):
            target.write(block)
    return path


def _extract_mhd(archive, header, entries, folder):
    """Write the header anew: as it came it could name any file of this machine as the scan's voxels."""
    if header.file_size > 65536:
        raise UserError("the .mhd header is too long")
    fields = {}
    for line in archive.read(header).decode("utf-8", "replace").splitlines():
        key, equals, value = line.partition("=")
        key = _OTHER_NAMES.get(key.strip(), key.strip())
        if equals and key not in fields:
            fields[key] = value.strip()
    wanted = fields.get("ElementDataFile", "")
    beside = str(PurePosixPath(header.filename).parent / wanted)
    data = [e for e in entries if e.filename == beside and e is not header]
    if not data:
        raise UserError("the .zip file holds no .raw or .zraw file of the name that its .mhd gives")
    _copy(archive, data[0], folder / "scan.data")
    lines = ["ObjectType = Image", "BinaryData = True"]
    for key in _MHD_FIELDS:
        if key in fields:
            if not re.fullmatch(r"[\w.+\- \t]{1,400}", fields[key]):
                raise UserError(f"the .mhd header has an unusual {key}; save it again")
            lines.append(f"{key} = {fields[key]}")
    lines.append("ElementDataFile = scan.data")
    path = folder / "scan.mhd"
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def limit_process(max_voxels):
    """At most so much memory and time for this process; nothing happens on Windows."""
    try:
        import resource
    except ImportError:
        return
    for what, most in (
        (resource.RLIMIT_AS, 3 * 2**30 + 12 * max_voxels),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 2**28 + 8 * max_voxels),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        if hard == resource.RLIM_INFINITY or hard > most:
            with contextlib.suppress(ValueError, OSError):  # macOS knows no limit on memory
                resource.setrlimit(what, (most, most))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("upload")
    parser.add_argument("folder")
    parser.add_argument("--max-voxels", type=int, default=MAX_VOXELS)
    parser.add_argument("--max-files", type=int, default=MAX_FILES)
    options = parser.parse_args(arguments)
    limit_process(options.max_voxels)
    try:
        print(json.dumps(read_upload(**vars(options))))
    except MemoryError as error:
        raise UserError("the scan needs more memory than this server gives to one") from error


if __name__ == "__main__":
    main_guard(main)
