"""A stand-in for conda on machines without it: answers Snakemake's conda calls, and builds with uv."""
