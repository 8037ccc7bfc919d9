"""Starts the processes that programs run in, reads what they send, and ends them in time."""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple, Protocol

_CHUNK_BYTES = 64 * 1024
_PATIENCE_SECONDS = 10.0  # for processes of ours to answer

# By whom: by us at the end record, by itself, or by us at the time limit or at the output limit.
Stopped = Literal["end", "closed", "time", "output"]


class Ended(NamedTuple):
    """What a child sent, how its run came to its end, and its exit code (minus the number of a signal)."""

    output: bytes
    stopped: Stopped
    exit_code: int


class Bounds(NamedTuple):
    """`seconds` of wall time for the whole job, bytes of address space, bytes of output."""

    seconds: float
    memory_bytes: int
    output_bytes: int

    def limits(self) -> list[int]:
        """Return what the child sets for itself; the wall timer comes before the processor's."""
        return [int(self.seconds) + 2, self.memory_bytes]


class Place(Protocol):
    """Where programs are run, one at a time, each in a process of its own."""

    def run(self, job: dict[str, Any], end: bytes, bounds: Bounds) -> Ended:
        """Run `job` until its `end` record, its own end or a bound; nothing of it is left afterwards."""

    def kill(self) -> None:
        """End what runs, also from another thread; `run` then returns at once."""

    def close(self) -> None:
        """End what serves this place."""


class WarmPlace:
    """A process that has loaded the interpreter once forks a child for each program, which jails itself first."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None

    def run(self, job: dict[str, Any], end: bytes, bounds: Bounds) -> Ended:
        """Run `job` in a fresh child of the server."""
        if self._server is None:
            self._start()
        deadline = time.monotonic() + bounds.seconds
        source, giving = os.pipe()
        receiving, results = os.pipe()
        with os.fdopen(receiving, "rb", buffering=0):
            try:
                with suppress(OSError):  # a server that is gone; its exit code tells
                    socket.send_fds(self._control, [json.dumps(bounds.limits()).encode()], [source, results])
            finally:
                os.close(source)
                os.close(results)
            with suppress(BrokenPipeError), os.fdopen(giving, "wb") as stream:  # a child that died while starting
                stream.write(json.dumps(job).encode())
            output, stopped = collect(receiving, deadline, bounds.output_bytes, end)
        exit_code = self._answer(max(0.001, deadline - time.monotonic())) if stopped == "closed" else None
        if exit_code is None:
            stopped = "time" if stopped == "closed" else stopped
            exit_code = self._stop()
        return Ended(output, stopped, exit_code)

    def kill(self) -> None:
        """End what runs, also from another thread; `run` then returns at once."""
        if (server := self._server) is not None:
            server.kill()

    def close(self) -> None:
        """End the server, and with it what it runs."""
        if self._server is not None:
            self._control.close()
            self._server.kill()
            self._server.wait()
            self._server = None

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            settings = {"control": theirs.fileno(), "readable": readable_paths()}
            self._server = subprocess.Popen(
                worker_command(settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

    def _stop(self) -> int:
        with suppress(OSError):
            self._control.send(b"stop")
        exit_code = self._answer(_PATIENCE_SECONDS)
        if exit_code is None:
            self.close()
            return -signal.SIGKILL
        return exit_code

    def _answer(self, seconds: float) -> int | None:
        """Return the exit code of the child, or of the server where that has ended; None when neither has.

        Raises:
            OSError: with what the server says, where it could not make a jail.
        """
        self._control.settimeout(seconds)
        try:
            answer = self._control.recv(1024)
        except TimeoutError:
            return None
        except OSError:
            answer = b""
        if answer.removeprefix(b"-").isdigit():
            return int(answer)
        if answer:
            raise OSError(answer.decode(errors="replace"))
        server, self._server = self._server, None
        self._control.close()
        return server.wait() if server else -signal.SIGKILL


class ColdPlace:
    """Starts a fresh interpreter for each program, with limits only, behind a `prefix` command where there is one."""

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        self._prefix = prefix
        self._running: subprocess.Popen[bytes] | None = None

    def run(self, job: dict[str, Any], end: bytes, bounds: Bounds) -> Ended:
        """Run `job` in a fresh interpreter, in a temporary folder of its own."""
        deadline = time.monotonic() + bounds.seconds
        receiving, results = os.pipe()
        with (
            os.fdopen(receiving, "rb", buffering=0),
            tempfile.TemporaryDirectory(prefix="tailora-", ignore_cleanup_errors=True) as folder,
        ):
            try:
                process = self._start(folder, results, bounds.limits())
            finally:
                os.close(results)
            self._running = process
            with process:
                try:
                    with suppress(BrokenPipeError), process.stdin as stream:  # type: ignore[union-attr]  # it is a pipe
                        stream.write(json.dumps(job).encode())
                    output, stopped = collect(receiving, deadline, bounds.output_bytes, end)
                    if stopped == "closed":
                        stopped = _await_end(process, deadline)
                finally:
                    # The group, also when its leader has ended: what it started must not stay.
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)
        return Ended(output, stopped, process.returncode)

    def kill(self) -> None:
        """End what runs, also from another thread; `run` then returns at once."""
        if (process := self._running) is not None and process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Nothing is kept."""

    def _start(self, folder: str, results: int, limits: list[int]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._prefix, *worker_command({"results": results, "limits": limits})],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=_environment(),
            pass_fds=(results,),
            start_new_session=True,
        )


def collect(receiving: int, deadline: float, room: int, end: bytes) -> tuple[bytes, Stopped]:
    """Read until the `end` record, the end of the pipe, the deadline, or more bytes than there is room."""
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(receiving, selectors.EVENT_READ)
        while end not in output:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not selector.select(remaining):
                return bytes(output), "time"
            chunk = os.read(receiving, _CHUNK_BYTES)
            if not chunk:
                return bytes(output), "closed"
            output += chunk
            if len(output) > room:
                return bytes(output), "output"
    return bytes(output), "end"


def _await_end(process: subprocess.Popen[bytes], deadline: float) -> Stopped:
    # A process closes its pipe a moment before it has an exit code; one that closed it on purpose may run on.
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return "time"
    return "closed"


def readable_paths() -> list[str]:
    """Return what a jailed program may read: the standard library, system libraries, time zones."""
    libraries = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"]
    own = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    own += [os.path.join(prefix, "lib") for prefix in (sys.base_prefix, sys.base_exec_prefix)]
    return list(dict.fromkeys([*own, *libraries, "/usr/share/zoneinfo"]))


def bubblewrap_prefix(program: str) -> list[str]:
    """Return the command of bubblewrap at `program`: own namespaces, and the paths above read-only in an empty root."""
    interpreter = os.path.realpath(sys.executable)
    # Some loaders stand beside the libraries, and /lib64 may be a link: try what there is.
    binds = [part for path in [*readable_paths(), interpreter] for part in ("--ro-bind-try", path, path)]
    return [program, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", *binds,
            "--remount-ro", "/", "--chdir", "/", "--"]  # fmt: skip


def worker_command(settings: dict[str, Any]) -> list[str]:
    """Return the command of a child: no site-packages, no bytecode written, no path of ours."""
    # Not -I: it ignores PYTHONHASHSEED, and then the order of sets makes scores change from run to run.
    flags = ["-s", "-P", "-S", "-B"]
    return [os.path.realpath(sys.executable), *flags, "-c", _worker_source(), json.dumps(settings)]


def _environment() -> dict[str, str]:
    # glibc reserves 64 MiB of addresses for each thread that allocates, which would use up a program's memory limit.
    environment = {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"}
    if "LD_LIBRARY_PATH" in os.environ:  # an interpreter with a shared libpython may not start without it
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return environment


@cache
def _worker_source() -> str:
    folder = resources.files("tailora.sandbox")
    texts = [(folder / name).read_text("utf-8") for name in ("jail.py", "worker.py")]
    return "\n".join([*texts, "start_worker()\n"])
