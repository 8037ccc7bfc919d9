"""Loss and gradient of the chunked head are those of the logits in full."""

import pytest
import torch

from tailora import machine
from tailora.model.head import Head, read_tokens, token_losses


@pytest.mark.parametrize("count", [1, 127, 300])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("cap", [None, 1.5])
def test_losses_and_their_gradient_are_those_of_full_logits(count: int, biased: bool, cap: float | None) -> None:
    torch.manual_seed(count)
    weight, hidden = torch.randn(50, 8), torch.randn(count, 8, requires_grad=True)
    bias = torch.randn(50) if biased else None
    targets, upstream = torch.randint(0, 50, (count,)), torch.randn(count)
    logits = torch.nn.functional.linear(hidden, weight, bias)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    (gradient,) = torch.autograd.grad(expected @ upstream, hidden)
    actual = token_losses(Head(weight, bias, cap), hidden, targets)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(torch.autograd.grad(actual @ upstream, hidden)[0], gradient)


def test_no_token_has_no_loss() -> None:
    assert token_losses(Head(torch.randn(5, 2), None, None), torch.randn(0, 2), torch.zeros(0, dtype=int)).shape == (0,)


@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.parametrize("cap", [None, 1.5])
def test_reading_tokens_gives_their_losses_and_whether_they_were_the_likeliest(count: int, cap: float | None) -> None:
    torch.manual_seed(count)
    weight, hidden, targets = torch.randn(7, 4), torch.randn(count, 4), torch.randint(0, 7, (count,))
    logits = hidden @ weight.T if cap is None else cap * torch.tanh(hidden @ weight.T / cap)
    nats, right = read_tokens(Head(weight, None, cap), hidden, targets)
    torch.testing.assert_close(nats, torch.nn.functional.cross_entropy(logits, targets, reduction="none"))
    assert torch.equal(right, logits.argmax(-1) == targets)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_tokens_equally_likely_the_first_counts_as_the_likeliest(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight, hidden = (torch.randint(-1, 2, (rows, 4)).to(dtype) for rows in (500, 200))
    logits, targets = hidden @ weight.T, torch.randint(0, 500, (200,))
    targets[::2] = logits[::2].argmax(-1)
    best = logits.max(-1, keepdim=True).values
    assert ((logits == best).sum(-1) > 1).all()
    first = torch.tensor([row.index(max(row)) for row in logits.tolist()])
    _, right = read_tokens(Head(weight, None, None), hidden, targets)
    assert torch.equal(right, first == targets)


@pytest.mark.skipif(not machine.forget_peak(), reason="the system does not say what a process has held")
@pytest.mark.parametrize(
    "dtype, cap, numbers", [(torch.bfloat16, None, 6), (torch.bfloat16, 30.0, 10), (torch.float32, None, 4)]
)
def test_a_head_holds_the_logits_of_one_chunk_in_its_own_type_and_in_float32(
    dtype: torch.dtype, cap: float | None, numbers: int
) -> None:
    vocabulary = 131_072
    weight = torch.randn(vocabulary, 4).to(dtype)
    hidden, targets = torch.randn(300, 4).to(dtype).requires_grad_(), torch.randint(0, vocabulary, (300,))
    token_losses(Head(weight, None, cap), hidden[:1], targets[:1])
    machine.give_back_freed_memory()
    machine.forget_peak()
    before = machine.resident_bytes()
    token_losses(Head(weight, None, cap), hidden, targets)
    chunk = 128 * vocabulary * numbers  # bytes a logit: two or four, four for what is exact, four for the cap's slope
    assert machine.held_memory_bytes() - before < chunk + 2**23
