#!/usr/bin/env python3
"""The course's one command.

    python3 course.py run              set up if needed, then the main job: from patients to a report
    python3 course.py test [ARGS…]     set up if needed, then every test (ARGS go to pytest);
                                       --fast: the quick ones, two minutes; -n 0: in one process
    python3 course.py setup            make .venv with everything the course needs; PyTorch without NVIDIA's
                                       libraries where no driver of theirs is (--cpu, --cuda: as you say);
                                       --phone: with what chapter 15 needs for phones, 220 MB
    python3 course.py lab              JupyterLab on the notebooks
    python3 course.py progress [CH…]   exercises: what you passed, tried, left open
    python3 course.py doctor           what this machine can do, and what to do about the rest
                                       (--measure [--json F]: and how fast, in three minutes)
    python3 course.py data [NAME…]     list, download or verify datasets (--subset N, --check)
    python3 course.py notebooks [CH…]  execute notebooks again and write them back (for maintainers)
    python3 course.py site             static pages of all notebooks, with search (--repository URL: buttons for
                                       Colab and Kaggle; needs requirements-site.txt)

`--here` before the command uses the packages of the Python that runs this file (conda, Colab)
instead of a `.venv` of its own. Only the standard library is needed until the environment exists.
"""

import hashlib
import json
import locale
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

PROJECT = Path(__file__).resolve().parent
LOCK = PROJECT / "requirements.lock"
PHONE = PROJECT / "requirements-phone.lock"  # only chapter 15 uses it, so only who asks gets it
OLDEST, NEWEST = (3, 10), (3, 13)
DISK_NEEDED_GB = {"cpu": 4, "cuda": 9}
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"  # PyTorch for Linux without NVIDIA's libraries
PROBE_SECONDS = 10
STAMP = "course-ready.json"
# How PyTorch's threads wait, said before it is loaded; `util` says why, and the same where it comes first.
PATIENCE = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}


def fail(sentence: str):
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2)


def venv_folder() -> Path:
    """`.venv` in the project; `COURSE_VENV` moves it (a read-only checkout needs that)."""
    return Path(os.environ.get("COURSE_VENV") or PROJECT / ".venv").expanduser().resolve()


def venv_python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint(folder: Path) -> str:
    """Changes when the locked requirements, the Python version or the environment's own place do."""
    text = LOCK.read_bytes() + str(sys.version_info[:2]).encode() + str(folder).encode()
    return hashlib.sha256(text).hexdigest()[:16]


def has_nvidia_driver() -> bool:
    """Is NVIDIA's driver here? Without it, PyTorch's CUDA libraries are 4 GB that nothing uses."""
    signs = ["/proc/driver/nvidia/version", "/usr/lib/wsl/lib/nvidia-smi"]
    return bool(shutil.which("nvidia-smi")) or any(os.path.exists(sign) for sign in signs)


def can_reach(address: str) -> bool:
    """Does something answer there, within PROBE_SECONDS?"""
    try:
        with urllib.request.urlopen(address, timeout=PROBE_SECONDS):
            return True
    except (OSError, ValueError):  # a name that is not found, a refusal, silence, a proxy's odd address
        return False


def choose_build(asked: "str | None") -> tuple:
    """Which PyTorch to install, "cpu" or "cuda", and why, in a few words. `asked`: one of the two, or None."""
    if sys.platform != "linux":
        if asked == "cuda":
            fail("--cuda is for Linux; for an NVIDIA card on Windows see pytorch.org, 'Get started'")
        return "cpu", "what the package index has for this system"
    if asked == "cuda" or (asked is None and has_nvidia_driver()):
        return "cuda", "as asked" if asked else "NVIDIA's driver is here"
    why = "as asked" if asked else "no NVIDIA driver is here"
    if can_reach(CPU_WHEELS + "/"):
        return "cpu", why
    return "cuda", f"{why}, but {CPU_WHEELS} cannot be reached: the ordinary one, 5 GB larger, does as well"


def without_cuda(lock: str) -> str:
    """The locked requirements without PyTorch's two packages and what only a GPU uses."""
    unwanted = ("torch==", "torchvision==", "nvidia-", "cuda-", "triton==")
    return "".join(line for line in lock.splitlines(True) if not line.startswith(unwanted))


def install(pip: list, folder: Path, build: str) -> str:
    """Install what is locked; returns the build that is there then, or "" where pip failed."""
    if build == "cpu" and sys.platform == "linux":
        lock = LOCK.read_text(encoding="utf-8")
        names = ("torch==", "torchvision==")
        wanted = folder / "pytorch.txt"
        wanted.write_text("".join(line for line in lock.splitlines(True) if line.startswith(names)))
        rest = folder / "others.txt"
        rest.write_text(without_cuda(lock))
        first = [*pip, "--no-deps", "--index-url", CPU_WHEELS, "-r", str(wanted)]
        if subprocess.run(first).returncode == 0:
            return build if subprocess.run([*pip, "-r", str(rest)]).returncode == 0 else ""
        print("setup: PyTorch's CPU packages could not be had; installing the ordinary ones", flush=True)
        build = "cuda"
    return build if subprocess.run([*pip, "-r", str(LOCK)]).returncode == 0 else ""


def problem_with(folder: Path, asked: "str | None" = None) -> "str | None":
    """Why the environment in `folder` cannot be used as it is, or None when it can. `asked`: as in `setup`."""
    if not folder.exists():
        return "there is none yet"
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "an earlier setup did not finish"
    if stamp.get("fingerprint") != fingerprint(folder):
        return "the requirements, the Python version or its folder changed"
    if asked and stamp.get("build") != asked:
        return f"its PyTorch is not the one of --{asked}"
    site = folder / stamp["site"]
    gone = [name for name in stamp["packages"] if not (site / name).exists()]
    if gone:
        return f"{gone[0]} is missing from it"
    try:
        subprocess.run([str(venv_python(folder)), "-c", "pass"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return "its Python does not start"
    return None


def setup(asked: "str | None" = None) -> Path:
    """Make the environment if it is not there or not whole; returns its Python. The stamp comes last.

    `asked`: the PyTorch that the reader wants, "cpu" or "cuda"; None leaves it to what is here.
    """
    folder = venv_folder()
    problem = problem_with(folder, asked)
    if problem is None:
        point_at_project(folder)
        return venv_python(folder)
    if Path(sys.prefix).resolve() == folder.resolve():
        fail(
            f"{folder.name} has to be made again ({problem}), and this Python is its own; "
            "leave it ('deactivate') and start again with the Python of your system"
        )
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        fail(
            f"this is Python {sys.version_info[0]}.{sys.version_info[1]}; the course runs on "
            f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}: start it with one of those, "
            "for example 'python3.12 course.py run'"
        )
    if folder.exists():
        if not ((folder / "pyvenv.cfg").exists() or (folder / STAMP).exists() or not any(folder.iterdir())):
            fail(f"{folder} is not a Python environment, so it was left alone; move it or set COURSE_VENV")
        print(f"setup: removing the old environment ({problem})", flush=True)
        shutil.rmtree(folder)
    place = next(p for p in [folder, *folder.parents] if p.exists())
    if not os.access(place, os.W_OK):
        fail(f"{place} cannot be written; set COURSE_VENV (and COURSE_OUTPUT) to folders that can")
    build, why = choose_build(asked)
    free_gb = shutil.disk_usage(place).free / 1e9
    if free_gb < DISK_NEEDED_GB[build]:
        fail(
            f"the environment needs {DISK_NEEDED_GB[build]} GB and {free_gb:.1f} GB are free beside {place.name}; "
            "make room, or set COURSE_VENV to a folder on a larger disk"
        )
    size = "2 GB" if build == "cpu" else "7 GB"
    print(f"setup: PyTorch for {build.upper()} ({why})", flush=True)
    print(f"setup: installing it and friends into {folder.name} (once, {size}, a few minutes) …", flush=True)
    start = time.monotonic()
    try:
        subprocess.run(
            [sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as error:
        shutil.rmtree(folder, ignore_errors=True)
        said = (error.stderr or error.stdout or "").strip().splitlines() or ["no reason given"]
        fail(
            f"this Python cannot make virtual environments ({said[-1]}); install its venv and ensurepip "
            "(on Debian and Ubuntu: 'apt install python3-venv')"
        )
    python = str(venv_python(folder))
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    installed = install(pip, folder, build)
    if not installed:
        fail(
            "installing the packages failed (pip's message is above); check the network and run "
            "'python3 course.py setup' again"
        )
    write_stamp(folder, installed)
    print(f"setup: done in {time.monotonic() - start:.0f} s", flush=True)
    return venv_python(folder)


def install_phone(python: str) -> bool:
    """Install what chapter 15 needs for phones into this Python; False where pip failed."""
    print("installing ExecuTorch for chapter 15 (once, 220 MB) …", flush=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    return subprocess.run([*pip, "-r", str(PHONE)]).returncode == 0


def add_phone(folder: Path) -> bool:
    """The same for the environment in `folder`, unless it is there."""
    site = next(folder.rglob("site-packages"))
    if all((site / name).is_dir() for name in ("executorch", "torchao")):
        return True
    return install_phone(str(venv_python(folder)))


def point_at_project(folder: Path):
    """Make the chapters importable from any folder, in any kernel of this environment, and its threads patient.

    Two checkouts may share one environment (COURSE_VENV): it points at the one used last.
    """
    site = next(folder.rglob("site-packages"))
    encoding = locale.getpreferredencoding(False)
    # Python runs a line of a .pth file that begins with "import" whenever it starts.
    line = (
        f"{PROJECT}\nimport os; 'OMP_WAIT_POLICY' in os.environ or "
        f"[os.environ.setdefault(*item) for item in {PATIENCE}.items()]\n"
    )
    path = site / "course.pth"
    if path.exists() and path.read_text(encoding=encoding, errors="replace") == line:
        return
    try:
        path.write_text(line, encoding=encoding)
    except OSError:
        if not path.exists():
            raise  # a read-only environment of another checkout still serves: commands set PYTHONPATH


def write_stamp(folder: Path, build: str):
    """Remember what was installed, so that the next start can tell a whole environment from a broken one."""
    point_at_project(folder)
    site = next(folder.rglob("site-packages"))
    packages = sorted(
        p.name for p in site.iterdir() if (p / "__init__.py").exists() or p.suffix == ".dist-info"
    )
    content = {
        "fingerprint": fingerprint(folder),
        "build": build,
        "site": site.relative_to(folder).as_posix(),
        "packages": packages,
    }
    temporary = folder / (STAMP + ".part")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    os.replace(temporary, folder / STAMP)


def python_for_the_course(here: bool, asked: "str | None" = None) -> str:
    if not here:
        return str(setup(asked))
    try:
        __import__("torch")
    except ImportError:
        fail("--here uses this Python's own packages, and PyTorch is not among them; leave --here out")
    return sys.executable


def call(python: str, *arguments: str) -> int:
    """Run the course's Python in the project's folder; returns its exit status."""
    environment = {"PYTORCH_ENABLE_MPS_FALLBACK": "1", **os.environ, "PYTHONUTF8": "1"}
    if "OMP_WAIT_POLICY" not in environment:
        environment = {**PATIENCE, **environment}
    parts = [str(PROJECT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(part for part in parts if part)
    # Where this process is killed and can hand nothing on, `util.processes` sees that it is gone.
    environment["COURSE_ENDS_WITH"] = str(os.getpid())
    child = subprocess.Popen([python, *arguments], cwd=PROJECT, env=environment)
    hand_on_signals(child)
    while True:
        try:
            status = child.wait()
        except KeyboardInterrupt:
            if not terminal_tells_all():
                child.send_signal(signal.SIGINT)
            continue  # however long it takes to put things in order; JupyterLab asks first
        return status if status >= 0 else 128 - status


def hand_on_signals(child):
    """What tells this process to end, tells the child to; what was ignored (`nohup`) stays ignored."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP, and no way to catch the other
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, lambda number, frame: child.send_signal(number))


def terminal_tells_all() -> bool:
    """Does Ctrl-C reach the child by itself? In a terminal's foreground it does, and always on Windows."""
    if os.name == "nt":
        return True
    try:
        with open("/dev/tty") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def names_tests(arguments: "list[str]") -> bool:
    """Is a file or a folder of tests among pytest's arguments?"""
    return any((PROJECT / word.partition("::")[0]).exists() for word in arguments)


def shared_out(arguments: "list[str]") -> "list[str]":
    """pytest's arguments: a whole tier is shared out over processes; tests that are named run in this one."""
    told = any(word.startswith(("-n", "--numprocesses", "--dist", "--pdb")) for word in arguments)
    processes = min(4, os.cpu_count() or 1)
    if names_tests(arguments) or told or processes == 1:
        return arguments
    return ["-n", str(processes), "--dist", "loadscope", "--no-loadscope-reorder", *arguments]


def main(arguments: "list[str]") -> int:
    here = arguments[:1] == ["--here"]
    command, *rest = arguments[here:] or ["help"]
    modules = {
        "run": ["-m", "p2ch14.main_job"],
        "test": ["-m", "pytest"],
        "lab": ["-m", "jupyterlab", "--notebook-dir", str(PROJECT / "notebooks")],
        "doctor": ["-m", "commands.doctor"],
        "data": ["-m", "commands.data"],
        "progress": ["-m", "commands.progress"],
        "notebooks": ["-m", "commands.notebooks"],
        "site": ["-m", "commands.site"],
    }
    if command in ("help", "-h", "--help"):
        print(__doc__)
        return 0
    if command == "setup":
        builds = [word for word in rest if word != "--phone"]
        if len(builds) > 1 or not set(builds) <= {"--cpu", "--cuda"}:
            fail(f"setup takes --cpu or --cuda, and --phone, not '{' '.join(rest)}'")
        python = python_for_the_course(here, builds[0][2:] if builds else None)
        if "--phone" in rest:
            if here:
                fail(f"with --here, install it yourself: python -m pip install -r {PHONE.name}")
            if not add_phone(venv_folder()):
                fail("installing ExecuTorch failed (pip's message is above); the rest of the course is ready")
        print(f"ready: {Path(python).parent.parent.name}")
        return 0
    if command not in modules:
        fail(f"there is no command '{command}'; 'python3 course.py help' lists them")
    python = python_for_the_course(here)
    if command == "test":
        is_whole = not here and "--fast" not in rest and not names_tests(rest)
        if is_whole and not add_phone(venv_folder()):
            print("setup: without ExecuTorch, the tests that need it skip or fail", flush=True)
        rest = shared_out(rest)
    return call(python, *modules[command], *rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
