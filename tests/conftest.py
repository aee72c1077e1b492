"""Shared by all tests: where real data may lie, and folders that keep a test's output to itself."""

import functools
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from commands.notebooks import NOTEBOOKS, execute
from util.claims import judging_cell
from util.paths import PROJECT, output_root, real_root

# A first call may compile or load something; how long one takes is no property to test.
settings.register_profile("course", deadline=None)
settings.load_profile("course")

os.environ.setdefault("COURSE_OFFLINE", "1")
os.environ["COURSE_OUTPUT"] = str(PROJECT / "output" / "tests")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real data that `COURSE_REAL` names; skips the test where it names none."""
    folder = real_root()
    if folder is None:
        pytest.skip("no real data: COURSE_REAL is not set")
    return folder


@pytest.fixture
def clean_output(tmp_path, monkeypatch) -> Path:
    """An output folder of the test's own."""
    monkeypatch.setenv("COURSE_OUTPUT", str(tmp_path / "output"))
    return tmp_path / "output"


@pytest.fixture(scope="session")
def executed():
    """`executed("p2ch12")`: that chapter's notebook, executed (`commands.notebooks.Executed`).

    Each runs once per session: what it trained and exported lies in the output folder then, for the
    lessons to judge what a reader gets. Where the chapter has a table of claims, `then` is what judging
    it in the notebook's kernel printed.
    """

    # The exports' table takes what is there; it shall be what this session wrote.
    shutil.rmtree(output_root() / "exports", ignore_errors=True)

    @functools.cache
    def run(chapter):
        (path,) = NOTEBOOKS.glob(f"{chapter}_*.ipynb")
        has_claims = (PROJECT / chapter / "claims.py").is_file()
        return execute(path, then=judging_cell(f"{chapter}.claims") if has_claims else "")

    return run
