"""Build the pretraining corpus of tailora-tiny: Python sources and documentation → clean text → tokens.

    python -m pretraining.corpus --sources DIR … --docs DIR --avoid FILE … --out DIR

Reads what is installed on this machine; knows nothing of models. Writes to `--out`: `files.jsonl` and
`pairs.jsonl` (text kept), `held_out.jsonl`, `tokenizer/`, `files.npy` and `pairs.npy` (uint16 tokens),
and `corpus.json` with every count.
"""

import argparse
import ast
import gzip
import hashlib
import importlib.metadata
import json
import random
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

# Whole modules (source and documentation page) that no training text is taken from.
HELD_OUT = ["heapq", "textwrap", "statistics", "shlex", "fractions", "graphlib", "fnmatch", "sched", "colorsys"]
HELD_OUT_PACKAGES = {"standard library", "Python documentation"}
SKIPPED_FOLDERS = {
    "test", "tests", "testing", "_test", "_testing", "_vendor", "vendored", "extern", "externals", "locale",
    "locales", "locale-data", "migrations", "site-packages", "idlelib", "lib2to3", "turtledemo", "__pycache__",
    "node_modules", "changes", "whatsnew", "c-api",
}  # fmt: skip
# Metadata counts as permissive when it names one of the first and none of the second.
PERMISSIVE = re.compile(
    r"MIT|BSD|Apache|PSF|Python Software Foundation|ISC|public domain|Unlicense|CNRI", re.IGNORECASE
)
RESTRICTED = re.compile(r"GPL|MPL|Mozilla|non-?commercial", re.IGNORECASE)
GRAM = 13
VOCABULARY = 4096
END, PAD = "<|end|>", "<|pad|>"
# GPT-2's splitting with two changes: an underscore may lead a word (snake_case pieces repeat), digits stand alone.
PIECES = r"[ _]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}_]+|_+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Document:
    """One source file or page: where it came from, whose it is, and its text."""

    path: str
    package: str
    text: str


def permissive_packages(folder: Path) -> dict[str, tuple[str, str]]:
    """Top-level module name → (distribution and version, licence) for the permissive distributions in `folder`."""
    found: dict[str, tuple[str, str]] = {}
    for distribution in importlib.metadata.distributions(path=[str(folder)]):
        licence = _licence(distribution)
        if RESTRICTED.search(licence) or not PERMISSIVE.search(licence):
            continue
        for file in distribution.files or []:
            top = file.parts[0].removesuffix(".py")
            if file.suffix == ".py" and top.isidentifier():
                found[top] = (f"{distribution.name} {distribution.version}", licence)
    return found


def _licence(distribution: importlib.metadata.Distribution) -> str:
    def field(name: str) -> list[str]:
        return distribution.metadata.get_all(name) or []

    classifiers = [c.rsplit("::", 1)[-1].strip() for c in field("Classifier") if c.startswith("License ::")]
    texts = [text.strip().split("\n")[0][:60] for text in field("License")]
    return "; ".join(field("License-Expression") or classifiers or texts)


def read_documents(root: Path, pattern: str, package_of: dict[str, str] | str) -> Iterator[Document]:
    """Yield the readable text files under `root` that belong to a listed package, in a fixed order."""
    for path in sorted(root.rglob(pattern)):
        parts = path.relative_to(root).parts
        package = package_of if isinstance(package_of, str) else package_of.get(parts[0].removesuffix(".py"))
        if package is None or SKIPPED_FOLDERS.intersection(parts) or path.name.startswith("test_"):
            continue
        try:
            text = path.read_text("utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        if is_prose_or_code(text):
            yield Document(str(path.relative_to(root)), package, text.replace("\r\n", "\n").expandtabs(4))


def is_prose_or_code(text: str) -> bool:
    """False for tables, generated files and texts that are mostly not English or ASCII code."""
    if not 200 <= len(text) <= 400_000:
        return False
    digits = sum(c.isdigit() for c in text) / len(text)
    foreign = sum(c > "\x7f" for c in text) / len(text)
    longest = max(map(len, text.split("\n")))
    return digits < 0.15 and foreign < 0.02 and longest < 500


def is_held_out(document: Document) -> bool:
    """Held-out modules are recognised by file name, wherever a copy of them lies."""
    return Path(document.path).name.split(".")[0] in HELD_OUT


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def grams(text: str) -> Iterator[tuple[str, ...]]:
    found = words(text)
    return (tuple(found[i : i + GRAM]) for i in range(len(found) - GRAM + 1))


def avoided_grams(files: Iterable[Path]) -> set[tuple[str, ...]]:
    """13-grams of every string in evaluation files (JSONL, optionally gzipped) that must not be trained on."""
    avoided: set[tuple[str, ...]] = set()
    for file in files:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        for line in data.decode("utf-8").splitlines():
            for value in json.loads(line).values():
                if isinstance(value, str):
                    avoided.update(grams(value))
    return avoided


def clean(documents: Iterable[Document], avoided: set[tuple[str, ...]], counts: Counter[str]) -> Iterator[Document]:
    """Drop repeated blocks and blocks that share a 13-gram with an avoided text; count both, in bytes."""
    seen: set[bytes] = set()
    for document in documents:
        kept = []
        for block in re.split(r"\n(?=\n+\S)", document.text):
            key = hashlib.blake2b(" ".join(block.split()).encode(), digest_size=12).digest()
            if len(block) > 80 and key in seen:
                counts["repeated_bytes"] += len(block.encode())
            elif any(gram in avoided for gram in grams(block)):
                counts["avoided_bytes"] += len(block.encode())
                counts["avoided_blocks"] += 1
            else:
                seen.add(key)
                kept.append(block)
        text = "\n".join(kept).strip("\n") + "\n"
        if len(text) > 100:
            counts["kept_bytes"] += len(text.encode())
            yield Document(document.path, document.package, text)


def documented_functions(document: Document) -> Iterator[str]:
    """Yield prose-then-code texts for the short documented functions of a Python file.

    The summary of a docstring comes first and the function without its docstring follows in a fence, as
    documentation pages show them.
    """
    try:
        tree = ast.parse(document.text)
    except (SyntaxError, ValueError, RecursionError):
        return
    lines = document.text.split("\n")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and len(node.body) > 1:
            summary = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ").strip()
            code = _without_docstring(node, lines)
            if 4 <= len(summary.split()) <= 60 and 2 <= len(code) <= 22 and "raise NotImplementedError" not in code[-1]:
                yield _page(node.name, summary, code)


def _without_docstring(node: ast.FunctionDef, lines: list[str]) -> list[str]:
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
    docstring = node.body[0]
    kept = lines[first : docstring.lineno - 1] + lines[docstring.end_lineno : node.end_lineno]
    return [line[node.col_offset :].rstrip() for line in kept]


def _page(name: str, summary: str, code: list[str]) -> str:
    fence = "```python\n" + "\n".join(code).strip("\n") + "\n```\n"
    heading = random.Random(name + summary).choice([f"`{name}`: {summary}", f"{summary} (`{name}`)", summary])
    return f"{heading}\n\n{fence}"


def train_tokenizer(texts: Iterable[str], folder: Path) -> None:
    """Byte-level BPE over `texts`, saved as a transformers tokenizer."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD],
        initial_alphabet=alphabet,
        max_token_length=24,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, model_max_length=1024,
        clean_up_tokenization_spaces=False, padding_side="left",
    )  # fmt: skip
    wrapped.save_pretrained(folder)


def tokenize(texts: list[str], folder: Path) -> np.ndarray:
    """All texts as one uint16 stream, each ended by the end token."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id(END)
    stream: list[np.ndarray] = []
    for start in range(0, len(texts), 256):
        for encoding in tokenizer.encode_batch(texts[start : start + 256], add_special_tokens=False):
            stream.append(np.array([*encoding.ids, end], dtype=np.uint16))
    return np.concatenate(stream)


def collect(sources: list[Path], docs: Path | None) -> tuple[list[Document], dict[str, str]]:
    """Every readable document of the standard library, its documentation and the permissive packages."""
    documents = list(read_documents(Path(sysconfig.get_path("stdlib")), "*.py", "standard library"))
    licences = {"standard library": "PSF-2.0"}
    if docs is not None:
        documents += read_documents(docs, "*.rst.txt", "Python documentation")
        licences["Python documentation"] = "PSF-2.0"
    for folder in sources:
        packages = permissive_packages(folder)
        documents += read_documents(folder, "*.py", {top: name for top, (name, _) in packages.items()})
        licences |= dict(packages.values())
    return documents, licences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, nargs="+", required=True, help="site-packages folders to read")
    parser.add_argument("--leave-out", nargs="*", default=[], help="top-level packages to skip")
    parser.add_argument("--docs", type=Path, help="folder of the Python documentation's .rst.txt sources")
    parser.add_argument("--avoid", type=Path, nargs="*", default=[], help="evaluation files (JSONL) to keep out")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    counts: Counter[str] = Counter()
    documents, licences = collect(args.sources, args.docs)
    documents = [d for d in documents if d.path.split("/")[0] not in args.leave_out]
    held_out = [d for d in documents if is_held_out(d) and d.package in HELD_OUT_PACKAGES]
    files = list(clean((d for d in documents if not is_held_out(d)), avoided_grams(args.avoid), counts))
    pairs = sorted({page for d in files if d.path.endswith(".py") for page in documented_functions(d)})
    random.Random(0).shuffle(files)
    random.Random(0).shuffle(pairs)

    texts = [d.text for d in files]
    train_tokenizer([t for i, t in enumerate(texts) if i % 4 == 0] + pairs[:20_000], args.out / "tokenizer")
    for name, stream in {"files": texts, "pairs": pairs}.items():
        tokens = tokenize(stream, args.out / "tokenizer")
        np.save(args.out / f"{name}.npy", tokens)
        counts[f"{name}_documents"], counts[f"{name}_tokens"] = len(stream), len(tokens)
    used = sorted({d.package for d in files})
    _write_jsonl(args.out / "files.jsonl", map(asdict, files))
    _write_jsonl(args.out / "pairs.jsonl", ({"text": p} for p in pairs))
    _write_jsonl(args.out / "held_out.jsonl", map(asdict, held_out))
    summary = {"counts": dict(counts), "licences": {name: licences[name] for name in used}, "held_out": HELD_OUT}
    (args.out / "corpus.json").write_text(json.dumps(summary, indent=2) + "\n")
    sys.stdout.write(json.dumps(summary["counts"], indent=2) + "\n")


def _write_jsonl(path: Path, rows: Iterable[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
