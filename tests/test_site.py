"""`course.py site`: what Sphinx is given, and what is done when it has finished."""

import importlib.util
import json
import shutil
import subprocess

import pytest

from commands import site
from util.errors import UserError
from util.exercises.source import find
from util.paths import PROJECT

URL = "https://github.com/owner/name"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "sources"
    site.gather(folder, URL, "v1")
    return folder


def cells_of(sources, chapter):
    (path,) = (sources / "notebooks").glob(f"{chapter}_*.ipynb")
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


@pytest.mark.slow
def test_the_front_page_lists_every_page_once(sources):
    listed = []
    for block in (sources / "index.md").read_text(encoding="utf-8").split("```{toctree}")[1:]:
        listed += block.partition("```")[0].split("\n\n", 1)[1].split()
    wanted = [site.place_of(page).with_suffix("").as_posix() for page in site.pages()]
    assert sorted([*listed, "index"]) == sorted(wanted)


@pytest.mark.slow
def test_a_notebook_has_its_links_and_the_original_to_download(sources):
    for page in site.pages():
        if page.suffix == ".ipynb":
            head = "".join(json.loads((sources / page).read_text(encoding="utf-8"))["cells"][0]["source"])
            assert f"https://colab.research.google.com/github/owner/name/blob/v1/{page.as_posix()}" in head
            assert (sources / "_files" / page.name).read_bytes() == (PROJECT / page).read_bytes()


@pytest.mark.slow
def test_solutions_and_hints_are_folded_in_after_the_check(sources):
    cells = cells_of(sources, "p1ch3")
    names = [cell.get("id") for cell in cells]
    place = names.index("solution-3-2")
    assert names[place - 1] == "exercise-3-2-check"
    text = "".join(cells[place]["source"])
    assert find("3.2").solution_code in text
    assert all(hint.strip() in text for hint in find("3.2").hints)
    assert text.count("<details>") == text.count("</details>") == len(find("3.2").hints) + 1


@pytest.mark.slow
def test_figures_take_their_words_along(sources):
    told = [c["metadata"] for c in cells_of(sources, "p1ch3") if "alt" in c["metadata"]]
    assert told
    assert all(metadata["mystnb"]["image"]["alt"] == metadata["alt"] for metadata in told)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[front](../README.md#a)", "[front](../index.md#a)"),
        ("[data](../data/README.md)", "[data](../data/README.md)"),
        ("[code](../util/files.py)", f"[code]({URL}/blob/v1/util/files.py)"),
        ("`[no](../util/files.py)`", "`[no](../util/files.py)`"),
        ("[far](https://pytorch.org)", "[far](https://pytorch.org)"),
    ],
)
def test_links_lead_to_pages_or_to_the_repository(tmp_path, before, after):
    page = next(page for page in site.pages() if page.name.startswith("p1ch3_"))
    assert site.relink(before, page, site.pages(), tmp_path, URL, "v1") == after


def test_without_a_repository_a_link_to_code_is_plain_text(tmp_path):
    page = site.pages()[0]
    assert (
        site.relink("see [code](util/files.py)!", page, site.pages(), tmp_path, None, "main") == "see code!"
    )


def test_broken_links_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#x">1</a><a href="b.html#y">2</a><img src="no.png">')
    (tmp_path / "b.html").write_text('<p id="x"></p><a href="https://far.org/z">3</a><a href="">4</a>')
    assert site.broken_links(tmp_path) == ["a.html: b.html#y", "a.html: no.png"]


def test_a_folder_with_other_files_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "NEEDED", ())
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="other files"):
        site.build(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_missing_packages_and_odd_addresses_are_told(monkeypatch):
    monkeypatch.setattr(site, "NEEDED", ("no_such_package",))
    with pytest.raises(UserError, match=r"no_such_package.*requirements-site\.txt"):
        site.main([])
    with pytest.raises(UserError, match="--repository wants"):
        site.main(["--repository", "somewhere"])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in site.NEEDED),
    reason="the packages of requirements-site.txt are not installed",
)
def test_the_site_is_built_without_a_warning_and_its_pages_open(tmp_path, capfd):
    out = tmp_path / "site"
    pages = site.build(out)
    assert capfd.readouterr().err == ""
    assert pages > 40
    assert "Solution" in next((out / "notebooks").glob("p1ch3_*.html")).read_text(encoding="utf-8")
    names = ("chromium", "chromium-browser", "google-chrome")
    if browser := next(filter(None, map(shutil.which, names)), None):
        command = [browser, "--headless", "--no-sandbox", "--dump-dom", (out / "index.html").as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
        assert "Part 2: lung cancer" in shown
