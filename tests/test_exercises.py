"""The engine says what is wrong, and every exercise's own answers pass or fail as they should."""

import ast
import json
import linecache
import random
import subprocess
import sys

import filelock
import nbformat
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

import commands.exercises
from commands.exercises import (
    differs,
    faults,
    main,
    notebook_of,
    section,
    split,
    stub_names,
    write,
)
from commands.progress import main as progress_command
from util.errors import UserError
from util.exercises import (
    BUG,
    BUILD,
    EXPERIMENT,
    PREDICT,
    Exercise,
    Picture,
    Result,
    Wrong,
    as_tensor,
    case,
    check,
    exercises_of,
    expect,
    hint,
    judge,
    predicted,
    progress,
    record,
    same,
    shapes,
    shown,
    smallest,
    solution,
    source,
    tensors,
)
from util.paths import PROJECT

CHAPTERS = [package for package in source.chapter_packages() if list((PROJECT / package).glob("exercises*"))]
NUMBERS = [(chapter, number) for chapter in CHAPTERS for number in exercises_of(chapter)]
CHECKED = [(c, n) for c, n in NUMBERS if source.find(n).stub]

# ---------------------------------------------------------------- every exercise


# A check that trains or measures has one seed, and no place in the fast tier, where all others have one seed.
TRAINS = {number for _, number in CHECKED if source.find(number).seconds > 1}
BY_COST = [
    pytest.param(chapter, number, marks=[pytest.mark.slow] * (number in TRAINS), id=f"{chapter}-{number}")
    for chapter, number in CHECKED
]


@pytest.mark.parametrize(("chapter", "number"), BY_COST)
def test_right_answers_pass_and_wrong_ones_do_not(chapter, number, request):
    once = number in TRAINS or request.config.getoption("--fast")
    settled = set()
    for seed in (0,) if once else (0, 1, 2):
        assert faults(number, seed, settled) == []


@pytest.fixture(scope="module")
def catalogue():
    return source.catalogue()


@pytest.mark.parametrize(("chapter", "number"), CHECKED, ids=lambda value: value)
def test_exercise_is_whole(chapter, number, catalogue):
    exercise = source.find(number)
    assert 2 <= len(exercise.hints) <= 3
    assert exercise.why
    assert len(exercise.right_answers) >= 2
    assert len(exercise.wrong_answers) >= 4
    assert 5 <= exercise.minutes <= 90
    assert exercise.stub.count("\n") < 40
    entry = catalogue[number]
    assert entry["package"] == chapter
    assert (entry["title"], entry["difficulty"]) == (exercise.title, exercise.difficulty)


def test_no_exercise_stands_twice(catalogue):
    for what in ("title", "text", "stub"):
        known = [getattr(source.find(number), what) for _, number in CHECKED]
        assert len(set(known)) == len(known)
    assert list(catalogue) == [number for _, number in CHECKED]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_has_one_of_each_kind(chapter):
    exercises = [source.find(number) for c, number in CHECKED if c == chapter]
    assert len(exercises) >= 6
    assert {PREDICT, BUG, EXPERIMENT} <= {exercise.kind for exercise in exercises}
    assert max(exercise.difficulty for exercise in exercises) == 3
    assert sum(exercise.seconds for exercise in exercises) <= 20


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_record_of_fifty_seeds_is_about_these_answers(chapter):
    """Each answer was tried with fifty seeds, by a command that the record names."""
    command = f"python -m commands.exercises --verify --seeds 50 --record data/exercises.json {chapter}"
    recorded = json.loads((PROJECT / "data" / "exercises.json").read_text(encoding="utf-8")).get(chapter)
    if recorded is None:
        pytest.skip(f"not recorded yet; run: {command}")
    assert recorded["command"] == command
    exercises = [source.find(number) for c, number in CHECKED if c == chapter]
    assert recorded["exercises"] == [
        {"exercise": e.number, "right": 1 + len(e.right_answers), "wrong": len(e.wrong_answers), "faults": 0}
        for e in exercises
    ], f"the exercises have changed since; run: {command}"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_notebook_has_the_exercises_of_the_source(chapter):
    notebook = nbformat.read(notebook_of(chapter), as_version=4)
    assert not differs(notebook, chapter), f"run: python -m commands.exercises {chapter}"


# ---------------------------------------------------------------- an exercise of the tests' own


@pytest.fixture
def halving(monkeypatch, clean_output):
    """Exercise 3.99: half of a number."""
    monkeypatch.setattr(source, "_REGISTRY", dict(source._REGISTRY))
    exercise = Exercise(
        "3.99",
        title="Half",
        difficulty=1,
        minutes=5,
        kind=BUILD,
        text="Half of a number.",
        stub="""
        def half(x):
            raise NotImplementedError("your turn")
        """,
        hints=("Think.", "Divide.", "By two."),
        why="Two halves make one.",
    )

    @exercise.check
    def check_half(answer):
        for x in range(5):
            with case(x=x):
                same(answer(x), x / 2, "the half")

    exercise.solution(half)
    return exercise


def half(x):
    return np.float64(x) / 2


def reader_function(code, name="half"):
    """A function whose source Python knows only as the text of a cell, as in a notebook."""
    lines = code.strip("\n").splitlines(keepends=True)
    linecache.cache["<cell>"] = (len(code), None, lines, "<cell>")
    namespace = {"torch": torch}
    exec(compile("".join(lines), "<cell>", "exec"), namespace)
    return namespace[name]


def test_check_says_passed_open_or_the_smallest_failing_case(halving, capsys):
    assert check("3.99", lambda x: x / 2) == Result.PASSED
    assert check("3.99", lambda x: torch.tensor([x]).float()[0] / 2) == Result.PASSED
    assert "passed" in capsys.readouterr().out
    assert check("3.99", lambda x: min(x / 2, 1)) == Result.WRONG
    said = capsys.readouterr().out
    assert "For x = 3: the half should be 1.5; you got 1." in said
    assert "Think" not in said
    assert len(said.splitlines()) == 1


def test_stub_none_and_ellipsis_are_not_attempted(halving, capsys):
    for answer in (None, ..., (1, ...), {"a": [..., 2]}, stub_names_of("3.99")["half"]):
        assert check("3.99", answer) == Result.NOT_ATTEMPTED
    assert "Your turn" in capsys.readouterr().out


def stub_names_of(number):
    namespace = {}
    exec(source.find(number).stub, namespace)
    return namespace


def test_error_names_the_readers_line_and_the_case(halving, capsys):
    assert check("3.99", reader_function("def half(x):\n    y = 6 / x\n    return y\n")) == Result.WRONG
    said = capsys.readouterr().out
    assert "For x = 0: your answer raised ZeroDivisionError" in said
    assert "line 2 of your code, `y = 6 / x`" in said
    code = "def half(x):\n    return torch.ones(2) @ torch.ones(3)\n"
    assert check("3.99", reader_function(code)) == Result.WRONG
    assert "`return torch.ones(2) @ torch.ones(3)`" in capsys.readouterr().out


def test_not_implemented_by_pytorch_is_an_error_and_no_stub(halving):
    def half(x):
        raise NotImplementedError("'half' is not implemented for this device")

    assert judge("3.99", half).result is Result.WRONG


def test_readers_prints_are_kept_short(halving, capsys):
    def half(x):
        print("\n".join(["here"] * 50))
        return x / 2

    check("3.99", half)
    assert len(capsys.readouterr().out.splitlines()) == 10


def test_check_leaves_random_numbers_as_they_were(halving):
    def draws():
        return random.random(), np.random.rand(), torch.rand(1).item()

    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    want = draws()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    judge("3.99", lambda x: x / 2 + 0 * torch.rand(1).item(), seed=3)
    assert draws() == want


@pytest.mark.parametrize("draw", [random.random, np.random.rand, torch.rand(()).normal_])
def test_judge_says_whether_chance_had_a_part(halving, draw):
    assert judge("3.99", lambda x: x / 2 + 0 * float(draw())).by_chance
    assert not judge("3.99", lambda x: x / 2).by_chance
    assert not judge("3.99", lambda x: min(x / 2, 1)).by_chance


def test_hints_come_one_by_one(halving, capsys):
    for _ in range(4):
        hint("3.99")
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2] for line in said[:3]] == ["Think.", "Divide.", "By two."]
    assert 'solution("3.99")' in said[3]


def test_solution_is_whole_and_says_why(halving, capsys):
    solution("3.99")
    said = capsys.readouterr().out
    assert said.startswith("import numpy as np\n")
    assert "def half(x):" in said
    assert "Two halves make one." in said


def test_unknown_exercise_is_named():
    for number in ("1.77", "99.1", "three", 3):
        with pytest.raises(KeyError, match="there is no exercise"):
            check(number, print)


def test_unchanged_class_and_broken_program_count_as_not_attempted():
    exercise = source.find("3.4")
    changed = reader_function(exercise.stub.replace("// 2", "// 3"), "blend")
    assert judge("3.4", stub_names(exercise)["blend"]).result is Result.NOT_ATTEMPTED
    assert judge("3.4", changed).result is Result.WRONG


def test_stub_class_is_recognized(monkeypatch):
    monkeypatch.setattr(source, "_REGISTRY", {})
    stub = "class Net(torch.nn.Module):\n    def forward(self, x):\n        return x\n"
    exercise = Exercise("3.98", title="", difficulty=1, minutes=5, kind=BUILD, text="t", stub=stub)
    assert exercise.is_untouched(reader_function(stub, "Net"))
    assert not exercise.is_untouched(reader_function(stub.replace("return x", "return -x"), "Net"))


@pytest.mark.parametrize(("chapter", "number"), CHECKED, ids=lambda value: value)
def test_stub_run_statement_by_statement_is_recognized(chapter, number):
    """As IPython runs a cell: a name that the stub imports is unknown to what compiles its functions."""
    exercise = source.find(number)
    namespace = dict(vars(sys.modules[exercise.module]))
    for node in ast.parse(exercise.stub).body:
        exec(compile(ast.Module([node], []), "<cell>", "exec"), namespace)
    assert judge(number, namespace[exercise.answer_name]).result is Result.NOT_ATTEMPTED


def test_two_exercises_cannot_share_a_number():
    with pytest.raises(ValueError, match="3.2"):
        Exercise("3.2", title="", difficulty=1, minutes=5, kind=BUILD, text="")


# ---------------------------------------------------------------- comparisons


def test_same_takes_whatever_carries_numbers():
    want = torch.tensor([[0.0, 1.0]])
    for got in (want.double(), want.bool(), want.int().tolist(), np.array([[0, 1]]), [torch.tensor([0, 1])]):
        same(got, want)
    same(torch.tensor([float("nan")]), [float("nan")])
    for got in (want[0], want + 0.1, "text", None, object(), [torch.ones(2), torch.ones(3)]):
        with pytest.raises(Wrong):
            same(got, want)


def test_same_tells_the_first_difference_of_large_tensors():
    want = torch.zeros(10, 10)
    got = want.clone()
    got[3, 4:6] = 1
    with pytest.raises(Wrong, match=r"should be 0 at \[3, 4\]; you got 1 \(2 of 100 values differ\)"):
        same(got, want)


def test_numbers_that_look_alike_are_told_apart():
    with pytest.raises(Wrong, match="0.12345"):
        same(0.12345, 0.12349, atol=1e-6, rtol=0)


def test_as_tensor_says_what_it_got():
    with pytest.raises(Wrong, match="`return` missing"):
        as_tensor(None)
    with pytest.raises(Wrong, match="it is a dict"):
        as_tensor({})


def test_shown_is_short():
    assert shown(torch.tensor([[1.0, 0.25]])) == "[[1, 0.25]]"
    assert shown(torch.zeros(5, 6)) == "a tensor of shape (5, 6)"
    assert shown(np.zeros((5, 6))) == "an array of shape (5, 6)"
    assert shown((1,)) == "(1,)"
    assert len(shown("x" * 500)) < 90


def test_smallest_finds_a_minimal_example():
    def holds(values):
        expect(values.sum() < 5, str(values.tolist()))

    for _ in range(3):
        with pytest.raises(Wrong) as caught:
            smallest(tensors(st.sampled_from(shapes(1, 4)), 0, 9), holds)
        assert str(caught.value) == "[5.0]"
    smallest(tensors((2,), 0, 2), holds)


def test_smallest_by_the_authors_own_size():
    def holds(n):
        expect(abs(n) < 10, str(n))

    with pytest.raises(Wrong) as caught:
        smallest(st.integers(-1000, 1000), holds, size=lambda n: -abs(n))
    assert abs(int(str(caught.value))) > 10


def test_smallest_passes_the_stub_through():
    def holds(n):
        raise NotImplementedError("your turn")

    with pytest.raises(NotImplementedError):
        smallest(st.integers(), holds)


def test_shapes_come_by_size():
    assert shapes(2, 2) == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_predicted_names_the_first_that_did_not_come_true():
    truth = {"a": (2, 3), "b": torch.float32, "c": True}
    predicted({"c": 1, "b": "float32", "a": [2, 3]}, truth)
    with pytest.raises(Wrong, match="`b` is not 'int64'"):
        predicted({"a": (2, 3), "b": "int64", "c": False}, truth)
    with pytest.raises(Wrong, match="no prediction for `c`"):
        predicted({"a": (2, 3), "b": torch.float32}, truth)


def test_a_rounded_prediction_is_told_so():
    for said in (0.03, 0.031, 0.0312):
        with pytest.raises(Wrong, match="only if one rounds"):
            predicted({"a": said}, {"a": 50 / 1600})
    for said in (0.1, 0.0, "nothing", (0.03, 0.03), None):
        with pytest.raises(Wrong, match="is not"):
            predicted({"a": said}, {"a": 50 / 1600})
    predicted({"a": 50 / 1600, "b": (2, 3), "c": 2.3}, {"a": 50 / 1600, "b": (2, 3), "c": 2.30001})


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    ("given", "want", "got"),
    [
        (torch.rand(3), torch.rand(3), torch.rand(3)),
        (torch.rand(3, 16, 16), torch.rand(16, 16), torch.rand(16, 16)),
        (None, torch.rand(40), torch.rand(40)),
        (torch.rand(4, 4), torch.eye(4).bool(), torch.zeros(4, 4)),
        (torch.rand(1, 1, 9, 9), torch.rand(20, 20, 3), torch.full((20, 20, 3), float("nan"))),
        (torch.rand(2), torch.rand(2, 2), torch.zeros(0)),
    ],
)
def test_pictures_fit_a_page(given, want, got):
    figure = Picture(given, want, got).draw()
    assert figure.get_figwidth() * figure.dpi <= 860
    assert len(figure.axes) == (2 if given is None else 3)


def test_colours_that_are_neither_bytes_nor_shares_are_told_apart():
    """Normalized pictures lie on both sides of 0: cut off there, half of each would be black."""
    image = torch.linspace(-2, 2, 3 * 20 * 20).reshape(3, 20, 20)
    drawn = Picture(None, image, image + 0.5).draw().axes[0].images[0].get_array()
    assert len(np.unique(drawn)) == 3 * 20 * 20
    for brightest in (1, 255):
        image[:] = 0.2 * brightest
        image[:, 0] = 0
        drawn = Picture(None, image, image).draw().axes[0].images[0].get_array()
        assert np.allclose(drawn[1:], 0.2)


def test_points_stand_beside_curves():
    x = torch.linspace(0, 1, 30)
    figure = Picture(None, x, x**2, x=x, points=([0, 1], [5, -5])).draw()
    for axis in figure.axes:
        low, high = axis.get_ylim()
        assert low < -5 < 5 < high
        assert [list(line.get_ydata()) for line in axis.lines if len(line.get_xdata()) == 2] == [[5, -5]]


def test_whole_numbers_in_cells_are_written_out():
    figure = Picture(None, torch.tensor([[1960.0, -0.5]]), torch.tensor([[1960.0, torch.nan]])).draw()
    assert [[text.get_text() for text in axis.texts] for axis in figure.axes] == [
        ["1960", "-0.5"],
        ["1960", "nan"],
    ]


def test_a_wrong_tensor_comes_with_its_picture():
    def holds():
        with case(x=torch.arange(4)):
            same(torch.zeros(4), torch.ones(4))

    with pytest.raises(Wrong) as caught:
        holds()
    assert caught.value.picture.given.tolist() == [0, 1, 2, 3]
    assert len(caught.value.picture.draw().axes) == 3


# ---------------------------------------------------------------- what is done


def test_progress_lists_passed_tried_and_open(halving, clean_output, capsys):
    check("3.99", lambda x: -1)
    assert json.loads((clean_output / "exercises.json").read_text()) == {"3.99": "tried"}
    check("3.99", half)
    check("3.99", lambda x: -1)  # what was passed stays passed
    assert json.loads((clean_output / "exercises.json").read_text()) == {"3.99": "passed"}
    check("3.2", lambda index, stride, offset: 0)
    capsys.readouterr()
    progress()
    said = capsys.readouterr().out
    assert "chapter  3  ○◐" in said
    assert "next: 3.2 The place of an element" in said
    assert max(map(len, said.splitlines())) <= 90
    progress_command(["p1ch3"])
    assert "◐ 3.2   The place of an element (★, 10 minutes)" in capsys.readouterr().out
    assert {path.name for path in clean_output.iterdir()} <= {"exercises.json", "exercises.json.lock"}


@pytest.mark.slow
def test_two_kernels_lose_nothing_of_each_other(clean_output):
    code = """if True:
        import sys
        from util.exercises import record
        for i in range(40):
            assert record.note(f"{sys.argv[1]}.{i}", passed=i % 2) is None
    """
    kernels = [subprocess.Popen([sys.executable, "-c", code, chapter], cwd=PROJECT) for chapter in ("1", "2")]
    assert [kernel.wait(timeout=60) for kernel in kernels] == [0, 0]
    entries = record.read()
    assert len(entries) == 80
    assert all(
        state == ("passed" if int(number.split(".")[1]) % 2 else "tried") for number, state in entries.items()
    )


def test_a_list_that_somebody_else_holds_is_one_sentence(halving, clean_output, monkeypatch, capsys):
    monkeypatch.setattr(record, "LOCK_SECONDS", 0)
    clean_output.mkdir()
    with filelock.FileLock(f"{clean_output / 'exercises.json'}.lock"):
        assert check("3.99", half) == Result.PASSED
    assert "not noted: another notebook holds" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", "[]", '{"3.2": 5}', "\udcff"])
def test_damaged_list_is_one_sentence(halving, clean_output, capsys, content):
    clean_output.mkdir()
    (clean_output / "exercises.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert check("3.99", half) == Result.PASSED
    assert "delete it to start the list anew" in capsys.readouterr().out
    with pytest.raises(UserError, match="cannot be read"):
        progress()


def test_unwritable_output_is_one_sentence(halving, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_OUTPUT", str(tmp_path / "file"))
    assert check("3.99", half) == Result.PASSED
    assert "not noted" in capsys.readouterr().out


def test_progress_knows_its_chapters(clean_output):
    with pytest.raises(UserError, match="there is no chapter '99'"):
        progress(99)


# ---------------------------------------------------------------- notebooks


def notebook_with(*cells):
    make = {"md": nbformat.v4.new_markdown_cell, "py": nbformat.v4.new_code_cell}
    return nbformat.v4.new_notebook(cells=[make[kind](text) for kind, text in cells])


def test_section_replaces_what_stands_there_and_nothing_else():
    notebook = notebook_with(
        ("md", "# Title"),
        ("py", "x = 1\n## Exercises"),
        ("md", "Before.\n\n## Exercises\n\nOld text."),
        ("py", "old"),
        ("md", "Old.\n\n## Summary\n\nThe end."),
        ("md", "### After"),
    )
    assert differs(notebook, "p1ch3")
    write(notebook, "p1ch3")
    nbformat.validate(notebook)
    assert not differs(notebook, "p1ch3")
    sources = [cell.source for cell in notebook.cells]
    assert sources[:3] == ["# Title", "x = 1\n## Exercises", "Before."]
    assert sources[-2:] == ["## Summary\n\nThe end.", "### After"]
    assert [cell.source for cell in section("p1ch3")] == sources[3:-2]
    ids = [cell.id for cell in notebook.cells]
    write(notebook, "p1ch3")
    assert [cell.id for cell in notebook.cells] == ids
    assert len(set(ids)) == len(ids)


def test_outputs_of_cells_that_stay_are_kept():
    notebook = notebook_with(("md", "## Exercises"), ("md", "## Summary"))
    write(notebook, "p1ch3")
    cell = next(cell for cell in notebook.cells if cell.id == "exercise-3-2-check")
    cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text="said")], 7
    write(notebook, "p1ch3")
    cell = next(cell for cell in notebook.cells if cell.id == "exercise-3-2-check")
    assert cell.outputs[0].text == "said"
    assert cell.execution_count == 7


def test_notebook_without_a_place_for_exercises_is_named():
    with pytest.raises(UserError, match="no heading '## Exercises'"):
        split(notebook_with(("md", "# Title")).cells)


def test_record_keeps_what_it_says_of_other_chapters(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        commands.exercises, "exercises_of", lambda package: ["3.1", "3.2"][package == "p1ch4" :]
    )
    path = tmp_path / "record.json"
    for chapter in ("p1ch4", "p1ch3"):
        assert main(["--verify", "--seeds", "1", "--record", str(path), chapter]) == 0
    content = json.loads(path.read_text())
    assert list(content) == ["p1ch3", "p1ch4"]
    assert [row["exercise"] for row in content["p1ch3"]["exercises"]] == ["3.1", "3.2"]
    right, wrong = len(source.find("3.2").right_answers) + 1, len(source.find("3.2").wrong_answers)
    assert content["p1ch4"]["exercises"] == [{"exercise": "3.2", "right": right, "wrong": wrong, "faults": 0}]
    assert "p1ch3: written to" in capsys.readouterr().out


def test_command_names_an_unknown_chapter():
    with pytest.raises(UserError, match="p1ch99"):
        main(["p1ch99"])
