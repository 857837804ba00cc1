"""IndexScope: where the memory goes when a late-interaction retrieval index is built."""
