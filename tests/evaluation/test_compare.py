"""The verdict is right on planted cases, from prediction rows to the sentences that people read."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics.chrf import CHRF
from sklearn.metrics import f1_score

from tailora.cli import _show_comparison
from tailora.errors import RunError
from tailora.evaluation.compare import compare, compare_general, scores
from tailora.measure.metrics import chrf_counts
from tailora.present import comparison as words
from tailora.present.format import format_value
from tailora.tasks.base import Metric, with_primary
from tailora.tasks.generate import METRICS

PASS, BITS, PARSES, LENGTH = (
    next(metric for metric in METRICS if metric.name == name)
    for name in ("pass@1", "bits per byte", "parse rate", "length ratio")
)
NONE = "no detectable difference"


def rows(
    passed: Sequence[float], bits: Sequence[float] | None = None, **columns: Sequence[Any]
) -> list[dict[str, Any]]:
    """Return prediction rows with these scores; each row is a cluster of its own unless `cluster` says otherwise."""
    count = len(passed)
    columns = {"cluster": range(count), "slice": [None] * count, **columns}
    return [
        {
            "id": f"row {i}", "prompt_hash": str(i), "passed": bool(passed[i]), "tests": {"status": "", "detail": ""},
            "bits": float(bits[i]) if bits is not None else 8.0, "nats": 8.0, "bytes": 10, "targets": 4,
            "parses": bool(passed[i]), **{name: column[i] for name, column in columns.items()},
        }
        for i in range(count)
    ]  # fmt: skip


def drawn(rng: np.random.Generator, chances: Any, ease: Any) -> list[dict[str, Any]]:
    """Return rows of a model that passes row i with a chance of its own, at a likelihood of its own."""
    count = len(chances)
    return rows(rng.random(count) < chances, 10 * np.abs(ease + rng.normal(0, 0.3, count)) + 1)


def pick(comparison: Any, metric: str, part: str = "all") -> Any:
    (entry,) = [e for e in comparison["metrics"] if (e["metric"], e["slice"]) == (metric, part)]
    return entry


def test_of_200_comparisons_of_equals_at_most_7_percent_give_a_verdict() -> None:
    rng = np.random.default_rng(2026)
    by_primary = by_any_other = 0
    for _ in range(200):
        chances, ease = rng.beta(2, 2, 60), rng.normal(2, 0.4, 60)
        comparison = compare((PASS, BITS, PARSES), drawn(rng, chances, ease), drawn(rng, chances, ease))
        by_primary += comparison["verdict"] != NONE
        by_any_other += any(e["verdict"] != NONE for e in comparison["metrics"] if e["metric"] != "pass@1")
    assert by_primary <= 14
    assert by_any_other <= 14  # the whole family of the other metrics together


@pytest.mark.parametrize(("shift", "verdict"), [(0.2, "better"), (-0.2, "worse")])
def test_20_points_at_200_rows_are_found_in_either_direction(shift: float, verdict: str) -> None:
    rng = np.random.default_rng(7)
    chances = rng.uniform(0.3, 0.7, 200)
    ease = np.full(200, 2.0)
    comparison = compare(METRICS, drawn(rng, chances, ease), drawn(rng, chances + shift, ease))
    assert (comparison["primary"], comparison["verdict"]) == ("pass@1", verdict)
    entry = pick(comparison, "pass@1")
    assert entry["low"] < shift < entry["high"]
    assert told(comparison)[0].startswith(f"tuned is {verdict} than base: pass@1")


def told(comparison: Any) -> list[str]:
    """Return every sentence on a comparison."""
    return words.sentences({"rows": BUDGET, **comparison})


BUDGET = {"shortened": 0, "too_long": 0, "suggested": 0, "unknown": 0, "tokens": 1, "not_asked": 0}


def test_no_detectable_difference_says_what_the_rows_could_have_shown() -> None:
    rng = np.random.default_rng(8)
    chances, ease = rng.uniform(0.3, 0.7, 60), np.full(60, 2.0)
    comparison = compare(METRICS, drawn(rng, chances, ease), drawn(rng, chances, ease))
    assert comparison["verdict"] == NONE
    least = f"minimum detectable effect {100 * pick(comparison, 'pass@1')['detectable']:.1f} points at 80% power"
    assert any(line.startswith(least) for line in told(comparison))


def test_an_interval_without_zero_and_a_p_above_5_percent_is_explained() -> None:
    comparison = compare((PASS,), rows([False] * 60), rows([i < 4 for i in range(60)]))
    assert pick(comparison, "pass@1")["low"] > 0 and comparison["verdict"] == NONE
    assert "the 95% CI excludes zero, but p = 0.125" in words.headline(comparison)[0]


def test_only_the_primary_metric_keeps_its_p_as_it_is() -> None:
    passed = np.arange(40) < 6  # six wins and no loss: p = 0.03125
    base, tuned = rows([False] * 40), rows(passed)
    names = ("parses", "second", "third")
    for before, after, gained in zip(base, tuned, passed, strict=True):
        before |= dict.fromkeys(names, False)
        after |= dict.fromkeys(names, bool(gained))
    others = [Metric(name, "binary", name, True) for name in names]
    comparison = compare((PASS, *others), base, tuned)
    assert comparison["verdict"] == "better"
    assert pick(comparison, "pass@1")["p_adjusted"] == pytest.approx(2 / 2**6)
    for name in names:
        entry = pick(comparison, name)
        assert entry["p_value"] == pytest.approx(2 / 2**6)
        assert (entry["p_adjusted"], entry["verdict"]) == (pytest.approx(3 * 2 / 2**6), NONE)


def test_the_first_metric_that_may_decide_and_has_a_value_gives_the_verdict() -> None:
    base, tuned = rows([False] * 30, np.linspace(9, 12, 30)), rows([True] * 30, np.linspace(19, 23, 30))
    assert compare(METRICS, base, tuned)["verdict"] == "better"
    for row in base + tuned:
        row |= {"passed": None, "tests": None}
    comparison = compare(METRICS, base, tuned)
    assert (comparison["primary"], comparison["verdict"]) == ("bits per byte", "worse")
    assert comparison["chosen"]["absent"] == {"pass@1": "no test row brings tests"}
    assert any("pass@1 not computed: no test row brings tests" in line for line in told(comparison))
    declared = compare(with_primary(METRICS, "parse rate"), base, tuned)
    assert (declared["primary"], declared["verdict"], declared["chosen"]["decides"]) == (
        "parse rate",
        "better",
        "the recipe declares it (evaluate.primary)",
    )
    missing = compare(with_primary(METRICS, "chrF"), base, tuned)
    assert missing["primary"] == "bits per byte" and "chrF" in missing["chosen"]["absent"]


def test_a_verdict_on_a_part_of_the_rows_says_so() -> None:
    some = [row | ({"passed": None} if i > 2 else {}) for i, row in enumerate(rows([True] * 30))]
    assert any("only 3 of 30 rows have a value" in line for line in told(compare((PASS,), some, some)))
    assert not any("have a value" in line for line in told(compare((PASS,), rows([True] * 30), rows([True] * 30))))


def test_rows_without_any_score_are_refused() -> None:
    with pytest.raises(RunError, match=r"no metric has a value.*parse rate"):
        compare((PARSES,), [row | {"parses": None} for row in rows([1])], [row | {"parses": None} for row in rows([1])])


def test_clusters_count_and_few_rows_are_warned_about() -> None:
    cluster = [i // 10 for i in range(60)]
    comparison = compare((PASS,), rows([False] * 60, cluster=cluster), rows([True] * 60, cluster=cluster))
    entry = pick(comparison, "pass@1")
    assert words.caution_text(entry) == "only 6 independent groups in 60 test rows: below 30 the CI is approximate"
    assert entry["test"] == "sign-flip permutation"


def labelled(truth: Any, predicted: Any) -> list[dict[str, Any]]:
    return [
        {"id": str(i), "prompt_hash": "", "slice": None, "cluster": i, "label": int(t), "predicted": int(p)}
        for i, (t, p) in enumerate(zip(truth, predicted, strict=True))
    ]


def counted(row: dict[str, Any]) -> list[float]:
    """Return hits, predictions and truths per label of a row."""
    hit, predicted, truth = ([0.0] * 3 for _ in range(3))
    hit[row["label"]] = float(row["label"] == row["predicted"])
    predicted[row["predicted"]] = truth[row["label"]] = 1.0
    return hit + predicted + truth


def weighted_f1(sums: Any) -> Any:
    hits, predicted, truth = np.split(sums, 3, axis=1)
    f1 = np.divide(2 * hits, predicted + truth, out=np.zeros_like(hits), where=predicted + truth > 0)
    return (f1 * truth).sum(axis=1) / truth.sum(axis=1)


WEIGHTED_F1 = Metric("weighted F1", "corpus", "predicted", True, read=counted, transform=weighted_f1, share=True)


def test_a_corpus_metric_such_as_weighted_f1_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    truth, base = rng.integers(0, 3, (2, 120))
    tuned = np.where(rng.random(120) < 0.5, truth, base)
    comparison = compare([WEIGHTED_F1], labelled(truth, base), labelled(truth, tuned))
    entry = pick(comparison, "weighted F1")
    assert entry["base"] == pytest.approx(f1_score(truth, base, average="weighted"))
    assert entry["tuned"] == pytest.approx(f1_score(truth, tuned, average="weighted"))
    assert (comparison["primary"], comparison["verdict"]) == ("weighted F1", "better")
    assert scores([WEIGHTED_F1], labelled(truth, tuned))["weighted F1"] == pytest.approx(entry["tuned"])
    assert json.loads(json.dumps(comparison, allow_nan=False)) == comparison


def test_chrf_of_a_variant_is_that_of_its_corpus() -> None:
    references = ["def f(x):\n    return x", "print(1)", "while True: pass"]
    answers = {"base": ["def f", "x", "while"], "tuned": ["def f(y):\n    return y", "print(2)", "while 1: pass"]}
    both = {
        side: [
            row | {"chrf_counts": chrf_counts(answer, reference)}
            for row, answer, reference in zip(rows([0] * 3), texts, references, strict=True)
        ]
        for side, texts in answers.items()
    }
    entry = pick(compare(METRICS, both["base"], both["tuned"]), "chrF")
    for side, texts in answers.items():
        assert entry[side] == pytest.approx(CHRF().corpus_score(texts, [references]).score)
        assert scores(METRICS, both[side])["chrF"] == pytest.approx(entry[side])


def test_every_score_stands_for_clean_rows_too() -> None:
    leaks = ["prompt" if i < 10 else None for i in range(40)]
    base = rows([False] * 40, leaks=leaks)
    tuned = rows([i < 20 for i in range(40)], leaks=leaks)
    comparison = compare(METRICS, base, tuned)
    assert comparison["clean"] == {"rows": 30, "of": 40}
    for metric in ("pass@1", "bits per byte", "parse rate"):
        assert pick(comparison, metric, "clean")["n"] == 30
    assert pick(comparison, "pass@1", "clean")["tuned"] == pytest.approx(1 / 3)
    assert scores(METRICS, tuned)["clean"]["pass@1"] == pytest.approx(1 / 3)
    assert "clean" not in scores(METRICS, rows([1, 0]))


def test_topics_are_compared_one_by_one_and_the_small_ones_counted() -> None:
    topics = [f"topic {i % 15}" if i < 60 else "large" for i in range(100)]
    base = rows([False] * 100, topic=topics)
    tuned = rows([topic == "large" for topic in topics], topic=topics)
    part = compare(METRICS, base, tuned)["breakdown"]["topic"]
    assert len(part["entries"]) == 12 and part["others"] == {"groups": 4, "rows": 16}
    assert [entry["n"] for entry in part["entries"]] == [40, *[4] * 11]
    assert part["entries"][0]["verdict"] == "better"
    assert {entry["verdict"] for entry in part["entries"][1:]} == {NONE}
    line = words._parts("topic", part)
    quiet = compare(METRICS, base, base)["breakdown"]["topic"]
    assert words._parts("topic", quiet).startswith("by topic: no detectable difference on any of 12; 4 smaller")
    assert line.startswith("by topic: better on large; no detectable difference on topic 0, topic 1")
    assert "and 6 more; 4 smaller ones (16 rows) not compared" in line


def test_names_from_data_are_shown_as_they_are_and_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    name = "seen [bold]x[/bold]\n\x1b[31m:smile: " + "y" * 90
    comparison = compare((PASS,), rows([0] * 9, slice=[name] * 9), rows([1] * 9, slice=[name] * 9))
    _show_comparison(comparison, verbose=True)
    shown = capsys.readouterr().out
    assert "  seen [bold]x[/bold] [31m:smile: yy" in shown and "\x1b" not in shown
    assert len(shown.splitlines()[2].rstrip()) <= 100  # the name is cut, so that the numbers stand beside it


def test_the_largest_gains_and_losses_are_named() -> None:
    base = rows([False] * 6, [10, 10, 10, 10, 10, 10])
    tuned = rows([False] * 6, [10, 40, 5, 1, 20, 10])
    largest = compare((BITS,), base, tuned)["largest"]
    assert [row["id"] for row in largest["gained"]] == ["row 3", "row 2"]
    assert [row["id"] for row in largest["lost"]] == ["row 1", "row 4"]
    assert [row["id"] for row in largest["unchanged"]] == ["row 0", "row 5"]
    assert largest["lost"][0] == {"id": "row 1", "base": 1.0, "tuned": 4.0}


def test_explanations_have_numbers_and_no_verdict() -> None:
    base = rows([False] * 40, length=[300] * 40, reference_length=[100] * 40)
    tuned = rows([False] * 40, length=[90] * 40, reference_length=[100] * 40)
    comparison = compare((PASS, LENGTH), base, tuned)
    (entry,) = comparison["explanations"]
    assert (entry["base"], entry["tuned"]) == (pytest.approx(3), pytest.approx(0.9))
    assert "verdict" not in entry and [e["metric"] for e in comparison["metrics"]] == ["pass@1"]
    assert "answers: length ratio 3.000 → 0.900" in told(comparison)


def general(bits: Sequence[float], right: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"id": i, "slice": "code" if i % 2 else "english", "cluster": i, "bits": float(b), "bytes": 10,
         "right": r, "targets": 10}
        for i, (b, r) in enumerate(zip(bits, right, strict=True))
    ]  # fmt: skip


def test_intervals_that_the_verdict_does_not_follow_are_explained() -> None:
    base, tuned = rows([False] * 40), rows([False] * 40)
    for i, (before, after) in enumerate(zip(base, tuned, strict=True)):
        before |= {"second": False, "third": False}
        after |= {"second": i < 5, "third": False}
    others = [Metric(name, "binary", name, True) for name in ("second", "third")]
    lines = told(compare((PASS, *others), base, tuned))
    assert [line for line in lines if line.startswith("second: the 95% CI excludes zero, but p adjusted")]
    assert not [line for line in lines if "equal on every row" in line]
    idle = words.warnings(compare((PASS, *others), base, [dict(row) for row in base]))
    assert "base and tuned are equal on every row by every metric: does the adapter change anything?" in idle


@pytest.mark.parametrize(
    ("english", "code", "said"),
    [
        (1.05, 1.05, "forgetting on general text: "),
        (1.01, 1.01, "detectable forgetting below 2% on general text: "),
        (1.005, 1.03, "detectable forgetting below 2% overall, but of code (3.0"),
        (1.0, 1.0, "no detectable forgetting on general text: "),
    ],
)
def test_forgetting_is_said_as_it_was_found(english: float, code: float, said: str) -> None:
    rng = np.random.default_rng(0)
    costs = {"english": rng.normal(900, 40, 60), "code": rng.normal(900, 40, 20)}

    def passages(factors: dict[str, float]) -> list[dict[str, Any]]:
        return [
            {"slice": kind, "cluster": f"{kind} {i}", "bits": bits * factors[kind], "bytes": 300}
            for kind in costs
            for i, bits in enumerate(costs[kind])
        ]

    found = compare_general(passages({"english": 1, "code": 1}), passages({"english": english, "code": code}))
    assert words._forgetting(found).startswith(said)


def babble(bits: float, *, cut_off: float, empty: float = 0.0, chrf: int = 10) -> list[dict[str, Any]]:
    """Return rows whose reference costs `bits`, and whose answers share nothing with it or are not there."""
    rng = np.random.default_rng(3)
    costs = bits * rng.uniform(0.9, 1.1, 100)
    finish = ["length" if i < 100 * cut_off else "end" for i in range(100)]
    counts = [[20, 20, min(20, chrf)] * 6] * 100
    blank = [i < 100 * empty for i in range(100)]
    return rows([False] * 100, costs, finish=finish, chrf_counts=counts, empty=blank, exact=[False] * 100)


WRITTEN = [metric for metric in METRICS if metric.name in ("bits per byte", "exact match", "chrF", "cut off", "empty")]


@pytest.mark.parametrize(
    ("tuned", "said"),
    [
        (
            babble(4, cut_off=0.79),
            "no score of the written answers differs detectably, and 79.0% of the tuned answers are",
        ),
        (babble(4, cut_off=0, empty=1.0), "100.0% of the tuned answers are empty"),
        (babble(4, cut_off=0, chrf=2), "; but worse by chrF ("),
    ],
)
def test_a_better_likelihood_says_in_one_sentence_what_is_written_with_it(tuned: Any, said: str) -> None:
    comparison = compare(WRITTEN, babble(8, cut_off=0.5), tuned)
    first = told(comparison)[0]
    assert first.startswith("tuned is better than base: bits per byte") and said in first
    assert words.contradicted(comparison)


def test_no_difference_by_the_primary_metric_does_not_hide_that_another_is_worse() -> None:
    comparison = compare(WRITTEN, babble(8, cut_off=0), babble(8, cut_off=0, chrf=2))
    first = told(comparison)[0]
    assert first.startswith("no detectable difference") and "; but worse by chrF (" in first
    assert words.contradicted(comparison)


def test_a_likelihood_that_goes_with_better_answers_is_said_plainly() -> None:
    comparison = compare(WRITTEN, babble(8, cut_off=0.5, chrf=2), babble(4, cut_off=0.0, chrf=18))
    assert "; but" not in told(comparison)[0]
    assert not words.contradicted(comparison)


def baseline(title: str, there: float, verdict: str) -> dict[str, Any]:
    entry = {"share": True, "base": there, "tuned": 0.39, "difference": 0.39 - there, "verdict": verdict}
    return {
        "title": title,
        "accuracies": entry | {"low": 0.39 - there - 0.1, "high": 0.39 - there + 0.1, "p_adjusted": 0.06},
    }


def test_a_baseline_that_wins_stands_first_the_best_of_them_before_all() -> None:
    comparison = compare((PASS,), rows([False] * 100), rows([True] * 40 + [False] * 60))
    comparison["baselines"] = [baseline("majority", 0.02, "better"), baseline("probe", 0.587, "worse"),
                               baseline("TF-IDF", 0.743, "worse")]  # fmt: skip
    lines = told(comparison)
    assert lines[0].startswith("tuned is worse than TF-IDF: accuracy 39.0% against 74.3%")
    assert lines[1].startswith("tuned is worse than probe") and lines[2].startswith("tuned is better than base")
    assert words.contradicted(comparison)


def test_an_interval_without_zero_that_decides_nothing_has_its_reason_on_the_line() -> None:
    comparison = compare((PASS,), rows([False] * 100), rows([True] * 40 + [False] * 60))
    comparison["baselines"] = [baseline("probe", 0.2, NONE)]
    (line,) = [line for line in told(comparison) if "probe" in line]
    assert line.startswith("no detectable difference") and line.endswith("the 95% CI excludes zero, but p = 0.060")


def test_base_and_tuned_are_shown_with_the_same_digits() -> None:
    entry = {"share": False, "base": 30.61, "tuned": 0.0}
    assert [format_value(entry, value) for value in (30.61, 0.0)] == ["30.6", "0.0"]


def test_forgetting_is_flagged_above_2_percent_and_beyond_noise() -> None:
    rng = np.random.default_rng(5)
    bits, right = rng.uniform(20, 30, 40), rng.integers(3, 8, 40)
    for factor, flagged in ((1.10, True), (1.01, False), (0.9, False)):
        entries = compare_general(general(bits, right), general(bits * factor, right - 1))
        total, accuracy = (e for e in entries if e["slice"] == "all")
        assert total["flagged"] is flagged
        assert total["forgotten"] == pytest.approx(factor - 1)
        assert accuracy["difference"] == pytest.approx(-0.1) and accuracy["verdict"] == "worse"
    noisy = compare_general(general(bits, right), general(bits + np.tile([14, -10], 20), right))
    assert noisy[0]["forgotten"] > 0.02 and not noisy[0]["flagged"]
