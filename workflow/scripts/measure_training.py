"""Train once under measurement, in fresh processes, and write the folder of the run; how it ends is a result."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from indexscope.run_record import InputError, read_json_object

if not sys.platform.startswith("linux"):
    sys.exit("Measuring needs Linux (/proc); tables, figures and the report work everywhere.")

_PLAN = "make it with calibrate_training_memory.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training", required=True, metavar="JSON", help="all that determines the training")
    parser.add_argument("--collection", type=Path, required=True, help="the documents (JSON lines)")
    parser.add_argument(
        "--sources", type=Path, required=True, help="manifest.json that prepare_documents.py wrote"
    )
    parser.add_argument("--samples", type=Path, required=True, help="what order_samples.py wrote")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of a checkpoint")
    parser.add_argument(
        "--limit", type=Path, help="memory limit and predictions, of calibrate_training_memory.py (JSON)"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the run to write")
    arguments = parser.parse_args()

    from indexscope.document_access import measured_training

    # Leave by an exception, so that the ranks are ended and nothing half-written stays.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        training = json.loads(arguments.training)
        limit, predicted = None, None
        if arguments.limit is not None:
            limit, predicted = _limit(arguments.limit, training["world_size"])
        paths = measured_training.Paths(
            arguments.collection,
            arguments.sources,
            arguments.samples,
            arguments.tokenizer,
            Path(__file__).resolve().with_name("training_worker.py"),
        )
        record = measured_training.measure(training, paths, arguments.output, limit, predicted)
    except (InputError, OSError) as error:
        sys.exit(str(error))
    detail = record["outcome_detail"]
    print(f"{arguments.output}: {record['outcome']}{f' ({detail})' if detail else ''}")


def _limit(path: Path, world_size: int) -> tuple[int, float]:
    """The memory limit and what is predicted for this world size, both in MiB."""
    plan: dict[str, Any] = read_json_object(path, remedy=_PLAN)
    try:
        return int(plan["limit_mib"]), float(plan["predictions"][str(world_size)])
    except KeyError as error:
        raise InputError(f"{path}: {error.args[0]} is missing; {_PLAN}") from None


if __name__ == "__main__":
    main()
