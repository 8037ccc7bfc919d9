"""Tasks of lm-evaluation-harness (the extra `lm-eval`): its questions, prompts, answers and metrics; our engine.

What is asked, how it becomes tokens, and what an answer is worth is the harness's own code, so that scores mean what
they mean elsewhere. Likelihoods and answers are computed by the functions that `ask` is given.
"""

import contextlib
import hashlib
import io
import json
import logging
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tailora import machine
from tailora.errors import DataError, RunError, TailoraError, did_you_mean
from tailora.files import Row, fingerprint
from tailora.run import tell
from tailora.tasks.base import Metric
from tailora.tasks.harness_requests import Asked, Cut

if TYPE_CHECKING:  # whether a source is of the harness is asked before any model is loaded
    from transformers import PreTrainedTokenizerBase

    from tailora.model.decode import Limits
    from tailora.model.load import Transformer

# The harness declares no types: its tasks, documents and results are Any below.
PREFIX = "lm_eval:"
_FEWSHOT_SEED = 1234  # of the harness's own commands
# Aggregations that are paired row by row: of the sum over rows by the sum of weights, or of the mean where it is None.
_PAIRED: dict[str, Callable[[Any], Any] | None] = {
    "mean": None,
    "nanmean": None,
    "perplexity": np.exp,
    "weighted_perplexity": np.exp,
    "bits_per_byte": lambda nats: nats / math.log(2),
}
_RIGHT = "p(right)"
_MEANING = "probability of the right choice, given that one of the choices is said"


@dataclass(frozen=True)
class Harness:
    """Tasks and groups of tasks by name: "lm_eval:arc_easy,mine.yaml#200" asks all rows of one and 200 of another."""

    source: str
    names: dict[str, int | None]
    """With how many rows are asked, where not all are."""
    _loaded: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each name stands for: tasks by their own names."""

    def __str__(self) -> str:
        return self.source

    def shown(self) -> list[str]:
        """Return the tasks and groups as their metrics name them."""
        return [_short(name) for name in self.names]

    def sha256(self) -> str:
        """Return a hash of what is asked: the rows of tasks in files, and for the harness's own ones its version."""
        own = [name for name in self.names if _is_file(name)]
        docs = [json.dumps(row, sort_keys=True) for name in own for row in self._rows_of(name)]
        asked = json.dumps([self.source, machine.version("lm_eval"), *docs])
        return hashlib.sha256(asked.encode()).hexdigest()

    def examples(self) -> list[Row]:
        """Return the rows of all tasks, prompt and answer as text; `name`, `task` and `number` say where they stand.

        Raises:
            DataError: when a task is unknown, or its data cannot be had.
        """
        chosen: list[Row] = []
        for name, count in self.names.items():
            rows = self._rows_of(name)
            chosen += rows if count is None else sorted(rows, key=lambda row: fingerprint("sample", row["id"]))[:count]
        return chosen

    def _rows_of(self, name: str) -> list[Row]:
        tasks, rows = self._tasks(name), []
        with _contained(f"{PREFIX}{name}", "read"):
            for leaf, task in tasks.items():
                for number, doc in enumerate(task.eval_docs):
                    place = {"id": _id(leaf, number), "where": f"{leaf}:{number}", "task": leaf, "number": number}
                    rows.append({**place, "name": _short(name), **_texts(task, doc)})
        return rows

    def _tasks(self, name: str) -> dict[str, Any]:
        if not self._loaded:
            self._loaded.update(_load(list(self.names)))
        return self._loaded[name]

    def ask(
        self,
        rows: Sequence[Row],
        model: "Transformer",
        tokenizer: "PreTrainedTokenizerBase",
        limits: "Limits",
        asked: Asked,
    ) -> tuple[Any, Cut]:
        """Let the harness ask `rows`; returns its results, with `results` and `samples` by task, and what was cut.

        Of `limits`, the most tokens of prompt and answer together and the rows at a time hold; the rest is each task's.
        """
        import lm_eval  # an extra

        numbers: dict[str, list[int]] = {}
        for row in rows:
            numbers.setdefault(row["task"], []).append(row["number"])
        tasks = {leaf: task for name in self.names for leaf, task in self._tasks(name).items() if leaf in numbers}
        for task in tasks.values():
            task.set_fewshot_seed(seed=_FEWSHOT_SEED)
        samples, screen = {leaf: sorted(chosen) for leaf, chosen in numbers.items()}, sys.stderr
        with _contained(self.source, "ask or score", ours=(RuntimeError, MemoryError)):
            from tailora.tasks.harness_model import HarnessModel

            lm = HarnessModel(model, tokenizer, limits, asked, screen)
            results = lm_eval.evaluate(lm, {"tasks": tasks}, samples=samples, bootstrap_iters=0)
        return results, lm.counted

    def score(self, rows: Sequence[Row], results: Any) -> dict[str, list["Score"]]:
        """Return what each metric makes of each question, by the id of its row, in the order of the tasks."""
        names = {row["task"]: row["name"] for row in rows}
        found: dict[str, list[Score]] = {}
        for leaf, samples in results["samples"].items():
            for sample in samples:  # one for each way to read an answer, which the harness calls a filter
                found.setdefault(_id(leaf, sample["doc_id"]), []).extend(self._scores(names[leaf], leaf, sample))
        return found

    def predictions(self, rows: Sequence[Row], results: Any, scored: dict[str, list["Score"]]) -> list[Row]:
        """Return one row per question with its responses and what each metric reads of it."""
        samples = {
            _id(leaf, sample["doc_id"]): sample for leaf, found in results["samples"].items() for sample in found[::-1]
        }
        return [
            {
                "id": row["id"],
                "slice": None,
                "cluster": row["cluster"],
                "leaks": row.get("leaks"),
                **({"topic": row["task"]} if row["task"] != row["name"] else {}),
                "prompt_hash": samples[row["id"]]["prompt_hash"],
                "responses": samples[row["id"]]["resps"],
                **{
                    key: number
                    for score in scored[row["id"]]
                    for key, number in ((score.name, score.number), (_weight(score.name), score.weight))
                    if number is not None
                },
            }
            for row in rows
        ]

    def metrics(self, base: dict[str, list["Score"]], tuned: dict[str, list["Score"]], *results: Any) -> list[Metric]:
        """Return the metrics of all tasks, each named after its task; they read the rows of `predictions`.

        `results` are those of base and of tuned.
        """
        found: dict[str, list[Score]] = {}
        for scores in (*base.values(), *tuned.values()):
            for score in scores:
                found.setdefault(score.name, []).append(score)
        return [_metric(scores, *(_whole(scores, one) for one in results)) for scores in found.values()]

    def _scores(self, name: str, leaf: str, sample: Any) -> Iterator["Score"]:
        """Yield what each metric makes of a question; and of choices, the probability of the right one."""
        task = next(tasks[leaf] for tasks in self._loaded.values() if leaf in tasks)
        several = len(task._filters) > 1
        for metric in sample["metrics"]:
            rule = task.aggregation()[metric].__name__ if metric in task.aggregation() else "mean"
            shown = f"{name} {metric} ({sample['filter']})" if several else f"{name} {metric}"
            number, weight = _paired(rule, sample[metric])
            higher = bool(task.higher_is_better().get(metric, True))
            yield Score(shown, rule, higher, number, weight, (leaf, f"{metric},{sample['filter']}"))
        right = _chance_of_right(task, sample)
        if right is not None:
            yield Score(f"{name} {_RIGHT}", "mean", True, right, None)


class Score(NamedTuple):
    """What a metric of the harness says of one question; no number where it is none of a row alone."""

    name: str
    rule: str
    """How the harness makes one number of many."""
    higher_is_better: bool
    number: float | None
    weight: float | None
    place: tuple[str, str] = ("", "")
    """The task and the name under which its results hold the number of all rows."""


def _id(leaf: str, number: int) -> str:
    return f"{leaf}/{number}"


def _weight(metric: str) -> str:
    """Return the field that holds what a row weighs in a metric of ratios."""
    return f"{metric}, of"


def is_harness(source: str) -> bool:
    """Say whether a source means tasks of the harness."""
    return source.startswith(PREFIX)


def open_harness(source: str) -> Harness:
    """Return the tasks that `source` names, not yet loaded.

    Raises:
        RunError: when the harness is not installed.
        DataError: when `source` names nothing, or a file that is not there.
    """
    if machine.version("lm_eval") is None:
        raise RunError(f'{source} needs lm-evaluation-harness: pip install "tailora[lm-eval]".')
    names: dict[str, int | None] = {}
    for part in source.removeprefix(PREFIX).split(","):
        name, mark, count = (text.strip() for text in part.partition("#"))
        if not name or (mark and not (count.isdecimal() and int(count))):
            raise DataError(f"{source}: name tasks, such as lm_eval:arc_easy,mine.yaml, each with its rows: piqa#200.")
        if _is_file(name) and not Path(name).is_file():
            raise DataError(f"{source}: there is no file {name}.")
        names[name] = int(count) if count else None
    return Harness(source, names)


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _short(name: str) -> str:
    return Path(name).stem if _is_file(name) else name


def _load(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Load the tasks behind each name with their data."""
    from lm_eval.tasks import TaskManager

    tell("evaluate", f"loading {', '.join(names)}, as lm-evaluation-harness {machine.version('lm_eval')} has them")
    listed = f"{PREFIX}{','.join(names)}"
    with _contained(listed, "load"):
        manager = TaskManager(include_defaults=not all(map(_is_file, names)))
        unknown = [name for name in names if not _is_file(name) and name not in manager.task_index]
        if unknown:
            raise DataError(
                f"{PREFIX}{unknown[0]}: the harness has no such task{did_you_mean(unknown[0], manager.all_tasks)}; "
                "`lm-eval ls tasks` lists them, and a task of your own is named by its file, such as mine.yaml."
            )
        loaded = {name: _prepared(manager.load([name])["tasks"]) for name in names}
    leaves = Counter(leaf for tasks in loaded.values() for leaf in tasks)
    twice = [leaf for leaf, count in leaves.items() if count > 1]
    if twice:
        raise DataError(f"{listed}: {twice[0]} is named twice, by itself or in a group; name it once.")
    return loaded


def _prepared(tasks: dict[str, Any]) -> dict[str, Any]:
    """Set the defaults that the commands of the harness set, and refuse what we cannot do."""
    for name, task in tasks.items():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        if getattr(task, "UNSAFE_CODE", False):
            raise DataError(
                f"{name} runs generated programs outside of a sandbox. Use --on with its rows, such as mbpp.jsonl."
            )
        if getattr(task, "MULTIMODAL", False):
            raise DataError(f"{name} asks about images, which no model here reads.")
    return tasks


class _Told(logging.Handler):
    """Keeps what a logger says of errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def _contained(source: str, what: str, ours: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Keep the harness from writing to the screen, and from running metrics that are programs from the hub.

    What the harness, the text of a task and the clients of its data raise becomes one paragraph, but for kinds of
    errors that are `ours`.
    """
    import evaluate.config as remote

    told, loggers = _Told(), [logging.getLogger(name) for name in ("lm_eval", "datasets", "huggingface_hub")]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    offline, remote.HF_EVALUATE_OFFLINE = remote.HF_EVALUATE_OFFLINE, True
    for logger in loggers:
        logger.handlers, logger.propagate = [told], False
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    except Exception as error:
        if isinstance(error, (TailoraError, *ours)):
            raise
        said = [line for text in (*told.lines[-1:], str(error)) for line in text.strip().strip("'\"").splitlines()[:1]]
        raise DataError(
            f"{source}: the harness cannot {what} this: {type(error).__name__}: {' — '.join(said)[:400]}. Most tasks "
            "read their data from the hub once; a task in a file may read files that lie here. Metrics from the hub are"
            " not run."
        ) from error
    finally:
        remote.HF_EVALUATE_OFFLINE = offline
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate


def _texts(task: Any, doc: Any) -> Row:
    """Return what a question asks, bare where the task says how, and what is right: compared with training rows."""
    bare = task.should_decontaminate()
    asked = task.doc_to_decontamination_query(doc) if bare else task.doc_to_text(doc)
    right = task.doc_to_target(doc)
    choices = task.doc_to_choice(doc) if getattr(task, "config", None) and task.config.doc_to_choice is not None else []
    prompt = " ".join(map(str, choices)) if isinstance(asked, int) else str(asked)
    listed = right if isinstance(right, list) else [right]
    answers = [str(choices[one]) if isinstance(one, int) and one < len(choices) else str(one) for one in listed]
    return {"prompt": [{"role": "user", "content": prompt}], "answer": " ".join(answers)}


def _paired(rule: str, value: Any) -> tuple[float | None, float | None]:
    """Return the number that a row adds and, for ratios, its weight; none where rows cannot be paired by it."""
    if rule not in _PAIRED:
        return None, None
    if _PAIRED[rule] is None:
        is_number = isinstance(value, bool | int | float | np.number) and math.isfinite(value)
        return (float(value), None) if is_number else (None, None)
    nats, weight = value if isinstance(value, tuple | list) else (value, 1)
    return -float(nats), float(weight)


def _whole(scores: list[Score], results: Any) -> str:
    """Return the number that the harness makes of all rows of a metric, as text."""
    leaf, key = scores[0].place
    value = results["results"].get(leaf, {}).get(key)
    alone = all(score.place == scores[0].place for score in scores)
    return f"{value:.4g}" if alone and isinstance(value, float | int) else "no number"


def _metric(scores: list[Score], base: str, tuned: str) -> Metric:
    name, rule, higher = scores[0].name, scores[0].rule, scores[0].higher_is_better
    numbers = {score.number for score in scores if score.number is not None}
    is_ratio = _PAIRED.get(rule) is not None
    return Metric(
        name, "ratio" if is_ratio else "binary" if numbers <= {0.0, 1.0} else "mean", name, higher,
        per=_weight(name) if is_ratio else "",
        transform=_PAIRED.get(rule),
        share=not is_ratio and all(0 <= number <= 1 for number in numbers),
        meaning=_MEANING if name.endswith(f" {_RIGHT}") else f"as lm-evaluation-harness defines it ({rule} over rows)",
        absent=f"the harness makes one number of all rows ({rule}: base {base}, tuned {tuned}), so nothing is paired",
    )  # fmt: skip


def _chance_of_right(task: Any, sample: Any) -> float | None:
    """Return the probability of what is right, given that one of the choices is said; None where there are none."""
    if task.OUTPUT_TYPE != "multiple_choice" or task.config.doc_to_choice is None:
        return None
    doc = sample["doc"]
    choices = task.doc_to_choice(doc)
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    listed = [choices.index(one) if one in choices else one for one in (gold if isinstance(gold, list) else [gold])]
    right = [one for one in listed if isinstance(one, int) and 0 <= one < len(choices)]
    logs = np.array([response[0] for response in sample["filtered_resps"][: len(choices)]], dtype=np.float64)
    chances = np.exp(logs - logs.max())
    return float(chances[right].sum() / chances.sum()) if right else None
