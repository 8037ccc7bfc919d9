"""Runs generated programs against tests, each in a process of its own, and compares the values they return.

This limits time, memory and output; **it is not a jail**. A program still reaches the network and can read,
truncate and delete whatever its user can; it can start processes, and one that leaves its process group
outlives the timer. A later step adds Landlock and seccomp. macOS does not enforce the memory limit; Windows
has no limits at all, so nothing is run there.

The expected values stay here: a program that lies about its results has to know the right ones. Results count
only with the token of their job, which a program that inspects its own interpreter can find. Programs get the
standard library without site-packages, and a fixed hash seed, so that the order of a set is the same in every
run.
"""

import importlib.util
import inspect
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, NamedTuple, NoReturn, TypedDict

Status = Literal["passed", "failed", "error", "timeout", "not run"]

_SECONDS = 5.0
_MEMORY_BYTES = 512 * 1024 * 1024
_OUTPUT_BYTES = 64 * 1024
_LONGEST_DETAIL = 200


class Case(TypedDict):
    """A Python expression over the names that the program defines, and the JSON value it must have."""

    input: str
    expected: Any


@dataclass(frozen=True)
class Outcome:
    """How one program did: `passed` of `total` tests.

    `status` is that of the first test that did not pass: "failed" for a wrong value, "error" for an exception
    or an early end, "timeout" for a program stopped by the timer. "not run" says nothing about the program.
    `detail` is one line of at most 200 characters, none of them a control character; empty when all tests
    passed.
    """

    status: Status
    passed: int
    total: int
    detail: str = ""


def run_many(
    jobs: Sequence[tuple[str, Sequence[Case]]],
    *,
    workers: int,
    progress: Callable[[], object] | None = None,
    seconds: float = _SECONDS,
    memory_bytes: int = _MEMORY_BYTES,
) -> list[Outcome]:
    """Run jobs of (code, tests), `workers` at a time, and return their outcomes in the order of the jobs.

    `progress` is called in the calling thread, once per finished job. The timer is wall time: with more
    workers than cores slow programs time out.
    """
    run = partial(run_tests, seconds=seconds, memory_bytes=memory_bytes)
    pool = ThreadPoolExecutor(workers)
    try:
        futures = [pool.submit(run, code, tests) for code, tests in jobs]
        for future in as_completed(futures):
            future.result()  # a defect of ours stops the run here, not after all jobs
            if progress is not None:
                progress()
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def run_tests(
    code: str, tests: Sequence[Case], *, seconds: float = _SECONDS, memory_bytes: int = _MEMORY_BYTES
) -> Outcome:
    """Execute `code` in a fresh interpreter, evaluate the input of each test there, compare the values here.

    Types count: True is not 1, 1 is not 1.0, a tuple is not a list, NaN equals nothing. `seconds` is wall
    time for the whole job, starting the interpreter included. `memory_bytes` bounds the address space.
    """
    if importlib.util.find_spec("resource") is None:
        return Outcome("not run", 0, len(tests), "this system has no resource limits")
    if not tests:
        return Outcome("not run", 0, 0, "there are no tests")
    if not code.strip():
        return Outcome("error", 0, len(tests), "the program is empty")
    job = _Job(
        token=secrets.token_hex(16),
        code=code,
        inputs=[test["input"] for test in tests],
        cpu_seconds=int(seconds) + 2,  # the wall timer comes first
        memory_bytes=memory_bytes,
    )
    # Right answers must fit, however long they are; only what goes beyond them is suspect.
    room = 2 * len(json.dumps([test["expected"] for test in tests])) + 128 * len(tests) + _OUTPUT_BYTES
    return _judged(_run_child(job, seconds, room), job["token"], tests)


class _Job(TypedDict):
    token: str
    code: str
    inputs: list[str]
    cpu_seconds: int
    memory_bytes: int


# By whom: by us at the end record, by itself, or by us at the time limit or at the output limit.
_Stopped = Literal["end", "closed", "time", "output"]


class _Ended(NamedTuple):
    output: bytes
    stopped: _Stopped
    exit_code: int


def _run_child(job: _Job, seconds: float, room: int) -> _Ended:
    deadline = time.monotonic() + seconds
    receiving, sending = os.pipe()
    with (
        os.fdopen(receiving, "rb", buffering=0),
        tempfile.TemporaryDirectory(prefix="tailora-", ignore_cleanup_errors=True) as folder,
    ):
        try:
            process = _start_child(folder, sending)
        finally:
            os.close(sending)
        with process:
            try:
                _give(process, {**job, "results": sending})
                output, stopped = _collect(receiving, deadline, room, _prefix(job["token"], "end"))
                if stopped == "closed":
                    stopped = _await_end(process, deadline)
            finally:
                # The group, also when its leader has ended: what it started must not stay.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
    return _Ended(output, stopped, process.returncode)


def _start_child(folder: str, sending: int) -> subprocess.Popen[bytes]:
    # Not -I: it ignores PYTHONHASHSEED, and then the order of sets makes scores change from run to run.
    flags = ["-s", "-P", "-S", "-B"]
    environment = {"PYTHONHASHSEED": "0"}
    if "LD_LIBRARY_PATH" in os.environ:  # an interpreter with a shared libpython may not start without it
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return subprocess.Popen(
        [sys.executable, *flags, "-c", _child_source()],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=environment,
        pass_fds=(sending,),
        start_new_session=True,
    )


def _give(process: subprocess.Popen[bytes], job: dict[str, Any]) -> None:
    # A child that dies while starting breaks the pipe; its missing results and exit code tell the story.
    with suppress(BrokenPipeError), process.stdin as stdin:  # type: ignore[union-attr]  # it is a pipe
        stdin.write(json.dumps(job).encode())


def _collect(receiving: int, deadline: float, room: int, end: bytes) -> tuple[bytes, _Stopped]:
    """Read until the `end` record, the end of the pipe, the deadline, or more bytes than there is room."""
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(receiving, selectors.EVENT_READ)
        while end not in output:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not selector.select(remaining):
                return bytes(output), "time"
            chunk = os.read(receiving, _OUTPUT_BYTES)
            if not chunk:
                return bytes(output), "closed"
            output += chunk
            if len(output) > room:
                return bytes(output), "output"
    return bytes(output), "end"


def _await_end(process: subprocess.Popen[bytes], deadline: float) -> _Stopped:
    # A process closes its pipe a moment before it has an exit code; one that closed it on purpose may run on.
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return "time"
    return "closed"


def _prefix(token: str, step: str) -> bytes:
    return json.dumps([token, step]).removesuffix("]").encode()


def _judged(ended: _Ended, token: str, tests: Sequence[Case]) -> Outcome:
    records = _records(ended.output, token)
    if "start" not in records:
        return Outcome("not run", 0, len(tests), f"the sandbox did not start: {_interruption(ended)[1]}")
    kind, payload = records.get("code", ("value", None))
    if kind == "raised":
        return Outcome("error", 0, len(tests), _tidy(str(payload)))
    problems = [_problem(records.get(number), test, ended) for number, test in enumerate(tests)]
    passed = problems.count(None)
    status, detail = next((problem for problem in problems if problem), ("passed", ""))
    return Outcome(status, passed, len(tests), _tidy(detail))


def _records(output: bytes, token: str) -> dict[object, tuple[object, object]]:
    """Return step → (kind, payload) of the lines that carry the token; the first line of a step counts."""
    records: dict[object, tuple[object, object]] = {}
    for line in output.split(b"\n"):
        with suppress(ValueError, RecursionError, TypeError):  # not ours: the program wrote to the pipe itself
            sender, step, kind, payload = json.loads(line)
            if sender == token:
                records.setdefault(step, (kind, payload))
    return records


def _problem(record: tuple[object, object] | None, test: Case, ended: _Ended) -> tuple[Status, str] | None:
    if record is None:
        return _interruption(ended)
    kind, payload = record
    if kind == "raised":
        return "error", str(payload)
    if kind == "value" and _same(test["expected"], payload):
        return None
    given = repr(payload) if kind == "value" else str(payload)
    return "failed", f"{test['input']} gave {given}, expected {test['expected']!r}"


def _interruption(ended: _Ended) -> tuple[Status, str]:
    if ended.stopped == "time":
        return "timeout", "stopped at the time limit"
    if ended.stopped == "output":
        return "error", "stopped for sending too much"
    if ended.exit_code < 0:
        return "error", f"ended by {signal.Signals(-ended.exit_code).name}"
    return "error", f"ended by itself with exit code {ended.exit_code}"


def _same(expected: object, value: object) -> bool:
    if type(expected) is not type(value):
        return False
    if isinstance(expected, list) and isinstance(value, list):
        return len(expected) == len(value) and all(map(_same, expected, value))
    if isinstance(expected, dict) and isinstance(value, dict):
        return expected.keys() == value.keys() and all(_same(expected[key], value[key]) for key in expected)
    return expected == value


def _tidy(text: str) -> str:
    visible = (" " if unicodedata.category(character).startswith("C") else character for character in text)
    return " ".join("".join(visible).split())[:_LONGEST_DETAIL]


@cache
def _child_source() -> str:
    """Return the program of the child: the functions below, which therefore import what they use."""
    functions: list[Callable[..., object]] = [
        _child,
        _child_limits,
        _child_attempt,
        _child_message,
        _child_unfit,
    ]
    sources = [inspect.getsource(function) for function in functions]
    return "\n".join(["from __future__ import annotations", *sources, "_child()"])


def _child() -> NoReturn:
    import json
    import os
    import sys

    job = json.loads(sys.stdin.buffer.read())
    _child_limits(job["cpu_seconds"], job["memory_bytes"])
    os.set_inheritable(job["results"], False)
    results = os.fdopen(job["results"], "wb", buffering=0)

    def send(step: str | int, kind: str, payload: Any = None) -> None:
        # The program may have left half a line in the pipe, hence a line end on both sides.
        results.write(b"\n%b\n" % json.dumps([job["token"], step, kind, payload]).encode())

    send("start", "value")
    module = type(sys)("answer")
    sys.modules["answer"] = module  # dataclasses look their module up
    names = module.__dict__
    spare = bytearray(4 << 20)  # so that a program that has used up its memory can still be reported
    program = _child_attempt(lambda: exec(compile(job["code"], "<answer>", "exec", dont_inherit=True), names))
    spare.clear()
    send("code", *program)
    if program[0] == "value":
        for number, expression in enumerate(job["inputs"]):
            send(number, *_child_attempt(eval, expression, names))
    send("end", "value")
    os._exit(0)  # not through the program's exit handlers and threads


def _child_limits(cpu_seconds: int, memory_bytes: int) -> None:
    import resource
    import sys

    # No limit on processes: Linux counts all processes and threads of the user against it, and root is
    # exempt.
    limits = {
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_AS: memory_bytes,
    }
    for kind, wanted in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            if (sys.platform, kind) != ("darwin", resource.RLIMIT_AS):
                raise


def _child_attempt(work: Callable[..., object], *arguments: object) -> tuple[str, object]:
    try:
        value = work(*arguments)
        unfit = _child_unfit(value, 100)
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the program's doing, too
        return "raised", _child_message(error)
    return ("unfit", unfit) if unfit else ("value", value)


def _child_message(error: BaseException) -> str:
    try:
        text = str(error)[:200]
    except BaseException:  # its own __str__ fails
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _child_unfit(value: Any, depth: int) -> str:
    """Say why `value` is not made of exactly the types of JSON; empty when it is."""
    if value is None or type(value) in (bool, float, str):
        return ""
    if type(value) is int:
        return "" if value.bit_length() < 14_000 else "an int too long to print"  # 4,300 digits in Python
    if type(value) not in (list, dict):
        return f"a value of type {type(value).__name__}"
    if depth == 0:
        return "a value nested too deep"
    if type(value) is dict and not all(type(key) is str for key in value):
        return "a dict with keys other than str"
    parts = value.values() if type(value) is dict else value
    return next(filter(None, (_child_unfit(part, depth - 1) for part in parts)), "")
