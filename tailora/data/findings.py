"""What the owner of the data should look at, as facts; `data.strict` refuses data of which there are any."""

from typing import Any, NamedTuple

from tailora.data.sources import BEYOND
from tailora.files import Row


class Finding(NamedTuple):
    """Something to look at: its kind, how many rows have it and the first places, and what else belongs to the kind."""

    kind: str
    rows: int = 0
    places: list[str] = []  # noqa: RUF012  (a tuple's default, which nothing changes)
    values: dict[str, Any] = {}  # noqa: RUF012


def findings(card: Row) -> list[Finding]:
    """Return everything in a data card that its owner should look at; rows beyond `data.limit` are no finding."""
    audit = card["audit"]
    listed = [
        *(("dropped", entry, {"reason": reason}) for reason, entry in card["dropped"].items() if reason != BEYOND),
        *(("notice", entry, {"notice": name}) for name, entry in card["notices"].items()),
        *((kind, audit[kind], {}) for kind in ("repeats", "near_questions", "conflicts")),
        *(("content", entry, {"content": name}) for name, entry in audit["findings"].items()),
        *(("leakage", leak, {key: leak[key] for key in ("split", "kind", "of")}) for leak in audit["leakage"]),
    ]
    seen = [Finding(kind, entry["rows"], entry["places"], values) for kind, entry, values in listed if entry["rows"]]
    return [Finding(**entry) for entry in card["remarks"]] + seen
