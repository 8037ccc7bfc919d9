"""Lengths at which a model begins to compute otherwise, for all rows of a pass at once.

What such a model makes of a row then depends on the longest row beside it. Rows of the two sides of a border are
therefore never in one pass, and decoding reads a row anew when it crosses one.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tailora.text.chat import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from tailora.model.load import Transformer

_LONG_ROPE = ("longrope", "su")  # the second is its name in the first files of Phi-3


def borders(model: "Transformer") -> list[int]:
    """Return in order the lengths in tokens beyond which `model` takes other rotary factors, for all rows of a pass.

    LongRoPE has one (Ding et al. 2024, section 3.3): its short factors hold up to the length of the first pretraining.
    """
    if not hasattr(model, "config"):  # no transformer
        return []
    config = model.config.get_text_config()
    declared = getattr(config, "original_max_position_embeddings", None)
    found = {
        rope.get("original_max_position_embeddings") or declared
        for rope in _rotations(config)
        if (rope.get("rope_type") or rope.get("type")) in _LONG_ROPE
    }
    return sorted(int(border) for border in found if border)


def last_length(config: "PreTrainedConfig") -> int | None:
    """Return the most tokens of a row that the model of `config` computes in one way only; None where all are.

    Beyond it, dynamic rotary scaling has other factors for each length, and BigBird's sparse attention is switched off
    for good by the first short batch. Positions end there as well, where they end.
    """
    ends = [getattr(config, "max_position_embeddings", None)]
    if getattr(config, "attention_type", None) == "block_sparse":
        ends.append((5 + 2 * config.num_random_blocks) * config.block_size)
    return min((int(end) for end in ends if end), default=None)


def by_side(samples: Sequence[Sample], model: "Transformer") -> list[list[Sample]]:
    """Split `samples` by the borders of `model` that they lie beyond, each part in the order of the whole."""
    known = borders(model)
    sides: dict[int, list[Sample]] = {}
    for sample in samples:
        sides.setdefault(sum(len(sample.tokens) > border for border in known), []).append(sample)
    return [sides[side] for side in sorted(sides)]


def _rotations(config: "PreTrainedConfig") -> list[dict[str, Any]]:
    """Return the settings of rotary positions; a configuration may have one for each kind of its layers."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    if not isinstance(rope, dict):
        return []
    return [part for part in rope.values() if isinstance(part, dict)] or [rope]
