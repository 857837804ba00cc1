"""Draw which index artifacts are equal between two runs, as a heat map of artifact by pair."""

from __future__ import annotations

from indexscope import schemas
from indexscope.figures import artifact_comparison, files

if __name__ == "__main__":
    files.main(
        __doc__, artifact_comparison.draw, artifact_comparison=schemas.ARTIFACT_COMPARISON, runs=schemas.RUNS
    )
