"""What runs of remote_indexing cost: estimates from planted sizes, bills from planted records, one row each."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import estimate_cost
import pyarrow.parquet as pq
import pytest
import tabulate_remote_costs
from indexscope import cost, schemas
from indexscope.analysis import remote_costs, remote_estimate
from indexscope.run_record import InputError

CHECKPOINT = {
    "source": "synthetic",
    **{"layers": 2, "hidden_size": 128, "heads": 2, "intermediate_size": 256, "vocab_size": 4096, "dim": 96},
}
RENT: dict[str, Any] = {
    **{"gpu": None, "cores": 2, "start_seconds": 60},
    **{"prices": str(cost.PRICES), "gpus": str(cost.GPUS), "throughput": str(cost.THROUGHPUT)},
}
INDEXER = "colbert.indexing.collection_indexer.CollectionIndexer."
METHODS = ("__init__", "setup", "train", "index", "finalize")  # start-up to finalizing


def cell(**columns: Any) -> dict[str, Any]:
    settings = {"split_documents": True, "max_document_length": 512, "use_faiss": False}
    return {
        "system": "ragatouille_pdfs",
        "framework": "ragatouille",
        "environment": "ragatouille",
        "device": "cpu",
        "split_to": None,
        "settings": settings,
        **columns,
    }


def run_directory(folder: Path, **changes: Any) -> Path:
    """A run of 100 s: 10 s before and after an index call of 90; 1,024 MiB."""
    record: dict[str, Any] = {
        "format": 1,
        "run": {
            **{"system": "ragatouille_pdfs", "cell": "0a1b2c3d", "framework": "ragatouille"},
            **{"environment": "ragatouille", "documents": 40, "profiler": "spans", "repeat": 1},
        },
        "outcome": "completed",
        "threads": 2,
        "started_at": "2026-11-23T10:00:00.000+00:00",
        "wall_seconds": 100.0,
        "memory": {"tree_peak_rss_mib": 1024.0, "index_peak_rss_mib": 1024.0, "tree_peak_moment": "index call"},
        "resolved": {
            **{"device": "cpu", "process_model": "in process", "passages": 60, "embeddings": 6000, "dim": 96},
            **{"nbits": 4, "doc_maxlen": 512, "index_bsize": 32, "kmeans_iterations": 20, "kmeans_backend": "torch"},
            **{"index_seconds": 90.0, "planning_seconds": 20.0, "training_seconds": 30.0},
            **{"encoding_seconds": 25.0, "finalizing_seconds": 5.0, "ranks": 1},
        },
        "hardware": {"gpus": []},
        "place": {"scheduler": None, "granted_mib": None, "attempt": 1, "earlier_attempts": []},
    }  # fmt: skip
    for key, value in changes.items():
        record[key] = {**record[key], **value} if isinstance(value, dict) else value
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    gpu = record["resolved"]["device"] == "cuda"
    lines = []
    for place, method in enumerate(METHODS):
        for function, inner in ((INDEXER + method, 0), ("made.up.call", 1)):
            lines.append(
                {
                    **{
                        "process_id": 7,
                        "role": "parent",
                        "thread": "MainThread",
                        "function": function,
                        "call": 0,
                    },
                    **{
                        "depth": inner,
                        "started_seconds": 10.0 * place + inner,
                        "ended_seconds": 10.0 * place + 5,
                    },
                    **{"start_rss_mib": 100.0, "end_rss_mib": 200.0, "peak_exact": True, "raised": None},
                    "peak_rss_mib": 500.0 + 100 * place,
                    **{"end_anon_mib": 1.0, "end_file_mib": 1.0, "end_shmem_mib": 0.0},
                    "gpu_allocated_mib": 10.0 if gpu else None,
                    # the inner call ends with more reserved than the phase itself
                    "gpu_reserved_mib": 300.0 + 100 * place + 50 * inner if gpu else None,
                    "gpu_peak_mib": 200.0 + 100 * place if gpu else None,
                }
            )
    (folder / "spans.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "run.json"


def documents(path: Path, tokens: float = 300, number: int = 40) -> Path:
    text = "x" * round(tokens * cost.BYTES_PER_TOKEN)
    path.write_text("".join(json.dumps({"document_id": str(n), "text": text}) + "\n" for n in range(number)))
    return path


def estimated(tmp_path: Path, *cells: dict[str, Any], **rent: Any) -> remote_estimate.Estimate:
    return remote_estimate.estimate(
        cells or [cell()],
        documents(tmp_path / "documents.jsonl"),
        CHECKPOINT,
        {"ragatouille_pdfs": "RAGatouille"},
        remote_estimate.Rent.of(json.dumps({**RENT, **rent})),
        cost.read_prices(cost.PRICES).as_of,
    )


def of_runs(tmp_path: Path, *paths: Path, **rent: Any) -> list[dict[str, Any]]:
    """The actual rows."""
    found = estimated(tmp_path, **rent)
    runs = remote_costs.read_runs(paths, {})
    rows = list(remote_costs.cost_rows(runs, found.costs, found.rent.tables))
    return [row for row in rows if row["moment"] == "actual"]


# Before


def test_an_estimate_has_every_system_and_the_recipe(tmp_path: Path) -> None:
    found = estimated(
        tmp_path, cell(), cell(system="colbert_pdfs", framework="colbert", settings={"in_process": True})
    )
    gpus = found.rent.tables.prices.gpus
    assert len(found.gpus) == len(gpus) * (2 + len(cost.RECIPE_TOKENS_A_PAGE))
    cases = {(row["case"], row["system"]) for row in found.gpus}
    assert cases == {
        ("this configuration", "ragatouille_pdfs"),
        ("this configuration", "colbert_pdfs"),
        ("the published recipe", "recipe_500"),
        ("the published recipe", "recipe_800"),
    }
    chosen = {row["system"]: row["gpu"] for row in found.gpus if row["chosen"]}
    assert chosen == {
        **{"ragatouille_pdfs": "T4", "colbert_pdfs": "T4"},
        **{"recipe_500": "A100 40GB", "recipe_800": "A100 40GB"},
    }
    out = [row for row in found.gpus if row["system"] == "recipe_800" and not row["fits"]]
    assert {row["gpu"] for row in out} == {"T4", "L4", "A10"}
    for row in out:
        assert row["first_phase_that_does_not_fit"] == row["phase"] == "training"
        assert row["setting_that_fixes"] == "use_faiss: true"
        assert row["needs_with_it_mib"] < row["memory_mib"] < row["needs_mib"]
    # Both machines: the one that these runs have, and the GPU that would be rented.
    assert [(row["system"], row["machine"]) for row in found.costs] == [
        *[("ragatouille_pdfs", "2 CPU cores"), ("ragatouille_pdfs", "T4")],
        *[("colbert_pdfs", "2 CPU cores"), ("colbert_pdfs", "T4")],
    ]
    for row in found.costs:
        assert row["usd"] == pytest.approx(row["usd_of_gpu"] + row["usd_of_cores"] + row["usd_of_memory"])
        assert (row["documents"], row["passages"], row["start_seconds"]) == (40, 40, 60)
    said = " ".join(found.lines())
    assert "RAGatouille: the smallest GPU that fits is T4" in said
    assert "training does not fit into T4, L4, A10; use_faiss: true would make it fit" in said


def test_a_gpu_that_is_named_is_taken(tmp_path: Path) -> None:
    found = estimated(tmp_path, gpu="L40S")
    assert [row["gpu"] for row in found.gpus if row["chosen"] and row["case"] == "this configuration"] == [
        "L40S"
    ]
    on_gpu = estimated(tmp_path, cell(device="cuda"), gpu="L40S")
    assert [row["machine"] for row in on_gpu.costs] == ["L40S"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"gpu": "RTX 4090"}, "remote_indexing.rent.gpu: 'RTX 4090' is no GPU of"),
        ({"prices": "none.csv"}, "none.csv cannot be read"),
        ({"cores": "two"}, "--rent: "),
    ],
)
def test_a_wrong_rent_is_a_sentence(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        estimated(tmp_path, **change)


# After


def test_a_bill_of_a_run(tmp_path: Path) -> None:
    (row,) = of_runs(tmp_path, run_directory(tmp_path / "run"))
    prices = cost.read_prices(cost.PRICES).usd_per_second
    assert (row["start_seconds"], row["work_seconds"], row["machine"]) == (10, 90, "2 CPU cores")
    assert row["usd_of_cores"] == pytest.approx(100 * 2 * prices["CPU"])
    assert row["usd_of_memory"] == pytest.approx(100 * prices["Memory"])
    assert row["usd_of_gpu"] == 0
    expected = next(each for each in estimated(tmp_path).costs if each["device"] == "cpu")
    assert row["actual_by_estimated"] == pytest.approx(90 / expected["work_seconds"])
    assert "the process tree's peak memory" in row["basis"]


def test_earlier_attempts_cost_too(tmp_path: Path) -> None:
    attempts = [
        {"started_at": "2026-11-23T09:00:00Z", "last_seen_at": "2026-11-23T09:00:40Z", "how": "ended from outside"},
        {"started_at": "2026-11-23T09:10:00Z", "last_seen_at": "2026-11-23T09:10:20Z", "how": "preempted by Slurm"},
        {"started_at": "2026-11-23T09:20:00Z", "last_seen_at": None, "how": "its node failed"},
    ]  # fmt: skip
    place = {"earlier_attempts": attempts, "granted_mib": 2048}
    (row,) = of_runs(tmp_path, run_directory(tmp_path / "run", place=place))
    assert row["work_seconds"] == 90 + 40 + 20
    assert row["host_mib"] == 2048
    assert "with 60 s of 3 earlier attempts" in row["basis"]
    assert "1 of unknown length left out" in row["basis"]
    broken = run_directory(tmp_path / "broken", place={"earlier_attempts": [{"started_at": "early"}]})
    with pytest.raises(InputError, match="earlier_attempts"):
        of_runs(tmp_path, broken)


def test_a_run_that_failed_costs_too(tmp_path: Path) -> None:
    resolved = dict.fromkeys(("index_seconds", "passages", "embeddings", "kmeans_backend"))
    (row,) = of_runs(
        tmp_path, run_directory(tmp_path / "run", outcome="out_of_memory_host", resolved=resolved)
    )
    assert (row["start_seconds"], row["work_seconds"], row["actual_by_estimated"]) == (None, 100, None)
    assert row["usd"] > 0
    assert "which ended as out_of_memory_host" in row["basis"]


def test_a_gpu_is_found_by_the_name_that_it_reports(tmp_path: Path) -> None:
    prices = cost.read_prices(cost.PRICES).usd_per_second
    of: dict[str, Any] = {
        "resolved": {"device": "cuda"},
        "hardware": {"gpus": ["Tesla T4, 15360 MiB, 550.1"]},
    }
    (row,) = of_runs(tmp_path, run_directory(tmp_path / "known", **of))
    assert (row["machine"], row["usd_of_gpu"]) == ("T4", pytest.approx(100 * prices["T4"]))
    assert row["actual_by_estimated"] is not None
    of["hardware"] = {"gpus": ["NVIDIA GeForce RTX 4090, 24564 MiB"]}
    (row,) = of_runs(tmp_path, run_directory(tmp_path / "unknown", **of))
    assert (row["machine"], row["usd"], row["usd_of_gpu"]) == ("NVIDIA GeForce RTX 4090", None, None)
    assert row["usd_of_cores"] > 0
    assert "The price table has no NVIDIA GeForce RTX 4090." in row["basis"]


def test_phases_are_measured_and_predicted(tmp_path: Path) -> None:
    (run,) = remote_costs.read_runs([run_directory(tmp_path / "run", resolved={"device": "cuda"})], {})
    rows = {row["phase"]: row for row in remote_costs.phase_rows(run, CHECKPOINT)}
    assert list(rows) == ["start-up", "planning", "training", "encoding", "finalizing"]
    assert [row["seconds"] for row in rows.values()] == [None, 20, 30, 25, 5]
    for place, row in enumerate(rows.values()):
        assert row["host_peak_mib"] == pytest.approx(500 + 100 * place + 12.1)  # and the tracker
        assert row["gpu_allocated_peak_mib"] == 200 + 100 * place
        assert row["gpu_reserved_peak_mib"] == 350 + 100 * place
        assert row["gpu_predicted_mib"] > 500
    (cpu,) = remote_costs.read_runs([run_directory(tmp_path / "cpu")], {})
    on_cpu = {row["phase"]: row for row in remote_costs.phase_rows(cpu, CHECKPOINT)}
    for phase, row in on_cpu.items():
        assert (row["gpu_allocated_peak_mib"], row["gpu_reserved_peak_mib"]) == (None, None)
        assert row["gpu_predicted_mib"] == pytest.approx(rows[phase]["gpu_predicted_mib"])


def test_phases_of_a_run_that_failed(tmp_path: Path) -> None:
    resolved = dict.fromkeys(("passages", "embeddings", "finalizing_seconds"))
    (run,) = remote_costs.read_runs(
        [run_directory(tmp_path / "run", outcome="killed", resolved=resolved)], {}
    )
    rows = list(remote_costs.phase_rows(run, CHECKPOINT))
    assert rows
    assert all(row["host_predicted_mib"] is None and row["host_peak_mib"] for row in rows)


def run(program: Any, *arguments: Any) -> str:
    """Run a program in this process; what it printed, or the sentence that it ended with."""
    printed = io.StringIO()
    with patch.object(sys, "argv", [program.__name__, *map(str, arguments)]), redirect_stdout(printed):
        try:
            program.main()
        except SystemExit as ended:
            return str(ended.code)
    return printed.getvalue()


def test_the_programs(tmp_path: Path) -> None:
    options = [
        *("--checkpoint", json.dumps(CHECKPOINT), "--rent", json.dumps(RENT)),
        *("--labels", '{"ragatouille_pdfs": "RAGatouille"}'),
    ]
    (tmp_path / "cell.json").write_text(json.dumps(cell()))
    texts, estimate = documents(tmp_path / "documents.jsonl"), tmp_path / "estimate.json"
    command = ["--cells", tmp_path / "cell.json", *options, "--documents", texts, "--output", estimate]
    assert "the smallest GPU that fits is T4" in run(estimate_cost, *command)
    texts.write_text("")
    assert run(estimate_cost, *command).startswith(f"{texts}: has no document;")
    of = {name: tmp_path / f"{name}.parquet" for name in ("phases", "gpus", "costs")}
    command = [run_directory(tmp_path / "run"), *options, "--estimate", estimate]
    command += [word for name, path in of.items() for word in (f"--{name}", path)]
    assert run(tabulate_remote_costs, *command) == ""
    known = {"phases": schemas.REMOTE_PHASES, "gpus": schemas.REMOTE_GPUS, "costs": schemas.REMOTE_COSTS}
    for name, schema in known.items():
        table = pq.read_table(of[name])
        assert table.schema.equals(schema)
        assert table.num_rows
    estimate.write_text('{"format": 1, "gpus": [{"gpu": "T4"}], "costs": []}')
    assert f"{estimate}: a row does not fit gpus" in run(tabulate_remote_costs, *command)
    estimate.write_text("{}")
    ended = run(tabulate_remote_costs, *command)
    assert ended.endswith("run estimate_cost.py again")
    assert "\n" not in ended
