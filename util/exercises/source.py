"""What an exercise is: one object, from which its cells, its check, its hints and its tests are made."""

import ast
import enum
import functools
import importlib
import inspect
import pkgutil
import re
import symtable
import sys
import textwrap
import types
from pathlib import Path

from util.paths import PROJECT

PREDICT, BUG, EXPERIMENT, BUILD, OPEN = "predict", "find the bug", "experiment", "build", "open"
KINDS = (PREDICT, BUG, EXPERIMENT, BUILD, OPEN)

_REGISTRY: dict = {}


class Result(enum.Enum):
    PASSED = "passed"
    NOT_ATTEMPTED = "not attempted"
    WRONG = "wrong"


class Exercise:
    """One exercise and everything about it.

    number      "3.2": chapter and place
    title       a few words
    difficulty  1 to 3
    minutes     that a reader should plan
    kind        PREDICT, BUG, EXPERIMENT, BUILD or OPEN
    text        the task, in Markdown
    stub        the code cell that the reader fills; the last name that it binds is the answer
    hints       two or three, from a nudge to nearly all
    why         what to learn from the solution
    seconds     that the check takes, if it takes more than one

    The rest is registered: `check`, `solution`, `right` and `wrong` are decorators; the last three also take
    a value, and `solution` the text of a cell. An open exercise without a stub has no check.
    """

    def __init__(
        self, number: str, *, title, difficulty, minutes, kind, text, stub="", hints=(), why="", seconds=0
    ):
        if kind not in KINDS or difficulty not in (1, 2, 3):
            raise ValueError(f"exercise {number}: kind is one of {', '.join(KINDS)}, difficulty 1, 2 or 3")
        self.number, self.title, self.kind = number, title, kind
        self.difficulty, self.minutes, self.seconds = difficulty, minutes, seconds
        self.text, self.stub, self.why = (textwrap.dedent(part).strip() for part in (text, stub, why))
        self.hints = tuple(hints)
        self.module = sys._getframe(1).f_globals["__name__"]
        self.wrong_answers, self.right_answers = [], []
        self.check_function = self._solution = None
        other = _REGISTRY.get(number)
        if other is not None and other.module != self.module:
            raise ValueError(f"two exercises have the number {number}, in {other.module} and {self.module}")
        _REGISTRY[number] = self

    def __repr__(self):
        return f"<Exercise {self.number} {self.title}>"

    def check(self, function):
        """`function(answer)` returns if the answer is right, and raises `Wrong` if it is not."""
        self.check_function = function
        return function

    def solution(self, answer):
        """A function or class, or the text of a cell that binds the name that the stub binds."""
        self._solution = answer
        return answer

    def right(self, answer):
        """Another right answer, in another style."""
        self.right_answers.append(answer)
        return answer

    def wrong(self, answer):
        """An answer that must not pass."""
        self.wrong_answers.append(answer)
        return answer

    @property
    def answer_name(self) -> str:
        """The last name that the stub binds: what the reader hands to `check`."""
        for node in reversed(ast.parse(self.stub).body):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                return node.name
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                return node.targets[0].id
        raise ValueError(f"exercise {self.number}: the stub binds no name")

    @property
    def stub_keys(self) -> list:
        """The keys of the dictionary in the stub of a prediction."""
        for node in ast.walk(ast.parse(self.stub)):
            if isinstance(node, ast.Dict):
                return [ast.literal_eval(key) for key in node.keys]
        raise ValueError(f"exercise {self.number}: the stub holds no dictionary")

    @property
    def check_cell(self) -> str:
        """The call under the stub."""
        return f'check("{self.number}", {self.answer_name})'

    @functools.cached_property
    def solution_code(self) -> str:
        """The solution as a reader could paste it: with the imports and helpers that it needs."""
        if isinstance(self._solution, str):
            return textwrap.dedent(self._solution).strip()
        code = _definition(inspect.getsource(self._solution))
        module = Path(inspect.getsourcefile(self._solution)).read_text(encoding="utf-8")
        code = _with_what_it_needs(code, module)
        # The function may bear another name where the chapter's module has given this one away.
        return re.sub(rf"\b{self._solution.__name__}\b", self.answer_name, code)

    def is_untouched(self, answer) -> bool:
        """Is `answer` the stub as it was given?"""
        wanted = getattr(answer, "__name__", None)
        if not self.stub or wanted is None:
            return False
        return any(_is_made_by(code, answer) for code in self._stub_codes if code.co_name == wanted)

    @functools.cached_property
    def _stub_codes(self) -> list[types.CodeType]:
        """The stub's functions and classes, as a file compiles them and as a notebook does.

        IPython compiles a cell statement by statement. Then a function does not know that a name was imported
        above it, and Python calls the name's functions by other instructions.
        """
        statements = [ast.Module([node], []) for node in ast.parse(self.stub).body]
        compiled = [compile(part, "stub", "exec") for part in (self.stub, *statements)]
        return [c for code in compiled for c in code.co_consts if isinstance(c, types.CodeType)]


def _is_made_by(code: types.CodeType, answer) -> bool:
    """Does `answer`, a function or class, do what the definition compiled to `code` does?"""
    if isinstance(answer, type):
        given = {_prints(c) for c in code.co_consts if isinstance(c, types.CodeType)}
        own = [f.__code__ for f in vars(answer).values() if isinstance(f, types.FunctionType)]
        return {_prints(c) for c in own} == given
    return isinstance(answer, types.FunctionType) and _prints(answer.__code__) == _prints(code)


def _prints(code: types.CodeType):
    """What makes a code object what it does, without where it stands."""
    constants = tuple(_prints(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts)
    return code.co_name, code.co_code, code.co_names, code.co_varnames, constants


def _definition(source: str) -> str:
    """`source` of a function or class without its decorators."""
    source = textwrap.dedent(source).strip()
    node = ast.parse(source).body[0]
    return "\n".join(source.splitlines()[node.lineno - 1 :])


def _with_what_it_needs(code: str, module: str) -> str:
    """`code`, preceded by the imports and top-level definitions of `module` that it uses."""
    providers = {}
    for node in ast.parse(module).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                one = (
                    ast.Import([alias])
                    if isinstance(node, ast.Import)
                    else ast.ImportFrom(node.module, [alias], 0)
                )
                providers[(alias.asname or alias.name).partition(".")[0]] = ast.unparse(one)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            providers[node.targets[0].id] = ast.get_source_segment(module, node)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            lines = module.splitlines()[node.lineno - 1 : node.end_lineno]
            providers[node.name] = "\n".join(lines)
    imports, helpers, seen = [], [], {ast.parse(code).body[-1].name}

    def add(text):
        for name in sorted(_globals(symtable.symtable(text, "<solution>", "exec"))):
            if name in providers and name not in seen:
                seen.add(name)
                provider = providers[name]
                if provider.startswith(("import ", "from ")):
                    imports.append(provider)
                else:
                    add(provider)
                    helpers.append(provider)

    add(code)
    parts = ["\n".join(sorted(imports, key=lambda line: (line.startswith("from"), line)))] if imports else []
    return "\n\n\n".join([*parts, *helpers, code])


def _globals(table: symtable.SymbolTable) -> set[str]:
    """Names that the code behind `table` takes from the module around it."""
    names = {s.get_name() for s in table.get_symbols() if s.is_global() or table.get_type() == "module"}
    return names.union(*map(_globals, table.get_children()))


def package_of(number: str) -> str:
    """ "3.2" -> "p1ch3". Raises `ValueError` where there is no such chapter."""
    chapter = int(number.split(".")[0])
    if not 1 <= chapter <= 15:
        raise ValueError(number)
    if chapter <= 8:
        return f"p1ch{chapter}"
    return f"p2ch{chapter:02d}" if chapter <= 14 else f"p3ch{chapter}"


def chapter_packages() -> list[str]:
    """The packages of all chapters, in order."""
    return [package_of(f"{chapter}.0") for chapter in range(1, 16)]


def place(number: str) -> list[int]:
    """A key to sort exercises by."""
    return [int(part) for part in number.split(".")]


def load(package: str):
    """Import all exercises of a chapter, `pXchYY.exercises`, a module or a folder of modules."""
    module = importlib.import_module(f"{package}.exercises")
    for part in pkgutil.iter_modules(getattr(module, "__path__", [])):
        importlib.import_module(f"{module.__name__}.{part.name}")
    return module


def exercises_of(package: str) -> list[str]:
    """Numbers of the exercises that chapter `package` ("p1ch3") registers, in order."""
    load(package)
    return sorted((number for number in _REGISTRY if package_of(number) == package), key=place)


def find(number: str) -> Exercise:
    """Exercise `number`. Raises `KeyError` if there is none."""
    try:
        package = package_of(number)
    except (ValueError, AttributeError):
        raise KeyError(f'there is no exercise {number!r}; numbers look like "3.2"') from None
    load(package)
    if number not in _REGISTRY:
        raise KeyError(f"there is no exercise {number!r}")
    return _REGISTRY[number]


def catalogue() -> dict[str, dict]:
    """Every exercise with a check, by number: package, title, difficulty, minutes, kind.

    Reads the chapters' sources without importing them, so that a list of all takes no time.
    """
    entries = {}
    for package in chapter_packages():
        folder = PROJECT / package
        for path in [folder / "exercises.py", *sorted((folder / "exercises").glob("*.py"))]:
            if not path.exists():
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                name = isinstance(node, ast.Call) and getattr(node.func, "id", "")
                if name in ("Exercise", "exercise") and isinstance(node.args[0], ast.Constant):
                    words = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
                    if name == "Exercise" and "stub" not in words:
                        continue
                    words = {key: words.get(key) for key in ("title", "difficulty", "minutes")}
                    entries[node.args[0].value] = {"package": package, **words}
    return {number: entries[number] for number in sorted(entries, key=place)}
