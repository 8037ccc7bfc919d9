"""Base models that were downloaded or converted once, on this machine."""

import os
import platform
from collections.abc import Callable
from pathlib import Path

from tailora import files
from tailora.errors import ModelError


def cache_folder() -> Path:
    """Return where base models are kept: `TAILORA_CACHE`, or `tailora` in the user's folder for caches."""
    chosen = os.environ.get("TAILORA_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if platform.system() == "Darwin":
        return Path.home() / "Library" / "Caches" / "tailora"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tailora"


def kept(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, filled by `fill` where it is not there yet; half filled it is never seen.

    Of several processes one fills it and the others wait.

    Raises:
        ModelError: when the cache cannot be written, or is full.
    """
    import filelock

    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():
                with files.whole_folder(folder) as partial:
                    fill(partial)
    except OSError as error:
        reason = "there is no room" if files.lacks_space(error) else error.strerror or str(error)
        raise ModelError(
            f"{folder.parent} cannot be written: {reason}. Nothing was left half written there; make room, or name "
            "another folder in the environment variable TAILORA_CACHE."
        ) from error
    return folder
