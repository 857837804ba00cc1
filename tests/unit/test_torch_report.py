"""The report of torch_versions says what its tables say, and each page shows the figures of its own experiment."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

import altair as alt
import pandas as pd
import pytest
import tables
import torch_tables
from indexscope.figures import catalog, common, files
from indexscope.report import page, torch_versions
from indexscope.run_record import InputError
from test_torch_published import runs
from torch_tables import PAIR

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "report.py"
Tables = dict[str, list[tables.Row]]


def draw(directory: Path, *names: str) -> None:
    """Figures with a chart that takes no time."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(files.vl_convert, "vegalite_to_svg", lambda *arguments, **options: "<svg/>")
        for name in names:
            rows = pd.DataFrame({"system": ["a"], "value": [1.5]})
            chart = alt.Chart(rows).mark_bar().encode(x="value:Q")
            texts = (f"Title of {name}", "Conditions", "Support", [], f"Caption of {name}")
            files.save(common.Figure(chart, rows, *texts), directory / name)


def study() -> Tables:
    return torch_tables.study() | {"torch_runs": runs(*PAIR)}


def measured(made: Mapping[str, list[tables.Row]]) -> torch_versions.Measured:
    return torch_versions.Measured(
        **{name: torch_tables.frame(name, made.get(name, ())) for name in torch_versions.TABLES}
    )


def text_of(html: str) -> str:
    html = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    return text.replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")


def write(directory: Path, made: Tables, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the program on `made`; returns the page."""
    torch_tables.write(directory / "tables", made)
    if not (directory / "figures").exists():
        draw(directory / "figures", *catalog.TORCH_FIGURES, "peak_memory")
    (directory / "configuration.yaml").write_text("torch_versions: {documents: 1000}\n")
    output = directory / "torch_versions.html"
    arguments = [
        "--experiment",
        "torch_versions",
        "--tables",
        directory / "tables",
        "--figures",
        directory / "figures",
    ]
    arguments += ["--configuration", directory / "configuration.yaml", "--output", output]
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as monkeypatch:
        return write(tmp_path_factory.mktemp("torch"), study(), monkeypatch)


def test_the_first_screen_says_what_was_run_and_what_was_found(html: str) -> None:
    first = text_of(html.partition("</header>")[0])
    for words in (
        "PyTorch 2.0.1 and 2.1.0 · 1,000 documents · corpus synthetic · checkpoint synthetic_small · cpu · float32.",
        "4 completed",
        "From PyTorch 2.0.1 to 2.1.0, 8 of 9 final artifacts change.",
        "The noise floor is zero: repeats of 2.0.1 and 2.1.0 are equal bit for bit in every artifact.",
        "In float32, aten.softmax.int in layer.0 is the first to differ for equal input, by at most 6e-08 "
        "(1 ULP), the same for all 22 inputs, whatever their tokens.",
        "From 2.0.1 → 2.1.0, “local_sample_embs + embs” of the older version makes all final artifacts equal, bit for "
        "bit.",
        "With local_sample_embs, residuals still differ;",
        "no change is beyond chance in any of 3 comparisons.",
        "1 thread, allocator default",
        "documents 1,000 69,199",
    ):
        assert words in first, words


def test_every_link_within_the_page_leads_somewhere_and_nothing_else_is_needed(html: str) -> None:
    references = tables.references(html)
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert {each[1:] for each in references if each.startswith("#")} <= set(identifiers)
    assert len(identifiers) == len(set(identifiers))
    assert [each for each in references if not each.startswith(("data:", "#"))] == []


def test_each_page_shows_the_figures_of_its_own_experiment(html: str, tmp_path: Path) -> None:
    assert re.findall(r'data-chart="(\w+)"', html.partition("<script")[0]) == list(catalog.TORCH_FIGURES)
    draw(tmp_path, "peak_memory", "torch_search", "torch_artifacts", "another")
    assert [figure.name for figure in page.read_figures(tmp_path)] == ["peak_memory", "another"]
    own = page.read_figures(tmp_path, page.TORCH_VERSIONS)
    assert [(figure.category, figure.name) for figure in own] == [
        ("Artifacts", "torch_artifacts"),
        ("Search", "torch_search"),
        ("Other figures", "another"),
    ]


def test_figures_of_another_experiment_alone_are_none(tmp_path: Path) -> None:
    draw(tmp_path, "peak_memory")
    with pytest.raises(InputError, match=r"holds no figure; draw some first \(snakemake torch_versions\)"):
        page.read_figures(tmp_path, page.TORCH_VERSIONS)


def test_a_version_that_differs_from_itself_is_said_first() -> None:
    made = study()
    made["torch_artifacts"] += torch_tables.artifacts(
        ("2.0.1", "2.0.1"), {"embs": "differs"}, kind="repeat", calls=1
    )
    sentence, support = torch_versions.what_changes(measured(made))
    assert sentence.startswith("PyTorch 2.0.1 differs from itself in 1 of ")
    assert "so what follows is not of the version alone. From PyTorch 2.0.1 to 2.1.0, 8 of " in sentence
    assert "The noise floor is zero: repeats of 2.1.0 are" in support


def test_without_repeats_the_noise_floor_is_not_known() -> None:
    made = {"torch_artifacts": torch_tables.artifacts(PAIR)}
    sentence, support = torch_versions.what_changes(measured(made))
    assert sentence == "From PyTorch 2.0.1 to 2.1.0, all 9 final artifacts are equal bit for bit"
    assert support.startswith("No version was repeated")


def test_the_chain_names_the_steps_that_change_and_what_could_not_be_compared() -> None:
    made = torch_tables.chain(failed="2.2.1")
    made["torch_runs"] = runs(*(version for version in torch_tables.VERSIONS if version != "2.2.1"))
    of = measured(made)
    sentence, support = torch_versions.what_changes(of)
    assert sentence == (
        "The index changes in 3 of 16 steps, by 2.0.1 → 2.1.0 (8 of 9), 2.4.1 → 2.5.0 (8 of 9) and 2.7.1 → 2.8.0 "
        "(2 of 9) final artifacts"
    )
    assert "2 steps could not be compared (2.2.0 → 2.2.1 and 2.2.1 → 2.2.2)." in support
    operator, steps = torch_versions.first_operator(of)
    assert "from 2.4.1 → 2.5.0, aten.addmm.default in layer.0 is the first" in operator
    assert "for 7 of 22 inputs; none for 15" in operator
    assert "After encoding, the first is torch.nn.functional.normalize (2.7.1 → 2.8.0)." in steps
    assert torch_versions.summary(of).startswith("19 versions of PyTorch, 1.13.1 to 2.8.0 · 1,000 documents")


def test_an_operator_that_differs_from_itself_is_told() -> None:
    own = torch_tables.divergence(("2.0.1", "2.0.1"), torch_tables.cases()[0], ["aten.gelu.default"])
    made = study()
    across = [each for each in made["torch_divergence"] if each["left_version"] != each["right_version"]]
    made["torch_divergence"] = [own, *across]
    _, support = torch_versions.first_operator(measured(made))
    assert "1 of 1 inputs differ, so this is not of the version alone." in support


def test_why_operators_differ_is_told() -> None:
    made = study()
    for version, row in zip(("2.0.1", "2.1.0"), made["torch_environments"], strict=True):
        row |= {"version": version, "cpu_capability": {"2.0.1": "AVX2", "2.1.0": "AVX512"}[version]}
        row |= {"onednn": {"2.0.1": "v2.7.3", "2.1.0": "v3.1.1"}[version]}
    _, support = torch_versions.first_operator(measured(made))
    assert (
        "Why: aten.softmax.int: other vector instructions (AVX2 → AVX512); "
        "aten.gelu.default: other kernels of oneDNN (v2.7.3 → v3.1.1)." in support
    )
    for row in made["torch_divergence"]:
        row["causes"] = None
    _, support = torch_versions.first_operator(measured(made))
    assert "Why:" not in support


def test_injections_say_what_is_enough_and_what_is_not() -> None:
    rows = [
        torch_tables.injection(PAIR, "", ["codes"]),
        torch_tables.injection(PAIR, "embs", ["codes", "residuals"]),
        torch_tables.injection(PAIR, "local_sample_embs", ["codes"]),
    ]
    sentence, _ = torch_versions.smallest_injection(measured({"torch_injections": rows}))
    assert sentence == (
        "From 2.0.1 → 2.1.0, no injection tried makes all final artifacts equal (local_sample_embs leaves codes)"
    )
    rows[2] |= {"verdict": "all equal up to order", "equal_up_to_order": 9, "differing": "", "smallest": True}
    sentence, _ = torch_versions.smallest_injection(measured({"torch_injections": rows}))
    assert sentence.endswith(
        "“local_sample_embs” of the older version makes all final artifacts equal, up to order"
    )
    plain = [torch_tables.injection(PAIR, "", [])]
    sentence, _ = torch_versions.smallest_injection(measured({"torch_injections": plain}))
    assert sentence == "Nothing needs to be injected: the final artifacts are equal as they are"
    failed = [rows[0] | {"verdict": "run failed"}]
    sentence, _ = torch_versions.smallest_injection(measured({"torch_injections": failed}))
    assert sentence == "What makes the indexes equal is not known: the runs failed"


def test_published_counts_only_what_could_be_checked() -> None:
    rows = [
        torch_tables.published("artifacts", PAIR, "codes", "differs", "differs", True),
        torch_tables.published("artifacts", PAIR, "ivf", "differs", "equal", False),
        torch_tables.published("search", PAIR, "MRR@10 change, own index", "+0.005"),
    ]
    sentence, support = torch_versions.beside_published(measured({"torch_published": rows}))
    assert sentence == "1 of 2 published statements that could be checked hold here (artifacts 1 of 2)"
    assert support.startswith("1 more were not measured here.")


def test_environments_that_are_missing_and_failed_runs_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = study()
    made["torch_environments"][1] = torch_tables.environment("2.1.0", "failed", "no wheel for this machine")
    made["torch_runs"] = runs("2.0.1") + runs("2.1.0", outcome="failed", outcome_detail="no environment")
    first = text_of(write(tmp_path, made, monkeypatch).partition("</header>")[0])
    assert "1 environment not there" in first
    assert "PyTorch 2.1.0 has no environment: no wheel for this machine." in first
    assert "2 failed" in first
    assert "ended as failed" not in first  # without the environment they could not but fail


def test_empty_tables_make_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(write(tmp_path, {}, monkeypatch))
    assert "Nothing was run: the table of environments is empty." in text
    assert "No run completed, so nothing can be said about any index." in text


def test_limits_follow_from_the_rows() -> None:
    limits = " ".join(torch_versions.limits(measured(study())))
    for words in (
        "Synthetic here: corpus and checkpoint.",
        "Nothing ran on a GPU",
        "No operator was replayed in CUDA autocast (float16): no CUDA device.",
        "1,000 documents, not the published 69,199",
        "(AVX512)",
        "Equal repeats (2 of a version)",
    ):
        assert words in limits, words
    made = study()
    columns = {"corpus": "conditionalqa", "checkpoint": "answerai", "device": "cuda", "documents": 69_199}
    made["torch_runs"] = [each | columns for each in runs(*PAIR)]
    made["torch_environments"][1]["mkl"] = "2024.1"
    limits = " ".join(torch_versions.limits(measured(made)))
    assert "Synthetic" not in limits and "GPU:" not in limits and "not the published" not in limits
    assert "The environments differ in more than PyTorch: MKL (2022.2 or 2024.1)." in limits
