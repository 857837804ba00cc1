"""Make docs/gallery from finished results: figures, example tables, the published figures, the rulegraph.

Run it after `uv run snakemake --cores all all published_figures archive torch_versions faiss_tables faiss_tables_rfc
document_access document_access_scale remote_indexing --configfile config/explained.yaml`. The rulegraph needs
Graphviz (`dot`).
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import vl_convert

REPOSITORY = Path(__file__).resolve().parents[1]
# Larger tables are shown by their first rows: an example, not an archive.
EXAMPLE_ROWS = 2000
LARGEST_SVG = 500_000  # bytes


def figures(source: Path, gallery: Path) -> None:
    """Every SVG below `source`; as a PNG where the SVG is large."""
    gallery.mkdir(parents=True, exist_ok=True)
    found = sorted(source.glob("*.svg"))
    if not found:
        sys.exit(f"{source}: holds no figure; run snakemake first")
    for svg in found:
        if svg.stat().st_size <= LARGEST_SVG:
            shutil.copyfile(svg, gallery / svg.name)
        else:
            png = vl_convert.svg_to_png(svg.read_text(encoding="utf-8"), scale=1.0)
            (gallery / f"{svg.stem}.png").write_bytes(png)


def tables(archive: Path, gallery: Path) -> None:
    """Example tables: each with its schema, at most EXAMPLE_ROWS rows; of an archive, which names no machine."""
    gallery.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as members:
        for name in sorted(members.namelist()):
            if name.endswith(".parquet"):
                table = pq.read_table(io.BytesIO(members.read(name)))
                pq.write_table(table.slice(0, EXAMPLE_ROWS), gallery / Path(name).name, compression="zstd")


def published(source: Path, gallery: Path) -> None:
    """The published study's tables as they are, and its figures."""
    figures(source, gallery)
    for path in sorted([*source.glob("*.md"), *source.glob("*.csv")]):
        shutil.copyfile(path, gallery / path.name)


def rulegraph(gallery: Path) -> None:
    """The rules of the default configuration and what needs what."""
    if shutil.which("dot") is None:
        sys.exit("The rulegraph needs Graphviz: apt-get install graphviz")
    with tempfile.TemporaryDirectory() as empty:  # where nothing has been made, every rule is needed
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile"),
            *("--directory", empty, "--rulegraph", "dot", "--quiet", "all"),
        ]
        dot = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    dot = dot[dot.index("digraph") :].replace(
        "digraph snakemake_dag {", "digraph { rankdir=LR; nodesep=0.15;", 1
    )
    svg = subprocess.run(["dot", "-Tsvg"], input=dot, check=True, capture_output=True, text=True).stdout
    (gallery / "rulegraph.svg").write_text(svg, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--results", type=Path, default=REPOSITORY / "results", help="finished results (default: results)"
    )
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "docs" / "gallery", help="(default: docs/gallery)"
    )
    parser.add_argument(
        "--scale", type=float, default=1.5, help="PNG pixels for each SVG pixel (default: 1.5)"
    )
    args = parser.parse_args()
    figures(args.results / "figures", args.output)
    tables(args.results / "archive.zip", args.output / "tables")
    published(args.results / "published", args.output / "published")
    rulegraph(args.output)
    print(
        f"{args.output}: {sum(path.stat().st_size for path in args.output.rglob('*') if path.is_file())} bytes"
    )


if __name__ == "__main__":
    main()
