"""From the settings of a corpus to the corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexscope.corpora.manifests import CONTENT, read_dataset
from indexscope.corpora.source import CorpusSource
from indexscope.run_record import InputError
from indexscope.settings.corpora import (
    FilesCorpusSettings,
    HubCorpusSettings,
    IrDatasetsCorpusSettings,
    PdfCorpusSettings,
    SyntheticCorpusSettings,
)
from indexscope.settings.files import matching_files

if TYPE_CHECKING:
    from indexscope.settings.corpora import Corpus


def open_corpus(settings: Corpus, dataset: Path | None = None) -> CorpusSource:
    """The corpus that `settings` describe; each kind of settings has one source.

    `dataset` is the folder that fetch_dataset.py or extract_pdfs.py has made, for kinds that are downloaded or PDFs.

    Raises:
        InputError: a file or the dataset is missing, or the dataset is not as it was fetched.
    """
    match settings:  # each source is imported where it is used: the others' libraries cost memory
        case SyntheticCorpusSettings():
            from indexscope.corpora.synthetic import SyntheticCorpus

            return SyntheticCorpus(settings)
        case FilesCorpusSettings():
            from indexscope.corpora.tables import TableCorpus

            return TableCorpus(matching_files(settings.path, "path"), settings, settings.path)
        case HubCorpusSettings():
            from indexscope.corpora.tables import TableCorpus

            folder, manifest = _fetched(dataset, settings.source)
            files = [folder / CONTENT / file["path"] for file in manifest["files"]]
            return TableCorpus(files, settings, f"{settings.repository} at {manifest['commit'][:12]}")
        case IrDatasetsCorpusSettings():
            from indexscope.corpora.ir_catalog import IrDatasetsCorpus

            folder, _ = _fetched(dataset, settings.source)
            return IrDatasetsCorpus(settings, folder / CONTENT)
        case PdfCorpusSettings():
            from indexscope.corpora.pdfs import open_extracted

            return open_extracted(settings, _made(dataset, settings.source, "extract_pdfs.py"))


def _fetched(dataset: Path | None, source: str) -> tuple[Path, dict[str, Any]]:
    folder = _made(dataset, source, "fetch_dataset.py")
    return folder, read_dataset(folder)


def _made(dataset: Path | None, source: str, program: str) -> Path:
    if dataset is None:
        raise InputError(f"--dataset: is needed for source {source}; run {program} and name its --output")
    return dataset
