"""Rows: where they come from, what is wrong with them, what they share, and how they are split. Knows no tokens."""
