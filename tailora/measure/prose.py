"""Scores of free text against a reference answer, and what explains why answers became worse: strings in, numbers out.

All of them compare words, so none of them knows whether an answer is true.
"""

import re
from collections import Counter

from tailora.measure.words import is_punctuation, parted, seen, words

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_GRAM = 4
_ECHO_WORDS, _FEWEST_ECHO_WORDS = 8, 3


def squad_exact(answer: str, reference: str) -> bool:
    """Say whether two texts are equal but for case, punctuation, articles and spaces: SQuAD's exact match.

    Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1, as in its evaluation script; beyond ASCII, which is all that
    script knows, punctuation of any script and what no reader sees is left out, and composed characters are compared.
    """
    return _squad_words(answer) == _squad_words(reference)


def token_f1(answer: str, reference: str) -> float:
    """Return the F1 of the words that two texts share, 0 to 1, normalised as for `squad_exact`: SQuAD's F1.

    Two texts without words are equal (Rajpurkar et al. 2018, arXiv 1806.03822). Where a script puts no spaces between
    words, characters are shared in their place, as in the script of MLQA (Lewis et al. 2020, arXiv 1910.07475).
    """
    said, wanted = ([part for word in _squad_words(text) for part in parted(word)] for text in (answer, reference))
    if not said or not wanted:
        return float(said == wanted)
    return _f1((Counter(said) & Counter(wanted)).total(), len(said), len(wanted))


def _squad_words(text: str) -> list[str]:
    plain = text.lower() if text.isascii() else seen(text).casefold()
    unpunctuated = "".join(letter for letter in plain if not is_punctuation(letter))
    return _ARTICLES.sub(" ", unpunctuated).split()


def rouge_l(answer: str, reference: str) -> float:
    """Return the F1 of the longest common subsequence of words, 0 to 1: ROUGE-L of Lin 2004, section 3.1, β = 1.

    Equal to Google's rouge-score without stemming for ASCII text. That knows no other letters, so that no German
    word with an umlaut is whole and Chinese has none; here words are of any script (`measure.words`).
    """
    said, wanted = words(answer), words(reference)
    return _f1(_longest_common(said, wanted), len(said), len(wanted))


def _f1(shared: int, said: int, wanted: int) -> float:
    return 2 * shared / (said + wanted) if shared else 0.0


def _longest_common(one: list[str], other: list[str]) -> int:
    """Return the length of the longest common subsequence, a row of the table in one number (Hyyrö 2004, figure 5)."""
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    everything = (1 << len(one)) - 1
    row = everything
    for word in other:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & everything
    return len(one) - row.bit_count()


def repetition(text: str) -> float | None:
    """Return the share of word 4-grams that occurred before in `text`, 0 to 1; None with fewer than four words.

    1 − distinct / all: seq-rep-4 of Welleck et al. 2019 (arXiv 1908.04319, section 6.1), on words instead of tokens.
    """
    said = words(text) or text.split()
    grams = [tuple(said[i : i + _GRAM]) for i in range(len(said) - _GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else None


def echoes(answer: str, question: str) -> bool | None:
    """Say whether `answer` repeats the first eight words of `question`, or all of a shorter one, in one piece.

    Case, punctuation and spaces do not count. None for a question of fewer than three words, which may well be
    repeated.
    """
    asked = words(question)[:_ECHO_WORDS]
    if len(asked) < _FEWEST_ECHO_WORDS:
        return None
    return f" {' '.join(asked)} " in f" {' '.join(words(answer))} "
