"""Texts with labels → what a classifier reads: tokens, and the number of the class. Training and serving use the same.

A text is all turns before the answer. Tokens that the tokenizer puts around every text are kept; what stands in the
text itself is never a special token. A text that is too long loses its end, which is counted.
"""

from collections.abc import Sequence
from typing import Any

from tailora.data.rows import question
from tailora.errors import DataError, RunError
from tailora.files import Row, fingerprint
from tailora.text.chat import Sample
from tailora.text.length_budget import Fitting, fitted


class Texts:
    """Encodes labelled texts for one tokenizer; `names` are the classes in their order."""

    def __init__(self, tokenizer: Any, names: Sequence[str]) -> None:
        tokenizer.truncation_side = "right"
        self.tokenizer = tokenizer
        self.names = list(names)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def encode(self, row: Row, longest: int | None = None) -> Sample:
        """Return the tokens of a prepared row, `longest` at most, and the number of its class.

        Raises:
            DataError: when the tokenizer makes no token of the text.
        """
        # Not verbose: it would warn of texts longer than the model, which we cut ourselves.
        read = self.tokenizer(
            question(row),
            split_special_tokens=True,
            truncation=longest is not None,
            max_length=longest,
            verbose=False,
        )
        if not read.input_ids:
            raise DataError(f"{row['where']}: the tokenizer makes no token of this text; leave the row out.")
        return Sample(list(read.input_ids), [], self._numbers[row["answer"]])

    def fit(self, rows: Sequence[Row], longest: int, split: str) -> Fitting:
        """Encode rows and cut them to `longest` tokens.

        Raises:
            RunError: when there is no room for a single token of a text.
        """
        whole = [self.encode(row) for row in rows]
        around = len(self.tokenizer("", split_special_tokens=True).input_ids)
        if longest <= around:
            raise RunError(f"model.max_length = {longest} leaves no token for the {split} texts; raise it.")
        found = [
            (row, sample if len(sample.tokens) <= longest else self.encode(row, longest), len(sample.tokens))
            for row, sample in zip(rows, whole, strict=True)
        ]
        return fitted(found, longest, self.tokenizer)

    def remarks(self) -> list[str]:
        """Return what a user should know of this tokenizer: nothing so far."""
        return []

    def fingerprint(self) -> str:
        """Return a hash of tokenizer and classes: equal fingerprints mean equal samples for equal rows."""
        probe = {"where": "probe", "prompt": [{"content": "Où est <|end|> 42?\n\ttab"}], "answer": self.names[0]}
        return fingerprint(*self.names, repr(self.encode(probe).tokens), str(len(self.tokenizer)))
