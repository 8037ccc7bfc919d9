"""Batches: every sample once an epoch, in an order that seed and epoch decide, and never more than the budget."""

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora.text.batching import epoch_batches, even_parts, packed_batches, padded_batches, shared_batches
from tailora.text.chat import Sample

LENGTHS = st.lists(st.integers(1, 50), max_size=40)


def samples_of(lengths: list[int]) -> list[Sample]:
    return [Sample([number] * length, [(0, length)]) for number, length in enumerate(lengths)]


@given(st.integers(0, 200), st.integers(1, 40), st.integers(), st.integers(1, 100))
def test_an_epoch_is_a_permutation_cut_into_full_batches(count: int, size: int, seed: int, epoch: int) -> None:
    batches = list(epoch_batches(count, size, seed, epoch))
    assert sorted(row for batch in batches for row in batch) == list(range(count))
    assert all(len(batch) == size for batch in batches[:-1])
    assert len(batches) == -(-count // size)


@given(st.integers(0, 100), st.integers(1, 40), st.integers(), st.integers(1, 100))
def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone(count: int, size: int, seed: int, epoch: int) -> None:
    flat = [row for batch in epoch_batches(count, size, seed, epoch) for row in batch]
    assert flat == [row for batch in epoch_batches(count, 1, seed, epoch) for row in batch]


def test_every_epoch_and_every_seed_has_an_order_of_its_own() -> None:
    orders = {
        tuple(next(epoch_batches(50, 50, seed, epoch)))
        for seed, epoch in [(0, 1), (0, 2), (1, 1), (1, 2), (11, 1), (1, 11)]
    }
    assert len(orders) == 6


@pytest.mark.parametrize("cut", [packed_batches, padded_batches, shared_batches])
@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_micro_batches_hold_every_sample_once(cut: Any, lengths: list[int], budget: int) -> None:
    samples = samples_of(lengths)
    assert Counter(id(sample) for batch in cut(samples, budget) for sample in batch) == Counter(map(id, samples))


@given(LENGTHS, st.integers(1, 200))
def test_padded_batches_stay_within_the_budget_padding_included(lengths: list[int], budget: int) -> None:
    for batch in padded_batches(samples_of(lengths), budget):
        assert batch
        assert len(batch) == 1 or len(batch) * max(len(sample.tokens) for sample in batch) <= budget


@given(LENGTHS, st.integers(1, 200))
def test_a_padded_batch_takes_what_still_fits_of_similar_length(lengths: list[int], budget: int) -> None:
    batches = list(padded_batches(samples_of(lengths), budget))
    sizes = [len(sample.tokens) for batch in batches for sample in batch]
    assert sizes == sorted(lengths, reverse=True)
    for batch, following in itertools.pairwise(batches):
        assert (len(batch) + 1) * max(len(sample.tokens) for sample in [*batch, following[0]]) > budget


@given(LENGTHS, st.integers(1, 200))
def test_packed_batches_stay_within_the_budget_and_are_opened_only_when_no_earlier_one_has_room(
    lengths: list[int], budget: int
) -> None:
    batches = list(packed_batches(samples_of(lengths), budget))
    sizes = [sum(len(sample.tokens) for sample in batch) for batch in batches]
    assert all(batch and (len(batch) == 1 or size <= budget) for batch, size in zip(batches, sizes, strict=True))
    for size, following in zip(sizes, batches[1:], strict=False):
        assert size + len(following[0].tokens) > budget


@given(LENGTHS, st.integers(50, 200))
def test_packed_batches_are_near_the_fewest_possible(lengths: list[int], budget: int) -> None:
    count = len(list(packed_batches(samples_of(lengths), budget)))
    assert count <= 2 * sum(lengths) / budget + 1  # two batches in a row are more than one budget full


@given(LENGTHS, st.integers(1, 200))
def test_rows_that_have_nothing_in_common_are_batched_as_without_sharing(lengths: list[int], budget: int) -> None:
    samples = samples_of(lengths)
    assert list(shared_batches(samples, budget)) == list(packed_batches(samples, budget))


@given(st.integers(2, 60), st.integers(100, 300))
def test_what_rows_of_a_batch_begin_with_counts_once(count: int, budget: int) -> None:
    samples = [Sample([1] * 40 + [number, 2], [(40, 42)]) for number in range(count)]
    batches = list(shared_batches(samples, budget))
    assert len(batches) == -(-count // ((budget - 40) // 2))


@given(lengths=st.lists(st.integers(1, 300), max_size=40), count=st.integers(1, 5))
def test_parts_hold_every_sample_once_and_are_as_even_as_promised(lengths: list[int], count: int) -> None:
    samples = [Sample([number] * length, [(0, 1)]) for number, length in enumerate(lengths)]
    parts = even_parts(samples, count)
    assert len(parts) == count
    assert sorted(s.tokens[0] for part in parts for s in part) == list(range(len(lengths)))
    # The sample that made the largest part went where least lay, which was at most the mean.
    largest = max(sum(len(s.tokens) for s in part) for part in parts)
    assert largest <= sum(lengths) / count + max(lengths, default=0)
