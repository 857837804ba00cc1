"""From the `source` key of corpus settings to the corpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from indexscope.corpora.settings import parse_settings
from indexscope.corpora.source import CorpusSource
from indexscope.corpora.synthetic import SyntheticCorpus, SyntheticCorpusSettings
from indexscope.run_record import InputError

SOURCES = ("synthetic",)


def open_corpus(values: Mapping[str, Any], where: str) -> CorpusSource:
    """The corpus that `values` describes: `source`, and the settings of that source.

    Raises:
        InputError: unknown source or a setting that it refuses; `where` leads the message.
    """
    settings = dict(values)
    source = settings.pop("source", None)
    if source == "synthetic":
        return SyntheticCorpus(parse_settings(SyntheticCorpusSettings, settings, where))
    raise InputError(f"{where}: source: {source!r} is not one of {', '.join(SOURCES)}")
