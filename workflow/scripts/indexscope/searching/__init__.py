"""Searching an index with the framework that made it, and measuring that.

Runs in a measured environment: the standard library, and torch, colbert and ragatouille imported where they are used.
"""
