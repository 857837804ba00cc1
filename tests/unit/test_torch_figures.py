from __future__ import annotations

import copy
import functools
import importlib
import json
import re
import runpy
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
import torch_tables as tables
from indexscope.figures import (
    artifact_comparison,
    common,
    files,
    torch_common,
    torch_first_operator,
    torch_layers,
    torch_search,
)
from indexscope.figures.catalog import FIGURES, TORCH_FIGURES

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
LEFT, RIGHT = tables.PAIR
Tables = dict[str, list[tables.Row]]


def drawn(name: str, rows: Tables) -> common.Figure:
    draw = importlib.import_module(f"indexscope.figures.{name}").draw
    figure: common.Figure = draw(
        *(tables.frame(table, rows.get(table, ())) for table in TORCH_FIGURES[name].tables)
    )
    return figure


@functools.cache
def study() -> Tables:
    return tables.study()


@functools.cache
def chain() -> Tables:
    return tables.chain(failed="2.6.0")


@functools.cache
def of_study(name: str) -> common.Figure:
    """The figure of the default configuration, drawn once for all tests that only read it."""
    return drawn(name, study())


@functools.cache
def of_chain(name: str) -> common.Figure:
    """The figure of 19 versions, one of which has no environment."""
    return drawn(name, chain())


def changed(**replaced: list[tables.Row]) -> Tables:
    """The tables of the study with some replaced."""
    return copy.copy(study()) | replaced


def texts_of(figure: common.Figure, directory: Path) -> list[str]:
    """The lines of text in the SVG."""
    files.save(figure, directory / "figure")
    root = ElementTree.parse(directory / "figure.svg").getroot()
    found = root.iter("{http://www.w3.org/2000/svg}text")
    return [line for text in found for line in ([part.text or "" for part in text] or [text.text or ""])]


def notes_of(figure: common.Figure) -> str:
    return " ".join([figure.conditions, figure.support, *figure.notes])


def datasets(figure: common.Figure) -> list[tables.Row]:
    """All rows that the specification draws."""
    return [row for rows in figure.specification()["datasets"].values() for row in rows]


# All figures


def test_the_catalogs_name_each_figure_once() -> None:
    assert not set(FIGURES) & set(TORCH_FIGURES)
    for entry in TORCH_FIGURES.values():
        assert set(entry.tables) <= set(tables.NAMES)


@pytest.mark.parametrize("name", TORCH_FIGURES)
def test_without_any_row_a_figure_says_so(name: str, tmp_path: Path) -> None:
    figure = drawn(name, {})
    assert not figure.is_finding
    assert figure.rows.empty
    assert len(figure.rows.columns) > 4
    assert figure.caption in texts_of(figure, tmp_path)


@pytest.mark.parametrize("name", TORCH_FIGURES)
@pytest.mark.parametrize("draw", [of_study, of_chain])
def test_a_figure_fits_a_page_and_stays_small(draw: Any, name: str, tmp_path: Path) -> None:
    figure = draw(name)
    texts = texts_of(figure, tmp_path)
    svg = (tmp_path / "figure.svg").read_text()
    assert len(svg) < 300_000
    width = re.search(r'<svg[^>]* width="([\d.]+)"', svg)
    assert width is not None
    assert float(width[1]) <= common.WIDEST + 2 * common.THEME["padding"]
    shown = " ".join(texts)
    assert " ".join(figure.title.split()) in " ".join(shown.split())
    assert "nan" not in re.split(r"[^a-z]+", shown.lower())
    assert "nan" not in re.split(r"[^a-z]+", (figure.title + notes_of(figure)).lower())


@pytest.mark.parametrize("name", ["torch_artifacts", "torch_first_operator", "torch_search"])
def test_a_figure_is_the_same_whatever_was_drawn_before(name: str) -> None:
    def words(figure: common.Figure) -> str:
        return json.dumps([figure.title, notes_of(figure), figure.rows.to_csv(index=False)])

    assert words(drawn(name, study())) == words(of_study(name))


def test_no_colour_has_two_meanings() -> None:
    series = pd.DataFrame({"series": [str(number) for number in range(9)]})
    first_operator = [
        colour
        for state, colour in torch_first_operator.COLOURS.items()
        if state not in ("equal", "differs first")
    ]
    used = [
        *common.system_scale(series).range,
        *common.ROLE_COLOURS.values(),
        *torch_common.VERDICTS.values(),
        *torch_layers.INPUT_COLOURS.values(),
        *first_operator,
        *(torch_search.UP, torch_search.DOWN, torch_common.UNSUPPORTED, common.ALARM),
    ]
    assert [colour for colour, uses in Counter(used).items() if uses > 1] == []
    for verdict, colour in artifact_comparison.VERDICTS.items():
        assert torch_common.VERDICTS[verdict] == colour


@pytest.mark.parametrize("name", TORCH_FIGURES)
def test_the_program_draws_from_tables(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tables.write(tmp_path / "tables", study())
    output = tmp_path / "figures" / name
    monkeypatch.setattr(sys, "argv", ["plot.py", name, "--tables", str(directory), "--output", str(output)])
    runpy.run_path(str(SCRIPTS / "plot.py"), run_name="__main__")
    assert {path.suffix for path in output.parent.iterdir()} == {".svg", ".html", ".csv"}


# Artifacts


def cell(figure: common.Figure, column: str, row: str) -> tables.Row:
    (found,) = [each for each in datasets(figure) if each.get("column") == column and each.get("row") == row]
    return found


def test_artifacts_of_the_default_pair() -> None:
    figure = of_study("torch_artifacts")
    assert figure.title == "2.0.1 → 2.1.0 changes 8 of 9 final artifacts"
    rows = len(tables.artifacts(tables.PAIR)) * 2
    assert f"each of 2 versions run twice makes all {rows} artifacts equal" in figure.support
    assert "batches (planning) in 2.0.1 → 2.1.0" in notes_of(figure)
    assert "Of 8 final artifacts that change, 2 are within bitsandbytes’ only." in notes_of(figure)
    assert cell(figure, "2.0.1\n→ 2.1.0", "final/ivf")["words"] == "shape"
    assert cell(figure, "2.0.1\n→ 2.1.0", "final/codes")["words"] == "83 %"
    assert cell(figure, "2.0.1\nrepeated", "final/codes")["words"] == ""
    assert "injection" not in set(figure.rows["kind"])


def test_chunks_and_calls_fold_to_the_worst() -> None:
    rows = [
        tables.artifact(tables.PAIR, "embs", verdict, stage="encoding", chunk=str(chunk))
        for chunk, verdict in enumerate(["equal", "differs", "within tolerance"])
    ]
    figure = drawn("torch_artifacts", {"torch_artifacts": rows})
    (row,) = common.each_row(figure.rows)
    assert (row.verdict, row.compared, row.settled, row.artifact) == ("differs", 3, 1, "encoding/1/0/embs")


def test_an_artifact_that_differs_in_order_only_is_visible_as_such() -> None:
    stored = tables.artifacts(tables.PAIR, {"ivf": "differs"})
    figure = drawn("torch_artifacts", {"torch_artifacts": stored})
    assert figure.title == "2.0.1 → 2.1.0 changes 1 of 9 final artifacts"
    ordered = tables.artifact(tables.PAIR, "ivf", "equal up to order", compared_as="up to order")
    figure = drawn("torch_artifacts", {"torch_artifacts": [*stored, ordered]})
    assert figure.title == "2.0.1 → 2.1.0 changes only the order of ivf"
    found = cell(figure, "2.0.1\n→ 2.1.0", "final/ivf")
    assert (found["verdict"], found["words"]) == ("equal up to order", "order")
    # What differs up to order too stays as it is stored.
    ordered = tables.artifact(tables.PAIR, "ivf", "differs", compared_as="up to order")
    figure = drawn("torch_artifacts", {"torch_artifacts": [*stored, ordered]})
    assert cell(figure, "2.0.1\n→ 2.1.0", "final/ivf")["verdict"] == "differs"


def test_artifacts_of_the_chain_name_the_steps_and_the_failed_environment() -> None:
    figure = of_chain("torch_artifacts")
    assert figure.title == (
        "3 of 16 steps between PyTorch versions change final artifacts: "
        "2.0.1 → 2.1.0 (8 of 9), 2.4.1 → 2.5.0 (8 of 9) and 2.7.1 → 2.8.0 (2 of 9)"
    )
    assert "PyTorch 2.6.0: environment failed (no wheel of PyTorch for this machine)." in figure.notes
    columns = {row["column"] for row in datasets(figure) if "column" in row}
    assert {"other 18\nrepeated", "2.6.0\nrepeated", "2.5.1\n→ 2.6.0"} <= columns
    assert len(columns) == 20
    # A step that failed failed in its intermediate artifacts too, although they have no rows.
    assert cell(figure, "2.5.1\n→ 2.6.0", "encoding/embs")["verdict"] == "run failed"


def test_a_noise_floor_that_is_not_quiet_is_said() -> None:
    rows = [
        row
        for version in tables.VERSIONS[:5]
        for row in tables.artifacts(
            (version, version), {"sort_indices": "differs"} if version == "2.0.1" else {}, kind="repeat"
        )
    ]
    figure = drawn("torch_artifacts", {"torch_artifacts": rows})
    assert "sort_indices (finalizing)" in figure.support
    assert figure.title.endswith("but for sort_indices (finalizing)")
    assert cell(figure, "2.0.1\nrepeated", "finalizing/sort_indices")["verdict"] == "differs"
    assert cell(figure, "other 4\nrepeated", "finalizing/sort_indices")["verdict"] == "equal"


# Operators


def test_the_first_operator_is_named_and_does_not_depend_on_the_tokens() -> None:
    figure = of_study("torch_first_operator")
    assert figure.title == (
        "2.0.1 → 2.1.0: aten.softmax.int is the first operator that differs, in all 22 inputs encoded (float32)"
    )
    notes = notes_of(figure)
    assert "It does not depend on the tokens: each of 18 shapes and precisions" in notes
    assert "2.0.1 → 2.1.0, float32: aten.gelu.default" in notes
    assert (
        "Why they differ. 2.0.1 → 2.1.0: aten.softmax.int: other vector instructions; "
        "aten.gelu.default: other kernels of oneDNN."
    ) in notes
    assert "Not run here: CUDA autocast, float16 (no CUDA device)." in notes
    assert "each of 2 versions given its own inputs gives equal outputs" in figure.support
    # 14 operators in each of 22 encoded cases in two precisions, 4 index steps; two versions.
    assert f"{2 * (14 * 22 * 2 + 4):,d} operators of 90 cases" in figure.support
    rows = figure.rows
    first = rows[(rows["precision"] == "float32") & (rows["input"] == "text") & rows["is_first"]]
    assert set(first["operator"]) == {"aten.softmax.int"}
    assert set(first["differing_calls"]) == {2}
    # Operators that differ nowhere are not rows.
    assert "aten.bmm.default" not in set(rows["operator"])


def test_one_filling_that_differs_makes_the_tokens_matter() -> None:
    cases = tables.cases(batches=(8,), lengths=(16,), seeds=(1, 2))
    guilty = {case["case"]: ["aten.gelu.default"] * (case["content"] != "2") for case in cases}
    rows = {
        "torch_divergence": [tables.divergence(tables.PAIR, case, guilty[case["case"]]) for case in cases],
        "torch_operators": [
            row for case in cases for row in tables.operators(tables.PAIR, case, guilty[case["case"]])
        ],
    }
    figure = drawn("torch_first_operator", rows)
    assert "It depends on the tokens: in 1 of 1 shapes" in notes_of(figure)
    assert "in 5 of 6 inputs encoded" in figure.title
    (shape,) = [row for row in datasets(figure) if "length" in row]
    assert (shape["words"], shape["state"]) == ("1 of 2", "only some fillings diverge")


def test_first_operators_of_the_chain_keep_shapes_apart() -> None:
    figure = of_chain("torch_first_operator")
    assert "aten.addmm.default in 2.4.1 → 2.5.0 (7 of 22 inputs)" in figure.title
    assert "torch.nn.functional.normalize in 2.7.1 → 2.8.0 (index steps)" in figure.title
    grid = {
        (row["batch"], row["length"]): row["words"]
        for row in datasets(figure)
        if "length" in row and row["operators"] in ("aten.addmm.default", "none")
    }
    assert grid[8, 71] == "2 of 2"
    assert grid[8, 128] == "0 of 2"


def test_without_a_difference_no_operator_is_blamed() -> None:
    cases = tables.cases()
    rows = {
        "torch_divergence": [tables.divergence(tables.PAIR, case) for case in cases],
        "torch_operators": [row for case in cases for row in tables.operators(tables.PAIR, case)],
    }
    figure = drawn("torch_first_operator", rows)
    assert figure.title == "No operator differs, in 22 cases: 2.0.1 → 2.1.0"
    assert len(figure.rows) == 22
    assert figure.rows["operator"].isna().all()


def test_an_operator_that_leaves_the_end_equal_is_told() -> None:
    (case,) = tables.cases()[:1]
    row = tables.divergence(tables.PAIR, case, ["aten.gelu.default"]) | {
        "final_equal": True,
        "same_sequence": False,
    }
    operators = tables.operators(tables.PAIR, case, ["aten.gelu.default"])
    notes = notes_of(drawn("torch_first_operator", {"torch_divergence": [row], "torch_operators": operators}))
    assert (
        "In 1 of 1 cases with an operator that differs, what comes out at the end is equal all the same."
        in notes
    )
    assert "In 1 of 1 cases the versions do not call the same operators" in notes


# Layers


def test_layers_name_the_first_module_and_show_zero_as_zero(tmp_path: Path) -> None:
    figure = of_study("torch_layers")
    assert figure.title.startswith("2.0.1 → 2.1.0, float32: outputs differ from layer 0 on, by at most")
    assert "1,496 outputs equal, bit for bit" in figure.support
    texts = texts_of(figure, tmp_path)
    assert "0" in texts
    assert "bitsandbytes’ atol 1e-06" in texts
    embeddings = [row for row in datasets(figure) if row.get("short") == "embeddings" and "case" in row]
    assert embeddings
    assert all(row["mean_absolute_difference"] == 0 < row["level"] for row in embeddings)


def test_layers_that_are_equal_are_said_not_drawn() -> None:
    rows = tables.layers(tables.PAIR, tables.cases()[0], 0.0)
    figure = drawn("torch_layers", {"torch_layers": rows})
    assert figure.title == "Every layer gives the same output, bit for bit: 2.0.1 → 2.1.0"


def test_many_cases_stay_a_small_picture(tmp_path: Path) -> None:
    cases = tables.cases(lengths=range(20, 60))
    rows = [
        row
        for pair in (tables.PAIR, ("2.4.1", "2.5.0"), ("2.7.1", "2.8.0"))
        for number, case in enumerate(cases)
        for row in tables.layers(pair, case, 1e-8 * (1 + number))
    ]
    figure = drawn("torch_layers", {"torch_layers": rows})
    files.save(figure, tmp_path / "figure")
    assert (tmp_path / "figure.svg").stat().st_size < 300_000
    assert len(figure.rows) == len(rows)
    shown = {row["case"] for row in datasets(figure) if "level" in row and "case" in row}
    assert len(shown) == 40
    assert cases[0]["case"] in shown
    assert cases[-1]["case"] in shown
    assert "Of more than 40 cases, 40 are lines" in notes_of(figure)


# Injections


def test_the_smallest_injection_is_marked(tmp_path: Path) -> None:
    figure = of_study("torch_injections")
    assert figure.title == (
        "Given local_sample_embs + embs of 2.0.1, 2.1.0 makes the same index: all 9 final artifacts are equal"
    )
    assert "2.0.1 → 2.1.0: given local_sample_embs, residuals still differs." in figure.notes
    texts = texts_of(figure, tmp_path)
    assert {"1 of 9 equal", "8 of 9 equal", "all equal: the smallest"} <= set(texts)
    framed = [row["row"] for row in datasets(figure) if row.get("framed")]
    assert framed == ["local_sample_embs + embs"]
    verdicts = figure.rows.set_index(["injected", "name"])["verdict"]
    assert verdicts["local_sample_embs", "residuals"] == "differs"
    assert verdicts["local_sample_embs", "codes"] == "equal"


def test_injections_that_do_not_help_are_said() -> None:
    rows = [row | {"smallest": False} for row in study()["torch_injections"] if " + " not in row["injected"]]
    figure = drawn("torch_injections", changed(torch_injections=rows))
    assert figure.title == "No injection makes all final artifacts equal in 2.0.1 → 2.1.0"


def test_equal_indexes_need_no_injection() -> None:
    rows = [tables.injection(tables.PAIR, name, [], smallest=not name) for name in ("", "embs")]
    artifacts = [
        *tables.artifacts(tables.PAIR),
        *tables.artifacts(tables.PAIR, kind="injection", injected="embs"),
    ]
    figure = drawn("torch_injections", {"torch_injections": rows, "torch_artifacts": artifacts})
    assert figure.title == "Nothing needs an injection: all final artifacts are equal without one"


# Search


def test_search_within_chance_is_not_noticed(tmp_path: Path) -> None:
    figure = of_study("torch_search")
    assert figure.title.startswith(
        "Search does not notice 2.0.1 → 2.1.0: queries change, but their mean by at most"
    )
    assert figure.title.endswith("(MRR@10), within chance (p\u00a0=\u00a00.33)")
    assert "33 % of random sign flips change the mean as much" in notes_of(figure)
    texts = texts_of(figure, tmp_path)
    assert any(text.startswith("11 rise, 6 fall, 183 equal: +0.007") for text in texts)
    assert "1.23 a query" in texts
    circles = [row for row in datasets(figure) if "amount" in row]
    # Every query that changes is in one circle; 6 rows of TORCH_SEARCH without a change have none.
    assert sum(row["count"] for row in circles) == sum(map(len, tables.CHANGES.values())) + 2


def test_search_beyond_chance_is_the_title() -> None:
    figure = drawn("torch_search", changed(**tables.searches(tables.PAIR, p_value=0.0004)))
    assert figure.title.startswith(
        "Search notices 2.0.1 → 2.1.0: MRR@10 changes by +0.007 (own index, p\u00a0<\u00a00.001)"
    )


def test_search_without_a_change() -> None:
    figure = drawn("torch_search", changed(**tables.searches(tables.PAIR, changed=False)))
    assert figure.title == "Search does not notice: no query changes, 2.0.1 → 2.1.0"


def test_failed_searches_are_a_sentence() -> None:
    figure = of_chain("torch_search")
    assert "Search failed in 2.5.1 → 2.6.0 and 2.6.0 → 2.7.0 (exit code 1)." in figure.notes
    failed = [tables.search(tables.PAIR, "own index", "MRR@10", failed=True)]
    figure = drawn("torch_search", {"torch_search": failed})
    assert figure.title == "Whether search notices cannot be told: no search completed"


# Published


def test_published_rows_have_marks_and_both_conditions(tmp_path: Path) -> None:
    figure = of_study("torch_published")
    rows = pd.DataFrame(study()["torch_published"])
    compared = rows["agrees"].notna().sum()
    agree = rows["agrees"].eq(True).sum()
    assert (agree, compared) == (12, 13)
    assert figure.title == "12 of 13 published results agree with what was measured here (2.0.1 → 2.1.0)"
    assert (
        f"Published: a) {tables.PUBLISHED_CONDITIONS}; b) one text, full precision, NVIDIA L4."
        in figure.notes
    )
    assert f"Here: A) {tables.OUR_CONDITIONS}." in figure.notes
    assert len(figure.rows) == len(rows)
    texts = texts_of(figure, tmp_path)
    assert "not measured here" in texts
    assert "equal (A)" in texts
    marks = Counter(row["mark"] for row in datasets(figure) if "mark" in row)
    assert marks["does not agree"] == 1


def test_what_was_not_measured_here_takes_one_line_for_each_pair() -> None:
    rows = [
        tables.published(
            "layers", pair, f"layer {layer}: largest absolute difference", f"{first + layer}e-07"
        )
        for first, pair in ((0, ("1.13.1", "2.1.0")), (3, ("2.4.1", "2.5.0")))
        for layer in range(12)
    ]
    figure = drawn("torch_published", {"torch_published": rows})
    lines = [row["words"] for row in datasets(figure) if row.get("kind") == "untold"]
    assert [line for line in lines if "more results" in line] == [
        "0e-07 (a); 11 more results in the CSV",
        "3e-07 (a); 11 more results in the CSV",
    ]
    assert lines.count("not measured here") == 2
    assert len(figure.rows) == 24


def test_nothing_to_compare_is_no_finding() -> None:
    rows = [row for row in study()["torch_published"] if row["ours"] is None]
    figure = drawn("torch_published", {"torch_published": rows})
    assert figure.title.startswith("Nothing of what was published of PyTorch versions can be compared here")
    assert not figure.is_finding
