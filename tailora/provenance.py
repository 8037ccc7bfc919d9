"""What a result was made from, and whether that is still so: the one answer for all that a run holds."""

from collections.abc import Mapping
from typing import Any

from tailora.errors import RunError

_LONGEST = 60  # characters of a value that are shown


def difference(made: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Say which is the first of the values `now` that a result was not made from; None when there is none."""
    for key, value in now.items():
        if key not in made or made[key] != value:
            return f"{key} has changed since ({_short(made.get(key))}, now {_short(value)})"
    return None


def require_same(made: Mapping[str, Any], now: Mapping[str, Any], what: str, remedy: str) -> None:
    """Raise RunError when a result, `what`, was made from something else than there is `now`; names the first.

    What a result was made from and `now` does not name is of no matter.
    """
    if changed := difference(made, now):
        raise RunError(f"{what}, but {changed}. {remedy}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
