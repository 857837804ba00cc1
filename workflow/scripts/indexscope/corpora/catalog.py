"""From the settings of a corpus to the corpus."""

from __future__ import annotations

from indexscope.corpora.source import CorpusSource
from indexscope.corpora.synthetic import SyntheticCorpus
from indexscope.settings.corpora import SyntheticCorpusSettings


def open_corpus(settings: SyntheticCorpusSettings) -> CorpusSource:
    """The corpus that `settings` describe; each kind of settings has one source."""
    return SyntheticCorpus(settings)
