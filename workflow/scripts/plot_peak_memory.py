"""Draw the peak memory of each run's process tree by system, size and profiler."""

from __future__ import annotations

from indexscope import schemas
from indexscope.figures import files, peak_memory

if __name__ == "__main__":
    files.main(__doc__, peak_memory.draw, runs=schemas.RUNS, memory_comparison=schemas.MEMORY_COMPARISON)
