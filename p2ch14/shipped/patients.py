"""The patients that the shipped networks are trained and measured on: none of them is in a chapter."""

import json

from p2ch09.phantom import series_uid, write_cohort
from p2ch10.dsets import scan_paths
from util.errors import UserError
from util.files import atomic_path
from util.paths import data_root, shown

RICHNESS, REPORTED_RICHNESS = 6, 3  # LUNA16 scans' nodules in each patient
SCANS, SEED = 480, 100
REPORTED_SCANS, REPORTED_SEED, VARIED_SEED = 60, 780, 790  # usual patients, and varied ones
MADE_AS = "made_as.json"  # beside the lists: how the patients were made
KINDS = ("usual", "varied")  # as the chapters' patients, and those of `p2ch09.varied`


def kind_of(number) -> str:
    """The kind of the training cohort's patient `number`."""
    return "usual" if number % 3 == 0 else "varied"


def patients_of(kind) -> set[str]:
    """The series UIDs of the training cohort's patients of this kind, or of "all"."""
    return {series_uid(SEED, n) for n in range(SCANS) if kind in ("all", kind_of(n))}


def cohort(scans, seed, richness, is_varied=False):
    """See that the data folder holds these patients and no others; make them if there are none.

    richness, is_varied: as for `write_cohort`. Raises `UserError` for a folder with other scans, or with patients of
    the same names that were made in another way.
    """
    folder = data_root() / "luna"
    made_as = {"scans": scans, "seed": seed, "richness": richness, "is_varied": is_varied}
    if not folder.exists():
        with atomic_path(folder) as unfinished:
            write_cohort(unfinished, scans, seed, richness=richness, is_varied=is_varied)
            (unfinished / MADE_AS).write_text(json.dumps(made_as), encoding="utf-8")
    note = folder / MADE_AS
    is_ours = note.is_file() and json.loads(note.read_text(encoding="utf-8")) == made_as
    if not is_ours or set(scan_paths()) != {series_uid(seed, number) for number in range(scans)}:
        raise UserError(
            f"{shown(folder)} holds other scans than the {scans} generated patients that this needs; "
            "set COURSE_DATA to a folder of its own"
        )


def training_cohort():
    """`cohort` of the patients that train the shipped networks."""
    cohort(SCANS, SEED, RICHNESS, [kind_of(number) == "varied" for number in range(SCANS)])
