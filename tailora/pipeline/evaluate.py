"""Base and tuned on the same test rows → predictions, scores, paired comparison and a verdict.

Both variants are one loaded model, its adapter on and off. Every batch of answers and likelihoods is written down as
it is done, so that an evaluation that was interrupted goes on where it stopped and ends in the same numbers.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tailora import files, machine
from tailora.errors import RecipeError, RunError
from tailora.files import Row, RowFile, fingerprint
from tailora.measure import sandbox
from tailora.pipeline.classified import compare_classifiers
from tailora.pipeline.compare import compare, compare_general, scores
from tailora.pipeline.journal import NAME, Journal, journal
from tailora.pipeline.prepare import prepare
from tailora.pipeline.train import train
from tailora.recipe import Recipe
from tailora.run import RUNS, Run, Stage
from tailora.text.budget import Fitting, fit_rows
from tailora.text.fixed import holds, read_prompts
from tailora.text.prompts import Sample
from tailora.text.read import locate_source, read_general

if TYPE_CHECKING:
    from tailora.engine import Answer
    from tailora.tasks.generate import Reading

_BASE, _TUNED = "base", "tuned"


def evaluate(recipe: Recipe, root: Path = RUNS) -> Row:
    """Compare base and tuned on the test split of `recipe`; returns the content of `<run>/evaluate/comparison.json`.

    Returns at once when that is done, and goes on where it was interrupted; trains first when the run has no adapter.

    Raises:
        RecipeError: when a classifier is given prompts.
        RunError: when the adapter was trained on another base, or the prompts of `evaluate.prompts` have changed.
        Stopped: after SIGINT or SIGTERM, when what was computed so far is saved.
    """
    if recipe.task == "classify" and recipe.evaluate.prompts:
        raise RecipeError("evaluate.prompts: a classifier answers no prompts; leave them out.")
    read_prompts(recipe.evaluate.prompts)  # what cannot be asked is said before anything is trained
    run = train(recipe, root)
    if not run.is_done("evaluate"):
        with run.lock():
            prepare(recipe, root)
            compare_variants(run, run.folder / "train" / "adapter")
    return read_comparison(run)


def read_comparison(run: Run) -> Row:
    """Return the comparison of a finished evaluation; raise RunError when the user's prompts have changed since."""
    made = run.facts("evaluate").get("prompts")
    if made != _hash_of_prompts(run.recipe):
        raise RunError(
            f"{run.folder}: the prompts of evaluate.prompts have changed since evaluate was done. Add --fresh to ask "
            "them, or choose another name."
        )
    (run.folder / "evaluate" / NAME).unlink(missing_ok=True)  # only now: killed before, it was still needed
    comparison: Row = files.read_json(run.folder / "evaluate" / "comparison.json")
    return comparison


def compare_variants(run: Run, adapter: Path, *, leaks_known: bool = True) -> None:
    """Ask the base of `run` and the same with `adapter` the prepared test rows; fills `<run>/evaluate/`.

    Without `leaks_known` no row has been looked for in what the adapter was trained on, so none is called clean.
    """
    if run.recipe.task == "classify":
        with run.stage("evaluate") as stage:
            compare_classifiers(run, adapter, stage)
        return
    with run.stage("evaluate", resume=True) as stage:
        test = run.folder / "prepare" / "test.jsonl"
        stage.made_from |= {
            "tailora": machine.version("tailora"),
            "adapter": hash_of_adapter(adapter),
            "test rows": files.sha256(test),
            "prompts of evaluate.prompts": _hash_of_prompts(run.recipe),
        }
        all_rows = RowFile.open(test)
        exam = _set_exam(run, adapter, list(all_rows[: run.recipe.evaluate.rows]), stage)
        with journal(stage) as pages:
            answered = {_TUNED: _ask(exam, _TUNED, pages)}
            with exam.model.disable_adapter():
                answered[_BASE] = _ask(exam, _BASE, pages)
        rows = asdict(exam.fitting.budget) | {"not_asked": len(all_rows) - exam.wanted}
        comparison = _write_variants(exam, answered, stage) | {"rows": rows}
        if not leaks_known:
            comparison["clean"]["rows"] = None
        files.write_json(stage.folder / "comparison.json", comparison)
        stage.facts["verdict"] = comparison["verdict"]


@dataclass(frozen=True)
class _Exam:
    """A model with its adapter, and what it is asked with and without."""

    model: Any
    task: Any
    recipe: Recipe
    longest: int
    fitting: Fitting
    samples: list[Sample]
    """Of the rows in `fitting`, with the last answer alone as target."""
    own: list[Row]
    """The user's prompts."""

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
    from tailora.model import adapters, load
    from tailora.model.losses import choose_path
    from tailora.tasks.generate import Generate

    machine.keep_freed_memory()
    recipe = run.recipe
    task = Generate(recipe.evaluate, load.load_tokenizer(recipe.model))
    base = load.load_base(recipe.model)
    prints = {"base": load.base_fingerprint(base), "prompts": task.prompts.fingerprint()}
    _check_origin(run, adapter, prints)
    longest = load.longest_input(base.config, recipe.model)
    fitting = fit_rows(rows, task.prompts, longest, "test")
    model = adapters.put_on(base, adapter, recipe.model.base)
    load.freeze_dtype(model, recipe.model)
    path = choose_path(model, recipe.train.path)
    stage.made_from |= prints | {"path": path.name}
    stage.facts |= {"path": path._asdict(), "prompts": _hash_of_prompts(recipe)}
    own = read_prompts(recipe.evaluate.prompts)
    return _Exam(model, task, recipe, longest, fitting, [sample.last() for sample in fitting.samples], own)


def _check_origin(run: Run, adapter: Path, prints: dict[str, str]) -> None:
    """Raise RunError when an adapter of ours meets another base or another template than it was trained with."""
    origin = adapter / "tailora.json"
    made = files.read_json(origin) if origin.is_file() else {}
    for what, now in prints.items():
        if made.get(what, now) != now:
            raise RunError(
                f"{run.folder}: the adapter was trained with another {'base model' if what == 'base' else 'template'} "
                f"({made[what]}, now {now}). Train again with --fresh, or restore the base it was trained on."
            )


def _ask(exam: _Exam, variant: str, pages: Journal) -> _Answered:
    """Let the model as it is now answer, and weigh what it was to say; what `pages` know is not asked again."""
    from tailora.engine import Answer, Engine
    from tailora.model.decode import Limits

    settings = exam.recipe.evaluate
    greedy = Limits(settings.max_new_tokens, exam.longest, settings.batch_size)
    chance = greedy._replace(temperature=settings.temperature, samples=settings.samples, seed=settings.seed)
    engine = Engine(exam.model, exam.task.prompts)

    def answers(part: str, rows: list[Row], limits: Limits = greedy) -> list[Answer]:
        part = f"{variant} {part}"
        batches = engine.in_batches([row["prompt"] for row in rows], limits, pages.known(part))
        return [Answer(*answer) for answer in pages.collect(part, batches, len(rows) * limits.samples, "answering")]

    rows = exam.fitting.rows
    drawn = answers("drawn", rows, chance)
    return _Answered(
        _readings(exam, f"{variant} readings", exam.samples, pages),
        answers("answers", rows),
        [[answer.text for answer in drawn[n : n + chance.samples]] for n in range(0, len(drawn), chance.samples or 1)],
        _read_general(exam, variant, pages),
        answers("own", exam.own),
    )


def _readings(exam: _Exam, part: str, samples: list[Sample], pages: Journal) -> "list[Reading]":
    """Return what the model makes of each sample: its loss in nats, and the tokens that it found likeliest."""
    from tailora.model.losses import reading_batches
    from tailora.tasks.generate import Reading

    numbers = {id(sample): number for number, sample in enumerate(samples)}
    known = pages.known(part)

    def batches() -> Iterator[dict[int, Reading]]:
        for batch in reading_batches(exam.model, samples, exam.recipe.train.micro_tokens):
            if any(numbers[id(sample)] not in known for sample in batch):
                readings = exam.task.row_readings(exam.model, batch)
                yield {numbers[id(sample)]: reading for sample, reading in zip(batch, readings, strict=True)}

    return [Reading(*reading) for reading in pages.collect(part, batches(), len(samples), "weighing")]


def _read_general(exam: _Exam, variant: str, pages: Journal) -> list[Row]:
    """Return what each passage of the bundled general text costs the model in bits, and the tokens it guesses."""
    from tailora.tasks.generate import nats_to_bits

    passages = read_general()
    windows = [exam.task.prompts.encode_text(passage["text"], exam.longest) for passage in passages]
    samples = [sample for cut in windows for sample in cut]
    readings = iter(_readings(exam, f"{variant} general", samples, pages))
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
    comparison = compare(exam.task.metrics, predictions[_BASE], predictions[_TUNED])
    comparison["forgetting"] = compare_general(answered[_BASE].general, answered[_TUNED].general)
    comparison["sandbox"] = sandbox.find_strongest().mode or "limits"
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
    scored = exam.task.score(rows, [answer.text for answer in given.answers], given.drawn or None)
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
        before, after = (right[variant][number] for variant in (_BASE, _TUNED))
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
    settings = exam.recipe.evaluate.model_copy(update={"metrics": [], "primary": None})
    task = Generate(settings, exam.task.prompts.tokenizer)
    outputs = [answer.text for answer in given.own]
    tested = [number for number, row in enumerate(exam.own) if row.get("tests")]
    rows = [{"answer": "-", **exam.own[number]} for number in tested]  # similarity to nothing is not asked for
    scored = dict(zip(tested, task.score(rows, [outputs[number] for number in tested]), strict=True))
    return [
        scored[number]["passed"] if number in scored else holds(output, row["answer"]) if row.get("answer") else None
        for number, (row, output) in enumerate(zip(exam.own, outputs, strict=True))
    ]


def hash_of_adapter(folder: Path) -> str:
    """Return a hash of the weights in `folder` and of what says how they are used."""
    parts = [*folder.glob("*.safetensors"), *folder.glob("*config.json")]
    return fingerprint(*(f"{path.name} {files.sha256(path)}" for path in sorted(parts)))


def _hash_of_prompts(recipe: Recipe) -> str | None:
    """Return a hash of what the file of `evaluate.prompts` holds; None where the prompts stand in the recipe itself."""
    asked = recipe.evaluate.prompts
    return locate_source(asked, "evaluate.prompts").sha256() if isinstance(asked, str) else None
