"""What a model loses on samples, token by token, on one of two paths.

The plain path pads rows to one length and lets transformers and PEFT compute everything. The fast path packs rows
without padding, computes LoRA layers as one node each, and the head only where a token is learned. Without gradients
it computes what rows begin with alike once. Both give the same numbers; `choose_path` proves that on the model at hand
before it takes the fast one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module
from transformers import PreTrainedModel

from tailora.errors import ModelError
from tailora.model.attention import packed_attention
from tailora.model.fence import first_line, is_out_of_memory
from tailora.model.head import Head, read_tokens, token_losses
from tailora.model.lengths import borders, by_side
from tailora.model.load import (
    Transformer,
    count_embeddings,
    mixed_precision,
    short_rows,
    text_backbone,
    without_adapter,
)
from tailora.model.lora import fuse_lora, trainable, unfuse_lora, unfused
from tailora.model.packing import Packed, pack, pack_shared
from tailora.text.batching import bucketed_batches, packed_batches, padded_batches, shared_batches
from tailora.text.chat import Sample
from tailora.text.shared_prefixes import LEAST

# How far losses and gradients of the two paths may lie apart, relative; rounding alone makes 1e-6 and 0.02.
_MOST_APART = {"float32": 1e-3, "other": 0.1}
_NOTHING = 1e-12  # a length below which two vectors of zeros are not told apart


class Path(NamedTuple):
    """How losses are computed, and why not all of it is fast where it is not."""

    name: Literal["fast", "plain"]
    why: str
    pads: bool = False
    """Whether rows of one forward pass are padded to one length."""
    shares: bool = False
    """Whether beginnings that rows have in common are computed once where no gradient is kept."""


class LossSum(NamedTuple):
    """Summed loss in nats (a scalar tensor that carries gradients) and the number of target tokens."""

    nats: Tensor
    targets: int


Loss = Callable[[Transformer, list[Sample]], LossSum]


class TokenNats(NamedTuple):
    """The loss of every learned token in nats (float32), and the number of the sample that it belongs to.

    `right` says whether the token was the likeliest one; None where gradients are kept.
    """

    nats: Tensor
    owner: Tensor
    right: Tensor | None


def token_nats(model: Transformer, samples: Sequence[Sample]) -> TokenNats:
    """Return the loss of every learned token of `samples`, on the path chosen for `model`."""
    if not _is_fast(model):
        return _plain(model, samples)
    return _shared(model, samples) if _shares(model) else _fast(model, samples)


def micro_batches(model: Transformer, samples: Sequence[Sample], most_tokens: int) -> Iterator[list[Sample]]:
    """Cut `samples` into batches of at most `most_tokens` tokens, padding included where the path of `model` pads.

    No batch has rows of both sides of a border of `model` (`lengths`).
    """
    path = path_of(model)
    padded = padded_batches if path.name == "plain" else bucketed_batches
    for rows in by_side(samples, model):
        yield from (padded if path.pads else packed_batches)(rows, most_tokens)


def reading_batches(model: Transformer, samples: Sequence[Sample], most_tokens: int) -> Iterator[list[Sample]]:
    """Cut `samples` like `micro_batches`, for reading without gradients: what is computed once counts once.

    Rows that begin alike are in one batch, where they fit.
    """
    if path_of(model).shares:
        return shared_batches(samples, most_tokens)
    return micro_batches(model, samples, most_tokens)


def choose_path(model: Transformer, wish: Literal["auto", "fast", "plain"]) -> Path:
    """Choose how losses of `model` are computed from now on, in place; call it when adapters and types are settled.

    Raises:
        ModelError: when the fast path is asked for by name and does not apply.
    """
    unfuse_lora(model)
    why = 'train.kernels = "plain"' if wish == "plain" else _obstacle(model)
    if why and wish == "fast":
        raise not_fast(why)
    if why:
        path = Path("plain", why, pads=True)
    else:
        fuse_lora(model)
        path = Path("fast", unfused(model), shares=not borders(model) and _sharing_is_exact(model))
    model.tailora_path = path
    return path


def path_of(model: Module) -> Path:
    """Return the path that was chosen for `model`; the plain one where none was."""
    path: Path = getattr(model, "tailora_path", Path("plain", "", pads=True))
    return path


def not_fast(why: str) -> ModelError:
    """Return the error for a fast path that is asked for by name and does not apply."""
    return ModelError(f'train.kernels = "fast" does not apply to this model: {why}. Use "auto" or "plain".')


def recompute_activations(model: Transformer) -> None:
    """Let each layer compute its activations again on the way back instead of keeping them, in place."""
    base = without_adapter(model)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        # The way back lies outside the forward's own context, where the model would attend as it does by itself.
        again = packed_attention(text_backbone(base)) if _is_fast(model) else nullcontext()
        return nullcontext(), again

    enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
    enable({"use_reentrant": False, "context_fn": contexts})


def _is_fast(model: Module) -> bool:
    path = path_of(model)
    return path.name == "fast" and not path.pads


def _shares(model: Module) -> bool:
    return path_of(model).shares and not torch.is_grad_enabled() and getattr(model, "tailora_prefix", None) is None


def _plain(model: Transformer, samples: Sequence[Sample]) -> TokenNats:
    # Padded with any token and without a mask: the padding stands on the right, where a causal model never looks.
    tokens = pad_right([s.tokens for s in samples], 0, model.device)
    learned = pad_right([s.flags() for s in samples], False, model.device)
    # From logits, never from outputs.loss: some adapters add a penalty to it.
    with mixed_precision(model):
        logits = model(input_ids=tokens, use_cache=False).logits
    owner, position = learned.nonzero(as_tuple=True)
    chosen = logits[owner, position - 1].float()
    nats = torch.nn.functional.cross_entropy(chosen, tokens[owner, position], reduction="none")
    right = None if nats.requires_grad else chosen.argmax(-1) == tokens[owner, position]
    return TokenNats(nats, owner, right)


def pad_right(rows: Sequence[list[int]] | Sequence[list[bool]], filler: int, device: torch.device) -> Tensor:
    """Return `rows` as a tensor [rows, longest], each with `filler` behind it."""
    width = max(map(len, rows))
    return torch.tensor([row + [filler] * (width - len(row)) for row in rows], device=device)


def _fast(model: Transformer, samples: Sequence[Sample]) -> TokenNats:
    packed = pack(samples, model.device)
    learned = torch.tensor([flag for sample in samples for flag in sample.flags()])
    (targets,) = learned.nonzero(as_tuple=True)
    owner = torch.searchsorted(packed.packing.bounds.cpu(), targets, right=True) - 1
    targets, owner = targets.to(model.device), owner.to(model.device)
    head, hidden = _head(without_adapter(model)), _hidden(model, samples, packed)[targets - 1]
    if hidden.requires_grad:
        return TokenNats(token_losses(head, hidden, packed.tokens[targets]), owner, None)
    nats, right = read_tokens(head, hidden, packed.tokens[targets])
    return TokenNats(nats, owner, right)


def _shared(model: Transformer, samples: Sequence[Sample], least: int = LEAST) -> TokenNats:
    """Compute without gradients, and what rows have in common from their beginning once."""
    packed, places = pack_shared(samples, least)
    learned = [torch.tensor(sample.flags()).nonzero()[:, 0] for sample in samples]
    owner = torch.repeat_interleave(torch.tensor([len(found) for found in learned]))
    targets = torch.cat([torch.tensor(s.tokens)[found] for s, found in zip(samples, learned, strict=True)])
    before = torch.cat([place[found - 1] for place, found in zip(places, learned, strict=True)])
    # Rows may also share what is learned: a token that follows the same tokens is weighed once.
    head = _head(without_adapter(model))
    names, which = torch.unique(before * len(head.weight) + targets, return_inverse=True)
    hidden = _hidden(model, samples, packed)[names // len(head.weight)]
    nats, right = read_tokens(head, hidden, names % len(head.weight))
    return TokenNats(nats[which], owner, right[which])


def _hidden(model: Transformer, samples: Sequence[Sample], packed: Packed) -> Tensor:
    """Return the last hidden states [tokens, width]; frozen layers are skipped where what they give was kept."""
    backbone, prefix = text_backbone(without_adapter(model)), getattr(model, "tailora_prefix", None)
    states = prefix.states(samples) if prefix else None
    with packed_attention(backbone):
        if prefix is None or states is None:
            hidden: Tensor = backbone(input_ids=packed.tokens[None], **packed.arguments()).last_hidden_state
        else:
            with prefix.skipped():
                hidden = backbone(inputs_embeds=states[None], **packed.arguments()).last_hidden_state
    return hidden[0]


def _head(base: PreTrainedModel) -> Head:
    layer = base.get_output_embeddings()
    cap = getattr(base.config.get_text_config(), "final_logit_softcapping", None)
    return Head(layer.weight, layer.bias, cap)


def _obstacle(model: Transformer) -> str:
    """Say why the fast path does not apply to `model`, or return an empty string; its LoRA layers are left unfused."""
    why = _structural_obstacle(without_adapter(model))
    if why:
        return why
    training, expected = model.training, probe(model, _plain)
    fuse_lora(model)
    try:
        difference = distance(probe(model, _fast), expected)
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        why = first_line(error)
    else:
        why = differ(model, difference)
    unfuse_lora(model)
    model.train(training)
    return why


def _sharing_is_exact(model: Transformer) -> bool:
    """Say whether rows that go on from one another's beginnings lose what each loses by itself, on a few short rows."""
    if model.device.type != "cpu":  # its kernel attends to the rows' own tokens alone
        return False
    samples, training = _parting_rows(model), model.training
    model.eval()
    with torch.no_grad():
        try:
            apart = distance([_shared(model, samples, least=1).nats], [_fast(model, samples).nats])
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            if is_out_of_memory(error):
                raise
            apart = float("inf")
    model.train(training)
    return apart <= most_apart(model)


def _structural_obstacle(base: PreTrainedModel) -> str:
    """Say what cannot be seen from a few short rows."""
    head = base.get_output_embeddings()
    if type(head) is not torch.nn.Linear or head.weight.requires_grad or base.base_model is base:
        return "its output head is trained, or is no plain layer behind a backbone"
    if not getattr(base, "_supports_flash_attn", False):
        return "its class does not say that it works on packed rows (no FlashAttention)"
    kinds = set(getattr(base.config.get_text_config(), "layer_types", None) or []) - {
        "full_attention",
        "sliding_attention",
    }
    return f"it has layers of the kind {', '.join(sorted(kinds))}" if kinds else ""


def probe(
    model: Transformer, path: Callable[[Transformer, Sequence[Sample]], TokenNats], samples: Sequence[Sample] = ()
) -> list[Tensor]:
    """Return losses and adapter gradients of `samples`, or of short rows with the same tokens, where a leak shows."""
    samples = samples or short_rows(model)
    weights = list(trainable(model).values())
    if weights:  # dropout and what it needs exist in training alone, where numbers are no longer comparable
        model.train()
        with torch.no_grad():
            path(model, samples)
    model.eval()
    with torch.set_grad_enabled(bool(weights)):
        nats = path(model, samples).nats
    return [nats.detach(), *_gradients(nats.sum(), weights)]


def _gradients(loss: Tensor, weights: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the gradients of `loss`; zero for a weight that it does not depend on, as of experts that nobody asked."""
    return torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True) if weights else ()


def _parting_rows(model: Transformer) -> list[Sample]:
    """Return rows that part after 12, 9 and 6 tokens, some in the order of those and some not."""
    (longest, *_), size = short_rows(model), count_embeddings(model)
    tails = [[(104729 * place + 7 * tail) % size for place in range(5)] for tail in range(1, 4)]
    rows = [longest.tokens[:length] + tail for length, tail in zip((6, 12, 9), tails, strict=True)]
    return [Sample(row, [(1, len(row))]) for row in [*rows, longest.tokens]]


def distance(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the larger of the relative distances between the losses and between the gradients, as vectors."""

    def relative(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
        whole = torch.cat([tensor.flatten().float() for tensor in theirs])
        apart = torch.cat([tensor.flatten().float() for tensor in ours]) - whole
        return float(apart.norm() / whole.norm().clamp_min(_NOTHING))

    return max(relative(actual[:1], expected[:1]), relative(actual[1:], expected[1:]) if expected[1:] else 0.0)


def most_apart(model: Module) -> float:
    """Return the largest `distance` of two ways to compute the same with `model` that rounding may explain."""
    exact = all(weight.dtype == torch.float32 for weight in model.parameters())
    return _MOST_APART["float32" if exact else "other"]


def differ(model: Module, difference: float) -> str:
    """Say that the fast path gives other numbers than the plain one, where it does."""
    return "" if difference <= most_apart(model) else f"on a few rows the two paths differ by {difference:.2g}"
