"""A backbone that only reads: what it leaves in memory."""

import ctypes
import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")

from benchmarks.tune.memory import resident_bytes

from shoestring.models.frozen import return_freed_memory

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


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_threads_that_wait_for_each_other_sleep(given):
    """Where they spin, and a neighbour is busy, a step takes twenty times as long."""
    pytest.importorskip("torch")
    code = (
        "import os, sys; import shoestring.tune as tune; assert 'torch' not in sys.modules\n"
        "tune.Ladder; assert 'torch' in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if given:
        environment["OMP_WAIT_POLICY"] = given
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert found.stdout.strip() == (given or "PASSIVE")
