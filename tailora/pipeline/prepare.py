"""Source rows → leak-free splits and a data card."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tailora import files
from tailora.errors import DataError, RunError, some_of
from tailora.files import Row, RowFile, fingerprint
from tailora.measure import metrics
from tailora.present.data import budget_lines, warnings
from tailora.recipe import Data, Recipe
from tailora.run import RUNS, Run, day_of, tell
from tailora.text import near
from tailora.text.audit import Content, card_of, label_problems
from tailora.text.budget import fit_rows
from tailora.text.examples import REPEAT, Kept, spell, to_examples
from tailora.text.labels import UNLABELLED, Classes, name_classes
from tailora.text.prompts import Prompts
from tailora.text.read import Source, locate_source, read_rows, splits_of
from tailora.text.split import Division, Splits, divide, weighted
from tailora.text.texts import Texts

_MOST_LOST = 0.05
_FEW = 100
_BEYOND = "beyond data.limit"

Sources = dict[str, list[tuple[str | None, Source]]]
"""The sources of the rows to be split ("train") and of splits with files of their own, each with its domain."""


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


def prepare(recipe: Recipe, root: Path = RUNS) -> Splits:
    """Read, clean and split the data of `recipe` into `<run>/prepare/`; returns at once when that is done.

    Rows stay on disk: memory holds a few hundred bytes of each.

    Raises:
        DataError: for a source that cannot be read, columns that cannot be found, or too few rows.
        RunError: when the source has changed since the splits were made.
    """
    run = Run.open(recipe, root, stages=("prepare",))
    sources = locate_sources(recipe.data)
    if run.is_done("prepare"):
        return _load_splits(run, sources)
    for split, listed in sources.items():
        if split != "train" and not isinstance(getattr(recipe.data, split), str):
            names = ", ".join(name for _, source in listed for name in source.parts())
            tell("prepare", f"taken as the {split} split by its name: {names} (data.{split} = a share splits anew)")
    with run.stage("prepare") as stage:
        prepared = _divided(*_read(sources, recipe, stage.folder / "rows.jsonl"), recipe.data)
        counts = _write_splits(prepared, stage.folder)
        if prepared.classes:
            rows_of_labels = {name: dict(seen["label"]) for name, seen in counts.items()}
            files.write_json(stage.folder / "labels.json", {"names": prepared.classes.names, "rows": rows_of_labels})
        card = make_card(prepared, sources, counts)
        files.write_json(stage.folder / "card.json", card)
        if recipe.data.strict and (found := warnings(card)):
            raise DataError([f"data.strict: {warning}" for warning in found])
        prepared.rows.path.unlink()
    return _load_splits(run, sources)


def locate_sources(data: Data) -> Sources:
    """Return the sources of a recipe; raise DataError for every one that is not there."""
    named = {"train": data.sources()} | {
        key: [(None, name)] for key, name in {"val": data.val, "test": data.test}.items() if isinstance(name, str)
    }
    sources: Sources = {}
    problems: list[str] = []
    for split, names in named.items():
        for domain, name in names:
            try:
                source = locate_source(name, "data.source" if split == "train" else f"data.{split}")
                sources.setdefault(split, []).append((domain, source))
            except DataError as error:
                problems += error.problems
    if problems:
        raise DataError(problems)
    return _split_by_name(sources, data)


def _split_by_name(sources: Sources, data: Data) -> Sources:
    """Take files of one source that are named after splits as these, but for a split that the recipe chooses itself."""
    if len(sources["train"]) > 1:
        return sources
    ((domain, source),) = sources["train"]
    found = splits_of(source)
    chosen = {split for split in ("val", "test") if split in data.model_fields_set}
    if not found or chosen & found.keys():
        return sources
    return {split: [(domain if split == "train" else None, part)] for split, part in found.items()} | {
        split: listed for split, listed in sources.items() if split != "train"
    }


def _read(sources: Sources, recipe: Recipe, path: Path) -> tuple[RowFile, dict[str, range], Kept, Classes | None]:
    """Write the examples of all sources to `path`; returns them with the row numbers of splits with their own files."""
    kept, own, problems = Kept(), {}, []
    parts = []
    for split, listed in sources.items():
        try:
            parts.append(_read_split(listed, recipe, kept, path.with_suffix(f".{split}"), split == "train"))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    _refuse_losses(kept, ", ".join(str(source) for listed in sources.values() for _, source in listed))
    classes = name_classes(_labels_by_file(parts), recipe.data.labels) if recipe.task == "classify" else None
    start, named = 0, []
    for split, part in zip(sources, parts, strict=True):
        named.append(
            RowFile.write(path.with_suffix(f".{split}-named"), _named(part, classes, kept)) if classes else part
        )
        own[split] = range(start, start := start + len(named[-1]))
    rows = RowFile.write(path, (row for part in named for row in part))
    for part in {part.path: part for part in [*parts, *named]}.values():
        part.path.unlink()
    if classes:
        _refuse_losses(kept, ", ".join(str(source) for listed in sources.values() for _, source in listed))
    assert kept.read == len(rows) + kept.dropped.total()
    del own["train"]
    return rows, own, kept, classes


def _labels_by_file(parts: list[RowFile]) -> dict[str, Counter[str]]:
    seen: dict[str, Counter[str]] = {}
    for part in parts:
        for row in part:
            seen.setdefault(_file(row), Counter())[row["answer"]] += 1
    return seen


def _file(row: Row) -> str:
    return str(row["where"]).rpartition(":")[0]


def _named(rows: Iterable[Row], classes: Classes, kept: Kept) -> Iterator[Row]:
    """Yield the rows with the names of their classes as answers; another spelling is noticed, no label is dropped."""
    for row in rows:
        name = classes.written[_file(row)].get(row["answer"])
        if name is None:
            kept.dropped.add(f"marked as unlabelled ({UNLABELLED}; a class where data.labels names it)", row["where"])
            continue
        if name != row["answer"] and name.lower() == row["answer"].lower():
            kept.notices.add("labels that data.labels spells otherwise, read as it does", row["where"])
        yield row | {"answer": name}


def _read_split(
    listed: list[tuple[str | None, Source]], recipe: Recipe, kept: Kept, path: Path, limited: bool
) -> RowFile:
    """Write the examples of some sources, from which repeats are dropped, and of which `data.limit` may choose."""
    kept.seen.clear()
    kept.ids.clear()
    rows, data = RowFile.write(path, _all_examples(listed, recipe, kept)), recipe.data
    if not limited or data.limit is None or len(rows) <= data.limit:
        return rows
    ranked = sorted((fingerprint("limit", near.content_key(row)), i) for i, row in enumerate(rows))
    for _, i in ranked[data.limit :]:
        kept.dropped.add(_BEYOND, rows[i]["where"])
    chosen = RowFile.write(path.with_suffix(".limited"), rows.pick(sorted(i for _, i in ranked[: data.limit])))
    path.unlink()
    return chosen


def _all_examples(listed: list[tuple[str | None, Source]], recipe: Recipe, kept: Kept) -> Iterator[Row]:
    problems: list[str] = []
    labelled = recipe.task == "classify"
    for domain, source in listed:
        try:
            rows = read_rows(source, kept.notices)
            yield from to_examples(rows, recipe.data, str(source), kept, domain, labelled)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)


def _refuse_losses(kept: Kept, source: str) -> None:
    """Raise DataError when more than 5 % of the rows are unusable; repeats and `data.limit` lose nothing."""
    lost = {reason: count for reason, count in kept.dropped.counts.items() if reason not in (REPEAT, _BEYOND)}
    if sum(lost.values()) > _MOST_LOST * kept.read:
        places = kept.dropped.places
        raise DataError(
            f"{source}: {sum(lost.values()):,} of {kept.read:,} rows cannot be used, more than {_MOST_LOST:.0%}: "
            + "; ".join(f"{count:,} {reason} ({', '.join(places[reason])} …)" for reason, count in lost.items())
            + ". Repair the file, or name other columns with data.prompt, data.input and data.answer."
        )


def _divided(rows: RowFile, own: dict[str, range], kept: Kept, classes: Classes | None, data: Data) -> Prepared:
    """Compare the rows, deal them into splits, and look for what the splits share all the same."""
    settings = data.model_copy(update={"group": kept.group, "unseen": kept.unseen})
    columns = [kept.group, kept.unseen, "domain", "answer" if classes else None]
    marks = near.mark(rows, [name for name in columns if name])
    labels = marks.values["answer"] if classes else None
    if labels is not None:  # a label says nothing about which rows belong together, however long it is
        marks = replace(marks, telling=marks.telling & False)
    groups = near.near_groups(rows, marks)
    division = divide(marks, groups, settings, own, labels)
    if labels is not None:
        _refuse_unlearned(labels, division, rows)
    if data.weights:
        domains = marks.values["domain"]
        division = division._replace(train=weighted(division.train, domains, data.weights, marks.keys))
    leaks = _leaks(rows, marks, groups, division, "test" in own)
    content, code = Content(), Counter({"fenced": 0, "parse_as_they_are": 0, "parse_unfenced": 0})
    for row in rows:
        content.look_at(row)
        if classes is None:
            _count_code(row["answer"], code)
    return Prepared(rows, own, kept, marks, groups, division, leaks, content, code, classes)


def _refuse_unlearned(labels: Sequence[str], division: Division, rows: RowFile) -> None:
    """Raise DataError when a label stands in validation or test and in no training row."""
    learned = {labels[i] for i in division.train}
    problems = []
    for split in ("val", "test"):
        if strange := [i for i in division.numbers()[split] if labels[i] not in learned]:
            names = [repr(label) for label in dict.fromkeys(labels[i] for i in strange)]
            problems.append(
                f"no training row has the label{'s' * (len(names) > 1)} {some_of(names)}, which {len(strange):,} "
                f"{split} rows have ({rows[strange[0]]['where']} …): nothing can be learned of it. Leave these rows "
                "out, or add training rows."
            )
    if problems:
        raise DataError(problems)


def _leaks(
    rows: RowFile, marks: near.Marks, groups: near.Near, division: Division, own_test: bool
) -> dict[str, dict[str, set[int]]]:
    """Return what rows of val and test share with train; a test file of its own is compared with val too.

    Validation chooses the weights that are kept, so what stands there is no longer unseen.
    """
    train, val, test = sorted(set(division.train)), division.val, division.test
    if own_test:
        return {
            "val": near.leaks(rows, marks, groups, train, val),
            "test": near.leaks(rows, marks, groups, sorted({*train, *val}), test),
        }
    found = near.leaks(rows, marks, groups, train, [*val, *test])
    return {
        name: {kind: numbers & set(part) for kind, numbers in found.items()}
        for name, part in (("val", val), ("test", test))
    }


def _write_splits(prepared: Prepared, folder: Path) -> dict[str, dict[str, Counter[str]]]:
    """Write the splits, test rows with what they share with train; returns how often each topic and domain occurs."""
    counts = {
        name: {"topic": Counter[str](), "domain": Counter[str](), "label": Counter[str]()} for name in Splits._fields
    }
    for name, seen in counts.items():
        files.write_jsonl(folder / f"{name}.jsonl", _marked_rows(prepared, name, seen))
    return counts


def _marked_rows(prepared: Prepared, name: str, seen: dict[str, Counter[str]]) -> Iterator[Row]:
    leaks = {i: kind for kind in near.KINDS[::-1] for i in prepared.leaks["test"][kind]} if name == "test" else {}
    numbers, labels = prepared.division.numbers()[name], prepared.classes or prepared.content.labels()
    for i, row in zip(numbers, prepared.division.rows(name, prepared.rows), strict=True):
        for column in ("topic", "domain"):
            if column in row:
                seen[column][str(row[column])] += 1
        if labels:
            seen["label"][row["answer"]] += 1
        yield row | {"leaks": leaks[i]} if i in leaks else row


def _load_splits(run: Run, sources: Sources) -> Splits:
    folder = run.folder / "prepare"
    read = {entry["path"]: entry["sha256"] for entry in files.read_json(folder / "card.json")["sources"]}
    for source in (source for listed in sources.values() for _, source in listed):
        if read.get(str(source)) != source.sha256():
            raise RunError(
                f"{run.folder}: {source} has changed since prepare was done. Choose another name, or add --fresh."
            )
    return Splits(*(RowFile.open(folder / f"{name}.jsonl") for name in Splits._fields))


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
        "unseen": kept.unseen,
        "rows": {"read": kept.read, "kept": len(rows), "dropped": kept.dropped.total()},
        "dropped": kept.dropped.card(),
        "notices": kept.notices.card(),
        "remarks": [*_remarks(prepared), *label_problems(labels), *_unused(prepared.classes, labels)],
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


def _unused(classes: Classes | None, labels: dict[str, dict[str, int]]) -> list[str]:
    unused = [name for name in classes.names if name not in labels["train"]] if classes else []
    return [f"no row has the label {name!r} of data.labels, so it can never be learned" for name in unused]


def _remarks(prepared: Prepared) -> list[str]:
    test, used = prepared.division.test, len(prepared.rows)
    remarks = []
    if used < _FEW:
        remarks.append(f"{used:,} rows are few: with under {_FEW} rows only large differences can be seen")
    leaking = set().union(*prepared.leaks["test"].values())
    if len(leaking) == len(test):
        known = "train or val" if "test" in prepared.own else "train"
        remarks.append(f"all {len(test):,} test rows share something with {known}: no clean row is left to judge by")
    if prepared.kept.unusable_tests:
        remarks.append(
            f"{prepared.kept.unusable_tests:,} rows bring tests that are not used: a test is "
            '{"input": "<expression>", "expected": <value>}'
        )
    return remarks


def _count_code(answer: str, code: Counter[str]) -> None:
    fenced = metrics.has_fence(answer)
    as_it_is = metrics.parses(answer)
    code["fenced"] += fenced
    code["parse_as_they_are"] += as_it_is
    code["parse_unfenced"] += metrics.parses(metrics.extract_code(answer)) if fenced else as_it_is


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


def count_tokens(recipe: Recipe, root: Path = RUNS) -> list[str]:
    """Return what the base model would read and learn of the splits, as lines, without loading its weights."""
    from tailora.model.load import load_config, load_tokenizer, longest_input

    splits = prepare(recipe, root)
    tokenizer = load_tokenizer(recipe.model)
    longest = longest_input(load_config(recipe.model), recipe.model)
    if recipe.task == "classify":
        texts = _texts(recipe, root, tokenizer)
        fitting = {name: texts.fit(rows, longest, name) for name, rows in splits._asdict().items()}
        remarks = texts.remarks()
    else:
        prompts = Prompts(tokenizer, day_of(root / recipe.name))
        fitting = {name: fit_rows(rows, prompts, longest, name) for name, rows in splits._asdict().items()}
        remarks = prompts.remarks()
    budgets = {name: asdict(part.budget) for name, part in fitting.items()}
    return budget_lines(budgets, remarks, recipe.task)


def _texts(recipe: Recipe, root: Path, tokenizer: Any) -> Texts:
    return Texts(tokenizer, files.read_json(root / recipe.name / "prepare" / "labels.json")["names"])


def seen_by_model(recipe: Recipe, number: int, root: Path = RUNS) -> tuple[list[tuple[str, bool]], str]:
    """Return training row `number` as pieces of text, each with whether it is learned, and a line of counts.

    Raises:
        DataError: when there is no such row.
    """
    from tailora.model.load import load_tokenizer

    rows = prepare(recipe, root).train
    if number >= len(rows):
        raise DataError(f"there is no training row {number}; the last one is {len(rows) - 1}.")
    row, tokenizer = rows[number], load_tokenizer(recipe.model)
    if recipe.task == "classify":
        tokens = _texts(recipe, root, tokenizer).encode(row).tokens
        pieces, learned = [(tokenizer.decode(tokens), False), (f" → {row['answer']}", True)], "none of them learned"
    else:
        tokens, pieces, learned = _pieces(row, Prompts(tokenizer, day_of(root / recipe.name)))
    return pieces, f"{row['id']} ({row['where']}): {len(tokens):,} tokens, {learned}"


def _pieces(row: Row, prompts: Prompts) -> tuple[list[int], list[tuple[str, bool]], str]:
    sample, tokenizer = prompts.encode(row["prompt"], row["answer"]), prompts.tokenizer
    pieces, place = [], 0
    for start, stop in sample.learned:
        pieces += [
            (tokenizer.decode(sample.tokens[place:start]), False),
            (tokenizer.decode(sample.tokens[start:stop]), True),
        ]
        place = stop
    answers = f"{len(sample.learned)} answer{'s' * (len(sample.learned) > 1)}"
    return sample.tokens, pieces, f"{sample.targets:,} of them learned in {answers} (end tokens included)"
