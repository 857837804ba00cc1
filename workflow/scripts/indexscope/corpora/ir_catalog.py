"""Documents of a dataset that ir_datasets knows; downloaded once, read from that folder ever after."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from indexscope.corpora import source
from indexscope.corpora.source import Document, Row
from indexscope.run_record import InputError
from indexscope.settings.corpora import IrDatasetsCorpusSettings


@dataclass(frozen=True)
class IrDatasetsCorpus:
    """The documents of `settings.dataset`, from what has been downloaded to `home`; the network is not used."""

    settings: IrDatasetsCorpusSettings
    home: Path

    def documents(self, count: int | None) -> Iterator[Document]:
        """The first `count` documents, or all, in the order of ir_datasets.

        Raises:
            InputError: a file is damaged, or a field is missing or no text.
        """
        return source.documents(self._kept(), count)

    def where(self, position: int) -> str:
        """The number of the document in the dataset, from 1; reads up to there once more."""
        return source.where(self._kept(), position)

    def describe(self) -> str:
        """One line for the report."""
        fields = " and ".join(self.settings.text_fields or ["the fields that ir_datasets suggests"])
        return f"{self.settings.dataset} of ir_datasets, text from {fields}"

    def _kept(self) -> Iterator[Row]:
        return source.kept(self._rows(), self.settings.on_empty_text)

    def _rows(self) -> Iterator[Row]:
        name = self.settings.dataset
        for number, document in enumerate(entries(name, self.home, offline=True), start=1):
            yield Row(name, "document", number, str(document.doc_id), self._text(document, number))

    def _text(self, document: Any, number: int) -> str:
        where = f"{self.settings.dataset}: document {number}"
        if self.settings.text_fields is None:
            if not hasattr(document, "default_text"):
                raise InputError(
                    f"{where}: ir_datasets suggests no text; name text_fields: {document._fields}"
                )
            return str(document.default_text())
        texts = []
        for field in self.settings.text_fields:
            value = getattr(document, field, None)
            if field not in document._fields or not (value is None or isinstance(value, str)):
                problem = "is no text" if field in document._fields else "does not exist"
                raise InputError(f"{where}: field {field!r} {problem}; text_fields may be {document._fields}")
            texts.append(value)
        return self.settings.text_separator.join(filter(None, texts))


def entries(dataset: str, home: Path, offline: bool) -> Iterator[Any]:
    """The documents as ir_datasets gives them, what it downloads or builds is kept in `home`.

    Raises:
        InputError: ir_datasets does not know the dataset, cannot get it, or finds a file damaged.
    """
    where = f"{dataset} of ir_datasets"
    ir_datasets = _load(home)
    if offline:
        ir_datasets.lazy_libs.requests = _refuse_network
    try:
        found = ir_datasets.load(dataset)
    except KeyError:
        raise InputError(
            f"{where}: there is no such dataset; https://ir-datasets.com lists those there are"
        ) from None
    if not found.has_docs():
        raise InputError(f"{where}: has no documents; name the dataset that has them, often the one above it")
    try:
        yield from found.docs_iter()
    except Exception as error:  # ir_datasets lets through what its many parsers and downloads raise
        raise InputError(f"{where}: {_problem(error, home)}") from None


def _load(home: Path) -> Any:
    """ir_datasets with `home` as its folder, which it looks up when it is imported."""
    loaded = os.environ.get("IR_DATASETS_HOME")
    os.environ["IR_DATASETS_HOME"] = str(home.resolve())
    os.environ.setdefault("IR_DATASETS_DL_DISABLE_PBAR", "true")  # what is printed goes to a log
    if "ir_datasets" in sys.modules and loaded != os.environ["IR_DATASETS_HOME"]:
        raise AssertionError("ir_datasets was imported with another folder")
    import ir_datasets

    return ir_datasets


def _refuse_network() -> NoReturn:
    raise InputError("a file that ir_datasets needs is not here any more; run fetch_dataset.py again")


def _problem(error: Exception, home: Path) -> str:
    import requests

    causes = [error]
    if len(error.args) > 1 and isinstance(
        error.args[1], list
    ):  # ("All download sources failed", [(source, error)])
        causes = [each for _, each in error.args[1]]
    cause = causes[-1]
    text = " ".join(str(cause).split())[:200]
    status = getattr(getattr(cause, "response", None), "status_code", None)
    match cause:
        case requests.exceptions.ProxyError():
            return f"cannot be reached through the proxy ({text}): correct HTTPS_PROXY, or unset it"
        case requests.exceptions.HTTPError():
            return f"its server answers {status} ({text}): start again later, or see https://ir-datasets.com for access"
        case requests.exceptions.RequestException():
            return (
                f"cannot be reached ({text}): check the network, or set HTTPS_PROXY where a proxy is needed, then "
                "start again; files that have arrived are kept"
            )
        case FileNotFoundError():
            return f"{text}: it is not public; https://ir-datasets.com says how to get it and where to put it"
        case EOFError():
            return f"a file is cut off; remove {home} and run fetch_dataset.py again"
        case InputError():
            return text
        case _:
            return f"cannot be read ({type(cause).__name__}: {text}); remove {home} and run fetch_dataset.py"
