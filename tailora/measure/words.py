"""What a word is: the one tokenisation by which texts are compared, whatever script they are written in.

A word is a run of letters, marks and digits after NFKC and case folding; punctuation and symbols are none. A mark
belongs to the letter before it, and what no reader sees inside a word (joiners, soft hyphens, the Arabic stretch) to
nothing, as do the marks of stress and question inside Armenian words. Scripts that put no spaces between words (Han,
kana, Thai, Lao, Khmer, Myanmar, Javanese and their like) have a word for each character with its marks.
"""

import functools
import re
import string
import unicodedata
from typing import Any

_ASCII = re.compile(r"[a-z0-9]+")
_UNSPACED = (
    r"\p{Han}\p{Hiragana}\p{Katakana}ー〆\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    r"\p{Javanese}\p{Balinese}\p{Tai_Tham}\p{Tai_Viet}"
)
# Emoji are drawn with marks that are no letters' (enclosing ones), and with selectors that are ignorable.
_MARKS = r"\p{Mn}\p{Mc}"
_WORD = (
    rf"(?V1)[[{_UNSPACED}]&&[\p{{L}}\p{{N}}]][{_MARKS}]*"
    rf"|[[\p{{L}}\p{{N}}]--[{_UNSPACED}]][[\p{{L}}\p{{N}}{_MARKS}]--[{_UNSPACED}]]*"
)
_MINUS = "\u2212"  # typeset where ASCII has a hyphen
_PUNCTUATION = ("Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk")
# A zero-width space is ignorable too, and parts words.
_UNSEEN = r"(?V1)[[\p{Default_Ignorable_Code_Point}\u0640\u055b\u055c\u055e]--[\u200b]]+"


def words(text: str) -> list[str]:
    """Return the words of a text, in order."""
    if text.isascii():
        return _ASCII.findall(text.lower())
    found: list[str] = _pattern(_WORD).findall(seen(text).casefold())
    return found


def seen(text: str) -> str:
    """Return a text in NFKC without what no reader sees and what stands inside Armenian words and is none of theirs.

    A zero-width space, which parts words, is a space.
    """
    return unicodedata.normalize("NFKC", str(_pattern(_UNSEEN).sub("", text)).replace("\u200b", " "))


def parted(word: str) -> list[str]:
    """Return what stands between two spaces in its characters where its script puts no spaces between words."""
    if word.isascii():
        return [word]
    found: list[str] = _pattern(rf"(?V1)[{_UNSPACED}][{_MARKS}]*|[^{_UNSPACED}]+").findall(word)
    return found


@functools.cache
def _pattern(source: str) -> Any:
    import regex

    return regex.compile(source)


def is_punctuation(letter: str) -> bool:
    """Say whether a character is punctuation in any script, a sign of money, or a symbol of ASCII.

    Other symbols say something: of 👍 and 👎, or ≤ and ≥, nothing would be left.
    """
    return letter in string.punctuation or letter == _MINUS or unicodedata.category(letter) in _PUNCTUATION
