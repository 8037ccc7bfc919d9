"""Kernels that lack something, or only pretend: a filter on a process makes one call end at once."""


def without(call: int, error: int) -> str:
    """Return source that puts this process under a filter: call number `call` ends with `error`; 0 feigns success.

    The number is that of the machine it runs on; what the process starts is under the filter, too.
    """
    return f"""
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
lines = [(0x20, 0, 0, 0), (0x15, 0, 1, {call}), (6, 0, 0, 0x50000 | {error}), (6, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("@HP", len(lines), ctypes.addressof(code))) == 0
"""
