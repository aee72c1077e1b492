"""The page "Where is …?": in which cell of which notebook a name of the book's is written out.

`python -m commands.where_is --write` makes docs/learn/where_is.md anew from the notebooks as they are committed;
executing notebooks does so, too. A test compares.
"""

import argparse
import ast
import json
import re
from typing import NamedTuple

from util.errors import main_guard
from util.files import atomic_path
from util.paths import PROJECT

NOTEBOOKS = PROJECT / "notebooks"
NAMES = PROJECT / "docs" / "learn" / "book_names.json"
PAGE = PROJECT / "docs" / "learn" / "where_is.md"
HEAD = """# Where is …?

With the book open: the functions, classes and names that it prints, and the cell in which the notebook of the same
chapter has them. The number in brackets is the one that Jupyter shows beside the cell. Several places mean that the
name is built in steps, or comes back changed. To [the contents](../../notebooks/README.md),
[the glossary](glossary.md).

This page is made by `python -m commands.where_is --write`.
"""


class Place(NamedTuple):
    """Where a name is bound."""

    section: str  # the heading above the cell
    cell: int  # as Jupyter counts the cells that ran


def title(path) -> str:
    """The first heading of the notebook at `path`."""
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    return "".join(first["source"]).splitlines()[0].lstrip("# ")


def places(path) -> tuple[dict[str, list[Place]], dict[str, list[Place]]]:
    """For the notebook at `path`: where each function or class is defined, where each other name is bound.

    Methods count as functions. A cell that did not run, or is no Python, is left out.
    """
    section, defined, bound = "", {}, {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            prose = re.sub(r"^```.*?^```", "", source, flags=re.M | re.S)
            section = (re.findall(r"^#{2,3} (.*)$", prose, flags=re.M) or [section])[-1]
        elif cell.get("execution_count"):
            here = Place(section, cell["execution_count"])
            for name, is_definition in _names(source):
                where = (defined if is_definition else bound).setdefault(name, [])
                if here not in where:
                    where.append(here)
    return defined, bound


def _names(source):
    """(name, whether it is a definition) of all that a cell binds; methods too, but no names local to a function."""
    code = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
    try:
        waiting = list(ast.parse(code).body)
    except SyntaxError:
        return
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, True
            if isinstance(node, ast.ClassDef):
                waiting += [part for part in node.body if isinstance(part, ast.FunctionDef)]
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, False
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield (alias.asname or alias.name).split(".")[0], False
        waiting += ast.iter_child_nodes(node)


def page() -> str:
    """The page as Markdown."""
    text = HEAD
    for chapter, names in json.loads(NAMES.read_text(encoding="utf-8")).items():
        (path,) = NOTEBOOKS.glob(f"{chapter}_*.ipynb")
        defined, bound = places(path)
        rows = [(name, defined.get(name) or bound.get(name)) for name in names["functions"]]
        rows += [(name, (bound.get(name) or defined.get(name) or [])[:1]) for name in names["variables"]]
        text += f"\n## [{title(path)}](../../notebooks/{path.name})\n\n| name | where |\n|---|---|\n"
        text += "".join(f"| `{name}` | {_told(where)} |\n" for name, where in rows if where)
    return text


def _told(where):
    """Places as words, those of one section together."""
    sections = {}
    for section, cell in where:
        sections.setdefault(section, []).append(f"[{cell}]")
    return "; ".join(f"{section} {' '.join(cells)}" for section, cells in sections.items())


def write():
    """Make the page anew."""
    with atomic_path(PAGE) as temporary:
        temporary.write_text(page(), encoding="utf-8")


def main(arguments=None):
    """`python -m commands.where_is [--write]`: print the page, or write it."""
    parser = argparse.ArgumentParser(description='The page "Where is …?", from the notebooks.')
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(PROJECT)}")
    if parser.parse_args(arguments).write:
        write()
    else:
        print(page(), end="")


if __name__ == "__main__":
    main_guard(main)
