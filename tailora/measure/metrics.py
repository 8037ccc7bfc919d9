"""Scores of one answer or one corpus: strings and counts in, numbers out.

Similarity (chrF, exact match) is not correctness, and code that parses need not run. A score that has no
value, such as perplexity over zero tokens, raises ValueError; it is never reported as 0.0.
"""

import ast
import math
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_LARGEST_PROGRAM = 64 * 1024  # bytes of UTF-8; the parser needs far more memory than its input
_CHRF_ORDER = 6
_FENCE = re.compile(r"(?P<indent> {0,3})(?P<ticks>`{3,}|~{3,})(?P<info>[^`]*)")  # CommonMark 0.31, section 4.5


def extract_code(text: str) -> str:
    """Return the longest fenced block of `text` (the last of equals), or all of `text` when it has no fence.

    A final fence that is never closed reaches to the end, as in an answer that was cut off.
    """
    longest = None
    for block in _fenced_blocks(text):
        if longest is None or len(block.strip()) >= len(longest.strip()):
            longest = block
    return text if longest is None else longest


def has_fence(text: str) -> bool:
    """Say whether `text` opens a code fence at the start of a line."""
    return next(_fenced_blocks(text), None) is not None


def _fenced_blocks(text: str) -> Iterator[str]:
    opening: re.Match[str] | None = None
    block: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        fence = _FENCE.fullmatch(line)
        if opening is None:
            opening, block = fence, []
        elif fence and _closes(fence, opening):
            yield _dedented(block, opening)
            opening = None
        else:
            block.append(line)
    if opening is not None:
        yield _dedented(block, opening)


def _closes(fence: re.Match[str], opening: re.Match[str]) -> bool:
    return fence["ticks"].startswith(opening["ticks"]) and not fence["info"].strip()


def _dedented(block: list[str], opening: re.Match[str]) -> str:
    # A fence inside a list item is indented together with its code; other code keeps its indentation.
    code = "\n".join(block)
    return textwrap.dedent(code) if opening["indent"] else code


def parses(code: str) -> bool:
    """Say whether `code` is a Python program: not blank, at most 64 KiB, and accepted by `ast.parse`."""
    return parse(code) is not None


def parse(code: str) -> ast.Module | None:
    """Return the syntax tree of a Python program, or None for what `parses` says no to."""
    try:
        if not code.strip() or len(code.encode()) > _LARGEST_PROGRAM:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape such as "\d" warns, yet it is a program
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # UnicodeEncodeError is a ValueError
        return None


def chrf(answer: str, reference: str) -> float:
    """Return the sentence chrF of `answer`, 0 to 100; for pairing rows, not for the headline.

    Popović 2015, equal to sacrebleu's; `chrf_signature` names its settings. Raises ValueError for a blank
    reference, of which no character can be found again.
    """
    return corpus_chrf([answer], [reference])


def corpus_chrf(answers: Sequence[str], references: Sequence[str]) -> float:
    """Return the corpus chrF, 0 to 100: n-grams are counted over all rows, then divided once, as sacrebleu does.

    Raises ValueError unless there is one reference per answer and at least one that is not blank.
    """
    if len(answers) != len(references):
        raise ValueError(f"chrF needs one reference per answer, got {len(references)} for {len(answers)}")
    if not any(reference.strip() for reference in references):
        raise ValueError("chrF needs at least one reference that is not blank")
    counts = [chrf_counts(answer, reference) for answer, reference in zip(answers, references, strict=True)]
    return float(chrf_of(np.array(counts, dtype=np.float64).sum(axis=0, keepdims=True))[0])


def chrf_counts(answer: str, reference: str) -> list[int]:
    """Return what chrF is made of: n-grams of the answer, of the reference, and shared ones, for n = 1 … 6.

    Characters but for white space. N-grams of the answer count 0 where the reference has none of that length.
    """
    ours, theirs = ("".join(text.split()) for text in (answer, reference))
    counts = []
    for n in range(1, _CHRF_ORDER + 1):
        said, wanted = (Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in (ours, theirs))
        shared = sum(min(count, wanted[gram]) for gram, count in said.items() if gram in wanted)
        counts += [said.total() if wanted else 0, wanted.total(), shared]
    return counts


def chrf_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the chrF, 0 to 100, of each row of summed `chrf_counts`.

    F2 of the mean precision and the mean recall over those lengths of which both sides have n-grams.
    """
    said, wanted, shared = np.moveaxis(sums.reshape(len(sums), _CHRF_ORDER, 3), 2, 0)
    both = (said > 0) & (wanted > 0)
    orders = np.maximum(both.sum(axis=1), 1)
    precision, recall = (
        np.divide(shared, count, out=np.zeros_like(shared), where=both).sum(axis=1) / orders for count in (said, wanted)
    )
    weighted = 4 * precision + recall
    score = np.divide(5 * precision * recall, weighted, out=np.zeros_like(weighted), where=weighted > 0)
    return np.asarray(100 * score, dtype=np.float64)


def chrf_signature() -> str:
    """Return sacrebleu's signature of this chrF, its settings and version, to print beside the scores."""
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF()
    metric.corpus_score(["-"], [["-"]])  # sacrebleu knows the signature only after a first score
    return str(metric.get_signature())


def exact(answer: str, reference: str) -> bool:
    """Say whether two texts are equal but for line ends, spaces at line ends and blank lines at the end."""
    return _normalised(answer) == _normalised(reference)


def _normalised(text: str) -> str:
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(line.rstrip() for line in unified.split("\n")).rstrip("\n")


def perplexity(nll_sum: float, tokens: int) -> float:
    """Return exp(ΣNLL / ΣT), at least 1; comparable only under one tokenizer.

    `nll_sum` is the sum of −ln p over the `tokens` target tokens of a corpus, in nats (Jurafsky & Martin,
    Speech and Language Processing, section 3.3). Raises ValueError when `tokens` is not positive or `nll_sum`
    not finite.
    """
    return math.exp(_ratio(nll_sum, tokens, "tokens"))


def bits_per_byte(nll_sum: float, byte_count: int) -> float:
    """Return ΣNLL / (ln 2 · bytes), comparable across tokenizers.

    `nll_sum` in nats, `byte_count` in UTF-8 bytes of the scored text; the `bits_per_byte` of
    lm-evaluation-harness (Gao et al. 2020, arXiv 2101.00027, section 3.1). Raises ValueError as `perplexity`
    does.
    """
    return _ratio(nll_sum, byte_count, "bytes") / math.log(2)


def _ratio(nll_sum: float, count: int, unit: str) -> float:
    if count <= 0 or not math.isfinite(nll_sum):
        raise ValueError(f"a likelihood needs a finite sum over at least one of its {unit}, got {nll_sum} over {count}")
    return nll_sum / count


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate, 0 to 1, that one of k answers passes, when c of n drawn answers passed.

    1 − C(n−c, k) / C(n, k): Chen et al. 2021, arXiv 2107.03374, equation 1. Raises ValueError unless 1 ≤ k ≤
    n and 0 ≤ c ≤ n.
    """
    if not (1 <= k <= n and 0 <= c <= n):
        raise ValueError(f"pass@k needs 1 ≤ k ≤ n and 0 ≤ c ≤ n, got n={n}, c={c}, k={k}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)
