"""One row: what makes it unusable, and what its owner should know. Knows neither files nor what the columns mean."""

import re
from collections.abc import Iterator
from typing import Any

from tailora.data.records import ROW_CAP, Fault

_LONG, _DEEPEST = 1_000_000, 100
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def what_is_wrong(where: str, value: Any) -> Fault | None:
    """Say why `value` can be no row and what to do; None when it can."""
    if not isinstance(value, dict):
        return Fault(where, "a row must be an object with named columns.", f"Got {type(value).__name__}.")
    characters = -sum(map(len, value))  # a table says the names of its columns once
    for column, item in value.items():
        for leaf, depth in _leaves([column, item]):
            characters += len(leaf) if isinstance(leaf, str) else 0
            if cause := _cause(leaf, depth):
                return Fault(where, cause, f"Column: {column!r}.")
    if characters > ROW_CAP:
        return Fault(where, f"a row of more than {ROW_CAP:,} characters; only text that a model can read is of use.")
    return None


def _cause(leaf: Any, depth: int) -> str:
    if depth > _DEEPEST:
        return f"a column is nested more than {_DEEPEST} deep; flatten it."
    if isinstance(leaf, bytes):
        return "a column holds bytes, such as an image; leave it out, since only text can be used."
    if isinstance(leaf, str) and not _is_whole(leaf):
        return "a column holds half a character (a lone surrogate, \\ud800 to \\udfff); remove it."
    return ""


def remarks(row: dict[str, Any]) -> list[str]:
    """Return what is unusual about a row that can be used, each remark as a heading that counts rows."""
    texts = [leaf for leaf, _ in _leaves(row) if isinstance(leaf, str)]
    found = {character for text in texts for character in _CONTROL.findall(text)}
    unusual = {
        "rows with the character \\u0000": "\0" in found,
        "rows with control characters": bool(found - {"\0"}),
        f"rows of more than {_LONG:,} characters": sum(map(len, texts)) > _LONG,
    }
    return [remark for remark, holds in unusual.items() if holds]


def _leaves(value: Any) -> Iterator[tuple[Any, int]]:
    """Yield keys and plain values with their depth; not recursive, since rows may be, and no deeper than is allowed."""
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, dict | list) and depth <= _DEEPEST:
            waiting += [(inner, depth + 1) for inner in item]
            waiting += [(inner, depth + 1) for inner in (item.values() if isinstance(item, dict) else ())]
        else:
            yield item, depth


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
