"""The child's side: runs one program and sends what its tests evaluate to.

This text follows that of `jail` in the source of the child process, which has no packages: standard library only.
Only plain values travel, written as JSON; `encode` and `decode` add what JSON lacks.
"""

import _thread
import gc
import json
import mmap
import os
import select
import signal
import socket
import sys
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, UserString, defaultdict
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from tailora.sandbox.jail import Jail, limit_resources

# Modules that many programs import: loaded once, before the programs are there.
_COMMON = ("bisect", "collections", "dataclasses", "datetime", "functools", "heapq", "itertools", "math", "random",
           "re", "string", "typing")  # fmt: skip
# The kinds of containers that travel, beside lists; taken here, before a program can put others in their place.
_GROUPS: dict[type, str] = {tuple: "tuple", set: "set", frozenset: "frozenset"}
_MAPPINGS: dict[type, str] = {dict: "dict", Counter: "Counter", OrderedDict: "OrderedDict", defaultdict: "defaultdict"}
_DEEPEST = 100
_STACK = 2 << 20  # bytes of a thread's stack: 8 MiB each, as usual, count against a program's memory limit
# How the parts of a plain value are taken out of a subclass of it, past whatever the subclass has put in their place.
_PARTS: dict[type, Callable[[Any], Any]] = {
    int: lambda value: int.__add__(value, 0),
    float: lambda value: float.__add__(value, 0.0),
    str: lambda value: str.__getitem__(value, slice(None)),
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    tuple: lambda value: tuple.__getitem__(value, slice(None)),
    list: lambda value: list.__getitem__(value, slice(None)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    dict: lambda value: dict(dict.items(value)),
}
_VIEWS: tuple[type, ...] = tuple(
    type(view) for empty in (dict[int, int](), OrderedDict[int, int]()) for view in (empty.keys(), empty.items())
)
# What wraps a plain value and equals it, and how that is taken out.
_WRAPPERS: dict[type, Callable[[Any], Any]] = {
    bytearray: bytes,
    MappingProxyType: dict,
    ChainMap: dict,
    UserDict: lambda value: value.data,
    UserList: lambda value: value.data,
    UserString: lambda value: value.data,
}
_EXACT = ("Fraction", "Decimal")
# What runs a text, by mode; taken here for the same reason.
_COMPILE: Callable[..., Any] = compile
_RUN: dict[str, Callable[..., Any]] = {"exec": exec, "eval": eval}
# Under this name a test finds `is_equal`.
EQUAL = "__is_equal__"


def start_worker() -> NoReturn:
    """Run the one program that comes through standard input, or serve programs that come through a socket."""
    settings = json.loads(sys.argv.pop())
    os.environ.clear()
    _thread.stack_size(_STACK)
    if "control" in settings:
        _serve(socket.socket(fileno=settings["control"]), settings["readable"])
    os.set_inheritable(settings["results"], False)
    limit_resources(*settings["limits"])
    _run_program(json.loads(sys.stdin.buffer.read()), settings["results"])


def _serve(control: socket.socket, readable: list[str]) -> NoReturn:
    """Fork a jailed child for each message; send back its exit code, once it has ended or a second message came.

    The program itself goes past this process, which therefore holds nothing that the next child could find.
    """
    try:
        jail = Jail(readable)
    except OSError as error:
        socket.recv_fds(control, 256, 2)  # an answer needs a question: one left unread would break it off
        control.send(_message(error).encode())
        os._exit(1)
    for name in _COMMON:
        __import__(name)
    gc.freeze()
    while True:
        message, received, _, _ = socket.recv_fds(control, 256, 2)
        if not message:
            os._exit(0)
        if not received:  # a stop that came too late
            continue
        parent, child = os.getpid(), os.fork()
        if child == 0:
            control.close()
            _run_jailed(jail, parent, json.loads(message), *received)
        for descriptor in received:
            os.close(descriptor)
        control.send(str(_wait(control, child)).encode())


def _wait(control: socket.socket, child: int) -> int:
    """Return the exit code of `child`, killing it when anything comes from `control`, its end too."""
    ending = os.pidfd_open(child)
    poll = select.poll()
    for source in (ending, control.fileno()):
        poll.register(source, select.POLLIN)
    if ending not in dict(poll.poll()):
        os.kill(child, signal.SIGKILL)
    os.close(ending)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _run_jailed(jail: "Jail", parent: int, limits: list[int], source: int, results: int) -> NoReturn:
    try:
        limit_resources(*limits)
        jail.enter(parent)
        with open(source, "rb") as stream:
            job = json.loads(stream.read())
        _run_program(job, results)
    except BaseException as error:  # ours: no program has been run yet
        os.write(results, _message(error).encode())
    finally:
        os._exit(1)


def _run_program(job: dict[str, Any], results: int) -> NoReturn:
    attempt, equal = _attempt, is_equal  # the program may put others in their place

    def send(step: str | int, kind: str, payload: Any = None) -> None:
        # The program may have left half a line in the pipe, hence a line end on both sides.
        record = b"\n%b\n" % json.dumps([job["token"], step, kind, payload]).encode()
        while record:
            record = record[os.write(results, record) :]

    send("start", "value")
    module = type(sys)("answer")
    # Dataclasses look their module up; and whoever imports __main__ shall not find the functions of this text.
    sys.modules["answer"] = sys.modules["__main__"] = module
    names = module.__dict__
    spare = mmap.mmap(-1, 4 << 20)  # so that a program that has used up its memory can still be reported
    program = attempt(job["code"], "exec", names, True)
    spare.close()
    send("code", *program)
    if program[0] == "value":
        for number, (source, mode, by_type) in enumerate(job["checks"]):
            names[EQUAL] = equal
            send(number, *attempt(source, mode, names, by_type))
    send("end", "value")
    os._exit(0)  # not through the program's exit handlers and threads


def _attempt(source: str, mode: str, names: dict[str, Any], by_type: bool) -> tuple[str, Any]:
    try:
        value = _RUN[mode](_COMPILE(source, "<answer>", mode, dont_inherit=True), names)
        value = value if by_type else as_plain(value)
        unfit = find_unfit(value)
        return ("unfit", unfit) if unfit else ("value", encode(value))
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the program's doing, too
        return "raised", _message(error)


def _message(error: BaseException) -> str:
    try:
        text = str(error)[:200]
    except BaseException:  # its own __str__ fails
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def as_plain(value: Any, depth: int = _DEEPEST) -> Any:
    """Return the plain value that Python takes `value` for when it compares with `==`; `value` where there is none.

    A subclass without an `__eq__` of its own (a named tuple, a member of IntEnum) is its base; keys and items of a dict
    are sets; what wraps a plain value (a UserDict, a bytearray) is that; a Fraction or Decimal is the number that it
    equals, and else named with its two parts.
    """
    kind = type(value)
    if depth == 0 or value is None or kind in (bool, int, float, str, bytes, complex):
        return value
    if kind in _VIEWS:
        return {as_plain(part, depth - 1) for part in value}
    if kind.__name__ in _EXACT and kind.__module__ in ("fractions", "decimal"):
        return _number(value)
    if kind is memoryview and value.format == "B":
        return bytes(value)
    for base, parts in _WRAPPERS.items():
        if isinstance(value, base) and kind.__eq__ is base.__eq__:
            return as_plain(parts(value), depth - 1)
    if kind in _MAPPINGS:
        pairs = [(as_plain(key, depth - 1), as_plain(part, depth - 1)) for key, part in dict.items(value)]
        return kind(dict(pairs)) if kind is not defaultdict else defaultdict(None, pairs)
    for base, parts in _PARTS.items():
        if isinstance(value, base) and kind.__eq__ is base.__eq__:
            inside: Any = value if kind is base else parts(value)
            return (
                base(as_plain(part, depth - 1) for part in inside)
                if base in (list, *_GROUPS)
                else as_plain(inside, depth - 1)
            )
    return value


def _number(value: Any) -> Any:
    if value.__class__.__name__ == "Decimal" and not value.is_finite():
        return float(value)
    above, below = value.as_integer_ratio()
    if below == 1:
        return above
    rounded = above / below
    return rounded if rounded.as_integer_ratio() == (above, below) else ("a number", above, below)


def find_unfit(value: Any, depth: int = _DEEPEST) -> str:
    """Say why `value` is not made of exactly the plain types of Python; empty when it is."""
    if value is None or type(value) in (bool, float, str, bytes, complex):
        return ""
    if type(value) is int:
        return "" if value.bit_length() < 14_000 else "an int too long to print"  # 4,300 digits in Python
    if type(value) not in (list, *_GROUPS, *_MAPPINGS):
        return f"a value of type {type(value).__name__}"
    if depth == 0:
        return "a value nested too deep"
    parts = [*dict.keys(value), *dict.values(value)] if type(value) in _MAPPINGS else value
    return next(filter(None, (find_unfit(part, depth - 1) for part in parts)), "")


def is_equal(one: Any, other: Any) -> bool:
    """Return `one == other`, where a plain value equals plain values only and an object nothing but its own type."""
    one, other = as_plain(one), as_plain(other)
    is_plain = not find_unfit(one)
    same_kind = not find_unfit(other) if is_plain else type(one) is type(other)
    return same_kind and bool(one == other)


def encode(value: Any) -> Any:
    """Write a plain value in JSON's types: what JSON has stands for itself, the rest is {type: parts}."""
    kind = type(value)
    if kind is list:
        return [encode(part) for part in value]
    if kind in _GROUPS:
        return {_GROUPS[kind]: [encode(part) for part in value]}
    if kind in _MAPPINGS:
        return {_MAPPINGS[kind]: [[encode(key), encode(part)] for key, part in dict.items(value)]}
    if kind is bytes:
        return {"bytes": value.hex()}
    return {"complex": [value.real, value.imag]} if kind is complex else value


def decode(written: Any) -> Any:
    """Undo `encode`.

    Raises:
        ValueError, TypeError: for what `encode` does not write.
    """
    if isinstance(written, list):
        return [decode(part) for part in written]
    if not isinstance(written, dict):
        return written
    ((kind, parts),) = written.items()
    if kind == "bytes":
        return bytes.fromhex(parts)
    if kind == "complex":
        return complex(*parts)
    makers = {name: make for make, name in (_GROUPS | _MAPPINGS).items()}
    if kind not in makers:
        raise ValueError(f"no plain type: {kind}")
    if makers[kind] in _GROUPS:
        return makers[kind](decode(part) for part in parts)
    pairs = {decode(key): decode(part) for key, part in parts}
    return defaultdict(None, pairs) if kind == "defaultdict" else makers[kind](pairs)
