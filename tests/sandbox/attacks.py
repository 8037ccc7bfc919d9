"""Programs that try to get out of the sandbox, and a driver that plants what they are after and sees what they did.

Run as a script it prints, as JSON, which attacks succeeded by their own account and what damage was found. It needs no
packages, so that another user can run it with another interpreter. No attack harms the machine where it succeeds: each
aims at files and processes that were made for it.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
from contextlib import ExitStack
from pathlib import Path

from tailora.sandbox import Outcome, run_many

# What an attack may use: names given by the driver, and a system call by its numbers on x86-64 and aarch64.
PRELUDE = """
import ctypes, os, resource, signal, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)

def call(x86, arm, *arguments):
    number = {"x86_64": x86, "aarch64": arm}[os.uname().machine]
    words = [word if isinstance(word, bytes) else ctypes.c_long(word) for word in arguments]
    return libc.syscall(ctypes.c_long(number), *words) >= 0
"""

# name → body of a function that returns True when the attack worked. These work where there are only limits.
ATTACKS = {
    "read a file": "return open(SECRET).read() == 'secret'",
    "read the users": "return bool(open('/etc/passwd').read())",
    "read a key at home": "return 'KEY' in open(FOLDER + '/.ssh/id_rsa').read()",
    "list a folder": "return 'secret' in os.listdir(FOLDER)",
    "follow a link": "return open(FOLDER + '/link').read() == 'secret'",
    "climb out of the library": "return open(os.path.dirname(os.__file__) + '/..' * 20 + SECRET).read() == 'secret'",
    "read through the root of a process": "return open('/proc/self/root' + SECRET).read() == 'secret'",
    "read beside a handle": """
        root = os.open('/', os.O_PATH | os.O_DIRECTORY)
        return os.read(os.open(SECRET[1:], os.O_RDONLY, dir_fd=root), 9) == b'secret'""",
    "read with openat2": """
        how = (0).to_bytes(24, 'little')
        return call(437, 437, -100, SECRET.encode() + bytes(1), how, 24)""",
    "read what ran before": "return b'planted' in open(f'/proc/{DRIVER}/environ', 'rb').read()",
    "create a file here": "return os.open('file', os.O_CREAT | os.O_WRONLY) > 0",
    "create a file elsewhere": "return os.open(FOLDER + '/new', os.O_CREAT | os.O_WRONLY) > 0",
    "create a nameless file": "return os.open(FOLDER, os.O_TMPFILE | os.O_RDWR) > 0",
    "open a file for writing": "return os.open(SECRET, os.O_WRONLY) > 0",
    "append": "return os.open(SECRET, os.O_WRONLY | os.O_APPEND) > 0",
    "truncate": "return os.truncate(SECRET, 0) is None",
    "truncate while reading": "return os.open(SECRET, os.O_RDONLY | os.O_TRUNC) > 0",
    "delete": "return os.unlink(SECRET) is None",
    "delete an interpreter": "return os.unlink(FOLDER + '/python') is None",
    "rename": "return os.rename(SECRET, SECRET + '.old') is None",
    "make a folder": "return os.mkdir(FOLDER + '/new') is None",
    "remove a folder": "return os.rmdir(FOLDER + '/empty') is None",
    "make a hard link": "return os.link(SECRET, FOLDER + '/new') is None",
    "make a symbolic link": "return os.symlink(SECRET, FOLDER + '/new') is None",
    "make a pipe with a name": "return os.mkfifo(FOLDER + '/new') is None",
    "change a mode": "return os.chmod(SECRET, 0o777) is None",
    "change an owner": "return os.chown(SECRET, os.getuid(), os.getgid()) is None",
    "change a time": "return os.utime(SECRET, (1, 1)) is None",
    "share memory by name": """
        from multiprocessing import resource_tracker, shared_memory
        resource_tracker.register = lambda *arguments: None
        try:
            shared_memory.SharedMemory('tailora-' + str(os.getpid()), create=True, size=1)
        except OSError as error:
            return error.errno == 27  # made, but there is a limit on sizes
        finally:
            libc.shm_unlink(('/tailora-' + str(os.getpid())).encode())""",
    "share memory by number": """
        number = libc.shmget(0, 4096, 0o1600)
        return number >= 0 and libc.shmctl(number, 0, None) == 0""",
    "make a file of memory": "return call(319, 279, b'name' + bytes(1), 0)",
    "connect by TCP": "return socket.create_connection(('127.0.0.1', TCP), 2) is not None",
    "listen by TCP": "return socket.create_server(('127.0.0.1', 0)) is not None",
    "send by UDP": "return socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', UDP)) == 1",
    "send to a socket with a path": """
        return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', UNIX) == 1""",
    "send from a pair": """
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', UNIX) == 1""",
    "send to an abstract socket": """
        return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', bytes(1) + ABSTRACT.encode()) == 1""",
    "talk to the kernel": "return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) is not None",
    "look up a name": "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 53)) is None",
    "run a command": "return subprocess.run(['/bin/sh', '-c', ':']).returncode == 0",
    "run a command by shell": "return os.system(':') == 0",
    "spawn": "return os.posix_spawn('/bin/sh', ['sh', '-c', ':'], {}) > 0",
    "become a command": "os.execv('/bin/sh', ['sh', '-c', ': > ' + FOLDER + '/new'])",
    "become a command by handle": """
        handle = os.open('/bin/sh', os.O_PATH)
        arguments = (ctypes.c_char_p * 4)(b'sh', b'-c', b': > ' + FOLDER.encode() + b'/new', None)
        call(322, 281, handle, b'' + bytes(1), ctypes.addressof(arguments), 0, 0x1000)""",
    "fork": """
        child = os.fork()
        if child == 0:
            os._exit(0)
        return child > 0""",
    "fork by a raw call": """
        if call(56, 220, 17, 0, 0, 0, 0):
            libc._exit(0) if os.getppid() == ME else None
            return True""",
    "leave a daemon": """
        ready, tell = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(tell, b'x')
            os._exit(0)
        return os.read(ready, 1) == b'x'""",
    "kill": "return os.kill(VICTIM, 9) is None",
    "kill a group": "return os.killpg(os.getpgid(VICTIM), 9) is None",
    "see whom it may kill": "return os.kill(-1, 0) is None",
    "kill the parent": "return os.kill(os.getppid(), 0) is None",
    "kill by handle": "return signal.pidfd_send_signal(os.pidfd_open(VICTIM), 9) is None",
    "kill a thread": "return call(234, 131, VICTIM, VICTIM, 9)",
    "kill by a late signal": """
        import fcntl, struct
        ready, tell = os.pipe()
        fcntl.fcntl(ready, 8, VICTIM)  # F_SETOWN
        fcntl.fcntl(ready, 10, 9)  # F_SETSIG
        fcntl.fcntl(ready, 4, os.O_ASYNC | os.O_NONBLOCK)
        return os.write(tell, b'x') == 1""",
    "slow another process down": "return os.setpriority(os.PRIO_PROCESS, VICTIM, 19) is None",
    "move another process": "return os.sched_setaffinity(VICTIM, {0}) is None",
    "forget to die with the parent": "return libc.prctl(1, 0, 0, 0, 0) == 0",
    "rewrite its name": "return call(157, 167, 15, b'other' + bytes(1)) and call(157, 167, 4, 1)",
    "queue messages": """
        number = libc.msgget(0, 0o1600)
        return number >= 0 and libc.msgctl(number, 0, None) == 0""",
    "queue messages by name": """
        name = f'tailora-{os.getpid()}'.encode() + bytes(1)
        return call(240, 180, name, os.O_CREAT | os.O_RDWR, 0o600, 0) and call(241, 181, name)""",
    "kill with a message": """
        import struct
        return call(129, 138, VICTIM, 9, struct.pack('=iii', 9, 0, -1).ljust(128, bytes(1)))""",
    "give another process less of the disk": "return call(251, 30, 1, VICTIM, 3 << 13)",
    "schedule another process otherwise": "return call(144, 119, VICTIM, 3, bytes(4))",
    "compare another process with this one": "return call(312, 272, VICTIM, VICTIM, 2, 0, 0)",
    "see where another process works": "return bool(os.readlink(f'/proc/{VICTIM}/cwd'))",
    "hold a file of the library": """
        import fcntl
        return fcntl.flock(os.open(os.__file__, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB) is None""",
    "open a terminal": "return os.openpty()[0] > 0",
    "lay out memory otherwise": "return call(135, 92, 0x40000)",
    "watch a folder": "return libc.inotify_init() >= 0",
    "read its own memory by file": "return open('/proc/self/mem', 'rb') is not None",
    "limit another process": "return resource.prlimit(VICTIM, resource.RLIMIT_CPU, (0, 0)) is not None",
    "change a soft limit": "return resource.setrlimit(resource.RLIMIT_CORE, (0, 0)) is None",
    "lock memory": "return libc.mlock(ctypes.create_string_buffer(1), 1) == 0",
}  # fmt: skip

# These need root, or a system that allows them, or would do harm: they are tried where there is a sandbox alone.
HARDER_ATTACKS = {
    "open the library for writing": "return os.open(os.__file__, os.O_WRONLY) > 0",
    "read the memory of a process": "return open(f'/proc/{VICTIM}/mem', 'rb') is not None",
    "read the memory of the parent": "return open(f'/proc/{os.getppid()}/mem', 'rb') is not None",
    "trace a process": "return libc.ptrace(16, VICTIM, None, None) == 0",
    "trace the parent": "return libc.ptrace(16, os.getppid(), None, None) == 0",
    "be traced": "return libc.ptrace(0, 0, None, None) == 0",
    "raise a limit": "return resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096)) is None",
    "read another's memory": """
        memory = ctypes.create_string_buffer(8)
        place = (ctypes.c_void_p * 2)(ctypes.addressof(memory), 8)
        done = call(310, 270, VICTIM, ctypes.addressof(place), 1, ctypes.addressof(place), 1, 0)
        return done or ctypes.get_errno() == 14  # nothing of the victim at this address, but it was let look""",
    "take another's files": "return call(438, 438, os.pidfd_open(VICTIM), 0, 0)",
    "leave the session": "return os.setsid() > 0",
    "share no users": "return libc.unshare(0x10000000) == 0",
    "share no files": "return libc.unshare(0x20000) == 0",
    "clone into new users": "return call(56, 220, 0x10000000 | 17, 0, 0, 0, 0)",
    "clone by clone3": """
        settings = (0).to_bytes(32, 'little') + (17).to_bytes(8, 'little') + bytes(24)
        return call(435, 435, settings, 64)""",
    "enter another's space": "return libc.setns(os.open(f'/proc/{VICTIM}/ns/net', os.O_RDONLY), 0) == 0",
    "mount": "return libc.mount(b'none', FOLDER.encode(), b'tmpfs', 0, None) == 0",
    "change the root": "return os.chroot(FOLDER) is None",
    "make a device": "return os.mknod(FOLDER + '/new', 0o20600, os.makedev(1, 3)) is None",
    "open a device": "return os.open('/dev/tty', os.O_RDWR) > 0",
    "name the machine": "return call(170, 161, os.uname().nodename.encode(), len(os.uname().nodename))",
    "watch all files": "return call(300, 262, 0, 0)",
    "read the log of the kernel": "return call(103, 116, 10, 0, 0)",
    "set the user": "return os.setuid(os.getuid() or 65534) is None",
    "load a program into the kernel": """
        return call(321, 280, 0, bytes([2, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1]) + bytes(99), 72)""",
    "count its events": "return call(298, 241, (112 << 32 | 1).to_bytes(112, 'little'), 0, -1, -1, 0)",
    "ask for a ring of calls": """
        parameters = ctypes.create_string_buffer(120)
        return call(425, 425, 1, ctypes.addressof(parameters))""",
    "handle page faults": "return call(323, 282, 1)",
    "add a key": "return call(248, 217, b'user' + bytes(1), b'k' + bytes(1), b'x', 1, -3)",
    "name a file by handle": """
        return call(303, 264, -100, SECRET.encode() + bytes(1), (128).to_bytes(256, 'little'), bytes(8), 0)""",
    "loosen its jail": "return call(444, 444, (1).to_bytes(8, 'little'), 8, 0)",
    "filter its calls again": """
        import struct
        allow = ctypes.create_string_buffer(struct.pack('=HBBI', 6, 0, 0, 0x7FFF0000))
        return call(317, 277, 1, 0, struct.pack('@HP', 1, ctypes.addressof(allow)))""",
    "call as a 32-bit program": """
        import mmap
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(bytes.fromhex('b814000000cd80c3'))  # getpid of i386
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        return os.uname().machine == 'x86_64' and ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid()""",
    "call as an x32 program": "return call(0x40000000 | 39, 0x40000000 | 172)",
    "find an environment": "return any('planted' in value for value in os.environ.values()) or bool(os.environ)",
    "find an environment in memory": """
        libc.getenv.restype = ctypes.c_char_p
        return libc.getenv(b'TAILORA_SECRET') is not None""",
    "find an open file": """
        import stat
        kinds = []
        for number in range(3, 1024):
            try:
                kinds.append(os.fstat(number).st_mode)
            except OSError:
                pass
        # its own pipe, and nothing else
        return len(kinds) != 1 or not stat.S_ISFIFO(kinds[0])""",
    "read standard input": "return os.read(0, 1) != b''",
    "write to the screen": "return os.isatty(1) or os.isatty(2)",
    "bomb with forks": "while os.fork() >= 0: pass",
}  # fmt: skip


def program(name: str) -> str:
    """Return the source of an attack."""
    body = textwrap.indent(textwrap.dedent({**ATTACKS, **HARDER_ATTACKS}[name]).strip(), "    ")
    return f"{PRELUDE}\nME = os.getpid()\ndef attack():\n{body}\n"


def plant(folder: Path) -> None:
    """Fill the folder that one attack is after."""
    (folder / ".ssh").mkdir(parents=True)
    (folder / "empty").mkdir()
    for name in ("secret", "python", ".ssh/id_rsa"):
        (folder / name).write_text("KEY" if name.startswith(".") else "secret")
    (folder / "link").symlink_to("secret")


def state(folder: Path) -> list[tuple[str, int, int, str]]:
    """Return what can be changed of a folder: names, modes, times, contents."""
    return [
        (str(path), path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_text() if path.is_file() else "")
        for path in [folder, *sorted(folder.rglob("*"))]
    ]


def attempt(names: list[str], within: str) -> dict[str, dict[str, str]]:
    """Run the attacks, each with things of its own to aim at; return what each outcome says, and the damage found."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="attacks-")))
        sockets = [stack.enter_context(made) for made in listeners(root)]
        common = {
            "DRIVER": os.getpid(),
            "TCP": sockets[0].getsockname()[1],
            "UDP": sockets[1].getsockname()[1],
            "UNIX": str(root / "socket"),
            "ABSTRACT": f"tailora-{os.getpid()}",
        }
        aims, before, victims, jobs = {}, {}, {}, []
        for number, name in enumerate(names):
            aims[name] = root / str(number)
            plant(aims[name])
            before[name] = state(aims[name])
            victims[name] = subprocess.Popen(["sleep", "600"], start_new_session=True)
            stack.callback(end, victims[name])
            own = {"FOLDER": str(aims[name]), "SECRET": str(aims[name] / "secret"), "VICTIM": victims[name].pid}
            header = "".join(f"{key} = {value!r}\n" for key, value in (common | own).items())
            jobs.append((header + program(name), [{"input": "attack()", "expected": True}]))
        outcomes = run_many(jobs, workers=2, seconds=3, within=within)
        damage = {name: "files" for name in names if state(aims[name]) != before[name]}
        damage |= {name: "process" for name in names if victims[name].poll() is not None}
        damage |= {f"socket {number}": "reached" for number, made in enumerate(sockets) if reached(made)}
        return {
            "outcomes": {name: said(outcome) for name, outcome in zip(names, outcomes, strict=True)},
            "damage": damage,
        }


def said(outcome: Outcome) -> str:
    return "success" if outcome.status == "passed" else f"{outcome.status}: {outcome.detail}"


def listeners(root: Path) -> list[socket.socket]:
    """Open the sockets that nobody may reach: TCP, UDP, one with a path, one with an abstract name."""
    made = [socket.create_server(("127.0.0.1", 0)), socket.socket(type=socket.SOCK_DGRAM)]
    made[1].bind(("127.0.0.1", 0))
    for address in (str(root / "socket"), f"\0tailora-{os.getpid()}"):
        made.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        made[-1].bind(address)
    for each in made:
        each.setblocking(False)
    return made


def reached(listener: socket.socket) -> bool:
    try:
        listener.accept() if listener.type == socket.SOCK_STREAM else listener.recv(1)
    except BlockingIOError:
        return False
    return True


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


if __name__ == "__main__":
    attacks = [*ATTACKS, *(HARDER_ATTACKS if sys.argv[1] != "limits" else {})]
    sys.stdout.write(json.dumps({"user": os.geteuid(), **attempt(attacks, sys.argv[1])}))
