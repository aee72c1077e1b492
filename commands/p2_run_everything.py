"""All of part 2 in one go: the book's sequence of trainings, by name, then the analysis of the held-out scans.

    python -m commands.p2_run_everything --list
    python -m commands.p2_run_everything --epochs 2 --only unbalanced balanced
    python -m commands.p2_run_everything --start augmented

Every step is a class with `main()`, as each chapter has it, and can be run by itself: `--list` prints how. On two
cores and the generated patients the whole takes hours with the default epochs, as in the book; begin with `--epochs 1`.
"""

import argparse
from dataclasses import dataclass

from util.errors import UserError, main_guard
from util.util import importstr

CLASSIFIER = "data/p2ch14/classification.safetensors"


@dataclass(frozen=True)
class Step:
    """One run. app: "module.Class"; options: its command line; epochs: None where nothing is trained."""

    name: str
    app: str
    options: tuple[str, ...] = ()
    epochs: int | None = None

    def words(self, epochs=None) -> list[str]:
        """The command line as a list of words; `epochs` instead of the step's own."""
        if self.epochs is None:
            return list(self.options)
        return [f"--epochs={epochs or self.epochs}", *self.options, self.name]


_12 = "p2ch12.training.LunaTrainingApp"
STEPS = (
    Step("cache", "p2ch11.prepcache.LunaPrepCacheApp"),
    Step("first", "p2ch11.training.LunaTrainingApp", (), 1),
    Step("unbalanced", "p2ch11.training.LunaTrainingApp", (), 20),
    Step("balanced", _12, ("--balanced",), 20),
    *(
        Step(name, _12, ("--balanced", f"--augment-{name}"), 10)
        for name in ("flip", "offset", "scale", "rotate", "noise")
    ),
    Step("augmented", _12, ("--balanced", "--augmented"), 20),
    Step("segmentation", "p2ch13.training.SegmentationTrainingApp", ("--augmented",), 10),
    Step("nodules", "p2ch14.training.ClassificationTrainingApp", ("--balanced", "--augmented"), 20),
    *(
        Step(
            f"malignancy-depth-{depth}",
            "p2ch14.training.ClassificationTrainingApp",
            ("--malignant", "--balanced", f"--finetune={CLASSIFIER}", f"--finetune-depth={depth}"),
            20,
        )
        for depth in (1, 2)
    ),
    Step("analysis", "p2ch14.nodule_analysis.NoduleAnalysisApp", ("--run-validation",)),
)


def chosen(only=None, start=None) -> list[Step]:
    """The steps named in `only` (all by default), from `start` on, in their own order. Raises `UserError`."""
    names = [step.name for step in STEPS]
    for name in [*(only or ()), *([start] if start else [])]:
        if name not in names:
            raise UserError(f"there is no step '{name}'; the steps are {', '.join(names)}")
    later = STEPS[names.index(start) if start else 0 :]
    return [step for step in later if not only or step.name in only]


def run(step, epochs=None):
    """Import the step's class by its name and run it."""
    return importstr(*step.app.rsplit(".", 1))(step.words(epochs)).main()


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m commands.p2_run_everything", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--list", action="store_true", help="print the steps as commands, run nothing")
    parser.add_argument("--epochs", type=int, metavar="N", help="of every training, instead of its own")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="these steps alone")
    parser.add_argument("--start", metavar="STEP", help="this step and all after it")
    options = parser.parse_args(arguments)
    if options.epochs is not None and options.epochs < 1:
        raise UserError(f"--epochs is {options.epochs}; give a whole number of at least 1")
    for step in chosen(options.only, options.start):
        command = " ".join(["python -m", step.app.rpartition(".")[0], *step.words(options.epochs)])
        print(f"{step.name:20} {command}", flush=True)
        if not options.list:
            run(step, options.epochs)


if __name__ == "__main__":
    main_guard(main)
