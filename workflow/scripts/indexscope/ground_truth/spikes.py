"""Compiled spikes: memory of known size that one call takes, holds and gives back, with or without the GIL."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
import tempfile
from typing import NamedTuple, Optional, Tuple

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "spike.c")
MIB = 2**20
HELD, RELEASED = "held", "released"
SMALL, HUGE = "4 KiB", "huge"
ANONYMOUS, UNTOUCHED, SHARED, OF_FILE = "anonymous", "untouched", "shared memory", "file-mapped"
_KINDS = [ANONYMOUS, UNTOUCHED, SHARED, OF_FILE]  # as in spike.c
_COMPILERS: Tuple[Tuple[str, ...], ...] = (("cc",), ("gcc",), ("clang",), ("c++", "-x", "c"))


class NoCompiler(Exception):
    """There is no C compiler; the message says how to install one."""


class Spike(NamedTuple):
    """What is made: `gil` while it is, the size of `pages`, and the `kind` of mapping."""

    size_mib: int
    hold_seconds: float = 0.005
    gil: str = RELEASED
    pages: str = SMALL
    kind: str = ANONYMOUS

    @property
    def true_mib(self) -> int:
        """What becomes resident."""
        return 0 if self.kind == UNTOUCHED else self.size_mib


def compile_library(output: str) -> None:
    """Compile spike.c as the shared library `output`.

    Raises:
        NoCompiler: there is none on PATH, nor in CC.
        subprocess.CalledProcessError: it failed; `stderr` says why.
    """
    named = ((os.environ["CC"],),) if os.environ.get("CC") else ()
    for compiler in (*named, *_COMPILERS):
        if shutil.which(compiler[0]):
            break
    else:
        raise NoCompiler("the spikes need a C compiler: apt-get install gcc")
    partial = output + ".partial"
    subprocess.run(
        [*compiler, "-O2", "-shared", "-fPIC", "-pthread", "-o", partial, SOURCE],
        check=True,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    os.replace(partial, output)


class Library:
    """The compiled spikes. A library loaded as PyDLL keeps the GIL during a call, as CDLL gives it up."""

    def __init__(self, path: str) -> None:
        self._spike = {}
        for gil, load in ((RELEASED, ctypes.CDLL), (HELD, ctypes.PyDLL)):
            function = load(os.path.abspath(path)).spike
            function.argtypes = [ctypes.c_size_t, ctypes.c_double, ctypes.c_int, ctypes.c_int, ctypes.c_int]
            self._spike[gil] = function
        released = ctypes.CDLL(os.path.abspath(path))
        self.gather = released.gather
        self._together = released.spike_together
        self._together.argtypes = [ctypes.c_size_t, ctypes.c_double]

    def make(self, spike: Spike, file: int = -1) -> None:
        """Make the spike; a file-mapped one shows the pages of the open `file`, which has its size.

        Raises:
            OSError: there is no memory for it.
        """
        self._spike_or_raise(
            self._spike[spike.gil](
                spike.size_mib * MIB,
                spike.hold_seconds,
                spike.pages == HUGE,
                _KINDS.index(spike.kind),
                file,
            )
        )

    def make_together(self, size_mib: int, hold_seconds: float) -> None:
        """Like `make`, but all threads that `gather` counts hold theirs before one gives it back."""
        self._spike_or_raise(self._together(size_mib * MIB, hold_seconds))

    @staticmethod
    def _spike_or_raise(error: int) -> None:
        if error:
            raise OSError(error, "a spike cannot be made: " + os.strerror(error))


def available_mib() -> int:
    """MemAvailable of /proc/meminfo."""
    with open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    return 0


def file_of(size_mib: int) -> int:
    """An open file of that size, without a name."""
    file, path = tempfile.mkstemp()
    os.unlink(path)
    os.ftruncate(file, size_mib * MIB)
    return file


def touch(memory: mmap.mmap) -> None:
    """Make every page of the mapping resident."""
    memory[:: mmap.PAGESIZE] = b"\1" * (len(memory) // mmap.PAGESIZE)


def resident(size_mib: int) -> mmap.mmap:
    """Anonymous memory of that size, all of it resident until it is closed."""
    memory = mmap.mmap(-1, size_mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    touch(memory)
    return memory


def huge_pages_given() -> Optional[bool]:
    """Whether the kernel gives huge pages to who asks for them; None where it does not tell."""
    size = 8 * MIB
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        try:
            memory.madvise(mmap.MADV_HUGEPAGE)
        except (AttributeError, OSError):
            return False
        touch(memory)
        try:
            with open("/proc/self/smaps_rollup", "rb") as rollup:
                return any(line.startswith(b"AnonHugePages:") and int(line.split()[1]) > 0 for line in rollup)
        except OSError:
            return None
