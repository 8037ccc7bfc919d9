"""Finds out what holds a program on this machine, by running one that tries to get out."""

import os
import shutil
import socket
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from tailora.sandbox.checks import Case
from tailora.sandbox.judge import run_program
from tailora.sandbox.processes import ColdPlace, Place, WarmPlace, bubblewrap_prefix

Mode = Literal["jail", "bubblewrap", "limits"]

_PROBE_SECONDS, _PROBE_BYTES = 20.0, 512 * 2**20
_TRESPASSER = """
import decimal, os, socket, threading

attempts = {
    "read a file": lambda: open(SECRET).close(),
    "wrote to a file": lambda: open(SECRET, "a").close(),
    "changed a mode": lambda: os.chmod(SECRET, 0o600),
    "made a folder": lambda: os.mkdir(SECRET + ".new"),
    "reached the network": lambda: socket.create_connection(("127.0.0.1", PORT), 2),
    "saw another process": lambda: open(f"/proc/{PROCESS}/environ").close(),
    "signalled another process": lambda: os.kill(PROCESS, 0),
    "started a program": lambda: os.posix_spawn("/bin/sh", ["sh", "-c", ":"], {}),
}

def succeeds(attempt):
    try:
        attempt()
    except OSError:
        return False
    return True

def works():
    results = []
    thread = threading.Thread(target=lambda: results.append(decimal.Decimal("0.5") * 2))
    thread.start()
    thread.join()
    return results == [1]

escapes = [name for name, attempt in attempts.items() if succeeds(attempt)]
"""


class Strength(NamedTuple):
    """The strongest sandbox that holds here, and why those before it do not; mode None: there is no strong one."""

    mode: Mode | None
    reason: str


def make_place(mode: Mode) -> Place:
    """Return a new place to run programs in."""
    if mode == "jail":
        return WarmPlace()
    return ColdPlace(bubblewrap_prefix(shutil.which("bwrap") or "bwrap") if mode == "bubblewrap" else ())


@cache
def find_strongest() -> Strength:
    """Probe the sandboxes of this machine, strongest first; done once per process."""
    reasons: list[str] = []
    modes: tuple[Mode, ...] = ("jail", "bubblewrap")
    for mode in modes:
        problem = probe(mode)
        if not problem:
            return Strength(mode, "; ".join(reasons))
        reasons.append(f"{mode}: {problem}")
    return Strength(None, "; ".join(reasons))


def probe(mode: Mode) -> str:
    """Run a program that tries to get out and one that is honest; return what went wrong, empty when nothing did."""
    if os.name != "posix":
        return "this system has none"
    if mode == "bubblewrap" and not shutil.which("bwrap"):
        return "bwrap is not installed"
    tests: list[Case] = [{"input": "escapes", "expected": []}, {"input": "works()", "expected": True}]
    place = make_place(mode)
    with tempfile.TemporaryDirectory(prefix="tailora-") as folder, socket.create_server(("127.0.0.1", 0)) as server:
        secret = Path(folder) / "secret"
        secret.write_text("secret")
        aims = f"SECRET, PORT, PROCESS = {str(secret)!r}, {server.getsockname()[1]}, {os.getpid()}\n"
        try:
            return run_program(place, aims + _TRESPASSER, tests, _PROBE_SECONDS, _PROBE_BYTES).detail
        except OSError as error:
            return str(error)
        finally:
            place.close()
