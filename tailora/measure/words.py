"""What a word is: the one tokenisation by which texts are compared, whatever script they are written in.

A word is a run of letters, marks and digits after NFKC and case folding; punctuation and symbols are none. A mark
belongs to the letter before it. Scripts that put no spaces between words (Han, kana, Thai, Lao, Khmer, Myanmar) have a
word for each character with its marks.
"""

import functools
import re
import unicodedata
from typing import Any

_ASCII = re.compile(r"[a-z0-9]+")
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"


def words(text: str) -> list[str]:
    """Return the words of a text, in order."""
    if text.isascii():
        return _ASCII.findall(text.lower())
    found: list[str] = _any_script().findall(unicodedata.normalize("NFKC", text).casefold())
    return found


@functools.cache
def _any_script() -> Any:
    import regex

    return regex.compile(rf"(?V1)[{_UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+")


def is_punctuation(letter: str) -> bool:
    """Say whether a character is punctuation or a symbol, in any script."""
    return unicodedata.category(letter)[0] in "PS"
