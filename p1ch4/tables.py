"""Tables in text files as tensors (chapter 4, "Loading a wine data tensor")."""

import csv
import datetime
from dataclasses import dataclass
from pathlib import Path

import torch

from util.errors import UserError
from util.paths import shown


@dataclass(frozen=True)
class Table:
    """`data`, float32 of shape (rows, columns), and the `names` of its columns."""

    names: list[str]
    data: torch.Tensor

    def __getitem__(self, name: str) -> torch.Tensor:
        """The column called `name`, (rows,), a view. Raises `UserError` where there is none."""
        if name not in self.names:
            raise UserError(f"the table has no column '{name}'; it has {', '.join(self.names)}")
        return self.data[:, self.names.index(name)]


def load_table(path, required=(), dates=()) -> Table:
    """Read a CSV file with a header into a `Table`.

    The delimiter (comma, semicolon or tab) is found in the header; a byte-order mark, quotes and spaces
    around names are removed. required: columns that must be there. dates: columns with dates such as
    2011-01-31, which become days since 0001-01-01 (`datetime.date.fromordinal` goes back). Raises
    `UserError`, one sentence, for a missing file or column, a row of another length or a value that is
    no number, with the line.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no table '{shown(path)}'; check the path")
    try:
        # utf-8-sig also reads files without the mark that spreadsheets put in front.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"'{shown(path)}' is not text in UTF-8; save it as 'CSV UTF-8'") from error
    if not lines or not lines[0].strip():
        raise UserError(f"'{shown(path)}' is empty; a table starts with a line of column names")
    delimiter = max(",;\t", key=lines[0].count)
    reader = csv.reader(lines, delimiter=delimiter)
    names = [name.strip() for name in next(reader)]
    missing = [name for name in (*required, *dates) if name not in names]
    if missing:
        raise UserError(
            f"'{shown(path)}' has no column {', '.join(map(repr, missing))}; it has {', '.join(names)}"
        )
    rows = []
    for row in reader:
        if not row:
            continue
        if len(row) != len(names):
            raise UserError(
                f"line {reader.line_num} of '{shown(path)}' has {len(row)} values for {len(names)} columns"
            )
        rows.append([_number(value, name, dates, reader.line_num, path) for value, name in zip(row, names)])
    if not rows:
        raise UserError(f"'{shown(path)}' has column names but no rows; fetch it again")
    return Table(names, torch.tensor(rows, dtype=torch.float32))


def _number(value, name, dates, line, path):
    try:
        return datetime.date.fromisoformat(value.strip()).toordinal() if name in dates else float(value)
    except ValueError as error:
        kind = "date such as 2011-01-31" if name in dates else "number"
        raise UserError(
            f"line {line} of '{shown(path)}' has '{value}' in column '{name}', which is no {kind}; mend it"
        ) from error
