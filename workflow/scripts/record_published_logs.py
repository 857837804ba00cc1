"""Record what the published study's logs give for each function, for use where the logs are not at hand.

    snakemake --configfile config/published_logs.yaml results/tables/external_logs.parquet
    python workflow/scripts/record_published_logs.py --external results/tables/external_logs.parquet \\
        --output config/published/memory_by_function_in_logs.csv
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope.analysis import external_logs, published
from indexscope.analysis.published_tables import to_csv, write_text
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--external", type=Path, required=True, metavar="TABLE", help="external_logs.parquet")
    parser.add_argument("--output", type=Path, required=True, help="the CSV to write")
    arguments = parser.parse_args()
    try:
        logs = published.read_logs(
            external_logs.read(arguments.external), report=lambda said: print(said, file=sys.stderr)
        )
    except InputError as error:
        sys.exit(str(error))
    if not logs:
        sys.exit(f"{arguments.external}: no log is marked `published: true`; use config/published_logs.yaml")
    write_text(
        arguments.output,
        to_csv(
            {
                "framework": framework,
                "use_faiss": use_faiss,
                "documents": documents,
                "function": function,
                **{f"{column}_mib": getattr(numbers, column) for column in published.COLUMNS},
                "log": values.log,
                "sha256": values.sha256,
            }
            for (framework, use_faiss, documents), values in sorted(logs.items())
            for function, numbers in values.functions.items()
        ),
    )


if __name__ == "__main__":
    main()
