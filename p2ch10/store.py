"""Every scan once, compressed, and readable in small pieces (chapter 10, "Caching candidate arrays").

One file per scan: a blosc2 array of int16 HU in blocks of 16×16×16 voxels, so that a crop of 32×48×48
decompresses little more than itself. The geometry is in its metadata. The name holds a fingerprint of
the source (sizes and times) and a checksum of the file, so a stale or damaged entry is recognised and
rebuilt; entries appear by an atomic rename and are never half-written.
"""

import errno
import os
import shutil
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import blosc2
import numpy as np

from p2ch09.geometry import Geometry
from p2ch10.reading import read_volume, source_fingerprint
from p2ch10.volume import Volume
from util.errors import UserError
from util.files import MACHINE, atomic_path, remove
from util.paths import cache_root, shown
from util.util import enumerateWithEstimate

# LZ4 is the fastest to read, at any level. The bit shuffle puts the nearly constant high bits side by side.
CPARAMS = {"codec": blosc2.Codec.LZ4, "clevel": 9, "filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 1}
CHUNK_IRC, BLOCK_IRC = (64, 64, 64), (16, 16, 16)
DEFAULT_LIMIT_GB = 100.0
NOTE_COUNTS_S = 24 * 3600  # disks do go bad: after a day an entry is verified again
MOST_OPEN = 2048  # scans


class StoredScan:
    """One entry, open for reading. `crop` and `whole` give int16 HU, `geometry` says where they lie."""

    def __init__(self, path):
        array = blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})
        self._array = array
        # Decompression contexts are not made for several threads at once.
        self._lock = threading.Lock()
        self.shape = array.shape
        meta = array.schunk.vlmeta["geometry"]
        self.geometry = Geometry(self.shape, meta["origin_xyz"], meta["spacing_xyz"], meta["direction"])

    def crop(self, window) -> np.ndarray:
        """The voxels in `window`, a tuple of three slices."""
        with self._lock:
            return self._array[window]

    def whole(self) -> np.ndarray:
        with self._lock:
            return self._array[:]


class ScanStore:
    """The folder of stored scans. Safe with several processes and threads at once.

    root: by default `scans` in `util.paths.cache_root()`. limit_gb: when a new entry would exceed it,
    the entries unused for longest are removed (`COURSE_CACHE_GB` sets it). A store that is read-only
    serves what it holds.
    """

    # Entries whose checksum this process has verified, by path and version: it is not read twice. A note
    # beside the entry says the same to other processes, such as the workers of each epoch.
    _verified = set()

    def __init__(self, root=None, limit_gb=None):
        self.root = Path(root) if root else cache_root() / "scans"
        self.limit_gb = limit_gb or gigabytes("COURSE_CACHE_GB", DEFAULT_LIMIT_GB)

    def open(self, series_uid, source) -> StoredScan:
        """The entry of the scan at path `source`; made now if it is missing, stale or damaged.

        Raises `UserError` where the store cannot be written, or the scan cannot be read.
        """
        prefix = f"{series_uid}-{source_fingerprint(source)}-"
        for _ in range(5):
            for path in self.root.glob(f"{prefix}*.b2nd"):
                stored = self._open_entry(path)
                if stored is not None:
                    return stored
            self.add(series_uid, source, read_volume(source))
        raise UserError(
            f"scans vanish from {shown(self.root)} as soon as they are stored; other processes may need the "
            f"room: raise COURSE_CACHE_GB (now {self.limit_gb:g})"
        )

    def _open_entry(self, path) -> StoredScan | None:
        """The entry at `path`, or None if it is damaged (then it is removed) or was just removed."""
        try:
            state = path.stat()
            version = (str(path), state.st_ino, state.st_size, state.st_mtime_ns)
            if version not in self._verified and not _is_noted(path, version):
                if path.stem.rsplit("-", 1)[1] != _checksum(path):
                    _remove_entry(path)
                    return None
                _note(path, version)
            self._verified.add(version)
            stored = StoredScan(path)
        except FileNotFoundError:  # another process needed the room
            return None
        except RuntimeError:  # so says blosc2 where the file goes between its own look and its opening
            if _is_still(path, state):
                raise
            return None
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            raise _cannot_store(self.root, error) from error
        with suppress(OSError):  # a read-only store keeps no record of use
            os.utime(path, ns=(time.time_ns(), state.st_mtime_ns))
        return stored

    def has(self, series_uid, source) -> bool:
        return any(self.root.glob(f"{series_uid}-{source_fingerprint(source)}-*.b2nd"))

    def add(self, series_uid, source, volume: Volume) -> Path:
        """Write one entry; returns its path. Raises `UserError` where the disk is full or read-only."""
        prefix = f"{series_uid}-{source_fingerprint(source)}-"
        temporary = self.root / f".{prefix}{os.getpid()}-{threading.get_ident()}.part"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._sweep()
            self._make_room(volume.hu.nbytes // 2)
            temporary.touch()  # says why where nothing can be written; blosc2 would not
            _write(temporary, volume)
            target = self.root / f"{prefix}{_checksum(temporary)}.b2nd"
            with open(temporary, "rb+") as written:
                os.fsync(written.fileno())
            os.replace(temporary, target)
        except (OSError, RuntimeError) as error:
            raise _cannot_store(self.root, error) from error
        finally:
            with suppress(OSError):  # there is none where nothing can be written
                remove(temporary)
        for stale in self.root.glob(f"{series_uid}-*.b2nd"):
            if not stale.name.startswith(prefix):
                _remove_entry(stale)
        return target

    def size(self) -> int:
        """Bytes of all entries."""
        return sum(state.st_size for _, state in self._entries())

    def _entries(self):
        """(path, state) of every entry; other processes may remove some meanwhile."""
        found = []
        for path in self.root.glob("*.b2nd"):
            with suppress(FileNotFoundError):
                found.append((path, path.stat()))
        return found

    def _sweep(self):
        """Remove what killed processes left; nobody takes an hour over one entry."""
        for left in self.root.glob(".*.part"):
            try:
                if time.time() - left.stat().st_mtime > 3600:
                    remove(left)
            except FileNotFoundError:  # another process was faster
                pass
        for note in self.root.glob(".*.verified"):
            if not note.with_name(note.name[1:].removesuffix(".verified")).exists():
                remove(note)

    def _make_room(self, need):
        entries = sorted(self._entries(), key=lambda entry: entry[1].st_atime_ns)
        total = sum(state.st_size for _, state in entries)
        for path, state in entries:
            if total + need <= self.limit_gb * 1e9:
                break
            total -= state.st_size
            _remove_entry(path)


def most_open_scans() -> int:
    """How many stored scans this process may keep open: half of the files that it may, 2,048 at most.

    Systems allow a process far more files than its soft limit says at first (256 on macOS, 1,024 on Linux),
    if only it asks; all 888 scans of LUNA16 open spare opening one for each crop.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MOST_OPEN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_OPEN if hard == resource.RLIM_INFINITY else min(2 * MOST_OPEN, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return MOST_OPEN if soft == resource.RLIM_INFINITY else min(soft // 2, MOST_OPEN)


def _note_path(path):
    return path.with_name(f".{path.name}.verified")


def _is_noted(path, version) -> bool:
    """Has a process of this machine verified this version of an entry, a day ago at most?"""
    note = _note_path(path)
    try:
        age = time.time() - note.stat().st_mtime
        return 0 <= age < NOTE_COUNTS_S and note.read_text(encoding="utf-8") == _noted(version)
    except (OSError, UnicodeDecodeError):
        return False


def _note(path, version):
    with suppress(OSError), atomic_path(_note_path(path)) as temporary:  # a read-only store has no notes
        temporary.write_text(_noted(version), encoding="utf-8")


def _noted(version) -> str:
    return f"{MACHINE} {' '.join(map(str, version[1:]))}"


def _remove_entry(path):
    remove(path)
    remove(_note_path(path))


def gigabytes(variable, default) -> float:
    """A size in GB from an environment variable. Raises `UserError` where that is not a number."""
    try:
        return float(os.environ.get(variable) or default)
    except ValueError:
        raise UserError(
            f"{variable} is '{os.environ[variable]}', not a number; give it in gigabytes, such as {default:g}"
        ) from None


def _cannot_store(root, error) -> UserError:
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    reason = getattr(error, "strerror", None) or "the entry was not written whole"
    return UserError(
        f"could not store a scan in {shown(root)} ({reason}; {shutil.disk_usage(there).free / 1e9:.2f} GB free "
        "there); make room, or set COURSE_CACHE to a folder on another disk"
    )


def _is_still(path, state) -> bool:
    """Is the file at `path` the one whose state was `state`?"""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), state)
    return False


def _write(path, volume: Volume):
    shape = volume.hu.shape
    array = blosc2.asarray(
        np.ascontiguousarray(volume.hu),
        chunks=tuple(min(c, n) for c, n in zip(CHUNK_IRC, shape)),
        blocks=tuple(min(b, n) for b, n in zip(BLOCK_IRC, shape)),
        cparams=CPARAMS,
        urlpath=str(path),
        mode="w",
    )
    array.schunk.vlmeta["geometry"] = {
        "origin_xyz": list(volume.geometry.origin_xyz),
        "spacing_xyz": list(volume.geometry.spacing_xyz),
        "direction": volume.geometry.direction.tolist(),
    }
    del array
    # A full disk can go unnoticed while writing, so the entry is read back before it counts.
    if not np.array_equal(StoredScan(path).whole(), volume.hu):
        raise OSError("the entry does not read back")


def _checksum(path) -> str:
    value = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def fill_store(sources, processes=2, store=None, show_bar=None) -> int:
    """Store every scan of `sources` ({series UID: path}) that is not stored yet; returns how many were.

    processes: scans worked on at the same time (threads: decompression releases Python's lock).
    Resumable: what an interrupted call stored stays stored. `show_bar` as `shown` of `enumerateWithEstimate`.
    """
    store = store or ScanStore()
    missing = [(uid, source) for uid, source in sources.items() if not store.has(uid, source)]
    if not missing:
        return 0

    def add(item):
        uid, source = item
        store.add(uid, source, read_volume(source))

    with ThreadPoolExecutor(max(processes, 1)) as pool:
        for _ in enumerateWithEstimate(
            pool.map(add, missing), "storing scans", iter_len=len(missing), shown=show_bar
        ):
            pass
    return len(missing)
