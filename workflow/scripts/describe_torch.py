"""Write down what decides the arithmetic of an environment's PyTorch: build, libraries, CPU flags, threads."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_VECTOR = re.compile(r"(sse|avx|fma|f16c|amx|bmi|vnni)")


def first(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1].strip() if match else None


def of_torch(device: str, threads: int) -> dict[str, Any]:
    """What torch says of itself; `torch.__config__.show()` is the one place where every version says it."""
    import torch

    torch.set_num_threads(threads)
    built = torch.__config__.show()
    facts: dict[str, Any] = {
        "torch_build": torch.__version__,
        "torch_commit": torch.version.git_version,
        "cuda_of_build": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "cpu_capability": first(r"CPU capability usage: (\S+)", built),
        "mkl": first(r"Math Kernel Library Version ([^\n]+?)(?: for |\n)", built),
        "onednn": first(r"MKL-DNN (v\S+)", built),
        "openmp": first(r"OpenMP (\d+)", built),
        "blas": first(r"BLAS_INFO=(\w+)", built),
    }
    if device == "cuda":
        if not torch.cuda.is_available():
            return {**facts, "outcome": "unsupported", "detail": "no CUDA device is visible to this PyTorch"}
        major, minor = torch.cuda.get_device_capability()
        capability = f"sm_{major}{minor}"
        facts |= {"gpu": torch.cuda.get_device_name(), "gpu_capability": capability}
        known = torch.cuda.get_arch_list()
        # Code of the same major number runs; `compute_` code is translated when it is loaded.
        if not any(arch.startswith((f"sm_{major}", "compute_")) for arch in known):
            detail = f"this PyTorch has no code for {capability}, only for {', '.join(known)}"
            return {**facts, "outcome": "unsupported", "detail": detail}
    return {**facts, "outcome": "built", "detail": None}


def of_machine() -> dict[str, Any]:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    flags = (first(r"flags\s*: ([^\n]+)", text) or "").split()
    return {
        "python_version": platform.python_version(),
        "cpu_model": first(r"model name\s*: ([^\n]+)", text),
        "cpu_flags": " ".join(sorted(flag for flag in flags if _VECTOR.search(flag))),
        "glibc": platform.libc_ver()[1],
    }


def of_packages() -> dict[str, str | None]:
    def version(name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    names = {
        "transformers": "transformers",
        "tokenizers": "tokenizers",
        "numpy": "numpy",
        "colbert": "colbert-ai",
    }
    found = {f"{column}_version": version(package) for column, package in names.items()}
    return {**found, "faiss_version": version("faiss-cpu") or version("faiss-gpu-cu12")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True, help="threads of the experiment's processes")
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    parser.add_argument("--output", type=Path, required=True, help="the facts (JSON)")
    arguments = parser.parse_args()
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(arguments.threads)
    unavailable = os.environ.get("INDEXSCOPE_UNAVAILABLE")
    if unavailable:
        facts: dict[str, Any] = {"outcome": "failed", "detail": unavailable}
    else:
        facts = {**of_machine(), **of_packages(), **of_torch(arguments.device, arguments.threads)}
    facts["device"] = arguments.device
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    partial = arguments.output.with_name(arguments.output.name + ".partial")
    partial.write_text(json.dumps({"format": 1, **facts}, indent=1) + "\n", encoding="utf-8")
    partial.replace(arguments.output)
    print(f"{arguments.output}: {facts.get('torch_build') or facts['detail']}", file=sys.stderr)


if __name__ == "__main__":
    main()
