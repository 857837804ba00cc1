"""memory_profiler applied to a function at run time, its table appended to a log that processes share."""

from __future__ import annotations

import functools
import io
import os
from typing import Any, Callable

from . import records


def wrap(function: Callable[..., Any], name: str, role: str, log: records.Appender) -> Callable[..., Any]:
    """A function whose every call is traced line by line, as `@memory_profiler.profile` does.

    Each table is written in one piece, after one line that says which process it is from; an exception does
    not lose the table, as it would with the decorator.
    """

    @functools.wraps(function)
    def profiled(*args: Any, **kwargs: Any) -> Any:
        import memory_profiler

        profiler = memory_profiler.LineProfiler(backend="psutil")
        try:
            return profiler(function)(*args, **kwargs)
        finally:
            table = io.StringIO()
            table.write("[indexscope] process %d %s %s\n" % (os.getpid(), role, name))
            memory_profiler.show_results(profiler, table)
            log.text(table.getvalue())

    return profiled
