"""What a reader must know of the data: counts, drops with reasons and places, lengths, topics, findings."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from tailora.data import near_duplicates as near
from tailora.data.audit import Content, card_of, label_findings
from tailora.data.examples import Kept, spell
from tailora.data.findings import Finding
from tailora.data.labels import Classes
from tailora.data.sources import Sources
from tailora.data.split import Division
from tailora.files import RowFile

_FEW = 100


@dataclass(frozen=True)
class Prepared:
    """The rows on disk, and what is known of them: numbers of rows, never rows."""

    rows: RowFile
    own: dict[str, range]
    kept: Kept
    marks: near.Marks
    near: near.Near
    division: Division
    leaks: dict[str, dict[str, set[int]]]
    content: Content
    code: Counter[str]
    classes: Classes | None
    """The classes behind the labels, where texts are to be classified."""


def make_card(prepared: Prepared, sources: Sources, counts: dict[str, dict[str, Counter[str]]]) -> dict[str, Any]:
    """Return what a reader must know of the data: counts, drops with reasons and places, lengths, topics, findings."""
    kept, rows, division = prepared.kept, prepared.rows, prepared.division
    numbers = division.numbers()
    labels = {name: dict(seen["label"].most_common()) for name, seen in counts.items() if seen["label"]}
    seen = card_of(prepared.content)
    return {
        "sources": [
            {"path": str(source), "sha256": source.sha256(), "domain": domain, "split": split}
            for split, listed in sources.items()
            for domain, source in listed
        ],
        "columns": {spell(columns): count for columns, count in kept.columns.most_common()},
        "group": kept.group,
        "holdout": kept.holdout,
        "rows": {"read": kept.read, "kept": len(rows), "dropped": kept.dropped.total()},
        "dropped": kept.dropped.card(),
        "notices": kept.notices.card(),
        "remarks": [
            finding._asdict()
            for finding in (*_of_all_rows(prepared), *label_findings(labels), *_unused(prepared.classes, labels))
        ],
        "splits": {name: len(part) for name, part in numbers.items()},
        "slices": dict(Counter(division.slices.values())),
        "clusters": {name: len({division.clusters[i] for i in part}) for name, part in numbers.items()},
        "topics": {name: dict(seen["topic"].most_common()) for name, seen in counts.items()},
        "domains": {name: dict(seen["domain"].most_common()) for name, seen in counts.items()},
        "labels": labels,
        "classes": _classes_card(prepared.classes),
        "characters": seen["characters"],
        "audit": _audit(prepared)
        | {"findings": seen["findings"], "scripts": seen["scripts"], "code": dict(prepared.code)},
        "rows_with_tests": seen["rows_with_tests"],
        "rows_with_unusable_tests": kept.unusable_tests,
        "earlier_assistant_turns": seen["earlier_assistant_turns"],
    }


def _classes_card(classes: Classes | None) -> dict[str, Any] | None:
    """Return the names of the classes in order, and how each file that does not write these names writes them."""
    if classes is None:
        return None
    translated = {file: known for file, known in classes.written.items() if any(k != v for k, v in known.items())}
    return {"names": classes.names, "written": translated}


def _unused(classes: Classes | None, labels: dict[str, dict[str, int]]) -> list[Finding]:
    unused = [name for name in classes.names if name not in labels["train"]] if classes else []
    return [Finding("label without rows", values={"label": name}) for name in unused]


def _of_all_rows(prepared: Prepared) -> list[Finding]:
    """Return what is wrong with the rows as a whole."""
    used, test = len(prepared.rows), prepared.division.test
    found = [Finding("few rows", used, values={"few": _FEW})] if used < _FEW else []
    leaking = set().union(*prepared.leaks["test"].values())
    if len(leaking) == len(test):
        known = "train or val" if "test" in prepared.own else "train"
        found.append(Finding("all contaminated", len(test), values={"known": known}))
    if prepared.kept.unusable_tests:
        found.append(Finding("unusable tests", prepared.kept.unusable_tests))
    return found


def _audit(prepared: Prepared) -> dict[str, Any]:
    """Return what rows share: repeats but for case, near questions, conflicts, leakage between the splits."""
    rows, marks, groups = prepared.rows, prepared.marks, prepared.near
    repeats, conflicts = near.repeats_and_conflicts(marks)
    given = {i for numbers in prepared.own.values() for i in numbers}  # what these share with others is leakage
    pairs = [pair for pair in groups.pairs if not given & set(pair)]
    rest = [group for i, group in enumerate(groups.group) if i not in given]
    leakage = [
        entry
        for name, found in prepared.leaks.items()
        for entry in near.leakage_table(found, name, len(prepared.division.numbers()[name]), rows)
    ]
    return {
        "repeats": _found(rows, [i for i in repeats if i not in given]),
        "near_questions": {
            "rows": len(rest) - len(set(rest)),
            "places": [f"{rows[i]['where']} ~ {rows[j]['where']}" for i, j in pairs[:3]],
        },
        "conflicts": _found(rows, conflicts),
        "leakage": leakage,
    }


def _found(rows: RowFile, numbers: list[int]) -> dict[str, Any]:
    return {"rows": len(numbers), "places": [row["where"] for row in rows.pick(numbers[:3])]}
