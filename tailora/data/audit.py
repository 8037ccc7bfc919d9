"""What rows contain: secrets, odd characters, refusals, labels, writing systems, lengths. Nothing is changed.

Counts and places, and of a secret no more than its first characters.
"""

import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tailora.data.findings import Finding
from tailora.data.records import Notices
from tailora.data.rows import normalise, question
from tailora.files import Row

_SECRETS = {
    "e-mail address": re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+\b"),
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "access key": re.compile(
        r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|sk-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,})\b"
    ),
}
_ODD = {
    "HTML entity": re.compile(r"&(?:[a-z]{2,8}|#\d{2,5}|#x[0-9a-f]{2,5});", re.IGNORECASE),
    "mojibake": re.compile(r"Ã[\x80-\xbf©¨±¼¶¤]|â€[™œ\x9d“”¢]|Â[ \xa0°·]"),
    "zero-width or bidi character": re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"),
    "control character": re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]"),
}
_SPECIAL = re.compile(
    r"<\|[a-z][\w ]{1,30}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>", re.IGNORECASE
)
_REFUSAL = re.compile(
    r"^\W*(?:i'?m sorry|sorry|i apologi[sz]e|i (?:can(?:no|['’])t|am unable to|am not able to) "
    r"(?:help|assist|answer|provide|fulfil)|as an ai\b)",
    re.IGNORECASE,
)
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
# A column of answers is one of labels when it has so few different ones, all short, and each many times.
_MOST_LABELS, _LONGEST_LABEL, _ROWS_PER_LABEL = 50, 60, 5
_LOPSIDED = 0.99


def prompt_length(row: Row) -> int:
    """Return the characters of all turns before the answer."""
    return sum(len(turn["content"]) for turn in row["prompt"])


@dataclass
class Content:
    """What is seen in one pass over rows."""

    findings: Notices = field(default_factory=Notices)
    scripts: Counter[str] = field(default_factory=Counter)
    topics: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] | None = field(default_factory=Counter)
    """How often each answer occurs; None when they are too many or too long to be labels."""
    lengths: dict[str, "array[int]"] = field(default_factory=lambda: {"prompt": array("L"), "answer": array("L")})
    earlier_answers: int = 0
    with_tests: int = 0

    def look_at(self, row: Row) -> None:
        """Take in one row."""
        for kind, sample in _remarkable(row):
            self.findings.add(kind, f"{row['where']}{sample}")
        self.scripts[_script(row)] += 1
        if "topic" in row:
            self.topics[str(row["topic"])] += 1
        self.lengths["prompt"].append(prompt_length(row))
        self.lengths["answer"].append(len(row["answer"]))
        self.earlier_answers += sum(turn["role"] == "assistant" for turn in row["prompt"])
        self.with_tests += bool(row.get("tests"))
        if self.answers is not None:
            self.answers[row["answer"]] += 1
            if len(self.answers) > _MOST_LABELS or len(row["answer"]) > _LONGEST_LABEL:
                self.answers = None

    def labels(self) -> dict[str, int]:
        """Return the labels with their rows, if the answers are labels at all."""
        answers = self.answers or Counter()
        return dict(answers.most_common()) if answers.total() >= _ROWS_PER_LABEL * len(answers) else {}

    def quantiles(self) -> dict[str, dict[str, int]]:
        """Return the characters of prompts and answers."""
        return {name: quantiles(lengths) for name, lengths in self.lengths.items() if lengths}


def _remarkable(row: Row) -> Iterable[tuple[str, str]]:
    asked, answer = question(row), row["answer"]
    for kind, pattern in _SECRETS.items():
        if match := pattern.search(asked) or pattern.search(answer):
            yield kind, f" ({match[0][:4]}…)"
    for kind, pattern in _ODD.items():
        if pattern.search(asked) or pattern.search(answer):
            yield kind, ""
    if match := _SPECIAL.search(asked) or _SPECIAL.search(answer):
        yield "special token of a chat template, encoded as plain text", f" ({match[0]})"
    if normalise(asked) == normalise(answer):
        yield "answer repeats the question", ""
    if _REFUSAL.match(answer):
        yield "answer refuses", ""


def _script(row: Row) -> str:
    """Return the writing system of most letters of the question ("LATIN", "CJK", …)."""
    letters = [c for c in question(row)[:2000] if c.isalpha()]
    names = Counter(_writing(c) for c in letters)
    return names.most_common(1)[0][0] if names else "no letters"


def _writing(letter: str) -> str:
    return "LATIN" if letter < "\x80" else unicodedata.name(letter, "UNKNOWN").partition(" ")[0]


def quantiles(lengths: Iterable[int]) -> dict[str, int]:
    """Return minimum, quartiles, 95 % and maximum, each a length that occurs."""
    ordered = sorted(lengths)
    return {f"{share:.0%}": ordered[round(share * (len(ordered) - 1))] for share in _QUANTILES}


def label_findings(labels: dict[str, dict[str, int]]) -> list[Finding]:
    """Return what is wrong with labels, given the rows of each in every split: {"train": {"Sports": 12}, …}."""
    everywhere: Counter[str] = sum((Counter(counts) for counts in labels.values()), Counter())
    if not everywhere:
        return []
    findings = []
    spellings: dict[str, dict[str, int]] = {}
    for label, rows in everywhere.items():
        spellings.setdefault(normalise(label), {})[label] = rows
    alike = [same for same in spellings.values() if len(same) > 1]
    if alike:
        findings.append(Finding("label spellings", values={"spellings": alike}))
    single = [label for label, rows in everywhere.items() if rows == 1]
    if single:
        findings.append(Finding("labels with one row", values={"labels": single}))
    (common, most), *others = everywhere.most_common()
    if not others:
        findings.append(Finding("one label", values={"label": common}))
    elif most >= _LOPSIDED * everywhere.total():
        findings.append(Finding("common label", values={"label": common, "share": most / everywhere.total()}))
    for split in ("val", "test"):
        findings += _strange_labels(labels, split, everywhere)
    return findings


def _strange_labels(labels: dict[str, dict[str, int]], split: str, everywhere: Counter[str]) -> list[Finding]:
    """Return the labels of a split that train does not have, or that they are counted from another number there."""
    strange = [
        label for label in labels.get(split, {}) if label not in labels.get("train", {}) and everywhere[label] > 1
    ]
    if not strange:
        return []
    train, other = (_first_number(labels.get(part, {})) for part in ("train", split))
    if train is not None and other is not None and train != other:
        return [Finding("labels counted otherwise", values={"split": split, "train": train, "other": other})]
    return [Finding("labels not in train", values={"split": split, "labels": strange})]


def _first_number(labels: Iterable[str]) -> int | None:
    """Return the smallest label when all of them are whole numbers."""
    labels = list(labels)
    return min(map(int, labels)) if labels and all(label.isdecimal() for label in labels) else None


def card_of(content: Content) -> dict[str, Any]:
    """Return what a pass over all rows showed, as the data card has it."""
    return {
        "characters": content.quantiles(),
        "findings": content.findings.card(),
        "scripts": dict(content.scripts.most_common()),
        "rows_with_tests": content.with_tests,
        "earlier_assistant_turns": content.earlier_answers,
    }
