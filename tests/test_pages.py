"""The pages beside the notebooks: their links lead somewhere, and what they say of notebooks and PyTorch is so."""

import importlib
import importlib.util
import json
import re
import subprocess
import sys
import warnings

import nbformat
import pytest
import torch
import yaml

import course
from util.paths import PROJECT

PAGES = sorted(
    path
    for folder in (
        PROJECT,
        *(PROJECT / name for name in ("notebooks", "docs", "docs/learn", "data")),
        *(PROJECT / "data").glob("p*ch*"),
    )
    for path in folder.glob("*.md")
)
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("p*.ipynb"))
CONTENTS = PROJECT / "notebooks" / "README.md"
THEN_AND_NOW = PROJECT / "notebooks" / "then_and_now.md"


def headings(text):
    """The lines of `text` that are headings, without fenced code, as (level, title)."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return [(len(marks), title) for marks, title in re.findall(r"^(#+) (.*)$", prose, flags=re.M)]


def anchor(title):
    """The anchor that GitHub gives a heading."""
    title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def notebook_headings(path):
    cells = nbformat.read(path, as_version=4).cells
    return [found for cell in cells if cell.cell_type == "markdown" for found in headings(cell.source)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text)
    for link in links:
        file, _, part = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), f"{page.name}: {link}"
        if part:
            anchors = {anchor(title) for _, title in headings(target.read_text(encoding="utf-8"))}
            assert part in anchors, f"{page.name}: {link}"


def test_there_are_pages_to_test():
    assert {CONTENTS, THEN_AND_NOW, PROJECT / "README.md", PROJECT / "data" / "README.md"} <= set(PAGES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem.split("_")[0])
def test_contents_lists_the_sections_and_exercises_of_each_notebook(path):
    chapters = CONTENTS.read_text(encoding="utf-8").split("\n### ")[1:]
    [chapter] = [text for text in chapters if f"]({path.name})" in text]
    found = notebook_headings(path)
    number, title = re.match(r"Chapter (\d+): (.*)", found[0][1]).groups()
    assert chapter.startswith(f"[{number}. {title}]")
    names = [re.sub(r"^\d+\.\d+ ", "", title) for level, title in found if level == 2]
    listed = re.search(r"^\| sections \| (.*) \|$", chapter, flags=re.M)[1].split(" · ")
    assert listed == [name for name in names if name not in ("Exercises", "Summary")]
    source = "".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    exercises = {int(n) for n in re.findall(rf"\*\*{number}\.(\d+)[ *(]", source)}
    exercises |= {int(n) for n in re.findall(rf"check\(\"{number}\.(\d+)", source)}
    assert f"| exercises | {len(exercises)} |" in chapter


def exists(name):
    """Is there a `name` like torch.export.export, as a module or inside one?"""
    module, rest = importlib.import_module(name.split(".")[0]), name.split(".")[1:]
    where = module.__name__
    for part in rest:
        where = f"{where}.{part}"
        if not hasattr(module, part):
            try:
                importlib.import_module(where)
            except ModuleNotFoundError:
                return False
        module = getattr(module, part)
    return True


def test_names_of_pytorch_that_the_page_gives_exist():
    text = THEN_AND_NOW.read_text(encoding="utf-8")
    names = set(re.findall(r"`((?:torch|functorch)(?:\.\w+)+)", text))
    assert len(names) > 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        missing = [name for name in names if not exists(name)]
    assert missing == []


DEPRECATED = """
import torch

torch.tensor([1.0]).storage()
torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)
torch.jit.trace(torch.nn.ReLU(), torch.ones(2))
torch.jit.script(torch.nn.ReLU())
"""


@pytest.mark.slow
def test_what_the_page_calls_gone_or_deprecated_is():
    with pytest.raises(TypeError):
        torch.tensor([1.0], names=["channels"])
    # In a process of its own: PyTorch tells some of these only once per process.
    said = subprocess.run(
        [sys.executable, "-W", "always", "-c", DEPRECATED], check=True, capture_output=True, text=True
    ).stderr
    for name in ("TypedStorage", "quantize_per_tensor", "torch.jit.trace", "torch.jit.script"):
        assert re.search(rf"{name}.*deprecated|deprecated.*{name}", said), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_modules_that_a_page_tells_to_run_exist(page):
    for name in re.findall(r"python3? -m (p\dch\w+(?:\.\w+)*|util\.\w+)", page.read_text(encoding="utf-8")):
        assert importlib.util.find_spec(name), f"{page.name}: python -m {name}"


def test_public_ci_runs_the_fast_tier_everywhere_and_the_readmes_command_once():
    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    fast, whole = workflow["jobs"]["fast"], workflow["jobs"]["whole"]
    assert [step["run"] for step in whole["steps"] if "run" in step] == [".ci/run"]
    assert "course.py test" in (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    assert any("course.py test --fast" in step.get("run", "") for step in fast["steps"])
    versions = [f"3.{minor}" for minor in range(course.OLDEST[1], course.NEWEST[1] + 1)]
    assert fast["strategy"]["matrix"]["python"] == versions
    systems = {system.split("-")[0] for system in fast["strategy"]["matrix"]["system"]}
    assert systems == {"ubuntu", "macos", "windows"}


@pytest.mark.parametrize("path", sorted((PROJECT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_workflows_and_forms_can_be_read(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content
    commands = [s["run"] for job in content.get("jobs", {}).values() for s in job["steps"] if "run" in s]
    for command in commands:
        for name in re.findall(r"course\.py (\w+)", command):
            assert f"course.py {name}" in course.__doc__


def test_the_devcontainer_sets_the_course_up():
    text = (PROJECT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    assert "course.py setup" in json.loads(text)["postCreateCommand"]


def test_the_citation_file_has_what_its_format_asks_for():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert all("name" in author or "family-names" in author for author in citation["authors"])
