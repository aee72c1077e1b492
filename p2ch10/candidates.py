"""LUNA's lists, joined into one list of candidates (chapter 10, "Parsing LUNA's annotation data")."""

import math
import re
import warnings
from collections import namedtuple

import SimpleITK as sitk

from p2ch09 import luna
from p2ch09.geometry import Geometry
from p2ch10.ct import scan_paths
from p2ch10.memory import remembered
from p2ch10.tables import read_rows, read_text
from util.errors import UserError
from util.paths import shown
from util.util import XyzTuple

CandidateInfoTuple = namedtuple(
    "CandidateInfoTuple",
    ["isNodule_bool", "hasAnnotation_bool", "isMal_bool", "diameter_mm", "series_uid", "center_xyz"],
)
CandidateInfoTuple.__doc__ = (
    """One candidate: is it a nodule, annotated, malignant; mm; where (patient mm, LPS)."""
)


def _number(row, column, path, line) -> float:
    try:
        value = float(row[column])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            f"{path.name}, line {line}: {column} is '{row.get(column)}', not a number; correct the row"
        )
    return value


def _place(row, path, line):
    """(series UID, centre in mm) of a row, both checked for their form."""
    uid = (row.get("seriesuid") or "").strip()
    if not uid.replace(".", "").isdigit():
        raise UserError(f"{path.name}, line {line}: '{uid}' is no series UID; correct the row")
    return uid, XyzTuple(*(_number(row, f"coord{axis}", path, line) for axis in "XYZ"))


@remembered()
def geometry_of(series_uid) -> Geometry:
    """Where a scan on disk lies, from its header alone."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(scan_paths()[series_uid]))
    reader.ReadImageInformation()
    return Geometry.from_itk(reader)


def _check_inside(uid, center_xyz, path, line):
    geometry = geometry_of(uid)
    if not geometry.holds(center_xyz):
        raise UserError(
            f"{path.name}, line {line}: the centre lies outside the scan "
            f"(voxel {tuple(geometry.xyz2irc(center_xyz))}, shape {geometry.shape}); correct the row"
        )


class _Rows:
    """The rows of one list that concern us: checked, each once."""

    def __init__(self, path, on_disk):
        self.path = path
        self.present = scan_paths() if on_disk else None
        series_list = luna.list_path("seriesuids.csv")
        # With the list of all series at hand, a scan that is absent differs from one that never was.
        self.known = set(re.split(r"[\s,;\"]+", read_text(series_list))) if series_list else None

    def __iter__(self):
        """Yield (line number, row, series UID, centre) of every row whose scan counts."""
        seen, repeated = {}, []
        for line, row in read_rows(self.path):
            uid, center = _place(row, self.path, line)
            if self.present is not None and uid not in self.present:
                if self.known is not None and uid not in self.known:
                    raise UserError(
                        f"{self.path.name}, line {line}: seriesuids.csv lacks series {uid}; correct the row"
                    )
                continue
            first = seen.setdefault(str(list(row.values())), line)
            if first != line:
                repeated.append((line, first))
                continue
            if self.present is not None:
                _check_inside(uid, center, self.path, line)
            yield line, row, uid, center
        if repeated:
            line, first = repeated[0]
            more = f" (and {len(repeated) - 1} more such rows)" if len(repeated) > 1 else ""
            warnings.warn(
                f"{self.path.name}, line {line}: repeats line {first} and counts once{more}", stacklevel=4
            )


def getCandidateInfoList(requireOnDisk_bool=True) -> list[CandidateInfoTuple]:
    """Every candidate, sorted backwards: nodules, then annotated, then malignant, then large ones first.

    Annotated nodules stand with their annotated centre and diameter; a candidate of class 1 that lies nearer
    to a centre than the nodule's radius is that nodule (LUNA16's own rule); one that no annotation explains
    stays a nodule without diameter. Malignancy comes from `annotations_with_malignancy.csv` where that is
    there. requireOnDisk_bool: only scans that are there (else all that the lists name).
    Raises `UserError` naming file and line for a bad row. Duplicate rows count once, with a warning.
    """
    return list(_candidates(requireOnDisk_bool))


@remembered()
def _candidates(on_disk):
    annotations_file, candidates_file = luna.list_path("annotations.csv"), luna.candidates_path()
    if annotations_file is None or candidates_file is None:
        raise UserError(
            f"{shown(luna.path())} lacks annotations.csv or candidates.csv; they belong to the LUNA data: "
            "'python course.py data luna' fetches them"
        )
    nodules = _annotated_nodules(annotations_file, on_disk)
    found = {nodule for of_scan in nodules.values() for nodule in of_scan}
    for line, row, uid, center in _Rows(candidates_file, on_disk):
        if row.get("class") not in ("0", "1"):
            raise UserError(
                f"{candidates_file.name}, line {line}: the class is '{row.get('class')}', "
                "not 0 or 1; correct the row"
            )
        is_nodule = row["class"] == "1"
        if is_nodule and any(
            _is_same(center, nodule.center_xyz, nodule.diameter_mm) for nodule in nodules.get(uid, ())
        ):
            continue
        found.add(CandidateInfoTuple(is_nodule, False, False, 0.0, uid, center))
    return tuple(sorted(found, reverse=True))


def annotated_nodules() -> dict[str, list[CandidateInfoTuple]]:
    """{series UID: its nodules} of `annotations.csv`, for the scans that are there."""
    return _annotated_nodules(luna.list_path("annotations.csv"), on_disk=True)


def _annotated_nodules(path, on_disk):
    """{series UID: its annotated nodules}; of several rows with one centre the last counts."""
    judged, nodules = _judged_places(), {}
    for line, row, uid, center in _Rows(path, on_disk):
        diameter = _number(row, "diameter_mm", path, line)
        if diameter <= 0:
            raise UserError(f"{path.name}, line {line}: a diameter of {diameter:g} mm; correct the row")
        near = [one for one in judged.get(uid, ()) if _is_same(center, one[0], diameter)]
        is_mal = min(near, key=lambda one: math.dist(center, one[0]))[1] if near else False
        nodules.setdefault(uid, {})[center] = CandidateInfoTuple(True, True, is_mal, diameter, uid, center)
    return {uid: list(by_center.values()) for uid, by_center in nodules.items()}


def _is_same(center_xyz, other_xyz, diameter_mm) -> bool:
    return math.dist(center_xyz, other_xyz) < diameter_mm / 2


def _judged_places():
    """{series UID: (centre, did two or more readers rate it 4 or 5?) of each nodule}; empty without the file."""
    path = luna.list_path("annotations_with_malignancy.csv")
    places = {}
    for line, row in read_rows(path) if path else ():
        uid, center = _place(row, path, line)
        is_mal = (row.get("mal_bool") or "").strip().lower() in ("true", "1")
        places.setdefault(uid, []).append((center, is_mal))
    return places


@remembered()
def getCandidateInfoDict(requireOnDisk_bool=True) -> dict[str, list[CandidateInfoTuple]]:
    """{series UID: its candidates, in the order of `getCandidateInfoList`}."""
    by_series = {}
    for info in getCandidateInfoList(requireOnDisk_bool):
        by_series.setdefault(info.series_uid, []).append(info)
    return by_series
