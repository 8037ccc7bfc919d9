"""What is done to the process: memory that was freed stays, and is not cleared anew by the kernel."""

import platform
import subprocess
import sys

import pytest

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
