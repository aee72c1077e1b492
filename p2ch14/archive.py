"""Many scans: all of an archive analysed, on all cores or on a cluster, and resumed after a kill (chapter 14).

`python -m p2ch14.screencts SCAN… --out FOLDER` is the command. Each scan's result is a file of its own in FOLDER/scans,
so that nothing is computed twice, and a scan that cannot be read is a line of the table like any other. The engine is
Python's pool of processes, or Ray where a cluster's address is given.
"""

import hashlib
import json
import os
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from p2ch10.dicom_files import is_dicom
from p2ch10.reading import scan_name, suffix_of
from p2ch10.scans import load_scan
from p2ch14.findings import write_json
from p2ch14.pipeline import NodulePipeline
from p2ch14.report import TEMPLATES, scan_section, write_report
from util.errors import UserError
from util.files import atomic_path
from util.paths import PROJECT, shown
from util.processes import end_with_parent

COLUMNS = (
    "scan", "series_uid", "state", "error", "seconds", "candidates", "nodules", "largest_mm",
    "highest_probability", "highest_malignancy", "warnings", "report",
)  # fmt: skip
LATEST_TRIES = 2  # a scan whose process died is tried once more, alone in its process


def find_scans(places) -> list[Path]:
    """The scans in files and folders, in the order of their names; every one once.

    A scan is a file whose ending `p2ch10.reading` knows, or a folder that holds DICOM files. A text file (`.txt`) is a
    list of places, one in a line. Raises `UserError` for a place that is not there, and where no scan is found.
    """
    found = {}
    for place in _listed(places):
        path = Path(place)
        if not path.exists():
            raise UserError(f"'{place}' is not there; give files, folders or a .txt list of them")
        inside = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in (file for file in inside if file.is_file()):
            if suffix_of(file):
                found[file.resolve()] = file
            elif file.parent.resolve() not in found and is_dicom(file):
                found[file.parent.resolve()] = file.parent
    if not found:
        raise UserError(
            f"no scan was found in {', '.join(map(str, places)) or 'nothing'}; give files or folders of scans"
        )
    return list(found.values())


def _listed(places):
    for place in places:
        if not str(place).endswith(".txt"):
            yield place
            continue
        try:
            lines = Path(place).read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError:
            raise UserError(f"the list '{place}' is not there") from None
        except UnicodeDecodeError:
            raise UserError(f"the list '{place}' is no text; give one place in a line") from None
        names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not names:
            raise UserError(f"the list '{place}' names no scan")
        for number, name in enumerate(names, 1):
            if "\0" in name or not (Path(place).parent / name).exists():
                raise UserError(
                    f"line {number} of '{place}', '{name[:80]}', is no file or folder that is there"
                )
            yield Path(place).parent / name


def key_of(path) -> str:
    """A name for a scan's result: the scan's own name and a few digits of where it lies."""
    digits = hashlib.sha256(str(Path(path).resolve()).encode()).hexdigest()[:10]
    return f"{scan_name(path)[-60:]}-{digits}"


class Analyst:
    """Analyses one scan after the other in a process of its own; the networks are loaded once."""

    def __init__(self, options):
        self.folder = Path(options["out"])
        self.with_reports = options["reports"]
        self.pipeline = NodulePipeline(**options["networks"])

    def __call__(self, path) -> dict:
        """Analyse the scan, write its files, return its row; what is wrong with it is in the row."""
        key, threshold = key_of(path), self.pipeline.threshold
        row = dict.fromkeys(COLUMNS, "") | {"scan": str(path), "state": "done"}
        try:
            ct = load_scan(path)
            result = self.pipeline.analyse(ct, shown(path))
            nodules = result.listed(threshold)
            row |= {
                "series_uid": result.series_uid, "seconds": round(result.seconds, 2),
                "candidates": len(result.findings), "nodules": len(nodules),
                "largest_mm": _most(round(n.diameter_mm, 1) for n in nodules),
                "highest_probability": _most(round(n.probability, 4) for n in nodules),
                "highest_malignancy": _most(round(n.malignancy, 3) for n in nodules if n.malignancy is not None),
                "warnings": "; ".join(result.warnings),
            }  # fmt: skip
            write_json(self.folder / "findings" / f"{key}.json", [result], threshold)
            if self.with_reports:
                row["report"] = f"reports/{key}.html"
                write_report(self.folder / row["report"], [scan_section(ct, result, threshold)])
        except (UserError, MemoryError, OSError, ValueError) as error:
            row |= {"state": "failed", "error": " ".join(str(error).split()) or type(error).__name__}
        _write_text(self.folder / "scans" / f"{key}.json", json.dumps(row, indent=1))
        return row


def _most(values):
    return max(values, default="")


def _write_text(path, text):
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class Archive:
    """A folder of results that grows, scan by scan.

    options: `out` (the folder), `reports` (bool) and `networks` (arguments of `NodulePipeline`). resume: go on with
    what is there. Raises `UserError` for a folder that holds something else, or results made with other options.
    """

    def __init__(self, options, resume=False):
        self.options, self.folder = options, Path(options["out"])
        settings = json.dumps({name: options[name] for name in ("reports", "networks")}, indent=1)
        note = self.folder / "settings.json"
        if note.is_file():
            if not resume:
                raise UserError(
                    f"{shown(self.folder)} holds results already; --resume goes on, or give another --out"
                )
            if note.read_text(encoding="utf-8") != settings:
                raise UserError(
                    f"the results in {shown(self.folder)} were made with other options; give those, or another --out"
                )
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise UserError(f"{shown(self.folder)} is not empty, and holds no results; give another --out")
        elif resume:
            raise UserError(f"there is nothing to resume in {shown(self.folder)}; leave --resume out")
        for part in ("scans", "findings", "reports"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        _write_text(note, settings)

    def row_of(self, path) -> dict | None:
        """The row of a scan that was analysed, or None."""
        try:
            return json.loads((self.folder / "scans" / f"{key_of(path)}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def analyse(self, scans, processes=None, ray_address=None) -> list[dict]:
        """Analyse what has no result yet; write the table, and return its rows in the order of `scans`."""
        rows = {path: self.row_of(path) for path in scans}
        todo = [path for path, row in rows.items() if row is None]
        engine = (
            _on_ray(todo, self.options, ray_address)
            if ray_address
            else _on_processes(todo, self.options, processes)
        )
        with tqdm(total=len(scans), initial=len(scans) - len(todo), unit="scan", smoothing=0.1) as progress:
            for path, row in engine if todo else ():
                if not (self.folder / "scans" / f"{key_of(path)}.json").is_file():
                    _write_text(self.folder / "scans" / f"{key_of(path)}.json", json.dumps(row, indent=1))
                rows[path] = row
                progress.update()
        self.write(list(rows.values()))
        return list(rows.values())

    def write(self, rows):
        """The table of all scans as CSV and, where pyarrow is installed, as Parquet; a page that links the reports."""
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        for name in ("seconds", "largest_mm", "highest_probability", "highest_malignancy"):
            table[name] = pd.to_numeric(table[name])
        for name in ("candidates", "nodules"):
            table[name] = pd.to_numeric(table[name]).astype("Int64")  # whole numbers, or none
        with atomic_path(self.folder / "results.csv") as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
        try:
            with atomic_path(self.folder / "results.parquet") as temporary:
                table.to_parquet(temporary, index=False)
        except ImportError:
            print("results.parquet is left out: it needs pyarrow (pip install pyarrow)")
        _write_text(self.folder / "index.html", _page(rows))


def _failed(path, error):
    return dict.fromkeys(COLUMNS, "") | {"scan": str(path), "state": "failed", "error": error}


_analyst = None


def _start(options, threads):
    """In a new process of the pool: end with the command, take the given share of the cores, load the networks."""
    global _analyst
    end_with_parent()
    torch.set_num_threads(threads)
    _analyst = Analyst(options)


def _analyse(path):
    return _analyst(path)


def _on_processes(todo, options, processes):
    """(path, row) as they come, from a pool of this machine's cores.

    What kills its process (the system does, where memory ends) ends the pool, and nobody knows which scan it was: those
    under way are tried once more one by one, and a scan that kills its process again is told.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processes = min(processes or cores, len(todo))
    tries = dict.fromkeys(todo, 0)
    waiting = list(todo)
    while waiting:
        alone = tries[waiting[0]] > 0
        count = 1 if alone else processes
        batch, waiting = (waiting[:1], waiting[1:]) if alone else (waiting, [])
        with ProcessPoolExecutor(
            count, get_context("spawn"), initializer=_start, initargs=(options, max(cores // count, 1))
        ) as pool:  # fmt: skip
            queue, under_way = iter(batch), {}
            broken = False
            while True:
                for path in queue if not broken else ():
                    under_way[pool.submit(_analyse, path)] = path
                    if len(under_way) >= 2 * count:
                        break
                if not under_way:
                    break
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    path = under_way.pop(future)
                    try:
                        yield path, future.result()
                    except BrokenProcessPool:
                        broken = True
                        tries[path] += 1
                        if tries[path] < LATEST_TRIES:
                            waiting.insert(0, path)
                        else:
                            yield (
                                path,
                                _failed(path, "its process was killed twice, perhaps for want of memory"),
                            )
            if broken:
                waiting += list(queue)


def _on_ray(todo, options, address):
    """(path, row) as they come, from a Ray cluster; `address` as `ray.init` takes it, "local" for this machine."""
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs Ray: pip install -r p3ch15/serve/requirements.txt") from None
    environment = {"env_vars": {"PYTHONPATH": str(PROJECT)}}
    ray.init(address, runtime_env=environment, log_to_driver=False, include_dashboard=False)
    try:
        cores = int(ray.cluster_resources().get("CPU", 1))
        analysts = [
            ray.remote(num_cpus=1, max_restarts=1)(Analyst).remote(options)
            for _ in range(min(cores, len(todo)))
        ]
        queue, under_way = iter(todo), {}

        def give(analyst):
            path = next(queue, None)
            if path is not None:
                under_way[analyst.__call__.remote(path)] = (path, analyst)

        for analyst in analysts:
            give(analyst)
        while under_way:
            [done], _ = ray.wait(list(under_way), num_returns=1)
            path, analyst = under_way.pop(done)
            try:
                yield path, ray.get(done)
            except ray.exceptions.RayError:
                yield path, _failed(path, "its process was killed, perhaps for want of memory")
            give(analyst)
    finally:
        ray.shutdown()


def _page(rows) -> str:
    """One page with a line for each scan, the most suspicious first, and links to the reports."""
    order = sorted(rows, key=lambda row: (row["state"] != "failed", -(row["highest_probability"] or 0)))
    failed = sum(row["state"] == "failed" for row in rows)
    names = [Path(row["scan"]).name for row in order]
    return TEMPLATES.get_template("archive.html").render(
        rows=zip(names, order), count=len(rows), failed=failed
    )
