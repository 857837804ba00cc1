"""Ask an environment what only it can tell: torch, faiss, ninja, and whether extensions compile in it.

Runs in that environment, for `snakemake doctor`; standard library only. Each library is imported in a process of
its own, so that one that crashes or hangs is an answer too.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
from typing import Any

TORCH = """
import json, torch
available = torch.cuda.is_available()
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "available": available,
    "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if available else []}))
"""
FAISS = """
import json, faiss
gpu_build = hasattr(faiss, "StandardGpuResources")
print(json.dumps({"version": faiss.__version__, "gpu_build": gpu_build,
    "gpus": faiss.get_num_gpus() if gpu_build else 0}))
"""
PACKAGES = ("torch", "colbert-ai", "ragatouille", "transformers", "faiss-gpu-cu12", "faiss-cpu")
SECONDS = 180  # a cold disk reads torch for a minute


def asked(code: str) -> dict[str, Any]:
    """What a program prints, as JSON; `error` says in a line why it does not."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {SECONDS} seconds"}
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
    except (IndexError, ValueError):
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return {"error": said[-1] if said else f"exit status {done.returncode}"}


def compiler_problem() -> str | None:
    """Why C++ that includes Python's headers does not compile; None when it does."""
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        return f"{compiler} is not on the PATH"
    command = [
        compiler,
        "-std=c++17",
        "-fsyntax-only",
        "-I" + sysconfig.get_paths()["include"],
        "-x",
        "c++",
        "-",
    ]
    done = subprocess.run(command, input="#include <Python.h>\n", capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    errors = [line.strip() for line in done.stderr.splitlines() if "error" in line]
    return errors[0] if errors else f"{compiler} ends with status {done.returncode}"


def nvcc_release() -> str | None:
    if shutil.which("nvcc") is None:
        return None
    done = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"release ([\d.]+)", done.stdout)
    return match.group(1) if match else None


def installed() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", required=True, help="its name, envs/NAME.yaml")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="what was found (JSON)")
    arguments = parser.parse_args()
    found = {
        "environment": arguments.environment,
        "prefix": sys.prefix,
        "python": sys.version.split()[0],
        "packages": installed(),
        "torch": asked(TORCH),
        "faiss": asked(FAISS),
        "ninja": shutil.which("ninja"),
        "compiler": compiler_problem(),
        "nvcc": nvcc_release(),
    }
    partial = arguments.output.with_name(arguments.output.name + ".partial")
    partial.write_text(json.dumps(found, indent=1) + "\n")
    partial.replace(arguments.output)


if __name__ == "__main__":
    main()
