"""Memory of programs with many threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, threading
from pathlib import Path
from pose6d.one_heap import use_one_heap

def reserved():
    return int(Path("/proc/self/statm").read_text().split()[0]) * 4096 / 2**20

used = use_one_heap() if sys.argv[1] == "one" else False
allocate = ctypes.CDLL(None).malloc
ready = threading.Barrier(9)

def work():
    for _ in range(100):
        allocate(10_000)
    ready.wait()

before = reserved()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
ready.wait()
print(used, reserved() - before)
"""


def run(which: str, **variables: str) -> tuple[bool, float]:
    """Whether there is one heap, and the MiB that eight threads with small allocations reserve."""
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"} | variables
    command = [sys.executable, "-c", PROGRAM, which]
    used, grown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    return used == "True", float(grown)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone has several heaps")
def test_threads_share_one_heap() -> None:
    used, several = run("several")
    assert not used
    used, one = run("one")
    if not used:
        pytest.skip("the C library is not glibc")
    assert one < several - 200, "each heap reserves 64 MiB"


def test_what_people_set_stays() -> None:
    assert run("one", MALLOC_ARENA_MAX="4")[0] is False
