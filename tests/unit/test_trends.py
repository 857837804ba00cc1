"""Campaigns: a planted change is found, planted noise is not called one, and tables say where they are from."""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tables
from indexscope import schemas
from indexscope.analysis import campaigns
from indexscope.analysis.campaigns import Source, campaign_batches, compare_campaigns
from indexscope.figures import files, trends
from indexscope.run_record import InputError

DAY = datetime.datetime(2025, 11, 3, 12, tzinfo=datetime.UTC)


def campaign(
    name: str | None, day: int, peaks: Sequence[float | None], system: str = "colbert", **columns: Any
) -> list[tables.Row]:
    """Repeats of one system at 300 documents; None is a run that was killed for memory."""
    return [
        dict.fromkeys(schemas.RUNS.names)
        | tables.run(
            system,
            300,
            repeat=repeat,
            peak=1.0 if peak is None else peak,
            outcome="out_of_memory_host" if peak is None else "completed",
            campaign=name,
            started_at=DAY + datetime.timedelta(days=day, seconds=repeat),
            **columns,
        )
        for repeat, peak in enumerate(peaks, 1)
    ]


def verdicts(rows: Iterable[tables.Row], **where: Any) -> list[str]:
    where = {"comparison": "previous", "quantity": "tree_peak_rss_mib"} | where
    return [
        row["verdict"]
        for row in compare_campaigns(rows)
        if all(row[name] == value for name, value in where.items())
    ]


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [
        ([1000, 1010, 1020], [1300, 1310, 1320], "changed"),
        ([1300, 1310, 1320], [1000, 1010, 1020], "changed"),
        ([1000, 1010, 1020], [1050, 1060, 1070], "below the factor"),  # separated, and small
        ([1000, 1010, 1500], [1300, 1310, 1320], "within the spread of repeats"),
        ([1000, 1010], [1300, 1310], "too few repeats"),  # noise alone separates every third such pair
        ([1000], [1300], "too few repeats"),
        ([1000], [1000], "below the factor"),
        ([1000, 1010, 1020], [None, None, None], "no longer completes"),
        ([None], [1000], "completes now"),
        ([None], [None], "no completed run"),
    ],
)
def test_verdicts(left: list[float | None], right: list[float | None], verdict: str) -> None:
    rows = [*campaign("a", 0, left), *campaign("b", 1, right)]
    assert verdicts(rows) == [verdict]
    (row,) = (row for row in compare_campaigns(rows) if row["quantity"] == "tree_peak_rss_mib")
    assert row["changed"] == (verdict in ("changed", "no longer completes", "completes now"))
    assert (row["left_runs"], row["right_runs"]) == (
        sum(peak is not None for peak in left),
        sum(peak is not None for peak in right),
    )


def test_suppressed_numbers_are_kept() -> None:
    rows = [*campaign("a", 0, [1000, 1010, 1500]), *campaign("b", 1, [1300, 1310, 1320])]
    (row,) = (row for row in compare_campaigns(rows) if row["quantity"] == "tree_peak_rss_mib")
    assert (row["left_median"], row["right_median"], row["difference"]) == (1010, 1310, 300)
    assert row["ratio"] == pytest.approx(1310 / 1010)
    assert (row["separated"], row["exceeds_factor"], row["changed"]) == (False, True, False)


def test_noise_is_rarely_called_a_change() -> None:
    """Equal distributions, wide enough for the factor: false alarms are at most as frequent as the chance says."""
    noise = random.Random(1)
    found = []
    for _ in range(1000):
        sides = [[1000 * noise.uniform(0.8, 1.2) for _ in range(3)] for _ in range(2)]
        found += verdicts([*campaign("a", 0, sides[0]), *campaign("b", 1, sides[1])])
    alarms = found.count("changed") / len(found)
    assert 0.05 < alarms <= campaigns.chance_of_separation(3, 3) + 0.02
    noise_of_an_allocator = [
        verdict
        for _ in range(200)
        for verdict in verdicts(
            [
                row
                for name in "ab"
                for row in campaign(name, 0, [1000 * noise.uniform(0.96, 1.04) for _ in range(5)])
            ]
        )
    ]
    assert set(noise_of_an_allocator) == {"below the factor"}


@pytest.mark.parametrize(
    ("left", "right", "chance"), [(2, 2, 1 / 3), (3, 3, 0.1), (5, 5, 2 / 252), (1, 4, 0.4)]
)
def test_chance_of_separation(left: int, right: int, chance: float) -> None:
    assert campaigns.chance_of_separation(left, right) == pytest.approx(chance)


def test_each_is_compared_with_the_one_before_and_with_the_first() -> None:
    """Three small steps, none of which is a change: together they are."""
    peaks = {"a": 1000, "b": 1080, "c": 1160}
    rows = [
        row
        for day, name in enumerate(peaks)
        for row in campaign(name, day, [peaks[name] + x for x in (0, 1, 2)])
    ]
    found = [
        (row["comparison"], row["left_campaign"], row["right_campaign"], row["changed"])
        for row in compare_campaigns(reversed(rows))  # the order is that of time
        if row["quantity"] == "tree_peak_rss_mib"
    ]
    assert found == [("previous", "a", "b", False), ("previous", "b", "c", False), ("first", "a", "c", True)]


def test_a_system_is_the_same_in_another_cell_and_a_campaign_without_it_is_passed_over() -> None:
    rows = [
        *campaign("a", 0, [1000] * 3, cell="11111111"),
        *campaign("b", 1, [500] * 3, system="ragatouille_faiss_true"),
        *campaign("c", 2, [1500] * 3, cell="22222222"),
    ]
    assert verdicts(rows, system="colbert", left_campaign="a", right_campaign="c") == ["changed"]
    assert verdicts(rows) == ["changed"]


def test_what_differs_is_named() -> None:
    old = {
        "torch_version": "2.1.0",
        "lock_digest": "aaaa1111",
        "git_commit": "1234",
        "memory_total_mib": 24105.6,
    }
    new = {
        "torch_version": "2.10.0",
        "lock_digest": "bbbb2222",
        "git_commit": "5678",
        "memory_total_mib": 24105.2,
    }
    left, right = campaign("a", 0, [1000], **old), campaign("b", 1, [1000], **new)
    assert campaigns.changes(left, right) == [
        "torch 2.1.0 → 2.10.0",
        "lock aaaa1111 → bbbb2222",
        "commit 1234 → 5678",
    ]
    assert campaigns.changes(left, left) == []
    other = campaign("b", 1, [1000], cell="99999999", **old)
    assert campaigns.changes(left, other) == ["settings (cell 0a1b2c3d → 99999999)"]
    faiss = "ragatouille_faiss_true"
    rows = [*left, *right, *campaign("a", 0, [900], faiss, **old), *campaign("b", 1, [900], faiss, **old)]
    assert (
        campaigns.campaign_changes(rows, "a", "b", {"colbert": "ColBERT"})[0]
        == "torch 2.1.0 → 2.10.0 (ColBERT)"
    )


# The table


def source(folder: Path, name: str, rows: Iterable[tables.Row], label: str | None = None) -> Source:
    schemas.write_table(rows, schemas.RUNS, folder / f"{name}.parquet")
    return Source(folder / f"{name}.parquet", label)


def concatenated(*sources: Source) -> list[dict[str, Any]]:
    return pa.Table.from_batches(campaign_batches(sources), schemas.TRENDS).to_pylist()


def test_campaigns_are_labelled_by_folder_or_day(tmp_path: Path) -> None:
    rows = concatenated(
        source(tmp_path, "a", campaign("a", 0, [1.0, 2.0]), "a"),
        source(tmp_path, "b", campaign(None, 2, [3.0])),
        source(tmp_path, "c", [row | {"started_at": None} for row in campaign(None, 3, [4.0])]),
    )
    assert [(row["campaign"], row["tree_peak_rss_mib"]) for row in rows] == [
        ("a", 1.0),
        ("a", 2.0),
        ("2025-11-05", 3.0),
        ("default", 4.0),
    ]


def test_a_run_that_two_tables_have_counts_once(tmp_path: Path) -> None:
    """The results of this checkout, and an archive of them that was unpacked beside."""
    own, repeats = campaign(None, 0, [1.0, 2.0]), campaign(None, 1, [1.0, 2.0])
    rows = concatenated(
        source(tmp_path, "own", own, "own"),
        source(tmp_path, "z", own, "z"),
        source(tmp_path, "r", repeats, "r"),
    )
    assert [row["campaign"] for row in rows] == ["own", "own", "r", "r"]


def test_a_table_of_an_earlier_version_has_nulls(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    table = pa.Table.from_pylist(campaign("a", 0, [1.0]), schema=schemas.RUNS)
    pq.write_table(table.drop_columns(["campaign", "index_peak_rss_mib"]), path)
    (row,) = concatenated(Source(path, "old"))
    assert (row["campaign"], row["index_peak_rss_mib"], row["tree_peak_rss_mib"]) == ("old", None, 1.0)
    pq.write_table(table.drop_columns(["outcome"]), path)
    with pytest.raises(InputError, match=r"old\.parquet has no column outcome: make it anew"):
        concatenated(Source(path, "old"))
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"old\.parquet cannot be read"):
        concatenated(Source(path, "old"))


def test_tables_say_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    for variable in ("INDEXSCOPE_CAMPAIGN", "INDEXSCOPE_COMMIT", "INDEXSCOPE_ANALYSIS_LOCK"):
        monkeypatch.delenv(variable, raising=False)
    schemas.write_table([], schemas.RUNS, path)
    assert pq.read_schema(path).metadata is None
    monkeypatch.setenv("INDEXSCOPE_CAMPAIGN", "before")
    monkeypatch.setenv("INDEXSCOPE_COMMIT", "0123456789ab+")
    monkeypatch.setenv("INDEXSCOPE_ANALYSIS_LOCK", "5e6f7a8b")
    expected = {
        b"indexscope.campaign": b"before",
        b"indexscope.commit": b"0123456789ab+",
        b"indexscope.analysis_lock": b"5e6f7a8b",
    }
    schemas.write_table(campaign("before", 0, [1.0]), schemas.RUNS, path)
    assert pq.read_schema(path).metadata == expected
    batches = pa.Table.from_pylist(campaign("before", 0, [1.0]), schema=schemas.RUNS).to_batches()
    schemas.write_batches(batches, schemas.RUNS, path)
    assert pq.read_schema(path).metadata == expected
    assert pq.read_schema(path).equals(schemas.RUNS)


# The figure


def drawn(rows: list[tables.Row]) -> Any:
    comparison = pa.Table.from_pylist(list(compare_campaigns(rows)), schema=schemas.CAMPAIGN_COMPARISON)
    return trends.draw(pa.Table.from_pylist(rows, schema=schemas.TRENDS).to_pandas(), comparison.to_pandas())


def words_of(figure: Any) -> str:
    return json.dumps(figure.specification(), ensure_ascii=False)


def test_the_title_is_the_planted_change_and_its_cause_is_named() -> None:
    rows = [
        *campaign("new_torch", 5, [1250, 1260, 1270], torch_version="2.10.0"),
        *campaign("old_torch", 0, [1000, 1010, 1020], torch_version="2.1.0"),
        *campaign("old_torch", 0, [900, 910, 920], system="ragatouille_faiss_true", torch_version="2.1.0"),
        *campaign("new_torch", 5, [905, 915, 925], system="ragatouille_faiss_true", torch_version="2.10.0"),
    ]
    figure = drawn(rows)
    assert figure.title == (
        "Peak memory of ColBERT at 300 documents rose by 25 % from old_torch to new_torch (1,010 → 1,260 MiB)"
    )
    assert "10 % of such samples would not either" in figure.support
    assert "old_torch → new_torch: torch 2.1.0 → 2.10.0." in figure.notes
    assert "+25 %" in words_of(figure)
    assert "3 repeats" in figure.conditions
    one_more = campaign("new_torch", 6, [1255, 1256, 1257, 1258])[3:]
    assert "3 to 4 repeats" in drawn(rows + one_more).conditions
    assert list(figure.rows["campaign"].unique()) == ["old_torch", "new_torch"]
    assert len(figure.rows) == len(rows)


def test_noise_is_no_title() -> None:
    rows = [*campaign("a", 0, [1000, 1010, 1500]), *campaign("b", 1, [1300, 1310, 1320])]
    figure = drawn(rows)
    assert figure.title == (
        "From a to b, neither peak memory nor time changed by more than 10 % beyond the spread of repeats"
    )
    assert "More than 10 % apart, yet not called a change: 1 within the spread of repeats." in figure.notes
    assert "nothing that is recorded, but the time" in words_of(figure)


def test_a_system_that_no_longer_completes_comes_first() -> None:
    faiss = "ragatouille_faiss_true"
    rows = [
        *campaign("a", 0, [1000] * 3),
        *campaign("b", 1, [2000] * 3),
        *campaign("a", 0, [900] * 3, faiss),
        *campaign("b", 1, [None] * 3, faiss),
    ]
    figure = drawn(rows)
    assert figure.title == "RAGatouille, use_faiss=True no longer completes at 300 documents: b, after a"
    assert "3 of 12 runs did not complete" in words_of(figure)
    assert "×" in words_of(figure)


def test_without_a_common_size_nothing_is_compared() -> None:
    rows = [*campaign("a", 0, [1000]), *[row | {"documents": 500} for row in campaign("b", 1, [1000])]]
    assert "nothing can be compared" in drawn(rows).title


@pytest.mark.parametrize("count", [0, 1])
def test_one_campaign_is_told_what_to_do(count: int, tmp_path: Path) -> None:
    figure = drawn(campaign("a", 0, [1000]) if count else [])
    assert figure.title == f"A trend needs two campaigns; there is {'one, a' if count else 'none'}"
    assert "snakemake --cores all --config campaign=NAME" in words_of(figure)
    assert not figure.is_finding
    files.save(figure, tmp_path / "trends")
    assert pd.read_csv(tmp_path / "trends.csv").empty
