"""What this machine is and how much of it we use: processor, memory, versions, device."""

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy", "scipy", "sacrebleu")
_NO_LIMIT = 2**60  # what version 1 of control groups says instead of "max"


@dataclass(frozen=True)
class Place:
    """A process among those that a launcher started together: its number, from 0, and how many they are."""

    number: int
    count: int


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """Return the place that `torchrun` or `accelerate launch` gave this process; 0 of 1 without them."""
    return Place(int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1)))


def describe() -> dict[str, Any]:
    """Return processor, cores, memory in bytes, system and the versions of the libraries that make numbers."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_bytes": _memory_bytes(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("tailora", *_LIBRARIES)},
    }


def cores() -> int:
    """Return the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_memory_bytes(root: Path = Path("/")) -> int | None:
    """Return how much more memory this process may take, or None where the system does not say.

    What the machine has left, or less where the container, a parent of it, or a limit on addresses allows less: the
    memory that a container shows is the machine's. Cached files count as free, as the kernel drops them first.
    """
    left = [*_left_in_machine(root), *_left_in_containers(root), *_left_of_addresses(root)]
    return max(0, min(left)) if left else None


def _left_in_machine(root: Path) -> list[int]:
    return [kilobytes * 1024 for kilobytes in _numbers(root / "proc/meminfo", "MemAvailable:")]


def _left_in_containers(root: Path) -> Iterator[int]:
    """Yield what each control group that this process is in has left, of either version."""
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, kinds, path = line.split(":", 2)
        version_1 = "memory" in kinds.split(",")
        if kinds and not version_1:
            continue
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version_1 else ("memory.max", "memory.current")
        top = root / "sys/fs/cgroup" / ("memory" if version_1 else "")
        for folder in {top, *(top / part for part in _and_parents(path))}:
            limit, used = (_numbers(folder / name) for name in names)
            if limit and used and limit[0] < _NO_LIMIT:
                yield limit[0] - used[0] + sum(_numbers(folder / "memory.stat", "inactive_file")[:1])


def _and_parents(path: str) -> Iterator[str]:
    parts = [part for part in path.split("/") if part]
    yield from ("/".join(parts[:count]) for count in range(1, len(parts) + 1))


def _left_of_addresses(root: Path) -> list[int]:
    try:
        import resource
    except ImportError:
        return []
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _numbers(root / "proc/self/status", "VmSize:")
    return [] if soft == resource.RLIM_INFINITY or not used else [soft - used[0] * 1024]


def _numbers(file: Path, name: str = "") -> list[int]:
    """Return the number in each line of `file` that begins with `name`; none where there is no such file."""
    if not file.is_file():
        return []
    lines = (line.removeprefix(name).split() for line in file.read_text().splitlines() if line.startswith(name))
    return [int(words[0]) for words in lines if words and words[0].isdigit()]


def version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def peak_memory_bytes() -> int | None:
    """Return the most memory this process has held so far, or None where the system does not say.

    What getrusage says begins, on Linux, with what the process that started this one has held.
    """
    held = _numbers(Path("/proc/self/status"), "VmHWM:")
    if held:
        return held[0] * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def forget_peak() -> bool:
    """Let the peaks that are said here begin anew with what is held now; says whether the system can."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # as proc(5) has it
    except OSError:
        return False
    return True


def memory_limit_bytes() -> int | None:
    """Return the most that training may hold on the GPU where there is one, else in this process; None if unknown."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0]) + int(torch.cuda.memory_reserved())
    available = available_memory_bytes()
    return None if available is None else resident_bytes() + available


def resident_bytes() -> int:
    """Return the memory that this process holds now; the most it has held where the system does not say."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return peak_memory_bytes() or 0
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def held_memory_bytes() -> int:
    """Return the memory that training has needed so far: the most held on the GPU where there is one, else by us."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return peak_memory_bytes() or 0


def keep_freed_memory() -> bool:
    """Let this process keep the memory it frees instead of giving it back; says whether the system's allocator can.

    Training frees and asks for the same large blocks again and again. glibc returns them to the kernel, which
    clears them page by page at the next request: about a tenth of a step on a processor (benchmarks/NOTES.md).
    """
    import ctypes

    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    trim_threshold, mmap_threshold, most = -1, -3, 2**31 - 1  # numbers of malloc.h
    return bool(set_option(trim_threshold, most) and set_option(mmap_threshold, most))


def keep_few_kernels() -> None:
    """Let oneDNN keep the kernels of an eighth as many shapes as it does by itself; call it before the first product.

    It makes a kernel for each shape and keeps 1,024. Packed passes differ in length, so most are never used again: they
    grew a process from 0.8 to 1.2 GiB within ten steps. A pass itself needs the shapes of one layer and its rows.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


def give_back_freed_memory() -> None:
    """Hand all memory that is free in this process back to the system, where its allocator can; undoes `keep` once."""
    import ctypes

    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def device() -> str:
    """Return "cuda" where a GPU is usable, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def has_bfloat16() -> bool:
    """Say whether this machine multiplies matrices faster in bfloat16 than in float32, on its GPU or processor."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpuinfo = Path("/proc/cpuinfo")
    return is_faster_in_bfloat16(cpuinfo.read_text() if cpuinfo.exists() else "")


def is_faster_in_bfloat16(cpuinfo: str) -> bool:
    """Say whether a processor, described as in `/proc/cpuinfo`, gains from bfloat16.

    AMX does; of the processors that have AVX-512 instructions for it alone, AMD's are twice as fast, while Intel's were
    measured at 0.57 times their speed in float32 (Xeon of 2023 without AMX, torch 2.13, benchmarks/NOTES.md).
    """
    has_amx, has_avx = ("amx_bf16" in cpuinfo), ("avx512_bf16" in cpuinfo)
    return has_amx or (has_avx and "GenuineIntel" not in cpuinfo)
