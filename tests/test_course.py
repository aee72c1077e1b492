"""course.py: the environment is made once, noticed when broken, and refused with one clear sentence."""

import ast
import json
import subprocess
import sys

import pytest

import course
from util.paths import PROJECT


@pytest.fixture
def fake_environment(tmp_path, monkeypatch):
    """A small virtual environment (no packages) that course.py believes to be the course's."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    monkeypatch.setenv("COURSE_VENV", str(folder))
    site = next(folder.rglob("site-packages"))
    (site / "torch").mkdir()
    (site / "torch" / "__init__.py").write_text("")
    course.write_stamp(folder, "cpu")
    return folder


def run_course(*arguments, **environment):
    import os

    return subprocess.run(
        [sys.executable, str(PROJECT / "course.py"), *arguments],
        capture_output=True, text=True, env={**os.environ, **environment}, cwd="/",
    )  # fmt: skip


def test_needs_only_the_standard_library():
    tree = ast.parse((PROJECT / "course.py").read_text(encoding="utf-8"))
    names = {
        (node.names[0].name if isinstance(node, ast.Import) else node.module).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert names <= set(sys.stdlib_module_names)


def test_an_old_python_gets_as_far_as_the_sentence():
    """What Python 3.6 cannot parse or evaluate would end in a traceback instead."""
    tree = ast.parse((PROJECT / "course.py").read_text(encoding="utf-8"), feature_version=(3, 6))
    nodes = list(ast.walk(tree))
    assert not [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef)]
    annotations = [f.returns for f in functions] + [a.annotation for f in functions for a in f.args.args]
    assert all(isinstance(a, (ast.Name, ast.Constant, type(None))) for a in annotations)


def test_whole_environment_is_kept(fake_environment, monkeypatch):
    monkeypatch.setattr(course.subprocess, "run", forbid_installs(course.subprocess.run))
    assert course.problem_with(fake_environment) is None
    assert course.setup() == course.venv_python(fake_environment)


def test_two_checkouts_may_share_an_environment(fake_environment, tmp_path, monkeypatch):
    """Nothing is installed again; the chapters that a notebook imports are those of the checkout used last."""
    monkeypatch.setattr(course.subprocess, "run", forbid_installs(course.subprocess.run))
    monkeypatch.setattr(course, "PROJECT", tmp_path / "another checkout")
    assert course.setup() == course.venv_python(fake_environment)
    first, *_ = next(fake_environment.rglob("course.pth")).read_text().splitlines()
    assert first == str(tmp_path / "another checkout")


def test_an_environment_that_was_moved_is_made_again(fake_environment, tmp_path, monkeypatch):
    """The programs in it begin with the path of the Python they were installed for."""
    moved = fake_environment.rename(tmp_path / "moved")
    assert "its folder changed" in course.problem_with(moved)


def forbid_installs(run):
    def checked(command, **options):
        assert "pip" not in command
        assert "venv" not in command
        return run(command, **options)

    return checked


@pytest.mark.parametrize("damage", ["stamp", "package", "python", "lock"])
def test_damage_is_noticed(fake_environment, damage, monkeypatch):
    if damage == "stamp":
        (fake_environment / course.STAMP).unlink()
    elif damage == "package":
        (next(fake_environment.rglob("torch")) / "__init__.py").unlink()
        next(fake_environment.rglob("torch")).rmdir()
    elif damage == "python":
        course.venv_python(fake_environment).unlink()
    else:
        stamp = json.loads((fake_environment / course.STAMP).read_text())
        stamp["fingerprint"] = "another lock"
        (fake_environment / course.STAMP).write_text(json.dumps(stamp))
    assert course.problem_with(fake_environment)


def test_an_environment_is_not_removed_from_inside(fake_environment, monkeypatch, capsys):
    (fake_environment / course.STAMP).unlink()
    monkeypatch.setattr(sys, "prefix", str(fake_environment))
    with pytest.raises(SystemExit) as stop:
        course.setup()
    assert stop.value.code == 2
    assert "'deactivate'" in capsys.readouterr().err
    assert course.venv_python(fake_environment).exists()


def test_too_little_disk_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_VENV", str(tmp_path / "new"))
    monkeypatch.setattr(course, "DISK_NEEDED_GB", {"cpu": 10**9, "cuda": 10**9})
    monkeypatch.setattr(course, "can_reach", lambda address: False)
    with pytest.raises(SystemExit) as stop:
        course.setup()
    assert stop.value.code == 2
    assert "COURSE_VENV" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_foreign_folder_is_not_deleted(tmp_path, monkeypatch, capsys):
    (tmp_path / "thesis.txt").write_text("precious")
    monkeypatch.setenv("COURSE_VENV", str(tmp_path))
    with pytest.raises(SystemExit):
        course.setup()
    assert "left alone" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("system", "asked", "driver", "reachable", "build"),
    [
        ("linux", None, False, True, "cpu"),
        ("linux", None, True, True, "cuda"),
        ("linux", None, False, False, "cuda"),  # slower to fetch, but it runs
        ("linux", "cpu", True, True, "cpu"),
        ("linux", "cuda", False, True, "cuda"),
        ("darwin", None, False, True, "cpu"),
        ("win32", None, True, True, "cpu"),
    ],
)
def test_pytorch_is_chosen_by_what_is_here(monkeypatch, system, asked, driver, reachable, build):
    monkeypatch.setattr(course.sys, "platform", system)
    monkeypatch.setattr(course, "has_nvidia_driver", lambda: driver)
    monkeypatch.setattr(course, "can_reach", lambda address: reachable)
    chosen, why = course.choose_build(asked)
    assert chosen == build
    assert why
    assert ("cannot be reached" in why) == (not reachable)


def test_an_address_that_nobody_answers_is_not_reached(monkeypatch):
    """A closed port, a name that is none, and one that takes the connection and stays silent."""
    import socket

    monkeypatch.setattr(course, "PROBE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert not course.can_reach(f"http://127.0.0.1:{port}/")
    assert not course.can_reach(f"http://127.0.0.1:{port}/")
    assert not course.can_reach("no address")


class FakePip:
    """Stands in for subprocess.run: keeps what was to be installed, and answers as `fails` says."""

    def __init__(self, *fails):
        self.fails, self.lines = fails, []

    def __call__(self, command, **options):
        requirements = course.Path(command[-1]).read_text(encoding="utf-8")
        self.lines.append((command, requirements))
        return subprocess.CompletedProcess(command, int(len(self.lines) in self.fails))


def test_cpu_packages_come_without_nvidias(tmp_path, monkeypatch):
    pip = FakePip()
    monkeypatch.setattr(course.sys, "platform", "linux")
    monkeypatch.setattr(course.subprocess, "run", pip)
    assert course.install(["pip"], tmp_path, "cpu") == "cpu"
    (first, torch), (second, rest) = pip.lines
    assert course.CPU_WHEELS in first
    assert course.CPU_WHEELS not in second
    assert {line.split("==")[0] for line in torch.splitlines()} == {"torch", "torchvision"}
    for unwanted in ("nvidia-", "cuda-", "triton", "torch==", "torchvision=="):
        assert not [line for line in rest.splitlines() if line.startswith(unwanted)]
    everything = course.LOCK.read_text(encoding="utf-8").splitlines()
    kept = [line for line in everything if line.startswith(("numpy", "scipy", "efficientnet-"))]
    assert len(kept) >= 3
    assert set(kept) <= set(rest.splitlines())


def test_where_cpu_packages_fail_the_ordinary_ones_come(tmp_path, monkeypatch, capsys):
    pip = FakePip(1)
    monkeypatch.setattr(course.sys, "platform", "linux")
    monkeypatch.setattr(course.subprocess, "run", pip)
    assert course.install(["pip"], tmp_path, "cpu") == "cuda"
    assert pip.lines[-1][1] == course.LOCK.read_text(encoding="utf-8")
    assert "could not be had" in capsys.readouterr().out
    monkeypatch.setattr(course.subprocess, "run", FakePip(1, 2))
    assert course.install(["pip"], tmp_path, "cpu") == ""


def test_what_phones_need_comes_only_once_and_when_asked(fake_environment, monkeypatch):
    pip = FakePip()
    monkeypatch.setattr(course.subprocess, "run", pip)
    assert course.add_phone(fake_environment)
    ((command, text),) = pip.lines
    assert str(course.PHONE) in command
    assert "executorch==" in text
    assert "torchao==" in text
    assert not {line.split("==")[0] for line in text.splitlines()} & {"torch", "numpy"}
    assert not [
        line for line in course.LOCK.read_text().splitlines() if line.startswith(("executorch", "torchao"))
    ]
    for name in ("executorch", "torchao"):
        (next(fake_environment.rglob("site-packages")) / name).mkdir()
    monkeypatch.setattr(course.subprocess, "run", FakePip(1))
    assert course.add_phone(fake_environment)  # nothing is run


@pytest.mark.parametrize(
    ("arguments", "is_wanted"),
    [([], True), (["-rs"], True), (["--fast"], False), (["tests/test_p1ch3.py"], False)],
)
def test_only_the_whole_suite_asks_for_it(arguments, is_wanted, fake_environment, monkeypatch):
    asked = []
    monkeypatch.setattr(course, "add_phone", lambda folder: asked.append(folder) or True)
    monkeypatch.setattr(course, "call", lambda *_: 0)
    assert course.main(["test", *arguments]) == 0
    assert bool(asked) == is_wanted


def test_where_it_cannot_be_had_setup_says_so(fake_environment, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_VENV", str(fake_environment))
    monkeypatch.setattr(course, "add_phone", lambda folder: False)
    with pytest.raises(SystemExit):
        course.main(["setup", "--phone"])
    assert "the rest of the course is ready" in capsys.readouterr().err


def test_another_pytorch_asked_for_makes_the_environment_again(fake_environment):
    assert course.problem_with(fake_environment, "cpu") is None
    assert "--cuda" in course.problem_with(fake_environment, "cuda")


def test_setup_refuses_what_it_does_not_know():
    done = run_course("setup", "--rocm")
    assert done.returncode == 2
    assert "--cpu or --cuda" in done.stderr
    here = run_course("--here", "setup", "--phone")
    assert here.returncode == 2
    assert "requirements-phone.lock" in here.stderr


@pytest.mark.parametrize("version", [(3, 9), (3, 16)])
def test_unsupported_python_is_one_sentence(tmp_path, monkeypatch, capsys, version):
    monkeypatch.setenv("COURSE_VENV", str(tmp_path / "new"))
    monkeypatch.setattr(course.sys, "version_info", (*version, 0, "final", 0))
    with pytest.raises(SystemExit):
        course.setup()
    assert "3.10 to 3.13" in capsys.readouterr().err


def test_unknown_command_and_help():
    wrong = run_course("dance")
    assert wrong.returncode == 2
    assert "dance" in wrong.stderr
    assert "course.py run" in run_course("help").stdout


def test_a_tier_is_shared_out_and_tests_that_are_named_are_not(monkeypatch):
    monkeypatch.setattr(course.os, "cpu_count", lambda: 16)
    shared = course.shared_out([])
    assert shared[:2] == ["-n", "4"]
    for asked in (["-rs"], ["--fast", "-k", "tensors"]):
        assert course.shared_out(asked) == [*shared, *asked]
    for asked in (["tests/test_p1ch5.py"], ["tests/test_p1ch5.py::test_x", "-x"], ["-n", "0"], ["--pdb"]):
        assert course.shared_out(asked) == asked
    monkeypatch.setattr(course.os, "cpu_count", lambda: 2)
    assert course.shared_out([])[:2] == ["-n", "2"]
    monkeypatch.setattr(course.os, "cpu_count", lambda: 1)
    assert course.shared_out(["--fast"]) == ["--fast"]


@pytest.mark.command
def test_doctor_and_data_list():
    doctor = run_course("--here", "doctor")
    assert doctor.returncode == 0, doctor.stderr
    assert "as required" in doctor.stdout
    listed = run_course("--here", "data")
    assert listed.returncode == 0, listed.stderr
    assert "luna" in listed.stdout
    unknown = run_course("--here", "data", "nothing")
    assert unknown.returncode == 2
    assert "there is no dataset 'nothing'" in unknown.stderr


@pytest.mark.parametrize("name", ["requirements", "requirements-phone"])
def test_lock_pins_everything_that_requirements_name(name):
    from packaging.requirements import Requirement

    pinned = {}
    for line in (PROJECT / f"{name}.lock").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line)
            pinned.setdefault(requirement.name.lower(), []).append(requirement)
    for line in (PROJECT / f"{name}.txt").read_text().splitlines():
        text = line.split("#")[0].strip()
        if text:
            wanted = Requirement(text)
            versions = [str(p.specifier).removeprefix("==") for p in pinned[wanted.name.lower()]]
            assert all(wanted.specifier.contains(version) for version in versions), (text, versions)
