"""What a reader has passed and tried: one small file in the output folder, and the list made from it."""

import json

import filelock

from util.errors import UserError
from util.exercises.source import catalogue, package_of, place
from util.files import atomic_path
from util.paths import output_root, shown

PASSED, TRIED = "passed", "tried"
LOCK_SECONDS = 10


def _path():
    return output_root() / "exercises.json"


def read() -> dict[str, str]:
    """ "passed" or "tried" by exercise number. Raises `UserError` if the file is damaged."""
    try:
        entries = json.loads(_path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        entries = None
    if not isinstance(entries, dict) or not set(map(str, entries.values())) <= {PASSED, TRIED}:
        raise UserError(
            f"{shown(_path())}, which remembers your exercises, cannot be read; "
            "delete it to start the list anew"
        )
    return entries


def note(number: str, passed: bool) -> str | None:
    """Remember that `number` was tried or passed (what was passed once stays passed).

    Returns None, or one sentence about why it could not be noted.
    """
    try:
        _path().parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{_path()}.lock", timeout=LOCK_SECONDS):  # two notebooks may be open at once
            entries = read()
            wanted = PASSED if passed or entries.get(number) == PASSED else TRIED
            if entries.get(number) != wanted:
                entries[number] = wanted
                with atomic_path(_path()) as temporary:
                    temporary.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    except UserError as error:
        return f"not noted: {error}"
    except filelock.Timeout:
        return f"not noted: another notebook holds {shown(_path())}.lock; run this cell again"
    except OSError as error:
        return f"not noted in {shown(_path())}: {error.strerror}"
    return None


def progress(*chapters):
    """Print what is passed, tried and open: over all chapters, or exercise by exercise for those named.

    A chapter is a number (3) or a package ("p1ch3"). Raises `UserError` for one that does not exist, and
    if the file that remembers is damaged.
    """
    entries, every = read(), catalogue()
    packages = list(dict.fromkeys(entry["package"] for entry in every.values()))
    wanted = [_chapter(name, packages) for name in chapters]
    state = {number: entries.get(number, "open") for number in every}
    for package in wanted or packages:
        numbers = [number for number, entry in every.items() if entry["package"] == package]
        marks = "".join(MARKS[state[number]] for number in numbers)
        chapter = int(package.partition("ch")[2])
        print(f"chapter {chapter:2}  {marks:14} {_counts([state[number] for number in numbers])}")
        for number in numbers if wanted else ():
            print(f"  {MARKS[state[number]]} {number:5} {_described(every[number])}")
    if not wanted:
        print(f"{'together':27}{_counts(list(state.values()))}")
        print(f"{MARKS[PASSED]} passed  {MARKS[TRIED]} tried  {MARKS['open']} open")
        following = next((n for n in every if state[n] == TRIED), None) or _next_open(every, state)
        if following:
            print(f"next: {following} {_described(every[following])}")


MARKS = {PASSED: "●", TRIED: "◐", "open": "○"}


def _described(entry) -> str:
    if not entry["title"]:
        return ""
    return f"{entry['title']} ({'★' * entry['difficulty']}, {entry['minutes']} minutes)"


def _counts(states) -> str:
    parts = [f"{states.count(PASSED)} of {len(states)} passed"]
    if TRIED in states:
        parts.append(f"{states.count(TRIED)} tried")
    return ", ".join(parts)


def _next_open(every, state) -> str | None:
    """The first open exercise of the last chapter that was worked on, or of all."""
    worked = [package_of(number) for number in every if state[number] != "open"]
    remaining = [number for number in every if state[number] == "open"]
    here = [number for number in remaining if worked and package_of(number) == worked[-1]]
    return min(here or remaining, key=place, default=None)


def _chapter(name, packages) -> str:
    text = str(name)
    for package in packages:
        if text == package or (text.isdigit() and int(text) == int(package.partition("ch")[2])):
            return package
    raise UserError(f"there is no chapter '{name}'; give a number from 1 to 15, or a package such as p1ch3")
