"""Exercises, for their authors: write them into the notebooks, and try every answer that they come with.

    python -m commands.exercises [CHAPTER…]             write the section "Exercises" of the notebooks
    python -m commands.exercises --check [CHAPTER…]     only say which notebooks differ from their source
    python -m commands.exercises --verify --seeds 50    right answers pass, wrong ones do not, for any seed
    python -m commands.exercises --times [CHAPTER…]     how long the checks take: 20 s a chapter at most

A CHAPTER is a package such as p1ch3; without one, all. `--record FILE` writes what `--verify` found, a chapter at a
time; chapters that are not tried keep what the file says of them, so that a long run can be done in pieces.
"""

import argparse
import contextlib
import functools
import io
import json
import re
import sys
import time
from pathlib import Path

import nbformat
import torch

from util.errors import UserError, main_guard
from util.exercises import BUG, Result, exercises_of, judge
from util.exercises.source import Exercise, chapter_packages, find, load
from util.files import atomic_path
from util.paths import PROJECT, shown
from util.runtime import seed_everything

NOTEBOOKS = PROJECT / "notebooks"
HEADING = re.compile(r"^##\s+(?:[\d.]+\s+)?Exercises\s*$", re.M)
NEXT_HEADING = re.compile(r"^##?\s+(?!#)", re.M)
IMPORT = "from util.exercises import check, hint, progress, solution"
INTRODUCTION = """
Write your answer in place of what stands there, run the cell, then the one below it: `check` tries your
answer on cases of its own and names the smallest one that fails. Stuck? `hint("{first}")` gives one hint at a
time, `solution("{first}")` shows an answer and says why it works, and `progress()` lists what you have done in all
chapters. One star takes a few minutes, three are hard.
"""


# ---------------------------------------------------------------- notebooks


def section(package: str) -> list:
    """The cells of the section "Exercises" of a chapter's notebook, as its source has them.

    A chapter's `exercises` may say something first, in `INTRODUCTION`.
    """
    exercises = [find(number) for number in exercises_of(package)]
    introduction = getattr(load(package), "INTRODUCTION", "").strip()
    standard = " ".join(INTRODUCTION.format(first=exercises[0].number).split())
    cells = [
        _cell("markdown", "\n\n".join(filter(None, ["## Exercises", introduction, standard])), "exercises"),
        _cell("code", IMPORT, "exercises-import"),
    ]
    for exercise in exercises:
        name = f"exercise-{exercise.number.replace('.', '-')}"
        cells.append(_cell("markdown", f"{_title(exercise)}\n\n{exercise.text}", name))
        if exercise.stub:
            cells.append(_cell("code", exercise.stub, f"{name}-stub"))
            cells.append(_cell("code", exercise.check_cell, f"{name}-check"))
    return cells


def _title(exercise: Exercise) -> str:
    stars = "★" * exercise.difficulty + "☆" * (3 - exercise.difficulty)
    parts = [f"**{exercise.number} {exercise.title}**", exercise.kind, stars, f"{exercise.minutes} minutes"]
    if not exercise.stub:
        parts.append("no check")
    if exercise.seconds > 1:
        parts.append(f"its check takes about {exercise.seconds:g} s")
    return " · ".join(parts)


def _cell(kind: str, source: str, name: str):
    make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    return make(source, id=name)


def split(cells) -> tuple[list, list, list]:
    """`cells` before, in, and after the section "Exercises"; cells that straddle a border are divided.

    Raises `UserError` if there is no such section.
    """
    start = next(
        (i for i, c in enumerate(cells) if c.cell_type == "markdown" and HEADING.search(c.source)), None
    )
    if start is None:
        raise UserError(
            "there is no heading '## Exercises'; give the notebook one where the exercises belong"
        )
    at = HEADING.search(cells[start].source).start()
    head, rest = _divide(cells[start], at)
    before, section, after = cells[:start] + head, [], []
    for cell in rest + cells[start + 1 :]:
        skip = HEADING.match(cell.source).end() if not section else 0
        found = NEXT_HEADING.search(cell.source, skip) if cell.cell_type == "markdown" and not after else None
        if after:
            after.append(cell)
        elif found:
            mine, others = _divide(cell, found.start())
            section, after = section + mine, others
        else:
            section.append(cell)
    return before, section, after


def _divide(cell, at: int) -> tuple[list, list]:
    """`cell` as one or two cells, cut before character `at`."""
    first, second = cell.source[:at].rstrip(), cell.source[at:]
    if not first:
        return [], [cell]
    one, two = nbformat.from_dict(dict(cell)), nbformat.from_dict(dict(cell))
    one.source, two.source, two.id = first, second, f"{cell.id}-b"
    return [one], [two]


def differs(notebook, package: str) -> bool:
    """Do the exercises in the notebook differ from their source?"""
    section_now = split(notebook.cells)[1]
    return [(c.cell_type, c.source) for c in section_now] != [
        (c.cell_type, c.source) for c in section(package)
    ]


def write(notebook, package: str):
    """Put the chapter's exercises into `notebook`, in place; outputs of cells that stay the same stay, too."""
    before, old, after = split(notebook.cells)
    new = section(package)
    kept = {cell.source: cell for cell in old if cell.cell_type == "code"}
    for cell in new:
        if cell.cell_type == "code" and cell.source in kept:
            cell.outputs = kept[cell.source].outputs
            cell.execution_count = kept[cell.source].execution_count
    notebook.cells = before + new + after


def notebook_of(package: str) -> Path:
    """The chapter's notebook."""
    (path,) = NOTEBOOKS.glob(f"{package}_*.ipynb")
    return path


def write_all(packages, only_check: bool) -> int:
    """Write (or check) the notebooks of `packages`; returns how many differ and were not written."""
    stale = 0
    for package in packages:
        path = notebook_of(package)
        notebook = nbformat.read(path, as_version=4)
        try:
            stale_here = differs(notebook, package)
        except UserError as error:
            raise UserError(f"{path.name}: {error}") from None
        if stale_here and only_check:
            stale += 1
        elif stale_here:
            write(notebook, package)
            with atomic_path(path) as temporary:
                temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        said = "is as its source says" if not stale_here else "differs" if only_check else "written"
        print(f"{path.name:55} {said}")
    return stale


# ---------------------------------------------------------------- every answer

LONGEST = 20  # seconds that all checks of a chapter may take together
TRAININGS = 3  # a solution that trains something is trained with so many seeds, and then tried with all


def faults(number: str, seed: int, settled: set | None = None) -> list[str]:
    """What is wrong with an exercise's own answers for `seed`: an empty list where all is well.

    Answers in `settled` are left out. Those for which no random number was drawn are added to it: other seeds
    would find the same.
    """
    exercise, found = find(number), []
    settled = set() if settled is None else settled

    def expect(answer, wanted, name, **options):
        if name in settled:
            return
        with contextlib.redirect_stdout(io.StringIO()):
            verdict = judge(number, answer, seed, **options)
        if verdict.result is not wanted:
            found.append(f"{number}, seed {seed}: {name} should be {wanted.value}; {verdict.words}")
        if not verdict.by_chance:
            settled.add(name)

    training = seed % TRAININGS
    expect(_solution_of(number, training), Result.PASSED, f"the solution, trained with seed {training},")
    for place, answer in enumerate(exercise.right_answers):
        expect(answer, Result.PASSED, f"right answer {place}")
    for place, answer in enumerate(exercise.wrong_answers):
        expect(answer, Result.WRONG, f"wrong answer {place} ({getattr(answer, '__name__', 'a value')})")
    namespace = stub_names(exercise)
    expect(namespace[exercise.answer_name], Result.NOT_ATTEMPTED, "the stub")
    if exercise.kind == BUG:
        expect(namespace[exercise.answer_name], Result.WRONG, "the broken program", stub_counts=False)
    return found


@functools.cache
def _solution_of(number: str, seed: int):
    """What the solution binds, run as it is printed."""
    exercise, namespace = find(number), {}
    seed_everything(seed)
    exec(exercise.solution_code, namespace)
    return namespace[exercise.answer_name]


def stub_names(exercise: Exercise) -> dict:
    """What the stub binds, run where the names of the chapter's exercises are known."""
    namespace = dict(vars(sys.modules[exercise.module]))
    exec(exercise.stub, namespace)
    return namespace


def verify(packages, seeds: int, record: str | None) -> int:
    """Try every answer of every exercise with `seeds` seeds; returns the number of faults."""
    answers = faulty = 0
    for package in packages:
        rows = []
        for number in filter(lambda number: find(number).stub, exercises_of(package)):
            exercise, start, settled = find(number), time.perf_counter(), set()
            mine = [fault for seed in range(seeds) for fault in faults(number, seed, settled)]
            right, wrong = 1 + len(exercise.right_answers), len(exercise.wrong_answers)
            print(
                f"{package:7} {number:5} {right} right, {wrong} wrong, {seeds} seeds: "
                f"{'as they should' if not mine else f'{len(mine)} faults'}  {time.perf_counter() - start:.1f} s",
                *(f"        {fault}" for fault in mine),
                sep="\n",
                flush=True,
            )
            answers, faulty = answers + right + wrong, faulty + len(mine)
            rows.append({"exercise": number, "right": right, "wrong": wrong, "faults": len(mine)})
        if record:
            _record(Path(record), package, seeds, rows)
    print(f"{answers} answers, {faulty} faults")
    return faulty


def _record(path: Path, package: str, seeds: int, rows: list):
    """Write what was found in chapter `package` into `path`, beside what it says of the others."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        content = {}
    content[package] = {
        "command": f"python -m commands.exercises --verify --seeds {seeds} --record {shown(path)} {package}",
        "torch": torch.__version__.partition("+")[0],
        "seeds": seeds,
        "exercises": rows,
    }
    content = {package: content[package] for package in chapter_packages() if package in content}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{package}: written to {shown(path)}")


def times(packages) -> int:
    """Print how long each check takes with the solution; returns how many chapters need more than `LONGEST`."""
    slow = 0
    for package in packages:
        together = 0.0
        for number in filter(lambda number: find(number).stub, exercises_of(package)):
            answer = _solution_of(number, 0)
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                judge(number, answer)
            seconds, announced = time.perf_counter() - start, find(number).seconds
            together += seconds
            if seconds >= 1 or announced:
                print(f"{package:7} {number:5} {seconds:5.1f} s, announced: {announced or 'less than 1'}")
        print(f"{package:7} all   {together:5.1f} s")
        slow += together > LONGEST
    return slow


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m commands.exercises",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if any differs")
    parser.add_argument("--verify", action="store_true", help="try every right and wrong answer")
    parser.add_argument("--times", action="store_true", help="how long the checks take")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds --verify tries (3)")
    parser.add_argument("--record", metavar="FILE", help="write what --verify found as JSON")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.chapters if name not in chapter_packages()]
    if unknown:
        raise UserError(f"there is no chapter '{unknown[0]}'; give packages such as p1ch3")
    packages = options.chapters or chapter_packages()
    if options.verify:
        return int(verify(packages, options.seeds, options.record) > 0)
    if options.times:
        return int(times(packages) > 0)
    return int(write_all(packages, options.check) > 0)


if __name__ == "__main__":
    main_guard(main)
