"""The data card and the token budget of a run → lines and tables."""

import re
from pathlib import Path

from tailora import files
from tailora.errors import some_of
from tailora.files import Row
from tailora.present.format import count_rows, shorten_names

BEYOND = "beyond data.limit"
"""A reason for dropping rows that the user has asked for."""
_MOST_UNKNOWN = 0.01
_MOST_VALUES = 20
_SHARED = {
    "same pair": "prompt and answer",
    "same question": "the prompt",
    "near question": "a near-duplicate prompt",
    "13 words": "a 13-gram",
    "same answer": "a long answer",
}


def card_lines(run: Path) -> list[str]:
    """Return what was kept and what was dropped, a line each."""
    card = files.read_json(run / "prepare" / "card.json")
    rows = card["rows"]
    splits = ", ".join(f"{name} {count:,}" for name, count in card["splits"].items())
    counts = f"{rows['read']:,} rows read: {rows['kept']:,} kept, {rows['dropped']:,} dropped; {splits}"
    return [counts + _bracketed(card["slices"]), f"columns: {_columns(card)}", *class_lines(card["classes"])]


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
    audit = {name: text for name, entry, text in _audit(card["audit"]) if entry["rows"]}
    return [
        *(f"dropped, {reason}: {_found(entry)}" for reason, entry in card["dropped"].items() if reason != BEYOND),
        *(f"{name}: {_found(note)}" for name, note in card["notices"].items()),
        *card["remarks"],
        *(f"{name}: {text}" for name, text in audit.items()),
    ]


def _columns(card: Row) -> str:
    found = card["columns"]
    others = ", ".join(f"{key} = {card[key]}" for key in ("group", "holdout") if card[key])
    parts = [mapping if len(found) == 1 else f"{mapping} ({rows:,} rows)" for mapping, rows in found.items()]
    return "; ".join(parts) + (f", {others}" if others else "")


def _bracketed(slices: dict[str, int]) -> str:
    return f" ({', '.join(f'{count:,} {name}' for name, count in slices.items())})" if slices else ""


def _audit(audit: Row) -> list[tuple[str, Row, str]]:
    """Return the findings of the audit: a name, what was found, and that as text with count and first places."""
    together = "kept in the same split"
    found = [
        ("duplicate prompts but for case and spaces", audit["repeats"], together),
        ("near-duplicate prompts", audit["near_questions"], together),
        ("conflicting answers to one prompt", audit["conflicts"], ""),
        *((kind, entry, "") for kind, entry in audit["findings"].items()),
    ]
    for leak in audit["leakage"]:
        if leak["rows"]:
            shared = _SHARED.get(leak["kind"], leak["kind"])
            found.append((f"{leak['split']} rows that share {shared} with train", leak, f"of {leak['of']:,}"))
    return [(name, entry, _found(entry, about)) for name, entry, about in found]


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
        **{name: text for name, _, text in _audit(card["audit"])},
        "scripts": ", ".join(f"{script} {count:,}" for script, count in card["audit"]["scripts"].items()),
        "rows with tests": f"{card['rows_with_tests']:,}",
    }
    if not card["classes"]:
        pairs["code"] = (
            f"{card['audit']['code']['fenced']:,} answers contain a code fence; "
            f"{card['audit']['code']['parse_unfenced']:,} parse as Python without it, "
            f"{card['audit']['code']['parse_as_they_are']:,} as they are"
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


def budget_line(budget: Row, task: str) -> str:
    """Return how many tokens a model reads of the training split in an epoch, and on how many it has a loss."""
    read = f"{budget['rows']:,} rows, {budget['tokens']:,} tokens per epoch"
    learned = f"; loss on {budget['targets']:,} (answers + EOS), {budget['tokens'] - budget['targets']:,} masked"
    longest = f"; longest example: {budget['longest']:,} tokens (max_length {budget['max_length']:,})"
    return read + (learned if task == "generate" else "") + longest


def budget_warnings(budgets: dict[str, Row]) -> list[str]:
    """Return what is cut off or left out of each split, a line each."""
    return [f"{name} split: {line}" for name, budget in budgets.items() for line in budget_losses(budget)]


def budget_losses(budget: Row) -> list[str]:
    """Return what is cut off or left out of a split because of its length or its tokens, a line each."""
    lines = []
    if budget["shortened"]:
        lines.append(f"context truncated in {count_rows(budget['shortened'])}: {budget['cut']:,} tokens cut off")
    if budget["too_long"]:
        lines.append(f"{count_rows(budget['too_long'])} left out, too long for model.max_length; answers are never cut")
    if budget.get("altered"):
        lines.append(
            f"the tokenizer cannot reproduce the answers of {count_rows(len(budget['altered']))} exactly: "
            f"{shorten_names(budget['altered'])}"
        )
    if budget["suggested"]:
        lines.append(f"99% of the rows would fit with model.max_length = {budget['suggested']}, if the model allows it")
    if budget["unknown"] > _MOST_UNKNOWN * budget["tokens"]:
        lines.append(
            f"{budget['unknown'] / budget['tokens']:.1%} of the tokens are unknown to the tokenizer: the model cannot "
            "read this text; choose a base model for its language"
        )
    return lines


def other_rows_lines(run: Path) -> list[str]:
    """Return what was read and left out of other rows, and what they share with training, a line each."""
    card = files.read_json(run / "prepare" / "card.json")
    rows = card["rows"]
    read = f"{rows['read']:,} rows read: {rows['kept']:,} kept, {rows['dropped']:,} dropped"
    tests = f"; {card['rows_with_tests']:,} with tests"
    lines = [f"{read}{tests}; columns: {'; '.join(card['columns'])}" if card["columns"] else read]
    lines += [f"{entry['rows']:,} dropped: {reason}" for reason, entry in card["dropped"].items()]
    lines += [f"{name}: {count_rows(entry['rows'])}" for name, entry in card["notices"].items()]
    if card["rows_with_unusable_tests"]:
        lines.append(f"rows with tests that cannot be used: {card['rows_with_unusable_tests']:,}")
    if card["labels"]:
        lines.append(f"labels, in the adapter's order: {', '.join(card['labels'])}")
    return [*lines, _contamination(card["leaks"])]


def _contamination(leaks: dict[str, int] | None) -> str:
    if leaks is None:
        return "contamination not checked: the rows that the adapter was trained on are unknown"
    shared = ", ".join(f"{_SHARED.get(kind, kind)} {count:,}" for kind, count in leaks.items() if count)
    return f"contamination (rows that share something with the training rows): {shared or 'none'}"
