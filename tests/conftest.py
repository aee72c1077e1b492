"""Shared by all tests: where real data may lie, and folders that keep a test's output to itself."""

import contextlib
import functools
import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.browser import Browser
from util.claims import judging_cell
from util.paths import PROJECT, output_root, real_root
from util.processes import ENDS_WITH, end_with_command

# What `--fast` leaves out.
SLOW_MARKERS = ("slow", "lesson", "notebook", "command")
# Several processes at once (`course.py test`) share the tests out by file. Those with this word in their name are one
# group, the last: a notebook's figures of time and memory want the machine to themselves.
NOTEBOOK = "notebook"
# What a test records under this name is a line of the summary.
SUMMARY = "summary"
# A test that waits for a notebook may wait for a slow one, on a machine that is busy with other things.
NOTEBOOK_SECONDS = 1800

# A first call may compile or load something; how long one takes is no property to test.
settings.register_profile("course", deadline=None)
settings.load_profile("course")

os.environ.setdefault("COURSE_OFFLINE", "1")
# One process of several (pytest-xdist) keeps to a folder and to cores of its own.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
os.environ["COURSE_OUTPUT"] = str(PROJECT / "output" / "tests" / WORKER)
if WORKER:
    torch.set_num_threads(max(1, torch.get_num_threads() // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real data that `COURSE_REAL` names; skips the test where it names none."""
    folder = real_root()
    if folder is None:
        pytest.skip("no real data: COURSE_REAL is not set")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A `tests.browser.Browser`; skips the test where there is no Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    browser = Browser(program, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


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

    from commands.notebooks import NOTEBOOKS, execute  # a second and a half that most processes can spare

    # The exports' table takes what is there; it shall be what this session wrote.
    shutil.rmtree(output_root() / "exports", ignore_errors=True)

    @functools.cache
    def run(chapter):
        # So is what it trains: a run left by an earlier session would be carried on, or taken for this one's.
        shutil.rmtree(output_root() / chapter, ignore_errors=True)
        (path,) = NOTEBOOKS.glob(f"{chapter}_*.ipynb")
        has_claims = (PROJECT / chapter / "claims.py").is_file()
        return execute(path, then=judging_cell(f"{chapter}.claims") if has_claims else "")

    return run


@pytest.fixture(scope="session")
def trained(executed):
    """`trained("p2ch12", balanced=True)`: the last checkpoint of the notebook's training with these options.

    It is found by the options that lie in it, whatever the notebook calls its runs. A dict, and where it lies
    as `path`.
    """

    def find(chapter, **options):
        executed(chapter)
        paths = (output_root() / chapter).glob("*/last.state")
        for path in sorted(paths, key=lambda p: p.stat().st_mtime_ns, reverse=True):
            state = torch.load(path, map_location="cpu", weights_only=True)
            if options.items() <= state["options"].items():
                return {**state, "path": path}
        raise AssertionError(f"the notebook of {chapter} trained nothing with {options}")

    return find


def pytest_configure(config):
    # Told to stop, pytest would leave at once, and the commands, servers and kernels of its tests would go on.
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, lambda *_: pytest.exit("told to stop", returncode=143))
    # Killed, it can end nothing itself: it ends with `course.py`, and what tests start, with it.
    end_with_command()
    os.environ[ENDS_WITH] = str(os.getpid())


def pytest_unconfigure(config):
    """End whatever a test started and did not end, of a suite that was stopped in its middle, say."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=10)


def pytest_addoption(parser):
    parser.addoption(
        "--fast", action="store_true", help="the quick tests only: no notebook, lesson or command"
    )


def waits_for_a_notebook(item) -> bool:
    return bool(item.get_closest_marker("notebook")) or "executed" in getattr(item, "fixturenames", ())


def pytest_itemcollected(item):
    if waits_for_a_notebook(item):
        if NOTEBOOK not in item.name:
            raise pytest.UsageError(f"{item.nodeid} waits for a notebook: say '{NOTEBOOK}' in its name")
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(NOTEBOOK_SECONDS))


class ByFile(LoadScopeScheduling):
    """A file's tests go to one process, so that what its fixtures make is made once; notebooks go to one, too."""

    def _split_scope(self, nodeid):
        path, _, name = nodeid.partition("::")
        return NOTEBOOK if NOTEBOOK in name else path

    def _reschedule(self, node):
        """Give `node` more to do, if it has little left; notebooks only when every process has little left."""
        if next(iter(self.workqueue), None) != NOTEBOOK:
            return super()._reschedule(node)
        # xdist hands out a process's next tests while it still has two.
        if all(self._pending_of(work) <= 2 for work in self.assigned_work.values()):
            super()._reschedule(node)
            for other in self.nodes:
                super()._reschedule(other)  # nothing is left for them: they end


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if config.getvalue("dist") == "loadscope":
        return ByFile(config, log)


def is_slow(item) -> bool:
    return any(item.get_closest_marker(name) for name in SLOW_MARKERS)


def pytest_collection_modifyitems(config, items):
    # Files with slow tests first: quick ones at the end keep several processes busy until all have finished.
    slow_files = {item.path for item in items if is_slow(item) and NOTEBOOK not in item.name}
    items.sort(key=lambda item: (NOTEBOOK in item.name, item.path not in slow_files))
    if not config.getoption("--fast"):
        return
    slow = [item for item in items if is_slow(item)]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in set(slow)]


def pytest_terminal_summary(terminalreporter):
    """What tests had to say: the notebooks' seconds and memory."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    lines = [text for report in reports for name, text in report.user_properties if name == SUMMARY]
    if lines:
        terminalreporter.section("notebooks: seconds, most memory at once")
        for line in sorted(set(lines)):
            terminalreporter.write_line(line)
