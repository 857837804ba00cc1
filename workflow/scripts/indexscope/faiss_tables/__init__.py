"""FAISS's tables that are computed at load: what they cost, and one copy of them for many indexes.

Runs in the environment of faiss, but for formulas.py: standard library only.
"""
