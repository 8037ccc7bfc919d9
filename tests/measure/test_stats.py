"""The proof itself: known answers, independent references, and how often it cries wolf."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tailora.measure.stats import compare_means, compare_ratios, compare_sums, holm, wilson

OPPOSITE = {"better": "worse", "worse": "better", "no detectable difference": "no detectable difference"}


def per_token(nats, tokens):
    return nats / tokens


def perplexity(nats, tokens):
    return np.exp(nats / tokens)


def likelihoods(rng, rows, gain=0.0):
    """Summed nats and tokens of base and tuned answers that are `gain` nats per token apart."""
    tokens = rng.integers(5, 60, rows).astype(float)
    hard = rng.normal(2.0, 0.4, rows)
    base, tuned = (tokens * (hard - shift + rng.normal(0, 0.2, rows)) for shift in (0, gain))
    return base, tokens, tuned, tokens


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(counts):
    interval = wilson(*counts)
    theirs = scipy.stats.binomtest(*counts).proportion_ci(0.95, method="wilson")
    assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= interval.low <= interval.estimate <= interval.high <= 1


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_proportion(successes, n):
    with pytest.raises(ValueError, match="proportion"):
        wilson(successes, n)


def test_the_interval_of_means_is_the_paired_t_interval():
    rng = np.random.default_rng(1)
    base = rng.normal(50, 10, 40)
    tuned = base + rng.normal(1, 3, 40)
    found = compare_means(base, tuned, higher_is_better=True)
    theirs = scipy.stats.ttest_rel(tuned, base).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert (found.base, found.tuned) == pytest.approx((base.mean(), tuned.mean()))
    assert found.difference == pytest.approx((tuned - base).mean())


def test_equal_clusters_give_the_t_interval_of_their_means():
    rng = np.random.default_rng(2)
    gains = (rng.normal(0.5, 1, (12, 1)) + rng.normal(0, 0.3, (12, 5))).ravel()
    groups = [f"source {row // 5}" for row in range(60)]
    found = compare_means(np.zeros(60), gains, higher_is_better=True, groups=groups)
    theirs = scipy.stats.ttest_1samp(gains.reshape(12, 5).mean(axis=1), 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    plain = compare_means(np.zeros(60), gains, higher_is_better=True)
    assert found.high - found.low > 1.5 * (plain.high - plain.low)


def test_unequal_clusters_give_the_double_sum_of_the_clustered_error():
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 9, 50).tolist()
    gains = rng.normal(0, 1, 50)
    found = compare_means(np.zeros(50), gains, higher_is_better=True, groups=groups)
    rest, count = gains - gains.mean(), len(set(groups))
    within = sum(rest[i] * rest[j] for i in range(50) for j in range(50) if groups[i] == groups[j])
    error = math.sqrt(within * count / (count - 1)) / 50
    assert found.high - found.low == pytest.approx(2 * scipy.stats.t.ppf(0.975, count - 1) * error)


def test_clusters_of_one_row_change_nothing():
    rng = np.random.default_rng(4)
    base, tuned = rng.normal(0, 1, (2, 35))
    columns = likelihoods(rng, 35)
    names = list(range(35, 0, -1))
    assert same(
        compare_means(base, tuned, higher_is_better=True, groups=names),
        compare_means(base, tuned, higher_is_better=True),
    )
    ratios = {"aggregate": per_token, "higher_is_better": False}
    assert same(compare_ratios(*columns, **ratios, groups=names), compare_ratios(*columns, **ratios))


def test_binary_p_is_the_exact_mcnemar_test():
    base = [0] * 9 + [1] * 2 + [1] * 20 + [0] * 9
    tuned = [1] * 9 + [0] * 2 + [1] * 20 + [0] * 9
    found = compare_means(base, tuned, higher_is_better=True, binary=True)
    assert found.test == "exact McNemar"
    assert found.p_value == pytest.approx(2 * sum(math.comb(11, k) for k in range(3)) / 2**11)
    assert (found.wins, found.losses, found.ties) == (9, 2, 29)


def test_the_permutation_p_is_near_that_of_all_sign_flips():
    gains = np.random.default_rng(5).normal(0.4, 1, 10)
    found = compare_means(np.zeros(10), gains, higher_is_better=True)
    signs = 1 - 2 * ((np.arange(2**10)[:, None] >> np.arange(10)) & 1)
    exact = float((np.abs(signs @ gains) >= abs(gains.sum()) - 1e-9).mean())
    assert found.test == "sign-flip permutation"
    assert found.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact / 10_000))


def test_whole_clusters_are_flipped_also_for_binary_scores():
    groups = [row // 10 for row in range(40)]
    found = compare_means([0] * 40, [1] * 40, higher_is_better=True, binary=True, groups=groups)
    assert found.test == "sign-flip permutation"
    assert found.p_value == pytest.approx(2 / 2**4, abs=0.02)
    assert found.verdict == "no detectable difference"


def test_the_bootstrap_interval_is_near_that_of_scipy():
    rng = np.random.default_rng(6)
    columns = likelihoods(rng, 80, gain=0.05)

    def statistic(base, base_tokens, tuned, tuned_tokens, axis):
        return np.exp(tuned.sum(axis) / tuned_tokens.sum(axis)) - np.exp(base.sum(axis) / base_tokens.sum(axis))

    theirs = scipy.stats.bootstrap(columns, statistic, paired=True, method="percentile", rng=rng)
    found = compare_ratios(*columns, aggregate=perplexity, higher_is_better=False)
    assert found.difference == pytest.approx(float(statistic(*columns, axis=0)))
    spread = float(theirs.standard_error)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.1 * spread)
    quantiles = scipy.stats.t.ppf(0.975, 79) + scipy.stats.t.ppf(0.8, 79)
    assert found.detectable == pytest.approx(quantiles * spread, rel=0.05)


def test_the_cluster_bootstrap_draws_whole_clusters():
    rng = np.random.default_rng(7)
    columns = likelihoods(rng, 20)
    copies = [np.repeat(column, 6) for column in columns]
    groups = [row // 6 for row in range(120)]
    options = {"aggregate": per_token, "higher_is_better": False}
    once, clustered = compare_ratios(*columns, **options), compare_ratios(*copies, **options, groups=groups)
    assert (clustered.low, clustered.high) == pytest.approx((once.low, once.high))
    assert clustered.caution is not None
    pretended = compare_ratios(*copies, **options)
    assert pretended.high - pretended.low < 0.6 * (once.high - once.low)


def continuous_run(rng):
    hard = rng.normal(0, 1, 100)
    base, tuned = hard + rng.normal(0, 0.5, (2, 100))
    return compare_means(base, tuned, higher_is_better=True)


def binary_run(rng):
    chance = rng.beta(2, 2, 100)
    base, tuned = (rng.random((2, 100)) < chance).astype(float)
    return compare_means(base, tuned, higher_is_better=True, binary=True)


def nearly_equal_binary_run(rng):
    base = (rng.random(100) < 0.5).astype(float)
    tuned = np.where(rng.random(100) < 0.04, 1 - base, base)
    return compare_means(base, tuned, higher_is_better=True, binary=True)


def clustered_run(rng):
    gains = rng.normal(0, 1, 25).repeat(4) + rng.normal(0, 0.5, 100)
    return compare_means(np.zeros(100), gains, higher_is_better=True, groups=np.arange(25).repeat(4).tolist())


def ratio_run(rng):
    return compare_ratios(*likelihoods(rng, 100), aggregate=perplexity, higher_is_better=False)


@pytest.mark.parametrize(
    "run",
    [continuous_run, binary_run, nearly_equal_binary_run, clustered_run, ratio_run],
    ids=lambda f: f.__name__,
)
def test_of_200_comparisons_of_equals_at_most_7_percent_find_a_difference(run):
    rng = np.random.default_rng(2024)
    verdicts = [run(rng).verdict for _ in range(200)]
    assert sum(verdict != "no detectable difference" for verdict in verdicts) <= 14


def test_base_against_itself_is_no_difference():
    rng = np.random.default_rng(8)
    scores, (nats, tokens, _, _) = rng.normal(0, 1, 60), likelihoods(rng, 60)
    for found in (
        compare_means(scores, scores, higher_is_better=True),
        compare_means(scores > 0, scores > 0, higher_is_better=True, binary=True),
        compare_ratios(nats, tokens, nats, tokens, aggregate=perplexity, higher_is_better=False),
    ):
        assert (found.difference, found.ties, found.p_value) == (0, 60, 1)
        known = 0.0 if found.test != "exact McNemar" else scipy.stats.binomtest(0, 60).proportion_ci().high
        assert (found.low, found.high) == pytest.approx((-known, known), abs=1e-12)
        assert found.verdict == "no detectable difference"
        assert (found.detectable is None) == (found.test != "exact McNemar")


def test_a_planted_gain_of_20_points_at_200_rows_is_found():
    rng = np.random.default_rng(9)
    base = (rng.random(200) < 0.4).astype(float)
    tuned = np.where(rng.random(200) < 1 / 3, 1, base)  # a third of the 60 % wrong ones become right
    found = compare_means(base, tuned, higher_is_better=True, binary=True)
    assert found.verdict == "better"
    assert found.low < 0.2 < found.high
    columns = likelihoods(rng, 200, gain=0.2)
    ratio = compare_ratios(*columns, aggregate=per_token, higher_is_better=False)
    assert ratio.verdict == "better"
    assert ratio.low < -0.2 < ratio.high
    assert ratio.wins > ratio.losses


def test_an_effect_as_large_as_detectable_is_found_in_about_80_of_100():
    rng = np.random.default_rng(10)
    effect = compare_means(np.zeros(4000), rng.normal(0, 1, 4000), higher_is_better=True).detectable
    effect *= math.sqrt(4000 / 50)  # the same spread at 50 rows
    found = [compare_means(np.zeros(50), rng.normal(effect, 1, 50), higher_is_better=True).verdict for _ in range(200)]
    assert 0.70 <= found.count("better") / 200 <= 0.90


def test_a_difference_of_shares_ends_at_100_points():
    found = compare_means([1] * 30, [0] * 29 + [1], higher_is_better=True, binary=True)
    assert found.low == -1 and -1 < found.difference < found.high


def test_a_mean_of_shares_ends_at_100_points():
    found = compare_means([0.0, 0.0], [0.1, 0.9], higher_is_better=True, share=True)
    assert (found.low, found.high) == (-1, 1)
    assert compare_means([0.0, 0.0], [0.1, 0.9], higher_is_better=True).high > 1


def test_a_share_below_six_rows_is_never_called_detectable():
    quiet = [0] * 60
    least = compare_means(quiet, quiet, higher_is_better=True, binary=True).detectable
    rng = np.random.default_rng(16)
    runs = [compare_means(quiet, rng.random(60) < least, higher_is_better=True, binary=True) for _ in range(400)]
    assert [run.verdict for run in runs].count("better") / 400 == pytest.approx(0.8, abs=0.06)
    assert all(run.detectable >= least for run in runs)
    assert compare_means([0] * 5, [0] * 5, higher_is_better=True, binary=True).detectable is None


def same(one, other, *, sign=1):
    """Say whether two comparisons agree but for rounding; with sign −1, whether they mirror each other."""
    ends = (other.low, other.high) if sign == 1 else (-other.high, -other.low)
    return (one.low, one.high, one.difference, one.p_value, one.detectable) == pytest.approx(
        (*ends, sign * other.difference, other.p_value, other.detectable), abs=1e-9
    ) and one.verdict == (other.verdict if sign == 1 else OPPOSITE[other.verdict])


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.floats(-1, 1), st.booleans(), st.randoms(use_true_random=False))
def test_order_does_not_matter_and_swapping_sides_mirrors_everything(rows, gain, grouped, random):
    rng = np.random.default_rng(random.getrandbits(32))
    columns = likelihoods(rng, rows, gain)
    groups = [f"g{row % 7}" for row in range(rows)] if grouped else None
    order = rng.permutation(rows)
    shuffled = [column[order] for column in columns]
    shuffled_groups = [groups[row] for row in order] if groups else None
    swapped = (*columns[2:], *columns[:2])

    options = {"aggregate": perplexity, "higher_is_better": False}
    ratio = compare_ratios(*columns, **options, groups=groups)
    assert same(ratio, compare_ratios(*shuffled, **options, groups=shuffled_groups))
    assert same(ratio, compare_ratios(*swapped, **options, groups=groups), sign=-1)

    mean = compare_means(columns[0], columns[2], higher_is_better=True, groups=groups)
    assert same(mean, compare_means(shuffled[0], shuffled[2], higher_is_better=True, groups=shuffled_groups))
    mirrored = compare_means(columns[2], columns[0], higher_is_better=True, groups=groups)
    assert same(mean, mirrored, sign=-1)
    assert (mean.wins, mean.losses) == (mirrored.losses, mirrored.wins)


@pytest.mark.parametrize("rows", [2, 5, 6, 40])
def test_rows_that_all_agree_leave_room_for_those_that_were_not_drawn(rows):
    unseen = scipy.stats.binomtest(0, rows).proportion_ci(0.95, method="exact").high
    equal, won = (compare_means([0] * rows, [x] * rows, higher_is_better=True, binary=True) for x in (0, 1))
    assert (equal.low, equal.high) == pytest.approx((-unseen, unseen))
    assert (won.low, won.high) == pytest.approx((1 - 2 * unseen, 1))
    assert (won.low > 0) == (won.p_value < 0.05) == (won.verdict == "better")


def test_fewer_than_six_clusters_never_claim_what_they_cannot_find():
    groups = np.repeat(range(5), 8)
    base = np.zeros(40)
    tuned = 10 + np.random.default_rng(0).normal(0, 0.01, 40)  # as plain as a difference can be
    positive = {"aggregate": per_token, "higher_is_better": True, "groups": list(groups)}
    for found in (
        compare_means(base, tuned, higher_is_better=True, groups=list(groups)),
        compare_means(base, base + 1, higher_is_better=True, groups=list(groups), binary=True),
        compare_ratios(base, base + 1, tuned, base + 1, **positive),
    ):
        assert (found.verdict, found.detectable) == ("no detectable difference", None)
        assert found.caution == "too few"


def test_what_clusters_can_show_is_counted_in_clusters():
    rng, groups = np.random.default_rng(4), list(np.repeat(range(20), 10))
    quiet = np.zeros(200)
    least = compare_means(quiet, quiet, higher_is_better=True, groups=groups, binary=True).detectable
    runs = [
        compare_means(quiet, np.repeat(rng.random(20) < least, 10), higher_is_better=True, groups=groups, binary=True)
        for _ in range(200)
    ]
    assert 0.7 <= np.mean([run.verdict == "better" for run in runs]) <= 0.9


def test_one_group_with_most_of_the_rows_is_warned_about():
    base, tuned = np.random.default_rng(0).normal(0, 1, (2, 100))
    groups = [0] * 60 + list(range(1, 41))
    uneven = compare_means(base, tuned, higher_is_better=True, groups=groups)
    assert (uneven.caution, uneven.clusters, uneven.effective) == ("unequal", 41, 100**2 // (60**2 + 40))
    assert compare_means(base, tuned, higher_is_better=True, groups=[0, 0, *range(98)]).caution is None


def test_the_direction_of_a_metric_decides_what_better_means():
    base, tuned = np.arange(40.0), np.arange(40.0) + 1 + np.arange(40) % 3
    up = compare_means(base, tuned, higher_is_better=True)
    down = compare_means(base, tuned, higher_is_better=False)
    assert (up.verdict, up.wins, up.losses) == ("better", 40, 0)
    assert (down.verdict, down.wins, down.losses) == ("worse", 0, 40)
    assert (up.low, up.high) == (down.low, down.high)


def test_one_row_or_one_cluster_has_no_interval():
    single = compare_means([1.0], [2.0], higher_is_better=True)
    cluster = compare_means([1.0] * 9, [2.0] * 9, higher_is_better=True, groups=["a"] * 9)
    ratio = compare_ratios([9], [3], [1], [3], aggregate=per_token, higher_is_better=False)
    for found in (single, cluster, ratio):
        assert (found.low, found.high, found.detectable, found.p_value) == (None, None, None, 1)
        assert found.verdict == "no detectable difference"
        assert (found.caution, found.clusters) == ("one cluster", 1)


@pytest.mark.parametrize(("rows", "verdict"), [(5, "no detectable difference"), (12, "better")])
def test_equal_differences_have_a_point_for_an_interval_and_p_decides(rows, verdict):
    scores = np.geomspace(0.1, 100, rows)  # so that adding 0.1 is rounded differently in each row
    found = compare_means(scores, scores + 0.1, higher_is_better=True)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))
    assert (found.verdict, found.detectable) == (verdict, None)
    counts = np.full(rows, 3.0)
    ratio = compare_ratios(counts * 2, counts, counts, counts, aggregate=per_token, higher_is_better=False)
    assert (ratio.verdict, ratio.detectable) == (verdict, None)


def test_four_wins_and_no_loss_prove_nothing_though_the_interval_excludes_zero():
    found = compare_means([0] * 60, [1] * 4 + [0] * 56, higher_is_better=True, binary=True)
    assert found.low > 0
    assert found.p_value == pytest.approx(0.125)
    assert found.verdict == "no detectable difference"


def test_fewer_than_30_independent_rows_are_warned_about():
    base, tuned = np.random.default_rng(11).normal(0, 1, (2, 60))
    assert compare_means(base[:30], tuned[:30], higher_is_better=True).caution is None
    few = compare_means(base[:29], tuned[:29], higher_is_better=True)
    assert (few.caution, few.clusters, few.n) == ("few", 29, 29)
    groups = [row // 3 for row in range(60)]
    grouped = compare_means(base, tuned, higher_is_better=True, groups=groups)
    assert (grouped.caution, grouped.clusters, grouped.n) == ("few", 20, 60)


def test_a_comparison_is_plain_json():
    rng = np.random.default_rng(12)
    scores = rng.integers(0, 2, (2, 40))
    for found in (
        compare_means(*scores, higher_is_better=True, binary=True),
        compare_means(*scores, higher_is_better=True, groups=list(np.arange(40) // 2)),
        compare_ratios(*likelihoods(rng, 40), aggregate=per_token, higher_is_better=False),
    ):
        fields = dataclasses.asdict(found)
        assert json.loads(json.dumps(fields)) == fields


@pytest.mark.parametrize(
    ("base", "tuned", "options"),
    [
        ([], [], {}),
        ([1.0], [1.0, 2.0], {}),
        ([math.nan], [1.0], {}),
        ([1.0], [math.inf], {}),
        ([0.5], [1.0], {"binary": True}),
        ([0.5, 1.0], [1.0, 1.0], {"groups": ["a"]}),
    ],
)
def test_columns_that_cannot_be_compared_are_refused(base, tuned, options):
    with pytest.raises(ValueError):
        compare_means(base, tuned, higher_is_better=True, **options)


def test_a_row_without_tokens_is_refused():
    with pytest.raises(ValueError, match="positive"):
        compare_ratios([1, 1], [1, 0], [1, 1], [1, 1], aggregate=per_token, higher_is_better=False)


def closed_testing(p_values):
    """Adjust by the closure of Bonferroni's test, of which Holm's is the short form (Marcus, Peritz & Gabriel 1976)."""
    together = range(len(p_values))
    subsets = [s for size in range(1, len(p_values) + 1) for s in itertools.combinations(together, size)]
    joint = {s: min(1.0, len(s) * min(p_values[i] for i in s)) for s in subsets}
    return [max(p for s, p in joint.items() if i in s) for i in together]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(p_values):
    assert holm(p_values) == pytest.approx(closed_testing(p_values))


def test_holm_keeps_a_family_of_equals_quiet():
    rng = np.random.default_rng(13)
    families = rng.random((2000, 8))
    false = sum(min(holm(family.tolist())) < 0.05 for family in families)
    assert false / 2000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def f1_counts(truth, predicted, labels=3):
    """Return a row's counts of hits, predictions and truths per label."""
    eye = np.eye(labels)
    return np.concatenate([eye[truth] * (truth == predicted)[:, None], eye[predicted], eye[truth]], axis=1)


def weighted_f1(sums):
    hits, predicted, truth = np.split(sums, 3, axis=1)
    f1 = np.divide(2 * hits, predicted + truth, out=np.zeros_like(hits), where=predicted + truth > 0)
    return (f1 * truth).sum(axis=1) / truth.sum(axis=1)


def classified(rng, rows, right=0.6):
    truth = rng.integers(0, 3, rows)
    return truth, np.where(rng.random(rows) < right, truth, rng.integers(0, 3, rows))


def test_a_corpus_metric_has_the_value_of_scikit_learn_and_the_interval_of_scipy():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(14)
    truth, base = classified(rng, 90)
    tuned = np.where(rng.random(90) < 0.3, truth, base)

    def of_confusion(truth, predicted):
        table = np.bincount(truth * 3 + predicted, minlength=9).reshape(3, 3)
        return float(2 * table.diagonal() / (table.sum(0) + table.sum(1)) @ table.sum(1)) / len(truth)

    def statistic(truth, base, tuned):
        return of_confusion(truth, tuned) - of_confusion(truth, base)

    found = compare_sums(f1_counts(truth, base), f1_counts(truth, tuned), aggregate=weighted_f1, higher_is_better=True)
    assert found.base == pytest.approx(f1_score(truth, base, average="weighted"))
    assert found.tuned == pytest.approx(f1_score(truth, tuned, average="weighted"))
    theirs = scipy.stats.bootstrap(
        (truth, base, tuned), statistic, paired=True, method="percentile", vectorized=False, rng=rng
    )
    spread = float(theirs.standard_error)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.1 * spread)
    assert found.verdict == "better" and found.test == "paired bootstrap"
    assert (found.wins, found.losses) == (int((base != tuned).sum()), 0)


def test_a_ratio_is_the_corpus_metric_of_two_sums():
    columns = likelihoods(np.random.default_rng(15), 40, gain=0.1)
    ratio = compare_ratios(*columns, aggregate=per_token, higher_is_better=False)
    sums = compare_sums(
        np.column_stack(columns[:2]), np.column_stack(columns[2:]),
        aggregate=lambda sums: sums[:, 0] / sums[:, 1], higher_is_better=False,
    )  # fmt: skip
    assert dataclasses.asdict(ratio) == dataclasses.asdict(sums)


def test_a_number_that_some_samples_do_not_have_has_no_interval():
    counts = np.array(
        [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    )  # a third of the samples or so lacks the only row that counts
    found = compare_sums(counts, counts, aggregate=lambda sums: sums[:, 0] / sums[:, 1], higher_is_better=True)
    assert (found.low, found.high, found.verdict) == (None, None, "no detectable difference")
    assert found.caution == "undefined" and found.undefined > 0
    with pytest.raises(ValueError, match="no value over these rows"):
        compare_sums(counts[1:], counts[1:], aggregate=lambda sums: sums[:, 0] / sums[:, 1], higher_is_better=True)


@pytest.mark.parametrize("tables", [([], []), ([[1.0]], [[1.0, 2.0]]), ([[math.nan]], [[1.0]]), ([1.0], [1.0])])
def test_tables_of_counts_that_cannot_be_compared_are_refused(tables):
    with pytest.raises(ValueError):
        compare_sums(*tables, aggregate=lambda sums: sums[:, 0], higher_is_better=True)
