"""Draw the RSS of every process against time, systems side by side, one row for each size."""

from __future__ import annotations

from indexscope import schemas
from indexscope.figures import files, memory_over_time

if __name__ == "__main__":
    files.main(
        __doc__,
        memory_over_time.draw,
        runs=schemas.RUNS,
        memory_curve=schemas.MEMORY_CURVE,
        spans=schemas.SPANS,
        memory_comparison=schemas.MEMORY_COMPARISON,
    )
