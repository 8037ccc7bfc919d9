"""The data card and the token budget of a run → lines and tables."""

import re
from pathlib import Path

from tailora import files
from tailora.data.findings import Finding, findings
from tailora.errors import some_of
from tailora.files import Row
from tailora.present.format import count_rows, format_share, shorten_names

UNCHECKED = "contamination not checked: the rows that the adapter was trained on are unknown"

_MOST_UNKNOWN = 0.01
_MOST_VALUES = 20
_SHARED = {
    "same pair": "prompt and answer",
    "same question": "the prompt",
    "near question": "a near-duplicate prompt",
    "13 words": "a 13-gram",
    "same answer": "a long answer",
}


def read_card(run: Path) -> Row:
    """Return the data card of the run in this folder."""
    return files.read_json(run / "prepare" / "card.json")


def card_lines(card: Row) -> list[str]:
    """Return what was kept and what was dropped, a line each."""
    splits = ", ".join(f"{name} {count:,}" for name, count in card["splits"].items())
    counts = f"{_rows_read(card)}; {splits}{_bracketed(card['slices'])}"
    return [counts, f"columns: {_columns(card)}", *class_lines(card["classes"])]


def _rows_read(card: Row) -> str:
    rows = card["rows"]
    return f"{rows['read']:,} rows read: {rows['kept']:,} kept, {rows['dropped']:,} dropped"


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
    return [finding_text(finding) for finding in findings(card)]


def finding_text(finding: Finding) -> str:
    """Return a finding as a sentence, with its rows and first places where it has them."""
    name, about = _name(finding)
    return f"{name}: {_places(finding.rows, finding.places, about)}" if finding.places else name


def _name(finding: Finding) -> tuple[str, str]:
    """Return what a finding is, and what is said of its rows."""
    values = finding.values
    known = {
        "repeats": ("duplicate prompts but for case and spaces", "kept in the same split"),
        "near_questions": ("near-duplicate prompts", "kept in the same split"),
        "conflicts": ("conflicting answers to one prompt", ""),
    }
    match finding.kind:
        case "dropped":
            return f"dropped, {values['reason']}", ""
        case "notice":
            return values["notice"], ""
        case "content":
            return values["content"], ""
        case "leakage":
            shared = _SHARED.get(values["kind"], values["kind"])
            return f"{values['split']} rows that share {shared} with train", f"of {values['of']:,}"
    return known[finding.kind] if finding.kind in known else (_sentence(finding), "")


def _sentence(finding: Finding) -> str:
    """Return a finding on the rows as a whole."""
    values, rows = finding.values, f"{finding.rows:,}"
    match finding.kind:
        case "few rows":
            return f"only {rows} rows: with fewer than {values['few']} only large differences can be detected"
        case "all contaminated":
            return f"all {rows} test rows overlap with {values['known']}: no clean test row is left"
        case "unusable tests":
            form = '{"input": "<expression>", "expected": <value>}'
            return f"{rows} rows have tests that cannot be used; a test is {form}"
    return _label_sentence(finding)


def _label_sentence(finding: Finding) -> str:
    """Return a finding on the labels."""
    values = finding.values
    match finding.kind:
        case "label without rows":
            return f"no row has the label {values['label']!r} of data.labels, so it cannot be learned"
        case "label spellings":
            spelled = [" and ".join(f"{label!r} ({n:,})" for label, n in same.items()) for same in values["spellings"]]
            return f"labels that differ only in case or spaces: {some_of(spelled, 3)}; write them alike"
        case "labels with one row":
            return f"only one row each for the labels {_labels(values)}: no split can both learn and test them"
        case "one label":
            return f"there is only one label, {values['label']!r}: nothing can be learned from it"
        case "common label":
            share, label = format_share(values["share"]), values["label"]
            return f"{share} of the rows have the label {label!r}: always predicting it is hard to beat"
        case "labels counted otherwise":
            return (
                f"labels count from {values['train']} in train and from {values['other']} in {values['split']}, so one "
                "number means two classes: write them alike"
            )
        case "labels not in train":
            return f"labels in {values['split']} that train does not have: {_labels(values)}"
    raise AssertionError(finding.kind)


def _labels(values: Row) -> str:
    return some_of([repr(label) for label in values["labels"]], 3)


def _places(rows: int, places: list[str], about: str = "") -> str:
    more = " …" if rows > len(places) else ""
    shown = ", ".join(re.sub(r"[^\s~]*/", "", place) for place in places)  # the folder stands under "source"
    return f"{count_rows(rows)}{' ' + about if about else ''} ({shown}{more})"


def _finding_pairs(card: Row) -> dict[str, str]:
    """Return the findings but for dropped rows, each with its rows and places; those on all rows are numbered."""
    pairs: dict[str, str] = {}
    for number, finding in enumerate(findings(card), start=1):
        name, about = _name(finding)
        if finding.kind == "dropped":
            continue
        if finding.places:
            pairs[name] = _places(finding.rows, finding.places, about)
        else:
            pairs[f"warning {number}"] = name
    return pairs


def _columns(card: Row) -> str:
    found = card["columns"]
    others = ", ".join(f"{key} = {card[key]}" for key in ("group", "holdout") if card[key])
    parts = [mapping if len(found) == 1 else f"{mapping} ({rows:,} rows)" for mapping, rows in found.items()]
    return "; ".join(parts) + (f", {others}" if others else "")


def _bracketed(slices: dict[str, int]) -> str:
    return f" ({', '.join(f'{count:,} {name}' for name, count in slices.items())})" if slices else ""


def card_table(card: Row) -> list[tuple[str, str]]:
    """Return the data card as pairs of a name and a text."""
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
        **{f"  {reason}": _places(entry["rows"], entry["places"]) for reason, entry in card["dropped"].items()},
        **{f"{name} rows": f"{count:,}" for name, count in card["splits"].items()},
        **{f"  test, {name}": f"{count:,}" for name, count in card["slices"].items()},
        **_shares("domain", card["domains"]),
        **_shares("label", card["labels"]),
        **spread,
        **_finding_pairs(card),
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
    if budget.get("rewritten"):
        lines.append(
            f"the chat template drops or changes text of {count_rows(len(budget['rewritten']))}, if only a trailing "
            f"space: {shorten_names(budget['rewritten'])}"
        )
    if budget["suggested"]:
        lines.append(f"99% of the rows would fit with model.max_length = {budget['suggested']}, if the model allows it")
    if budget["unknown"] > _MOST_UNKNOWN * budget["tokens"]:
        lines.append(
            f"{budget['unknown'] / budget['tokens']:.1%} of the tokens are unknown to the tokenizer: the model cannot "
            "read this text; choose a base model for its language"
        )
    return lines


def other_rows_lines(card: Row) -> list[str]:
    """Return what was read and left out of other rows, and what they share with training, a line each."""
    read = _rows_read(card)
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
        return UNCHECKED
    shared = ", ".join(f"{_SHARED.get(kind, kind)} {count:,}" for kind, count in leaks.items() if count)
    return f"contamination (rows that share something with the training rows): {shared or 'none'}"
