"""Measuring: standard library only, Python 3.8 and later, imported by the measured process itself.

Nothing here imports torch, pandas or Snakemake: the measured process loads what it measures and nothing else.
"""
