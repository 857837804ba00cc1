"""What a configuration is expected to take: known answers from planted runs, and refusals in a sentence."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from indexscope import cells, estimate, memory_plan
from indexscope import config as configuration
from indexscope.config import Configuration, RunName
from indexscope.run_record import InputError

REPOSITORY = Path(__file__).parents[2]


def configured(**values: Any) -> Configuration:
    return configuration.load(values)


def resolved(settings: Configuration, device: str = "cpu") -> dict[str, cells.Cell]:
    return {
        name: cells.resolve(settings, name, [], device=device, lock_digest="0" * 8)
        for name in settings.index_memory.systems
    }


def directories(settings: Configuration, results: Path, found: dict[str, cells.Cell]) -> dict[RunName, str]:
    return {
        run: f"{results}/index_runs/{found[run[0]].path_name}/{run[1]}/{run[2]}/{run[3]}"
        for run in configuration.experiment_runs(settings.index_memory)
    }


def plant(results: Path, cell: cells.Cell, documents: int, seconds: float, **changes: Any) -> Path:
    """The record of a finished run."""
    profiler, repeat = changes.pop("profiler", "none"), changes.pop("repeat", 1)
    record: dict[str, Any] = {
        "format": 1,
        "run": {
            "system": cell.system,
            "cell": changes.pop("digest", cell.digest),
            "corpus": cell.content["corpus"],
            "checkpoint": cell.content["checkpoint"],
            "documents": documents,
            "profiler": profiler,
            "repeat": repeat,
        },
        "resolved": {"device": "cpu", **changes.pop("resolved", {})},
        "outcome": "completed",
        "wall_seconds": seconds,
        **changes,
    }
    path = (
        results
        / "index_runs"
        / f"{cell.system}-{record['run']['cell']}"
        / str(documents)
        / profiler
        / str(repeat)
        / "run.json"
    )
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    return path


def progress(
    settings: Configuration, results: Path, planned: list[RunName] | None = None
) -> tuple[estimate.Progress, dict[RunName, str]]:
    found = resolved(settings)
    runs = directories(settings, results, found)
    to_do = [runs[run] for run in (runs if planned is None else planned)]
    return estimate.Progress(settings, found, runs, results, lambda: to_do), runs


ONE = {"systems": ["colbert"], "grids": [{"sizes": [1000], "profilers": ["none"]}]}


def seconds_of(results: Path, **run: Any) -> float:
    system, documents, profiler = run["system"], run["documents"], run.get("profiler", "none")
    tracker, _ = progress(configured(index_memory=ONE), results)
    return tracker.times().seconds((system, documents, profiler, 1))


def test_two_sizes_give_a_line(tmp_path: Path) -> None:
    cell = resolved(configured(index_memory=ONE))["colbert"]
    for repeat, noise in enumerate((-1, 0, 30), start=1):  # the median does not see one slow run
        plant(tmp_path, cell, 200, 14 + noise, repeat=repeat)
    plant(tmp_path, cell, 500, 20)
    assert seconds_of(tmp_path, system="colbert", documents=1000) == pytest.approx(10 + 0.02 * 1000)


def test_one_size_splits_by_its_phases(tmp_path: Path) -> None:
    cell = resolved(configured(index_memory=ONE))["colbert"]
    phases = {"planning_seconds": 1, "training_seconds": 2, "encoding_seconds": 3, "finalizing_seconds": 4}
    plant(tmp_path, cell, 100, 18, resolved=phases)
    assert seconds_of(tmp_path, system="colbert", documents=1000) == pytest.approx(8 + 0.1 * 1000)


def test_sizes_that_do_not_tell_apart_count_the_largest(tmp_path: Path) -> None:
    cell = resolved(configured(index_memory=ONE))["colbert"]
    plant(tmp_path, cell, 200, 20)
    plant(tmp_path, cell, 500, 19, resolved={"encoding_seconds": 10})
    assert seconds_of(tmp_path, system="colbert", documents=1000) == pytest.approx(9 + 0.02 * 1000)


def test_another_profiler_is_scaled(tmp_path: Path) -> None:
    cell = resolved(configured(index_memory=ONE))["colbert"]
    plant(tmp_path, cell, 200, 14)
    plant(tmp_path, cell, 500, 20)
    plain = seconds_of(tmp_path, system="colbert", documents=1000)
    assert seconds_of(tmp_path, system="colbert", documents=1000, profiler="spans") == pytest.approx(plain)
    slower = seconds_of(tmp_path, system="colbert", documents=1000, profiler="memory_profiler")
    assert slower == pytest.approx(1.25 * plain)
    for other in ("ledger", "memray"):
        assert seconds_of(tmp_path, system="colbert", documents=1000, profiler=other) > 3 * plain
    plant(tmp_path, cell, 200, 100, profiler="memory_profiler")
    plant(tmp_path, cell, 500, 130, profiler="memory_profiler")
    measured = seconds_of(tmp_path, system="colbert", documents=1000, profiler="memory_profiler")
    assert measured == pytest.approx(80 + 0.1 * 1000)


def test_runs_of_this_cell_come_before_those_of_another(tmp_path: Path) -> None:
    cell = resolved(configured(index_memory=ONE))["colbert"]
    plant(tmp_path, cell, 200, 500, digest="00000000")
    plant(tmp_path, cell, 500, 900, digest="00000000")
    assert seconds_of(tmp_path, system="colbert", documents=200) == pytest.approx(500)
    plant(tmp_path, cell, 300, 20, resolved={"encoding_seconds": 10})
    assert seconds_of(tmp_path, system="colbert", documents=600) == pytest.approx(10 + 2 * 10)


@pytest.mark.parametrize(
    "spoilt",
    [
        "",
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 1, "run": {}, "outcome": "completed"}',
        '{"format": 1, "run": {"system": ["colbert"]}, "resolved": {}, "outcome": "completed"}',
        '{"format": 1, "run": {"system": "colbert"}, "resolved": null, "outcome": "completed"}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_record_is_passed_over(tmp_path: Path, spoilt: str | bytes) -> None:
    cell = resolved(configured(index_memory=ONE))["colbert"]
    expected = seconds_of(tmp_path, system="colbert", documents=200)
    path = plant(tmp_path, cell, 200, 1)
    path.write_bytes(spoilt if isinstance(spoilt, bytes) else spoilt.encode())
    assert seconds_of(tmp_path, system="colbert", documents=200) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "timed_out"},
        {"resolved": {"device": "cuda"}},
        {"wall_seconds": None},
        {"wall_seconds": 0},
        {"wall_seconds": float("nan")},
        {"run": {"system": "toy", "cell": "0", "documents": 1, "profiler": "none"}},
    ],
)
def test_what_does_not_compare_is_passed_over(tmp_path: Path, changes: dict[str, Any]) -> None:
    cell = resolved(configured(index_memory=ONE))["colbert"]
    expected = seconds_of(tmp_path, system="colbert", documents=200)
    plant(tmp_path, cell, 200, 3600, **changes)
    assert seconds_of(tmp_path, system="colbert", documents=200) == expected


def test_a_larger_encoder_takes_longer(tmp_path: Path) -> None:
    small = configured(index_memory=ONE)
    large = configured(
        index_memory={**ONE, "checkpoint": "large"},
        checkpoints={
            "large": {
                "source": "synthetic",
                "layers": 12,
                "hidden_size": 384,
                "heads": 12,
                "intermediate_size": 1536,
            }
        },
    )
    times = [
        progress(settings, tmp_path)[0].times().seconds(("colbert", 10_000, "none", 1))
        for settings in (small, large)
    ]
    # 12 × (4 · 384² + 2 · 384 · 1536) weights, two operations each, 130 tokens, 2 threads of 50 GFLOP/s.
    weights = 12 * (4 * 384**2 + 2 * 384 * 1536) - 2 * (4 * 128**2 + 2 * 128 * 256)
    assert times[1] - times[0] == pytest.approx(10_000 * 130 * 2 * weights / 100e9)


def test_an_index_has_the_size_of_a_real_one() -> None:
    """Against indexes that this project measured: 500 synthetic documents, 96 dimensions."""
    systems = resolved(configured())
    measured = {"colbert": (38_935, 1.590), "ragatouille_faiss_true": (60_672, 3.956)}
    for name, (embeddings, mib) in measured.items():
        size = estimate.index_mib(systems[name].content, 96, 500, embeddings / 500)
        assert size == pytest.approx(mib, rel=0.2), name


def test_what_is_kept_takes_disk(tmp_path: Path) -> None:
    grids = [{"sizes": [10_000], "profilers": ["none", "spans"], "repeats": 2}]
    needed = {}
    for keep in ("indexes", "dumps", "none"):
        settings = configured(keep=keep, index_memory={"systems": ["colbert"], "grids": grids})
        needed[keep] = progress(settings, tmp_path)[0].expected().disk_mib["indexes and dumps"]
    one = estimate.index_mib(resolved(settings)["colbert"].content, 96, 10_000)
    # Four runs, two of which are compared.
    assert needed["indexes"] == pytest.approx(6 * one)
    assert needed["dumps"] == pytest.approx(5 * one)
    assert needed["none"] == pytest.approx(3 * one)


def test_slices_that_are_there_take_no_disk(tmp_path: Path) -> None:
    tracker, _ = progress(configured(index_memory=ONE), tmp_path)
    assert tracker.expected().disk_mib["documents"] == pytest.approx(1.4 * 2000 * 1000 / 2**20)
    assert tracker.expected(have=lambda documents: documents == 1000).disk_mib["documents"] == 0


BIG = {"systems": ["colbert"], "grids": [{"sizes": [2_000_000], "profilers": ["none"], "repeats": 3}]}


def test_what_the_disk_cannot_hold_is_refused(tmp_path: Path) -> None:
    tracker, _ = progress(configured(index_memory=BIG), tmp_path)
    expected = tracker.expected()
    assert estimate.announcement(expected, Path("results"), expected.total_disk_mib)
    with pytest.raises(InputError) as refused:
        estimate.announcement(expected, Path("results"), expected.total_disk_mib - 1)
    sentence = str(refused.value)
    needed = estimate.mib(expected.total_disk_mib)
    assert sentence.startswith(f"results: the disk has {needed} free, but 3 runs will need about {needed} (")
    assert f"use `keep: none` (about {estimate.mib(expected.disk_mib_keeping_none)}), fewer" in sentence
    assert "--directory" in sentence
    assert "\n" not in sentence
    # Where even that does not fit, it is no remedy.
    with pytest.raises(InputError, match="use fewer or smaller sizes"):
        estimate.announcement(expected, Path("results"), expected.disk_mib_keeping_none - 1)


def announced(settings: Configuration, results: Path, available: estimate.Available) -> list[str]:
    tracker, _ = progress(settings, results)
    return estimate.announcement(tracker.expected(), Path("results"), 1e7, available)


def warnings(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("Warning: ")]


def predicted(settings: Configuration, system: str, documents: int, **changed: Any) -> float:
    """The peak of the model itself, with settings changed."""
    content = resolved(settings)[system].content
    checkpoint = settings.checkpoints[settings.index_memory.checkpoint].model_dump()
    content = {**content, "settings": {**content["settings"], **changed}}
    return memory_plan.Case(content, checkpoint, documents).prediction().peak()[1]


def test_memory_is_that_of_the_run_that_needs_most(tmp_path: Path) -> None:
    """Below 75,000 passages PyTorch's k-means makes the distance matrix of all points: size alone does not say."""
    grids = [{"sizes": [8_000, 20_000], "profilers": ["none"]}]
    settings = configured(
        index_memory={"systems": ["ragatouille_faiss_false", "ragatouille_faiss_true"], "grids": grids}
    )
    tracker, _ = progress(settings, tmp_path)
    needs = tracker.expected().needs
    assert [need.host_mib for need in needs] == sorted((need.host_mib for need in needs), reverse=True)
    largest = max(
        (predicted(settings, system, documents), system, documents)
        for system in settings.index_memory.systems
        for documents in (8_000, 20_000)
    )
    assert (needs[0].host_mib, needs[0].system, needs[0].documents) == pytest.approx(largest)
    assert needs[0].documents == 8_000
    assert tracker.expected().memory_mib == pytest.approx(largest[0], abs=1)
    assert estimate.needs(tracker.expected())["largest"] == "ragatouille_faiss_false, 8,000 documents"


def test_finished_runs_say_how_long_passages_are(tmp_path: Path) -> None:
    settings = configured(index_memory=ONE)
    cell = resolved(settings)["colbert"]
    plant(tmp_path, cell, 100, 18, resolved={"passages": 150, "embeddings": 15_000})
    plant(tmp_path, cell, 200, 20, resolved={"passages": 400, "embeddings": 12_000})
    (need,) = progress(settings, tmp_path)[0].expected().needs
    quantities = need.case.quantities()
    assert (quantities.passages, quantities.tokens_per_passage) == (2000, 30)


def test_a_run_that_cannot_fit_is_announced_by_name(tmp_path: Path) -> None:
    settings = configured(index_memory=BIG)
    needed = predicted(settings, "colbert", 2_000_000)
    lines = announced(settings, tmp_path, estimate.Available(machine=8192.0))
    (warning,) = warnings(lines)
    assert warning.startswith("Warning: colbert, 2,000,000 documents (3 runs), will need about ")
    assert f"about {estimate.mib(needed)} of memory in " in warning
    assert f"{estimate.mib(needed - 8192)} more than this machine has (8.0 GiB)" in warning
    assert lines[-1].startswith("These runs are started all the same: ")
    assert "docs/planning.md" in lines[-1]
    # So many documents do fit, and a few percent more do not.
    documents = int(re.search(r"about ([\d,]+) documents would fit$", warning)[1].replace(",", ""))  # type: ignore[index]
    assert predicted(settings, "colbert", documents) <= 8192
    assert predicted(settings, "colbert", documents * 11 // 10) > 8192


def test_a_run_that_fits_is_not_announced(tmp_path: Path) -> None:
    settings = configured(index_memory=BIG)
    needed = predicted(settings, "colbert", 2_000_000)
    assert not warnings(announced(settings, tmp_path, estimate.Available(machine=needed)))
    assert not warnings(announced(settings, tmp_path, estimate.Available()))
    assert warnings(announced(settings, tmp_path, estimate.Available(machine=needed - 1)))


def test_the_settings_that_are_named_make_it_fit(tmp_path: Path) -> None:
    settings = configured(index_memory=BIG)
    in_process = predicted(settings, "colbert", 2_000_000, in_process=True)

    def named(size: float) -> dict[str, Any]:
        (warning,) = warnings(announced(settings, tmp_path, estimate.Available(machine=size)))
        found = re.search(r"; (.*) would fit$", warning)
        assert found is not None
        words = re.split(", | or ", found[1])
        assert words.pop().startswith("about ")
        return {word.split(": ")[0]: yaml.safe_load(word.split(": ")[1]) for word in words}

    remedies = named(in_process + 1)
    assert remedies["in_process"] is True
    assert "device" not in remedies  # there is no GPU here
    for name, value in remedies.items():
        assert predicted(settings, "colbert", 2_000_000, **{name: value}) <= in_process + 1
    assert "in_process" not in named(in_process - 1)


def test_a_limit_of_the_configuration_counts(tmp_path: Path) -> None:
    settings = configured(index_memory=BIG)
    (warning,) = warnings(announced(settings, tmp_path, estimate.Available(machine=1e6, limit=4096)))
    assert "more than measurement.memory_limit_mib allows (4.0 GiB)" in warning
    (warning,) = warnings(announced(settings, tmp_path, estimate.Available(machine=2048, limit=4096)))
    assert "more than this machine has (2.0 GiB)" in warning


def test_runs_of_a_kind_share_a_sentence(tmp_path: Path) -> None:
    grids = [{"sizes": [400_000, 500_000, 600_000], "profilers": ["none", "spans"]}]
    settings = configured(index_memory={"systems": ["colbert", "colbert_in_process"], "grids": grids})
    found = warnings(announced(settings, tmp_path, estimate.Available(machine=2500.0)))
    assert len(found) == 2
    assert all(
        "400,000, 500,000 and 600,000 documents (6 runs), will need up to about" in line for line in found
    )
    many = [{"sizes": [100_000 * step for step in range(1, 9)], "profilers": ["none"]}]
    settings = configured(index_memory={"systems": ["colbert"], "grids": many})
    (warning,) = warnings(announced(settings, tmp_path, estimate.Available(machine=2500.0)))
    assert "colbert, 100,000 to 800,000 documents (8 runs), will" in warning


def test_what_does_not_fit_a_gpu_is_announced(tmp_path: Path) -> None:
    settings = configured(index_memory=BIG)
    found = resolved(settings, device="cuda")
    runs = directories(settings, tmp_path, found)
    tracker = estimate.Progress(settings, found, runs, tmp_path, lambda: list(runs.values()))
    expected = tracker.expected()
    gpu = expected.needs[0].gpu_mib
    assert gpu > 0
    fits = estimate.announcement(expected, Path("results"), 1e7, estimate.Available(gpu=gpu))
    assert f"{estimate.mib(gpu)} of the GPU's" in fits[1]
    assert not warnings(fits)
    (warning,) = warnings(
        estimate.announcement(expected, Path("results"), 1e7, estimate.Available(gpu=gpu - 100))
    )
    assert "of GPU memory in " in warning
    assert "100 MiB more than the GPU has" in warning
    assert "device: cpu" in warning


@pytest.mark.parametrize("profiler", ["ledger", "memray", "memory_profiler"])
def test_profilers_take_memory_of_their_own(tmp_path: Path, profiler: str) -> None:
    needed = {}
    for name in ("none", "spans", profiler):
        grids = [{"sizes": [1000], "profilers": [name]}]
        settings = configured(index_memory={"systems": ["colbert"], "grids": grids, "artifact_pairs": []})
        needed[name] = progress(settings, tmp_path)[0].expected().memory_mib
    assert needed["none"] == needed["spans"] < needed[profiler]


def test_short_work_is_announced_in_a_line(tmp_path: Path) -> None:
    settings = configured(index_memory=ONE)
    plant(tmp_path, resolved(settings)["colbert"], 1000, 60)
    tracker, _ = progress(settings, tmp_path)
    (line,) = estimate.announcement(tracker.expected(), Path("results"), 2048, estimate.Available(65536.0))
    assert line.startswith("1 run to measure, one after another: about 1 minute, up to ")
    assert "(2.0 GiB free in results)" in line
    assert line.endswith("(this machine: 64.0 GiB).")
    assert estimate.announcement(tracker.expected(to_do=[]), Path("results"), 0) == []


def test_long_work_says_where_its_numbers_come_from(tmp_path: Path) -> None:
    settings = configured()
    found = resolved(settings)
    plant(tmp_path, found["colbert"], 200, 600)
    plant(tmp_path, found["colbert"], 500, 900)
    tracker, _ = progress(settings, tmp_path)
    lines = estimate.announcement(tracker.expected(), Path("results"), 1e6, estimate.Available(1e6))
    assert 3 <= len(lines) <= 5
    runs = len(configuration.experiment_runs(settings.index_memory))
    assert lines[0].startswith(f"{runs} runs to measure, one after another: about ")
    assert lines[2] == (
        "Times are from 2 finished runs of these systems (200 to 500 documents), as a start-up part and a part "
        "by documents; and from coefficients of two CPU cores for ragatouille_faiss_true, "
        "ragatouille_faiss_false, colbert_fair (no finished run here yet)."
    )


def test_a_thousand_runs_are_estimated_fast(tmp_path: Path) -> None:
    grids = [{"sizes": [200, 500], "profilers": ["none"], "repeats": 250}]
    settings = configured(
        index_memory={"systems": ["colbert", "colbert_in_process"], "grids": grids, "artifact_pairs": None}
    )
    found = resolved(settings)
    runs = configuration.experiment_runs(settings.index_memory)
    assert len(runs) == 1000
    for system, documents, profiler, repeat in runs:
        plant(
            tmp_path,
            found[system],
            documents,
            14.0,
            profiler=profiler,
            repeat=repeat,
            versions={f"package-{number}": "1.0" for number in range(100)},
        )
    started = time.process_time()
    tracker, paths = progress(settings, tmp_path)
    tracker.expected()
    messages = [format(tracker, path.partition("index_runs/")[2]) for path in paths.values()]
    assert messages[-1].startswith("1000 of 1000: ")
    assert time.process_time() - started < 1


def test_progress_counts_what_is_left(tmp_path: Path) -> None:
    settings = configured(
        index_memory={
            "systems": ["colbert"],
            "grids": [{"sizes": [200], "profilers": ["none"], "repeats": 4}],
        }
    )
    cell = resolved(settings)["colbert"]
    done = plant(tmp_path, cell, 200, 120)
    os.utime(done, (1, 1))  # of an earlier start
    runs = configuration.experiment_runs(settings.index_memory)
    tracker, paths = progress(settings, tmp_path, planned=runs[1:])
    keys = [path.partition("index_runs/")[2] for path in paths.values()]
    name = "colbert, 200 documents, profiler none, repeat"
    # Snakemake may format a message more than once.
    for _ in range(2):
        assert f"{tracker:{keys[1]}}" == f"2 of 4: {name} 2; 2 more, about 4 minutes"
    # What has finished since makes the rest of the estimate: the median of 120 and 360 seconds.
    later = plant(tmp_path, cell, 200, 360, repeat=2)
    os.utime(later, (time.time() + 10,) * 2)
    assert f"{tracker:{keys[3]}}" == f"3 of 4: {name} 4; 1 more, about 4 minutes"
    assert f"{tracker:{keys[2]}}" == f"4 of 4: {name} 3; the last"


def test_progress_never_ends_the_workflow(tmp_path: Path) -> None:
    settings = configured(index_memory=ONE)
    found = resolved(settings)
    runs = directories(settings, tmp_path, found)
    key = next(iter(runs.values())).partition("index_runs/")[2]
    name = "colbert, 1,000 documents, profiler none, repeat 1"

    def fails() -> list[str]:
        raise RuntimeError("no plan")

    assert f"{estimate.Progress(settings, found, runs, tmp_path, fails):{key}}" == name
    # A job on a cluster knows of itself only.
    assert f"{estimate.Progress(settings, found, runs, tmp_path, lambda: None):{key}}" == name
    assert (
        f"{estimate.Progress(settings, found, runs, tmp_path, lambda: []):somewhere/else}" == "somewhere/else"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (20, "less than a minute"),
        (60, "about 1 minute"),
        (350, "about 6 minutes"),
        (5900, "about 98 minutes"),
        (3 * 3600, "about 3 hours"),
        (100 * 3600, "about 4 days"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert estimate.about(seconds) == words


def test_environments_share_what_they_can() -> None:
    locks = [REPOSITORY / "envs" / f"{name}.yaml" for name in ("analysis", "colbert", "ragatouille")]
    assert estimate.environments_mib(locks, hard_links=False) == 600 + 2 * 7600
    assert estimate.environments_mib(locks, hard_links=True) == 600 + 7600 + 600
    assert estimate.environments_mib([], hard_links=True) == 0


def test_free_space_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert estimate.free_mib(tmp_path / "results" / "campaigns" / "x") > 0


def test_environments_of_versions_are_announced_and_refused() -> None:
    paths = [Path("envs/torch-2.0.1.yaml"), Path("envs/torch-2.1.0.yaml")]
    assert estimate.environments_announcement([], free=0) == []
    (line,) = estimate.environments_announcement(paths, free=50_000)
    assert line.startswith("2 environments to build (torch-2.0.1, torch-2.1.0): about 10")
    with pytest.raises(
        InputError, match=r"torch-2\.0\.1, torch-2\.1\.0 need about .* make room, or take versions"
    ):
        estimate.environments_announcement(paths, free=9_000)
