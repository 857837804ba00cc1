"""Peak memory and time of slicing a corpus, for each kind of source, each slice in a process of its own.

    uv run python benchmarks/slicing.py --documents 2000000 --output slicing.csv

The synthetic corpus is sliced first; the other kinds then read the same documents from files in which the
slice is written again (JSON lines, gzip, TSV, CSV, Parquet), through slice_dataset.py as the workflow calls it.
Peak memory is the largest resident memory that the process has had (ru_maxrss of wait4, the kernel's VmHWM).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import measured

PROGRAM = measured.SCRIPTS / "slice_dataset.py"


class Measurement(NamedTuple):
    """One slice: what it was made from, its size, its time and its process's peak."""

    source: str
    documents: int
    input_mib: float
    output_mib: float
    seconds: float
    peak_rss_mib: float


def slice_corpus(source: str, corpus: dict[str, Any], documents: int, output: Path) -> Measurement:
    """Slice in a fresh process and measure it; SystemExit when it fails."""
    command = [sys.executable, PROGRAM, "--corpus", json.dumps(corpus), "--documents", str(documents)]
    done = measured.run([*command, "--output", output])
    path = corpus.get("path")
    written = sum(output.with_suffix(suffix).stat().st_size for suffix in (".parquet", ".jsonl"))
    return Measurement(
        source,
        documents,
        round(Path(path).stat().st_size / 2**20, 1) if path else 0.0,
        round(written / 2**20, 1),
        round(done.seconds, 1),
        round(done.peak_mib, 1),
    )


def documents_of(jsonl: Path) -> Iterator[tuple[str, str]]:
    """The documents of a slice, one at a time."""
    with jsonl.open(encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            yield document["document_id"], document["text"]


def write_gzip(made: Path, path: Path) -> None:
    with made.with_suffix(".jsonl").open("rb") as source, gzip.open(path, "wb", compresslevel=1) as target:
        while block := source.read(1 << 20):
            target.write(block)


def write_tsv(made: Path, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as target:
        target.write("document_id\ttext\n")  # its fields have no line ends, so this one is not compared
        for identifier, text in documents_of(made.with_suffix(".jsonl")):
            target.write(f"{identifier}\t{' '.join(text.split())}\n")


def write_csv(made: Path, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["document_id", "text"])
        writer.writerows(documents_of(made.with_suffix(".jsonl")))


def link(made: Path, path: Path) -> None:
    path.symlink_to(made.with_suffix(path.suffix).resolve())


def same_content(left: Path, right: Path) -> bool:
    """Whether two files are equal; in blocks."""
    with left.open("rb") as first, right.open("rb") as second:
        while block := first.read(1 << 20):
            if block != second.read(1 << 20):
                return False
        return not second.read(1)


FILES: dict[str, Callable[[Path, Path], None]] = {
    "jsonl": link,
    "jsonl.gz": write_gzip,
    "tsv": write_tsv,
    "csv": write_csv,
    "parquet": link,
}


def measurements(documents: int, sources: Sequence[str], scratch: Path) -> Iterator[Measurement]:
    """Slice the synthetic corpus, then each kind of file with the same documents."""
    made, again = scratch / "synthetic.parquet", scratch / "again.parquet"
    yield slice_corpus("synthetic", {"source": "synthetic"}, documents, made)
    for suffix in sources:
        path = scratch / f"corpus.{suffix}"
        FILES[suffix](made, path)
        corpus = {"source": "files", "path": str(path), "id_column": "document_id"}
        yield slice_corpus(f"files, {suffix}", corpus, documents, again)
        if suffix != "tsv" and not same_content(again.with_suffix(".jsonl"), made.with_suffix(".jsonl")):
            sys.exit(f"files, {suffix}: the slice differs from the one that its file was made from")
        path.unlink()


def main() -> None:
    """Parse the command line, slice from each source, print a table and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--documents", type=int, default=2_000_000, help="documents of each slice (2,000,000)"
    )
    parser.add_argument(
        "--sources", nargs="*", choices=list(FILES), default=list(FILES), help="files to read besides (all)"
    )
    parser.add_argument("--limit-mib", type=float, help="fail when a slice's peak memory passes this")
    parser.add_argument("--output", required=True, type=Path, help="CSV file to write")
    parser.add_argument(
        "--scratch", type=Path, help="folder for the slices, removed afterwards (a temporary one)"
    )
    arguments = parser.parse_args()

    rows: list[Measurement] = []
    print(
        f"{'source':<16}{'documents':>12}{'input MiB':>12}{'output MiB':>12}{'seconds':>10}{'peak RSS MiB':>14}"
    )
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        for row in measurements(arguments.documents, arguments.sources, Path(scratch)):
            rows.append(row)
            print(
                f"{row.source:<16}{row.documents:>12,}{row.input_mib:>12,.1f}{row.output_mib:>12,.1f}"
                f"{row.seconds:>10,.1f}{row.peak_rss_mib:>14,.1f}",
                flush=True,
            )
    partial = arguments.output.with_name(arguments.output.name + ".partial")
    with partial.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(Measurement._fields)
        writer.writerows(rows)
    partial.replace(arguments.output)
    peak = max(row.peak_rss_mib for row in rows)
    if arguments.limit_mib is not None and peak > arguments.limit_mib:
        sys.exit(f"a slice's peak, {peak:.1f} MiB, passes --limit-mib {arguments.limit_mib:g}")


if __name__ == "__main__":
    main()
