"""The figures of time: known phases, rates and costs, and what they say of the published ones."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import tables
import tabulate_published_encode_seconds as program
from indexscope.analysis.memory_comparison import compare_memory
from indexscope.analysis.published_encode_seconds import published_rows
from indexscope.figures import artifact_comparison, common, files, phase_time, profiler_cost
from indexscope.run_record import InputError

PUBLISHED = Path(__file__).parents[2] / "config" / "published" / "encode_seconds_per_25k_passages.csv"
RATE = "seconds_per_25k_passages"
FAISS = "ragatouille_faiss_true"


def study(**rates: list[float]) -> list[tables.Row]:
    """Runs of 300 documents; `SYSTEM__PROFILER=[seconds per 25,000 passages of each repeat]`."""
    runs = []
    for name, seconds in rates.items():
        system, _, profiler = name.partition("__")
        runs += [
            tables.run(
                system,
                300,
                profiler,
                repeat,
                peak=1000.0 + repeat,
                **{RATE: rate, "encoding_seconds": rate / 100, "index_seconds": rate / 5},
            )
            for repeat, rate in enumerate(seconds, 1)
        ]
    return runs


def draw(figure: str, runs: list[tables.Row], published: list[tables.Row] | None = None) -> common.Figure:
    module = {"phase_time": phase_time, "profiler_cost": profiler_cost}[figure]
    theirs = tables.published_encoding() if published is None else published
    drawn: common.Figure = module.draw(
        tables.frame("runs", runs),
        tables.frame("memory_comparison", compare_memory(runs)),
        tables.frame("published_encode_seconds", theirs),
    )
    return drawn


def texts_of(figure: common.Figure, path: Path) -> str:
    files.save(figure, path / "figure")
    return (path / "figure.svg").read_text()


# Time of each phase


def test_the_rest_is_what_no_phase_explains() -> None:
    run = tables.run("colbert", 300, wall_seconds=15.0, index_seconds=8.5)  # phases: 1 + 0.5 + 2 + 0.5
    cut = tables.run("colbert", 300, repeat=2, planning_seconds=None, training_seconds=None)
    lost = tables.run("colbert", 300, repeat=3, **dict.fromkeys([c for c, _ in phase_time.PHASES.values()]))
    runs = phase_time.with_rests(tables.frame("runs", [run, cut, lost]))
    assert list(runs["outside_seconds"]) == [6.5] * 3
    assert list(runs["rest_seconds"][:2]) == [4.5, 6.0]
    assert pd.isna(runs["rest_seconds"][2])  # no phase is known: not "all rest"


def test_phase_time_tells_share_rate_and_the_published_order(tmp_path: Path) -> None:
    runs = study(colbert__none=[100.0, 102.0, 104.0], ragatouille_faiss_true__none=[150.0, 160.0, 170.0])
    figure = draw("phase_time", runs)
    # colbert: 1 + 0.5 + 1.02 + 0.5 of 15 s; ragatouille: 1 + 0.5 + 1.6 + 0.5
    assert figure.title == (
        "At 300 documents the four phases are 20 to 24 % of a run's time; encoding takes 102 s (ColBERT) to 160 s "
        "(RAGatouille, use_faiss=True) per 25,000 passages"
    )
    assert figure.support == (
        "Between these two, the difference in encoding is beyond the spread of repeats (3 and 3 runs)."
    )
    assert figure.notes[0] == (
        "Published (RTX 6000 Ada, no profiler): 10 s for ColBERT, 15 s for RAGatouille, 1.50 times as long. Here "
        "RAGatouille, use_faiss=True takes 1.57 times as long as ColBERT: that RAGatouille encodes more slowly holds "
        "at this scale."
    )
    texts = texts_of(figure, tmp_path)
    for shown in (
        "102 s",
        "encoding 1.02 s",
        "published: ColBERT, RTX 6000 Ada · none",
        "per 25,000 passages",
    ):
        assert f">{shown}<" in texts or shown in texts
    with (tmp_path / "figure.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(runs) + 4  # ours and the published ones
    assert {row["source"] for row in rows} == {"", "made up"}


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ([90.0, 91.0], "does not hold at this scale."),
        (
            [101.0, 103.5],
            "shows at this scale too, but the difference is within the spread of repeats.",
        ),
        ([150.0], "shows at this scale too, but the difference is not backed by repeats."),
        ([90.0], "does not hold at this scale (the difference here is not backed by repeats)."),
    ],
)
def test_a_published_order_is_not_confirmed_by_noise(rates: list[float], words: str) -> None:
    figure = draw("phase_time", study(colbert__none=[100.0, 102.0], ragatouille_faiss_true__none=rates))
    assert figure.notes[0].endswith(f"that RAGatouille encodes more slowly {words}")


def test_without_a_run_without_a_profiler_no_time_is_told(tmp_path: Path) -> None:
    runs = study(colbert__spans=[100.0])
    runs.append(tables.run(FAISS, 300, "none", outcome="out_of_memory_host"))
    figure = draw("phase_time", runs)
    assert figure.title == "No run without a profiler completed, so no time can be told"
    assert "1 out of memory (host)" in texts_of(figure, tmp_path)


def test_published_times_are_not_needed(tmp_path: Path) -> None:
    runs = study(colbert__none=[100.0], ragatouille_faiss_true__none=[150.0], colbert__spans=[110.0])
    for name in ("phase_time", "profiler_cost"):
        figure = draw(name, runs, published=[])
        assert figure.is_finding
        assert "ublished" not in " ".join([figure.title, figure.support, *figure.notes])
        texts_of(figure, tmp_path)


# Cost of each profiler


def test_profiler_cost_is_a_ratio_of_medians_beside_the_spread_of_none(tmp_path: Path) -> None:
    runs = study(
        colbert__none=[98.0, 100.0, 104.0],
        colbert__spans=[103.0, 103.0],
        colbert__memory_profiler=[200.0, 210.0],
        ragatouille_faiss_true__none=[50.0, 50.0],
        ragatouille_faiss_true__memory_profiler=[300.0, 310.0],
    )
    figure = draw("profiler_cost", runs)
    encoding = figure.rows[figure.rows["quantity"] == RATE]
    by_name = encoding.drop_duplicates(["series", "profiler"]).set_index(["series", "profiler"])
    colbert = by_name.loc[("ColBERT", "memory_profiler")]
    assert (colbert["median_ratio"], colbert["least_ratio"], colbert["most_ratio"]) == (2.05, 2.0, 2.1)
    assert (colbert["published_ratio"], colbert["verdict"]) == (2.0, "beyond none")
    assert by_name.loc[("ColBERT", "spans"), "verdict"] == "within none"  # 1.03, inside 0.98 to 1.04
    assert pd.isna(by_name.loc[("ColBERT", "spans"), "published_ratio"])
    assert sorted(encoding["ratio"]) == [1.03, 1.03, 2.0, 2.1, 6.0, 6.2]
    assert figure.title == (
        "memory_profiler makes encoding 2.05 to 6.10 times as long as without a profiler, spans 1.03 times; the peak "
        "changes by +0 %"
    )
    assert figure.support == (
        "Outside the range of repeats without a profiler: encoding 2 of 3, index call 2 of 3 and peak memory of the "
        "process tree 0 of 3."
    )
    assert figure.notes[0] == (
        "Published (RTX 6000 Ada): with memory_profiler encoding takes 2.0 times as long for ColBERT and 10.0 for "
        "RAGatouille. Here 2.05 (ColBERT) and 6.10 (RAGatouille, use_faiss=True): that RAGatouille pays more holds at "
        "this scale."
    )
    texts = texts_of(figure, tmp_path)
    assert ">2.05<" in texts
    assert ">published 10.0<" in texts


def test_one_run_without_a_profiler_leaves_the_spread_unknown() -> None:
    figure = draw("profiler_cost", study(colbert__none=[100.0], colbert__memory_profiler=[300.0, 310.0]))
    assert set(figure.rows["verdict"]) == {"not known"}
    assert figure.support == (
        "No system was repeated without a profiler, so what repeats differ by anyway is not known."
    )
    assert figure.notes[0] == ""  # one framework: no order to confirm


def test_a_profiler_that_costs_rag_less_does_not_confirm_the_published_order() -> None:
    runs = study(
        colbert__none=[100.0, 100.0],
        colbert__memory_profiler=[400.0, 410.0],
        ragatouille_faiss_true__none=[100.0, 100.0],
        ragatouille_faiss_true__memory_profiler=[200.0, 210.0],
    )
    assert (
        draw("profiler_cost", runs)
        .notes[0]
        .endswith("that RAGatouille pays more does not hold at this scale.")
    )


def test_without_a_profiler_there_is_no_cost() -> None:
    figure = draw("profiler_cost", study(colbert__none=[100.0]))
    assert not figure.is_finding
    assert "both with and without a profiler" in figure.caption
    killed = tables.run("colbert", 300, "spans", outcome="killed")
    assert not draw("profiler_cost", [*study(colbert__none=[100.0]), killed]).is_finding


def test_where_no_time_is_known_the_peak_is_told() -> None:
    runs = [
        tables.run("colbert", 300, profiler, repeat, peak=peak, index_seconds=None, **{RATE: None})
        for profiler, repeat, peak in [("none", 1, 1000.0), ("none", 2, 1000.0), ("spans", 1, 1100.0)]
    ]
    figure = draw("profiler_cost", runs)
    assert figure.title == "Profilers change the peak by +10 %"
    assert set(figure.rows["quantity"]) == {"tree_peak_rss_mib"}


def test_colours_of_phases_have_no_other_meaning() -> None:
    used = [
        *[colour for _, colour in phase_time.SEGMENTS.values()],
        *common.system_scale(pd.DataFrame({"series": [str(number) for number in range(9)]})).range,
        *common.ROLE_COLOURS.values(),
        *artifact_comparison.VERDICTS.values(),
        common.ALARM,
    ]
    assert len(used) == len(set(used))


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0164, "0.016 s"), (1.234, "1.23 s"), (65.84, "65.8 s"), (184.9, "185 s"), (12345.0, "12,345 s")],
)
def test_seconds_have_about_three_digits(value: float, words: str) -> None:
    assert common.seconds(value) == words


# Published times


def test_the_published_times_are_those_of_the_posts() -> None:
    rows = list(published_rows(PUBLISHED))
    frame = tables.frame("published_encode_seconds", rows)
    assert common.published_encoding(frame, "none") == {"colbert": 9.0, "ragatouille": 12.0}
    assert common.published_encoding(frame, "memory_profiler") == {"colbert": 20.0, "ragatouille": 110.0}
    assert {row["gpu"] for row in rows} == {"RTX 6000 Ada", "A100", "T4"}
    assert all(row["source"].startswith("V. Bakshi") for row in rows)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("framework,profiler\n", "lacks the column gpu"),
        (f"framework,profiler,gpu,{RATE},source\ncolbert,none,T4,fast,x\n", "line 2: .* is 'fast'"),
        (f"framework,profiler,gpu,{RATE},source\ncolbert,none,T4,-1,x\n", "line 2: .* is '-1'"),
    ],
)
def test_a_bad_published_table_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        list(published_rows(path))
    with pytest.raises(InputError, match="cannot be read"):
        list(published_rows(tmp_path / "none.csv"))


def test_the_program_writes_the_table_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "table.parquet"
    monkeypatch.setattr(sys, "argv", ["x", str(PUBLISHED), "--output", str(output)])
    program.main()
    assert len(pd.read_parquet(output)) == 7
    monkeypatch.setattr(
        sys, "argv", ["x", str(tmp_path / "no.csv"), "--output", str(tmp_path / "no.parquet")]
    )
    with pytest.raises(SystemExit, match="cannot be read"):
        program.main()
    assert not (tmp_path / "no.parquet").exists()


def test_a_specification_is_plain_json() -> None:
    runs = study(colbert__none=[100.0, 102.0], colbert__memory_profiler=[200.0])
    for name in ("phase_time", "profiler_cost"):
        json.dumps(draw(name, runs).specification(), allow_nan=False)
