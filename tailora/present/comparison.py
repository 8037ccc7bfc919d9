"""The comparison of a finished evaluation → the sentences and cells that screen and report share."""

from collections.abc import Iterable, Iterator

from tailora.files import Row
from tailora.present.data import UNCHECKED, budget_losses
from tailora.present.format import (
    count_rows,
    format_change,
    format_difference,
    format_effect,
    format_interval,
    format_number,
    format_p,
    format_value,
    one_line,
    shorten_names,
)

CONFINED = {
    "jail": "in a jail of Landlock and seccomp",
    "bubblewrap": "in bubblewrap",
    "limits": "with limits on time and memory, not in a sandbox",
}
COMPARISON_HEADER = ("metric", "rows", "base", "tuned", "difference", "95% CI", "p", "verdict")
SCREEN_HEADER = ("metric", "rows", "base", "tuned", "difference", "95% CI", "verdict")
ROUGH = "* too few independent test rows: the confidence interval is approximate"

_MANY = 0.2  # share of answers that end too early, from which on the verdict says so
_MOST_CHANGES = 3
_NO_DIFFERENCE = "no detectable difference"
_BRIEF = ("bits per byte", "weighted F1", "NLL")  # what the screen shows beside the primary metric


def verdict_line(comparison: Row) -> str:
    """Return how tuned compares with base on the primary metric, and what contradicts it, as one sentence."""
    whole = primary_entry(comparison)
    return _sentence(whole) + _contradictions(comparison, whole)


def primary_entry(comparison: Row) -> Row:
    """Return the entry of the primary metric over all rows."""
    entry: Row = next(e for e in comparison["metrics"] if e["metric"] == comparison["primary"] and e["by"] == "all")
    return entry


def contradicted(comparison: Row) -> bool:
    """Say whether something that a reader must know contradicts the verdict."""
    return bool(_baselines(comparison, "worse") or _contradictions(comparison, primary_entry(comparison)))


def headline(comparison: Row) -> list[str]:
    """Return the verdict as a sentence; before it the baselines that beat it, after it the best beaten."""
    return [
        *map(_against_baseline, _by_accuracy(_baselines(comparison, "worse"))),
        verdict_line(comparison),
        *map(_against_baseline, _by_accuracy(_baselines(comparison, "better"))[:1]),
    ]


def sentences(comparison: Row) -> list[str]:
    """Return all that is said of a comparison: the verdict, then what to act on, then what helps to judge it."""
    return [*headline(comparison), *warnings(comparison), *notes(comparison)]


def warnings(comparison: Row) -> list[str]:
    """Return what a reader should act on or know before using the result, the most serious first."""
    lines = [*_idle(comparison), *_failing_references(comparison)]
    lines += [_against_baseline(entry) for entry in _baselines(comparison, _NO_DIFFERENCE)]
    clean = comparison["clean"]
    if clean["rows"] is None or clean["rows"] < clean["of"]:
        lines.append(_contamination(clean))
    forgetting = comparison.get("forgetting")
    if forgetting and any(entry.get("flagged") for entry in forgetting):
        lines.append(_forgetting(forgetting))
    if "rows" in comparison:
        lines += [f"test split: {line}" for line in budget_losses(comparison["rows"])]
    return lines


def notes(comparison: Row) -> list[str]:
    """Return what else helps to judge the verdict: parts, other baselines, answers, what was not computed."""
    whole = primary_entry(comparison)
    lines = [
        *([power] if (power := _power(whole)) else []),
        *(["the base model's head is untrained, so it scores at chance level"] if _is_untrained(comparison) else []),
        *map(_against_baseline, _by_accuracy(_baselines(comparison, "better"))[1:]),
        f"tuned against base, row by row: {whole['wins']:,} wins, {whole['losses']:,} losses, {whole['ties']:,} ties",
        _choice(comparison),
    ]
    if "pass@1" in comparison["absent"]:
        lines.append("no tests were run: neither similarity to a reference answer nor code that runs is correctness")
    for entry in comparison["metrics"]:
        if _is_part_of_primary(entry, comparison):
            lines.append("; ".join(filter(None, (_sentence(entry), _power(entry)))))
    lines += [_parts(column, part) for column, part in comparison["breakdown"].items()]
    if comparison["clean"]["rows"] == comparison["clean"]["of"]:
        lines.append(_contamination(comparison["clean"]))
    lines += _forgetting_note(comparison)
    lines += explanation_lines(comparison["explanations"])
    lines += _undecided(comparison)
    lines += absent_lines(comparison["absent"])
    skipped = comparison.get("rows", comparison).get("not_asked", 0)
    if skipped:
        lines.append(f"{skipped:,} test rows skipped (evaluate.rows)")
    return lines + _harness(comparison.get("harness"))


def _by_accuracy(baselines: list[Row]) -> list[Row]:
    """Return the baselines with the best first."""
    return sorted(baselines, key=lambda entry: -float(entry["accuracies"]["base"]))


def _baselines(comparison: Row, verdict: str) -> list[Row]:
    """Return the baselines to which the tuned model compares so."""
    return [entry for entry in comparison.get("baselines", []) if entry["accuracies"]["verdict"] == verdict]


def _is_untrained(comparison: Row) -> bool:
    return comparison.get("head") == "untrained"


def _is_part_of_primary(entry: Row, comparison: Row) -> bool:
    return bool(entry["metric"] == comparison["primary"] and entry["by"] != "all")


def _choice(comparison: Row) -> str:
    """Say why this metric is the primary one, and what kept earlier ones from it."""
    chosen = comparison["chosen"]
    reasons = [chosen["decides"] or "the first metric with a value"]
    reasons += [f"{name} not computed: {reason}" for name, reason in chosen["absent"].items()]
    if chosen["rows"] < chosen["of"]:
        reasons.append(f"only {chosen['rows']:,} of {chosen['of']:,} rows have a value")
    return f"primary metric: {comparison['primary']} ({'; '.join(reasons)})"


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


def _undecided(comparison: Row) -> list[str]:
    """Name the metrics whose interval excludes zero although their adjusted p decides nothing."""
    others = [entry for entry in comparison["metrics"] if entry["by"] == "all"][1:]
    names = [e["metric"] for e in others if e["verdict"] == _NO_DIFFERENCE and _excludes_zero(e)]
    if not names:
        return []
    return [f"{', '.join(names)}: the 95% CI excludes zero, but p adjusted for multiple comparisons (Holm) is ≥ 0.05"]


def _idle(comparison: Row) -> list[str]:
    entries = [entry for entry in comparison["metrics"] if entry["by"] == "all"]
    if len(entries) > 1 and not any(entry["wins"] or entry["losses"] for entry in entries):
        return ["base and tuned are equal on every row by every metric: does the adapter change anything?"]
    return []


def _failing_references(comparison: Row) -> list[str]:
    """Name the rows whose own reference answers fail their tests."""
    failing = comparison.get("unsolved")
    if not failing:
        return []
    return [
        f"the reference answers of {count_rows(len(failing))} fail their own tests, so no answer like them can pass: "
        f"{shorten_names(failing)}"
    ]


def _parts(column: str, part: Row) -> str:
    """Say on which values of a column tuned is better or worse; that most show nothing is to be expected."""
    by_verdict: dict[str, list[str]] = {"better": [], "worse": [], _NO_DIFFERENCE: []}
    for entry in part["entries"]:
        by_verdict[entry["verdict"]].append(entry["slice"])
    if by_verdict["better"] or by_verdict["worse"]:
        counts = [f"{verdict} on {shorten_names(names)}" for verdict, names in by_verdict.items() if names]
    else:
        counts = [f"no detectable difference on any of {len(part['entries']):,}"]
    others = part["others"]
    if others["groups"]:
        counts.append(f"{others['groups']:,} smaller ones ({count_rows(others['rows'])}) not compared")
    return f"by {column}: {'; '.join(counts)}"


def _contamination(clean: Row) -> str:
    if clean["rows"] is None:
        return UNCHECKED
    if clean["rows"] == clean["of"]:
        return f"no contamination: none of the {clean['of']:,} test rows shares a prompt or a long answer with train"
    if not clean["rows"]:
        return f"all {clean['of']:,} test rows are contaminated: each overlaps with train"
    return (
        f"{clean['of'] - clean['rows']:,} of {clean['of']:,} test rows overlap with train (contaminated); "
        f"the {clean['rows']:,} others are reported separately as clean"
    )


def _forgetting_note(comparison: Row) -> list[str]:
    """Return the line on forgetting, but where it is a warning."""
    measured = comparison.get("forgetting")
    if measured and not any(entry.get("flagged") for entry in measured):
        return [_forgetting(measured)]
    if not measured and comparison.get("task") != "classify" and "harness" not in comparison:
        return ["forgetting not measured (evaluate.general_passages = 0)"]
    return []


def _forgetting(entries: list[Row]) -> str:
    """Say what general text costs the tuned model compared with the base, over all and by kind."""
    total, *kinds = (entry for entry in entries if "forgotten" in entry)
    verdict = "no detectable forgetting"
    if total["flagged"]:
        verdict = "forgetting"
    elif total["verdict"] == "worse":
        verdict = "detectable forgetting below 2%"
    lost = [kind | {"metric": kind["slice"]} for kind in kinds if kind["flagged"]]
    if lost and not total["flagged"]:
        verdict += f" overall, but of {_changes(lost)}"
    parts = ", ".join(f"{entry['slice']} {entry['forgotten']:+.1%}" for entry in kinds)
    text = f"{verdict} on general text: bits per byte {format_change(total)}, {format_effect(total)}; {parts}"
    accuracy = next((entry for entry in entries if "forgotten" not in entry), None)
    return text if accuracy is None else f"{text}; token accuracy {format_change(accuracy)}"


def explanation_lines(entries: list[Row]) -> list[str]:
    """Return what the answers look like, before and after, as a line."""
    parts = [f"{entry['metric']} {format_change(entry)}" for entry in entries]
    return [f"answers: {', '.join(parts)}"] if parts else []


def absent_lines(absent: dict[str, str]) -> list[str]:
    """Return the metrics without a number, those of one reason in one line."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in absent.items():
        by_reason.setdefault(reason, []).append(name)
    return [f"not computed: {', '.join(names)} ({reason})" for reason, names in by_reason.items()]


def _against_baseline(baseline: Row) -> str:
    """Say how tuned compares with a baseline, by accuracy."""
    entry, name = baseline["accuracies"], baseline["title"]
    verdicts = {"better": f"tuned is better than {name}", "worse": f"tuned is worse than {name}"}
    verdict = verdicts.get(entry["verdict"], f"no detectable difference between tuned and {name}")
    return (
        f"{verdict}: accuracy {format_value(entry, entry['tuned'])} against {format_value(entry, entry['base'])}, "
        f"{format_effect(entry)}{_why_undecided(entry)}"
    )


def _sentence(entry: Row) -> str:
    verdicts = {"better": "tuned is better than base", "worse": "tuned is worse than base"}
    verdict = verdicts.get(entry["verdict"], "no detectable difference between tuned and base")
    where = "" if entry["by"] == "all" else f" on {entry['slice']} rows"
    return (
        f"{verdict}{where}: {entry['metric']} {format_change(entry)}, {format_effect(entry)}, n = {entry['n']:,}"
        f"{_why_undecided(entry)}"
    )


def _power(entry: Row) -> str:
    """Return what the rows of an entry could show, where that matters: the smallest effect, and what is approximate."""
    parts = []
    if entry["verdict"] == _NO_DIFFERENCE and entry["detectable"] is not None:
        least = f"{100 * entry['detectable']:.1f} points" if entry["share"] else format_number(entry["detectable"])
        parts.append(f"minimum detectable effect {least} at 80% power")
    return "; ".join([*parts, *([caution_text(entry)] if entry["caution"] else [])])


def _why_undecided(entry: Row) -> str:
    """Return why an interval without zero is no verdict."""
    if entry["verdict"] == _NO_DIFFERENCE and _excludes_zero(entry):
        return f"; the 95% CI excludes zero, but p = {entry['p_adjusted']:.3f}"
    return ""


def caution_text(entry: Row) -> str:
    """Say why the confidence interval of an entry deserves little trust; nothing where it does not."""
    rows, clusters = count_rows(entry["n"]).replace("row", "test row"), entry["clusters"]
    counted = rows if clusters == entry["n"] else f"{clusters} independent group{'s' * (clusters != 1)} in {rows}"
    return {
        "undefined": f"no CI: the metric has no value on {entry['undefined']:,} resamples of these rows",
        "one cluster": f"no CI: only {counted}",
        "too few": f"only {counted}: fewer than 6 cannot show a difference",
        "few": f"only {counted}: below 30 the CI is approximate",
        "unequal": f"effective sample size {entry['effective']}: {clusters} groups of unequal size; below 30 the CI is "
        "approximate",
        None: "",
    }[entry["caution"]]


def _contradictions(comparison: Row, whole: Row) -> str:
    """Return what contradicts the verdict: other metrics, and what the answers themselves show.

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
    for metric, problem in (("cut off", "are cut off at the token limit"), ("empty", "are empty")):
        entry = tuned.get(metric)
        if entry and entry["tuned"] >= _MANY:
            parts.append(f"{format_value(entry, entry['tuned'])} of the tuned answers {problem}")
    return f"; but {', and '.join(parts)}" if parts else ""


def _changes(entries: list[Row]) -> str:
    shown = [f"{entry['metric']} ({format_change(entry)})" for entry in entries[:_MOST_CHANGES]]
    more = [f"{len(entries) - _MOST_CHANGES} more"] if len(entries) > _MOST_CHANGES else []
    return ", ".join(shown + more)


def _excludes_zero(entry: Row) -> bool:
    return entry["low"] is not None and (entry["low"] > 0 or entry["high"] < 0)


def comparison_cells(entries: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a comparison table, in the order of COMPARISON_HEADER."""
    for entry in entries:
        name, base, tuned, difference, interval, verdict = _cells(entry)
        p_value = format_p(entry["p_adjusted"])
        yield name, f"{entry['slice']} {entry['n']:,}", base, tuned, difference, interval, p_value, verdict


def _cells(entry: Row) -> tuple[str, str, str, str, str, str]:
    base, tuned = (format_value(entry, entry[side]) for side in ("base", "tuned"))
    verdict = entry["verdict"] + (" *" if entry["caution"] else "")
    return entry["metric"], base, tuned, format_difference(entry), format_interval(entry), verdict


def screen_entries(comparison: Row, *, everything: bool) -> list[Row]:
    """Return the entries that the screen shows: the primary metric with its parts, then likelihood and forgetting.

    With `everything`, all other metrics over all rows stand in place of these two.
    """
    primary = comparison["primary"]
    entries = [entry for entry in comparison["metrics"] if entry["metric"] == primary]
    others = [entry for entry in comparison["metrics"] if entry["metric"] != primary and entry["by"] == "all"]
    entries += [entry for entry in others if everything or entry["metric"] in _BRIEF]
    return entries + (comparison.get("forgetting") or [])[:1]


def screen_cells(entries: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the screen's table, in the order of SCREEN_HEADER."""
    for entry in entries:
        name, *cells = _cells(entry)
        yield name if entry["by"] == "all" else f"  {one_line(entry['slice'])}", f"{entry['n']:,}", *cells


def prompt_lines(comparison: Row) -> list[str]:
    """Return what became of the user's own prompts, a line each; none where there are none."""
    own = comparison.get("prompts")
    if own is None:
        return []
    lines = [f"{own['asked']:,} prompts of your own answered by base and tuned: evaluate/prompts.jsonl"]
    if own["expected"]:
        lost = ", ".join(own["regressed"])
        lines.append(
            f"{own['expected']:,} of them have an expected answer; tuned fails where base was correct in "
            f"{len(own['regressed']):,}{': ' + lost if lost else ''}"
        )
    return lines
