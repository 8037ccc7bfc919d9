"""Is tuned better than base on the same rows, beyond noise? Paired numbers in, an interval and a verdict out.

A verdict needs two witnesses: the 95 % interval excludes zero and p < 0.05. The interval alone is too bold in
the corners: on 0/1 scores it excludes zero after four wins and no loss (p = 0.125), and it shrinks to a point
when all differences are equal, be it over two rows. Whoever looks at several metrics adjusts p with `holm` and asks
`decide` again.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Table = Array | Sequence[Sequence[float]]
Aggregate = Callable[[Array, Array], Array]
Caution = Literal["undefined", "one cluster", "too few", "few", "unequal"]
Verdict = Literal["better", "worse", "no detectable difference"]

_LEVEL = 0.95
_POWER = 0.80
_RESAMPLES = 10_000
_FEW = 30  # below this many independent rows the intervals are rough; a percentile bootstrap covers 84 % at 10
_FEWEST = math.ceil(1 - math.log2(1 - _LEVEL))  # rows that all change one way need to be six: 2 · 2⁻⁵ > 0.05
_CHUNK = 2_000_000  # random draws held in memory at once


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval, all in the unit of the estimate."""

    estimate: float
    low: float
    high: float
    level: float = _LEVEL


@dataclass(frozen=True)
class Comparison:
    """Tuned against base on the same rows; effects are tuned − base, in the unit of the metric."""

    base: float
    """The aggregate of the base model."""
    tuned: float
    """The aggregate of the tuned model."""
    difference: float
    low: float | None
    """Lower end of the 95 % interval of the difference; None with a single independent row."""
    high: float | None
    p_value: float
    """Two-sided."""
    test: str
    """"exact McNemar", "sign-flip permutation" or "paired bootstrap"."""
    n: int
    """Rows."""
    wins: int
    """Rows on which tuned is better, whichever direction that is."""
    losses: int
    ties: int
    verdict: Verdict
    detectable: float | None
    """Smallest true effect found with 80 % power at two-sided 5 %, given this spread and, for binary scores, the fewest
    rows or clusters that must change; None without spread, and below six, which find nothing."""
    clusters: int
    """Groups of rows that are independent of one another; `n` where each row stands for itself."""
    effective: int
    """Clusters of equal size that tell as much: (Σ sizes)² / Σ sizes² (Kish 1965, Survey Sampling, 11.7)."""
    undefined: int
    """Resamples of these rows on which the metric has no value; with any there is no interval."""
    caution: Caution | None
    """Why the interval deserves little trust."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being looked at together, in the order given, each 0 to 1.

    The k-th smallest of m is multiplied by m − k + 1, and none falls below a smaller one's: Holm 1979, Scandinavian
    Journal of Statistics 6:65–70. It holds whatever the tests share.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def decide(low: float | None, high: float | None, p_value: float, *, higher_is_better: bool) -> Verdict:
    """Return the verdict of a 95 % interval and a p-value, which is the adjusted one where several were looked at."""
    if low is None or high is None or p_value >= 1 - _LEVEL:
        return "no detectable difference"
    if low > 0:
        return "better" if higher_is_better else "worse"
    if high < 0:
        return "worse" if higher_is_better else "better"
    return "no detectable difference"


def wilson(successes: int, n: int) -> Interval:
    """Return the Wilson score interval of a proportion, 0 to 1, without continuity correction.

    Wilson 1927, JASA 22:209–212. Raises ValueError unless 0 ≤ successes ≤ n and n ≥ 1.
    """
    from scipy.special import ndtri

    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"a proportion needs 0 ≤ successes ≤ n and n ≥ 1, got {successes} of {n}")
    z = float(ndtri(0.5 + _LEVEL / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # The formula reaches 0 and 1 exactly at the ends; rounding must not push past them or fall short.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(share, low, high)


def compare_means(
    base: Sequence[float],
    tuned: Sequence[float],
    *,
    higher_is_better: bool,
    groups: Sequence[Hashable] | None = None,
    binary: bool = False,
    share: bool = False,
    seed: int = 0,
) -> Comparison:
    """Compare a per-row score, paired by position: the mean of d_i = tuned_i − base_i.

    The interval is Student t with SE = sd(d)/√n, or clustered when `groups` names the cluster of each row
    (see `_standard_error`); p comes from the exact McNemar test for `binary` scores, else from 10,000 sign
    flips of rows or of whole clusters (binary scores in clusters too, since McNemar assumes independent
    rows). One independent row has no interval. When all differences are equal the interval is that point, and
    p decides; but for binary scores it is the exact one of `_unanimous_interval`. Intervals of binary scores, and of a
    `share` (each row 0 to 1), end at −1 and 1.

    Raises ValueError for no rows, unequal lengths, values that are not finite, or binary scores other than 0
    and 1.
    """
    before, after = _columns(base=base, tuned=tuned)
    if binary and not np.isin([before, after], (0.0, 1.0)).all():
        raise ValueError("binary scores must be 0 or 1")
    members = _cluster_numbers(groups, len(before))
    gains = after - before
    error = _standard_error(gains, members, scale=float(np.abs([before, after]).max()))
    clusters = int(members.max()) + 1
    difference = float(after.mean() - before.mean())
    low, high = _student_interval(difference, error, clusters)
    if (binary or share) and low is not None and high is not None:
        low, high = max(low, -1.0), min(high, 1.0)  # Student's t does not know that shares end there
        if binary and low == high:
            low, high = _unanimous_interval(difference, clusters)
    if binary and groups is None:
        test, p_value = "exact McNemar", _mcnemar(gains)
    else:
        test, p_value = "sign-flip permutation", _sign_flip(_sums(gains, members), seed)
    evidence = _Evidence(low, high, p_value, test, error, least=_least_share(clusters) if binary else None)
    return _comparison(float(before.mean()), float(after.mean()), gains, evidence, members, higher_is_better)


def compare_sums(
    base: Table,
    tuned: Table,
    *,
    aggregate: Callable[[Array], Array],
    higher_is_better: bool,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare a corpus number made from counts that are summed over rows, such as F1 or chrF: [row, count] each.

    `aggregate` maps sums [sample, count] to numbers [sample]. The percentile interval and p come from a paired
    bootstrap over rows, or over the clusters of `groups`, 10,000 times (Efron & Tibshirani 1993, chapters 13 and 16);
    p has the +1 correction and never falls below 2·2⁻ᶜ, the p of c clusters that all agree. One independent row has no
    interval, nor has a number that some samples cannot be given. A row counts as a win by its own number.

    Raises ValueError for no rows, tables of unequal shape, values that are not finite, or totals without a number.
    """
    sides = [np.asarray(side, dtype=np.float64) for side in (base, tuned)]
    if sides[0].ndim != 2 or sides[0].shape != sides[1].shape or not sides[0].size:
        raise ValueError(f"a paired comparison needs equal tables of counts, got {[side.shape for side in sides]}")
    table = np.concatenate(sides, axis=1)
    if not np.isfinite(table).all():
        raise ValueError("the counts hold values that are not finite")
    before, after = (float(_aggregated(total, aggregate)[0]) for total in _sides(table.sum(axis=0, keepdims=True)))
    if not math.isfinite(before) or not math.isfinite(after):
        raise ValueError(f"the metric has no value over these rows: base {before}, tuned {after}")
    members = _cluster_numbers(groups, len(table))
    clusters = _cluster_sums(table, members)
    draws = _differences(_bootstrap_sums(clusters, seed), aggregate)
    evidence = _bootstrap_evidence(draws, len(clusters), scale=max(abs(before), abs(after)))
    return _comparison(before, after, _differences(table, aggregate), evidence, members, higher_is_better)


def compare_ratios(  # noqa: PLR0913 — four columns that belong to one row each, and the switches of compare_means
    base_numerators: Sequence[float],
    base_denominators: Sequence[float],
    tuned_numerators: Sequence[float],
    tuned_denominators: Sequence[float],
    *,
    aggregate: Aggregate,
    higher_is_better: bool,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare a number made from two sums over rows, such as perplexity, as `compare_sums` does.

    `aggregate` maps arrays of summed numerators and denominators to an array of numbers, element by element,
    for example `lambda nats, tokens: np.exp(nats / tokens)`.

    Raises ValueError for no rows, unequal lengths, values that are not finite, or denominators that are not
    positive.
    """
    columns = _columns(
        base_numerators=base_numerators,
        base_denominators=base_denominators,
        tuned_numerators=tuned_numerators,
        tuned_denominators=tuned_denominators,
    )
    if any((column <= 0).any() for column in columns[1::2]):
        raise ValueError("every denominator must be positive")
    return compare_sums(
        np.column_stack(columns[:2]),
        np.column_stack(columns[2:]),
        aggregate=lambda sums: aggregate(sums[:, 0], sums[:, 1]),
        higher_is_better=higher_is_better,
        groups=groups,
        seed=seed,
    )


class _Evidence(NamedTuple):
    low: float | None
    high: float | None
    p_value: float
    test: str
    error: float | None  # standard error of the difference; None with one cluster
    undefined: int = 0
    least: float | None = None  # what no effect below it can show, whatever the spread


def _comparison(
    base: float, tuned: float, gains: Array, evidence: _Evidence, members: NDArray[np.intp], higher_is_better: bool
) -> Comparison:
    sizes = np.bincount(members)
    wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
    if not higher_is_better:
        wins, losses = losses, wins
    return Comparison(
        base=base,
        tuned=tuned,
        difference=tuned - base,
        low=evidence.low,
        high=evidence.high,
        p_value=evidence.p_value,
        test=evidence.test,
        n=len(gains),
        wins=wins,
        losses=losses,
        ties=len(gains) - wins - losses,
        verdict=decide(evidence.low, evidence.high, evidence.p_value, higher_is_better=higher_is_better),
        detectable=_detectable(evidence, len(sizes)),
        clusters=len(sizes),
        effective=(effective := len(gains) ** 2 // int(sizes @ sizes)),
        undefined=evidence.undefined,
        caution="undefined" if evidence.undefined else _caution(len(sizes), effective),
    )


def _detectable(evidence: _Evidence, clusters: int) -> float | None:
    """Return (t₀.₉₇₅ + t₀.₈₀) · SE or `least`: Miller 2024 (arXiv 2411.00640), equation 10, with t where it has z."""
    from scipy.special import stdtrit

    if clusters < _FEWEST:  # however large an effect, p stays above 0.05
        return None
    if not evidence.error:  # no spread was seen, so nothing says how much there is
        return evidence.least
    quantiles = stdtrit(clusters - 1, [0.5 + _LEVEL / 2, _POWER])
    return max(float(quantiles.sum() * evidence.error), evidence.least or 0.0)


def _least_share(clusters: int) -> float | None:
    """Return the share of clusters that must be won, and none lost, for six wins in 80 % of cases; None below six.

    Fewer than six that all change for the better have p > 0.05 (2 · 2⁻⁵ = 0.0625): whatever the spread, no smaller
    share is found. P(Bin(n, x) ≥ 6) = I_x(6, n − 5), the regularised incomplete beta function. The rows of a cluster
    may all change together, so clusters are counted.
    """
    from scipy.special import betaincinv

    return float(betaincinv(_FEWEST, clusters - _FEWEST + 1, _POWER)) if clusters >= _FEWEST else None


def _unanimous_interval(difference: float, clusters: int) -> tuple[float, float]:
    """Return how far the true difference of shares, −1 to 1, may be from one that all clusters agree on.

    When none of n clusters says otherwise, a share of up to 1 − 0.025^(1/n) of all may (Clopper & Pearson 1934,
    Biometrika 26:404–413), and may say the very opposite. Where all
    rows are won it includes zero exactly when McNemar's p is above 0.05.
    """
    others = 1 - ((1 - _LEVEL) / 2) ** (1 / clusters)
    return difference - others * (1 + difference), difference + others * (1 - difference)


def _caution(clusters: int, effective: int) -> Caution | None:
    """Return what makes an interval rough, given how many clusters there are and how many equal ones they are worth."""
    if clusters == 1:
        return "one cluster"
    if clusters < _FEWEST:
        return "too few"
    if clusters < _FEW:
        return "few"
    return "unequal" if effective < _FEW else None


def _columns(**columns: Sequence[float]) -> list[Array]:
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    lengths = {name: array.size for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"a paired comparison needs columns of one length, at least 1, got {lengths}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite")
    return list(arrays.values())


def _cluster_numbers(groups: Sequence[Hashable] | None, rows: int) -> NDArray[np.intp]:
    """Return the cluster of each row as 0, 1, 2, …; every row is its own cluster without `groups`."""
    if groups is None:
        return np.arange(rows)
    if len(groups) != rows:
        raise ValueError(f"groups must name the group of each of the {rows} rows, got {len(groups)}")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[group] for group in groups])


def _sums(values: Array, members: NDArray[np.intp]) -> Array:
    return np.asarray(np.bincount(members, weights=values), dtype=np.float64)


def _standard_error(gains: Array, members: NDArray[np.intp], *, scale: float) -> float | None:
    """Return the standard error of mean(gains), or None with one cluster.

    Clustered: √(G/(G−1) · Σ_c (Σ_{i∈c} (d_i − d̄))²) / n, the clustered standard error of Miller 2024 (arXiv
    2411.00640, section 2.2) with the factor G/(G−1) on all of it, as in inspect_ai, because G is often small.
    With clusters of one row it is sd/√n.
    """
    residuals = _sums(gains - gains.mean(), members)
    clusters = len(residuals)
    if clusters == 1:
        return None
    error = math.sqrt(clusters / (clusters - 1) * float(residuals @ residuals)) / len(gains)
    return _without_rounding(error, scale)


def _without_rounding(error: float, scale: float) -> float:
    # Equal differences of numbers as large as `scale` leave a rounding error, which is not a spread.
    return error if error > 1e-12 * scale else 0.0


def _student_interval(difference: float, error: float | None, clusters: int) -> tuple[float | None, float | None]:
    from scipy.special import stdtrit

    if error is None:
        return None, None
    half = float(stdtrit(clusters - 1, 0.5 + _LEVEL / 2)) * error
    return difference - half, difference + half


def _mcnemar(gains: Array) -> float:
    from scipy.stats import binomtest

    wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
    return float(binomtest(min(wins, losses), wins + losses).pvalue) if wins + losses else 1.0


def _sign_flip(sums: Array, seed: int) -> float:
    """Return the two-sided p of Σ sums when each sign was a coin toss: (1 + as extreme) / (1 + flips)."""
    # Sorted magnitudes: p must not depend on the order of rows, nor on which side is called base.
    magnitudes = np.sort(np.abs(sums[sums != 0]))
    if not magnitudes.size:
        return 1.0
    observed = abs(float(sums.sum())) - 1e-12 * float(magnitudes.sum())  # ties must not be lost to rounding
    rng = np.random.default_rng(seed)
    extreme = 0
    for count in _chunks(magnitudes.size):
        coins = rng.integers(0, 256, size=(count, -(-magnitudes.size // 8)), dtype=np.uint8)
        signs = np.unpackbits(coins, axis=1, count=magnitudes.size).astype(np.float64) * 2 - 1
        extreme += int((np.abs(signs @ magnitudes) >= observed).sum())
    return (1 + extreme) / (1 + _RESAMPLES)


def _cluster_sums(table: Array, members: NDArray[np.intp]) -> Array:
    sums = np.stack([_sums(column, members) for column in table.T], axis=1)
    # In an order of their own, that starts with what base and tuned share: the same clusters must be drawn
    # whatever the order of rows, and also when base and tuned change places.
    base, tuned = _sides(sums)
    return np.asarray(sums[np.lexsort((*sums.T, *(base + tuned).T[::-1]))])


def _bootstrap_sums(clusters: Array, seed: int) -> Array:
    """Return the column sums of 10,000 samples of `clusters`, drawn with replacement: [resample, column]."""
    rng = np.random.default_rng(seed)
    size = len(clusters)
    parts = []
    for count in _chunks(size):
        drawn = rng.integers(0, size, size=(count, size)) + size * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
        parts.append(times @ clusters)
    return np.concatenate(parts)


def _bootstrap_evidence(draws: Array, clusters: int, *, scale: float) -> _Evidence:
    if clusters == 1:
        return _Evidence(None, None, 1.0, "paired bootstrap", None)
    lacking = int((~np.isfinite(draws)).sum())
    if lacking:
        return _Evidence(None, None, 1.0, "paired bootstrap", None, lacking)
    tail = (1 - _LEVEL) / 2
    low, high = (float(end) for end in np.quantile(draws, [tail, 1 - tail]))
    beyond = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    p_value = min(1.0, max(2 * (1 + beyond) / (1 + len(draws)), 2.0 ** (1 - clusters)))
    error = _without_rounding(float(draws.std(ddof=1)), scale)
    return _Evidence(low, high, p_value, "paired bootstrap", error)


def _sides(sums: Array) -> list[Array]:
    """Return the columns of base and those of tuned."""
    return np.split(sums, 2, axis=1)


def _differences(sums: Array, aggregate: Callable[[Array], Array]) -> Array:
    base, tuned = _sides(sums)
    with np.errstate(invalid="ignore"):
        return _aggregated(tuned, aggregate) - _aggregated(base, aggregate)


def _aggregated(sums: Array, aggregate: Callable[[Array], Array]) -> Array:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # what has no value comes out not finite
        return np.asarray(aggregate(sums), dtype=np.float64)


def _chunks(width: int) -> list[int]:
    size = max(1, min(_RESAMPLES, _CHUNK // width))
    return [min(size, _RESAMPLES - start) for start in range(0, _RESAMPLES, size)]
