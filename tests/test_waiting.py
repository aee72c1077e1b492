"""Good beside other work: how OpenMP's threads wait is set before PyTorch is loaded, wherever that happens."""

import os
import subprocess
import sys

import nbformat
import pytest
import torch
from torch.utils.data import DataLoader

import course
import util
from commands.notebooks import execute
from tests.test_course import fake_environment as fake_environment
from tests.test_house import CHAPTERS, MODULES
from util.paths import PROJECT

# Imports each module named, anew, up to where it would load PyTorch; prints those that come there unprepared.
AT_TORCH = """
import importlib, os, sys

class Stop(BaseException): pass

class AtTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise Stop

sys.meta_path.insert(0, AtTorch())
for name in sys.argv[2:]:
    for loaded in [n for n in sys.modules if n.split(".")[0] in sys.argv[1].split(",")]:
        del sys.modules[loaded]
    os.environ.pop("GOMP_SPINCOUNT", None)
    try:
        importlib.import_module(name)
    except Stop:
        if os.environ.get("GOMP_SPINCOUNT") != "1000":
            print(name)
    except ModuleNotFoundError as error:  # serve/ has pages for servers that the course does not install
        if error.name.split(".")[0] not in ("bentoml", "ray", "litserve"):
            raise
"""


def unset(**environment):
    """The environment of this process without a choice of how to wait."""
    kept = {k: v for k, v in os.environ.items() if k not in (*util.PATIENCE, "OMP_WAIT_POLICY")}
    return {**kept, "PYTHONPATH": str(PROJECT), **environment}


@pytest.mark.slow
@pytest.mark.parametrize("home", [*CHAPTERS, "commands"])
def test_every_module_prepares_before_it_loads_pytorch(home):
    names = [
        ".".join(p.relative_to(PROJECT).with_suffix("").parts)
        for p in MODULES
        if p.relative_to(PROJECT).parts[0] == home and p.stem not in ("__init__", "__main__")
    ]
    said = subprocess.run(
        [sys.executable, "-c", AT_TORCH, ",".join([*CHAPTERS, "commands", "util"]), *names],
        env=unset(), cwd=PROJECT, capture_output=True, text=True,
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (0, ""), said.stdout + said.stderr


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU's OpenMP comes with PyTorch on Linux")
@pytest.mark.parametrize(
    ("environment", "turns"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_the_library_hears_it_and_a_reader_s_choice_stays(environment, turns):
    said = subprocess.run(
        [sys.executable, "-c", "import p1ch8.model"],
        env=unset(OMP_DISPLAY_ENV="VERBOSE", **environment), cwd=PROJECT, capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    lines = [line.split("=")[1].strip(" '") for line in said.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    assert lines
    if turns is None:
        assert "1000" not in lines
    else:
        assert lines == [turns] * len(lines)


def test_every_python_of_the_environment_has_it(fake_environment):
    """A kernel that any Jupyter starts, say; it imports PyTorch before anything of the course."""
    python, code = (
        str(course.venv_python(fake_environment)),
        "import os; print(os.environ.get('GOMP_SPINCOUNT'))",
    )
    for environment, want in (
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "77"}, "77"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
    ):
        environment = unset(**environment)
        del environment["PYTHONPATH"]
        said = subprocess.run(
            [python, "-c", code], env=environment, cwd=fake_environment, capture_output=True, text=True
        )
        assert (said.stdout.strip(), said.stderr) == (want, "")


@pytest.mark.parametrize("given", [{}, {"GOMP_SPINCOUNT": "77"}, {"OMP_WAIT_POLICY": "passive"}])
def test_commands_are_called_with_it(given, monkeypatch):
    seen = {}

    def start(command, cwd, env):
        seen.update(env)
        return subprocess_run([sys.executable, "-c", "pass"])

    subprocess_run = subprocess.Popen
    monkeypatch.setattr(course.subprocess, "Popen", start)
    monkeypatch.setattr(course.os, "environ", unset(**given))
    assert course.call(sys.executable, "-m", "commands.doctor") == 0
    want = {**util.PATIENCE, **given} if "OMP_WAIT_POLICY" not in given else given
    assert {k: v for k, v in seen.items() if k in (*util.PATIENCE, "OMP_WAIT_POLICY")} == want


def test_course_py_says_the_same_as_util():
    assert course.PATIENCE == util.PATIENCE


class Turns(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return os.environ.get("GOMP_SPINCOUNT", "")


def test_tests_workers_and_kernels_have_it(tmp_path):
    here = os.environ["GOMP_SPINCOUNT"]
    assert here
    assert next(iter(DataLoader(Turns(), num_workers=1))) == [here]
    cells = [nbformat.v4.new_code_cell("import os\nprint(os.environ.get('GOMP_SPINCOUNT'))")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "turns.ipynb")
    assert execute(tmp_path / "turns.ipynb").notebook.cells[0].outputs[0].text.strip() == here


@pytest.mark.command
def test_torchrun_s_workers_have_it(tmp_path):
    (tmp_path / "turns.py").write_text("import os\nprint(os.environ.get('GOMP_SPINCOUNT'))\n")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        str(tmp_path / "turns.py"),
    ]
    said = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True)
    assert said.stdout.split() == [os.environ["GOMP_SPINCOUNT"]] * 2, said.stderr
