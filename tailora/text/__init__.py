"""Rows to tokens: reading, splitting, prompts and batches. Imports no model."""
