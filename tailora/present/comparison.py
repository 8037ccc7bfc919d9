"""The comparison of a finished evaluation → the sentences and cells that screen and report share."""

from collections.abc import Iterable, Iterator

from tailora.files import Row
from tailora.present.data import budget_losses
from tailora.present.format import (
    count_rows,
    digits,
    ends,
    format_interval,
    format_p,
    format_value,
    one_line,
    shorten_names,
    signed,
)

CONFINED = {
    "jail": "in a jail of Landlock and seccomp",
    "bubblewrap": "in bubblewrap",
    "limits": "with limits on time and memory, not in a sandbox",
}
_MANY = 0.2  # share of answers that end too early, from which on the verdict says so
_NO_DIFFERENCE = "no detectable difference"
COMPARISON_HEADER = ("metric", "rows", "base", "tuned", "difference", "95 % interval", "p", "verdict")
SHORT_HEADER = ("metric", "rows", "base", "tuned", "difference (95 % interval)", "verdict")


def headline(comparison: Row) -> list[str]:
    """Return the verdict on the primary metric as sentences, then what else a reader must know to judge it."""
    deciding = [entry for entry in comparison["metrics"] if entry["metric"] == comparison["primary"]]
    whole, parts = deciding[0], deciding[1:]
    losing = [entry for entry in comparison.get("baselines", []) if entry["accuracies"]["verdict"] == "worse"]
    losing.sort(key=lambda entry: -float(entry["accuracies"]["base"]))
    lines = [
        *map(_beside, losing),
        verdict_line(comparison),
        f"row by row: better on {whole['wins']:,}, worse on {whole['losses']:,}, equal on {whole['ties']:,}",
        f"judged by {comparison['primary']}: {comparison['chosen']}",
    ]
    if "pass@1" in comparison["absent"]:
        lines.append("no tests were run: neither similarity to a reference answer nor code that runs is correctness")
    if comparison.get("head") == "untrained":
        lines.append("the base has a head that nobody trained: it stands for chance")
    lines += [_beside(entry) for entry in comparison.get("baselines", []) if entry not in losing]
    lines += [_sentence(entry) for entry in parts]
    lines += [line for column, part in comparison["breakdown"].items() for line in _parts(column, part)]
    lines.append(_clean(comparison["clean"]))
    if comparison.get("forgetting"):
        lines.append(_forgetting(comparison["forgetting"]))
    elif comparison.get("task") != "classify" and "harness" not in comparison:
        lines.append("forgetting was not measured (evaluate.general_passages = 0)")
    lines += explanation_lines(comparison["explanations"])
    lines += _cautions(comparison)
    lines += _unsolved(comparison)
    lines += absent_lines(comparison["absent"])
    if "rows" in comparison:
        lines += [f"test split: {line}" for line in budget_losses(comparison["rows"])]
    not_asked = comparison.get("rows", comparison).get("not_asked", 0)
    if not_asked:
        lines.append(f"{not_asked:,} test rows were not asked (evaluate.rows)")
    return lines + _harness(comparison.get("harness"))


def _harness(asked: Row | None) -> list[str]:
    """Say who asked, where lm-evaluation-harness did, and how many requests were too long."""
    if asked is None:
        return []
    lines = [f"questions, prompts and metrics are those of lm-evaluation-harness {asked['version']}"]
    if asked["cut"]:
        lines.append(
            f"{asked['cut']:,} of {asked['requests']:,} requests are longer than model.max_length and lost their "
            "beginning"
        )
    return lines


def _cautions(comparison: Row) -> list[str]:
    """Return what could be misread in the table: intervals that the verdict does not follow, and an idle adapter."""
    entries = [entry for entry in comparison["metrics"] if entry["by"] == "all"]
    undecided = [
        entry["metric"]
        for entry in entries[1:]
        if entry["verdict"] == "no detectable difference" and _leaves_out_zero(entry)
    ]
    lines = []
    if undecided:
        lines.append(
            f"of {', '.join(undecided)} the interval leaves out zero, but of so many metrics some do so by chance: "
            "p, adjusted for that, is 0.05 or more"
        )
    if len(entries) > 1 and not any(entry["wins"] or entry["losses"] for entry in entries):
        lines.append("base and tuned are alike on every row by every metric: does the adapter change anything?")
    return lines


def _unsolved(comparison: Row) -> list[str]:
    """Name the rows whose own reference answers fail their tests."""
    found = comparison.get("unsolved")
    if not found:
        return []
    return [
        f"the reference answers of {count_rows(len(found))} fail the tests of their own row: {shorten_names(found)}; "
        "look at these rows, since what resembles the reference cannot pass there"
    ]


def _parts(column: str, part: Row) -> list[str]:
    """Say on which values of a column tuned is better or worse; that most show nothing is to be expected."""
    by_verdict: dict[str, list[str]] = {"better": [], "worse": [], "no detectable difference": []}
    for entry in part["entries"]:
        by_verdict[entry["verdict"]].append(entry["slice"])
    counts = [f"{verdict} on {shorten_names(names)}" for verdict, names in by_verdict.items() if names]
    if len(counts) == 1 and not by_verdict["better"] and not by_verdict["worse"]:
        counts = [f"no detectable difference on any of {len(part['entries']):,}"]
    if part["others"]["groups"]:
        counts.append(
            f"{part['others']['groups']:,} smaller ones ({count_rows(part['others']['rows'])}) were not compared"
        )
    return [f"by {column}: {'; '.join(counts)}"]


def _clean(clean: Row) -> str:
    if clean["rows"] is None:
        return "what the adapter was trained on is not known, so no row was looked for there"
    if clean["rows"] == clean["of"]:
        return f"all {clean['of']:,} rows are clean: none shares a question or a telling answer with train"
    if not clean["rows"]:
        return f"none of the {clean['of']:,} rows is clean: each shares something with train"
    return (
        f"{clean['rows']:,} of {clean['of']:,} rows are clean and compared apart; the others share something with train"
    )


def _forgetting(entries: list[Row]) -> str:
    """Say what general text costs the tuned model beside the base, over all and by kind."""
    total, *kinds = (entry for entry in entries if "forgotten" in entry)
    verdict = "forgotten" if total["flagged"] else "not detectably forgotten"
    if total["verdict"] == "worse" and not total["flagged"]:
        verdict = "detectably forgotten, but by less than 2 %"
    lost = [kind["slice"] for kind in kinds if kind["flagged"]]
    if lost and not total["flagged"]:
        verdict += f" on the whole; forgotten: {_changes([_named(kind) for kind in kinds if kind['flagged']])}"
    parts = ", ".join(f"{entry['slice']} {entry['forgotten']:+.1%}" for entry in kinds).replace("%", " %")
    text = (
        f"general text is {verdict}: bits per byte {format_value(total, total['base'])} → "
        f"{format_value(total, total['tuned'])}, difference {format_interval(total)}; {parts}"
    )
    right = next((entry for entry in entries if "forgotten" not in entry), None)
    if right is None:
        return text
    return f"{text}; right tokens {format_value(right, right['base'])} → {format_value(right, right['tuned'])}"


def _named(kind: Row) -> Row:
    """Return the entry of a slice under the name of the slice."""
    return kind | {"metric": kind["slice"]}


def explanation_lines(entries: list[Row]) -> list[str]:
    """Return what the answers look like, before and after, as a line."""
    told = [
        f"{entry['metric']} {format_value(entry, entry['base'])} → {format_value(entry, entry['tuned'])}"
        for entry in entries
    ]
    return [f"answers: {', '.join(told)}"] if told else []


def absent_lines(absent: dict[str, str]) -> list[str]:
    """Return the metrics without a number, those of one reason in one line."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in absent.items():
        by_reason.setdefault(reason, []).append(name)
    return [
        f"{', '.join(names)} {'are' if len(names) > 1 else 'is'} absent: {reason}"
        for reason, names in by_reason.items()
    ]


def _beside(baseline: Row) -> str:
    """Say how tuned stands to a baseline, by accuracy."""
    entry, name = baseline["accuracies"], baseline["title"]
    verdict = {"better": f"better than {name}", "worse": f"worse than {name}"}.get(
        entry["verdict"], f"not detectably different from {name}"
    )
    reason = ""
    if entry["verdict"] == _NO_DIFFERENCE and _leaves_out_zero(entry):
        reason = f"; the interval leaves out zero, but p = {entry['p_adjusted']:.3f}"
    return (
        f"tuned is {verdict}: accuracy {format_value(entry, entry['base'])} there, "
        f"{format_value(entry, entry['tuned'])} here, difference {format_interval(entry)}{reason}"
    )


def _sentence(entry: Row) -> str:
    where = "" if entry["by"] == "all" else f" on {entry['slice']} rows"
    verdict = {"better": "tuned is better than base", "worse": "tuned is worse than base"}.get(
        entry["verdict"], "no detectable difference between tuned and base"
    )
    text = (
        f"{verdict}{where}: {entry['metric']} {format_value(entry, entry['base'])} → "
        f"{format_value(entry, entry['tuned'])}, difference {format_interval(entry)}, n = {entry['n']:,}"
    )
    if entry["verdict"] == "no detectable difference" and _leaves_out_zero(entry):
        text += f"; the interval leaves out zero, but p = {entry['p_adjusted']:.3f}"
    if entry["verdict"] == "no detectable difference" and entry["detectable"] is not None:
        seen = f"{100 * entry['detectable']:.1f} points" if entry["share"] else digits(entry["detectable"])
        text += f"; this test set sees differences above about {seen}"
    return f"{text} ({entry['warning']})" if entry["warning"] else text


def verdict_line(comparison: Row) -> str:
    """Return how tuned stands to base by the primary metric, and what speaks against it, as one sentence."""
    whole = _decider(comparison)
    return _sentence(whole) + _besides(comparison, whole)


def _decider(comparison: Row) -> Row:
    """Return the entry of the primary metric over all rows."""
    entry: Row = next(e for e in comparison["metrics"] if e["metric"] == comparison["primary"] and e["by"] == "all")
    return entry


def contradicted(comparison: Row) -> bool:
    """Say whether something that a reader must know speaks against the verdict."""
    whole = _decider(comparison)
    loses = any(entry["accuracies"]["verdict"] == "worse" for entry in comparison.get("baselines", []))
    return loses or bool(_besides(comparison, whole))


def _besides(comparison: Row, whole: Row) -> str:
    """Return what stands beside the verdict: metrics that contradict it, and what the answers themselves show.

    A verdict by likelihood is about the reference; whether better answers are written is said with it.
    """
    others = [entry for entry in comparison["metrics"] if entry["by"] == "all" and entry is not whole]
    parts = []
    for verdict in ("better", "worse"):
        against = [entry for entry in others if entry["verdict"] == verdict != whole["verdict"]]
        if against:
            parts.append(f"{verdict} by {_changes(against)}")
    written = [entry for entry in others if entry.get("written")]
    decided = whole["verdict"] != _NO_DIFFERENCE
    if written and decided and not whole.get("written") and all(e["verdict"] == _NO_DIFFERENCE for e in written):
        parts.append("no score of the written answers differs detectably")
    tuned = {entry["metric"]: entry for entry in comparison["explanations"]}
    for metric, said in (("cut off", "are cut off at the token limit"), ("empty", "are empty")):
        entry = tuned.get(metric)
        if entry and entry["tuned"] >= _MANY:
            parts.append(f"{format_value(entry, entry['tuned'])} of the tuned answers {said}")
    return f"; but {', and '.join(parts)}" if parts else ""


def _changes(entries: list[Row]) -> str:
    return ", ".join(
        f"{entry['metric']} ({format_value(entry, entry['base'])} → {format_value(entry, entry['tuned'])})"
        for entry in entries
    )


def _leaves_out_zero(entry: Row) -> bool:
    return entry["low"] is not None and (entry["low"] > 0 or entry["high"] < 0)


def comparison_cells(entries: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a comparison table, in the order of COMPARISON_HEADER."""
    for entry in entries:
        yield (
            entry["metric"],
            f"{entry['slice']} {entry['n']:,}",
            format_value(entry, entry["base"]),
            format_value(entry, entry["tuned"]),
            signed(entry, entry["difference"]),
            ends(entry),
            format_p(entry["p_adjusted"]),
            entry["verdict"] + (" *" if entry["warning"] else ""),
        )


def short_cells(comparison: Row) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the screen's table, in the order of SHORT_HEADER: the primary metric with its slices first."""
    entries, primary = comparison["metrics"], comparison["primary"]
    yield from (_short(entry) for entry in entries if entry["metric"] == primary)
    others = [entry for entry in entries if entry["metric"] != primary and entry["by"] == "all"]
    if others:
        yield ("",) * len(SHORT_HEADER)
    yield from map(_short, others)


def _short(entry: Row) -> tuple[str, ...]:
    return (
        entry["metric"] if entry["by"] == "all" else f"  {one_line(entry['slice'])}",
        f"{entry['n']:,}",
        format_value(entry, entry["base"]),
        format_value(entry, entry["tuned"]),
        f"{signed(entry, entry['difference'])} ({ends(entry)})",
        entry["verdict"] + (" *" if entry["warning"] else ""),
    )


def prompt_lines(comparison: Row) -> list[str]:
    """Return what became of the user's own prompts, a line each; none where there are none."""
    own = comparison.get("prompts")
    if own is None:
        return []
    lines = [f"{own['asked']:,} prompts of your own were answered by base and tuned: evaluate/prompts.jsonl"]
    if own["expected"]:
        lost = ", ".join(own["regressed"])
        lines.append(
            f"of {own['expected']:,} of them something is expected; tuned fails where base was right in "
            f"{len(own['regressed']):,}{': ' + lost if lost else ''}"
        )
    return lines
