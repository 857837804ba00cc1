"""Whose line it was: from a stack of frames to a framework's function and line."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

OWN_CODE = f"{Path(__file__).resolve().parents[2]}/"
_INSTRUMENT = f"{Path(__file__).resolve().parent}/"
# They make arrays for whoever calls them: the caller is who wants the memory.
_ARRAY_LIBRARIES = ("torch", "numpy", "faiss", "scipy")
_FOLDERS = ("/site-packages/", "/dist-packages/")
_IMPORTING = "<frozen importlib"

Frame = tuple[str, str, int]  # function, file, line


class Place(NamedTuple):
    """Who allocated."""

    function: str | None  # dotted: module and name
    source: str | None  # file and line, below site-packages
    package: str | None  # of that file; while a module is imported, the package that is
    importing: bool  # while a module was imported
    instrument: bool  # by what records this


def place_of(stack: Iterable[Frame]) -> Place:
    """The place of an allocation; `stack` begins at the innermost frame.

    It is the innermost frame in a package that is no array library and not Python's own; else in one of ours, else
    the innermost of all. While a module is imported it is the innermost frame in any package.
    """
    first: Frame | None = None
    of_package: Frame | None = None
    of_caller: Frame | None = None
    own: Frame | None = None
    importing = False
    for frame in stack:
        name, path, _ = frame
        if path.startswith(_INSTRUMENT):
            if name == "__torch_dispatch__" or of_package is not None or own is not None:
                continue  # around what a framework does
            return Place(None, None, None, False, True)
        first = first or frame
        if path.startswith(_IMPORTING):
            importing = True
            if of_package is not None or of_caller is not None:
                break
            continue
        package = package_of(path)
        if package is not None:
            of_package = of_package or frame
            if package not in _ARRAY_LIBRARIES and of_caller is None and not importing:
                of_caller = frame
        elif own is None and is_own(path):
            own = frame
    chosen = of_package if importing and of_caller is None else (of_caller or own or first)
    if importing:
        chosen = of_package or chosen
    if chosen is None:
        return Place(None, None, None, importing, False)
    name, path, line = chosen
    return Place(f"{module_of(path)}.{name}", f"{short(path)}:{line}", package_of(path), importing, False)


@functools.cache
def package_of(path: str) -> str | None:
    """The first component below site-packages."""
    for folder in _FOLDERS:
        _, found, below = path.rpartition(folder)
        if found:
            return below.partition("/")[0].partition(".")[0]
    return None


@functools.cache
def is_own(path: str) -> bool:
    return path.startswith(OWN_CODE) and not path.startswith(_INSTRUMENT) and package_of(path) is None


@functools.cache
def is_caller(path: str) -> bool:
    """Whether a frame of this file is whom an array is made for."""
    return package_of(path) not in (None, *_ARRAY_LIBRARIES)


@functools.cache
def short(path: str) -> str:
    """The path below site-packages, or below our own scripts, or the file's name."""
    for folder in _FOLDERS:
        _, found, below = path.rpartition(folder)
        if found:
            return below
    if path.startswith(OWN_CODE):
        return path[len(OWN_CODE) :]
    return path.rpartition("/")[2] or path


@functools.cache
def module_of(path: str) -> str:
    name = short(path)
    if name.endswith(".py"):
        name = name[: -len(".py")]
    return name.replace("/__init__", "").replace("/", ".")
