"""Tensors: loading, adapters, the training loop, decoding. Knows no text."""
