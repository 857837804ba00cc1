"""How far off an exact peak may be on this machine, and how far off it is for a spike of known size.

The kernel counts resident pages per CPU and adds a CPU's share to the total only once it reaches a batch of
`max(32, 2 × CPUs)` pages (`percpu_counter_batch`, lib/percpu_counter.c, since Linux 6.2 for the memory of a
process). VmHWM is taken from the total alone, at the moments when pages are about to be given back
(`update_hiwater_rss`, include/linux/mm.h), so each of its three counters (anonymous, file, shared memory) may
lack or have too much one batch for each CPU. VmRSS is exact where the kernel adds up the shares as it prints
it (`get_mm_counter_sum` in fs/proc/task_mmu.c, Linux 6.17), and has the same error before.
"""

from __future__ import annotations

import mmap
import os
import re
from typing import Optional

from . import proc

_COUNTERS = 3  # MM_FILEPAGES, MM_ANONPAGES, MM_SHMEMPAGES: what RSS is the sum of
_LEAST_BATCH_PAGES = 32
_COUNTED_PER_CPU_SINCE = (6, 2)
_SPIKES, _SPIKE_MIB = 3, 4
_KIB_PER_MIB = 1024


def peak_error_bound_mib() -> Optional[float]:
    """The largest error of a peak that the kernel can make here, in MiB.

    None before Linux 6.2: there each thread keeps counts of its own, so no bound holds for every process.
    """
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if release is None or (int(release[1]), int(release[2])) < _COUNTED_PER_CPU_SINCE:
        return None
    cpus = os.sysconf("SC_NPROCESSORS_ONLN")
    batch = max(_LEAST_BATCH_PAGES, 2 * cpus)
    return _COUNTERS * batch * cpus * proc.PAGE_KIB / _KIB_PER_MIB


def calibrate(memory: proc.SelfMemory) -> Optional[float]:
    """The largest error, in MiB, of the peaks read for a few spikes of known size; takes a few milliseconds.

    None where the peak cannot be reset, or where there is no memory for a spike.
    """
    pages = _SPIKE_MIB * 2**20 // mmap.PAGESIZE
    ones = b"\1" * pages
    worst = 0.0
    for _ in range(_SPIKES):
        memory.reset_peak()
        before = memory.read().rss
        try:
            spike = mmap.mmap(-1, _SPIKE_MIB * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError:
            return None
        with spike:
            spike[:: mmap.PAGESIZE] = ones  # one byte of each page: makes it resident
        risen = (memory.read().peak - before) / _KIB_PER_MIB
        worst = max(worst, abs(risen - _SPIKE_MIB))
    memory.reset_peak()
    return round(worst, 3) if memory.exact else None
