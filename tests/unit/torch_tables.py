"""Small tables of made-up runs of torch_versions with known numbers, in the schemas of results/tables.

Shaped like what is published of 2.0.1 → 2.1.0: softmax differs first, then gelu; given `local_sample_embs` and `embs`
of 2.0.1, 2.1.0 makes the same index. The numbers are made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from indexscope import schemas

Row = dict[str, Any]
Pair = tuple[str, str]

NAMES = [name for name in schemas.TABLES if name.startswith("torch_")]
VERSIONS = [
    "1.13.1", "2.0.0", "2.0.1", "2.1.0", "2.1.1", "2.1.2", "2.2.0", "2.2.1", "2.2.2", "2.3.0",
    "2.3.1", "2.4.0", "2.4.1", "2.5.0", "2.5.1", "2.6.0", "2.7.0", "2.7.1", "2.8.0",
]  # fmt: skip
PAIR = ("2.0.1", "2.1.0")
# Name → shape and dtype.
FINAL = {
    "codes": ("(36,110)", "int32"),
    "residuals": ("(36,110, 48)", "uint8"),
    "ivf": ("(29,804)", "int32"),
    "ivf_lengths": ("(2048,)", "int64"),
    "avg_residual": ("()", "float16"),
    "bucket_cutoffs": ("(15,)", "float32"),
    "bucket_weights": ("(16,)", "float16"),
    "centroids": ("(2048, 96)", "float16"),
    "doclens": ("(1000,)", "int32"),
}
INTERMEDIATE = {
    "planning": ["sample_pids", "num_passages", "tensorize_output", "batches", "D", "local_sample_embs"],
    "training": [
        "sample", "sample_heldout", "kmeans_arguments", "prenorm_centroids", "postnorm_centroids",
        "half_centroids", "centroids", "bucket_cutoffs", "bucket_weights", "avg_residual",
    ],
    "encoding": [
        "tensorize_output", "batches", "D", "embs", "doclens", "compress_batch", "compress_codes",
        "lookup_centroids", "residuals_before_packing", "codes", "residuals",
    ],
    "finalizing": ["presort_codes", "sorted_codes", "sort_indices"],
}  # fmt: skip
# What no version changes: integers that come from the text alone.
STEADY = {"sample_pids", "num_passages", "tensorize_output", "doclens", "kmeans_arguments"}
_BITSANDBYTES = {"float32": (1e-5, 1e-6), "float16": (1e-3, 1e-4)}
_RANGES = {"float32": 2e-6, "float16": 2e-4}


def frame(name: str, rows: Iterable[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """The rows as the table `name`, as a figure reads it."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schemas.TABLES[name]).to_pandas()


def write(directory: Path, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> Path:
    """Write all tables of torch_versions into `directory`, empty where `tables` has none; returns the directory."""
    for name in NAMES:
        schemas.write_table(tables.get(name, ()), schemas.TABLES[name], directory / f"{name}.parquet")
    return directory


def environment(version: str, outcome: str = "built", detail: str | None = None, **columns: Any) -> Row:
    """A row of torch_environments."""
    row = {
        "version": version,
        "environment": f"torch-{version}",
        "lock_digest": "0a1b2c3d",
        "outcome": outcome,
        "detail": detail,
    }
    if outcome == "built":
        row |= {
            "python_version": "3.11.9",
            "torch_build": f"{version}+cu117",
            "device": "cpu",
            "threads": 1,
            "interop_threads": 1,
            "cpu_capability": "AVX512",
            "mkl": "2022.2",
            "cpu_model": "AMD EPYC 9554",
            "transformers_version": "4.38.2",
        }
    return row | columns


def run_of(version: str, repeat: int = 1, injected: str = "", documents: int = 1000) -> str:
    given = "_given_" + injected.replace(" + ", "_") if injected else ""
    return f"torch_{version.replace('.', '_')}{given}-0a1b2c3d/{documents}/dumps/{repeat}"


def artifact(
    pair: Pair,
    name: str,
    verdict: str = "equal",
    *,
    kind: str = "versions",
    injected: str = "",
    stage: str = "final",
    chunk: str = "-",
    call: int = 0,
    compared_as: str = "as stored",
    documents: int = 1000,
    **columns: Any,
) -> Row:
    """A row of torch_artifacts."""
    shape, dtype = FINAL.get(name, ("(1000, 96)", "int64" if name in STEADY else "float16"))
    failed, missing = verdict == "run failed", verdict == "missing"
    floating = dtype.startswith("float") and not (failed or missing)
    harmless = ["equal", "within tolerance", "within bitsandbytes tolerance"]
    rtol, atol = _BITSANDBYTES.get(dtype, (None, None))
    equal = verdict == "equal"
    compared = not failed and not missing and verdict not in ("shape differs", "dtype differs")
    given = f", given {injected}" if injected else ""
    repeat = kind == "repeat"
    return {
        "left_version": pair[0],
        "right_version": pair[1],
        "kind": kind,
        "injected": injected,
        "pair": f"{pair[0]}: repeated" if repeat else f"{pair[0]} | {pair[1]}{given}",
        "left_run": run_of(pair[0], documents=documents),
        "right_run": run_of(pair[1], 2 if repeat else 1, injected, documents),
        "left_outcome": "completed",
        "right_outcome": "failed" if failed else "completed",
        "documents": documents,
        "artifact": f"{stage}/{chunk}/{call}/{name}",
        "stage": stage,
        "name": name,
        "compared_as": compared_as,
        "presence": "neither" if failed else "left only" if missing else "both",
        "left_shape": None if failed else shape,
        "right_shape": None if failed or missing else "(29,790)" if verdict == "shape differs" else shape,
        "left_dtype": None if failed else dtype,
        "right_dtype": None if failed or missing else dtype,
        "exact": equal if compared else None,
        "within_tolerance": verdict in harmless[:2] if floating and compared else None,
        "rtol": 1e-5 if floating else None,
        "atol": 1e-8 if floating else None,
        "within_bitsandbytes_tolerance": verdict in harmless if floating and compared else None,
        "bitsandbytes_rtol": rtol if floating else None,
        "bitsandbytes_atol": atol if floating else None,
        "equal_fraction": (1.0 if equal else 0.83) if compared else None,
        "mean_absolute_difference": (0.0 if equal else 0.1 * _RANGES.get(dtype, 40.0)) if compared else None,
        "max_absolute_difference": (0.0 if equal else _RANGES.get(dtype, 1800.0)) if compared else None,
        "verdict": verdict,
    } | columns


def artifacts(
    pair: Pair,
    changed: Mapping[str, str] | None = None,
    *,
    kind: str = "versions",
    injected: str = "",
    intermediate: bool = True,
    calls: int = 3,
) -> list[Row]:
    """Rows of one comparison: all final and, with `calls` calls each, all intermediate artifacts.

    Args:
        changed: name → verdict; what is not there is equal.
    """
    changed = changed or {}
    rows = [
        artifact(pair, name, changed.get(name, "equal"), kind=kind, injected=injected,
                 chunk="0" if name in ("codes", "residuals", "doclens") else "-")
        for name in FINAL
    ]  # fmt: skip
    for stage, names in INTERMEDIATE.items() if intermediate else ():
        for name in names:
            several = calls if stage == "encoding" or name in ("batches", "D", "tensorize_output") else 1
            rows += [
                artifact(pair, name, changed.get(name, "equal"), kind=kind, injected=injected, stage=stage,
                         chunk="0" if stage == "encoding" else "-", call=call)
                for call in range(several)
            ]  # fmt: skip
    return rows


def all_changed(**verdicts: str) -> dict[str, str]:
    """Name → verdict where the encoder's output changes: all but STEADY differ, or as `verdicts` say."""
    names = [*FINAL, *(name for of_stage in INTERMEDIATE.values() for name in of_stage)]
    changed = {name: "differs" for name in names if name not in STEADY}
    published = {
        "ivf": "shape differs",
        "avg_residual": "within bitsandbytes tolerance",
        "bucket_weights": "within bitsandbytes tolerance",
    }
    return changed | published | verdicts


def failed_artifacts(pair: Pair) -> list[Row]:
    """Rows of a comparison whose right run failed: only the final artifacts, each "run failed"."""
    return [artifact(pair, name, "run failed") for name in FINAL]


def injection(pair: Pair, injected: str, differing: Sequence[str], *, smallest: bool = False) -> Row:
    """A row of torch_injections."""
    equal = len(FINAL) - len(differing)
    return {
        "left_version": pair[0],
        "right_version": pair[1],
        "injected": injected,
        "artifacts_injected": len(injected.split(" + ")) if injected else 0,
        "left_outcome": "completed",
        "right_outcome": "completed",
        "final_artifacts": len(FINAL),
        "equal": equal,
        "equal_up_to_order": equal,
        "differing": ", ".join(differing),
        "intermediate_artifacts": 30,
        "intermediate_equal": 4 if differing else 27,
        "smallest": smallest,
        "verdict": "some differ" if differing else "all equal",
    }


def case(
    kind: str, content: str, precision: str = "float32", batch: int | None = 1, length: int | None = 8
) -> Row:
    """The columns of a case."""
    shape = f", {batch} × {length} tokens" if batch else ""
    return {
        "case": f"{kind} {content}, {precision}{shape}",
        "input": kind,
        "content": content,
        "precision": precision,
        "batch_size": batch,
        "sequence_length": length,
    }


def cases(
    precision: str = "float32",
    *,
    batches: Sequence[int] = (1, 8, 32),
    lengths: Sequence[int] = (16, 71, 128),
    seeds: Sequence[int] = (1, 2),
) -> list[Row]:
    """The default cases of one precision, without the index steps."""
    return [
        case("text", "a", precision, 1, 5),
        case("text", "test input", precision, 1, 6),
        case("corpus batch", "0", precision, 32, 93),
        case("corpus batch", "1", precision, 32, 101),
        *[
            case("random tokens", str(seed), precision, batch, length)
            for batch in batches
            for length in lengths
            for seed in seeds
        ],
    ]


INDEX_STEPS = case("index", "256 documents", "float32", None, None)
OPERATORS = [
    "aten.embedding.default", "aten.native_layer_norm.default", "aten.addmm.default", "aten.bmm.default",
    "aten.softmax.int", "aten.gelu.default", "aten.div.Tensor",
]  # fmt: skip
INDEX_OPERATORS = [
    "train_kmeans",
    "torch.nn.functional.normalize",
    "compress_into_codes",
    "aten.sort.default",
]


def operators(pair: Pair, of_case: Row, differing: Sequence[str] = (), layers: int = 2) -> list[Row]:
    """Rows of torch_operators: each operator once for each of `layers` encoder layers."""
    names = INDEX_OPERATORS if of_case["input"] == "index" else OPERATORS * layers
    rows = []
    for position, name in enumerate(names):
        differs = name in differing
        rows.append(
            {
                "left_version": pair[0],
                "right_version": pair[1],
                **of_case,
                "position": position,
                "module": "index"
                if of_case["input"] == "index"
                else f"bert.encoder.layer.{position // len(OPERATORS)}",
                "operator": name,
                "source": "modeling_bert.py:367",
                "shape": "(32, 93, 384)",
                "dtype": "float32",
                "elements": 32 * 93 * 384,
                "equal_fraction": 0.91 if differs else 1.0,
                "mean_absolute_difference": 1.2e-9 if differs else 0.0,
                "max_absolute_difference": 5.96e-8 if differs else 0.0,
                "max_ulp_distance": 1 if differs else 0,
                "verdict": "differs" if differs else "equal",
                "detail": None,
            }
        )
    return rows


def divergence(
    pair: Pair,
    of_case: Row,
    differing: Sequence[str] = (),
    verdict: str | None = None,
    detail: str | None = None,
    causes: str | None = None,
) -> Row:
    """A row of torch_divergence; `causes` as in the table."""
    measured = verdict is None
    found = [row for row in operators(pair, of_case, differing) if row["verdict"] != "equal"]
    first = found[0] if found and measured else {}
    replayed = len(operators(pair, of_case))
    return {
        "left_version": pair[0],
        "right_version": pair[1],
        **of_case,
        "operators": replayed if measured else 0,
        "differing": len(found) if measured else 0,
        "guilty": ", ".join(dict.fromkeys(row["operator"] for row in found)) if measured else "",
        "causes": causes,
        "same_sequence": True if measured else None,
        "first_position": first.get("position"),
        "first_module": first.get("module"),
        "first_operator": first.get("operator"),
        "first_mean_absolute_difference": first.get("mean_absolute_difference"),
        "first_max_absolute_difference": first.get("max_absolute_difference"),
        "first_max_ulp_distance": first.get("max_ulp_distance"),
        "final_equal": not found if measured else None,
        "verdict": verdict or ("diverges" if found else "equal"),
        "detail": detail,
    }


def layers(pair: Pair, of_case: Row, start: float, count: int = 12) -> list[Row]:
    """Rows of torch_layers: nothing in the embeddings, then `start` (MAD) growing with each layer; 0 is equal."""
    names = ["bert.embeddings", *(f"bert.encoder.layer.{number}" for number in range(count))]
    names += ["linear", "mask", "normalize", "half"]
    rows = []
    for position, name in enumerate(names):
        zero = position == 0 or not start
        grown = 0.0 if zero else start * min(position, 4) * (1 + 0.04 * position)
        rows.append(
            {
                "left_version": pair[0],
                "right_version": pair[1],
                **of_case,
                "position": position,
                "module": name,
                "equal_fraction": 1.0 if zero else 0.4,
                "mean_absolute_difference": grown,
                "max_absolute_difference": 12 * grown,
                "max_ulp_distance": 0 if zero else 9,
            }
        )
    return rows


COMPARISONS = ["own index", "index of left", "index of right"]
MEASURES = ["Recall@10", "MRR@10", "nDCG@10"]


def search(
    pair: Pair,
    comparison: str,
    measure: str,
    changes: Sequence[float] = (),
    *,
    queries: int = 200,
    p_value: float = 1.0,
    differing: float = 0.0,
    failed: bool = False,
) -> Row:
    """A row of torch_search; `changes` are those of the queries whose value changes."""
    row: Row = {
        "left_version": pair[0],
        "right_version": pair[1],
        "comparison": comparison,
        "left_outcome": "completed",
        "right_outcome": "failed" if failed else "completed",
        "measure": measure,
        "verdict": "search failed",
        "detail": "exit code 1" if failed else None,
    }
    if failed:
        return row
    left = 0.83
    change = sum(changes) / queries
    verdict = "no difference" if not changes else "beyond chance" if p_value < 0.05 else "within chance"
    return row | {
        "queries": queries,
        "left_mean": left,
        "right_mean": left + change,
        "change": change,
        "increased": sum(value > 0 for value in changes),
        "equal": queries - len(changes),
        "decreased": sum(value < 0 for value in changes),
        "p_value": p_value,
        "permutations": 9999,
        "differing_passages": differing,
        "same_ranking": 1.0 if not differing else 0.62,
        "verdict": verdict,
    }


def search_queries(
    pair: Pair, comparison: str, measure: str, changes: Sequence[float] = (), queries: int = 200
) -> list[Row]:
    """Rows of torch_search_queries."""
    each = [*changes, *[0.0] * (queries - len(changes))]
    return [
        {
            "left_version": pair[0],
            "right_version": pair[1],
            "comparison": comparison,
            "query_id": f"q{number:03d}",
            "measure": measure,
            "left_value": 0.5,
            "right_value": 0.5 + change,
            "differing_passages": 2 if change else 0,
        }
        for number, change in enumerate(each)
    ]


CHANGES = {
    "Recall@10": [0.5, 0.5, -0.5],
    "MRR@10": [0.5] * 4 + [0.1667] * 4 + [0.05] * 3 + [-0.5] * 2 + [-0.1] * 4,
    "nDCG@10": [0.37] * 5 + [0.13] * 7 + [-0.37] * 3 + [-0.13] * 6,
}


def searches(pair: Pair, *, changed: bool = True, p_value: float = 0.33) -> dict[str, list[Row]]:
    """torch_search and torch_search_queries of one pair; only the own indexes differ in every measure."""
    tables: dict[str, list[Row]] = {"torch_search": [], "torch_search_queries": []}
    for comparison in COMPARISONS:
        for measure in MEASURES:
            own = comparison == COMPARISONS[0]
            changes = (
                CHANGES[measure] if changed and own else [-0.0111] if changed and measure == "MRR@10" else []
            )
            differing = (1.23 if own else 0.16) if changed else 0.0
            tables["torch_search"].append(
                search(
                    pair,
                    comparison,
                    measure,
                    changes,
                    p_value=p_value if changes else 1.0,
                    differing=differing,
                )
            )
            tables["torch_search_queries"] += search_queries(pair, comparison, measure, changes)
    return tables


PUBLISHED_CONDITIONS = "69,199 passages of ConditionalQA, mixed precision, NVIDIA L4"
OUR_CONDITIONS = "1,000 documents of synthetic, float32, cpu (AMD EPYC 9554)"


def published(
    topic: str,
    pair: Pair,
    quantity: str,
    said: str,
    ours: str | None = None,
    agrees: bool | None = None,
    conditions: str = PUBLISHED_CONDITIONS,
) -> Row:
    """A row of torch_published."""
    return {
        "topic": topic,
        "left_version": pair[0],
        "right_version": pair[1],
        "quantity": quantity,
        "published": said,
        "published_conditions": conditions,
        "ours": ours,
        "our_conditions": OUR_CONDITIONS if ours else None,
        "agrees": agrees,
    }


def study() -> dict[str, list[Row]]:
    """Every table of the default configuration: 2.0.1 and 2.1.0 on a CPU."""
    left, right = PAIR
    sample, both, centroids = "local_sample_embs", "local_sample_embs + embs", "postnorm_centroids"
    changed = all_changed(sort_indices="differs", sorted_codes="differs")
    after_sample = dict.fromkeys(["batches", "D", "embs", "residuals", "local_sample_embs"], "differs")
    tables: dict[str, list[Row]] = {name: [] for name in NAMES}
    tables["torch_environments"] = [environment(left), environment(right, torch_build="2.1.0+cu121")]
    tables["torch_artifacts"] = [
        *artifacts((left, left), kind="repeat"),
        *artifacts((right, right), kind="repeat"),
        *artifacts(PAIR, changed),
        *artifacts(PAIR, after_sample, kind="injection", injected=sample),
        *artifacts(PAIR, {"batches": "differs", "D": "differs", "sort_indices": "differs"},
                   kind="injection", injected=both),
        *artifacts(PAIR, changed | {"centroids": "equal"}, kind="injection", injected=centroids),
    ]  # fmt: skip
    differing = [name for name in FINAL if name in changed]
    tables["torch_injections"] = [
        injection(PAIR, "", differing),
        injection(PAIR, sample, ["residuals"]),
        injection(PAIR, both, [], smallest=True),
        injection(PAIR, centroids, [name for name in differing if name != "centroids"]),
    ]
    guilty = ["aten.softmax.int", "aten.gelu.default"]
    for pair in [(left, left), (right, right), PAIR]:
        cross = pair == PAIR
        for precision in ("float32", "cpu_autocast_bfloat16"):
            names = (
                guilty if precision == "float32" else ["aten.native_layer_norm.default", *guilty]
            ) * cross
            for of_case in cases(precision):
                tables["torch_operators"] += operators(pair, of_case, names)
                why = "aten.softmax.int: vector instructions; aten.gelu.default: oneDNN"
                told = why if cross and precision == "float32" else None
                tables["torch_divergence"].append(divergence(pair, of_case, names, causes=told))
                start = {"float32": 3e-8, "cpu_autocast_bfloat16": 2e-4}[precision] * cross
                spread = 1 + 0.05 * (of_case["sequence_length"] % 7)
                tables["torch_layers"] += layers(pair, of_case, start * spread)
        unsupported = "no CUDA device"
        tables["torch_divergence"] += [
            divergence(pair, of_case, (), "unsupported", unsupported)
            for of_case in cases("cuda_autocast_float16")
        ]
        steps = ["aten.sort.default"] * cross
        tables["torch_operators"] += operators(pair, INDEX_STEPS, steps)
        tables["torch_divergence"].append(divergence(pair, INDEX_STEPS, steps))
    for name, rows in searches(PAIR).items():
        tables[name] = rows
    tables["torch_published"] = study_published()
    return tables


def study_published() -> list[Row]:
    """Published rows of the chain; what is measured here is 2.0.1 → 2.1.0."""
    rows = []
    for pair in pairwise(VERSIONS):
        moved = {("2.0.1", "2.1.0"), ("2.4.1", "2.5.0")}
        for name in FINAL:
            said = "equal"
            if pair in moved and name != "doclens":
                said = "shape differs" if name == "ivf" else "differs"
            elif pair == ("2.7.1", "2.8.0") and name in ("residuals", "centroids"):
                said = "differs"
            ours = {"doclens": "equal", "ivf": "shape differs", "avg_residual": "equal"}.get(name, "differs")
            measured = pair == PAIR
            rows.append(published("artifacts", pair, name, said, ours if measured else None,
                                  ours == said if measured else None))  # fmt: skip
        for measure, change in (("Recall@10", "0"), ("MRR@10", "0")):
            text = {"Recall@10": "+0.001", "MRR@10": "+0.005"}[measure] if pair == PAIR else change
            ours = {"Recall@10": "+0.0025", "MRR@10": "+0.0078"}[measure] if pair == PAIR else None
            rows.append(published("search", pair, f"{measure} change, own index", text, ours,
                                  True if ours else None))  # fmt: skip
    rows.append(published("injection", PAIR, "local_sample_embs + embs", "all final artifacts equal",
                          "all equal", True))  # fmt: skip
    rows.append(published("injection", ("2.7.1", "2.8.0"), "postnorm_centroids", "all artifacts equal"))
    rows.append(published("operator", PAIR, "first that differs",
                          "BERT forward pass and Tensor.sort", "aten.softmax.int", True))  # fmt: skip
    rows += [
        published("layers", ("1.13.1", "2.1.0"), f"layer {layer}: mean absolute difference", value,
                  conditions="one text, full precision, NVIDIA L4")
        for layer, value in enumerate(["2.81e-08", "5.97e-08", "8.02e-08"])
    ]  # fmt: skip
    return rows


_ENCODER_STEPS = [PAIR, ("2.4.1", "2.5.0")]
_CENTROIDS_STEP = ("2.7.1", "2.8.0")


def _published_changes(pair: Pair) -> dict[str, str]:
    """Name → verdict of what a step of the chain changes, as published."""
    if pair in _ENCODER_STEPS:
        return all_changed()
    if pair != _CENTROIDS_STEP:
        return {}
    return {
        "postnorm_centroids": "within tolerance",
        "half_centroids": "within bitsandbytes tolerance",
        "centroids": "within bitsandbytes tolerance",
        "residuals": "differs",
        "residuals_before_packing": "within bitsandbytes tolerance",
    }


def _published_operators(pair: Pair, length: int | None) -> list[str]:
    """The operators of the encoder that differ in a step of the chain, for sequences of `length`."""
    if pair == PAIR:
        return ["aten.softmax.int", "aten.gelu.default"]
    return ["aten.addmm.default"] if pair == _ENCODER_STEPS[1] and length in (71, 93) else []


def chain(*, failed: str | None = None) -> dict[str, list[Row]]:
    """Every table for the whole chain of 19 versions; `failed` is a version whose environment was not built."""
    tables: dict[str, list[Row]] = {name: [] for name in NAMES}
    small = study()
    for version in VERSIONS:
        broken = version == failed
        tables["torch_environments"].append(
            environment(version, "failed", "no wheel of PyTorch for this machine")
            if broken
            else environment(version)
        )
        if broken:
            tables["torch_artifacts"] += [
                artifact((version, version), name, "run failed", kind="repeat", left_outcome="failed")
                for name in FINAL
            ]
        else:
            tables["torch_artifacts"] += artifacts((version, version), kind="repeat", calls=1)
            for of_case in cases():
                tables["torch_divergence"].append(divergence((version, version), of_case))
    for pair in pairwise(VERSIONS):
        if failed in pair:
            tables["torch_artifacts"] += failed_artifacts(pair)
            tables["torch_search"] += [
                search(pair, comparison, measure, failed=True)
                for comparison in COMPARISONS
                for measure in MEASURES
            ]
            tables["torch_divergence"] += [
                divergence(pair, of_case, (), "failed", f"the environment of {failed} was not built")
                for of_case in cases()
            ]
            continue
        changed = _published_changes(pair)
        tables["torch_artifacts"] += artifacts(pair, changed, calls=1)
        for injected in ("local_sample_embs", "local_sample_embs + embs", "postnorm_centroids"):
            left_over = {} if injected.endswith("+ embs") else changed
            tables["torch_artifacts"] += artifacts(
                pair, left_over, kind="injection", injected=injected, intermediate=False
            )
        final = [name for name in FINAL if name in changed]
        tables["torch_injections"] += [
            injection(pair, "", final),
            injection(pair, "local_sample_embs", final),
            injection(pair, "local_sample_embs + embs", [], smallest=bool(final)),
            injection(pair, "postnorm_centroids", final),
        ]
        for of_case in cases():
            names = _published_operators(pair, of_case["sequence_length"])
            tables["torch_operators"] += operators(pair, of_case, names)
            tables["torch_divergence"].append(divergence(pair, of_case, names))
            tables["torch_layers"] += layers(pair, of_case, 3e-8 * bool(names))
        steps = ["torch.nn.functional.normalize"] if pair == _CENTROIDS_STEP else []
        tables["torch_operators"] += operators(pair, INDEX_STEPS, steps)
        tables["torch_divergence"].append(divergence(pair, INDEX_STEPS, steps))
        for name, rows in searches(pair, changed=bool(final)).items():
            tables[name] += rows
    tables["torch_published"] = small["torch_published"]
    return tables
