"""Where a base model lies: in the package, in the cache of this machine, in a folder or file, or on a hub.

Nothing here imports torch, but for the one conversion of a GGUF file.
"""

import functools
from importlib import resources
from pathlib import Path
from typing import Any

from tailora import files
from tailora.errors import ModelError, did_you_mean
from tailora.model.border import ORIGIN, check_base, read_conversion
from tailora.model.cache import cache_folder, kept
from tailora.model.packaged import PACKAGED, folder_of

_MAGIC = b"GGUF"


def bundled_models() -> dict[str, Path]:
    """Return the base models that travel with the package, by name."""
    folder = Path(str(resources.files("tailora") / "assets" / "models"))
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/config.json"))}


def locate_base(base: str) -> str:
    """Return the local folder or hub id behind `model.base`; a GGUF file is converted once, into the cache.

    Raises:
        ModelError: when it is none of what `model.base` may name, or a packaged model that is not here yet; or when a
            GGUF file cannot be read.
    """
    bundled, path = bundled_models(), Path(base).expanduser()
    if base in bundled:
        return str(bundled[base])
    if base in PACKAGED:
        return str(_packaged(base))
    if _exists(path):
        return str(_folder(path, base) if path.is_dir() else _converted(path, base))
    looks_local = base.startswith((".", "/", "~")) or base.count("/") > 1 or base.endswith(".gguf")
    reason = "there is no such file or folder" if looks_local else _why_not_on_hub(base)
    if not reason:
        return base
    known = [*bundled, *PACKAGED]
    raise ModelError(
        f'model.base: "{base}" cannot be found: {reason}{did_you_mean(base, known)}. Give a local folder, a .gguf '
        f"file, a hub id such as Qwen/Qwen2.5-0.5B (with a network), or one of {', '.join(known)}."
    )


def origin_of(base: str) -> dict[str, Any] | None:
    """Return what a converted or packaged base was made from (`origin.json`); None for any other base.

    Raises:
        ModelError: when the base is not here.
    """
    return read_conversion(Path(locate_base(base)) / ORIGIN)


def converted_models() -> dict[str, Path]:
    """Return the folders of GGUF files that were converted on this machine, by the names of the files."""
    found = (cache_folder() / "gguf").glob(f"*/{ORIGIN}")
    made = {record.parent: read_conversion(record) for record in sorted(found)}
    return {str(origin["file"]): folder for folder, origin in made.items() if origin}


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or no name at all
        return False


def _packaged(name: str) -> Path:
    folder = folder_of(name)
    if not folder.is_dir():
        model = PACKAGED[name]
        raise ModelError(
            f'model.base: "{name}" is not on this machine yet; `tailora models get {name}` downloads it '
            f"({model.download_bytes / 1e6:,.0f} MB from the package registry, licence {model.licence})."
        )
    check_base(folder)
    return folder


def _folder(path: Path, base: str) -> Path:
    if (path / "config.json").exists():
        check_base(path)
        return path
    inside = sorted(file.name for file in path.glob("*.gguf"))
    hint = f" It holds {', '.join(inside[:3])}: name that file instead." if inside else ""
    raise ModelError(f"model.base: {base} has no config.json, so it is not a transformers model folder.{hint}")


def _converted(path: Path, base: str) -> Path:
    """Return the folder of a GGUF file's conversion, which is made where it is not there yet."""
    if not is_gguf(path):
        raise ModelError(
            f"model.base: {base} is a file, but no GGUF file (it does not begin with {_MAGIC.decode()}). Give the "
            "folder of a model, or a .gguf file."
        )
    status = path.stat()
    folder = cache_folder() / "gguf" / _hash(path.resolve(), status.st_size, status.st_mtime_ns)
    check_base(kept(folder, functools.partial(_convert, path)))
    return folder


def is_gguf(path: Path) -> bool:
    """Say whether `path` is a GGUF file, by its first bytes: Ollama's files have no ending."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _convert(path: Path, folder: Path) -> None:
    from tailora.model import gguf  # reading a file takes torch

    gguf.convert(path, folder)


@functools.lru_cache
def _hash(path: Path, size: int, mtime: int) -> str:
    """Return the SHA-256 of a file that was not changed since; computed once in a process."""
    return files.sha256(path)


def _why_not_on_hub(base: str) -> str:
    """Say why the model hub does not give `base`, or return "" where it does, or its cache on this machine."""
    from huggingface_hub import file_exists, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    unknown = "it is no file or folder, and the model hub knows no such model"
    offline = "it is no file or folder, and the model hub cannot be reached"
    try:
        if isinstance(try_to_load_from_cache(base, "config.json"), str) or file_exists(base, "config.json"):
            return ""
    except HFValidationError:
        return "it is no file or folder, and no id of the model hub"
    except OfflineModeIsEnabled:
        return f"{offline} (HF_HUB_OFFLINE is set)"
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        return f"{unknown}, or shows it only to those who log in (`hf auth login`)" if status in (401, 403) else unknown
    except OSError:
        return offline
    except Exception as error:  # the hub's HTTP client is not a dependency of ours, so its errors have no name here
        if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2", "requests"):
            return offline
        raise
    return unknown
