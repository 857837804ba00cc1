"""Opening and searching an index with the library that made it; each library is imported where it is used."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from indexscope.run_record import InputError

from .index_folder import COLBERT, RAGATOUILLE, IndexFolder


class Found(NamedTuple):
    """A passage that was found: its position in the index, and its score."""

    passage: int
    score: float


class Searcher(Protocol):
    """An index that is loaded."""

    def one(self, query: str, k: int) -> list[Found]:
        """At most `k` passages, best first."""

    def many(self, queries: Sequence[str], k: int) -> list[list[Found]]:
        """The same of each query, which the library is given at once."""


def import_library(framework: str) -> None:
    """Import what `load` needs.

    Raises:
        ImportError: this environment does not have it.
    """
    if framework == RAGATOUILLE:
        import ragatouille  # noqa: F401
    else:
        import colbert  # noqa: F401


def load(index: IndexFolder, checkpoint: str, texts: Sequence[str]) -> Searcher:
    """Load an index and its encoder, until the first query can be asked.

    Args:
        checkpoint: of the encoder, as index_folder.encoder gives it.
        texts: all passages, for colbert-ai, whose caller has them; RAGatouille reads its own.
    """
    if index.framework == RAGATOUILLE:
        return _Ragatouille(index, checkpoint)
    return _Colbert(index, checkpoint, texts)


class _Colbert:
    """colbert-ai's Searcher, with the settings that it chooses for k."""

    def __init__(self, index: IndexFolder, checkpoint: str, texts: Sequence[str]) -> None:
        from colbert import Searcher

        folder = index.path.resolve()
        self._searcher = Searcher(
            index=folder.name,
            index_root=str(folder.parent),
            checkpoint=checkpoint,
            collection=list(texts),
            verbose=1,
        )

    def one(self, query: str, k: int) -> list[Found]:
        passages, _, scores = self._searcher.search(query, k=k)
        return [Found(passage, score) for passage, score in zip(passages, scores, strict=True)]

    def many(self, queries: Sequence[str], k: int) -> list[list[Found]]:
        found = self._searcher.search_all(dict(enumerate(queries)), k=k).data
        return [
            [Found(passage, score) for passage, _, score in found[number]] for number in range(len(queries))
        ]


class _Ragatouille:
    """RAGPretrainedModel.from_index, with the settings that RAGatouille chooses for the number of passages."""

    def __init__(self, index: IndexFolder, checkpoint: str) -> None:
        from ragatouille import RAGPretrainedModel

        if not index.has_passages:
            raise InputError(
                f"{index.path} lacks collection.json or pid_docid_map.json, without which RAGatouille loads no index; "
                "add them: seal_index.py write INDEX --collection FILE --output INDEX.sha256.json"
            )
        with as_ragatouille_wants(index, checkpoint) as folder:
            self._pretrained = RAGPretrainedModel.from_index(str(folder), verbose=0)
            # RAGatouille 0.0.9 loads the index with the first query (models/index.py, PLAIDModelIndex.search), by this.
            model = self._pretrained.model
            model.model_index._load_searcher(model.checkpoint, model.collection, model.index_name, False)

    def one(self, query: str, k: int) -> list[Found]:
        return self._found(self._pretrained.search(query, k=k))

    def many(self, queries: Sequence[str], k: int) -> list[list[Found]]:
        results = self._pretrained.search(list(queries), k=k)
        # Of a list of one it gives that one's results.
        return [self._found(each) for each in (results if len(queries) > 1 else [results])]

    @staticmethod
    def _found(results: Sequence[dict[str, Any]]) -> list[Found]:
        return [Found(result["passage_id"], result["score"]) for result in results]


@contextlib.contextmanager
def as_ragatouille_wants(index: IndexFolder, checkpoint: str) -> Iterator[Path]:
    """The index's folder as RAGPretrainedModel.from_index can load it.

    It takes the encoder's path and the folder's name from metadata.json. Where either is another now, what is given is
    a folder of links, for as long as this lasts, whose metadata.json says so.
    """
    folder = index.path.resolve()
    if index.name == folder.name and index.checkpoint == checkpoint:
        yield folder
        return
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    metadata["config"].update(checkpoint=checkpoint, index_name="index")
    if "RAGatouille" in metadata:
        metadata["RAGatouille"]["index_config"]["index_name"] = "index"
    with tempfile.TemporaryDirectory(prefix="indexscope-") as temporary:
        view = Path(temporary, "index")
        view.mkdir()
        for file in folder.iterdir():
            if file.name != "metadata.json":
                (view / file.name).symlink_to(file)
        (view / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
        yield view


def search(searcher: Searcher, queries: Sequence[str], k: int) -> list[list[Found]]:
    """One query as a library takes one, several as it takes a list."""
    return [searcher.one(queries[0], k)] if len(queries) == 1 else searcher.many(queries, k)


def distribution(framework: str) -> str:
    """The package that a framework is in."""
    return {COLBERT: "colbert-ai", RAGATOUILLE: "ragatouille"}[framework]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what libraries print, on either stream and from C++ too, to themselves; shown where they fail."""
    with tempfile.TemporaryFile() as kept:
        own = [os.dup(stream) for stream in (1, 2)]
        try:
            for stream in (1, 2):
                os.dup2(kept.fileno(), stream)
            yield
        except BaseException:
            kept.seek(0)
            os.write(own[1], kept.read())
            raise
        finally:
            for stream, kept_stream in zip((1, 2), own, strict=True):
                os.dup2(kept_stream, stream)
                os.close(kept_stream)


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Let libraries print, to standard error: standard output is for what was found."""
    own = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(own, 1)
        os.close(own)
