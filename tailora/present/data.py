"""The data card and the token budget of a run → lines and tables."""

import re
from pathlib import Path

from tailora import files
from tailora.errors import some_of
from tailora.files import Row
from tailora.present.format import count_rows, shorten_names

_MOST_UNKNOWN = 0.01
_MOST_VALUES = 20


def card_lines(run: Path) -> list[str]:
    """Return what was kept and what was dropped, a line each."""
    card = files.read_json(run / "prepare" / "card.json")
    rows, splits = card["rows"], card["splits"]
    counts = (
        f"{rows['read']:,} rows read = {rows['kept']:,} kept + {rows['dropped']:,} dropped; "
        + ", ".join(f"{name} {count:,}" for name, count in splits.items())
        + _bracketed(card["slices"])
    )
    return [counts, f"columns: {_columns(card)}", *class_lines(card["classes"]), *warnings(card)]


def class_lines(classes: Row | None) -> list[str]:
    """Return which labels are which classes, a line for all and one for each file that writes them otherwise."""
    if classes is None:
        return []
    numbered = [f"{number} {name}" for number, name in enumerate(classes["names"])]
    return [f"labels: {some_of(numbered, _MOST_VALUES)}"] + [
        f"labels of {file}: {some_of([f'{written} is {name}' for written, name in known.items()], _MOST_VALUES)}"
        for file, known in classes["written"].items()
    ]


def warnings(card: Row) -> list[str]:
    """Return what the owner of the data should look at, a line each; under `data.strict` each is an error."""
    return [
        *(f"dropped {_found(entry)}: {reason}" for reason, entry in card["dropped"].items()),
        *(f"notice: {name}: {_found(note)}" for name, note in card["notices"].items()),
        *card["remarks"],
        *(f"look at {name}: {value}" for name, value in _audit_pairs(card["audit"]) if value != "none"),
    ]


def _columns(card: Row) -> str:
    found = card["columns"]
    others = ", ".join(f"{key} = {card[key]}" for key in ("group", "unseen") if card[key])
    parts = [mapping if len(found) == 1 else f"{mapping} ({rows:,} rows)" for mapping, rows in found.items()]
    return "; ".join(parts) + (f", {others}" if others else "")


def _bracketed(slices: dict[str, int]) -> str:
    return f" ({', '.join(f'{count:,} {name}' for name, count in slices.items())})" if slices else ""


def _audit_pairs(audit: Row) -> list[tuple[str, str]]:
    """Return the findings of the audit as pairs of a name and a text with count and first places."""
    pairs = [
        ("repeats but for case and spaces", _found(audit["repeats"], "kept in one split")),
        ("near questions", _found(audit["near_questions"], "kept in one split")),
        ("conflicting answers", _found(audit["conflicts"], "answered otherwise before")),
    ]
    pairs += [(kind, _found(found)) for kind, found in audit["findings"].items()]
    pairs += [
        (f"{leak['split']}, {leak['kind']} as in train", _found(leak, f"of {leak['of']:,}"))
        for leak in audit["leakage"]
        if leak["rows"]
    ]
    return pairs


def _found(found: Row, about: str = "") -> str:
    if not found["rows"]:
        return "none"
    more = " …" if found["rows"] > len(found["places"]) else ""
    places = ", ".join(re.sub(r"[^\s~]*/", "", place) for place in found["places"])  # the folder stands under "source"
    return f"{count_rows(found['rows'])}{' ' + about if about else ''} ({places}{more})"


def card_table(run: Path) -> list[tuple[str, str]]:
    """Return the data card as pairs of a name and a text."""
    card = files.read_json(run / "prepare" / "card.json")
    spread = {
        f"{what} (characters)": ", ".join(f"{share} {length:,}" for share, length in quantiles.items())
        for what, quantiles in card["characters"].items()
    }
    pairs = {
        **{
            f"source{_of_what(entry)}": f"{entry['path']} (sha256 {entry['sha256'][:12]}…)" for entry in card["sources"]
        },
        "columns": _columns(card),
        "rows read": f"{card['rows']['read']:,}",
        "rows kept": f"{card['rows']['kept']:,}",
        "rows dropped": f"{card['rows']['dropped']:,}",
        **{f"  {reason}": _found(entry) for reason, entry in card["dropped"].items()},
        **{f"{name} rows": f"{count:,}" for name, count in card["splits"].items()},
        **{f"  test, {name}": f"{count:,}" for name, count in card["slices"].items()},
        **_shares("domain", card["domains"]),
        **_shares("label", card["labels"]),
        **spread,
        **{name: _found(note) for name, note in card["notices"].items()},
        **{f"remark {number}": remark for number, remark in enumerate(card["remarks"], start=1)},
        **dict(_audit_pairs(card["audit"])),
        "writing": ", ".join(f"{script} {count:,}" for script, count in card["audit"]["scripts"].items()),
        "rows with tests": f"{card['rows_with_tests']:,}",
    }
    if not card["classes"]:
        pairs["code"] = (
            f"{card['audit']['code']['fenced']:,} answers hold a fence; {card['audit']['code']['parse_unfenced']:,} "
            f"parse as Python without it, {card['audit']['code']['parse_as_they_are']:,} as they are"
        )
    if card["earlier_assistant_turns"]:
        pairs["earlier answers"] = f"{card['earlier_assistant_turns']:,} in conversations"
    return list(pairs.items())


def _of_what(source: Row) -> str:
    named = source["domain"] or ("" if source["split"] == "train" else source["split"])
    return f", {named}" if named else ""


def _shares(what: str, counts: dict[str, dict[str, int]]) -> dict[str, str]:
    """Return a line for each split with the rows of each value, where there are any."""
    return {
        f"{what}s, {split}": some_of([f"{value} {rows:,}" for value, rows in seen.items()], _MOST_VALUES)
        for split, seen in counts.items()
        if seen
    }


def budget_lines(budgets: dict[str, Row], remarks: list[str], task: str = "generate") -> list[str]:
    """Return what the model will read and learn of each split, and what is cut off or left out, a line each."""
    learned = budgets["train"]
    read = f"{learned['rows']:,} rows with {learned['tokens']:,} tokens an epoch"
    parts = (
        f"{learned['targets']:,} of them learned (answers and end tokens), "
        f"{learned['tokens'] - learned['targets']:,} read only"
    )
    longest = f"the longest row has {learned['longest']:,}, max_length is {learned['max_length']:,}"
    lines = [
        f"{read}, {parts}; {longest}" if task == "generate" else f"{read}, from which labels are learned; {longest}"
    ]
    for name, budget in budgets.items():
        lines += [f"{name} split: {line}" for line in budget_losses(budget)]
    return lines + remarks


def budget_losses(budget: Row) -> list[str]:
    lines = []
    if budget["shortened"]:
        lines.append(
            f"{count_rows(budget['shortened'])} fit with a shorter context: {budget['cut']:,} tokens of it were cut off"
        )
    if budget["too_long"]:
        lines.append(f"{count_rows(budget['too_long'])} too long and left out; no answer is ever cut")
    if budget.get("altered"):
        lines.append(
            f"{count_rows(len(budget['altered']))} have an answer that the tokenizer cannot write as it is, so it is "
            f"never given exactly: {shorten_names(budget['altered'])}"
        )
    if budget.get("rewritten"):
        lines.append(
            f"in {count_rows(len(budget['rewritten']))} the chat template leaves out or changes what a turn says, be "
            f"it a space at its end: {shorten_names(budget['rewritten'])}"
        )
    if budget["suggested"]:
        lines.append(
            f"99 % of the rows would fit whole with model.max_length = {budget['suggested']}, if the model reads so far"
        )
    if budget["unknown"] > _MOST_UNKNOWN * budget["tokens"]:
        lines.append(
            f"{budget['unknown'] / budget['tokens']:.1%} of the tokens are unknown to the tokenizer: the model cannot "
            "read this text; choose a base model for its language"
        )
    return lines


def other_rows_lines(run: Path) -> list[str]:
    """Return what was read and left out, what the rows share with training, and where the results lie, a line each."""
    card = files.read_json(run / "prepare" / "card.json")
    rows = card["rows"]
    read = f"{rows['read']:,} rows read = {rows['kept']:,} kept + {rows['dropped']:,} dropped"
    tests = f", {card['rows_with_tests']:,} of them with tests"
    lines = [f"{read}{tests}; columns: {'; '.join(card['columns'])}" if card["columns"] else read]
    lines += [f"dropped {entry['rows']:,}: {reason}" for reason, entry in card["dropped"].items()]
    lines += [f"notice: {name}: {entry['rows']:,} rows" for name, entry in card["notices"].items()]
    if card["rows_with_unusable_tests"]:
        lines.append(f"rows with tests that cannot be used: {card['rows_with_unusable_tests']:,}")
    if card["labels"]:
        lines.append(f"labels in the order of the adapter: {', '.join(card['labels'])}")
    return [*lines, _line_about_leaks(card["leaks"])]


def _line_about_leaks(leaks: dict[str, int] | None) -> str:
    if leaks is None:
        return "the rows that the adapter was trained on are not known, so whether it has seen these is not checked"
    found = ", ".join(f"{kind} {count:,}" for kind, count in leaks.items() if count)
    return f"shared with the training rows: {found or 'nothing'}"
