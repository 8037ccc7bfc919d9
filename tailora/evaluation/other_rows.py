"""Rows and adapters from outside: a run's adapter on another file, or an adapter of anyone's on any rows.

Each such evaluation is a run of its own, with the stages prepare (rows, and what they share with the run's training
rows) and evaluate, so it is resumed, locked and refused like any other and mixes with none.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tailora import files
from tailora.data import near_duplicates as near
from tailora.data.code_benchmarks import as_programs
from tailora.data.examples import Kept, spell, to_examples
from tailora.data.labels import name_classes
from tailora.data.read import Source, locate_source, read_rows
from tailora.data.rows import content_key
from tailora.errors import DataError, RecipeError
from tailora.evaluation.answering import compare_variants, read_comparison
from tailora.files import Row, RowFile
from tailora.model import border
from tailora.provenance import require_same
from tailora.recipe import Data, Recipe, parse_recipe
from tailora.run import RUNS, Run, Stage
from tailora.tasks import read_labels
from tailora.tasks.harness import PREFIX, Harness, is_harness, open_harness

FOLDER = "evaluate-on"
_MOST_NAMED = 5
_COLUMNS = ("prompt", "input", "answer", "label")
_USED = (
    "name",
    "task",
    "evaluate",
    "model",
    "train.kernels",
    "train.micro_batch_tokens",
    "data.labels",
    *(f"data.{column}" for column in _COLUMNS),
)


def recipe_on(recipe: Recipe, source: str, name: str | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe by which the adapter of `recipe` meets the rows of `source`; named after that when not named.

    Columns are detected, but for those that `overrides` name ("data.prompt=question"): the others belong to the data
    that the adapter was trained on. So do its `evaluate.prompts`, unless `overrides` name them.

    Raises:
        RecipeError: when an override names a key that has no effect here.
    """
    asked = _asked(overrides)
    columns = {key: getattr(recipe.data, key) for key in (*_COLUMNS, "labels") if f"data.{key}" in asked}
    data = Data(source=files.checked_text(source), holdout="", **columns)
    own = recipe.evaluate.prompts if "evaluate.prompts" in asked else []
    evaluation = recipe.evaluate.model_copy(update={"prompts": own})
    return recipe.model_copy(update={"name": name or _name_of(source), "data": data, "evaluate": evaluation})


def _asked(overrides: Sequence[str]) -> set[str]:
    """Return the keys that `overrides` name; raise RecipeError for those that have no effect on an adapter."""
    asked = {override.partition("=")[0].strip() for override in overrides}
    idle = sorted(key for key in asked if key not in _USED and key.partition(".")[0] not in _USED)
    if idle:
        raise RecipeError(
            f"{', '.join(idle)}: no effect here, since nothing is trained and all rows are asked; "
            f"change keys of evaluate and model, and {', '.join(_USED[-5:])}."
        )
    return asked


def recipe_of_adapter(
    adapter: Path, base: str | None, source: str, name: str | None = None, overrides: Sequence[str] = ()
) -> Recipe:
    """Return the recipe by which any adapter is compared with its base, by default the one that its config names.

    Raises:
        RecipeError: when nothing names the base, or an override is wrong.
        ModelError: when the adapter cannot be read.
    """
    _asked(overrides)
    config = border.read_config(adapter)
    base = base or config.get("base_model_name_or_path")
    if not base:
        raise RecipeError(f"{adapter} does not say which base model it was trained on; name it with --base.")
    values = {
        "name": name or _name_of(str(adapter.resolve()), source),
        "task": "classify" if config.get("task_type") == "SEQ_CLS" else "generate",
        "data": {"source": source, "holdout": ""},
        "model": {"base": base},
    }
    return parse_recipe(values, "the command line", overrides)


def _name_of(*parts: str) -> str:
    stems = [
        "-".join(map(_stem, part.removeprefix(PREFIX).split(","))) if is_harness(part) else _stem(part)
        for part in parts
    ]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-on-".join(stems)).strip("-._")[:64] or "rows"


def _stem(name: str) -> str:
    return Path(name.partition("#")[0]).name.partition(".")[0]


def evaluate_on(owner: Run, recipe: Recipe, *, fresh: bool = False) -> tuple[Row, Run]:
    """Compare base and tuned of the run `owner` on the rows of `recipe`, which `recipe_on` makes.

    The results lie in `<run>/evaluate-on/<name>/`. Rows that share something with the run's training rows are marked,
    and every score is also given without them.

    Raises:
        RunError: when the run has no adapter yet, or the rows have changed since.
        DataError: when the rows cannot be read.
    """
    folder = owner.folder
    for stage in ("prepare", "train"):
        owner.require(stage)
    trained = RowFile.open(folder / "prepare" / "train.jsonl")
    labels = read_labels(recipe, folder)
    return _evaluate(recipe, folder / FOLDER, folder / "train" / "adapter", _Known(trained, labels), fresh)


def evaluate_adapter(recipe: Recipe, adapter: Path, root: Path = RUNS, *, fresh: bool = False) -> tuple[Row, Run]:
    """Compare the base of `recipe` with and without `adapter` on the rows of its data; nothing is trained.

    The results lie in `<runs>/<name>/`. What the adapter was trained on is not known, so leaks are not looked for.

    Raises:
        ModelError: when the adapter cannot be read or does not fit the base.
        DataError: when the rows cannot be read.
    """
    from tailora.model.locate import locate_base

    border.read_config(adapter)
    locate_base(recipe.model.base)
    labels = _labels_of(adapter, recipe) if recipe.task == "classify" else None
    return _evaluate(recipe, root, adapter, _Known(None, labels), fresh)


class _Known(NamedTuple):
    """What is known of an adapter: the rows it was trained on, and a classifier's labels as `read_labels` has them."""

    trained: RowFile | None
    labels: Row | None


def _labels_of(adapter: Path, recipe: Recipe) -> Row:
    """Return the labels of a classifier's adapter: as the user, the adapter or its base names them, else numbers.

    Raises:
        RecipeError: when there are more or fewer names than the head of the adapter tells apart.
    """
    from tailora.model.adapters import count_labels
    from tailora.model.load import load_config

    count = count_labels(adapter)
    names = recipe.data.labels or border.read_labels(adapter)
    if names is not None and len(names) != count:
        raise RecipeError(
            f"{adapter} tells {count} labels apart, and {len(names)} are named: {', '.join(names)}. List those of the "
            "adapter in its order with data.labels."
        )
    of_base = None if names else border.named_labels(load_config(recipe.model).to_dict().get("id2label"))
    if of_base is not None and len(of_base) == count:
        names = of_base
    return {"names": names or [str(number) for number in range(count)], "rows": {"train": {}}}


def _evaluate(recipe: Recipe, root: Path, adapter: Path, known: _Known, fresh: bool) -> tuple[Row, Run]:
    source = _open_source(recipe)
    run = Run.open(recipe, root, fresh=fresh)
    if fresh:
        run.forget("prepare")
    made_from = {"rows": source.sha256(), "adapter": files.hash_of_weights(adapter)}
    with run.lock():
        if not run.is_done("prepare"):
            with run.stage("prepare") as stage:
                read = _questions(source) if isinstance(source, Harness) else _rows(source, recipe.data, known.labels)
                _prepare({"path": str(source), "sha256": made_from["rows"]}, *read, known, stage)
                stage.facts["made_from"] = made_from
        made = run.facts("prepare").get("made_from", {})
        require_same(made, made_from, f"{run.folder}: prepare is done", "Add --fresh to begin anew.")
        if not run.is_done("evaluate"):
            harness = source if isinstance(source, Harness) else None
            compare_variants(run, adapter, leaks_known=known.trained is not None, harness=harness)
    return read_comparison(run), run


def _open_source(recipe: Recipe) -> Source | Harness:
    name = recipe.data.shown()
    if not is_harness(name):
        return locate_source(name, "the rows to evaluate on")
    if recipe.task == "classify":
        raise RecipeError(f"{name}: these tasks ask models that write; a classifier only labels.")
    return open_harness(name)


def _rows(source: Source, data: Data, labels: Row | None) -> tuple[list[Row], Kept]:
    kept = Kept()
    read = as_programs(read_rows(source, kept.notices), kept.notices)
    rows = list(to_examples(read, data, str(source), kept, labelled=labels is not None))
    if not rows:
        raise DataError(f"{source}: none of its {kept.read:,} rows can be used: {', '.join(kept.dropped.counts)}.")
    if labels is not None:
        names = _name_labels(rows, labels["names"], str(source))
        rows = [row | {"answer": names[row["answer"]]} for row in rows]
    return rows, kept


def _name_labels(rows: list[Row], names: list[str], source: str) -> dict[str, str]:
    """Return which of the adapter's labels each label of the rows is.

    Raises:
        DataError: when one of them is none of the adapter's.
    """
    seen = Counter(row["answer"] for row in rows)
    if names == [str(number) for number in range(len(names))] and not seen.keys() <= set(names):
        others = ", ".join(repr(label) for label in sorted(seen.keys() - set(names))[:_MOST_NAMED])
        raise DataError(
            f"{source}: the adapter does not name its {len(names)} labels, so it cannot be known which of them "
            f'{others} are. List the names in the order of the adapter: data.labels=\'["…", "…"]\'.'
        )
    return name_classes({source: seen}, names).written[source]


def _questions(harness: Harness) -> tuple[list[Row], Kept]:
    rows = harness.examples()
    if not rows:
        raise DataError(f"{harness}: these tasks have no rows.")
    return rows, Kept(read=len(rows))


def _prepare(source: Row, rows: list[Row], kept: Kept, known: _Known, stage: Stage) -> None:
    """Write the rows, and a card of what was kept, dropped, and shared with the training rows."""
    rows.sort(key=content_key)
    leaks = _mark(rows, known.trained, stage.folder / "rows.jsonl")
    files.write_jsonl(stage.folder / "test.jsonl", rows)
    if known.labels is not None:
        files.write_json(stage.folder / "labels.json", known.labels)
        files.write_jsonl(stage.folder / "train.jsonl", known.trained or [])  # what baselines learn from
    card = {
        "sources": [source],
        "columns": {spell(columns): count for columns, count in kept.columns.most_common()},
        "rows": {"read": kept.read, "kept": len(rows), "dropped": kept.dropped.total()},
        "dropped": kept.dropped.card(),
        "notices": kept.notices.card(),
        "rows_with_tests": sum("tests" in row for row in rows),
        "rows_with_unusable_tests": kept.unusable_tests,
        "leaks": leaks,
        "labels": known.labels and known.labels["names"],
    }
    files.write_json(stage.folder / "card.json", card)


def _mark(rows: list[Row], trained: RowFile | None, path: Path) -> dict[str, int] | None:
    """Give each row its cluster and what it shares with the training rows, in place; returns how many share what."""
    both: Sequence[Any] = rows
    if trained is not None:
        both = RowFile.write(path, _each(rows, trained))
    marks = near.mark(both)
    groups = near.near_groups(both, marks)
    for number, row in enumerate(rows):
        row["cluster"] = marks.keys[groups.group[number]]
    if trained is None:
        return None
    held_out, learned = range(len(rows)), range(len(rows), len(both))
    found = near.leaks(both, marks, groups, learned, held_out)
    for kind in near.KINDS[::-1]:
        for number in found[kind]:
            rows[number]["leaks"] = kind
    path.unlink()
    return {kind: len(numbers) for kind, numbers in found.items()}


def _each(rows: Sequence[Row], others: Sequence[Row]) -> Iterator[Row]:
    yield from rows
    yield from others
