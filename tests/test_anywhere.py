"""From any folder, under any name, read-only, with workers started by spawn: the course runs the same.

The checkouts here are copies of what git tracks, without notebooks; they use this environment's packages.
"""

import json
import os
import shutil
import stat
import subprocess
import sys

import pytest

from util.paths import PROJECT

SIZE = ("32", "96", "96")
WORKERS = """
import torch
from p2ch10.dsets import LunaDataset

def main():
    dataset = LunaDataset(sortby_str="series_uid")
    one_by_one = torch.stack([dataset[n][0] for n in range(12)])
    for workers in (0, 2):
        context = "spawn" if workers else None
        loader = torch.utils.data.DataLoader(
            torch.utils.data.Subset(dataset, range(12)), batch_size=4, num_workers=workers,
            multiprocessing_context=context,
        )
        assert torch.equal(torch.cat([batch[0] for batch in loader]), one_by_one), workers
    print("same with", len(one_by_one))

if __name__ == "__main__":
    main()
"""


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.split("\0") if name and not name.endswith((".ipynb", ".png"))]


def copy_to(folder):
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, folder / name)
    return folder


def run(checkout, *command, cwd, **environment):
    """A command of `checkout`, from the folder `cwd`, with nothing inherited that points elsewhere."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COURSE_")}
    inherited |= {"PYTHONPATH": str(checkout), "COURSE_OFFLINE": "1", **environment}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, env=inherited, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A checkout whose path has spaces and letters beyond ASCII, and small patients below such a path."""
    root = tmp_path_factory.mktemp("Müllers Ärztekurs 深層学習")
    checkout = copy_to(root / "my course")
    data = root / "données du scanner"
    options = ("--scans", 2, "--seed", 3, "--richness", 3, "--size", *SIZE, "--out", data / "luna")
    run(checkout, "-m", "p2ch09.phantom", *options, cwd=root)
    return root, checkout, data


@pytest.mark.command
def test_commands_work_from_another_folder_in_a_path_with_spaces(places):
    root, checkout, data = places
    said = run(checkout, checkout / "course.py", "--here", "data", cwd=root, COURSE_DATA=str(data))
    assert "real files in …/données du scanner/luna" in said
    doctor = run(checkout, checkout / "course.py", "--here", "doctor", cwd="/", COURSE_DATA=str(data))
    assert "luna" in doctor


@pytest.mark.command
def test_a_scan_is_analysed_in_a_path_with_spaces(places):
    root, checkout, data = places
    scan = sorted(data.rglob("*.mhd"))[0]
    relative = scan.relative_to(root)  # as typed by somebody who stands there
    options = ("--json", "Befund ü.json", "--report", "Befund ü.html")
    run(checkout, "-m", "p2ch14.nodule_analysis", relative, *options, cwd=root)
    findings = json.loads((root / "Befund ü.json").read_text(encoding="utf-8"))
    assert scan.stem in json.dumps(findings)
    assert "<html" in (root / "Befund ü.html").read_text(encoding="utf-8")


@pytest.mark.command
def test_workers_started_by_spawn_read_the_same(places):
    root, checkout, data = places
    script = root / "workers.py"
    script.write_text(WORKERS, encoding="utf-8")
    folders = {"COURSE_DATA": str(data), "COURSE_CACHE": str(root / "cache")}
    assert run(checkout, script, cwd=root, **folders).strip().endswith("same with 12")


def everything_below(folder):
    return {
        path.relative_to(folder): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts and path.is_file()
    }


@pytest.mark.command
def test_a_read_only_checkout_writes_elsewhere(places, tmp_path):
    """Where permissions bind, the checkout refuses; for the superuser, at least nothing may change in it."""
    root, _, data = places
    checkout = copy_to(tmp_path / "read only")
    folders = [checkout, *(path for path in checkout.rglob("*") if path.is_dir())]
    before = everything_below(checkout)
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    moved = {
        "COURSE_DATA": str(data), "COURSE_OUTPUT": str(tmp_path / "output"),
        "COURSE_GENERATED": str(tmp_path / "generated"), "COURSE_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    try:
        options = ("--epochs", 1, "--epoch-samples", 8, "--batch-size", 4, "--val-stride", 2)
        run(checkout, "-m", "p2ch11.training", *options, "tiny", cwd=root, **moved)
        run(checkout, "-c", "from p1ch4 import wine; print(wine.path())", cwd=root, **moved)
    finally:
        for folder in folders:
            folder.chmod(stat.S_IRWXU)
    assert everything_below(checkout) == before
    assert list((tmp_path / "output").rglob("last.state"))
