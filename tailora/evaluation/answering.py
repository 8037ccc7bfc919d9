"""Base and tuned on the same test rows → predictions, scores, paired comparison and a verdict.

Every batch of answers and likelihoods is written down as it is done, so that an evaluation that was interrupted goes on
where it stopped and ends in the same numbers.
"""

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tailora import files, machine, sandbox
from tailora.data.read import read_general
from tailora.data.user_prompts import holds, read_prompts
from tailora.evaluation.compare import compare, compare_general, scores
from tailora.evaluation.journal import NAME, Journal, journal
from tailora.evaluation.labelling import compare_classifiers
from tailora.evaluation.variants import (
    BASE,
    TUNED,
    Variants,
    hashes_of_own,
    load_variants,
    without_own_metrics,
)
from tailora.files import Row, RowFile, fingerprint
from tailora.provenance import require_same
from tailora.run import Run, Stage
from tailora.text.chat import Sample
from tailora.text.length_budget import Fitting

_MOST_LOOKED_AT = 2000  # rows

if TYPE_CHECKING:
    from tailora.engine import Answer
    from tailora.tasks.generate import Reading
    from tailora.tasks.harness import Harness


def read_comparison(run: Run) -> Row:
    """Return the comparison of a finished evaluation.

    Raises:
        RunError: when the user's prompts or the modules of the user's metrics have changed since.
    """
    made, now = run.facts("evaluate"), hashes_of_own(run.recipe)
    require_same(
        {f"evaluate.{key}": made.get(key) for key in now},
        {f"evaluate.{key}": value for key, value in now.items()},
        f"{run.folder}: evaluate is done",
        "Add --fresh to ask anew, or choose another name.",
    )
    with contextlib.suppress(OSError):  # a finished run may lie where nothing can be written
        (run.folder / "evaluate" / NAME).unlink(missing_ok=True)  # only now: killed before, it was still needed
    comparison: Row = files.read_json(run.folder / "evaluate" / "comparison.json")
    return comparison


def compare_variants(run: Run, adapter: Path, *, leaks_known: bool = True, harness: "Harness | None" = None) -> None:
    """Ask the base of `run` and the same with `adapter` the prepared test rows; fills `<run>/evaluate/`.

    With a `harness`, it asks them. Without `leaks_known` no row has been looked for in what the adapter was trained on,
    so none is called clean.
    """
    _refuse_changed_adapter(adapter)
    with run.stage("evaluate", resume=True) as stage:
        own = hashes_of_own(run.recipe)
        stage.made_from |= {
            "tailora": machine.version("tailora"),
            "adapter": files.hash_of_weights(adapter),
            "test rows": files.sha256(run.folder / "prepare" / "test.jsonl"),
            "prompts of evaluate.prompts": own["prompts"],
        }
        stage.facts |= own
        if harness is not None:
            from tailora.evaluation.harnessed import compare_on_harness

            comparison = compare_on_harness(run, adapter, harness, stage)
        else:
            compared = compare_classifiers if run.recipe.task == "classify" else _compare_answers
            comparison = compared(run, adapter, stage)
        if not leaks_known:
            comparison["clean"]["rows"] = None
        files.write_json(stage.folder / "comparison.json", comparison)
        stage.facts["verdict"] = comparison["verdict"]


def _refuse_changed_adapter(adapter: Path) -> None:
    """Raise RunError when a training of ours wrote `adapter`, and a file in it was changed or damaged since."""
    for path in sorted([*adapter.glob("*.safetensors"), *adapter.glob("*.json")]):
        files.require_unchanged(path)


def _compare_answers(run: Run, adapter: Path, stage: Stage) -> Row:
    all_rows = RowFile.open(run.folder / "prepare" / "test.jsonl")
    exam = _set_exam(run, adapter, list(all_rows[: run.recipe.evaluate.rows]), stage)
    with journal(stage) as pages:
        answered = {TUNED: _ask(exam, TUNED, pages)}
        with exam.variants.model.disable_adapter():
            answered[BASE] = _ask(exam, BASE, pages)
    rows = asdict(exam.fitting.budget) | {"not_asked": len(all_rows) - exam.wanted}
    return _write_variants(exam, answered, stage) | {"rows": rows}


@dataclass(frozen=True)
class _Exam:
    """What base and tuned are asked."""

    variants: Variants
    fitting: Fitting
    samples: list[Sample]
    """Of the rows in `fitting`, with the last answer alone as target."""
    own: list[Row]
    """The user's prompts."""
    as_code: bool
    """Whether answers are compared as programs: a property of the data, not of the rows that are asked."""

    @property
    def task(self) -> Any:
        """How rows become tokens and scores."""
        return self.variants.task

    @property
    def wanted(self) -> int:
        """Rows that were to be asked, whether they fit or not."""
        return self.fitting.budget.rows + self.fitting.budget.too_long


class _Answered(NamedTuple):
    """What one variant made of an exam: by row its likelihood and answers, by passage its likelihood, own answers."""

    readings: "list[Reading]"
    answers: "list[Answer]"
    drawn: list[list[str]]
    """Answers at random to each row, where some were asked for."""
    general: list[Row]
    own: "list[Answer]"


def _set_exam(run: Run, adapter: Path, rows: list[Row], stage: Stage) -> _Exam:
    from tailora.model.proofs import prove_rows

    variants = load_variants(run, adapter, stage)
    fitting = variants.task.fit(rows, variants.longest, "test")
    prove_rows(variants.model, variants.task.row_losses, fitting.samples)
    own = read_prompts(run.recipe.evaluate.prompts)
    return _Exam(variants, fitting, [sample.last() for sample in fitting.samples], own, _holds_code(run))


def _holds_code(run: Run) -> bool:
    """Say whether most references are code, by training rows where there are any, so that no sample decides it."""
    from tailora.tasks.generate import are_code

    learned = run.folder / "prepare" / "train.jsonl"
    rows = RowFile.open(learned if learned.exists() else run.folder / "prepare" / "test.jsonl")
    return are_code(rows[:_MOST_LOOKED_AT])


def _ask(exam: _Exam, variant: str, pages: Journal) -> _Answered:
    """Let the model as it is now answer, and weigh what it was to say; what `pages` know is not asked again."""
    from tailora.model.decode import Limits

    settings, variants = exam.variants.recipe.evaluate, exam.variants
    greedy = Limits(settings.max_new_tokens, variants.longest, settings.batch_size)
    chance = greedy._replace(temperature=settings.temperature, samples=settings.samples, seed=settings.seed)

    def answers(part: str, rows: list[Row], limits: Limits = greedy) -> "list[Answer]":
        prompts = [exam.task.prompts.encode_prompt(row["prompt"]) for row in rows]
        return variants.answers(f"{variant} {part}", prompts, limits, pages, exam.task.prompts.stops)

    rows = exam.fitting.rows
    drawn = answers("drawn", rows, chance)
    return _Answered(
        variants.readings(f"{variant} readings", exam.samples, pages),
        answers("answers", rows),
        [[answer.text for answer in drawn[n : n + chance.samples]] for n in range(0, len(drawn), chance.samples or 1)],
        _read_general(variants, variant, pages),
        answers("own", exam.own),
    )


def _read_general(variants: Variants, variant: str, pages: Journal) -> list[Row]:
    """Return what each passage of the bundled general text costs the model in bits, and the tokens it guesses."""
    from tailora.tasks.generate import nats_to_bits

    passages = read_general(variants.recipe.evaluate.general_passages)
    windows = [variants.task.prompts.encode_text(passage["text"], variants.longest) for passage in passages]
    samples = [sample for cut in windows for sample in cut]
    readings = iter(variants.readings(f"{variant} general", samples, pages))
    found = []
    for passage, cut in zip(passages, windows, strict=True):
        read = [next(readings) for _ in cut]
        found.append(
            {
                "id": passage["id"],
                "slice": passage["kind"],
                "cluster": passage["id"],
                "bits": nats_to_bits(sum(reading.nats for reading in read)),
                "bytes": len(passage["text"].encode()),
                "right": sum(reading.right for reading in read),
                "targets": sum(sample.targets for sample in cut),
            }
        )
    return found


def _write_variants(exam: _Exam, answered: dict[str, _Answered], stage: Stage) -> Row:
    """Write what each variant answered and scored; returns the comparison of the two."""
    predictions = {variant: _predictions(exam, given) for variant, given in answered.items()}
    for variant, predicted in predictions.items():
        folder = stage.folder / variant
        files.write_jsonl(folder / "predictions.jsonl", predicted)
        files.write_jsonl(folder / "general.jsonl", answered[variant].general)
        files.write_json(folder / "scores.json", scores(exam.task.metrics, predicted))
    comparison = compare(exam.task.metrics, predictions[BASE], predictions[TUNED])
    comparison["forgetting"] = compare_general(answered[BASE].general, answered[TUNED].general)
    comparison["prompt"] = exam.task.prompts.render(exam.fitting.rows[0]["prompt"])
    comparison["sandbox"] = sandbox.find_strongest().mode or "limits"
    comparison["unsolved"] = exam.task.unsolved(exam.fitting.rows)
    if exam.own:
        own = _own_prompts(exam, answered)
        files.write_jsonl(stage.folder / "prompts.jsonl", own)
        comparison["prompts"] = {
            "asked": len(own),
            "expected": sum(row["regressed"] is not None for row in own),
            "regressed": [row["id"] for row in own if row["regressed"]],
        }
    return comparison


def _predictions(exam: _Exam, given: _Answered) -> list[Row]:
    """Return one row per example with the answer, its scores and the likelihood of the reference."""
    from tailora.tasks.generate import nats_to_bits

    rows = exam.fitting.rows
    answers = [answer.text for answer in given.answers]
    scored = exam.task.score(rows, answers, given.drawn or None, as_code=exam.as_code)
    return [
        {
            "id": row["id"],
            "slice": row.get("slice"),
            "cluster": row["cluster"],
            "leaks": row.get("leaks"),
            "prompt_hash": fingerprint(exam.task.prompts.render(row["prompt"])),
            "output": answer.text,
            "finish": answer.finish,
            "nats": reading.nats,
            "bits": nats_to_bits(reading.nats),
            "right": reading.right,
            "targets": sample.targets,
            "bytes": len(row["answer"].encode()),
            **score,
        }
        for row, sample, answer, reading, score in zip(
            rows, exam.samples, given.answers, given.readings, scored, strict=True
        )
    ]


def _own_prompts(exam: _Exam, answered: dict[str, _Answered]) -> list[Row]:
    """Return the user's prompts with both answers, and where something is expected, whether each holds it.

    `regressed` says that the tuned model lost what the base had; null where nothing is expected.
    """
    right = {variant: _holding(exam, given) for variant, given in answered.items()}
    rows = []
    for number, row in enumerate(exam.own):
        before, after = (right[variant][number] for variant in (BASE, TUNED))
        rows.append(
            {
                "id": row["id"],
                "prompt": row["prompt"][-1]["content"],
                "expected": row.get("answer"),
                **{variant: given.own[number].text for variant, given in answered.items()},
                **{f"{variant}_right": right[variant][number] for variant in answered},
                "regressed": None if before is None or after is None else before and not after,
            }
        )
    return rows


def _holding(exam: _Exam, given: _Answered) -> list[bool | None]:
    """Say of each own answer whether it passes the tests of its prompt, or else holds what is expected of it."""
    from tailora.tasks.generate import Generate

    # Metrics of the user's own are made for rows of the test split, which have more columns.
    task = Generate(without_own_metrics(exam.variants.recipe.evaluate), exam.task.prompts.tokenizer)
    outputs = [answer.text for answer in given.own]
    tested = [number for number, row in enumerate(exam.own) if row.get("tests")]
    rows = [{"answer": "-", **exam.own[number]} for number in tested]  # similarity to nothing is not asked for
    scored = dict(zip(tested, task.score(rows, [outputs[number] for number in tested]), strict=True))
    return [
        scored[number]["passed"] if number in scored else holds(output, row["answer"]) if row.get("answer") else None
        for number, (row, output) in enumerate(zip(exam.own, outputs, strict=True))
    ]
