"""Rows to tokens: chat templates, length limits and batches. Imports no model."""
