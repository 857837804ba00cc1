"""Measure what a training's processes take without documents, predict each world size, and set the memory limit.

Trains a few steps at world sizes 1 and 2. The documents' part is computed from the collection itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from pathlib import Path

from indexscope.run_record import InputError

WORKER = Path(__file__).with_name("training_worker.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--training",
        type=json.loads,
        required=True,
        metavar="JSON",
        help="content of a training under a limit",
    )
    parser.add_argument("--collection", type=Path, required=True, help="the documents (JSON lines or TSV)")
    parser.add_argument("--sources", type=Path, required=True, help="manifest.json of prepare_documents.py")
    parser.add_argument("--samples", type=Path, required=True, help="samples of order_samples.py")
    parser.add_argument(
        "--tokenizer", type=Path, required=True, metavar="FOLDER", help="a checkpoint's folder"
    )
    parser.add_argument("--output", type=Path, required=True, help="limit.json to write")
    arguments = parser.parse_args()
    from indexscope.document_access import measured_training, memory_calibration

    # Leave by an exception, so that the ranks are ended and nothing half-written stays.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    folder = arguments.output.with_name(arguments.output.name + ".partial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        paths = measured_training.Paths(
            arguments.collection, arguments.sources, arguments.samples, arguments.tokenizer, WORKER
        )
        planned = memory_calibration.plan(arguments.training, paths, folder)
        written = folder / "limit.json"
        written.write_text(json.dumps(planned, indent=1) + "\n", encoding="utf-8")
        written.replace(arguments.output)
    except InputError as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
