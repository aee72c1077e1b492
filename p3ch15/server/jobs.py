"""Scans that clients upload, analysed one after the other (chapter 15, "What we want from deployment").

An analysis takes seconds to minutes, too long for one HTTP request. So an upload is answered at once with
the job's number, and the client asks how far it is. All of a job lies in one folder: `upload` until it is
read, `scan.mhd` and `scan.raw`, `findings.json`, `report.html`, and `job.json`, from which a server that
starts anew learns of it.
"""

import json
import logging
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil
import torch

from p2ch10.dsets import Ct
from p2ch14.findings import write_json
from p2ch14.report import scan_section, write_report
from p3ch15.server.batching import Overloaded
from p3ch15.server.inputs import kind_of_upload, plain_name
from p3ch15.server.pictures import describe, place
from p3ch15.server.reader import MAX_VOXELS
from p3ch15.server.segmentation import save_nodules
from util.errors import UserError
from util.files import atomic_path, remove
from util.paths import PROJECT

READ_SECONDS = 180
SAFE_S = 900.0
_HALF_SENT = re.compile(r"\.[0-9a-f]{32}\.[0-9a-f]+\.\d+\.[0-9a-f]+\.part")
_log = logging.getLogger("p3ch15")


@dataclass
class Job:
    """One uploaded scan. state: waiting, running, done or failed; share: of the work done, 0 to 1.

    scan: what the viewer must know (`slices`, `rows`, `columns`, `row_mm`, `column_mm`, `z_mm`).
    findings: the nodules, each with its place in the pictures that `pictures.slice_png` draws. warnings: what
    limits them. has_segmentation: is there a DICOM Segmentation of them, `nodules.dcm`?
    """

    number: str
    name: str = "scan"
    state: str = "waiting"
    stage: str = "waiting for its turn"
    share: float = 0.0
    error: str | None = None
    created: float = field(default_factory=time.time)  # seconds since 1970
    ended: float | None = None
    seconds: float | None = None
    scan: dict | None = None
    findings: list[dict] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    has_segmentation: bool = False

    @property
    def is_finished(self):
        return self.state in ("done", "failed")

    @property
    def is_safe(self) -> bool:
        """Is this a result so new that it need not make room for others?"""
        return self.state == "done" and self.age_s < SAFE_S

    @property
    def age_s(self) -> float:
        """Seconds since the job ended, 0.0 before that."""
        return 0.0 if self.ended is None else max(time.time() - self.ended, 0.0)


class ScanJobs:
    """Takes uploads, analyses them in one worker thread, keeps the newest results for a while.

    analysis: a `WatchedAnalysis`. folder: where jobs lie. max_waiting: uploads that may wait; one more is
    refused (`Overloaded`). keep: finished jobs that stay, newest first; but no result has to make room within
    `SAFE_S`, uploads are refused instead. keep_s: how long a finished job stays at most. count(state):
    called as a job ends.
    """

    def __init__(
        self, analysis, folder, max_waiting=4, keep=16, keep_s=86400.0, max_voxels=MAX_VOXELS,
        count=lambda state: None,
    ):  # fmt: skip
        self.analysis, self.folder, self.count = analysis, Path(folder), count
        self.max_waiting, self.keep, self.keep_s, self.max_voxels = max_waiting, keep, keep_s, max_voxels
        self.folder.mkdir(parents=True, exist_ok=True)
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._uploading = 0
        self._changed = threading.Condition()
        self._close_at = None
        self._threads = torch.get_num_threads()
        self._restore()
        self._worker = threading.Thread(target=self._work, name="scans", daemon=True)
        self._worker.start()

    # --- for the request threads --------------------------------------------------------------

    def submit(self, stream, name="") -> Job:
        """Take an upload (a binary file object). Raises `UserError` for another kind, `Overloaded` if full.

        name: of the file, to be shown; an archive's content knows better.
        """
        with self._changed:
            if self._close_at is not None:
                raise Overloaded("the server is stopping; send the scan again when it is back", 30)
            if len(self._waiting) + self._uploading >= self.max_waiting:
                raise Overloaded("too many scans are waiting; send yours later", 30)
            fresh = [job for job in self._jobs.values() if job.is_safe]
            if len(fresh) >= self.keep:
                raise Overloaded("all room is taken by results of others; send yours later", 60)
            self._uploading += 1
        job = Job(
            secrets.token_hex(16), plain_name(name)
        )  # a number that nobody guesses: who has it may see the scan
        try:
            start = stream.read(2**16)
            kind_of_upload(start)
            with atomic_path(self.folder / job.number) as new:
                new.mkdir()
                with open(new / "upload", "wb") as file:
                    file.write(start)
                    shutil.copyfileobj(stream, file, 2**20)
                self._write(job, new)
        finally:
            with self._changed:
                self._uploading -= 1
        with self._changed:
            self._jobs[job.number] = job
            self._waiting.append(job)
            self._changed.notify()
        return job

    def get(self, number) -> Job | None:
        """The job of that number; None if there is none, or not any more."""
        job = self._jobs.get(number)
        return None if job is None or self._is_expired(job) else job

    def _is_expired(self, job):
        return job.is_finished and job.age_s > self.keep_s

    def path(self, job, name) -> Path:
        return self.folder / job.number / name

    def delete(self, job):
        """Forget a finished job, its files too."""
        with self._changed:
            self._jobs.pop(job.number, None)
        remove(self.folder / job.number)

    def close(self, timeout_s) -> bool:
        """Refuse uploads and finish those that are here; what is not begun in time waits for the next start."""
        with self._changed:
            self._close_at = time.monotonic() + timeout_s
            self._changed.notify_all()
        self._worker.join(timeout_s)
        return not self._worker.is_alive()

    # --- in the worker's thread ---------------------------------------------------------------

    def _work(self):
        torch.set_num_threads(self._threads)  # holds for this thread; others set their own
        while (job := self._next()) is not None:
            started = time.perf_counter()
            job.state = "running"
            end = {"state": "failed", "stage": "failed"}
            try:
                self._write(job)
                self._analyse(job)
                end = {"state": "done", "stage": "done", "share": 1.0}
            except UserError as error:
                end["error"] = str(error)
            except Exception:
                _log.exception("job %s", job.number)
                end["error"] = "the analysis of this scan failed"
            end |= {"seconds": round(time.perf_counter() - started, 2), "ended": time.time()}
            self._finish(job, end)

    def _next(self):
        with self._changed:
            while not self._waiting and self._close_at is None:
                self._changed.wait(min(60.0, self.keep_s / 2))
                self._forget_expired()
            if not self._waiting or (self._close_at is not None and time.monotonic() > self._close_at):
                return None
            return self._waiting.popleft()

    def _analyse(self, job):
        job.stage, job.share = "reading", 0.02
        said = self._read(job)
        job.name = said["name"] or job.name
        ct = Ct(self.path(job, "scan.mhd"))
        ct.series_uid, ct.notes = said["series_uid"] or job.name, tuple(said["notes"])
        ct.header = said["header"]

        def watch(stage, share):
            begin, length = (0.1, 0.7) if stage == "segmentation" else (0.8, 0.12)
            job.stage, job.share = stage, round(begin + length * share, 3)

        self.analysis.watch = watch
        result = self.analysis.analyse(ct, job.name)
        threshold = self.analysis.threshold
        job.stage, job.share = "report", 0.94
        write_report(self.path(job, "report.html"), [scan_section(ct, result, threshold)])
        write_json(self.path(job, "findings.json"), [result], threshold)
        job.scan, job.warnings = describe(ct), list(result.warnings)
        job.findings = [place(ct, job.scan, nodule) for nodule in result.listed(threshold)]
        if said["dicom"] and job.findings:
            self._write_segmentation(job, said["dicom"], result.nodules(threshold))

    def _write_segmentation(self, job, images, nodules):
        """The findings as DICOM, where the images allow it (see `p3ch15.server.segmentation`)."""
        saved, out = self.path(job, "nodules.npz"), self.path(job, "nodules.dcm").resolve()
        save_nodules(saved, nodules)
        try:
            said = self._ask("segmentation", images, saved.resolve(), out)
        except subprocess.TimeoutExpired:
            said = None
        finally:
            remove(saved)
        job.has_segmentation = out.is_file()
        if not job.has_segmentation:
            _log.warning(
                "job %s has no segmentation: %s", job.number, said.stderr[-2000:] if said else "time"
            )
            job.warnings.append("the findings could not be written as a DICOM Segmentation of these images")

    def _ask(self, module, *arguments):
        """Run another process of the server's, which may open what a stranger sent."""
        command = [sys.executable, "-m", f"p3ch15.server.{module}", *map(str, arguments)]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=READ_SECONDS)

    def _read(self, job):
        """Let another process open the stranger's file (see `p3ch15.server.reader`)."""
        upload, folder = self.path(job, "upload").resolve(), (self.folder / job.number).resolve()
        try:
            said = self._ask("reader", upload, folder, "--max-voxels", self.max_voxels)
        except subprocess.TimeoutExpired as error:
            raise UserError("the scan took too long to read") from error
        if said.returncode == 2 and said.stderr.startswith("error: "):
            raise UserError(said.stderr.removeprefix("error: ").strip())
        if said.returncode != 0:
            _log.warning("reader ended with %s: %s", said.returncode, said.stderr[-2000:])
            raise UserError("the scan cannot be read; the file may be damaged or of an unusual kind")
        return json.loads(said.stdout.splitlines()[-1])

    def _finish(self, job, end):
        """Keep of a job what its page needs, and of all jobs the newest."""
        try:
            remove(self.path(job, "upload"))
            remove(self.path(job, "opened"))
            self._write(replace(job, **end))
        except OSError:  # a full disk, say; the next job shall be tried all the same
            _log.exception("job %s", job.number)
        # Told last: a client who sees the end may delete the job at once.
        for name in sorted(end, key=lambda name: name == "state"):
            setattr(job, name, end[name])
        self.count(job.state)
        finished = sorted((j for j in list(self._jobs.values()) if j.is_finished), key=lambda j: j.created)
        for old in finished[: -self.keep]:
            if not old.is_safe:
                self.delete(old)
        self._forget_expired()

    def _forget_expired(self):
        for job in list(self._jobs.values()):
            if self._is_expired(job):
                self.delete(job)

    def _write(self, job, folder=None):
        with atomic_path((folder or self.folder / job.number) / "job.json") as temporary:
            temporary.write_text(json.dumps(asdict(job)), encoding="utf-8")

    def _restore(self):
        """Jobs of an earlier run: results are there again, and what waited waits again, in its order."""
        restored = []
        for path in self.folder.glob("*/job.json"):
            try:
                restored.append(Job(**json.loads(path.read_text(encoding="utf-8"))))
            except (ValueError, TypeError):
                continue
        for job in sorted(restored, key=lambda job: job.created):
            if job.state == "running":  # not tried again: it may be what stopped the server
                job.state, job.stage, job.error = "failed", "failed", "the server stopped during the analysis"
            if job.is_finished and job.ended is None:
                job.ended = time.time()
            self._jobs[job.number] = job
            if not job.is_finished:
                self._waiting.append(job)
        self._remove_half_sent()

    def _remove_half_sent(self):
        """What a killed server had received of uploads."""
        for path in self.folder.glob(".*.part"):
            process = path.name.split(".")[-3:-2]
            if _HALF_SENT.fullmatch(path.name) and not psutil.pid_exists(int(process[0])):
                remove(path)
