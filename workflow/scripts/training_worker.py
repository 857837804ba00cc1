"""Train as a specification says: without --rank start the ranks, with it be one. measure_training.py starts it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from indexscope.document_access import launcher, specification


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--specification", type=Path, required=True, help="what to train, and where to write (JSON)"
    )
    parser.add_argument("--rank", type=int, help="be this rank, from 0; default: start all of them")
    arguments = parser.parse_args()
    told = specification.read(arguments.specification)
    if arguments.rank is None:
        sys.exit(launcher.launch(Path(__file__).resolve(), told))
    launcher.end_with_parent()
    from indexscope.document_access import trainer

    code = trainer.run(told, arguments.rank)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not by sys.exit: for a second PyTorch would unload, and touch 100 MiB of its libraries' pages.
    os._exit(code)


if __name__ == "__main__":
    main()
