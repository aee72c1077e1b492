"""The rules of the house: who may import whom, what every chapter has, what never appears in the code."""

import ast
import graphlib
import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import course
from util.paths import PROJECT

CHAPTERS = [f"p1ch{n}" for n in range(1, 9)] + [f"p2ch{n:02d}" for n in range(9, 15)] + ["p3ch15"]
HOUSE = {*CHAPTERS, "util", "commands", "tests", "course"}
MODULES = sorted(p for name in [*CHAPTERS, "util", "commands"] for p in (PROJECT / name).rglob("*.py"))


def imported_names(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PROJECT).as_posix())
def test_imports_point_to_earlier_chapters_and_util(path):
    home = path.relative_to(PROJECT).parts[0]
    allowed = (
        CHAPTERS if home == "commands" else CHAPTERS[: CHAPTERS.index(home) + 1] if home in CHAPTERS else []
    )
    later = {name for name in imported_names(path) if name in CHAPTERS and name not in allowed}
    if home != "commands":
        later |= {name for name in imported_names(path) if name == "commands"}
    assert not later, f"{path.name} imports {', '.join(sorted(later))}"


def test_util_stays_small():
    from_the_book = {"util.py", "unet.py", "augmentation.py", "disk.py"}
    ours = [p for p in (PROJECT / "util").glob("*.py") if p.name not in from_the_book]
    engine = (PROJECT / "util" / "exercises").glob("*.py")  # a room of its own, which counts by itself
    for paths, most in ((ours, 1000), (engine, 1150)):
        assert sum(len(p.read_text(encoding="utf-8").splitlines()) for p in paths) <= most


# What may be longer, and why: drawings are long lists of strokes, exercises lists of short exercises.
LONG_MODULES = {
    "p1ch2/drawing.py", "p1ch7/draw.py", "p2ch09/anatomy.py", "p2ch09/phantom.py",
    *(f"{chapter}/exercises.py" for chapter in CHAPTERS),
    *(f"{chapter}/claims.py" for chapter in CHAPTERS),  # tables of sentences
}  # fmt: skip
LONG_FUNCTIONS = {"p2ch09/nodules.py: draw_nodule"}


def test_modules_and_functions_are_of_a_length_that_one_reads():
    too_long = []
    for path in MODULES:
        name, text = path.relative_to(PROJECT).as_posix(), path.read_text(encoding="utf-8")
        if name in LONG_MODULES:
            continue
        if len(text.splitlines()) > 400:
            too_long.append(name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                function = f"{name}: {node.name}"
                if node.end_lineno - node.lineno >= 60 and function not in LONG_FUNCTIONS:
                    too_long.append(function)
    assert too_long == []


def imports_within(home):
    """{module: modules of the same package that it imports, when it is loaded}."""
    paths = {
        ".".join(p.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): p
        for p in (PROJECT / home).rglob("*.py")
    }
    graph = {}
    for module, path in paths.items():
        named = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for part in [] if isinstance(node, ast.FunctionDef | ast.ClassDef) else ast.walk(node):
                if isinstance(part, ast.Import):
                    named |= {alias.name for alias in part.names}
                elif isinstance(part, ast.ImportFrom) and part.level == 0:
                    parts = {f"{part.module}.{alias.name}" for alias in part.names} & set(paths)
                    # `from package import module` needs the module; the package is being loaded anyway.
                    named |= parts or {part.module}
        graph[module] = (named & set(paths)) - {module}
    return graph


@pytest.mark.parametrize("home", [*CHAPTERS, "util", "commands"])
def test_no_circle_of_imports_within_a_package(home):
    try:
        tuple(graphlib.TopologicalSorter(imports_within(home)).static_order())
    except graphlib.CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_no_absolute_path_and_nothing_left_to_do_in_tracked_text():
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    marks = re.compile(
        r"\b(?:TO" + r"DO|FIX" + r"ME)\b|(?<![\w.:/])/(?:ho" + r"me|Us" + r"ers|wo" + r"rk|ro" + r"ot)/\w"
    )
    for name in listed.stdout.splitlines():
        path = PROJECT / name
        if (
            path.suffix in {".py", ".md", ".ipynb", ".toml", ".yml", ".txt", ".html", ".js", ".cpp"}
            and path.exists()
        ):
            found = marks.search(path.read_text(encoding="utf-8"))
            assert found is None, f"{name}: {found.group()}"


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=["check", "format"])
def test_ruff_finds_nothing(arguments):
    command = [sys.executable, "-m", "ruff", *arguments, "."]
    said = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout


def test_every_package_that_is_imported_is_required():
    """Not only brought along by another, which may stop doing so. `serve`, phones, the site have more of their own."""

    def named_in(file):
        lines = (PROJECT / file).read_text(encoding="utf-8").splitlines()
        texts = (line.split("#")[0].strip() for line in lines)
        return {canonicalize_name(Requirement(text).name) for text in texts if text}

    for_all, for_the_site = named_in("requirements.txt"), named_in("requirements-site.txt")
    distributions = packages_distributions()
    tests = (PROJECT / "tests").rglob("*.py")
    for path in [*MODULES, *tests]:
        if path.parent.name == "serve":
            continue
        required = for_all | for_the_site if path.name == "site.py" else for_all
        if path.parent.name == "mobile":
            required |= named_in("requirements-phone.txt")
        for name in set(imported_names(path)) & set(distributions):
            owners = {canonicalize_name(owner) for owner in distributions[name]}
            assert owners & required or name in HOUSE, f"{path.name} imports {name}: require one of {owners}"


def test_the_range_of_pythons_is_the_same_everywhere():
    requires = re.search(
        r'requires-python = "(.*)"', (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    )
    allowed = SpecifierSet(requires.group(1))
    assert {minor for minor in range(30) if f"3.{minor}.0" in allowed} == set(
        range(course.OLDEST[1], course.NEWEST[1] + 1)
    )
    oldest, newest = (".".join(map(str, version)) for version in (course.OLDEST, course.NEWEST))
    assert f"Python {oldest} to {newest}" in (PROJECT / "README.md").read_text(encoding="utf-8")
