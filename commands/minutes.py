"""Minutes per section, for the pages in docs/learn: how long a reader may plan for each.

`python -m commands.minutes --write` makes the tables anew from the notebooks as they are committed; executing
notebooks does so, too. A test compares.
"""

import argparse
import json
import math
import re

from commands.where_is import NOTEBOOKS
from util.errors import main_guard
from util.exercises.source import catalogue
from util.files import atomic_path
from util.paths import PROJECT

LEARN = PROJECT / "docs" / "learn"
# Prose that has to be understood, code that has to be followed, a figure that has to be looked at.
WORDS_A_MINUTE, LINES_A_MINUTE, MINUTES_A_FIGURE = 150, 12, 0.5
TABLE = re.compile(r"\n## Minutes\n.*?(?=\n## )", re.S)


def sections(path) -> dict[str, int]:
    """{section of the notebook at `path`: minutes}, in order; exercises as many as they say themselves."""
    minutes, section = {}, None
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            prose = re.sub(r"^```.*?^```", "", source, flags=re.M | re.S)  # a comment in it is no heading
            for part in re.split(r"^(?=## )", prose, flags=re.M):
                heading = re.match(r"## (.+)", part)
                section = heading[1] if heading else section
                _add(minutes, section, len(part.split()) / WORDS_A_MINUTE)
        else:
            lines = [line for line in source.splitlines() if line.strip()]
            figures = sum("image/png" in output.get("data", {}) for output in cell["outputs"])
            _add(minutes, section, len(lines) / LINES_A_MINUTE + MINUTES_A_FIGURE * figures)
    minutes.pop("Summary", None)
    if "Exercises" in minutes:
        chapter = path.name.partition("_")[0]
        minutes["Exercises"] = sum(
            one["minutes"] for one in catalogue().values() if one["package"] == chapter
        )
    return {section: math.ceil(time) for section, time in minutes.items()}


def _add(minutes, section, time):
    if section is not None:
        minutes[section] = minutes.get(section, 0) + time


def table(path) -> str:
    """The section "Minutes" of the page that belongs to the notebook at `path`."""
    minutes = sections(path)
    rows = "".join(f"| {section} | {time} |\n" for section, time in minutes.items())
    return (
        "\n## Minutes\n\nTo read a section, follow its code and look at its figures; of the exercises, to do them.\n\n"
        f"| section | minutes |\n|---|---|\n{rows}| all | {_hours(sum(minutes.values()))} |\n"
    )


def _hours(minutes):
    return f"{minutes // 60} h {minutes % 60:02d}" if minutes >= 60 else str(minutes)


def pages():
    """(page, its text with the table as it should be) of every chapter."""
    for path in sorted(NOTEBOOKS.glob("p*ch*.ipynb")):
        page = LEARN / f"{path.name.partition('_')[0]}.md"
        text = TABLE.sub("", page.read_text(encoding="utf-8"))
        before, quiz, after = text.partition("\n## Quiz\n")
        yield page, before + table(path) + quiz + after


def write():
    """Make the tables anew."""
    for page, text in pages():
        with atomic_path(page) as temporary:
            temporary.write_text(text, encoding="utf-8")


def main(arguments=None):
    """`python -m commands.minutes [--write]`: print the tables, or write them into the pages."""
    parser = argparse.ArgumentParser(description="Minutes per section, from the notebooks.")
    parser.add_argument("--write", action="store_true", help="write them into the pages in docs/learn")
    if parser.parse_args(arguments).write:
        write()
    else:
        for path in sorted(NOTEBOOKS.glob("p*ch*.ipynb")):
            print(f"{path.name}{table(path)}")


if __name__ == "__main__":
    main_guard(main)
