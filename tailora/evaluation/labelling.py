"""Classifiers on the same test rows: base, tuned and what any other must beat → predictions, scores, comparison.

The base brings a head that nobody trained, so it stands for chance. Beside it stand the commonest label, words counted
(TF-IDF), and a linear map of the frozen base (linear probe), each fitted to the same training rows.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tailora import files, machine
from tailora.data.rows import question
from tailora.errors import RunError
from tailora.evaluation.compare import compare
from tailora.evaluation.journal import Journal, journal
from tailora.files import Row, RowFile
from tailora.measure import baselines
from tailora.measure.classification import row_scores, summarise
from tailora.measure.stats import decide, holm
from tailora.model.border import read_origin
from tailora.run import Run, Stage, tell
from tailora.text.chat import Sample

# Folder of each baseline, what it is called, and what it is.
BASELINES = {
    "majority": ("the majority class", "always says the commonest label of the training rows"),
    "tf-idf": ("TF-IDF", "logistic regression on counts of words and pairs of words, fitted to the training rows"),
    "probe": (
        "a linear probe",
        "logistic regression on the mean state of the frozen base, fitted to the training rows",
    ),
}
_CARRIED = ("topic", "domain")
_SCORES = ("accuracy", "macro F1", "weighted F1", "MCC", "NLL", "Brier", "ECE")

Probabilities = list[list[float]]


def compare_classifiers(run: Run, adapter: Path, stage: Stage) -> Row:
    """Let base, tuned and baselines label the prepared test rows of `run`; fills the folder of `stage`.

    Returns the comparison of base and tuned.
    """
    exam = _set_exam(run, adapter, stage)
    with journal(stage) as pages:
        chances = _ask(exam, pages)
    predictions = {variant: _predictions(exam, found) for variant, found in chances.items()}
    scores = {variant: summarise(exam.labels, found, exam.task.names) for variant, found in chances.items()}
    for variant, predicted in predictions.items():
        files.write_jsonl(stage.folder / variant / "predictions.jsonl", predicted)
        files.write_json(stage.folder / variant / "scores.json", scores[variant])
    return compare(exam.task.metrics, predictions["base"], predictions["tuned"]) | {
        "task": "classify",
        "names": exam.task.names,
        "head": "untrained" if exam.untrained else "trained before",
        "baselines": _baselines(exam, predictions, scores),
        "forgetting": [],
        "sandbox": "limits",
        "rows": exam.budget,
    }


@dataclass(frozen=True)
class _Exam:
    """A tuned classifier with the rows to be labelled, and the rows that baselines learn from, if they are known."""

    model: Any
    untrained: bool
    """Whether the base brings no head of its own."""
    task: Any
    rows: list[Row]
    samples: list[Sample]
    learned: list[Row]
    learned_samples: list[Sample]
    budget: Row

    @property
    def labels(self) -> list[int]:
        """The right classes."""
        return [sample.label for sample in self.samples if sample.label is not None]


def _set_exam(run: Run, adapter: Path, stage: Stage) -> _Exam:
    from tailora.model import adapters, load
    from tailora.tasks import task_for

    machine.keep_freed_memory()
    machine.keep_few_kernels()
    recipe, prepared = run.recipe, run.folder / "prepare"
    task = task_for(recipe, run.folder)
    base = task.load(recipe.model)
    base_print = load.base_fingerprint(base)  # before an adapter lies on it
    _check_texts(run, adapter, task.prompts.fingerprint())
    longest = task.longest(base, recipe.model)
    all_rows = RowFile.open(prepared / "test.jsonl")
    test = task.fit(list(all_rows[: recipe.evaluate.rows]), longest, "test")
    distinct = {row["id"]: row for row in RowFile.open(prepared / "train.jsonl")}  # weights repeat some
    learned = list(distinct.values())
    train = task.fit(learned, longest, "train") if learned else None
    model = adapters.put_on(base, adapter, recipe.model.base)
    load.freeze_dtype(model, recipe.model)
    path = task.choose_path(model, recipe.train)
    learned_rows, learned_samples = (train.rows, train.samples) if train else ([], [])
    load.choose_attention(model, max(len(sample.tokens) for sample in (*test.samples, *learned_samples)))
    stage.facts["path"] = path._asdict()
    stage.made_from |= {
        "base": base_print,
        "labels and tokenizer": task.prompts.fingerprint(),
        "path": path.name,
        "training rows": files.sha256(prepared / "train.jsonl"),
    }
    budget = asdict(test.budget) | {"not_asked": len(all_rows) - len(test.rows)}
    untrained = bool(base.tailora_untrained)
    return _Exam(model, untrained, task, test.rows, test.samples, learned_rows, learned_samples, budget)


def _check_texts(run: Run, adapter: Path, now: str) -> None:
    """Raise RunError when an adapter of ours meets other classes or another tokenizer than it was trained with."""
    made = read_origin(adapter).get("prompts") or now
    if made != now:
        raise RunError(
            f"{run.folder}: the adapter was trained with other labels or another tokenizer ({made}, now {now}). Train "
            "again with --fresh."
        )


def _ask(exam: _Exam, pages: Journal) -> dict[str, Probabilities]:
    """Return the probabilities of all classes for every test row, by variant and baseline."""
    classes = len(exam.task.names)
    known = [sample.label for sample in exam.learned_samples if sample.label is not None]
    found = {"tuned": _label(exam, "tuned", pages)}
    with exam.model.disable_adapter():
        found["base"] = _label(exam, "base", pages)
        if not known:  # nobody knows what an adapter made elsewhere has learned from
            return found
        states = [
            _states(exam, "states of training rows", exam.learned_samples, pages),
            _states(exam, "states of test rows", exam.samples, pages),
        ]
    fits: dict[str, Callable[[], Probabilities]] = {
        "majority": lambda: baselines.majority(known, classes, len(exam.rows)),
        "tf-idf": lambda: baselines.word_regression(_texts(exam.learned), known, classes, _texts(exam.rows)),
        "probe": lambda: baselines.linear_probe(states[0], known, classes, states[1]),
    }
    for name in BASELINES:
        tell("evaluate", f"{BASELINES[name][0]}: {BASELINES[name][1]}")
        found[name] = fits[name]()
    return found


def _label(exam: _Exam, part: str, pages: Journal) -> Probabilities:
    batches = exam.task.probabilities(exam.model, exam.samples, pages.known(part))
    return pages.collect(part, batches, len(exam.samples), "labelling")


def _states(exam: _Exam, part: str, samples: Sequence[Sample], pages: Journal) -> Any:
    """Return the states of samples [samples, width] in float32; written down as they lie in memory, to the last bit."""
    batches = exam.task.states(exam.model, samples, pages.known(part))
    texts = ({n: b64encode(state.tobytes()).decode() for n, state in batch.items()} for batch in batches)
    return np.stack(
        [np.frombuffer(b64decode(t), np.float32) for t in pages.collect(part, texts, len(samples), "reading")]
    )


def _texts(rows: Sequence[Row]) -> list[str]:
    return [question(row) for row in rows]


def _predictions(exam: _Exam, chances: Probabilities) -> list[Row]:
    """Return one row per text: its right and its likeliest label, the probabilities of all, and the scores."""
    names = exam.task.names
    rows = []
    for row, label, probabilities in zip(exam.rows, exam.labels, chances, strict=True):
        scores = row_scores(label, probabilities)
        rows.append(
            {
                "id": row["id"],
                "slice": row.get("slice"),
                "cluster": row["cluster"],
                "leaks": row.get("leaks"),
                **{key: row[key] for key in _CARRIED if key in row},
                "prompt_hash": exam.task.text_hash(row),
                "reference": row["answer"],
                "output": names[scores["predicted"]],
                "label": label,
                **scores,
                "probabilities": probabilities,
            }
        )
    return rows


def _baselines(exam: _Exam, predictions: dict[str, list[Row]], scores: dict[str, Row]) -> list[Row]:
    """Return the scores of each baseline, and how tuned compares with it on accuracy, row by row.

    p is adjusted for looking at several (Holm 1979).
    """
    accuracy = [metric for metric in exam.task.metrics if metric.name == "accuracy"]
    known = [name for name in BASELINES if name in predictions]
    entries = [compare(accuracy, predictions[name], predictions["tuned"])["metrics"][0] for name in known]
    for entry, p_value in zip(entries, holm([entry["p_value"] for entry in entries]), strict=True):
        entry["p_adjusted"] = p_value
        entry["verdict"] = decide(entry["low"], entry["high"], p_value, higher_is_better=True)
    return [
        {
            "name": name,
            "title": BASELINES[name][0],
            "meaning": BASELINES[name][1],
            **{key: scores[name][key] for key in _SCORES},
            "accuracies": entry,
        }
        for name, entry in zip(known, entries, strict=True)
    ]
