"""Adapters: what to call in each framework, what to observe, and what was resolved.

An adapter is one module, named as `framework:` in the configuration; docs/extending.md shows one. It imports its
framework inside `prepare` and `load_extensions` only, never at its top level, and has:

* `SETTINGS`: {name: Setting}, what `settings:` of a system may hold; `SETTINGS_MEANING` says what they are.
* `OBSERVERS`: {(module, qualname): function of the call's arguments → facts to record}; the call goes on after.
* `PHASES`: {(module, qualname): name}, the functions whose wall time is recorded, whatever the profiler, and
  which have spans without being in config/functions.yaml.
* `EXTENSIONS`: the module here whose `load_extensions(cuda)` compiles what is compiled at first use; None if
  nothing is.
* `LAYOUT`: the layout of the index's files, one of `LAYOUTS`, so that they can be dumped and compared; else None.
* `prepare(run)`: imports the framework and returns `build(document_ids, texts)`, which makes the index and
  returns its path.
* `patches(run)`, where the framework cannot do without: {(module, qualname): function of the original → what takes
  its place}, in every process of the run.
* `resolve(index_path)`: what the framework really did, from the files of the finished index.

It may have:

* `resume(index_root)`: removes from an unfinished index what is not whole, so that `build`, where `run["resume"]` is
  true, goes on with the rest; returns {from, kept, redone}, or None where there is nothing. Without it a run that was
  interrupted is begun anew.
* `stage(index_root)`: what is being made there at this moment, judged by the files.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional

LAYOUTS = ("plaid",)  # of index files that indexscope.artifacts reads


class Setting(NamedTuple):
    """One setting of a framework: its type and default, what it means, and bounds such as {"gt": 0}."""

    type: Any
    default: Any
    description: str
    bounds: Optional[Dict[str, Any]] = None
