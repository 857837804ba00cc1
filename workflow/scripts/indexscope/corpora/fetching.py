"""Fetch a dataset from where it is published, once; slices are then read from what was fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexscope.corpora.manifests import CONTENT, MANIFEST, write_manifest
from indexscope.run_record import InputError
from indexscope.settings.corpora import HubCorpusSettings, IrDatasetsCorpusSettings

if TYPE_CHECKING:
    from indexscope.corpora.hub import Repository

Fetched = HubCorpusSettings | IrDatasetsCorpusSettings


def fetch_dataset(settings: Fetched, folder: Path, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Download a dataset to `folder`/content and write `folder`/manifest.json; return the manifest.

    What an earlier attempt has downloaded is kept and not fetched again.

    Raises:
        InputError: it cannot be had; the sentence says what to do. No manifest is written.
    """
    content = folder / CONTENT
    content.mkdir(parents=True, exist_ok=True)
    if isinstance(settings, HubCorpusSettings):
        facts, paths = _from_hub(settings, content, report)
    else:
        facts, paths = _from_ir_datasets(settings, content, report)
    return write_manifest(folder / MANIFEST, {"requested": settings.fetched(), **facts}, content, paths)


def _from_hub(
    settings: HubCorpusSettings, content: Path, report: Callable[[str], None]
) -> tuple[dict[str, Any], list[str]]:
    from indexscope.corpora import hub

    repository = hub.Repository("dataset", settings.repository, settings.revision)
    commit = repository.resolve()
    listed = {file.path: file for file in repository.files(commit)}
    patterns = settings.files or _patterns_of_split(repository, commit, settings)
    chosen = hub.matching(list(listed), patterns)
    if not chosen:
        raise InputError(
            f"{repository}: no file matches {', '.join(patterns)}; correct files, config or split"
        )
    total = sum(listed[path].size for path in chosen)
    for number, path in enumerate(chosen, start=1):
        report(f"{number} of {len(chosen)} files ({total / 2**20:.0f} MiB in all): {path}")
        repository.download(commit, listed[path], content)
    return {"commit": commit, "patterns": patterns}, chosen


def _patterns_of_split(repository: Repository, commit: str, settings: HubCorpusSettings) -> list[str]:
    from indexscope.corpora import hub

    card = repository.read_text(commit, "README.md")
    try:
        return hub.files_of_split(card, settings.config, str(settings.split))
    except ValueError as error:
        raise InputError(f"{repository}: {error}; correct config, split or files") from None


def _from_ir_datasets(
    settings: IrDatasetsCorpusSettings, content: Path, report: Callable[[str], None]
) -> tuple[dict[str, Any], list[str]]:
    """Read every document once: then ir_datasets has downloaded all that it will ask for, and it is intact."""
    from indexscope.corpora import ir_catalog

    documents = 0
    for documents, _ in enumerate(ir_catalog.entries(settings.dataset, content, offline=False), start=1):
        if documents % 1_000_000 == 0:
            report(f"{documents} documents")
    paths = sorted(str(path.relative_to(content)) for path in content.rglob("*") if path.is_file())
    import ir_datasets

    return {"documents": documents, "ir_datasets": ir_datasets.__version__}, paths
