"""Lists as spreadsheets write them: commas, semicolons or tabs, UTF-8, UTF-16 or the old Western encoding."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from util.errors import UserError
from util.paths import shown

DELIMITERS = ",;\t"
_MARKS = {  # the longer ones first: UTF-32's begins like UTF-16's
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.IGNORECASE)


def read_text(path) -> str:
    """The text of a file, whichever encoding a spreadsheet chose; lines end in `\\n`.

    A byte order mark tells; without one it is UTF-8 or, where that fails, Windows' Western encoding. Raises
    `UserError` naming file, line and encoding for what is no text, and for a file that cannot be opened.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"the list {shown(path)} cannot be read ({error.strerror}); check the path"
        ) from error
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if encoding is None and data[1:200:2].count(0) > len(data[1:200:2]) // 2:
        encoding = "utf-16-le"  # without its mark
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        if encoding is not None:
            line = data[: error.start].count(b"\n") + 1
            raise UserError(
                f"{shown(path)}, line {line}: this is no CSV text in {encoding.upper()}; save it as UTF-8"
            ) from error
        text = data.decode("cp1252", "replace")
    control = re.search(r"[\0-\x08\x0e-\x1f\ufffd]", text)
    if control:
        line = text[: control.start()].count("\n") + 1
        raise UserError(
            f"{shown(path)}, line {line}: this is no CSV text (read as {(encoding or 'utf-8 or cp1252').upper()}); "
            "export the list again as CSV, in UTF-8"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_rows(path, columns=()) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, {column: cell}) of every row of the list at `path` that is not empty.

    columns: that the first line must name. Cells are stripped; decimal commas, which come with semicolons,
    become points. Raises `UserError` naming file and line for a missing column, for a row with more cells
    than the first line has, and for what is no text.
    """
    path = Path(path)
    text = read_text(path)
    first, delimiter, skipped = _delimiter(text)
    reader = csv.reader(io.StringIO(first, newline=""), delimiter=delimiter, strict=True)
    header = None
    try:
        for cells in reader:
            line, cells = reader.line_num + skipped, [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if header is None:
                header = _header(cells, columns, path, line)
                continue
            if any(cells[len(header) :]):
                raise UserError(
                    f"{shown(path)}, line {line}: {len(cells)} cells, but the first line names {len(header)} columns; "
                    "correct the row (a number with a decimal comma?)"
                )
            if delimiter != ",":
                cells = [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in cells]
            yield line, dict(zip(header, cells))
    except csv.Error as error:
        raise UserError(
            f"{shown(path)}, line {reader.line_num + skipped}: this is no CSV text ({error}); export the list again"
        ) from error
    if header is None and columns:
        _header([], columns, path, 1)


def _delimiter(text):
    """(the text to read, its delimiter, lines left out before it)."""
    named = re.match(r'"?sep=(.)"?\n', text, re.IGNORECASE)  # Excel's way to say it
    if named:
        return text[named.end() :], named[1], 1
    first = next((line for line in text.split("\n") if line.strip(DELIMITERS + " ")), "")
    return text, max(DELIMITERS, key=first.count), 0


def _header(cells, columns, path, line):
    missing = [name for name in columns if name not in cells]
    if missing:
        raise UserError(
            f"{shown(path)}, line {line}: the column {missing[0]} is missing; "
            f"the first line must name {', '.join(columns)}"
        )
    return cells
