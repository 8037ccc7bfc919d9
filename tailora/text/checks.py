"""One row: what makes it unusable, and what its owner should know. Knows neither files nor what the columns mean."""

import re
from collections.abc import Iterator
from typing import Any

_LONG, _DEEPEST = 1_000_000, 100
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def what_is_wrong(value: Any) -> str:
    """Say why `value` can be no row and what to do; an empty string when it can."""
    if not isinstance(value, dict):
        return f"a row must be an object with named columns, got {type(value).__name__}"
    for column, item in value.items():
        for leaf, depth in _leaves([column, item]):
            if depth > _DEEPEST:
                return f"column {column!r} is nested more than {_DEEPEST} deep; flatten it"
            if isinstance(leaf, bytes):
                return f"column {column!r} holds bytes, such as an image; leave it out, since only text can be used"
            if isinstance(leaf, str) and not _is_whole(leaf):
                return f"column {column!r} holds half a character (a lone surrogate, \\ud800 to \\udfff); remove it"
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
