"""Memory of known size, made by compiled code, for whatever measures memory to be checked against.

Standard library only, Python 3.8 syntax: the cases run in the environments that are measured.
"""
