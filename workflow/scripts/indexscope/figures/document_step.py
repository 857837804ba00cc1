"""Where the time of a training step goes, by loader and parallelism."""

from __future__ import annotations

import altair as alt
import pandas as pd

from . import common, document_common
from .common import Figure

TITLE = "Time of a training step"
_CAPTION = (
    "A bar is the mean step of a rank, in its parts; the mean is over ranks, measured steps and repeats. Fetch is "
    "reading a step’s documents from the loader and tokenise is making tokens of them; without DataLoader workers "
    "both are inside the step. With workers they happen in other processes beside it: what is left of them in the "
    "step is wait, and the open mark at the right end of a thin line shows how long a batch took there. Communication "
    "is the all-reduce of gradients that backward waits for, or scatter, replicate and gather; waiting for a slower "
    "rank is in it. Other is what no part was timed for. Cores in use are the processor time of a rank’s process by "
    "the time of the step: one process of DataParallel drives all devices and Python’s lock lets one of its threads "
    "run at a time, ranks of DistributedDataParallel each have their own. The dark line spans the middle 80 % of "
    "single steps of all ranks, its mark the median."
)
_SECONDS = {
    "wait": "wait_seconds",
    "fetch": "fetch_seconds",
    "tokenise": "tokenise_seconds",
    "host to device": "host_to_device_seconds",
    "forward": "forward_seconds",
    "backward": "backward_seconds",
    "communication": "communication_seconds",
    "optimiser": "optimiser_seconds",
}
_COLUMNS = [
    "situation", "loader", "parallelism", "world_size", "workers", "pin_memory", "precision", "cache", "documents",
    "part", "milliseconds", "share", "runs",
]  # fmt: skip
_WIDTH = 760


def draw(access: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """Args: the tables document_access and document_access_steps."""
    known = document_common.completed(access, "step_seconds")
    if known.empty:
        reason = (
            "No training completed." if len(access) else "The table of trainings is empty: nothing was run."
        )
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    rows = document_common.rows_of(known)
    parts = mean_parts(document_common.on_rows(known, rows))
    single = _single_steps(steps, known, rows)
    title, notes = _findings(parts)
    notes.insert(1, _cores(known))
    return Figure(
        _chart(parts, single, document_common.on_rows(known, rows), rows), parts[_COLUMNS], title,
        document_common.conditions(known), "", notes, _CAPTION, width=_WIDTH + 110,
    )  # fmt: skip


def mean_parts(runs: pd.DataFrame) -> pd.DataFrame:
    """The parts of a step: one line for each line of the chart and part; they add up to the step.

    Args:
        runs: completed trainings, from document_common.on_rows (column row) or with any column `row`.

    Returns:
        The columns of a situation, row, situation, series, part, place, milliseconds, share (of the step), runs.
    """
    found = []
    for row, of_row in runs.groupby("row", sort=False):
        means = of_row[["step_seconds", *_SECONDS.values()]].astype(float).mean().fillna(0.0)
        first = of_row.iloc[0]
        seconds = {part: float(means[column]) for part, column in _SECONDS.items()}
        if first["workers"]:
            seconds["fetch"] = seconds["tokenise"] = 0.0
        else:
            # Without workers the wait is fetching, tokenising and what lies between them.
            seconds["wait"] = max(0.0, seconds["wait"] - seconds["fetch"] - seconds["tokenise"])
        whole = float(means["step_seconds"])
        seconds["other"] = max(0.0, whole - sum(seconds.values()))
        for place, part in enumerate(document_common.PARTS):
            found.append(
                {**{name: first[name] for name in (*document_common.SITUATION, "loader", "situation", "series")},
                 "row": row, "part": part, "place": place, "milliseconds": 1e3 * seconds[part],
                 "share": seconds[part] / whole if whole else 0.0, "runs": len(of_row)}
            )  # fmt: skip
    return pd.DataFrame(found)


def _single_steps(steps: pd.DataFrame, known: pd.DataFrame, rows: document_common.Rows) -> pd.DataFrame:
    """Of each line the 10th, 50th and 90th percentile of single measured steps, in milliseconds."""
    measured = steps[steps["measured"].astype(bool) & steps["run"].isin(known["run"])]
    on_lines = document_common.on_rows(measured, rows)
    found = [
        {"row": row, **{f"p{at}": 1e3 * of_row["step_seconds"].quantile(at / 100) for at in (10, 50, 90)},
         "steps": len(of_row)}
        for row, of_row in on_lines.groupby("row", sort=False)
    ]  # fmt: skip
    return pd.DataFrame(found, columns=["row", "p10", "p50", "p90", "steps"])


def _chart(
    parts: pd.DataFrame, single: pd.DataFrame, runs: pd.DataFrame, rows: document_common.Rows
) -> common.Chart:
    y = rows.y()
    whole = parts.groupby("row", sort=False)["milliseconds"].sum().rename("whole").reset_index()
    whole["words"] = [document_common.duration(value / 1e3) for value in whole["whole"]]
    beside = _beside(runs)
    furthest = [*whole["whole"], *single["p90"], *beside["milliseconds"]]
    scale = alt.Scale(domain=[0, 1.16 * max(1e-9, *furthest)], nice=False)
    x = alt.X(
        "milliseconds:Q",
        title="milliseconds of a step",
        stack="zero",
        scale=scale,
        axis=alt.Axis(orient="top", tickCount=8),
    )
    used = [part for part in document_common.PARTS if (parts.loc[parts["part"] == part, "share"] > 0).any()]
    colour = alt.Color(
        "part:N",
        title=None,
        scale=alt.Scale(domain=used, range=[document_common.PARTS[part] for part in used]),
        legend=alt.Legend(orient="top", symbolType="square", columns=len(used), columnPadding=14),
    )
    bars = (
        alt.Chart(parts[parts["part"].isin(used)])
        .mark_bar(height=12)
        .encode(
            x=x, y=y, color=colour, order="place:Q",
            tooltip=["series:N", "situation:N", "part:N", alt.Tooltip("milliseconds:Q", format=",.4g"),
                     alt.Tooltip("share:Q", format=".1%"), "runs:Q"],
        )
    )  # fmt: skip
    ends = whole.merge(single, on="row", how="left").merge(
        beside[["row", "milliseconds"]], on="row", how="left"
    )
    ends["end"] = ends[["whole", "p90", "milliseconds"]].astype(float).max(axis=1)
    ends = ends[["row", "end", "words"]]
    label = (
        alt.Chart(ends)
        .mark_text(align="left", dx=7, fontSize=10, color=common.INK)
        .encode(x=alt.X("end:Q", scale=scale), y=y, text="words:N")
    )
    layers = [*rows.headings(y), bars]
    if len(beside):
        line = alt.Chart(beside).encode(y=y, x=alt.X("milliseconds:Q", scale=scale))
        layers += [
            line.mark_rule(color=common.NOTE, strokeDash=[2, 2], yOffset=5).encode(x2="start:Q"),
            line.mark_point(color=common.NOTE, size=32, yOffset=5).encode(
                tooltip=["series:N", alt.Tooltip("milliseconds:Q", title="a batch in its worker (ms)", format=",.4g")]
            ),
        ]  # fmt: skip
    if len(single):
        base = alt.Chart(single).encode(y=y)
        tooltip = [alt.Tooltip(f"{name}:Q", format=",.4g") for name in ("p10", "p50", "p90")]
        layers += [
            base.mark_rule(color=common.INK, strokeWidth=1.2).encode(
                x=alt.X("p10:Q", scale=scale), x2="p90:Q", tooltip=[*tooltip, "steps:Q"]
            ),
            base.mark_tick(color=common.INK, thickness=1.5, size=8).encode(
                x=alt.X("p50:Q", scale=scale), tooltip=[*tooltip, "steps:Q"]
            ),
        ]
    chart: common.Chart = alt.layer(*layers, label).properties(width=_WIDTH, height=rows.height)
    return chart


def _beside(runs: pd.DataFrame) -> pd.DataFrame:
    """Of lines with DataLoader workers: how long fetching and tokenising a batch took in its worker."""
    found = [
        {"row": row, "series": of_row["series"].iloc[0], "start": 0.0,
         "milliseconds": 1e3 * float((of_row["fetch_seconds"] + of_row["tokenise_seconds"]).mean())}
        for row, of_row in runs[runs["workers"] > 0].groupby("row", sort=False)
    ]  # fmt: skip
    return pd.DataFrame(found, columns=["row", "series", "start", "milliseconds"]).dropna()


def _findings(parts: pd.DataFrame) -> tuple[str, list[str]]:
    inside = parts[parts["workers"] == 0]
    notes = [_communication(parts), _cold(parts), _workers(parts)]
    fetch = inside[(inside["part"] == "fetch") & document_common.is_plain(inside)]
    scope = "a plain step"
    if fetch.empty:
        fetch, scope = inside[inside["part"] == "fetch"], "a step"
    if fetch.empty:
        return "Fetching happens in DataLoader workers, beside the step", notes
    most = fetch.sort_values("share", ascending=False, kind="stable").iloc[0]
    where = document_common.world_words(most["parallelism"], most["world_size"])
    computing = _share(parts[document_common.is_plain(parts)] if scope == "a plain step" else parts)
    title = (
        f"Fetching takes {document_common.percent_range(list(100 * fetch['share']))} of {scope}, "
        f"most with {most['series']} ({where}){computing}"
    )
    return title, notes


def _share(parts: pd.DataFrame) -> str:
    model = parts[parts["part"].isin(["forward", "backward", "optimiser"])].groupby("row")["share"].sum()
    return f"; the model takes {document_common.percent_range(list(100 * model))}" if len(model) else ""


def _communication(parts: pd.DataFrame) -> str:
    """The share of communication by parallelism, where there are several ranks."""
    rows = parts[(parts["part"] == "communication") & (parts["world_size"] > 1)]
    words = [
        f"{document_common.PARALLELISM.get(str(name), str(name))} at world size {world} "
        f"{document_common.percent_range(list(100 * of['share']))}"
        for (name, world), of in rows.groupby(["parallelism", "world_size"], sort=False)
    ]
    return f"Communication: {'; '.join(words)} of a step." if words else ""


def _cores(known: pd.DataFrame) -> str:
    """Processor time by wall time of a rank's step, by parallelism, where there are several ranks."""
    rows = known[known["world_size"] > 1].dropna(subset=["processor_seconds"])
    rows = rows.assign(cores=rows["processor_seconds"] / rows["step_seconds"])
    words = [
        f"{document_common.PARALLELISM.get(str(name), str(name))} at world size {world} "
        f"{common.range_words(of['cores'].min(), of['cores'].max(), '.2f')}"
        for (name, world), of in rows.groupby(["parallelism", "world_size"], sort=False)
    ]
    return f"Cores in use by a rank: {'; '.join(words)}." if words else ""


def _cold(parts: pd.DataFrame) -> str:
    """How much longer fetching takes in steps that began with a cold page cache."""
    rows = parts[(parts["part"] == "fetch") & (parts["workers"] == 0)]
    key = ["parallelism", "world_size", "documents", "precision", "loader"]
    warm, cold = (rows[rows["cache"] == cache].set_index(key)["milliseconds"] for cache in ("warm", "cold"))
    warm, cold = (each[~each.index.duplicated()] for each in (warm, cold))
    both = cold.index.intersection(warm.index)
    if both.empty:
        return ""
    words = [
        f"{document_common.loader_words(index[-1])} {document_common.duration(warm[index] / 1e3)} → "
        f"{document_common.duration(cold[index] / 1e3)}"
        for index in both
    ]
    return f"Fetching a step’s documents, warm → cold page cache: {'; '.join(words)}."


def _workers(parts: pd.DataFrame) -> str:
    rows = parts[(parts["part"] == "wait") & (parts["workers"] > 0)]
    words = [
        f"{row.series} with {row.workers}: {document_common.percent_range([100 * row.share])}"
        for row in common.each_row(rows)
    ]
    return f"What is still waited for with DataLoader workers: {'; '.join(words)} of a step." if words else ""
