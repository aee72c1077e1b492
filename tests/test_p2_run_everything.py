"""The book's script that runs all of part 2: its steps exist, and their options are understood."""

import pytest

from commands import p2_run_everything
from commands.p2_run_everything import STEPS, chosen, main
from util.errors import UserError
from util.util import importstr


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_step_is_a_class_that_takes_these_options(step):
    app = importstr(*step.app.rsplit(".", 1))(step.words())
    assert callable(app.main)
    if step.epochs is not None:
        assert app.cli_args.epochs == step.epochs
        assert app.cli_args.comment == step.name


def test_steps_are_chosen_in_their_own_order():
    assert [step.name for step in chosen(["balanced", "unbalanced"])] == ["unbalanced", "balanced"]
    assert chosen(start="analysis") == [STEPS[-1]]
    assert chosen() == list(STEPS)
    with pytest.raises(UserError, match="no step 'balance'; the steps are cache, first"):
        chosen(["balance"])
    with pytest.raises(UserError, match="--epochs is 0"):
        main(["--epochs", "0"])


def test_a_step_runs_with_the_epochs_asked_for(monkeypatch):
    ran = []

    class App:
        def __init__(self, words):
            self.words = words

        def main(self):
            ran.append(self.words)

    monkeypatch.setattr(p2_run_everything, "importstr", lambda module, name: App)
    main(["--only", "balanced", "analysis", "--epochs", "3"])
    assert ran == [["--epochs=3", "--balanced", "balanced"], ["--run-validation"]]


def test_a_list_runs_nothing(monkeypatch, capsys):
    monkeypatch.setattr(p2_run_everything, "run", lambda *_: pytest.fail("it ran"))
    main(["--list"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(STEPS)
    assert lines[3].split() == [
        "balanced",
        "python",
        "-m",
        "p2ch12.training",
        "--epochs=20",
        "--balanced",
        "balanced",
    ]
