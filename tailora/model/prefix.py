"""The layers below the trained ones: what they give for a row never changes, so it is computed once and kept.

Hidden states that enter the first trained layer are handed to the backbone as its input, with the layers below taken
out. Whether a model can be run like that is proved on a few rows before it is done.
"""

import array
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import ModuleList
from transformers import PreTrainedModel

from tailora.model.attention import packed_attention
from tailora.model.lengths import by_side
from tailora.model.load import text_backbone
from tailora.model.losses import distance, micro_batches, most_apart, path_of, probe, token_nats
from tailora.model.packing import pack
from tailora.model.targets import layer_stack
from tailora.text.chat import Sample

_MOST_IN_MEMORY = 4 * 2**30  # bytes; more goes to a file in the run's folder
_TRIED = 4  # rows on which the way with and the way without kept states are compared
_MICRO_TOKENS = 4096


class Kept(NamedTuple):
    """What came of it: the layers that are skipped and of how many, the bytes kept and where, or why nothing is."""

    layers: int
    of: int
    bytes: int
    place: str
    why: str = ""

    def line(self) -> str:
        """Say it to a user."""
        if self.why:
            return f"the {self.layers} frozen layers are computed anew at each step: {self.why}"
        return (
            f"the {self.layers} frozen layers of {self.of} are computed once a row: "
            f"{self.bytes / 2**20:,.1f} MiB of hidden states are kept in {self.place}"
        )


class Prefix:
    """Hidden states of rows below the trained layers, by the rows' tokens."""

    def __init__(self, backbone: PreTrainedModel, name: str, first: int) -> None:
        self._backbone, self._name, self._first = backbone, name, first
        self._layers = getattr(backbone, name)
        self._places: dict[bytes, slice] = {}
        self._kept = torch.empty(0)

    def states(self, samples: Sequence[Sample]) -> Tensor | None:
        """Return the kept states of `samples` one after another [tokens, width], or None where one was not kept."""
        places = [self._places.get(_key(sample)) for sample in samples]
        if None in places:
            return None
        return torch.cat([self._kept[place] for place in places]).to(self._backbone.device)

    @contextlib.contextmanager
    def skipped(self) -> Iterator[None]:
        """Within the block, the backbone consists of its trained layers; its input is what `states` returns."""
        with self._only(self._layers[self._first :]):
            yield

    @contextlib.contextmanager
    def _only(self, layers: ModuleList) -> Iterator[None]:
        setattr(self._backbone, self._name, layers)
        try:
            yield
        finally:
            setattr(self._backbone, self._name, self._layers)

    def fill(self, samples: Sequence[Sample], batches: Sequence[Sequence[Sample]], folder: Path, most: int) -> Kept:
        """Compute the states of `samples`, `batches` at a time; beyond `most` bytes they lie in a file in `folder`."""
        places, total = {}, 0
        for sample in samples:
            if _key(sample) not in places:
                places[_key(sample)] = slice(total, total + len(sample.tokens))
                total += len(sample.tokens)
        in_memory, kept = True, None
        for batch in batches:
            with torch.no_grad():
                states = self._compute(batch).cpu()
            if kept is None:
                size = total * states.shape[1] * states.element_size()
                in_memory = size <= most
                kept = _room(size, None if in_memory else folder).view(states.dtype).view(total, -1)
            for sample, part in zip(batch, states.split([len(s.tokens) for s in batch]), strict=True):
                kept[places[_key(sample)]] = part
        assert kept is not None  # there is a batch
        self._places, self._kept = places, kept
        size = kept.numel() * kept.element_size()
        return Kept(self._first, len(self._layers), size, "memory" if in_memory else "a file on disk")

    def _compute(self, batch: Sequence[Sample]) -> Tensor:
        """Return what the layer below the first trained one gives for `batch`, packed."""
        seen: list[Tensor] = []
        hook = self._layers[self._first - 1].register_forward_hook(
            lambda layer, inputs, output: seen.append(output[0] if isinstance(output, tuple) else output)
        )
        packed = pack(batch, self._backbone.device)
        try:
            with self._only(self._layers[: self._first]), packed_attention(self._backbone):
                self._backbone(input_ids=packed.tokens[None], **packed.arguments())
        finally:
            hook.remove()
        return seen[0][0]


def keep_prefix(model: PeftModel, samples: Sequence[Sample], folder: Path, most: int = _MOST_IN_MEMORY) -> Kept:
    """Let the frozen layers below the trained ones be computed once for each of `samples`, where that is exact.

    Call it when the path is chosen. States need the tokens' number times the width of the model times 2 or 4 bytes;
    beyond `most` bytes they lie in a file without a name in `folder`.
    """
    base = model.get_base_model()
    stack, chosen = layer_stack(base), model.peft_config["default"].layers_to_transform
    if stack is None or chosen is None:
        return Kept(0, 0, 0, "", "there is no list of layers to cut")
    first, total, why = min(chosen), len(stack.layers), _obstacle(model, stack.name)
    if why or first == 0:
        return Kept(first, total, 0, "", why or "all layers are trained")
    name = stack.name.rpartition(".")[2]
    tried = by_side(sorted(samples, key=lambda sample: len(sample.tokens)), base)[0][:_TRIED]
    prefix = Prefix(text_backbone(base), name, first)
    prefix.fill(tried, [tried], folder, most)
    expected = probe(model, token_nats, tried)
    model.tailora_prefix = prefix
    try:
        apart = distance(probe(model, token_nats, tried), expected)
    except (TypeError, ValueError, RuntimeError) as error:
        apart, why = 0.0, str(error).split("\n")[0]
    finally:
        del model.tailora_prefix
    if why or apart > most_apart(model):
        why = why or f"on a few rows the result differs by {apart:.2g} (this model does more with its input)"
        return Kept(first, total, 0, "", why)
    prefix = Prefix(text_backbone(base), name, first)
    kept = prefix.fill(samples, list(micro_batches(model, samples, _MICRO_TOKENS)), folder, most)
    model.tailora_prefix = prefix
    return kept


def _obstacle(model: PeftModel, stack: str) -> str:
    """Say what cannot be seen from a few short rows."""
    base = model.get_base_model()
    config = base.config.get_text_config()
    if path_of(model).name != "fast":
        return "losses are on the plain path"
    if len(set(getattr(config, "layer_types", None) or ["same"])) > 1:
        return "its layers are of several kinds"
    drops = [key for key, value in vars(config).items() if value and key.endswith(("dropout", "pdrop"))]
    if any(not key.startswith(("classifier", "summary")) for key in drops):  # those two are of heads
        return "they have dropout"
    is_child = any(name == stack.rpartition(".")[2] for name, _ in text_backbone(base).named_children())
    return "" if is_child else "they lie deeper in the model than we can cut"


def _key(sample: Sample) -> bytes:
    return array.array("I", sample.tokens).tobytes()


def _room(size: int, folder: Path | None) -> Tensor:
    """Return `size` bytes of memory, or of a file in `folder` that vanishes with the process."""
    if folder is None:
        return torch.empty(size, dtype=torch.uint8)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(size)
        return torch.from_numpy(np.memmap(file, dtype=np.uint8, mode="r+", shape=(size,)))
