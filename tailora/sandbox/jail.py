"""Confines the calling process for good: Landlock for files, seccomp for everything else, limits for the rest.

Linux 5.13 or later on x86-64 and aarch64, no root, nothing but ctypes. Inside, a program reads the standard library
and system libraries, computes, sleeps, starts threads and signals itself; no call that it may make writes a file,
starts a process, reaches a network or another process, or lifts a limit. What it still sees: that a file exists and
how large it is, by name (`stat`), where a link leads, that a process number is taken, the time, and how busy the
machine is. Packages beside the standard library are not on its path, but can be read by one who names their folder. It
does not guard against a broken kernel.

This text is also part of the source of the child process, which has no packages: standard library only.
"""

import ctypes
import errno
import os
import resource
import signal
import struct
import sys
from typing import Any, NamedTuple

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NAME, _PR_SET_NO_NEW_PRIVS = 1, 4, 15, 38

# Calls that only set the jail up: name → number on x86-64 and on aarch64.
_OWN_CALLS = {
    "capset": (126, 91),
    "seccomp": (317, 277),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}
# The machine as `uname` names it → column of the numbers above and below, and AUDIT_ARCH_* of linux/audit.h.
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

# All that a confined program may call; -1 where the machine lacks a call. What is not here fails.
ALLOWED_CALLS = {
    # open files and directories, read them, ask about them
    "open": (2, -1), "openat": (257, 56), "close": (3, 57), "close_range": (436, 436), "read": (0, 63),
    "pread64": (17, 67), "readv": (19, 65), "write": (1, 64), "writev": (20, 66), "lseek": (8, 62),
    "getdents64": (217, 61), "stat": (4, -1), "lstat": (6, -1), "fstat": (5, 80), "newfstatat": (262, 79),
    "statx": (332, 291), "access": (21, -1), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, -1),
    "readlinkat": (267, 78), "getcwd": (79, 17), "chdir": (80, 49), "fadvise64": (221, 223), "dup": (32, 23),
    "dup2": (33, -1), "dup3": (292, 24), "fcntl": (72, 25), "ioctl": (16, 29),
    # pipes, and what an event loop needs within one process
    "pipe": (22, -1), "pipe2": (293, 59), "eventfd2": (290, 19), "poll": (7, -1), "ppoll": (271, 73),
    "select": (23, -1), "pselect6": (270, 72), "epoll_create1": (291, 20), "epoll_ctl": (233, 21),
    "epoll_wait": (232, -1), "epoll_pwait": (281, 22), "socketpair": (53, 199), "sendto": (44, 206),
    "recvfrom": (45, 207), "shutdown": (48, 210), "getsockname": (51, 204), "getpeername": (52, 205),
    "getsockopt": (55, 209),
    # memory and threads
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214), "clone": (56, 220), "futex": (202, 98), "set_robust_list": (273, 99),
    "set_tid_address": (218, 96), "rseq": (334, 293), "membarrier": (324, 283), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "getcpu": (309, 168), "prctl": (157, 167), "exit": (60, 93),
    "exit_group": (231, 94),
    # signals of its own, time, chance
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132), "pause": (34, -1),
    "kill": (62, 129), "tgkill": (234, 131), "alarm": (37, -1), "getitimer": (36, 102), "setitimer": (38, 103),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "gettimeofday": (96, 169), "time": (201, -1), "times": (100, 153), "restart_syscall": (219, 128),
    "getrandom": (318, 278),
    # who and where it is
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getpgrp": (111, -1), "getpgid": (121, 155),
    "getsid": (124, 156), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "getresuid": (118, 148), "getresgid": (120, 150), "getgroups": (115, 158), "uname": (63, 160),
    "sysinfo": (99, 179), "getrusage": (98, 165), "getrlimit": (97, 163), "prlimit64": (302, 261),
    "wait4": (61, 260),
}  # fmt: skip

# From this number on (Linux 5.3) a call fails as on a kernel that lacks it, so that libc takes the older way.
_RECENT_CALL = 435

_CLONE_THREAD, _CLONE_NEW = 0x10000, 0x7E020000
_OPEN_TO_CHANGE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_FCNTL = (0, 1, 2, 3, 4, 1030)  # duplicate, and flags; not F_SETOWN, which sends signals to other processes
_IOCTL = (0x5401, 0x5421, 0x5450, 0x5451)  # TCGETS (isatty), FIONBIO, FIONCLEX, FIOCLEX


class Condition(NamedTuple):
    """A call passes when the 32-bit `word` of its arguments, masked, is one of `values`; argument n is word 2n."""

    word: int
    mask: int
    values: tuple[int, ...]


def conditions(pid: int) -> dict[str, tuple[Condition, ...]]:
    """Return what must hold for the arguments of an allowed call made by process `pid`."""
    whole = 0xFFFFFFFF
    return {
        "open": (Condition(2, _OPEN_TO_CHANGE, (0,)),),
        "openat": (Condition(4, _OPEN_TO_CHANGE, (0,)),),
        "fcntl": (Condition(2, whole, _FCNTL),),
        "ioctl": (Condition(2, whole, _IOCTL),),
        "clone": (Condition(0, _CLONE_THREAD | _CLONE_NEW, (_CLONE_THREAD,)),),
        # A pair of AF_UNIX streams: unlike datagrams they cannot be sent anywhere else.
        "socketpair": (Condition(0, whole, (1,)), Condition(2, 0xF, (1,))),
        "prctl": (Condition(0, whole, (_PR_SET_NAME,)),),
        "kill": (Condition(0, whole, (pid,)),),
        "tgkill": (Condition(0, whole, (pid,)),),
        # Reading limits only: root may raise them.
        "prlimit64": (Condition(0, whole, (0, pid)), Condition(4, whole, (0,)), Condition(5, whole, (0,))),
    }


def limit_resources(cpu_seconds: int, memory_bytes: int) -> None:
    """Bound processor time and address space; no core, no file contents, 32 open files.

    There is no limit on processes: Linux counts all processes and threads of the user against it, and root is exempt.
    """
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_CORE: 0,
    }
    for kind, wanted in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            if (sys.platform, kind) != ("darwin", resource.RLIMIT_AS):
                raise


class Jail:
    """What can be made ready before a program is there, for many programs: what they may read, and our way to call.

    Raises:
        OSError: where this kernel or machine has no Landlock.
    """

    def __init__(self, readable: list[str]) -> None:
        machine = os.uname().machine
        if machine not in _MACHINES or sys.maxsize < 2**32:
            raise OSError(errno.ENOSYS, f"no jail for {machine}")
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._column, self._architecture = _MACHINES[machine]
        self._abi = self._call("landlock_create_ruleset", 0, 0, 1)
        self._ruleset = self._make_ruleset(readable)

    def enter(self, parent: int) -> None:
        """Confine this process, which must have one thread; `parent` is the process whose end is to be its own."""
        self._renounce(parent)
        # From version 7 on, bit 0 keeps refusals out of the system's log.
        self._call("landlock_restrict_self", self._ruleset, 1 if self._abi >= 7 else 0)
        os.close(self._ruleset)
        self._filter_calls(build_filter(self._column, self._architecture, os.getpid()))

    def _make_ruleset(self, readable: list[str]) -> int:
        attributes = ruleset_attributes(self._abi)
        ruleset = self._call("landlock_create_ruleset", attributes, len(attributes), 0)
        for path in readable:
            try:
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:  # not on this system
                continue
            rights = 0b1100 if os.path.isdir(path) else 0b0100  # read directories and files, execute nothing
            self._call("landlock_add_rule", ruleset, 1, struct.pack("=Qi", rights, place), 0)
            os.close(place)
        return ruleset

    def _renounce(self, parent: int) -> None:
        for option, value in (
            (_PR_SET_NO_NEW_PRIVS, 1),
            (_PR_SET_PDEATHSIG, signal.SIGKILL),
            (_PR_SET_DUMPABLE, 0),
        ):
            if self._libc.prctl(option, *(ctypes.c_ulong(number) for number in (value, 0, 0, 0))) != 0:
                raise _system_error("prctl")
        if os.getppid() != parent:  # it ended before it could take us along
            os._exit(1)
        self._call("capset", struct.pack("=Ii", 0x20080522, 0), bytes(24))  # root keeps no privilege

    def _filter_calls(self, instructions: list[tuple[int, int, int, int]]) -> None:
        code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
        buffer = ctypes.create_string_buffer(code, len(code))
        self._call("seccomp", 1, 0, struct.pack("@HP", len(instructions), ctypes.addressof(buffer)))

    def _call(self, name: str, *arguments: Any) -> int:
        words = (word if isinstance(word, bytes) else ctypes.c_long(word) for word in arguments)
        result: int = self._libc.syscall(ctypes.c_long(_OWN_CALLS[name][self._column]), *words)
        if result < 0:
            raise _system_error(name)
        return result


def _system_error(name: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{name}: {os.strerror(number)}")


def ruleset_attributes(abi: int) -> bytes:
    """Return `struct landlock_ruleset_attr` that governs all a kernel of this ABI version can (linux/landlock.h)."""
    files = {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)  # rights to files: refer, truncate, device ioctl came later
    words = [(1 << files) - 1]
    words += [0b11] if abi >= 4 else []  # TCP: bind, connect
    words += [0b11] if abi >= 6 else []  # reach outside: abstract sockets, signals
    return struct.pack(f"={len(words)}Q", *words)


def build_filter(column: int, architecture: int, pid: int) -> list[tuple[int, int, int, int]]:
    """Return the seccomp filter of process `pid` as classic BPF: (code, jump if true, jump if false, operand)."""
    load, equal, at_least, mask, end = 0x20, 0x15, 0x35, 0x54, 0x06  # linux/bpf_common.h
    allow, refuse, lack = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
    kill_process = 0x80000000
    program = [(load, 0, 0, 4), (equal, 1, 0, architecture), (end, 0, 0, kill_process), (load, 0, 0, 0)]
    needed = conditions(pid)
    for name, numbers in ALLOWED_CALLS.items():
        if numbers[column] < 0:
            continue
        block: list[tuple[int, int, int, int]] = []
        for condition in needed.get(name, ()):
            block += [(load, 0, 0, 16 + 4 * condition.word), (mask, 0, 0, condition.mask)]
            count = len(condition.values)
            block += [(equal, count - i, 0, value) for i, value in enumerate(condition.values)]
            block.append((end, 0, 0, refuse))
        block.append((end, 0, 0, allow))
        program += [(equal, 0, len(block), numbers[column]), *block]
    return [*program, (at_least, 0, 1, _RECENT_CALL), (end, 0, 0, lack), (end, 0, 0, refuse)]
