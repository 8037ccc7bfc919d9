"""Toy models and tokenizers built in memory: small enough to train in a test, real enough to be loaded by anyone."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tailora.text.chat import Sample


def toy_tokenizer() -> PreTrainedTokenizerFast:
    """Build a byte-level tokenizer without merges: one token a byte, then end and pad."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*alphabet, "<end>", "<pad>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>")


def toy_model(seed: int = 0) -> Any:
    """Build a two-layer Llama with random weights for `toy_tokenizer`."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=258, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, eos_token_id=256, pad_token_id=257, bos_token_id=256,
        tie_word_embeddings=False,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def save_toy(folder: Path, seed: int = 0) -> Path:
    """Write toy model and tokenizer as a transformers folder."""
    toy_model(seed).save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
    return folder


def toy_samples(count: int, seed: int = 0) -> list[Sample]:
    """Build samples of random tokens and different lengths."""
    numbers = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(count):
        prompt, answer = (int(torch.randint(2, 20, (1,), generator=numbers)) for _ in range(2))
        tokens = torch.randint(0, 256, (prompt + answer,), generator=numbers).tolist()
        samples.append(Sample([*tokens, 256], [(prompt, prompt + answer + 1)]))
    return samples
