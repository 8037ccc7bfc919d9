"""One fence around what libraries raise while they load, adapt, probe or decode a user's model."""

import contextlib
import warnings
from collections.abc import Iterator

import torch
from transformers.utils import logging

from tailora import files
from tailora.errors import ModelError, TailoraError

_MOST_SHOWN = 300  # characters of an error


@contextlib.contextmanager
def fenced(what: str, remedy: str) -> Iterator[None]:
    """Turn whatever a library raises within the block into one paragraph: `what` failed, the error, and the `remedy`.

    Errors of ours pass, and so does a lack of room: callers answer one of memory with smaller passes, and one on disk
    has a message of its own.
    """
    try:
        yield
    except (TailoraError, MemoryError):
        raise
    except Exception as error:
        if is_out_of_memory(error) or (isinstance(error, OSError) and files.lacks_space(error)):
            raise
        raise ModelError(f"{what}: {first_line(error)}. {remedy.rstrip('.')}.") from error


def first_line(error: BaseException) -> str:
    """Return the beginning of an error's message on one line, or its kind where it has none, without the full stop."""
    said = f"nothing is called {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(said.split())[:_MOST_SHOWN].rstrip(" .:") or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether memory was lacking: on a processor, under limits such as `ulimit -v`, that error has no class."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence what transformers and PEFT say of themselves: bars, and warnings that hold what files of others say."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        try:
            yield
        finally:
            logging.enable_progress_bar()
            logging.set_verbosity(before)
