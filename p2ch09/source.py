"""Where LUNA16 comes from: the real scans on Zenodo, subset by subset, or generated patients."""

import re
import shutil
from pathlib import Path

from util.datasets import Dataset, Source, _folders_below
from util.errors import UserError
from util.paths import data_root, shown

# The course's own cohort, which stands in for LUNA16 until a real copy is there. LUNA16 has four
# nodules in three scans; here every scan has three scans' worth, about 280 in all, so that few scans
# teach enough. Their sizes and looks, and the candidates, are distributed as LUNA16's.
COURSE_SCANS = 64
COURSE_SEED = 16
COURSE_RICHNESS = 3

# LUNA16 is published in two records because it outgrew the limit of one. A record's own listing
# states size and MD5 of each file, so those are asked for, not copied here.
RECORDS = {"3723295": range(0, 7), "4121926": range(7, 10)}
LISTING = "https://zenodo.org/api/records/{record}"
LISTS = ("annotations.csv", "candidates.csv", "candidates_V2.zip", "evaluationScript.zip")
SCANS_IN_SUBSET = {f"subset{n}": 89 if n < 8 else 88 for n in range(10)}


def generate_course_cohort(folder: Path):
    """Fill `folder` with the course's generated cohort, in LUNA16's layout."""
    from p2ch09.phantom import write_cohort

    write_cohort(folder, COURSE_SCANS, COURSE_SEED, richness=COURSE_RICHNESS)


_OF_MASKS = re.compile("mask|seg|label", re.IGNORECASE)  # in a folder's name
_IN_SUBSET = re.compile(r"subset\d+", re.IGNORECASE)


def _is_mask(path) -> bool:
    """Does a MetaImage header announce voxels of 8 bits? No scan has so few."""
    with open(path, "rb") as file:
        return re.search(rb"ElementType\s*=\s*MET_U?CHAR\b", file.read(4096)) is not None


class Luna16(Dataset):
    """LUNA16: any subset that is there counts; nested and partial copies are found.

    `path()` is the folder. Where the layout is not flat (an unpacked archive inside an archive's
    folder, lists in `CSVFILES`), `scan_paths()` and `list_path()` find the files all the same.
    """

    unpacked = 2.2

    def __init__(self):
        super().__init__(
            "luna",
            generate=generate_course_cohort,
            version="6",
            required=("subset[0-9]/*.mhd", "annotations.csv"),
            about="LUNA16: 888 chest CT scans, 1,186 lung nodules (over 100 GB, fetched by subset)",
            licence="CC BY 4.0",
        )

    @property
    def parts(self) -> list[str]:
        """The names of the ten subsets."""
        return list(SCANS_IN_SUBSET)

    def find_real(self) -> Path | None:
        """The folder that holds subsets and lists, at most four folders below the data root."""
        root = data_root()
        folders = [root / self.name, root, *_folders_below(root, depth=3)]
        for folder in folders:
            if any(folder.glob("subset[0-9]/*.mhd")) and self._list_in(folder, "annotations.csv"):
                return folder
        for folder in folders:  # subset0/subset0/… as some archives unpack
            if any(folder.glob("subset[0-9]/*/*.mhd")) and self._list_in(folder, "annotations.csv"):
                return folder
        return None

    @staticmethod
    def _list_in(folder: Path, name: str) -> Path | None:
        for pattern in (name, f"*/{name}", f"*/*/{name}"):
            for found in sorted(folder.glob(pattern)):
                if not found.parent.name.startswith("sample"):
                    return found
        return None

    def list_path(self, name: str) -> Path | None:
        """The list `name` ("annotations.csv"), wherever below the dataset's folder it lies, or None."""
        return self._list_in(self.path(), name)

    def candidates_path(self) -> Path | None:
        """The list of candidates: `candidates_V2.csv` where it is there, as LUNA16 asks, else `candidates.csv`."""
        return self.list_path("candidates_V2.csv") or self.list_path("candidates.csv")

    def scan_paths(self) -> dict[str, Path]:
        """Series UID -> `.mhd` file of every scan that is there, in order of UID.

        LUNA16's own lung masks have the scans' names; wherever they were unpacked, they are passed over.
        """
        root, found = self.path(), {}
        for path in sorted(root.glob("**/*.mhd")):
            folders = path.relative_to(root).parts[:-1]
            if path.name.startswith(".") or any(map(_OF_MASKS.search, folders)) or _is_mask(path):
                continue
            known = found.setdefault(path.stem, path)
            if _IN_SUBSET.fullmatch(path.parent.name) and not _IN_SUBSET.fullmatch(known.parent.name):
                found[path.stem] = path
        return dict(sorted(found.items()))

    def listed_sources(self, parts=None) -> list[Source]:
        """The files to fetch, with size and MD5 as the records' own listings state them.

        Raises `UserError` where the listing cannot be had.
        """
        import requests

        sources = []
        for record, subsets in RECORDS.items():
            wanted = [f"subset{n}" for n in subsets if parts is None or f"subset{n}" in parts]
            lists = LISTS if record == "3723295" else ()
            if not wanted and not lists:
                continue
            try:
                answer = requests.get(LISTING.format(record=record), timeout=60)
                answer.raise_for_status()
                files = {file["key"]: file for file in answer.json()["files"]}
            except (requests.RequestException, KeyError, ValueError) as error:
                raise UserError(
                    f"Zenodo's listing of LUNA16 (record {record}) cannot be read ({type(error).__name__}); "
                    "check the network and try again"
                ) from error
            for name in [*lists, *(f"{part}.zip" for part in wanted)]:
                if name not in files:
                    raise UserError(f"record {record} of Zenodo no longer has {name}; look for it by hand")
                sources.append(
                    Source(
                        filename=name,
                        urls=(f"https://zenodo.org/records/{record}/files/{name}?download=1",),
                        hash=files[name]["checksum"],
                        size=int(files[name]["size"]),
                        part=name[:-4] if name.startswith("subset") else "",
                        unpack=name.endswith(".zip"),
                    )
                )
        return sources

    def download(self, parts: list[str] | None = None) -> Path:
        """Fetch the lists and the given subsets (all ten by default, over 100 GB unpacked), as `Dataset` does."""
        folder = super().download(parts)
        for name in ("annotations_excluded.csv", "seriesuids.csv"):  # inside the evaluation script
            found = self._list_in(folder, name)
            if found and found.parent != folder:
                shutil.copy(found, folder / name)
        return folder

    def check(self) -> list[str]:
        """One line per list and subset of the real copy: there, missing, or broken and which files."""
        folder = self.find_real()
        if folder is None:
            return [
                f"luna: no real copy below {shown(data_root())}; 'python course.py data luna --subset 0' "
                "fetches the first tenth, and until then generated patients stand in"
            ]
        lines = [f"luna: {shown(folder)}"]
        for name in ("annotations.csv", "candidates.csv", "annotations_excluded.csv"):
            lines.append(f"{name}: {'there' if self._list_in(folder, name) else 'missing'}")
        for part, expected in SCANS_IN_SUBSET.items():
            headers = sorted(p for p in folder.glob(f"{part}/**/*.mhd") if not p.name.startswith("."))
            broken = [f"{p.name} ({why})" for p in headers if (why := problem_with_scan(p))]
            if not headers:
                state = "missing"
            elif broken:
                state = f"broken: {', '.join(broken[:5])}" + (
                    f" and {len(broken) - 5} more" if broken[5:] else ""
                )
            else:
                state = f"there ({len(headers)} of {expected} scans)"
            lines.append(f"{part}: {state}")
        return lines


def problem_with_scan(header: Path) -> str | None:
    """What is wrong with a `.mhd` and its data file by their sizes alone, or None: fast for 888 scans."""
    try:
        entries = dict(line.split("=", 1) for line in header.read_text().splitlines() if "=" in line)
        field = {key.strip(): value.strip() for key, value in entries.items()}
        data = header.parent / field["ElementDataFile"]
        voxels = 1
        for size in field["DimSize"].split():
            voxels *= int(size)
        bytes_each = {"MET_SHORT": 2, "MET_USHORT": 2, "MET_UCHAR": 1, "MET_FLOAT": 4}[field["ElementType"]]
    except (OSError, KeyError, ValueError, UnicodeDecodeError):
        return "no readable header"
    if not data.is_file():
        return f"{data.suffix} file missing"
    size = data.stat().st_size
    compressed = field.get("CompressedData", "False").lower() == "true"
    need = int(field.get("CompressedDataSize", 1)) if compressed else voxels * bytes_each
    return f"{size:,} of {need:,} bytes" if size < need else None
