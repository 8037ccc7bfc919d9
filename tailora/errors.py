"""What can go wrong by a user's doing, as one family of errors.

TailoraError
├── RecipeError   (ValueError)    a key or value of the recipe
├── DataError     (ValueError)    a source file, its rows or its columns
├── ModelError    (ValueError)    a base model, tokenizer or adapter
└── RunError      (RuntimeError)  a run folder, or a stage that cannot go on

Each message says what, where, what was found and what to write instead. The command line prints it as one
paragraph and exits with 2; anything else is our fault and exits with 1.

`Stopped` is no error: somebody asked for an end, and what was done is saved.
"""

import difflib
import unicodedata
from collections.abc import Iterable, Sequence

_LONGEST_NAME = 60


class TailoraError(Exception):
    """Something the user can mend; the message says how."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class RecipeError(TailoraError, ValueError):
    """The recipe asks for something that does not exist or cannot be."""


class DataError(TailoraError, ValueError):
    """A data source cannot be read, or its rows cannot be used."""


class ModelError(TailoraError, ValueError):
    """A base model, tokenizer or adapter cannot be loaded or used."""


class RunError(TailoraError, RuntimeError):
    """A run folder is not in the state that a stage needs."""


class Stopped(BaseException):
    """A signal asked for a stop and the work is saved; no `except Exception` on the way may hold it up."""

    def __init__(self, message: str, signal: int) -> None:
        self.signal = signal
        super().__init__(message)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean "x"?)`, or an empty string when nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f' (did you mean "{near[0]}"?)' if near else ""


def plain(text: str) -> str:
    """Return `text` without control and bidi characters, which can rewrite a terminal; line breaks and tabs stay.

    What stands for bytes that are no text, as in the name of a file, is escaped.
    """
    if text.isprintable():
        return text
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf"))


def some_of(names: Sequence[str], most: int = 8) -> str:
    """Return the first names, each short and on one line, and how many more there are."""
    lines = [plain(name).replace("\n", "\\n").replace("\t", "\\t") for name in names[:most]]
    shown = ", ".join(line if len(line) <= _LONGEST_NAME else f"{line[:_LONGEST_NAME]}…" for line in lines)
    return shown + (f", … and {len(names) - most:,} more" if len(names) > most else "")
