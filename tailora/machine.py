"""What this machine is and how much of it we use: processor, memory, versions, device."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

_LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy", "scipy", "sacrebleu")


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


def version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def peak_memory_bytes() -> int | None:
    """Return the most memory this process has held so far, or None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


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


def device() -> str:
    """Return "cuda" where a GPU is usable, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def has_bfloat16() -> bool:
    """Say whether this machine multiplies bfloat16 matrices natively, on its GPU or else on its processor."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags
