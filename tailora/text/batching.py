"""Samples → batches: the order of an epoch, and micro-batches within a budget of tokens. Knows no tensors."""

import bisect
import heapq
import random
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import TypeVar

from tailora.text.chat import Sample
from tailora.text.shared_prefixes import alike, inputs

_EVEN = 0.8

T = TypeVar("T")


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """Yield the row numbers of each optimizer step of an epoch: a pure function of (seed, epoch); none is left out."""
    order = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]


def padded_batches(samples: Sequence[Sample], most_tokens: int) -> Iterator[list[Sample]]:
    """Cut samples into batches of similar length with at most `most_tokens` tokens, padding included.

    A sample longer than that makes a batch of its own.
    """
    batch: list[Sample] = []
    for sample in sorted(samples, key=lambda s: -len(s.tokens)):
        if batch and (len(batch) + 1) * len(batch[0].tokens) > most_tokens:
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def results_by_number(
    samples: Sequence[Sample],
    batches: Iterable[list[Sample]],
    known: Container[int],
    compute: Callable[[list[Sample]], Iterable[T]],
) -> Iterator[dict[int, T]]:
    """Yield what `compute` gives for each batch, by the numbers of its samples; batches `known` whole are left out."""
    numbers = {id(sample): number for number, sample in enumerate(samples)}
    for batch in batches:
        if any(numbers[id(sample)] not in known for sample in batch):
            yield {numbers[id(sample)]: result for sample, result in zip(batch, compute(batch), strict=True)}


def bucketed_batches(samples: Sequence[Sample], most_tokens: int) -> Iterator[list[Sample]]:
    """Cut samples into batches like `padded_batches`, none of which is padded by much.

    A batch ends where the next sample is shorter than four fifths of its longest, once it holds a quarter of the
    budget: smaller matrices are no slower a token from there on, and padding is.
    """
    batch: list[Sample] = []
    for sample in sorted(samples, key=lambda s: -len(s.tokens)):
        longest = len(batch[0].tokens) if batch else 0
        full = (len(batch) + 1) * longest > most_tokens
        uneven = len(sample.tokens) < _EVEN * longest and len(batch) * longest >= most_tokens / 4
        if batch and (full or uneven):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def packed_batches(samples: Sequence[Sample], most_tokens: int) -> Iterator[list[Sample]]:
    """Cut samples into batches of at most `most_tokens` tokens, which are not padded.

    A sample longer than that makes a batch of its own.
    """
    return _packed([([sample], len(sample.tokens)) for sample in samples], most_tokens)


def shared_batches(samples: Sequence[Sample], most_tokens: int) -> Iterator[list[Sample]]:
    """Cut samples into batches like `packed_batches`, in which those that begin alike are together as far as they fit.

    What samples of a batch have in common from their beginning counts once.
    """
    families: list[list[int]] = []
    sizes: list[int] = []
    for row, shared in alike([inputs(sample) for sample in samples]):
        size = len(samples[row].tokens)
        if shared and sizes[-1] + size - shared <= most_tokens:
            families[-1].append(row)
            sizes[-1] += size - shared
        else:
            families.append([row])
            sizes.append(size)
    sized = sorted(zip(families, sizes, strict=True))  # samples without kin are packed in their own order
    return _packed([([samples[row] for row in rows], size) for rows, size in sized], most_tokens)


def _packed(families: Sequence[tuple[list[Sample], int]], most_tokens: int) -> Iterator[list[Sample]]:
    """Cut families, which stay together, into batches of at most `most_tokens` tokens.

    The largest first, each goes where the least room is left after it (best-fit decreasing: at most 11/9 of the fewest
    possible batches, and one; Johnson 1973).
    """
    batches: list[list[Sample]] = []
    rooms: list[tuple[int, int]] = []  # room left and number of each batch, in order
    for members, size in sorted(families, key=lambda family: -family[1]):
        place = bisect.bisect_left(rooms, (size, 0))
        if place < len(rooms):
            room, number = rooms.pop(place)
        else:
            room, number = most_tokens, len(batches)
            batches.append([])
        batches[number].extend(members)
        bisect.insort(rooms, (room - size, number))
    yield from batches


def even_parts(samples: Sequence[Sample], count: int) -> list[list[Sample]]:
    """Split samples into `count` parts of about as many tokens; a part may be empty.

    The longest first, each goes to the part that has least (at most 4/3 of the best largest part; Graham 1969).
    """
    parts: list[list[Sample]] = [[] for _ in range(count)]
    loads = [(0, number) for number in range(count)]
    for sample in sorted(samples, key=lambda s: -len(s.tokens)):
        load, number = heapq.heappop(loads)
        parts[number].append(sample)
        heapq.heappush(loads, (load + len(sample.tokens), number))
    return parts
