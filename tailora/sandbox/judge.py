"""Runs one program in a place and judges what came back; the right values never leave this side."""

import json
import secrets
import signal
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from tailora.sandbox.checks import Case, Check, is_right, to_check
from tailora.sandbox.processes import Bounds, Ended, Place
from tailora.sandbox.worker import decode, encode

Status = Literal["passed", "failed", "error", "timeout", "not run"]

_OUTPUT_BYTES = 64 * 1024
_LONGEST_DETAIL = 200


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


def run_program(place: Place, code: str, tests: Sequence[Case | str], seconds: float, memory_bytes: int) -> Outcome:
    """Execute `code` in `place`, have each test evaluated there, and compare the values here."""
    if not tests:
        return Outcome("not run", 0, 0, "there are no tests")
    if not code.strip():
        return Outcome("error", 0, len(tests), "the program is empty")
    token = secrets.token_hex(16)
    checks = [to_check(test) for test in tests]
    job = {
        "token": token,
        "code": code,
        "checks": [(check.source, check.mode, check.relation == "is") for check in checks],
    }
    # Right answers must fit, however long they are; only what goes beyond them is suspect.
    expected = json.dumps([encode(check.expected) for check in checks])
    room = 2 * len(expected) + 128 * len(checks) + _OUTPUT_BYTES
    ended = place.run(job, _prefix(token, "end"), Bounds(seconds, memory_bytes, room))
    return _judged(ended, token, checks)


def _prefix(token: str, step: str) -> bytes:
    return json.dumps([token, step]).removesuffix("]").encode()


def _judged(ended: Ended, token: str, checks: Sequence[Check]) -> Outcome:
    records = _records(ended.output, token)
    if "start" not in records:  # so all that was sent is ours
        problem = ended.output.decode(errors="replace").strip() or _interruption(ended)[1]
        return Outcome("not run", 0, len(checks), one_line(f"the sandbox did not start: {problem}"))
    kind, payload = records.get("code", ("value", None))
    if kind == "raised":
        return Outcome("error", 0, len(checks), one_line(str(payload)))
    problems = [_problem(records.get(number), check, ended) for number, check in enumerate(checks)]
    passed = problems.count(None)
    status, detail = next((problem for problem in problems if problem), ("passed", ""))
    return Outcome(status, passed, len(checks), one_line(detail))


def _records(output: bytes, token: str) -> dict[object, tuple[object, Any]]:
    """Return step → (kind, payload) of the lines that carry the token; the first line of a step counts."""
    records: dict[object, tuple[object, Any]] = {}
    for line in output.split(b"\n"):
        with suppress(Exception):  # not ours: the program wrote to the pipe itself, and may have written anything
            sender, step, kind, payload = json.loads(line)
            if sender == token:
                records.setdefault(step, (kind, decode(payload)))
    return records


def _problem(record: tuple[object, Any] | None, check: Check, ended: Ended) -> tuple[Status, str] | None:
    if record is None:
        return _interruption(ended)
    kind, payload = record
    if kind == "raised":
        broken = check.mode == "exec" and str(payload).startswith("AssertionError")
        return "failed" if broken else "error", str(payload)
    if kind == "value" and is_right(check, payload):
        return None
    given = repr(payload) if kind == "value" else str(payload)
    return "failed", f"{check.told or check.source} gave {given}, expected {_wanted(check)}"


def _wanted(check: Check) -> str:
    return f"one of {check.expected!r}" if check.relation == "in" else repr(check.expected)


def _interruption(ended: Ended) -> tuple[Status, str]:
    if ended.stopped == "time":
        return "timeout", "stopped at the time limit"
    if ended.stopped == "output":
        return "error", "stopped for sending too much"
    if ended.exit_code < 0:
        return "error", f"ended by {_name_of(-ended.exit_code)}"
    return "error", f"ended by itself with exit code {ended.exit_code}"


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time signals between the first and the last have no names
        return f"signal {number}"


def one_line(text: str) -> str:
    """Return text without control characters and cut to 200 characters."""
    visible = (" " if unicodedata.category(character).startswith("C") else character for character in text)
    return " ".join("".join(visible).split())[:_LONGEST_DETAIL]
