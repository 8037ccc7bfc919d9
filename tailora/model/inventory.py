"""Which base models this machine has, and which it can get from the package registry."""

import json
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

from tailora.model.border import ORIGIN, read_conversion
from tailora.model.locate import bundled_models, converted_models
from tailora.model.packaged import PACKAGED, folder_of


class Listed(NamedTuple):
    """A base model that `model.base` takes, here or after `tailora models get`."""

    name: str
    """What `model.base` takes; of a converted GGUF file its folder in the cache."""
    kind: str
    """Where it comes from: "bundled", "package registry", the name of a GGUF file, or "hub cache"."""
    parameters: int | None
    bytes: int
    """On disk; what it will take where it is not here yet."""
    licence: str
    download_bytes: int | None = None
    """What `tailora models get` loads; None where the model is here."""


def list_models() -> Iterator[Listed]:
    """Yield what travels with the package, models of the registry, converted GGUF files, and the hub's cache."""
    for name, folder in bundled_models().items():
        yield _here(name, "bundled", folder, "Apache-2.0")
    for name, model in PACKAGED.items():
        folder = folder_of(name)
        if folder.is_dir():
            yield _here(name, "package registry", folder, model.licence)
        else:
            yield Listed(
                name, "package registry", model.parameters, model.folder_bytes, model.licence, model.download_bytes
            )
    for name, folder in converted_models().items():
        yield _here(str(folder), name, folder, _licence(folder))
    for name, folder in _in_hub_cache():
        yield _here(name, "hub cache", folder, "see its model card")


def _here(name: str, kind: str, folder: Path, licence: str) -> Listed:
    held = [file for file in folder.iterdir() if file.is_file()]
    return Listed(name, kind, _parameters(held), sum(file.stat().st_size for file in held), licence)


def _licence(folder: Path) -> str:
    origin = read_conversion(folder / ORIGIN)
    return (origin and origin["licence"]) or "not stated"


def _parameters(held: list[Path]) -> int | None:
    """Return how many weights the safetensors files among `held` have, by their headers; None where that is unknown."""
    try:
        counts = [_weights_in(file) for file in held if file.suffix == ".safetensors"]
    except (ValueError, TypeError, KeyError, AttributeError, struct.error, OSError, RecursionError):
        return None  # a header that is damaged
    return sum(counts) if counts else None


def _weights_in(file: Path) -> int:
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(min(length, file.stat().st_size)))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _in_hub_cache() -> Iterator[tuple[str, Path]]:
    """Yield the models that the hub's library has downloaded with their configuration, by id."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return
    for repo in sorted(repos, key=lambda repo: repo.repo_id):
        folders = [revision.snapshot_path for revision in repo.revisions]
        whole = [folder for folder in folders if (folder / "config.json").is_file()]
        if repo.repo_type == "model" and whole:
            yield repo.repo_id, whole[0]
