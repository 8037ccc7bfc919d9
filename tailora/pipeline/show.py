"""What a base model would read and learn of prepared rows, before any training."""

from dataclasses import asdict
from typing import Any

from tailora import files
from tailora.errors import DataError
from tailora.files import Row
from tailora.pipeline.prepare import prepare
from tailora.present.data import budget_line, budget_warnings
from tailora.run import Run, day_of
from tailora.text.chat import Prompts
from tailora.text.label_texts import Texts
from tailora.text.length_budget import fit_rows


def count_tokens(run: Run) -> list[str]:
    """Return what the base model would read and learn of the splits, as lines, without loading its weights."""
    from tailora.model.load import load_config, load_tokenizer, longest_input

    recipe, splits = run.recipe, prepare(run)
    tokenizer = load_tokenizer(recipe.model)
    longest = longest_input(load_config(recipe.model), recipe.model)
    if recipe.task == "classify":
        texts = _texts(run, tokenizer)
        fitting = {name: texts.fit(rows, longest, name) for name, rows in splits._asdict().items()}
        remarks = texts.remarks()
    else:
        prompts = Prompts(tokenizer, day_of(run.folder))
        fitting = {name: fit_rows(rows, prompts, longest, name) for name, rows in splits._asdict().items()}
        remarks = prompts.remarks()
    budgets = {name: asdict(part.budget) for name, part in fitting.items()}
    return [budget_line(budgets["train"], recipe.task), *budget_warnings(budgets), *remarks]


def seen_by_model(run: Run, number: int) -> tuple[list[tuple[str, bool]], str]:
    """Return training row `number` as pieces of text, each with whether it is learned, and a line of counts.

    Raises:
        DataError: when there is no such row.
    """
    from tailora.model.load import load_tokenizer

    recipe, rows = run.recipe, prepare(run).train
    if number >= len(rows):
        raise DataError(f"there is no training row {number}; the last one is {len(rows) - 1}.")
    row, tokenizer = rows[number], load_tokenizer(recipe.model)
    if recipe.task == "classify":
        tokens = _texts(run, tokenizer).encode(row).tokens
        pieces, learned = [(tokenizer.decode(tokens), False), (f" → {row['answer']}", True)], "none of them learned"
    else:
        tokens, pieces, learned = _pieces(row, Prompts(tokenizer, day_of(run.folder)))
    return pieces, f"{row['id']} ({row['where']}): {len(tokens):,} tokens, {learned}"


def _texts(run: Run, tokenizer: Any) -> Texts:
    return Texts(tokenizer, files.read_json(run.folder / "prepare" / "labels.json")["names"])


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
