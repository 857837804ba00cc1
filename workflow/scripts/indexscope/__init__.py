"""IndexScope: where the memory goes when a late-interaction retrieval index is built."""

__version__ = "0.1.0"  # as in pyproject.toml
