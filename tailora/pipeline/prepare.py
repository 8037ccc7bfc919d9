"""Source rows → leak-free splits and a data card."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tailora import files
from tailora.data import near_duplicates as near
from tailora.data.audit import Content
from tailora.data.card import Prepared, make_card
from tailora.data.examples import Kept
from tailora.data.findings import findings
from tailora.data.labels import Classes
from tailora.data.sources import locate_sources, read_examples
from tailora.data.split import Division, Splits, divide, weighted
from tailora.errors import DataError, some_of
from tailora.files import Row, RowFile
from tailora.measure import metrics
from tailora.present.data import finding_text
from tailora.provenance import require_same
from tailora.recipe import Data
from tailora.run import Run, tell


def prepare(run: Run) -> Splits:
    """Read, clean and split the data of `run` into `<run>/prepare/`; returns at once when that is done.

    Rows stay on disk: memory holds a few hundred bytes of each.

    Raises:
        DataError: for a source that cannot be read, columns that cannot be found, or too few rows.
        RunError: when the source has changed since the splits were made.
    """
    if run.is_done("prepare"):
        return _load_splits(run)
    recipe, sources = run.recipe, locate_sources(run.recipe.data)
    for split, listed in sources.items():
        if split != "train" and not isinstance(getattr(recipe.data, split), str):
            names = ", ".join(name for _, source in listed for name in source.parts())
            tell("prepare", f"taken as the {split} split by its name: {names} (data.{split} = a share splits anew)")
    with run.stage("prepare") as stage:
        prepared = _divided(*read_examples(sources, recipe, stage.folder / "rows.jsonl"), recipe.data)
        counts = _write_splits(prepared, stage.folder)
        if prepared.classes:
            rows_of_labels = {name: dict(seen["label"]) for name, seen in counts.items()}
            files.write_json(stage.folder / "labels.json", {"names": prepared.classes.names, "rows": rows_of_labels})
        card = make_card(prepared, sources, counts)
        files.write_json(stage.folder / "card.json", card)
        if recipe.data.strict and (found := findings(card)):
            raise DataError([f"data.strict: {finding_text(finding)}" for finding in found])
        prepared.rows.path.unlink()
    return _splits(run)


def _divided(rows: RowFile, own: dict[str, range], kept: Kept, classes: Classes | None, data: Data) -> Prepared:
    """Compare the rows, deal them into splits, and look for what the splits share all the same."""
    settings = data.model_copy(update={"group": kept.group, "holdout": kept.holdout})
    columns = [kept.group, kept.holdout, "domain", "answer" if classes else None]
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


def _load_splits(run: Run) -> Splits:
    """Return the splits of a finished stage; sources that are still here must be those that they were made from."""
    read = {
        entry["path"]: entry["sha256"] for entry in files.read_json(run.folder / "prepare" / "card.json")["sources"]
    }
    try:
        sources = locate_sources(run.recipe.data)
    except DataError:  # gone, or the run was copied without them: it holds all that is needed
        return _splits(run)
    here = [source for listed in sources.values() for _, source in listed if not source.hub]
    require_same(
        read,
        {str(source): source.sha256() for source in here},
        f"{run.folder}: prepare is done",
        "Choose another name, or add --fresh.",
    )
    return _splits(run)


def _splits(run: Run) -> Splits:
    folder = run.folder / "prepare"
    return Splits(*(RowFile.open(folder / f"{name}.jsonl") for name in Splits._fields))


def _count_code(answer: str, code: Counter[str]) -> None:
    fenced = metrics.has_fence(answer)
    as_it_is = metrics.parses(answer)
    code["fenced"] += fenced
    code["parse_as_they_are"] += as_it_is
    code["parse_unfenced"] += metrics.parses(metrics.extract_code(answer)) if fenced else as_it_is
