"""What was published of PyTorch versions, beside made-up measurements with known answers."""

from __future__ import annotations

import csv
import runpy
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import tables
import torch_tables
import yaml
from indexscope import schemas
from indexscope.analysis import torch_published
from indexscope.run_record import InputError
from indexscope.settings.torch_versions import HubQueries, TorchVersions
from torch_tables import PAIR

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "config" / "published"
AUTOCAST = ("2.4.1", "2.5.0")
NORMALIZE = ("2.7.1", "2.8.0")


def runs(*versions: str, **columns: Any) -> list[tables.Row]:
    """Two runs of each version."""
    return [
        tables.run(
            f"torch_{version.replace('.', '_')}", 1000, "dumps", repeat,
            framework="colbert", environment=f"torch-{version}", threads=1, **columns,
        )
        for version in versions
        for repeat in (1, 2)
    ]  # fmt: skip


def compared(made: Mapping[str, list[tables.Row]], folder: Path = FOLDER) -> pd.DataFrame:
    measured = torch_published.Measured({name: made.get(name, []) for name in torch_published.TABLES})
    return torch_tables.frame("torch_published", torch_published.published_rows(folder, measured))


def study(**columns: Any) -> dict[str, list[tables.Row]]:
    return torch_tables.study() | {"torch_runs": runs(*PAIR, **columns)}


def row(rows: pd.DataFrame, pair: tuple[str, str], quantity: str, topic: str | None = None) -> Any:
    found = rows[
        (rows["left_version"] == pair[0])
        & (rows["right_version"] == pair[1])
        & (rows["quantity"] == quantity)
    ]
    if topic:
        found = found[found["topic"] == topic]
    assert len(found) == 1, found
    return found.iloc[0]


def test_every_published_pair_is_a_row_whether_measured_or_not() -> None:
    rows = compared({})
    assert rows["ours"].isna().all() and rows["agrees"].isna().all() and rows["our_conditions"].isna().all()
    pairs = set(zip(rows["left_version"], rows["right_version"], strict=True))
    published = {
        (each["left_version"], each["right_version"])
        for path in FOLDER.glob("torch_*.csv")
        for each in csv.DictReader(path.open())
        if "left_version" in each
    }
    assert published <= pairs
    assert len(published) >= 19  # 18 steps of the chain, and 1.13.1 with 2.1.0
    assert not rows.duplicated(
        ["topic", "left_version", "right_version", "quantity", "published_conditions"]
    ).any()
    assert Counter(rows["topic"]).keys() == {"artifacts", "injection", "search", "operator", "layers"}


def test_conditions_of_both_sides_are_said() -> None:
    codes = row(compared(study()), PAIR, "codes")
    assert codes["published_conditions"] == "69,199 passages, CUDA autocast (float16), NVIDIA L4 (Modal)"
    assert codes["our_conditions"] == (
        "1,000 documents of synthetic, synthetic_small, float32, cpu (Intel(R) Xeon(R) Processor @ 2.90GHz, AVX512), "
        "1 thread"
    )


def test_an_artifact_agrees_where_both_change_or_both_do_not() -> None:
    made = study()
    rows = compared(made)
    assert row(rows, PAIR, "ivf")["published"] == "shape differs"
    assert row(rows, PAIR, "ivf")["agrees"] is True
    assert row(rows, PAIR, "avg_residual")["published"] == "within bitsandbytes tolerance"
    assert row(rows, PAIR, "avg_residual")["agrees"] is True
    made["torch_artifacts"] = torch_tables.artifacts(
        PAIR, {"avg_residual": "within tolerance", "ivf": "differs", "centroids": "within tolerance"}
    )
    rows = compared(made)
    assert row(rows, PAIR, "ivf")["agrees"] is True  # it changes; its shape is not asked for
    for name in ("avg_residual", "centroids", "codes"):
        assert row(rows, PAIR, name)["agrees"] is False, name
    assert row(rows, PAIR, "sample_pids (intermediate)")["agrees"] is True


def test_failed_runs_and_unmeasured_pairs_agree_with_nothing() -> None:
    rows = compared(study() | {"torch_artifacts": torch_tables.failed_artifacts(PAIR)})
    codes = row(rows, PAIR, "codes")
    assert codes["ours"] == "run failed" and codes["agrees"] is None
    assert pd.isna(row(rows, NORMALIZE, "codes")["ours"])


def test_overwritten_artifacts_are_compared_at_their_last_call() -> None:
    made = study()
    calls = [
        torch_tables.artifact(PAIR, "batches", verdict, stage=stage, chunk=chunk, call=call)
        for stage, chunk, call, verdict in [
            ("encoding", "0", 10, "equal"),
            ("encoding", "0", 9, "differs"),
            ("planning", "-", 99, "differs"),
        ]
    ]
    made["torch_artifacts"] = calls
    batches = row(compared(made), PAIR, "batches (intermediate)")
    assert batches["ours"] == "equal" and batches["agrees"] is False
    assert batches["published_conditions"].endswith("(the last of several calls)")


def test_a_whole_index_within_tolerance_says_it_of_each_artifact() -> None:
    pair = ("2.1.0", "2.1.1")
    made = {
        "torch_artifacts": torch_tables.artifacts(pair, {"centroids": "differs"}),
        "torch_runs": runs(*pair),
    }
    rows = compared(made)
    assert row(rows, pair, "codes")["published"] == "equal" and row(rows, pair, "codes")["agrees"] is True
    assert row(rows, pair, "centroids")["agrees"] is False
    assert row(rows, pair, "codes")["published_conditions"].endswith("said of all 12 tensors together")
    files = row(rows, pair, "index files")
    assert (files["published"], files["ours"], files["agrees"]) == (
        "10 of 10 within tolerance",
        "7 of 8 within tolerance",
        False,
    )


def test_injections_agree_where_both_match_or_both_do_not() -> None:
    made = study()
    both = "local_sample_embs + embs"
    rows = compared(made)
    final = row(rows, PAIR, both)
    assert final["ours"] == "all final artifacts match" and final["agrees"] is True
    assert row(rows, PAIR, f"{both}: sort_indices")["agrees"] is True
    made["torch_artifacts"] += torch_tables.artifacts(
        NORMALIZE, {"residuals": "differs"}, kind="injection", injected="postnorm_centroids"
    )
    left_over = row(compared(made), NORMALIZE, "postnorm_centroids")
    assert left_over["ours"] == "residuals differ" and left_over["agrees"] is False


@pytest.mark.parametrize(("verdict", "agrees"), [("within chance", True), ("beyond chance", False)])
def test_search_agrees_where_both_notice_or_both_do_not(verdict: str, agrees: bool) -> None:
    made = study()
    for each in made["torch_search"]:
        if each["measure"] == "MRR@10" and each["comparison"] == "own index":
            each["verdict"] = verdict
    found = row(compared(made), PAIR, "MRR@10 change, own index")
    assert found["published"] == "+0.005: 11 queries up, 254 equal, 6 down (sign test of these: p = 0.33)"
    assert found["published_value"] == 0.005
    assert found["agrees"] is agrees
    passages = row(compared(made), PAIR, "differing passages of a query, own index")
    assert (passages["published_value"], passages["agrees"]) == (1.23, True)


def test_the_sign_test_knows_its_answers() -> None:
    assert torch_published.sign_test(0, 0) == 1
    assert torch_published.sign_test(2, 1) == 1
    assert torch_published.sign_test(0, 3) == pytest.approx(0.25)
    assert torch_published.sign_test(0, 10) == pytest.approx(2 / 1024)


def test_operators_agree_by_what_diverges() -> None:
    made = study()
    rows = compared(made)
    encoder = row(rows, PAIR, "encoder")
    assert encoder["ours"] == "diverges for 22 of 22 inputs, first in aten.softmax.int"
    assert encoder["agrees"] is True
    for name, words in (("softmax", "bits change"), ("matmul", "same bits"), ("sort", "bits change")):
        assert row(rows, PAIR, f"{name} on a CPU")["published"] == words
        assert row(rows, PAIR, f"{name} on a CPU")["agrees"] is True
    # One input that does not diverge contradicts "any input"; equal gelu contradicts a changed one.
    one = next(
        each for each in made["torch_divergence"] if each["left_version"] == PAIR[0] != each["right_version"]
    )
    one |= {"verdict": "equal", "first_operator": None, "guilty": ""}
    made["torch_operators"] = torch_tables.operators(PAIR, torch_tables.cases()[0], ["aten.softmax.int"])
    rows = compared(made)
    assert row(rows, PAIR, "encoder")["ours"].startswith("diverges for 21 of 22 inputs")
    assert row(rows, PAIR, "encoder")["agrees"] is False
    assert row(rows, PAIR, "gelu on a CPU")["agrees"] is False


def test_a_statement_on_cuda_autocast_needs_a_run_of_it() -> None:
    float32 = [
        torch_tables.divergence(AUTOCAST, case, ["aten.addmm.default"]) for case in torch_tables.cases()
    ]
    made = {"torch_divergence": float32, "torch_runs": runs(*AUTOCAST)}
    assert pd.isna(row(compared(made), AUTOCAST, "encoder")["ours"])
    cases = torch_tables.cases("cuda_autocast_float16")
    made["torch_divergence"] = [
        torch_tables.divergence(AUTOCAST, case, ["aten.addmm.default"] * (case["batch_size"] == 8))
        for case in cases
    ]
    rows = compared(made)
    assert row(rows, AUTOCAST, "encoder")["agrees"] is True
    assert row(rows, AUTOCAST, "embeddings, cuda_autocast_float16, batch 8")["agrees"] is True
    assert row(rows, AUTOCAST, "embeddings, cuda_autocast_float16, batch 32")["agrees"] is True


def test_an_output_within_a_tolerance_is_not_contradicted_by_unequal_bits() -> None:
    cases = [torch_tables.divergence(AUTOCAST, case, ["aten.addmm.default"]) for case in torch_tables.cases()]
    found = row(compared({"torch_divergence": cases}), AUTOCAST, "embeddings, float32, batch 32")
    assert (found["published"], found["ours"], found["agrees"]) == (
        "within the default tolerance",
        "differs",
        None,
    )


def test_layers_are_compared_by_their_median_over_inputs() -> None:
    pair = ("1.13.1", "2.1.0")
    layers = [
        each
        for start, case in zip((1e-8, 2e-8, 9e-8), torch_tables.cases(), strict=False)
        for each in torch_tables.layers(pair, case, start)
    ]
    found = row(compared({"torch_layers": layers}), pair, "bert.encoder.layer.0: mean absolute difference")
    assert found["published_value"] == 2.8141e-08
    assert found["our_value"] == pytest.approx(2e-8 * 1.04)
    assert found["agrees"] is True


def test_counts_and_artifacts_of_the_published_tables_agree() -> None:
    artifacts = list(csv.DictReader((FOLDER / "torch_artifacts.csv").open()))
    for counted in csv.DictReader((FOLDER / "torch_index_comparison.csv").open()):
        versions = (counted["left_version"], counted["right_version"])
        final = {
            each["artifact"]: each["within_tolerance"] == "true"
            for each in artifacts
            if (each["left_version"], each["right_version"]) == versions and each["stage"] == "final"
        }
        if counted["passages"] == "69199" and final:
            # Three chunks have three files of codes and of residuals.
            assert int(counted["within_tolerance"]) == sum(
                within * (3 if name in ("codes", "residuals") else 1) for name, within in final.items()
            )


def test_the_published_grid_is_that_of_the_study() -> None:
    """Laid over the default as Snakemake does, key by key."""
    default = TorchVersions().model_dump(mode="json")
    given = yaml.safe_load((ROOT / "config" / "published.yaml").read_text())["torch_versions"]
    settings = TorchVersions(**{**default, **given, "queries": {**default["queries"], **given["queries"]}})
    assert isinstance(settings.queries, HubQueries)
    assert settings.documents == torch_published.read_study(FOLDER)["passages"] == 69_199
    steps = {(pair.left, pair.right) for pair in settings.compared()}
    counted = csv.DictReader((FOLDER / "torch_index_comparison.csv").open())
    assert steps == {(each["left_version"], each["right_version"]) for each in counted}
    with pytest.raises(ValueError, match="words"):  # not the default's: somebody meant it
        TorchVersions(**{**default, "queries": {**given["queries"], "words": 3}})


def test_the_program_writes_the_table_and_errors_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch_tables.write(tmp_path / "tables", study())
    output = tmp_path / "torch_published.parquet"

    def run(folder: Path) -> None:
        arguments = ["--published", folder, "--tables", tmp_path / "tables", "--output", output]
        monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
        runpy.run_path(str(ROOT / "workflow/scripts/tabulate_torch_published.py"), run_name="__main__")

    run(FOLDER)
    table = pq.read_table(output)
    assert table.schema.names == schemas.TORCH_PUBLISHED.names
    assert table.num_rows > 300
    first = output.read_bytes()
    run(FOLDER)
    assert output.read_bytes() == first
    output.unlink()
    folder = Path(shutil.copytree(FOLDER, tmp_path / "published"))
    injections = folder / "torch_injections.csv"
    injections.write_text(injections.read_text().replace(",final,true,", ",final,perhaps,", 1))
    with pytest.raises(
        SystemExit, match=r"torch_injections\.csv: line 4: 'perhaps' is neither true nor false"
    ):
        run(folder)
    assert not output.exists()
    injections.write_text("left_version\n")
    with pytest.raises(InputError, match=r"torch_injections\.csv: lacks the column right_version"):
        compared({}, folder)
    (folder / "torch_study.yaml").unlink()
    with pytest.raises(SystemExit, match=r"torch_study\.yaml: cannot be read"):
        run(folder)
