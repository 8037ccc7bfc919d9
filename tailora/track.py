"""Trackers: a training's log, sent besides to TensorBoard, Weights & Biases, MLflow or Trackio through accelerate."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tailora.errors import RunError
from tailora.files import Row


def check_trackers(names: Sequence[str]) -> None:
    """Raise RunError when a tracker of `names` is not installed; says how to install it."""
    if not names:
        return
    from accelerate.tracking import filter_trackers

    missing = [name for name in names if not filter_trackers([name], ".")]
    if missing:
        raise RunError(
            f"train.trackers: {', '.join(missing)} cannot be imported here; `pip install {' '.join(missing)}` brings "
            "it, or leave it out."
        )


@contextmanager
def trackers(
    names: Sequence[str], run: str, folder: Path, values: dict[str, Any]
) -> Iterator[list[Callable[[Row], None]]]:
    """Start the trackers `names` for `run` with the recipe `values`; yields what takes the rows of a log.

    What a tracker keeps in files stands in `<folder>/<its name>`.
    """
    check_trackers(names)
    with ExitStack() as stack:
        yield [stack.enter_context(_tracker(name, run, folder, values)) for name in names]


@contextmanager
def _tracker(name: str, run: str, folder: Path, values: dict[str, Any]) -> Iterator[Callable[[Row], None]]:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # accelerate's loggers refuse to work without it
    kind = LOGGER_TYPE_TO_CLASS[name]
    tracker = kind(run, folder / name) if kind.requires_logging_directory else kind(run)
    tracker.start()
    # Hyperparameters may be plain values only.
    plain = {key: v if isinstance(v, bool | int | float | str) else str(v) for key, v in values.items()}
    tracker.store_init_configuration(plain)

    def take(row: Row) -> None:
        numbers = {key: v for key, v in row.items() if isinstance(v, int | float) and key != "step"}
        tracker.log({f"{row['split']}/{key}": v for key, v in numbers.items()}, step=row["step"])

    try:
        yield take
    finally:
        tracker.finish()
