"""Where documents come from: one model for each kind of source, told apart by `source`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from indexscope.run_record import InputError

from .base import Model
from .files import NamedFile, file_states, files_of_folder, matching_files

REPOSITORY = r"^[\w.-]+(/[\w.-]+)?$"


class SyntheticCorpusSettings(Model):
    """A seeded corpus whose passage lengths follow the published one."""

    # Part of the digest: raise it when the same settings give other documents.
    generation: ClassVar[int] = 1

    source: Literal["synthetic"] = Field("synthetic", description="a seeded corpus made on the spot")
    seed: int = Field(7, ge=0, lt=2**63, description="document i depends on these settings and i only")
    topics: int = Field(32, ge=1, le=1024, description="topics; documents of one topic share terms")
    topic_share: float = Field(0.36, ge=0, le=1, description="share of words that are terms of the topic")
    zipf_exponent: float = Field(1.0, ge=0, le=3, description="exponent of the word frequencies")
    median_words: float = Field(35.5, ge=1, le=2048, description="median words of a document (log-normal)")
    sigma: float = Field(1.28, ge=0, le=3, description="standard deviation of the logarithm of the words")
    length_growth: float = Field(
        0.1,
        ge=0,
        le=1,
        description="documents after the 100,000th are longer by (index / 100,000) to this power",
    )


class ReadCorpusSettings(Model):
    """What all corpora have that are read, not made."""

    # Part of the digest: raise it when the same settings give other documents.
    generation: ClassVar[int] = 1

    on_empty_text: Literal["keep", "drop", "error"] = Field(
        "keep",
        description="a document without text: keep it (N documents are the source's first N), drop it, or refuse",
    )


class TableCorpusSettings(ReadCorpusSettings):
    """What all corpora have that are rows of files."""

    format: Literal["jsonl", "tsv", "csv", "parquet"] | None = Field(
        None, description="format of the files; empty: by their suffix (.gz may follow, but not on Parquet)"
    )
    id_column: str | None = Field(
        None, description="column of the document's identifier; empty: the row's number, from 0"
    )
    text_columns: list[str] = Field(
        ["text"], min_length=1, description="columns of the text; those that have any are joined"
    )
    text_separator: str = Field(" ", description="what stands between the joined columns")
    columns: list[str] | None = Field(
        None, min_length=1, description="names of the columns of a TSV or CSV file whose first row has none"
    )

    @model_validator(mode="after")
    def _only_some_formats_lack_names(self) -> Self:
        if self.columns is None:
            return self
        if self.format in ("jsonl", "parquet"):
            raise ValueError(f"columns is for TSV and CSV files, format is {self.format}; remove one of them")
        unknown = [name for name in [self.id_column, *self.text_columns] if name and name not in self.columns]
        if unknown:
            raise ValueError(f"columns does not name {unknown[0]!r}, which is id_column or in text_columns")
        return self


class FilesCorpusSettings(TableCorpusSettings):
    """Files of this machine: JSON lines, TSV, CSV or Parquet, plain or gzip."""

    source: Literal["files"] = Field(description="files of this machine")
    path: str = Field(
        min_length=1, description="a path or glob; its files are read in the order of their names"
    )

    def outside(self) -> dict[str, Any]:
        """The files as they are now: other files, or changed ones, make other slices."""
        return {"files": file_states(matching_files(self.path, "path"))}


class HubCorpusSettings(TableCorpusSettings):
    """A dataset of the Hugging Face hub."""

    source: Literal["hub"] = Field(description="a dataset of the Hugging Face hub")
    repository: str = Field(pattern=REPOSITORY, description="the dataset, such as UKPLab/dapr")
    revision: str = Field(
        min_length=1, description="commit (pinned), or a branch or tag, whose commit is then recorded"
    )
    config: str | None = Field(None, description="configuration that the dataset's card lists")
    split: str | None = Field(None, description="split of that configuration")
    files: list[str] | None = Field(
        None, min_length=1, description="instead of config and split: paths or globs in the repository"
    )

    @model_validator(mode="after")
    def _files_or_a_split(self) -> Self:
        if (self.files is None) == (self.split is None) or (self.files and self.config):
            raise ValueError("give either files, or split (with config where the dataset has several)")
        return self

    def fetched(self) -> dict[str, Any]:
        """What determines what is downloaded: a change of the columns downloads nothing again."""
        return self.model_dump(include={"source", "repository", "revision", "config", "split", "files"})


class IrDatasetsCorpusSettings(ReadCorpusSettings):
    """The documents of a dataset that ir_datasets knows."""

    source: Literal["ir_datasets"] = Field(description="a dataset that ir_datasets knows")
    dataset: str = Field(min_length=1, description="its identifier, such as msmarco-passage or beir/scifact")
    text_fields: list[str] | None = Field(
        None, min_length=1, description="fields that are joined; empty: the text that ir_datasets suggests"
    )
    text_separator: str = Field(" ", description="what stands between the joined fields")

    def fetched(self) -> dict[str, Any]:
        """What determines what is downloaded."""
        return self.model_dump(include={"source", "dataset"})


class PdfCorpusSettings(Model):
    """A folder of PDFs; each page with text is a document, and what has none is a row with the reason."""

    # Part of the digest: raise it when the same settings give other documents.
    generation: ClassVar[int] = 1

    source: Literal["pdfs"] = Field(description="PDFs of this machine")
    path: str | None = Field(
        None,
        min_length=1,
        description="a folder (its *.pdf, subfolders too) or a glob; empty: a sample of two PDFs, made on the spot",
    )
    sample_pages: int = Field(40, ge=2, le=5000, description="pages of the sample's two PDFs together")
    sample_seed: int = Field(7, ge=0, lt=2**63, description="of the sample's text")
    largest_mib: float = Field(512, gt=0, description="a larger file is not read: a row says so")
    most_pages: int = Field(10_000, gt=0, description="of a longer file nothing is read: a row says so")
    page_seconds: float = Field(
        30, gt=0, description="a page whose text takes longer is left out: a row says so"
    )
    memory_mib: int = Field(
        1500,
        ge=128,
        description="memory of the process that reads; a page that needs more is left out: a row says so",
    )

    def files(self) -> list[NamedFile]:
        """The PDFs, in the order of their names.

        Raises:
            InputError: `path` names none, or is empty.
        """
        if self.path is None:
            raise InputError("path: is empty, the sample is made; name a folder of PDFs")
        return files_of_folder(self.path, ".pdf", "path")

    def outside(self) -> dict[str, Any]:
        """The files as they are now: other files, or changed ones, make other documents."""
        return {} if self.path is None else {"files": file_states(file.path for file in self.files())}

    def fetched(self) -> Self:
        """What determines what is read of them: all of it."""
        return self


Corpus = Annotated[
    SyntheticCorpusSettings
    | FilesCorpusSettings
    | HubCorpusSettings
    | IrDatasetsCorpusSettings
    | PdfCorpusSettings,
    Field(discriminator="source"),
]
