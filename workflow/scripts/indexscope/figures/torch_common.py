"""What the figures of torch_versions share: verdicts and their colours, pairs of versions, words, conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from . import common
from .artifact_comparison import VERDICTS as STORED_VERDICTS

# From harmless to worst; the colours are those of the artifact comparison, with two verdicts more.
VERDICTS = {
    "equal": STORED_VERDICTS["equal"],
    "equal up to order": "#F3DE8A",
    "within tolerance": STORED_VERDICTS["within tolerance"],
    "within bitsandbytes tolerance": "#6A8FBF",
    "differs": STORED_VERDICTS["differs"],
    "dtype differs": STORED_VERDICTS["dtype differs"],
    "shape differs": STORED_VERDICTS["shape differs"],
    "missing": STORED_VERDICTS["missing"],
    "run failed": STORED_VERDICTS["run failed"],
}
RANK = {verdict: rank for rank, verdict in enumerate(VERDICTS)}
DARK = ["differs", "dtype differs", "shape differs", "run failed"]  # texts on them are white
_SHORT = {
    "equal": "",
    "equal up to order": "order",
    "within tolerance": "tol.",
    "within bitsandbytes tolerance": "bnb",
    "dtype differs": "dtype",
    "shape differs": "shape",
    "run failed": "failed",
}
# What a cell's text means, of the verdicts that have a short one.
LEGEND = {
    "equal": "equal: the same bits",
    "equal up to order": "order: equal up to order",
    "within tolerance": "tol.: within the default tolerance",
    "within bitsandbytes tolerance": "bnb: within bitsandbytes’ tolerance",
    "differs": "%: differs; elements that are equal",
    "dtype differs": "dtype differs",
    "shape differs": "shape differs",
    "missing": "missing on one side",
    "run failed": "failed: a run did not complete",
}
UNSUPPORTED = "#D0D0D0"
SETTLED = ["equal", "equal up to order"]  # the same content
VERSIONS = ["left_version", "right_version"]
PRECISIONS = {
    "float32": "float32",
    "cpu_autocast_bfloat16": "CPU autocast, bfloat16 (not ColBERT’s path)",
    "cuda_autocast_float16": "CUDA autocast, float16",
}

Pair = tuple[str, str]


def step(pair: Pair) -> str:
    """Such as `2.0.1 → 2.1.0`; `2.0.1 repeated` of a version with itself."""
    left, right = pair
    return f"{left} repeated" if left == right else f"{left} → {right}"


def pairs_of(frame: pd.DataFrame) -> list[Pair]:
    """The pairs of versions of a table, those of a version with itself first."""
    found = [
        (row.left_version, row.right_version) for row in common.each_row(frame[VERSIONS].drop_duplicates())
    ]
    return sorted(found, key=lambda pair: pair[0] != pair[1])


def of_pair(frame: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """The rows of `frame` of one pair."""
    return frame[(frame["left_version"] == pair[0]) & (frame["right_version"] == pair[1])]


def steps_words(pairs: Sequence[Pair], most: int = 4) -> str:
    """A few pairs by name, the rest by number."""
    named = [step(pair) for pair in pairs[:most]]
    return common.listed([*named, f"{len(pairs) - most} more"] if len(pairs) > most else named)


def merged_order(rows: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """One row for each `key`: of an artifact as stored and up to order, the better verdict of the two."""
    ranked = rows.assign(_rank=rows["verdict"].map(RANK))
    ranked = ranked.sort_values("_rank", kind="stable").drop_duplicates([*key])
    return ranked.drop(columns="_rank").sort_index()


def folded(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each comparison, stage and name: the worst of all chunks and calls.

    Args:
        rows: of torch_artifacts.

    Returns:
        Those rows, with `compared`, the number of chunks and calls, and `settled`, how many of them have the same
        content.
    """
    of_comparison = [*VERSIONS, "kind", "injected", "documents"]
    rows = merged_order(rows, [*of_comparison, "artifact"])
    key = [*of_comparison, "stage", "name"]
    groups = rows.assign(_settled=rows["verdict"].isin(SETTLED)).groupby(key, sort=False)
    ranked = rows.assign(
        _rank=rows["verdict"].map(RANK),
        compared=groups["artifact"].transform("size"),
        settled=groups["_settled"].transform("sum"),
    )
    ranked = ranked.sort_values(
        ["_rank", "max_absolute_difference"], ascending=False, na_position="last", kind="stable"
    )
    return ranked.drop_duplicates(key).drop(columns="_rank").sort_index()


def cell_words(verdict: str, equal_fraction: float) -> str:
    """What a cell of a heat map says."""
    if verdict == "differs" and not pd.isna(equal_fraction):
        return percent(equal_fraction)
    return _SHORT.get(verdict, verdict)


def percent(fraction: float) -> str:
    """To a whole percent; neither 0 nor 100 % unless it is."""
    if 0 < fraction < 0.005:
        return "<1 %"
    if 0.995 <= fraction < 1:
        return ">99 %"
    return f"{100 * fraction:.0f} %"


def signed(value: float, digits: int = 3) -> str:
    """With a true minus; `0` where it is zero, more digits where it would print as one."""
    if value == 0:
        return "0"
    text = f"{value:+.{digits}f}"
    return (text if float(text) else f"{value:+.1g}").replace("-", "−")


def verdict_colour(present: Sequence[str], columns: int = 4) -> alt.Color:
    """Colour by verdict, with a legend of those that are `present` in so many columns."""
    used = [verdict for verdict in VERDICTS if verdict in set(present)]
    return alt.Color(
        "verdict:N",
        title=None,
        scale=alt.Scale(domain=used, range=[VERDICTS[verdict] for verdict in used]),
        legend=alt.Legend(
            orient="bottom", symbolType="square", symbolStrokeWidth=0.5, symbolStrokeColor="#8A8A8A", symbolSize=140,
            columns=columns, labelLimit=260, columnPadding=18,
            labelExpr="({" + ", ".join(f"'{name}': '{LEGEND[name]}'" for name in used) + "})[datum.label]",
        ),
    )  # fmt: skip


def artifact_tooltip() -> list[Any]:
    """Of a cell that is an artifact of a pair."""
    return [
        *("pair:N", "stage:N", "name:N", "verdict:N"),
        alt.Tooltip("compared:Q", title="chunks and calls (the worst is shown)"),
        alt.Tooltip("settled:Q", title="of them equal"),
        *("artifact:N", alt.Tooltip("compared_as:N", title="compared")),
        alt.Tooltip("equal_fraction:Q", title="equal fraction", format=".6f"),
        alt.Tooltip("mean_absolute_difference:Q", title="mean absolute difference", format=".3g"),
        alt.Tooltip("max_absolute_difference:Q", title="largest absolute difference", format=".3g"),
        alt.Tooltip("max_ulp_distance:Q", title="largest ULP distance"),
        *(alt.Tooltip("left_shape:N", title="left shape"), alt.Tooltip("right_shape:N", title="right shape")),
        alt.Tooltip("left_dtype:N", title="dtype"),
        "detail:N",
    ]


def conditions(environments: pd.DataFrame, versions: Sequence[str], documents: Sequence[int] = ()) -> str:
    """One line: documents, versions, device, CPU and threads.

    Args:
        environments: the table torch_environments.
        versions: those of the figure.
    """
    parts = (
        [f"{common.listed([common.count(size) for size in sorted(documents)])} documents"]
        if documents
        else []
    )
    many = len(versions) > 4
    parts.append(
        f"PyTorch {versions[0]} to {versions[-1]} ({len(versions)} versions)"
        if many
        else f"PyTorch {common.listed(list(versions))}"
    )
    built = environments[(environments["outcome"] == "built") & environments["version"].isin(versions)]
    devices = common.listed(common.unique(built["device"]))
    machine = common.unique([*built["cpu_model"]]) + common.unique(built["gpu"])
    machine = [str(name).replace("(R)", "").replace("(TM)", "") for name in machine]
    capability = common.unique(built["cpu_capability"])
    threads = common.unique(built["threads"])
    details = [*machine, *([" or ".join(capability)] if capability else [])]
    details += [f"{count:.0f} thread" + "s" * (count != 1) for count in threads]
    if devices:
        parts.append(f"{devices} ({', '.join(details)})" if details else devices)
    return " · ".join(parts)


def versions_of(*frames: pd.DataFrame) -> list[str]:
    """The versions that tables compare, oldest first."""
    found = {version for frame in frames for column in VERSIONS for version in common.unique(frame[column])}
    return sorted(found, key=lambda version: [int(part) for part in version.split(".") if part.isdecimal()])


def failures(environments: pd.DataFrame, versions: Sequence[str]) -> str:
    """A sentence on the environments that could not be built or used; empty when all could."""
    failed = environments[(environments["outcome"] != "built") & environments["version"].isin(versions)]
    each = [
        f"PyTorch {row.version}: environment {row.outcome}"
        + ("" if pd.isna(row.detail) else f" ({str(row.detail).rstrip('.')})")
        for row in common.each_row(failed)
    ]
    return f"{'; '.join(each)}." if each else ""


def causes(divergence: pd.DataFrame, environments: pd.DataFrame, pair: Pair) -> str:
    """Why operators differ between a pair of versions, in words; empty where that was not tried.

    Args:
        divergence: rows of torch_divergence.
        environments: the table torch_environments.
    """
    by_cause: dict[str, dict[str, None]] = {}
    for text in of_pair(divergence, pair)["causes"].dropna():
        for each in text.split("; "):
            operator, _, cause = each.partition(": ")
            by_cause.setdefault(cause, {})[operator] = None
    said = []
    for cause, operators in by_cause.items():
        names = common.listed(list(operators))
        if cause == "the operator itself":
            said.append(
                f"{names}: the operator’s own code, whatever the instructions and with or without oneDNN"
            )
            continue
        column = {"vector instructions": "cpu_capability", "oneDNN": "onednn"}[cause]
        known = environments.set_index("version")[column].to_dict()
        used = [str(known.get(version)) for version in pair]
        which = f" ({used[0]} → {used[1]})" if used[0] != used[1] else ""
        said.append(
            f"{names}: other {cause if cause == 'vector instructions' else 'kernels of oneDNN'}{which}"
        )
    return "; ".join(said)
