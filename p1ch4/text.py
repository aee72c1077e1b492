"""Text files as characters and words (chapter 4, "Converting text to numbers")."""

import re
from pathlib import Path

from util.errors import UserError
from util.paths import shown

# Everything that can end or surround a word in the book, without apostrophes and hyphens inside words.
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_ABBREVIATIONS = {"mr", "mrs", "dr", "st"}


def load_text(path) -> str:
    """The text of a file in UTF-8, without byte-order mark, with plain line ends.

    Raises `UserError` where there is no file, or it is no UTF-8, or empty.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no text '{shown(path)}'; check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"byte {error.start} of '{shown(path)}' is not UTF-8; save the text in that encoding"
        ) from error
    if not text.strip():
        raise UserError(f"'{shown(path)}' is empty; fetch it again")
    return text


def without_frame(text: str) -> str:
    """The book alone: what stands between the lines `*** START OF …` and `*** END OF …`, if there."""
    start = re.search(r"^\*\*\* ?START OF.*$", text, re.MULTILINE)
    end = re.search(r"^(?:\*\*\* ?END OF|End of (?:the )?Project Gutenberg).*$", text, re.MULTILINE)
    return text[start.end() if start else 0 : end.start() if end else len(text)].strip()


def words_of(text: str) -> list[str]:
    """The words of `text` in order, in lower case, without punctuation and digits."""
    return [word.lower() for word in _WORD.findall(text)]


def sentences_of(text: str) -> list[list[str]]:
    """The words of each sentence of `text`. A full stop after Mr. and the like ends none."""
    sentences, words = [], []
    for match in re.finditer(rf"{_WORD.pattern}|[.!?;]", text):
        token = match.group().lower()
        if token not in ".!?;":
            words.append(token)
        elif words and not (token == "." and words[-1] in _ABBREVIATIONS):
            sentences.append(words)
            words = []
    return [*sentences, words] if words else sentences
