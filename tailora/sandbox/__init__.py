"""Runs generated programs against tests, each confined in a process of its own, and compares the values they return.

The strongest sandbox at hand is found by a probe that tries to get out: a jail of Landlock and seccomp (see `jail`), or
bubblewrap. Where neither holds, programs are not run, unless the caller allows it: then limits on time, memory and
output are all there is, and a program reaches whatever its user can.

The expected values stay here: a program that lies about its results has to know the right ones. Results count
only with the token of their job, which a program that inspects its own interpreter can find. So a test whose result
is no more than "it held" (an assert that is not a comparison with a literal, or other statements) can be cheated by a
program that sets out to. Programs get the standard library without site-packages, and a fixed hash seed, so that the
order of a set is the same in every run.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Literal

from tailora.sandbox.checks import Case
from tailora.sandbox.judge import Outcome, one_line, run_program
from tailora.sandbox.probe import Mode, find_strongest, make_place, probe
from tailora.sandbox.processes import Place

__all__ = ["Case", "Mode", "Outcome", "Test", "Within", "find_strongest", "probe", "run_many", "run_tests"]

Test = Case | str
# One of the modes; or the strongest that there is, else not run ("strong") or run with limits only ("any").
Within = Literal["strong", "any"] | Mode

_SECONDS = 5.0
_MEMORY_BYTES = 512 * 1024 * 1024


def run_many(
    jobs: Sequence[tuple[str, Sequence[Test]]],
    *,
    workers: int,
    progress: Callable[[], object] | None = None,
    seconds: float = _SECONDS,
    memory_bytes: int = _MEMORY_BYTES,
    within: Within = "strong",
) -> list[Outcome]:
    """Run jobs of (code, tests), `workers` at a time, and return their outcomes in the order of the jobs.

    Of each job, `code` is executed in a fresh process, the input of each test evaluated there and its value compared
    here. Types count: True is not 1, 1 is not 1.0, a tuple is not a list, NaN equals nothing. A test given as text is
    an assert, compared by Python's `==`, or other statements. `seconds` is wall time for a whole job, starting its
    process included; with more workers than cores slow programs time out. `memory_bytes` bounds the address space.
    `progress` is called in the calling thread, once per finished job.
    """
    if not jobs:
        return []
    mode = _mode(within)
    if mode is None:
        reason = one_line(f"no sandbox; --unsafe-exec runs programs with limits only ({find_strongest().reason})")
        return [Outcome("not run", 0, len(tests), reason) for _, tests in jobs]
    count = min(workers, len(jobs))
    with ExitStack() as stack:
        places = [make_place(mode) for _ in range(count)]
        free: SimpleQueue[Place] = SimpleQueue()
        for place in places:
            stack.callback(place.close)
            free.put(place)

        def run(job: tuple[str, Sequence[Test]]) -> Outcome:
            place = free.get()
            try:
                return run_program(place, *job, seconds, memory_bytes)
            finally:
                free.put(place)

        pool = ThreadPoolExecutor(count)
        stack.callback(pool.shutdown, cancel_futures=True)
        futures = [pool.submit(run, job) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()  # a defect of ours stops the run here, not after all jobs
                if progress is not None:
                    progress()
        except BaseException:  # also when the user stops it: what runs is ended, not waited for
            pool.shutdown(wait=False, cancel_futures=True)
            for place in places:
                place.kill()
            raise
        return [future.result() for future in futures]


def run_tests(
    code: str,
    tests: Sequence[Test],
    *,
    seconds: float = _SECONDS,
    memory_bytes: int = _MEMORY_BYTES,
    within: Within = "strong",
) -> Outcome:
    """Run one program against its tests, as `run_many` does."""
    (outcome,) = run_many([(code, tests)], workers=1, seconds=seconds, memory_bytes=memory_bytes, within=within)
    return outcome


def _mode(within: Within) -> Mode | None:
    if within not in ("strong", "any"):
        return within  # type: ignore[return-value]  # mypy does not narrow by "in"
    return find_strongest().mode or ("limits" if within == "any" else None)
