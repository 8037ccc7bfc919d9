"""What is done to the process: memory that was freed stays, and is not cleared anew by the kernel."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tailora import machine

FAULTS = """
import resource, torch
from tailora import machine
KEEP
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10): torch.empty(2**24).zero_()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(); print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the option belongs to glibc")
def test_freed_memory_is_used_again_without_asking_the_system() -> None:
    def faults(keep: str) -> int:
        code = FAULTS.replace("KEEP", keep)
        return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    assert faults("assert machine.keep_freed_memory()") < 100 < faults("")


def a_machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """Write what the kernel would say: 8 GiB available, this process in `groups`, and the files of control groups."""
    told = {"proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n", "proc/self/cgroup": groups}
    for name, text in (told | {f"sys/fs/cgroup/{name}": text for name, text in files.items()}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


GIB = 2**30
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
CONTAINERS: dict[str, tuple[str, dict[str, str], int]] = {
    "none": ("", {}, 8 * GIB),
    "version 2 without a limit": ("0::/job\n", {"job/memory.max": "max\n", "job/memory.current": "5\n"}, 8 * GIB),
    "version 2": (
        "0::/job\n",
        {
            "job/memory.max": f"{3 * GIB}\n", "job/memory.current": f"{2 * GIB}\n",
            "job/memory.stat": f"anon 7\ninactive_file {GIB // 2}\n",
        },
        3 * GIB // 2,
    ),
    "a parent's limit": (
        "0::/pod/job\n",
        {
            "pod/memory.max": f"{GIB}\n", "pod/memory.current": "0\n",
            "pod/job/memory.max": f"{2 * GIB}\n", "pod/job/memory.current": "0\n",
        },
        GIB,
    ),
    "version 1": (
        "9:name=systemd:/\n4:memory:/job\n0::/\n",
        {f"memory/job/{V1[0]}": f"{2 * GIB}\n", f"memory/job/{V1[1]}": f"{GIB}\n"},
        GIB,
    ),
    "version 1 without a limit": (
        "4:memory:/\n",
        {f"memory/{V1[0]}": "9223372036854771712\n", f"memory/{V1[1]}": f"{GIB}\n"},
        8 * GIB,
    ),
    "more than its limit": (
        "0::/job\n",
        {"job/memory.max": f"{GIB}\n", "job/memory.current": f"{2 * GIB}\n"},
        0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("container", CONTAINERS)
def test_available_memory_is_that_of_the_machine_or_of_its_tightest_container(container: str, tmp_path: Path) -> None:
    groups, files, left = CONTAINERS[container]
    assert machine.available_memory_bytes(a_machine(tmp_path, groups, files)) == left


def test_what_a_system_does_not_say_is_not_made_up(tmp_path: Path) -> None:
    assert machine.available_memory_bytes(tmp_path) is None


@pytest.mark.skipif(platform.system() != "Linux", reason="read from Linux's files")
def test_a_limit_on_addresses_counts_as_memory() -> None:
    code = (
        "import resource; from tailora import machine; free = machine.available_memory_bytes();"
        f"resource.setrlimit(resource.RLIMIT_AS, ({2 * GIB}, {2 * GIB}));"
        f"print(machine.available_memory_bytes() < min(free, {2 * GIB}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="getrusage alone is asked where there is no /proc")
def test_the_peak_of_a_process_is_its_own_and_not_that_of_who_started_it() -> None:
    held = b"x" * 2**29
    code = "from tailora import machine; print(machine.peak_memory_bytes())"
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(started.stdout) < len(held) / 2


@pytest.mark.skipif(not machine.forget_peak(), reason="the system does not say what a process has held")
def test_a_peak_that_is_forgotten_begins_anew_with_what_is_held() -> None:
    code = (
        "import torch\nfrom tailora import machine\n"
        "held = b'x' * 2**28\nbefore = machine.peak_memory_bytes()\ndel held\n"
        "assert machine.forget_peak() and machine.peak_memory_bytes() < before - 2**27"
    )  # in a process of its own: one that keeps what it frees holds it still
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("vendor", "flags", "faster"),
    [
        ("AuthenticAMD", "avx512f avx512_bf16", True), ("GenuineIntel", "avx512f avx512_bf16", False),
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16 amx_tile", True), ("AuthenticAMD", "avx2", False),
    ],
)  # fmt: skip
def test_bfloat16_is_chosen_where_it_is_faster(vendor: str, flags: str, faster: bool) -> None:
    assert machine.is_faster_in_bfloat16(f"vendor_id\t: {vendor}\nflags\t\t: fpu {flags}\n") is faster
