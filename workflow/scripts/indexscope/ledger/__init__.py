"""The profiler `ledger`: what was alive at the highest points of a run.

`capture` runs in the measured processes and notes what they allocate; `reduce` runs after them, in a process of its
own, and keeps what was alive at a few moments. `indexscope.analysis.ledger` makes the table of it.
"""
