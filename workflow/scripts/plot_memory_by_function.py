"""Draw memory_profiler's start, increment and final of each function beside the function's exact peak."""

from __future__ import annotations

from indexscope import schemas
from indexscope.figures import files, memory_by_function

if __name__ == "__main__":
    files.main(
        __doc__,
        memory_by_function.draw,
        runs=schemas.RUNS,
        spans=schemas.SPANS,
        memory_by_function=schemas.MEMORY_BY_FUNCTION,
    )
