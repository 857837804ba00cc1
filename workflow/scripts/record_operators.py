"""Record every operator that ColBERT calls while it encodes texts, corpus batches and random tokens, and indexes.

Runs in the environment of a PyTorch version; replay_operators.py gives the recorded inputs to another one.
Where INDEXSCOPE_UNAVAILABLE says why there is no such environment, the recording says only that.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from indexscope.artifacts.operator_store import UNAVAILABLE, Writer, write_unavailable
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a ColBERT checkpoint")
    parser.add_argument(
        "--collection", type=Path, required=True, help="documents as JSON lines: document_id, text"
    )
    parser.add_argument(
        "--operators", required=True, metavar="JSON", help="what to encode: torch_versions.operators"
    )
    parser.add_argument(
        "--index-settings", required=True, metavar="JSON", help="of ColBERT: torch_versions.settings"
    )
    parser.add_argument("--threads", type=int, required=True, help="threads of torch and of k-means")
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True, help="where to run")
    parser.add_argument("--output", type=Path, required=True, help="folder of the recording")
    arguments = parser.parse_args()
    try:
        if reason := os.environ.get(UNAVAILABLE):
            write_unavailable(arguments.output, reason)
            return
        # Before torch is imported: it, MKL and faiss read these once.
        os.environ.update(
            {name: str(arguments.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")},
            HF_HUB_OFFLINE="1",
            TOKENIZERS_PARALLELISM="false",
        )
        if arguments.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        from indexscope.artifacts.operator_cases import Request, parse_settings, record

        request = Request(
            arguments.checkpoint.resolve(),
            arguments.collection,
            parse_settings("--operators", arguments.operators),
            parse_settings("--index-settings", arguments.index_settings),
            arguments.threads,
            arguments.device,
        )
        with Writer(arguments.output) as writer:
            record(request, writer)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
