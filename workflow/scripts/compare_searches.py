"""Compare searches of two versions: Recall, MRR and nDCG, query by query, with a paired permutation test.

The pairs are a JSON list of {"left_version", "right_version", "comparison", "left": FILE, "right": FILE}, each
FILE as search_queries.py wrote it; comparison is own index, index of left or index of right.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis.search_comparison import (
    compare_pair,
    read_search_pairs,
    search_sentences,
    search_verdict,
)
from indexscope.config import settings_from_json
from indexscope.corpora.queries import read_qrels
from indexscope.run_record import InputError
from indexscope.settings.torch_versions import Search


def main() -> None:
    """Parse the command line, compare, write both tables, print the findings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", required=True, metavar="JSON", help="the pairs, or a file that holds them")
    parser.add_argument("--qrels", required=True, type=Path, help="judgements that make_queries.py wrote")
    parser.add_argument(
        "--search", required=True, metavar="JSON", help="settings of the search, inline or a file"
    )
    parser.add_argument(
        "--output-search", required=True, type=Path, help="the table of measures to write (Parquet)"
    )
    parser.add_argument(
        "--output-queries", required=True, type=Path, help="the table of queries to write (Parquet)"
    )
    arguments = parser.parse_args()
    try:
        settings = settings_from_json(Search, arguments.search, "--search")
        qrels = read_qrels(arguments.qrels)
        compared = [compare_pair(pair, qrels, settings) for pair in read_search_pairs(arguments.pairs)]
    except (InputError, OSError) as error:
        sys.exit(str(error))
    measures = [row for each in compared for row in each.measures]
    queries = [row for each in compared for row in each.queries]
    schemas.write_table(queries, schemas.TORCH_SEARCH_QUERIES, arguments.output_queries)
    schemas.write_table(measures, schemas.TORCH_SEARCH, arguments.output_search)
    print(*search_sentences(measures), search_verdict(measures), sep="\n")


if __name__ == "__main__":
    main()
