"""What all loaders do alike."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self


class BaseLoader:
    """A context manager that closes the loader, and pickling, which opens it again in the other process.

    Attributes:
        files: as in loaders.Loader.
    """

    files: list[Path]
    _opened_with: tuple[Any, ...] = ()  # the arguments that open it again

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self), self._opened_with
