"""Build a locked environment in a folder of its own, by conda; a build that fails is written down as a result.

Snakemake builds the environments of `conda:` before any job, and one that fails stops all work. Where versions of
a library are compared, a version that cannot be installed here is a finding about that version, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PREFIX = "prefix"  # beside the manifest


def build(conda: str, specification: Path, prefix: Path) -> str | None:
    """Build the environment; returns why there is none, in one sentence, or None."""
    command = [conda, "env", "create", "--quiet", "--file", str(specification), "--prefix", str(prefix)]
    # The locks are complete: pip must not look for more.
    environment = {**os.environ, "PIP_NO_DEPS": "1"}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        printed, _ = process.communicate()
    print(printed, end="")
    if process.returncode < 0 or process.returncode == 128 + signal.SIGTERM:
        sys.exit(f"{prefix}: the build was stopped")  # not a result: the next start builds it
    if process.returncode == 0 and (prefix / "bin" / "python").exists():
        return None
    return f"{specification.name} could not be built: {reason(printed)}"


def reason(printed: str) -> str:
    """The end of what conda printed, from its last line that begins as an error does."""
    lines = [" ".join(line.split()) for line in printed.splitlines() if line.strip()]
    begins = [
        number for number, line in enumerate(lines) if re.match(r"(\w*error|fatal)\b", line, re.IGNORECASE)
    ]
    said = lines[begins[-1] :] if begins else lines[-1:]
    return " ".join(said)[:400] or "conda said nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specification", type=Path, metavar="YAML", help="the lock, envs/NAME.yaml")
    parser.add_argument(
        "--output", type=Path, required=True, help="manifest (JSON); the environment is built beside it"
    )
    arguments = parser.parse_args()
    conda = os.environ.get("CONDA_EXE") or shutil.which("conda")
    if conda is None:
        sys.exit(
            f"{arguments.specification}: conda builds it and is not on PATH: start with `uv run`, which has a stand-in"
        )
    if not arguments.specification.is_file():
        sys.exit(f"{arguments.specification}: is no file; name a lock, envs/NAME.yaml")
    folder = arguments.output.resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    prefix = folder / PREFIX
    if prefix.exists():  # of a build that was killed
        shutil.rmtree(prefix)
    problem = build(conda, arguments.specification, prefix)
    if problem is not None:
        shutil.rmtree(prefix, ignore_errors=True)
        problem += f" (to try again, delete {arguments.output.parent})"
    manifest = {
        "format": 1,
        "environment": arguments.specification.stem,
        "outcome": "built" if problem is None else "failed",
        "detail": problem,
    }
    partial = arguments.output.with_name(arguments.output.name + ".partial")
    partial.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    partial.replace(arguments.output)
    print(f"{arguments.output}: {problem or 'built'}")


if __name__ == "__main__":
    main()
