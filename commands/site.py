"""The course as a site: static pages made of the executed notebooks and the Markdown beside them.

`python3 course.py site [--out DIR] [--repository URL] [--branch NAME]` writes them to output/site; open index.html.
Nothing is executed and nothing is fetched. Sphinx and its friends (requirements-site.txt) do the work; what is done
here: gather the pages, put a line of links under each notebook's title, fold the exercises' solutions in, look at
every link. With `--repository`, notebooks get buttons for Colab and Kaggle, and links to code lead there.
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from util.errors import UserError, main_guard
from util.exercises.source import find
from util.paths import PROJECT, output_root, shown

NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme", "sphinx-mathjax-offline")
FOLDERS = ("notebooks", "docs", "docs/learn", "data")
TITLE = "Deep learning with PyTorch: the course beside the book"
LOOKS = Path(__file__).parent / "site_looks"  # a stylesheet and a script
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")


# ---------------------------------------------------------------- the sources that Sphinx reads


def pages() -> list[Path]:
    """Every page, as a path from the project's folder: Markdown, then the notebooks."""
    folders = [PROJECT, *(PROJECT / name for name in FOLDERS), *sorted((PROJECT / "data").glob("p*ch*"))]
    found = [path for folder in folders for path in sorted(folder.glob("*.md"))]
    return [path.relative_to(PROJECT) for path in [*found, *sorted((PROJECT / "notebooks").glob("p*.ipynb"))]]


def place_of(page: Path) -> Path:
    """Where a page lies among the sources: the README is the site's front page."""
    return Path("index.md") if page == Path("README.md") else page


def gather(sources: Path, repository: str | None = None, branch: str = "main"):
    """Write all sources into the folder `sources`."""
    known = pages()
    for page in known:
        target = sources / place_of(page)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = (PROJECT / page).read_text(encoding="utf-8")
        if page.suffix == ".md":
            text = relink(text, page, known, sources, repository, branch)
            if page == Path("README.md"):
                text += contents(known)
            target.write_text(text, encoding="utf-8")
        else:
            notebook = json.loads(text)
            prepare(notebook, page, repository, branch)
            for cell in notebook["cells"]:
                if cell["cell_type"] == "markdown":
                    source = relink("".join(cell["source"]), page, known, sources, repository, branch)
                    cell["source"] = source.splitlines(keepends=True)
            target.write_text(json.dumps(notebook, ensure_ascii=False), encoding="utf-8")
            original = sources / "_files" / page.name
            original.parent.mkdir(exist_ok=True)
            original.write_text(text, encoding="utf-8")
    shutil.copytree(LOOKS, sources / "_static")
    (sources / "conf.py").write_text(configuration(repository, branch), encoding="utf-8")


def relink(text, page, known, sources, repository, branch) -> str:
    """`text` with its relative links as the site needs them.

    To another page: to its place. To a picture: it is copied. To anything else: to the repository, or no link.
    """

    def instead(match):
        picture, words, target = match.groups()
        file, _, anchor = target.partition("#")
        path = Path(os.path.normpath(page.parent / file)) if file else page
        if path in known:
            there = os.path.relpath(place_of(path), place_of(page).parent)
            return f"[{words}]({Path(there).as_posix()}{'#' + anchor if anchor else ''})"
        if picture and (PROJECT / path).is_file():
            copy = sources / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / path, copy)
            return match[0]
        if file.startswith("_files/") or "/_files/" in file:
            return match[0]
        return f"[{words}]({repository}/blob/{branch}/{path.as_posix()})" if repository else words

    # A notebook's commands are not Python.
    text = re.sub(r"^```python\n(?=[!%])", "```ipython3\n", text, flags=re.M)
    # Code is left alone: fenced blocks, and code within a line.
    parts = re.split(r"(^```.*?^```|`[^`\n]+`\]?)", text, flags=re.M | re.S)
    parts[::2] = [LINK.sub(instead, part) for part in parts[::2]]
    return "".join(parts)


def contents(known) -> str:
    """The site's contents, for the front page; readers see them at the left."""
    notebooks = [page for page in known if page.suffix == ".ipynb"]
    learn = [Path("docs/learn") / f"{page.name.partition('_')[0]}.md" for page in notebooks]
    look_up = [
        Path(name)
        for name in (
            "notebooks/README.md", "docs/learn/where_is.md", "docs/learn/glossary.md", "notebooks/then_and_now.md"
        )
    ]  # fmt: skip
    listed = {*notebooks, *learn, *look_up, Path("README.md")}
    cards = [page for page in known if page.parts[0] == "data"]
    groups = {
        "To look things up": look_up,
        "Part 1: the core of PyTorch": [page for page in notebooks if page.name < "p2"],
        "Part 2: lung cancer": [page for page in notebooks if "p2" < page.name < "p3"],
        "Part 3: deployment": [page for page in notebooks if page.name > "p3"],
        "Key ideas and quizzes": learn,
        "Data and models": cards,
        "For contributors": [page for page in known if page not in listed and page not in cards],
    }
    text = ""
    for caption, group in groups.items():
        lines = "\n".join(place_of(page).with_suffix("").as_posix() for page in group)
        text += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"
    return text


def prepare(notebook: dict, page: Path, repository: str | None, branch: str):
    """Change a notebook for the site: links under its title, figures' texts, folded solutions."""
    cells = []
    for number, cell in enumerate(notebook["cells"]):
        if number == 0:
            title, _, rest = "".join(cell["source"]).partition("\n")
            cell["source"] = [f"{title}\n\n{links(page, repository, branch)}\n{rest}"]
        if "alt" in cell["metadata"]:
            cell["metadata"]["mystnb"] = {"image": {"alt": cell["metadata"]["alt"]}}
        cells.append(cell)
        exercise = re.fullmatch(r"exercise-(\d+)-(\d+)(-check)?", cell.get("id", ""))
        if exercise and (exercise[3] or not find(f"{exercise[1]}.{exercise[2]}").stub):
            answer = folded(find(f"{exercise[1]}.{exercise[2]}"))
            if answer:
                name = f"solution-{exercise[1]}-{exercise[2]}"
                cells.append({"cell_type": "markdown", "id": name, "metadata": {}, "source": [answer]})
    notebook["cells"] = cells


def links(page: Path, repository: str | None, branch: str) -> str:
    """The line under a notebook's title, in Markdown."""
    quiz = f"../docs/learn/{page.name.partition('_')[0]}.md"
    parts = [f"{{download}}`Download this notebook <../_files/{page.name}>`", f"[Key ideas and quiz]({quiz})"]
    if not repository:
        return " · ".join(parts)
    path = repository.removeprefix("https://github.com/")
    blob = f"{path}/blob/{branch}/{page.as_posix()}"
    parts += [
        f"[Open in Colab](https://colab.research.google.com/github/{blob})",
        f"[Open in Kaggle](https://kaggle.com/kernels/welcome?src=https://github.com/{blob})",
    ]
    first = (
        f"!git clone -q --depth 1 -b {branch} {repository} course && pip install -q -r course/requirements.txt\n"
        "%cd course/notebooks\n"
        "import os, sys\n"
        'sys.path.insert(0, os.path.abspath(".."))'
    )
    return f"""{" · ".join(parts)}

<details><summary>On Colab and Kaggle, run this in a first cell</summary>

```python
{first}
```

It fetches the course, installs what is missing and says where the chapters' packages are.

</details>
"""


def folded(exercise) -> str:
    """An exercise's hints and solution, each behind a word to click on; empty where there are none."""
    parts = [
        _fold(f"Hint {number}" if len(exercise.hints) > 1 else "Hint", hint)
        for number, hint in enumerate(exercise.hints, 1)
    ]
    if exercise.stub:
        parts.append(_fold("Solution", f"```python\n{exercise.solution_code}\n```\n\n{exercise.why}"))
    elif exercise.why:
        parts.append(_fold("What to look for", exercise.why))
    return "\n\n".join(parts)


def _fold(word, text):
    return f"<details><summary>{word}</summary>\n\n{text.strip()}\n\n</details>"


def configuration(repository: str | None, branch: str) -> str:
    """Sphinx's conf.py."""
    theme = {
        "use_download_button": False,
        "use_fullscreen_button": False,
        "show_navbar_depth": 1,
        "show_toc_level": 2,
        "home_page_in_toc": True,
        "navbar_persistent": [],  # search stands at the left, above the contents
    }
    if repository:
        theme |= {"repository_url": repository, "repository_branch": branch, "use_repository_button": True}
    settings = {
        "project": TITLE,
        "html_title": TITLE,
        "extensions": ["myst_nb", "sphinx-mathjax-offline"],
        "exclude_patterns": ["_files/**", "_static/**"],
        "html_theme": "sphinx_book_theme",
        "html_theme_options": theme,
        "html_static_path": ["_static"],
        "html_css_files": ["site.css"],
        "html_js_files": ["site.js"],
        "html_copy_source": False,
        "html_show_copyright": False,
        "nb_execution_mode": "off",
        "nb_merge_streams": True,
        "myst_enable_extensions": ["dollarmath", "amsmath"],
        "myst_heading_anchors": 4,
    }
    return "".join(f"{name} = {value!r}\n" for name, value in settings.items())


# ---------------------------------------------------------------- build, and look at every link


class _Targets(HTMLParser):
    """The links of a page, and the names that links may lead to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.names = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id" or (name == "name" and tag == "a"):
                self.names.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def broken_links(site: Path) -> list[str]:
    """Links within the built site that lead nowhere, as "page: link"."""
    made = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.relative_to(site).parts]
    targets = {path: _Targets(path.read_text(encoding="utf-8")) for path in made}
    broken = []
    for page, found in targets.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("data:"):
                continue
            path = Path(os.path.normpath(page.parent / unquote(parts.path))) if parts.path else page
            if path.is_dir():
                path /= "index.html"
            anchor = unquote(parts.fragment)
            if not path.is_file() or (anchor and path in targets and anchor not in targets[path].names):
                broken.append(f"{page.relative_to(site).as_posix()}: {link}")
    return broken


def build(out: Path, repository: str | None = None, branch: str = "main") -> int:
    """Build the site into the folder `out`; returns its number of pages. What was there before goes."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"the site needs packages that are not here ({', '.join(missing)}); install them with "
            f"'{sys.executable} -m pip install -r requirements-site.txt'"
        )
    if out.exists() and any(out.iterdir()) and not (out / "objects.inv").exists():
        raise UserError(f"{shown(out)} holds other files than a site; name another folder with --out")
    from sphinx.cmd.build import main as sphinx

    working = out.with_name(out.name + ".part")
    shutil.rmtree(working, ignore_errors=True)
    try:
        gather(working / "sources", repository, branch)
        options = ["-q", "-W", "--keep-going", "-b", "html", "-d", str(working / "doctrees")]
        if sphinx([*options, str(working / "sources"), str(working / "html")]):
            raise UserError(
                "Sphinx was not content with the pages (its words are above); mend them and try again"
            )
        if broken := broken_links(working / "html"):
            raise UserError(f"{len(broken)} links of the site lead nowhere, the first: {broken[0]}")
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(working / "html", out)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return sum(1 for _ in out.rglob("*.html"))


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="course.py site", description="Make static pages of the course.")
    parser.add_argument("--out", type=Path, default=None, help="folder to write to (default: output/site)")
    parser.add_argument(
        "--repository", help="address of the repository on GitHub, for Colab, Kaggle and code"
    )
    parser.add_argument("--branch", default="main", help="its branch (default: %(default)s)")
    options = parser.parse_args(arguments)
    repository = options.repository.rstrip("/").removesuffix(".git") if options.repository else None
    if repository and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", repository):
        raise UserError(
            f"--repository wants an address such as https://github.com/owner/name, not {repository}"
        )
    out = (options.out or output_root() / "site").resolve()
    number = build(out, repository, options.branch)
    print(f"{number} pages in {shown(out)}; open {shown(out / 'index.html')}")


if __name__ == "__main__":
    main_guard(main)
