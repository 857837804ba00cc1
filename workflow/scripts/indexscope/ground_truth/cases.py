"""The cases of known size, each measured in a fresh process, and what every instrument sees of them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from ..measure import calibration, records
from ..measure.process_tree import TreeSampler
from . import process, spikes
from .spikes import Spike

CURVE, BENCHMARK = "curve", "Snakemake benchmark"
INSTRUMENTS = [process.SPANS, CURVE, process.THREAD, process.MEMORY_PROFILER]  # that `observe` can use
KILLED = "killed"
_SCRIPTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_SPARE_MIB = 512  # that must be left while a spike is held
_TIMEOUT_SECONDS = 60.0

Row = Dict[str, Any]  # of schemas.MEASUREMENT_ACCURACY


class Case(NamedTuple):
    """A spike and what is done with it; `repeats` fresh processes."""

    spike: Spike
    name: str = process.SIMPLE
    repeats: int = 1

    @property
    def needed_mib(self) -> int:
        """Most that is resident at once."""
        return 3 * self.spike.size_mib // 2 if self.name == "nested" else self.spike.size_mib


def sizes_and_pages() -> List[Case]:
    """Every size held 5 ms, with the GIL held and released, on small and on huge pages."""
    return [
        Case(Spike(size, gil=gil, pages=pages), repeats=3 if size in (64, 512) else 1)
        for size in (4, 64, 512, 2048)
        for gil in (spikes.HELD, spikes.RELEASED)
        for pages in (spikes.SMALL, spikes.HUGE)
    ]


def longer() -> List[Case]:
    """One size held longer, which shows from when on an instrument sees it."""
    return [
        Case(Spike(512, hold, gil), repeats=3)
        for hold in (0.1, 1.0)
        for gil in (spikes.HELD, spikes.RELEASED)
    ]


def kinds() -> List[Case]:
    """Memory that is not anonymous, or never touched."""
    return [Case(Spike(64, kind=kind)) for kind in (spikes.UNTOUCHED, spikes.SHARED, spikes.OF_FILE)]


def of_spans() -> List[Case]:
    """What only spans can be asked: calls within calls, threads, child processes, a call that fails."""
    return [
        Case(Spike(64), "nested"),
        Case(Spike(512), "small after large"),
        Case(Spike(512), "threads"),
        Case(Spike(64), "forked child"),
        Case(Spike(64), "spawned child"),
        Case(Spike(64), "exception"),
    ]


def cases_of(instrument: str) -> List[Case]:
    """What an instrument is asked to see."""
    if instrument == process.SPANS:
        return [*sizes_and_pages(), *longer(), *kinds(), *of_spans()]
    # Many huge pages at once can take the kernel ten seconds to find: few repeats, and none of the largest.
    small = [case for case in sizes_and_pages() if case.spike.pages == spikes.SMALL]
    huge = [case._replace(repeats=1) for case in sizes_and_pages() if case.spike.pages == spikes.HUGE]
    return [*small, *(case for case in huge if case.spike.size_mib < 2048), *longer(), *kinds()]


def observe_all(library: str, interval_seconds: float) -> Iterator[Row]:
    """The rows of every instrument that needs no workflow; each as soon as it is measured."""
    for instrument in INSTRUMENTS:
        for case in cases_of(instrument):
            for repeat in range(1, case.repeats + 1):
                yield from observe(instrument, case, repeat, library, interval_seconds)
    yield from observe_killed(Spike(512), library, interval_seconds)


def observe(instrument: str, case: Case, repeat: int, library: str, interval_seconds: float) -> List[Row]:
    """Measure one case once with one instrument.

    Raises:
        RuntimeError: the process failed; the message has what it printed.
    """
    lacking = _lacking(case)
    if lacking:
        return [_row(instrument, case, repeat, {"true_mib": case.spike.true_mib, "detail": lacking})]
    if instrument == CURVE:
        readings = [_curve(case, library, interval_seconds)]
    else:
        with tempfile.TemporaryDirectory() as directory:
            request = _request(instrument, case, library, os.path.join(directory, "spans.jsonl"))
            done = subprocess.run(
                request, stdout=subprocess.PIPE, universal_newlines=True, env=_environment(), check=False
            )
        if done.returncode:
            raise RuntimeError("%s, %s: the process ended with %d" % (instrument, case, done.returncode))
        readings = json.loads(done.stdout)
    return [_row(instrument, case, repeat, reading) for reading in readings]


def observe_killed(spike: Spike, library: str, interval_seconds: float) -> List[Row]:
    """A process under spans that is killed in mid-span: what is left of it in the spans and in the curve."""
    case = Case(spike._replace(hold_seconds=_TIMEOUT_SECONDS))
    named = Case(spike, KILLED)
    lacking = _lacking(case)
    if lacking:
        reading = {"true_mib": spike.true_mib, "detail": lacking}
        return [_row(instrument, named, 1, reading) for instrument in (process.SPANS, CURVE)]
    with tempfile.TemporaryDirectory() as directory:
        spans, curve_path = os.path.join(directory, "spans.jsonl"), os.path.join(directory, "curve.csv")
        child = subprocess.Popen(
            _request(process.SPANS, case, library, spans), stdout=subprocess.DEVNULL, env=_environment()
        )
        with open(curve_path, "w") as curve:
            _kill_in_mid_span(
                child, TreeSampler(child.pid, curve, time.monotonic_ns()), spike, interval_seconds
            )
        # The level before the spike is the end of the warm-up's span, the only one that was written.
        written = list(records.read(spans))
        base = written[0]["end_rss_mib"] if written else 0.0
        with open(curve_path) as lines:
            highest = max(float(line.split(",")[3]) for line in lines)
    in_mid_span = [span for span in written if span["peak_rss_mib"] - base > spike.true_mib / 2]
    ended = signal.Signals(-child.returncode).name if child.returncode < 0 else str(child.returncode)
    detail = "ended by %s" % ended
    true = {"true_mib": spike.true_mib}
    nothing = {**true, "detail": detail + "; the span was not written"}
    return [
        _row(
            process.SPANS,
            named,
            1,
            nothing if not in_mid_span else {**true, "detail": "written, though killed"},
        ),
        _row(CURVE, named, 1, {**true, "seen_mib": round(highest - base, 3), "detail": detail}),
    ]


def _kill_in_mid_span(
    child: "subprocess.Popen[bytes]", sampler: TreeSampler, spike: Spike, interval_seconds: float
) -> None:
    """Kill the child once a few samples have shown its spike, or after ten seconds."""
    deadline = time.monotonic() + 10
    shown = 0
    while child.poll() is None and time.monotonic() < deadline and shown < 5:
        sampler.sample()
        shown += sampler.tree_kib > spike.true_mib * 1024
        time.sleep(interval_seconds)
    child.kill()
    child.wait()


def become_benchmarked(spike: Spike, library: str, shell: int) -> None:
    """Make the spike while Snakemake's benchmark looks on; prints the level before it, and ends this program.

    Args:
        shell: process id of the job's shell, whose memory the benchmark counts too.
    """
    request = _request(process.NOTHING, Case(spike), library, "", shell=shell)
    # In place of this process: the benchmark adds up a job's whole tree, in which there shall be nothing else.
    os.execve(request[0], request, _environment())


def benchmark_row(spike: Spike, repeat: int, base_mib: float, max_rss_mib: Optional[float]) -> Row:
    """The row of one line of Snakemake's benchmark; `max_rss` is null where it took no sample in time."""
    risen = 0.0 if max_rss_mib is None else max(0.0, max_rss_mib - base_mib)
    words = "no sample" if max_rss_mib is None else "max_rss %.1f MiB" % max_rss_mib
    reading = {
        "true_mib": spike.true_mib,
        "seen_mib": round(risen, 3),
        "detail": "%s, %.1f MiB before the spike" % (words, base_mib),
    }
    return _row(BENCHMARK, Case(spike), repeat, reading)


def _curve(case: Case, library: str, interval_seconds: float) -> Dict[str, Any]:
    """What the supervisor's sampler sees of a process that makes the spike."""
    child = subprocess.Popen(
        _request(process.NOTHING, case, library, ""),
        stdout=subprocess.PIPE,
        universal_newlines=True,
        env=_environment(),
    )
    sampler = TreeSampler(child.pid, io.StringIO(), time.monotonic_ns())
    while child.poll() is None:
        sampler.sample()
        time.sleep(interval_seconds)
    printed = child.communicate()[0]
    if child.returncode:
        raise RuntimeError("%s, %s: the process ended with %d" % (CURVE, case, child.returncode))
    base = json.loads(printed.splitlines()[0])["base_mib"]
    return {
        "true_mib": case.spike.true_mib,
        "seen_mib": round(max(0.0, sampler.tree_peak_kib / 1024 - base), 3),
        "detail": "every %g ms" % (1000 * (sampler.median_interval() or interval_seconds)),
    }


def _lacking(case: Case) -> str:
    available = spikes.available_mib()
    if available >= case.needed_mib + _SPARE_MIB:
        return ""
    return "not made: needs %d MiB of free memory, %d are available" % (
        case.needed_mib + _SPARE_MIB,
        available,
    )


def _request(instrument: str, case: Case, library: str, spans: str, **more: Any) -> List[str]:
    request = {
        "instrument": instrument,
        "case": case.name,
        "spike": case.spike._asdict(),
        "library": os.path.abspath(library),
        "spans": spans,
        **more,
    }
    return [sys.executable, "-m", "indexscope.ground_truth.process", json.dumps(request)]


def _environment() -> Dict[str, str]:
    return {**os.environ, "PYTHONPATH": _SCRIPTS}


def _row(instrument: str, case: Case, repeat: int, reading: Dict[str, Any]) -> Row:
    seen = reading.get("seen_mib")
    bound = calibration.peak_error_bound_mib()
    error = None if seen is None else round(seen - reading["true_mib"], 3)
    kind = case.spike.kind
    plain = kind if case.name == process.SIMPLE and kind != spikes.ANONYMOUS else case.name
    return {
        "instrument": instrument,
        "case": reading.get("case") or plain,
        "size_mib": case.spike.size_mib,
        "gil": case.spike.gil,
        "pages": case.spike.pages,
        "hold_seconds": case.spike.hold_seconds,
        "repeat": repeat,
        "true_mib": float(reading["true_mib"]),
        "seen_mib": seen,
        "error_mib": error,
        "bound_mib": bound,
        "within_bound": None if error is None or bound is None else abs(error) <= bound,
        "detail": reading.get("detail") or None,
    }
