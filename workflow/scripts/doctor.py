"""Check whether this machine can measure: one thing a line, each with its remedy, and a verdict at the end.

The exit status is 0 when measuring can go on, 1 when something essential is missing. `snakemake doctor` calls it
with what the configuration needs; by hand it checks the machine alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from indexscope import doctor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], help="where runs compute (default: auto)"
    )
    parser.add_argument("--threads", type=int, help="threads of a measured run (default: 2)")
    parser.add_argument("--hub", action="store_true", help="check the Hugging Face hub too")
    parser.add_argument(
        "--needs", default="{}", help="what a configuration asks of the machine, as JSON (doctor.Needs)"
    )
    parser.add_argument(
        "--probes", nargs="*", type=Path, default=[], help="what probe_environment.py found (JSON)"
    )
    parser.add_argument("--log", type=Path, help="a file for what is not in order")
    arguments = parser.parse_args()

    given = {"device": arguments.device, "threads": arguments.threads, "hub": arguments.hub or None}
    asked = {name: value for name, value in given.items() if value is not None}
    needs = doctor.Needs.of({**json.loads(arguments.needs), **asked})
    probes = [json.loads(path.read_text()) for path in arguments.probes]
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    findings = []
    for finding in doctor.examine(needs, doctor.Machine(), probes):
        findings.append(finding)
        print(*doctor.lines([finding], colour), sep="\n", flush=True)
    print(f"\n{doctor.verdict(findings)}", flush=True)
    if arguments.log is not None:
        wrong = [finding for finding in findings if finding.status != doctor.OK]
        arguments.log.write_text("\n".join([*doctor.lines(wrong), doctor.verdict(findings)]) + "\n")
    sys.exit(any(finding.status == doctor.FAIL for finding in findings))


if __name__ == "__main__":
    main()
