"""What injections make equal, from comparisons with known verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tabulate_torch_injections as program
from indexscope import schemas
from indexscope.analysis.torch_injections import COLUMNS, tabulate_injections

Row = dict[str, Any]
FINAL = ["-/0/centroids", "-/0/ivf", "0/0/codes", "1/0/codes"]
SAMPLE, BOTH = "local_sample_embs", "local_sample_embs + embs"


def artifact(key: str, verdict: str = "equal", **changes: Any) -> Row:
    row = {
        "left_version": "2.0.1",
        "right_version": "2.1.0",
        "kind": "versions",
        "injected": "",
        "left_outcome": "completed",
        "right_outcome": "completed",
        "artifact": key,
        "stage": key.split("/", maxsplit=1)[0],
        "name": key.rsplit("/", 1)[1],
        "compared_as": "as stored",
        "verdict": verdict,
    }
    return row | changes


def comparison(injected: str, verdicts: dict[str, str], **changes: Any) -> list[Row]:
    """All final artifacts and two intermediate ones; those that `verdicts` lack are equal.

    What "is equal up to order" has two rows.
    """
    changes = {"kind": "injection" if injected else "versions", "injected": injected, **changes}
    rows = []
    for key in [
        *(f"final/{key}" for key in FINAL),
        "planning/-/0/local_sample_embs",
        "planning/-/0/sample_pids",
        "encoding/0/0/embs",
    ]:
        verdict = verdicts.get(key, "equal")
        ordered = verdict == "equal up to order"
        rows.append(artifact(key, "differs" if ordered else verdict, **changes))
        if ordered:
            rows.append(artifact(key, verdict, compared_as="up to order", **changes))
    return rows


def tabulated(*comparisons: list[Row]) -> dict[str, Row]:
    return {
        row["injected"]: row for row in tabulate_injections([row for rows in comparisons for row in rows])
    }


DIFFERS = {f"final/{key}": "differs" for key in FINAL} | {
    "planning/-/0/local_sample_embs": "within tolerance",
    "encoding/0/0/embs": "differs",
}


def test_an_injection_is_told_by_the_final_artifacts() -> None:
    ordered = {"final/-/0/centroids": "equal up to order", "final/1/0/codes": "equal up to order"}
    embs = {"encoding/0/0/embs": "differs"}
    rows = tabulated(
        comparison("", DIFFERS),
        comparison(SAMPLE, ordered | embs),
        comparison("embs", ordered | {"final/-/0/ivf": "shape differs"}),
        comparison(BOTH, {}),
    )
    told = [
        "artifacts_injected", "final_artifacts", "equal", "equal_up_to_order", "differing",
        "intermediate_artifacts", "intermediate_equal", "smallest", "verdict",
    ]  # fmt: skip
    assert {name: tuple(row[column] for column in told) for name, row in rows.items()} == {
        "": (0, 4, 0, 0, "centroids, ivf, codes", 3, 1, False, "some differ"),
        # What was given is no evidence: two intermediate artifacts are left, of which one is equal.
        SAMPLE: (1, 4, 2, 4, "", 2, 1, True, "all equal up to order"),
        "embs": (1, 4, 1, 3, "ivf", 2, 2, False, "some differ"),
        BOTH: (2, 4, 4, 4, "", 1, 1, False, "all equal"),  # one artifact is enough
    }
    assert rows[""]["left_outcome"] == rows[""]["right_outcome"] == "completed"


def test_the_smallest_injection_is_that_of_the_fewest_artifacts() -> None:
    some = {"final/0/0/codes": "differs"}
    for equal, smallest in [
        ([BOTH], {BOTH}),
        (["embs", BOTH], {"embs"}),
        (["embs", SAMPLE, BOTH], {"embs", SAMPLE}),
        (["", "embs", BOTH], {""}),  # nothing need be given
        ([], set()),
    ]:
        rows = tabulated(
            *(comparison(name, {} if name in equal else some) for name in ["", "embs", SAMPLE, BOTH])
        )
        assert {name for name, row in rows.items() if row["smallest"]} == smallest


def test_each_pair_has_its_own_smallest_injection_and_repeats_are_left_out() -> None:
    other = {"left_version": "2.1.0", "right_version": "2.2.0"}
    rows = list(
        tabulate_injections(
            [
                *comparison("", {}, kind="repeat", right_version="2.0.1"),
                *comparison("", DIFFERS),
                *comparison(SAMPLE, {}),
                *comparison("", DIFFERS, **other),
                *comparison(SAMPLE, DIFFERS, **other),
                *comparison(BOTH, {}, **other),
            ]
        )
    )
    assert [(row["right_version"], row["injected"], row["smallest"]) for row in rows] == [
        *(("2.1.0", "", False), ("2.1.0", SAMPLE, True)),
        *(("2.2.0", "", False), ("2.2.0", SAMPLE, False), ("2.2.0", BOTH, True)),
    ]


def test_a_failed_run_and_a_missing_artifact_make_nothing_equal() -> None:
    failed = dict.fromkeys([f"final/{key}" for key in FINAL], "run failed")
    rows = tabulated(
        comparison("", failed, right_outcome="out_of_memory_host"),
        comparison(SAMPLE, {"final/1/0/codes": "missing"}),
    )
    assert (rows[""]["verdict"], rows[""]["equal"], rows[""]["differing"]) == ("run failed", 0, "")
    assert rows[""]["right_outcome"] == "out_of_memory_host"
    assert (rows[SAMPLE]["verdict"], rows[SAMPLE]["differing"]) == ("some differ", "codes")
    assert not any(row["smallest"] for row in rows.values())
    nothing = tabulated([artifact("planning/-/0/sample_pids")])[
        ""
    ]  # no final artifact: nothing is told of them
    assert (nothing["verdict"], nothing["smallest"]) == ("some differ", False)


def test_the_program_writes_the_table_or_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts, output = tmp_path / "torch_artifacts.parquet", tmp_path / "torch_injections.parquet"
    required = {
        **dict.fromkeys(("pair", "left_run", "right_run"), "a"),
        **{"documents": 5, "presence": "both"},
    }
    rows = [row | required for row in [*comparison("", DIFFERS), *comparison(SAMPLE, {})]]
    schemas.write_table(rows, schemas.TORCH_ARTIFACTS, artifacts)
    argv = ["tabulate_torch_injections.py", "--artifacts", str(artifacts), "--output", str(output)]
    monkeypatch.setattr("sys.argv", argv)
    program.main()
    table = pq.read_table(output)
    assert table.schema.names == schemas.TORCH_INJECTIONS.names
    assert [row["smallest"] for row in table.to_pylist()] == [False, True]
    assert set(COLUMNS) <= set(schemas.TORCH_ARTIFACTS.names)
    pq.write_table(pq.read_table(artifacts).drop_columns(["verdict"]), artifacts)
    with pytest.raises(SystemExit, match=r"has no column verdict: run compare_torch_artifacts.py again"):
        program.main()
    artifacts.unlink()
    with pytest.raises(SystemExit, match=r"cannot be read .*: run compare_torch_artifacts.py"):
        program.main()
