"""Adapters: what to call in each framework, what to observe, and what was resolved.

An adapter is one module, named as `framework:` in the configuration. It imports its framework inside
`prepare` only, never at its top level, and has:

* `OBSERVERS`: {(module, qualname): function of the call's arguments → facts to record}; the call goes on after.
* `prepare(run)`: imports the framework and returns `build(document_ids, texts)`, which makes the index and
  returns its path.
* `resolve(index_path)`: what the framework really did, from the files of the finished index.
"""
