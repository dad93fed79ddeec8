import platform

import psutil
import pytest

from armoe_jax.freed_memory import return_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries do nothing")
def test_freed_memory_goes_back_to_the_system():
    process = psutil.Process()
    # Pieces small enough for the heap; the last one keeps it from shrinking by itself.
    pieces = [b"x" * 100_000 for _ in range(2000)]
    last = pieces.pop()
    del pieces
    before = process.memory_info().rss
    return_freed_memory()
    # 2000 * 100 kB = 200 MB, a part of which others may have taken meanwhile.
    assert process.memory_info().rss < before - 100_000_000
    assert len(last) == 100_000
