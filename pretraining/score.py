"""Measure a pretrained model and write its card: bits per byte on held-out modules, beside `xz -9`.

    python -m pretraining.score --corpus DIR --model DIR --log FILE --avoid FILE … --note TEXT

`--avoid` files are looked up in the corpus once more: a 13-gram of theirs in it is an error.
"""

import argparse
import json
import lzma
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pretraining.corpus import avoided_grams, grams
from tailora import machine

WINDOW = 1024


def read_texts(path: Path) -> list[str]:
    """Return the texts of a JSONL file of documents."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def bits(model: Any, tokenizer: Any, text: str) -> float:
    """Return the bits that `text` costs: −Σ log2 p, each token scored once, in windows that do not overlap.

    The first token of each window is predicted from the end token alone.
    """
    tokens = tokenizer(text, add_special_tokens=False).input_ids
    total = 0.0
    for start in range(0, len(tokens), WINDOW - 1):
        window = torch.tensor([[tokenizer.eos_token_id, *tokens[start : start + WINDOW - 1]]])
        with torch.inference_mode():
            logits = model(input_ids=window).logits[0, :-1].float()
        total += torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum").item()
    return total / math.log(2)


def overlaps(texts: Iterator[str] | list[str], avoided: set[tuple[str, ...]]) -> list[str]:
    """Return the 13-grams that `texts` share with evaluation data, as strings."""
    return [" ".join(gram) for text in texts for gram in grams(text) if gram in avoided]


def measure(corpus: Path, folder: Path, log: Path) -> dict[str, Any]:
    """Return the numbers of the model card."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    held_out = read_texts(corpus / "held_out.jsonl")
    size = sum(len(text.encode()) for text in held_out)
    last = json.loads(log.read_text().splitlines()[-1])
    return {
        "weights": sum(weight.numel() for weight in model.parameters()),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "held_out_bytes": size,
        "bits_per_byte": sum(bits(model, tokenizer, text) for text in held_out) / size,
        "bits_per_byte_xz": 8 * len(lzma.compress("".join(held_out).encode(), preset=9)) / size,
        "tokens_seen": last["tokens"],
        "seconds": last["seconds"],
        "steps": last["step"],
        "machine": machine.describe(),
    }


def card(corpus: dict[str, Any], numbers: dict[str, Any], note: str) -> str:
    """Return the model card as Markdown."""
    counts, computer = corpus["counts"], numbers["machine"]
    tokens = counts["files_tokens"] + counts["pairs_tokens"]
    licences = "\n".join(f"| {name} | {licence} |" for name, licence in sorted(corpus["licences"].items(), key=_folded))
    return f"""---
license: apache-2.0
language: [en, code]
library_name: transformers
tags: [tailora, llama, python]
---

# tailora-tiny

A Llama of {numbers["weights"]:,} weights, pretrained from scratch for tailora, so that fine-tuning, evaluation, compression and
serving can be tried offline in minutes. It has read Python and prose about Python, and nothing else; it is a test piece and
teaching aid, not an assistant. It follows no instructions before fine-tuning.

| | |
|---|---|
| bits per byte on held-out modules | **{numbers["bits_per_byte"]:.3f}** |
| `xz -9` on the same text | {numbers["bits_per_byte_xz"]:.3f} |
| held-out text | {numbers["held_out_bytes"]:,} bytes: source and documentation page of {", ".join(corpus["held_out"])} |
| tokens seen | {numbers["tokens_seen"]:,} in {numbers["steps"]:,} steps, of a corpus of {tokens:,} tokens |
| training | {numbers["seconds"]:,} s on {computer["cores"]} cores of {computer["processor"]} ({note}), torch {computer["versions"]["torch"]} |
| size | {numbers["bytes"]:,} bytes with tokenizer, weights in bf16 |
| context | 1,024 tokens; byte-level BPE of 4,096 pieces, each digit a piece |

Bits per byte: −Σ log2 p over all tokens of each held-out file divided by its UTF-8 bytes, windows of 1,023 tokens that do not
overlap, float32. `xz` compresses the concatenated files with preset 9.

## Corpus

{counts["kept_bytes"]:,} bytes: the standard library of Python 3.11 with its documentation, and the Python files of the packages
below, without tests. {counts["repeated_bytes"]:,} bytes of repeated blocks were left out. {counts["pairs_documents"]:,} short
documented functions are seen once more as a documentation page would show them: summary first, then the code in a fence.
The held-out modules were never read. Blocks that share 13 consecutive words with a question or answer of MBPP or HumanEval
({counts["avoided_blocks"]:,} blocks, {counts["avoided_bytes"]:,} bytes) were left out, and no row of tailora's bundled questions
shares 13 consecutive words with the corpus; both are checked by `pretraining/score.py`.

| source | licence |
|---|---|
{licences}

## How

`pretraining/corpus.py`, `pretraining/pretrain.py` and `pretraining/score.py` in the repository: six layers, 256 wide, Muon on
matrices and AdamW on embeddings and norms, warm-up, stable phase and linear decay over the last
third; sequences of 256, then 512, then 1,024 tokens. The weights are ours, under Apache-2.0.
"""


def _folded(pair: tuple[str, str]) -> str:
    return pair[0].lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--avoid", type=Path, nargs="*", default=[])
    parser.add_argument("--note", default="otherwise idle", help="what else the machine did meanwhile")
    args = parser.parse_args()
    shared = overlaps(read_texts(args.corpus / "files.jsonl"), avoided_grams(args.avoid))
    if shared:
        raise SystemExit(f"{len(shared)} 13-grams of evaluation data stand in the corpus, such as: {shared[0]}")
    numbers = measure(args.corpus, args.model, args.log)
    summary = json.loads((args.corpus / "corpus.json").read_text())
    (args.model / "README.md").write_text(card(summary, numbers, args.note), encoding="utf-8")
    (args.model / "measured.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
