"""What a question is, and what can come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .measured import Measured

SUPPORTED, NOT_SUPPORTED, NOT_TESTABLE = "supported", "not supported", "not testable here"
AUTHOR, OURS = "the study's author", "this project"
# The configuration under which all questions find what they need, but where a remedy names another.
EXPLAINED = "--configfile config/explained.yaml"


class Found(NamedTuple):
    """What the rows say of a claim."""

    verdict: str
    answer: str
    evidence: Sequence[str]  # `TABLE: row in words`
    remedy: str | None = None


def tested(holds: bool, answer: str, evidence: Sequence[str]) -> Found:
    """The claim was put to the test, and holds or does not."""
    return Found(SUPPORTED if holds else NOT_SUPPORTED, answer, evidence)


def not_testable(reason: str, remedy: str, evidence: Sequence[str] = ()) -> Found:
    """The rows cannot tell: what is missing, and what to run."""
    return Found(NOT_TESTABLE, reason, evidence, remedy)


@dataclass(frozen=True)
class Question:
    name: str  # short and stable
    asked_by: str  # AUTHOR, OURS
    text: str
    claim: str  # the verdict is about it
    experiment: str  # what is compared with what
    decide: Callable[[Measured], Found]
