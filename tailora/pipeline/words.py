"""Numbers of a finished run → the sentences and cells that screen and report share. Reads run files only."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tailora import files
from tailora.errors import some_of
from tailora.files import Row
from tailora.model.forecast import gib, time_text
from tailora.recipe import Recipe, method_title

if TYPE_CHECKING:
    from tailora.model.inventory import Listed
    from tailora.pipeline.plan import Plan

CONFINED = {
    "jail": "in a jail of Landlock and seccomp",
    "bubblewrap": "in bubblewrap",
    "limits": "with limits on time and memory, not in a sandbox",
}
_MOST_UNKNOWN = 0.01
_MANY = 0.2  # share of answers that end too early, from which on the verdict says so
_NO_DIFFERENCE = "no detectable difference"
_MOST_NAMES = 5
_MOST_VALUES = 20
_LONGEST_NAME = 40

COMPARISON_HEADER = ("metric", "rows", "base", "tuned", "difference", "95 % interval", "p", "verdict")
MODELS_HEADER = ("model.base", "parameters", "on disk", "licence", "here")
PLAN_HEADER = ("stage", "time", "memory", "what")
SHORT_HEADER = ("metric", "rows", "base", "tuned", "difference (95 % interval)", "verdict")


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
    return f"{_rows(found['rows'])}{' ' + about if about else ''} ({places}{more})"


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


def model_table(recipe: Recipe, trained: Row) -> list[tuple[str, str]]:
    """Return what the base is and what was trained on it, as pairs of a name and a text."""
    origin, weights = trained.get("origin") or {}, trained["weights"]
    is_full = recipe.lora.method == "full"
    base = weights["all"] - (0 if is_full else weights["trainable"])
    pairs = [("base", recipe.model.base), ("parameters", f"{base:,}")]
    if origin.get("dequantized_from"):
        made = f"dequantized from {origin['dequantized_from']} ({origin['file']}): quality lies between the two"
        pairs.append(("weights", made))
    if origin.get("licence"):
        pairs.append(("licence", origin["licence"]))
    if recipe.model.quantize:
        pairs.append(("held in", f"{recipe.model.quantize}, while training and while answering"))
    pairs.append(("method", method_title(recipe.lora)))
    pairs.append(("trained weights", f"{weights['trainable']:,} ({weights['trainable'] / weights['all']:.2%} of all)"))
    return pairs


def usage(recipe: Recipe) -> str:
    """Return the lines of Python that load what was trained, without tailora."""
    kind = "AutoModelForSequenceClassification" if recipe.task == "classify" else "AutoModelForCausalLM"
    folder = f"runs/{recipe.name}/train/adapter"
    if recipe.lora.method == "full":
        return f'from transformers import {kind}\n\nmodel = {kind}.from_pretrained("{folder}")'
    lines = [
        f"from transformers import {kind}, AutoTokenizer",
        "from peft import PeftModel",
        "",
        f'base = {kind}.from_pretrained("<folder or hub id of {recipe.model.base}>")  # `tailora models` lists folders',
        f'model = PeftModel.from_pretrained(base, "{folder}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{folder}")',
    ]
    if recipe.task == "classify":
        lines.insert(3, "# num_labels as in the adapter's README.md")
    return "\n".join(lines)


def training_lines(run: Path) -> list[str]:
    """Return what was trained and how it went, a line each."""
    facts = files.read_json(run / "train" / "stage.json")
    fitted, weights = facts["fitted"], facts["weights"]
    epochs = fitted["epochs"]
    kept = (
        f"epoch {fitted['best_epoch']} of {epochs}" if fitted["best_epoch"] else "before training: no epoch was better"
    )
    if epochs < facts["recipe"]["train.epochs"]:
        kept += f"; stopped early, {facts['recipe']['train.epochs']} epochs were allowed"
    lines = [
        f"{weights['trainable']:,} of {weights['all']:,} weights trained ({weights['trainable'] / weights['all']:.1%}) "
        f"in {fitted['steps']:,} steps and {fitted['seconds']:,.0f} s, "
        f"{fitted['tokens'] / fitted['seconds']:,.0f} tokens/s",
        f"validation loss {fitted['first_val_loss']:.3f} → {fitted['best_val_loss']:.3f} nats per "
        f"{'row' if facts['recipe']['task'] == 'classify' else 'token'} (kept: {kept})",
    ]
    planned = facts["plan"]
    lines.append(
        f"planned {time_text(planned['seconds'])} and {gib(planned['peak_bytes'])}, "
        f"used {time_text(fitted['seconds'])} and {gib(fitted['peak_bytes'])}"
    )
    if fitted["skipped"]:
        lines.append(f"{fitted['skipped']:,} steps were skipped: their loss or gradient was not finite")
    return lines


def plan_cells(plan: "Plan") -> list[tuple[str, str, str, str]]:
    """Return a line of cells for each stage of a plan, under `PLAN_HEADER`."""
    train, weights, rows = plan.train, plan.weights, plan.rows
    room = "" if train.limit_bytes is None else f" of {gib(train.limit_bytes)}"
    kept = ", ".join(f"{name} {count:,}" for name, count in rows.items())
    learning = (
        f"{weights['trainable']:,} of {weights['all']:,} weights ({weights['trainable'] / weights['all']:.2%}), "
        f"{train.tokens_an_epoch:,} tokens an epoch, {train.steps:,} steps, {train.tokens_per_second:,.0f} tokens/s, "
        f"validation {time_text(train.validation_seconds)}, trial {time_text(train.trial_seconds)}"
    )
    answering = "at most, and the programs of answers: base answers in full length, tuned as long as the references"
    return [
        ("prepare", "done", "", f"rows: {kept}"),
        ("train", _left(plan.train_seconds), f"{gib(train.peak_bytes)}{room}", learning),
        ("evaluate", _left(plan.evaluate_seconds), gib(plan.evaluate_bytes), answering),
        ("report", "not measured", "", "some seconds"),
    ]


def model_cells(model: "Listed") -> tuple[str, str, str, str, str]:
    """Return the cells of a base model under `MODELS_HEADER`."""
    parameters = "?" if model.parameters is None else f"{model.parameters / 1e6:,.1f} M"
    here = f"yes, {model.kind}"
    if model.download_bytes is not None:
        here = f"no, {model.download_bytes / 1e6:,.0f} MB to get"
    return model.name, parameters, f"{model.bytes / 1e6:,.0f} MB", model.licence, here


def _left(seconds: float) -> str:
    return f"about {time_text(seconds)}" if seconds else "done"


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
        lines += [f"{name} split: {line}" for line in _losses(budget)]
    return lines + remarks


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _losses(budget: Row) -> list[str]:
    lines = []
    if budget["shortened"]:
        lines.append(
            f"{_rows(budget['shortened'])} fit with a shorter context: {budget['cut']:,} tokens of it were cut off"
        )
    if budget["too_long"]:
        lines.append(f"{_rows(budget['too_long'])} too long and left out; no answer is ever cut")
    if budget.get("altered"):
        lines.append(
            f"{_rows(len(budget['altered']))} have an answer that the tokenizer cannot write as it is, so it is never "
            f"given exactly: {_some(budget['altered'])}"
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
        lines += [f"test split: {line}" for line in _losses(comparison["rows"])]
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
        f"the reference answers of {_rows(len(found))} fail the tests of their own row: {_some(found)}; look at these "
        "rows, since what resembles the reference cannot pass there"
    ]


def _parts(column: str, part: Row) -> list[str]:
    """Say on which values of a column tuned is better or worse; that most show nothing is to be expected."""
    by_verdict: dict[str, list[str]] = {"better": [], "worse": [], "no detectable difference": []}
    for entry in part["entries"]:
        by_verdict[entry["verdict"]].append(entry["slice"])
    counts = [f"{verdict} on {_some(names)}" for verdict, names in by_verdict.items() if names]
    if len(counts) == 1 and not by_verdict["better"] and not by_verdict["worse"]:
        counts = [f"no detectable difference on any of {len(part['entries']):,}"]
    if part["others"]["groups"]:
        counts.append(f"{part['others']['groups']:,} smaller ones ({_rows(part['others']['rows'])}) were not compared")
    return [f"by {column}: {'; '.join(counts)}"]


def _some(names: list[str]) -> str:
    shown = ", ".join(map(_one_line, names[:_MOST_NAMES]))
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES:,} more"


def _one_line(name: str) -> str:
    return " ".join(name.split())[:_LONGEST_NAME]


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
        seen = f"{100 * entry['detectable']:.1f} points" if entry["share"] else _digits(entry["detectable"])
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
    opposite = {"better": "worse", "worse": "better"}.get(whole["verdict"])
    against = [entry for entry in others if entry["verdict"] == opposite]
    parts = [f"{opposite} by {_changes(against)}"] if against else []
    written = [entry for entry in others if entry.get("written")]
    if written and opposite and not whole.get("written") and all(e["verdict"] == _NO_DIFFERENCE for e in written):
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
            _signed(entry, entry["difference"]),
            _ends(entry),
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
        entry["metric"] if entry["by"] == "all" else f"  {_one_line(entry['slice'])}",
        f"{entry['n']:,}",
        format_value(entry, entry["base"]),
        format_value(entry, entry["tuned"]),
        f"{_signed(entry, entry['difference'])} ({_ends(entry)})",
        entry["verdict"] + (" *" if entry["warning"] else ""),
    )


def format_value(entry: Row, value: float) -> str:
    """Return a value of the entry's metric: shares in per cent, others with digits that fit base and tuned alike."""
    if entry["share"]:
        return f"{value:.1%}".replace("%", " %")
    return _digits(value, max(abs(value), abs(entry["base"]), abs(entry["tuned"])))


def _digits(value: float, scale: float | None = None) -> str:
    return f"{value:.3f}" if abs(value if scale is None else scale) < 10 else f"{value:,.1f}"


def format_p(value: float) -> str:
    """Return a p-value with three digits, the smallest as what they are below."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def format_interval(entry: Row) -> str:
    """Return the difference with its interval, in points for shares."""
    points = " points" if entry["share"] else ""
    return f"{_signed(entry, entry['difference'])}{points} (95 % interval {_ends(entry)})"


def _ends(entry: Row) -> str:
    if entry["low"] is None:
        return "none"
    return f"{_signed(entry, entry['low'])} … {_signed(entry, entry['high'])}"


def _signed(entry: Row, value: float) -> str:
    if entry["share"]:
        return f"{100 * value:+.1f}"
    return f"{value:+.3f}" if abs(value) < 10 else f"{value:+,.1f}"


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
