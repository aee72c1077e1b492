"""What a notebook's prose says, held against what its cells computed.

A chapter's `claims.py` holds `CLAIMS`: sentences as they stand in the notebook, each with a check on the
variables that the executed notebook ends with, and values with which that check must fail.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MARK = "claims judged: "


@dataclass(frozen=True)
class Claim:
    """A sentence of the prose and what bears it out.

    sentence: as the notebook has it; line breaks and Markdown's marks do not matter.
    check: takes the notebook's variables by name and says whether the sentence is true of them.
    near_misses: for each, values laid over those variables with which `check` must say no.
    """

    sentence: str
    check: Callable[[Mapping[str, Any]], bool]
    near_misses: Sequence[Mapping[str, Any]]


def plain(text: str) -> str:
    """Markdown as a reader sees it: no marks for emphasis, code, quotes or links, single spaces."""
    text = re.sub(r"^[ \t]*(?:>[ \t]?)+", "", text, flags=re.M)  # a box's border
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)  # a link's or picture's words
    text = re.sub(r"(?<!\w)_|_(?!\w)", "", re.sub(r"[*`]", "", text))
    return " ".join(text.split())


def faults_in_table(claims: Iterable[Claim], markdown: Iterable[str]) -> list[str]:
    """What is wrong with a table before anything has run, as sentences.

    markdown: the sources of the notebook's Markdown cells; a claim's sentence must lie within one.
    """
    texts = [plain(source) for source in markdown]
    faults, seen = [], set()
    for claim in claims:
        words = plain(claim.sentence)
        if not any(words in text for text in texts):
            faults.append(f"not in the notebook: {claim.sentence}")
        if len(words.split()) < 4:
            faults.append(f"too short to be a sentence: {claim.sentence}")
        if not claim.near_misses:
            faults.append(f"no near miss: {claim.sentence}")
        if words in seen:
            faults.append(f"twice in the table: {claim.sentence}")
        seen.add(words)
    return faults


def judge(claims: Iterable[Claim], values: Mapping[str, Any]) -> list[str]:
    """What is wrong with a table in the light of the notebook's variables, as sentences.

    A check that raises is at fault, even on a near miss: it shall say no, not stumble. So is a near miss
    that names no variable of the notebook.
    """
    faults = []
    for claim in claims:
        if error := _judged(claim, values, wanted=True):
            faults.append(f"{error}: {claim.sentence}")
        for near in claim.near_misses:
            if unknown := [name for name in near if name not in values]:
                faults.append(
                    f"near miss names {', '.join(unknown)}, which the notebook has not: {claim.sentence}"
                )
            elif error := _judged(claim, {**values, **near}, wanted=False):
                faults.append(f"{error} with {near!r:.200}: {claim.sentence}")
    return faults


def _judged(claim, values, wanted):
    try:
        holds = bool(claim.check(values))
    except Exception as error:  # whatever a check may raise is its fault, and to be told
        return f"the check raises {type(error).__name__} ({error})"
    if holds != wanted:
        return "does not hold" if wanted else "holds all the same"
    return None


def judging_cell(module: str) -> str:
    """Code for one more cell of a notebook: it judges `CLAIMS` of `module` and prints what is wrong.

    `faults_printed` reads its output.
    """
    return (
        f"import {module} as _claims_table\n"
        "from util import claims as _claims\n"
        "_claims.print_faults(_claims_table.CLAIMS, dict(globals()))"
    )


def print_faults(claims, values):
    """Print `judge`'s answer as one line for `faults_printed`."""
    print(MARK + json.dumps(judge(claims, values)))


def faults_printed(output: str) -> list[str]:
    """The faults that the cell of `judging_cell` found; what it printed instead, if it failed itself."""
    lines = [line for line in output.splitlines() if line.startswith(MARK)]
    return (
        json.loads(lines[-1].removeprefix(MARK)) if lines else [f"the claims could not be judged: {output}"]
    )
