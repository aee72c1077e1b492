"""`course.py site`: what Sphinx is given, and what is done when it has finished."""

import contextlib
import functools
import importlib.util
import io
import json
import threading
import warnings
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from commands import site
from tests.browser import needs_axe, until
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


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    missing = [name for name in site.NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} of requirements-site.txt not installed")
    folder = tmp_path_factory.mktemp("built") / "site"
    told = io.StringIO()
    with contextlib.redirect_stderr(told), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its extensions call what a later Sphinx will do without
        pages = site.build(folder)
    assert told.getvalue() == ""  # no warning
    assert pages > 40
    return folder


@pytest.fixture(scope="module")
def served_site(built):
    handler = functools.partial(QuietHandler, directory=built)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_site_is_built_without_a_warning(built):
    assert "Solution" in next((built / "notebooks").glob("p1ch3_*.html")).read_text(encoding="utf-8")
    assert "Part 2: lung cancer" in (built / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
@needs_axe
@pytest.mark.timeout(900)
@pytest.mark.parametrize("width", [1280, 400])
def test_its_pages_fit_their_width_and_a_screen_reader(browser, built, served_site, width):
    """Front page, model card, glossary, a quiz, and notebooks with long names and wide tables."""
    chapters = [next((built / "notebooks").glob(f"{chapter}_*.html")).name for chapter in ("p1ch2", "p3ch15")]
    pages = ["index.html", "data/p2ch14/README.html", "docs/learn/glossary.html", "docs/learn/p2ch13.html"]
    browser.resize(width)
    for page in [*pages, *(f"notebooks/{name}" for name in chapters)]:
        browser.open(f"{served_site}/{page}")
        assert browser.value("document.documentElement.scrollWidth") <= width, page
        assert browser.serious() == [], page


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_figure_is_enlarged_and_let_go(browser, built, served_site):
    (page,) = (built / "notebooks").glob("p1ch3_*.html")
    browser.resize(1280)
    browser.open(f"{served_site}/notebooks/{page.name}")
    browser.value("document.querySelector('.cell_output img').click()")
    assert browser.value("document.querySelector('dialog.enlarged img').naturalWidth") > 100
    browser.value("document.querySelector('dialog.enlarged').click()")
    until(lambda: browser.value("document.querySelector('dialog.enlarged') === null"))
