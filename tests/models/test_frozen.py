"""A backbone that only reads: what it leaves in memory."""

import ctypes

import pytest

pytest.importorskip("torch")

from shoestring.models.frozen import return_freed_memory
from shoestring.tune.metrics import resident_bytes

BLOCK, N_BLOCKS = 2**16, 1_000  # 62 MiB, each below what malloc asks the system for by itself


def test_freed_memory_goes_back_to_the_system():
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):
        pytest.skip("this C library keeps no freed memory that it could give back")
    library.malloc.restype = ctypes.c_void_p
    blocks = [ctypes.c_void_p(library.malloc(BLOCK)) for _ in range(N_BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    last = blocks.pop()  # stands above the others, so that the library cannot shrink its heap
    for block in blocks:
        library.free(block)
    before = resident_bytes()
    return_freed_memory()
    assert before - resident_bytes() > 0.5 * BLOCK * N_BLOCKS
    library.free(last)
