"""One door to every dataset: real files when they are there, a generated stand-in otherwise.

A chapter declares `name = Dataset("name", ...)` in its package; `Dataset.path()` answers with a
folder and says in one printed line which of the two it is. Nothing is downloaded unasked:
`python course.py data NAME` does that, and `COURSE_OFFLINE=1` forbids even it.
"""

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import filelock

from util.errors import UserError
from util.files import atomic_path, is_full
from util.paths import data_root, generated_root, shown


@dataclass(frozen=True)
class Source:
    """One file to download.

    filename: its name below the dataset's folder. urls: the address and its mirrors, tried in order.
    hash: "sha256:…" or "md5:…" as pooch takes it. size: bytes. part: the name by which a reader asks
    for it ("subset0"); an empty part is always fetched. unpack: extract a zip or tar into `folder`.
    """

    filename: str
    urls: tuple[str, ...]
    hash: str
    size: int
    part: str = ""
    unpack: bool = False
    folder: str = "."


@dataclass(frozen=True)
class Found:
    """What `Dataset.locate` answers: the folder, and whether its files are real."""

    path: Path
    is_real: bool


class Dataset:
    """A named dataset with a generated stand-in in the same format.

    generate: called with an empty folder to fill, when no real copy is found. version: change it
    when the generator's output changes, so that old caches are left alone. required: glob patterns
    below the dataset's folder that tell a real copy; all must match. sources: what to download.
    about, licence: one line each, for listings.
    """

    unpacked = 1.2  # how many times an archive's size its content takes

    def __init__(
        self,
        name: str,
        *,
        generate: Callable[[Path], None] | None = None,
        version: str = "1",
        required: tuple[str, ...] = (),
        sources: tuple[Source, ...] = (),
        about: str = "",
        licence: str = "",
    ):
        self.name = name
        self.generate = generate
        self.version = version
        self.required = required
        self.sources = sources
        self.about = about
        self.licence = licence
        self._told = None

    def __repr__(self):
        return f"Dataset({self.name!r})"

    def path(self) -> Path:
        """The dataset's folder: a real copy under `COURSE_DATA`, else the generated stand-in.

        Prints one line that says which. Raises `UserError` where neither can be had.
        """
        found = self.locate()
        if self._told != found:
            print(f"{self.name}: {'real' if found.is_real else 'generated'} data in {shown(found.path)}")
            self._told = found
        return found.path

    def locate(self) -> Found:
        """Like `path`, silently: the folder and whether it is real."""
        real = self.find_real()
        if real is not None:
            return Found(real, True)
        if self.generate is None:
            raise UserError(
                f"no {self.name} data below {shown(data_root())} (looked for {', '.join(self.required)}); "
                f"get it with 'python course.py data {self.name}' or set COURSE_DATA to its folder"
            )
        return Found(self._generated(), False)

    def find_real(self) -> Path | None:
        """The real copy's folder, or None. Finds it nested up to four folders deep."""
        if not self.required:
            return None
        root = data_root()
        preferred = [root / self.name, root]
        for folder in preferred + list(_folders_below(root, depth=4)):
            if folder.is_dir() and all(any(folder.glob(pattern)) for pattern in self.required):
                return folder
        return None

    def generated_path(self) -> Path:
        """Where the stand-in lives, whether or not it exists yet."""
        return generated_root() / f"{self.name}-{self.version}"

    def _generated(self) -> Path:
        target = self.generated_path()
        if not target.exists():
            with self._alone(target):
                if not target.exists():
                    self._generate_into(target)
        return target

    @contextlib.contextmanager
    def _alone(self, target):
        """Inside, this is the only process that makes `target`; whoever comes second waits, and finds it made."""
        lock = filelock.FileLock(target.with_name(f".{target.name}.lock"))
        # Where there is no room for a lock, or the disk knows none, it is made twice at worst.
        with contextlib.suppress(OSError, NotImplementedError):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                print(
                    f"{self.name}: another process is generating the stand-in; waiting for it …", flush=True
                )
                lock.acquire()
        try:
            yield
        finally:
            lock.release()  # also where it is not held

    def _generate_into(self, target):
        print(f"{self.name}: generating the stand-in (once) …", flush=True)
        # A rename of a whole folder is atomic, so whatever exists is complete.
        try:
            with atomic_path(target) as folder:
                folder.mkdir(parents=True)
                self._generate(folder)
        except OSError:
            # Without a lock another process may have finished the same folder first; then its copy serves.
            if not target.exists():
                raise

    def _generate(self, folder):
        try:
            self.generate(folder)
        except (OSError, RuntimeError) as error:  # SimpleITK tells of a full disk by a RuntimeError
            if not is_full(folder, error):
                raise
            raise UserError(
                f"no space left in {shown(folder.parent)} to generate {self.name}; make room, "
                "or set COURSE_GENERATED to a folder on a larger disk"
            ) from error

    @property
    def parts(self) -> list[str]:
        """Names of the parts that can be asked for, in order of declaration."""
        return list(dict.fromkeys(source.part for source in self.sources if source.part))

    def listed_sources(self, parts: list[str] | None = None) -> list[Source]:
        """What `download` fetches for these parts (None: all)."""
        return [s for s in self.sources if not s.part or parts is None or s.part in parts]

    def download(self, parts: list[str] | None = None) -> Path:
        """Fetch the real files (all, or only `parts`) into `COURSE_DATA/name`; returns that folder.

        Resumable; each file's hash is verified and a mismatch deleted; free space is checked first; where
        each file is from stands in `sources.json`. Raises `UserError` when offline, out of space, for an
        unknown part, or where every mirror fails.
        """
        if not (self.sources or self.parts):
            raise UserError(f"{self.name} is generated here; it has no download")
        unknown = sorted(set(parts or ()) - set(self.parts))
        if unknown:
            raise UserError(
                f"{self.name} has no part {', '.join(unknown)}; there are {', '.join(self.parts)}"
            )
        if os.environ.get("COURSE_OFFLINE") == "1":
            raise UserError("COURSE_OFFLINE=1 forbids downloads; unset it to fetch real data")
        folder = data_root() / self.name
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [s for s in self.listed_sources(parts) if not self._marker(folder, s).exists()]
        self._check_free_space(folder, wanted)
        for source in wanted:
            self._fetch(folder, source)
            _note(folder, source)
        return folder

    def _check_free_space(self, folder: Path, sources: list[Source]):
        # An archive and its unpacked content exist side by side for a moment.
        need = sum(source.size * (self.unpacked if source.unpack else 1) for source in sources)
        need += max((source.size for source in sources if source.unpack), default=0)
        free = shutil.disk_usage(folder).free
        if free < need:
            fewer = "ask for fewer parts (--subset 0)" if self.parts else "make room"
            raise UserError(
                f"{need / 1e9:.1f} GB needed in {shown(folder)} but {free / 1e9:.1f} GB are free; "
                f"{fewer}, or set COURSE_DATA to a folder on a larger disk"
            )

    def _marker(self, folder: Path, source: Source) -> Path:
        """Exists once `source` is complete: the file itself, or a note that it was unpacked."""
        return folder / (f".{source.filename}.unpacked" if source.unpack else source.filename)

    def _fetch(self, folder: Path, source: Source):
        import pooch

        pooch.get_logger().setLevel("WARNING")
        problems = []
        for url in source.urls:
            try:
                pooch.retrieve(
                    url,
                    known_hash=source.hash,
                    fname=source.filename,
                    path=folder,
                    downloader=resume_download,
                )
                break
            except Exception as error:
                problems.append(f"{url}: {error}")
        else:
            raise UserError(f"could not download {source.filename}; tried " + "; ".join(problems))
        if source.unpack:
            archive = folder / source.filename
            shutil.unpack_archive(archive, folder / source.folder)
            self._marker(folder, source).touch()
            archive.unlink()

    def verify(self) -> list[tuple[str, str]]:
        """(file, state) per source: "complete", "unpacked", "missing" or "broken"."""
        import pooch

        folder = data_root() / self.name
        report = []
        for source in self.sources:
            file = folder / source.filename
            if source.unpack and self._marker(folder, source).exists():
                state = "unpacked"
            elif not file.exists():
                state = "missing"
            else:
                kind, _, digest = source.hash.rpartition(":")
                same = pooch.file_hash(str(file), alg=kind or "sha256") == digest
                state = "complete" if same else "broken"
            report.append((source.filename, state))
        return report

    def check(self) -> list[str]:
        """One line per file of the real source: there, missing or broken."""
        return [f"{name}: {state}" for name, state in self.verify()]


def _folders_below(root: Path, depth: int):
    if depth == 0 or not root.is_dir():
        return
    children = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    yield from children
    for child in children:
        yield from _folders_below(child, depth - 1)


def _note(folder: Path, source: Source):
    """Remember what was fetched, for a reader who asks where the files are from."""
    file = folder / "sources.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    known[source.filename] = {"url": source.urls[0], "hash": source.hash, "size": source.size}
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")


def resume_download(url: str, output_file: str, _pooch, timeout: float = 60):
    """A pooch downloader that carries on where an interrupted download stopped.

    Bytes go to `<name>.part` beside the target; a later call asks the server for the rest. A server
    that cannot resume starts again from the beginning.
    """
    import requests
    from tqdm.auto import tqdm

    target = Path(output_file)
    part = target.with_name(f"{Path(url.split('?')[0]).name}.part")
    done = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    with requests.get(url, stream=True, timeout=timeout, headers=headers) as response:
        if response.status_code == 416:
            # Nothing is left to send: the part is whole, and pooch checks its hash next.
            os.replace(part, target)
            return
        response.raise_for_status()
        if response.status_code != 206:
            done = 0
        total = done + int(response.headers.get("Content-Length", 0))
        with (
            open(part, "ab" if done else "wb") as file,
            tqdm(total=total or None, initial=done, unit="B", unit_scale=True, desc=part.stem) as bar,
        ):
            for block in response.iter_content(1 << 16):
                file.write(block)
                bar.update(len(block))
    if total and part.stat().st_size < total:
        raise OSError(
            f"the connection ended after {part.stat().st_size} of {total} bytes; run it again to resume"
        )
    os.replace(part, target)


@functools.cache
def all_datasets() -> dict[str, Dataset]:
    """Every `Dataset` that a chapter package exports, by name."""
    import importlib

    from util.paths import PROJECT

    found = {}
    for init in sorted(PROJECT.glob("p[123]ch*/__init__.py")):
        package = importlib.import_module(init.parent.name)
        found.update({value.name: value for value in vars(package).values() if isinstance(value, Dataset)})
    return found
