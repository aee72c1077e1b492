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
import stat
import struct
import zipfile
from pathlib import Path, PurePosixPath

import SimpleITK as sitk

from p2ch10.dicom_files import is_dicom
from p2ch10.reading import SUFFIXES, read_volume, suffix_of
from p3ch15.server.inputs import kind_of_upload, plain_name
from util.errors import UserError, main_guard

MAX_VOXELS = 512 * 512 * 1000
MAX_FILES = 4000
CPU_SECONDS = 120
LONGEST_NAME = 200


def read_upload(upload, folder, max_voxels=MAX_VOXELS, max_files=MAX_FILES) -> dict:
    """Turn an uploaded file into `folder`/scan.mhd and scan.raw (int16).

    Answers `{"name": …, "series_uid": …, "dicom": …, "notes": […], "header": {…}}`: the scan's name ("" if unknown),
    the series UID of DICOM and the folder of its images (else ""), and `notes` and `header` of the `Volume`. The
    reader is chapter 10's, as on the command line. Nothing is written outside `folder`. Raises `UserError` for what
    is no scan or too large.
    """
    folder = Path(folder)
    with open(upload, "rb") as file:
        kind = kind_of_upload(file.read(512))
    opened = folder / "opened"
    opened.mkdir()
    notes = []
    if kind == "zip":
        path, name = _unzip(upload, opened, max_files, 8 * max_voxels, notes)
    else:
        path, name = opened / f"scan.{kind}", ""
        path.hardlink_to(upload)
        path = opened if kind == "dcm" else path
    try:
        volume = read_volume(path, max_voxels=max_voxels)
    except UserError as error:
        raise UserError(_without_folders(str(error), folder)) from error
    image = volume.geometry.to_itk(volume.hu)
    sitk.WriteImage(image, str(folder / "scan.mhd"), useCompression=False)
    notes = [_without_folders(note, folder) for note in (*notes, *volume.notes)]
    series_uid, dicom = (volume.series_uid, str(path)) if path.is_dir() else ("", "")
    return {
        "name": name, "series_uid": series_uid, "dicom": dicom, "notes": notes, "header": volume.header,
    }  # fmt: skip


def _without_folders(sentence, folder):
    """A sentence for the client, who has no command line; where files lie on this machine is nobody's business."""
    sentence = sentence.replace(f"{folder.name}/opened", "the upload").replace("opened/", "")
    return sentence.replace("choose one with --series", "send the files of one of them")


def _unzip(upload, folder, max_files, max_bytes, notes):
    """(the path of the scan in an archive, the scan's name)."""
    try:
        with zipfile.ZipFile(upload) as archive:
            _extract(archive, folder, max_files, max_bytes)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, struct.error, OSError) as error:
        raise UserError("the .zip file is damaged, encrypted or of an unusual kind; pack it again") from error
    except (ValueError, zipfile.zlib.error) as error:
        raise UserError("the .zip file is damaged; pack it again") from error
    return _scan_in(folder, notes)


def _scan_in(folder, notes):
    """(the file or folder to read, the scan's name): DICOM images, where there are any, else the one scan file."""
    while (
        len(inside := list(folder.iterdir())) == 1 and inside[0].is_dir()
    ):  # a folder was packed, not its files
        folder = inside[0]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise UserError("the .zip file holds no files")
    scans = [path for path in files if suffix_of(path)]
    if any(is_dicom(path) for path in files):
        if scans:
            notes.append(f"read the DICOM images; set aside: {', '.join(path.name for path in scans[:4])}")
        return folder, plain_name("dicom" if folder.name == "opened" else folder.name)
    if not scans:
        raise UserError(
            f"the .zip file holds no scan; pack DICOM images, or a file that ends in {', '.join(SUFFIXES)}"
        )
    if len(scans) > 1:
        raise UserError(
            f"the .zip file holds several scans ({', '.join(path.name for path in scans[:4])}); send them one by one"
        )
    return scans[0], plain_name(scans[0].name)


def _extract(archive, folder, max_files, max_bytes):
    """Unpack under the archive's own names, after a look at each: none leads out of `folder`."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > max_files:
        raise UserError(f"the .zip file holds {len(entries):,} files; at most {max_files:,} are taken")
    if sum(entry.file_size for entry in entries) > max_bytes:
        raise UserError(f"the .zip file unpacks to more than {max_bytes / 1e9:.1f} GB")
    for entry in entries:
        # Some tools write names as Windows has them.
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in entry.filename:
            raise UserError("the .zip file has names that point outside of it; pack it again")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UserError("the .zip file holds links; pack the files themselves")
        if not name.parts or not str(name).isprintable() or len(str(name).encode()) > LONGEST_NAME:
            raise UserError("the .zip file has unusual or very long names; pack it again")
        # macOS adds a folder of its own and files that start with a dot.
        if any(part.startswith((".", "__MACOSX")) for part in name.parts):
            continue
        target = folder / name
        if target.exists():
            raise UserError("the .zip file holds two files of one name; pack it again")
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(archive, entry, target)


def _copy(archive, entry, path):
    # zipfile itself reads no more than the size that was checked above.
    with archive.open(entry) as source, open(path, "wb") as target:
        while block := source.read(2**20):
            target.write(block)


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
