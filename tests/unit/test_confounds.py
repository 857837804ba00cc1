"""What each unequal thing makes: planted shares are found, none is given to the wrong thing, and they add up."""

from __future__ import annotations

import itertools
import runpy
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tables
from indexscope import schemas
from indexscope.analysis import confounds
from indexscope.figures import common
from indexscope.figures import confounds as figure

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "tabulate_confounds.py"
OTHER = "ragatouille_faiss_true"
# What is planted: each change's share in MiB.
PARENT, REST, PROCESS_MODEL, ENVIRONMENT, SETTINGS, PASSAGES, FRAMEWORK = 450, 1250, -640, 90, -20, 130, 200
COLBERT: dict[str, Any] = {
    "framework": "colbert", "environment": "colbert", "ragatouille_version": None, "process_model": "in process",
    "passages": 300, "embeddings": 20_000, "partitions": 1024, "nbits": 2, "index_bsize": 64,
    "kmeans_iterations": 4, "kmeans_backend": "faiss",
}  # fmt: skip
SAME_ENVIRONMENT = {**COLBERT, "environment": "ragatouille", "ragatouille_version": "0.0.9.post2"}
WHOLE = {**SAME_ENVIRONMENT, "nbits": 4, "index_bsize": 32, "kmeans_iterations": 20}
FAIR = {**WHOLE, "passages": 393, "embeddings": 30_000, "partitions": 2048}
CHAIN = {
    "colbert": {**COLBERT, "process_model": "child process"},
    "inside": COLBERT,
    "same_environment": SAME_ENVIRONMENT,
    "whole": WHOLE,
    "fair": FAIR,
    OTHER: {**FAIR, "framework": "ragatouille"},
}
TREE = {}
_peak = PARENT + REST
for _system, _share in zip(
    CHAIN, (0, PROCESS_MODEL, ENVIRONMENT, SETTINGS, PASSAGES, FRAMEWORK), strict=True
):
    _peak += _share
    TREE[_system] = _peak


def group(
    system: str, spread: float = 5, repeats: int = 3, documents: int = 300, **columns: Any
) -> list[tables.Row]:
    """Repeats whose median is the planted peak, `spread` MiB apart."""
    own = {
        "parent_peak_rss_mib": PARENT if system == "colbert" else TREE[system] - 12,
        **CHAIN[system],
        **columns,
    }
    return [
        tables.run(
            system, documents, repeat=number + 1, **{"peak": TREE[system] + spread * (number - repeats // 2), **own}
        )
        for number in range(repeats)
    ]  # fmt: skip


def rows_of(*groups: list[tables.Row]) -> list[dict[str, Any]]:
    return list(confounds.confound_rows(row for rows in groups for row in rows))


def shares(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {row["confound"]: row["share_mib"] for row in rows}


def everything(**columns: Any) -> list[list[tables.Row]]:
    return [group(system, **columns) for system in CHAIN]


def test_each_planted_share_is_found_and_named() -> None:
    rows = rows_of(*reversed(everything()))  # whatever the order of the table
    assert shares(rows) == {
        "what is counted": REST,
        "process model": PROCESS_MODEL,
        "environment": ENVIRONMENT,
        "settings": SETTINGS,
        "passages": PASSAGES,
        "framework": FRAMEWORK,
        confounds.AS_STUDY_MEASURED: TREE[OTHER] - 12 - PARENT,
        confounds.TREES: TREE[OTHER] - TREE["colbert"],
    }
    assert [row["changes"] for row in rows[:6]] == [
        "memory counted (parent process → process tree)",
        "process model (child process → in process)",
        "environment (colbert → ragatouille)",
        "bits per dimension (2 → 4), passages per encoder batch (64 → 32), k-means iterations (4 → 20)",
        "passages after splitting (300 → 393), embeddings (20,000 → 30,000), partitions (1,024 → 2,048)",
        "framework (colbert → ragatouille)",
    ]
    assert [row["step"] for row in rows] == list(range(8))
    assert {row["from_measure"] for row in rows[:1]} == {"parent process"}
    assert {row["to_measure"] for row in rows[:6]} == {"process tree"}


@pytest.mark.parametrize(
    "measured", [set(CHAIN), {"colbert", OTHER}, {"colbert", "fair", OTHER}, {"inside", OTHER}]
)
def test_shares_add_up_to_the_whole_difference(measured: set[str]) -> None:
    rows = rows_of(*(group(system) for system in CHAIN if system in measured))
    steps = confounds.steps(rows)
    assert sum(step["share_mib"] for step in steps) == pytest.approx(
        steps[-1]["to_mib"] - steps[0]["from_mib"]
    )
    for left, right in itertools.pairwise(steps):
        assert (left["to_system"], left["to_measure"]) == (right["from_system"], right["from_measure"])


def test_a_missing_link_is_one_row_that_names_all_that_changes() -> None:
    rows = rows_of(group("colbert"), group("same_environment"), group("fair"), group(OTHER))
    assert shares(confounds.steps(rows)) == {  # type: ignore[arg-type]
        "what is counted": REST,
        "process model + environment": PROCESS_MODEL + ENVIRONMENT,
        "settings + passages": SETTINGS + PASSAGES,
        "framework": FRAMEWORK,
    }
    alone = rows_of(group("colbert"), group(OTHER))
    assert [row["confound"] for row in alone] == [
        "what is counted",
        "process model + environment + settings + passages + framework",
        *confounds.TOTALS,
    ]


def test_the_range_of_a_share_is_that_of_any_two_runs() -> None:
    rows = {row["confound"]: row for row in rows_of(*everything(spread=8))}
    assert (rows["environment"]["share_low_mib"], rows["environment"]["share_high_mib"]) == (74, 106)
    assert rows["environment"]["beyond_spread"] is True
    assert (rows["settings"]["share_low_mib"], rows["settings"]["share_high_mib"]) == (-36, -4)
    assert rows["settings"]["beyond_spread"] is True
    wider = {row["confound"]: row for row in rows_of(*everything(spread=12))}
    assert wider["settings"]["beyond_spread"] is False  # -44 to +4
    # Of what is counted the runs are the same: tree less parent of each.
    assert (rows["what is counted"]["share_low_mib"], rows["what is counted"]["share_high_mib"]) == (
        1242,
        1258,
    )
    single = {row["confound"]: row for row in rows_of(*everything(repeats=1))}
    assert single["framework"]["beyond_spread"] is None
    assert single["framework"]["share_low_mib"] == single["framework"]["share_high_mib"] == FRAMEWORK
    assert single["framework"]["from_runs"] == single["framework"]["to_runs"] == 1


def test_a_system_without_a_completed_run_is_left_out_with_the_reason() -> None:
    killed = group("whole", outcome="out_of_memory_host")
    rows = rows_of(group("colbert"), group("same_environment"), killed, group("fair"), group(OTHER))
    step = next(row for row in rows if row["confound"] == "settings + passages")
    assert step["changes"].endswith("; not completed: whole (out of memory host)")
    assert all("not completed" not in row["changes"] for row in rows if row["confound"] == "framework")
    half = [*group("fair")[:1], *group("fair", outcome="out_of_memory_host")[1:]]
    rows = rows_of(group("colbert"), half, group(OTHER))
    assert next(row for row in rows if row["confound"] == "framework")["from_runs"] == 1


@pytest.mark.parametrize("column", ["passages", "nbits", "kmeans_backend"])
def test_what_is_not_known_is_never_called_equal(column: str) -> None:
    rows = rows_of(group("colbert"), group("fair", **{column: None}), group(OTHER, **{column: None}))
    assert "framework" not in shares(rows)


def test_a_detour_is_no_part_of_the_chain() -> None:
    detour = group("inside", nbits=8)  # neither what ColBERT ships nor what RAGatouille chooses
    rows = rows_of(group("colbert"), detour, group("fair"), group(OTHER))
    assert not any("inside" in (row["from_system"], row["to_system"]) for row in rows)


def test_unequal_amounts_of_work_are_no_share_of_the_framework() -> None:
    rows = rows_of(group("colbert"), group("fair"), group(OTHER, partitions=4096))
    assert "framework" not in shares(rows)
    step = confounds.steps(rows)[-1]
    assert step["confound"].endswith(" + framework")
    assert "partitions (1,024 → 4,096)" in step["changes"]


def test_versions_tell_environments_apart_that_share_a_name() -> None:
    rows = rows_of(
        group("colbert", torch_version="2.0.1", environment="ragatouille", ragatouille_version="0.0.9.post2"),
        group("fair", process_model="child process", nbits=2, index_bsize=64, kmeans_iterations=4, passages=300,
              embeddings=20_000, partitions=1024),
        group(OTHER),
    )  # fmt: skip
    step = next(row for row in rows if row["confound"] == "environment")
    assert step["changes"] == "torch (2.0.1 → 2.10.0)"


def test_the_other_framework_with_equal_work_ends_the_chain() -> None:
    torch = group(OTHER, kmeans_backend="torch", peak=3000.0)
    torch = [{**row, "system": "a_torch", "run": f"a_torch/{row['repeat']}"} for row in torch]
    rows = rows_of(torch, *everything())
    assert rows[-1]["to_system"] == OTHER
    assert shares(rows)["framework"] == FRAMEWORK


def test_without_two_processes_nothing_is_said_of_what_was_counted() -> None:
    rows = rows_of(*everything()[1:])
    assert set(shares(rows)) == {"environment", "settings", "passages", "framework", confounds.TREES}
    assert confounds.sentence(rows) == (
        f"Counting whole process trees, {OTHER} needs 400 MiB more than inside at 300 documents; given equal work and "
        "an equal environment it still needs 200 MiB more."
    )


def test_one_sentence_says_what_changes() -> None:
    names = {"colbert": "ColBERT", OTHER: "RAGatouille"}
    assert confounds.sentence(rows_of(*everything()), names) == (
        "Measured as the study did, one process of each, RAGatouille needs 998 MiB more than ColBERT at 300 documents; "
        "counting whole process trees it needs 240 MiB less; given equal work and an equal environment it needs "
        "200 MiB more."
    )
    # Two ends alone, and no repeats: the third way was not measured.
    assert confounds.sentence(rows_of(group("colbert"), group(OTHER)), names).endswith(
        "it needs 240 MiB less; with equal work and an equal environment it was not measured."
    )
    # The sign stays.
    assert "process trees it still needs 300 MiB more; given" in confounds.sentence(
        rows_of(group("colbert"), group("fair"), group(OTHER, peak=2000.0)), names
    )
    # A share within the spread is no difference.
    assert confounds.sentence(rows_of(*everything(spread=110)), names).endswith(
        "it shows no difference beyond the spread of repeats (+200 MiB)."
    )
    assert confounds.sentence([]) == confounds.sentence(rows_of(group("colbert"))) == ""


def test_a_smaller_size_that_tells_more_is_told() -> None:
    rows = rows_of(*everything(), group("colbert", documents=900), group(OTHER, documents=900))
    told = confounds.told(rows)
    assert told and told.documents == 300
    assert [each.documents for each in confounds.comparisons(rows)] == [300, 900]


def test_the_program_writes_the_table_and_names_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, output = tmp_path / "runs.parquet", tmp_path / "confounds.parquet"
    rows = [row for of in everything() for row in of]
    schemas.write_table(rows, schemas.RUNS, runs)
    monkeypatch.setattr(sys, "argv", ["tabulate_confounds.py", str(runs), "--output", str(output)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert pq.read_table(output).to_pylist() == list(confounds.confound_rows(rows))
    assert "needs 998 MiB more" in capsys.readouterr().out
    runs.write_bytes(b"no table")
    with pytest.raises(SystemExit, match=r"runs.parquet cannot be read .*run tabulate_runs.py"):
        runpy.run_path(str(SCRIPT), run_name="__main__")


# The figure


def drawn(*groups: list[tables.Row]) -> common.Figure:
    rows = [row for of in groups for row in of]
    return figure.draw(tables.frame("confounds", confounds.confound_rows(rows)), tables.frame("runs", rows))


def test_the_figure_goes_from_one_process_to_the_other_frameworks_tree() -> None:
    made = drawn(*everything())
    assert made.title == (
        "RAGatouille, use_faiss=True compared with ColBERT at 300 documents: +998 MiB as the study measured it, "
        "−240 MiB as process trees, +200 MiB on equal work in one environment"
    )
    assert made.support == (
        "At 300 documents beyond the spread of repeats: process model, environment, settings, passages and framework."
    )
    faint = drawn(*everything(spread=12))
    assert faint.support.endswith("passages and framework; within the spread of repeats (faint): settings.")
    (bars,) = (rows for rows in made.specification()["datasets"].values() if rows and "heading" in rows[0])
    assert [(bar["heading"], round(bar["start"]), round(bar["end"])) for bar in bars] == [
        ("ColBERT", 0, PARENT),
        ("what is counted", PARENT, PARENT + REST),
        ("process model", 1700, 1060),
        ("environment", 1060, 1150),
        ("settings", 1150, 1130),
        ("passages", 1130, 1260),
        ("framework", 1260, 1460),
        ("RAGatouille, use_faiss=True", 0, TREE[OTHER]),
    ]
    assert [bar["words"] for bar in bars][:3] == ["450 MiB", "+1,250", "−640"]
    assert len(made.rows) == 8


def test_the_figure_of_a_part_of_the_chain_says_what_is_not_backed() -> None:
    made = drawn(group("colbert", repeats=1), group(OTHER, repeats=1))
    assert made.title.endswith("+998 MiB as the study measured it, −240 MiB as process trees")
    assert (
        "not backed by repeats (hollow): process model + environment + settings + passages + framework"
        in made.support
    )
    without = drawn(group("inside"), group(OTHER))
    assert "ColBERT was not measured in two processes" in without.notes[0]
    assert not drawn(group("colbert")).is_finding
