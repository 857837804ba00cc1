"""Give the inputs of a recording's operators to the operators of this PyTorch version, and compare.

Runs in the environment of a PyTorch version, the recording's own or another. Writes JSON lines: a header, then
an operator a line. Where INDEXSCOPE_UNAVAILABLE says why there is no such environment, the header says that.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from indexscope.artifacts.operator_store import UNAVAILABLE, Reader
from indexscope.run_record import FORMAT, InputError, read_json_object


def cpu_capability(description: Path) -> str:
    """ATEN_CPU_CAPABILITY for the vector instructions that another version chose on this machine.

    Raises:
        InputError: the file is damaged, or does not say it.
    """
    remedy = "run describe_torch.py again"
    chosen = read_json_object(description, remedy).get("cpu_capability")
    if not isinstance(chosen, str):
        raise InputError(f"{description}: cpu_capability: {chosen!r} is no instruction set: {remedy}")
    # Versions without vector instructions say "NO AVX" or "DEFAULT".
    return chosen.lower() if chosen.lower() in ("avx2", "avx512") else "default"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "recording", type=Path, metavar="RECORDING_DIR", help="what record_operators.py wrote"
    )
    parser.add_argument(
        "--instructions-of",
        type=Path,
        metavar="JSON",
        help="use the vector instructions that describe_torch.py found there (default: what PyTorch chooses)",
    )
    parser.add_argument(
        "--without-onednn",
        action="store_true",
        help="call each operator once more without oneDNN's kernels, and write a hash of what it makes then",
    )
    parser.add_argument("--threads", type=int, required=True, help="threads of torch and of k-means")
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True, help="where to run")
    parser.add_argument("--output", type=Path, required=True, help="the file to write (JSON lines)")
    arguments = parser.parse_args()
    try:
        reader = Reader(arguments.recording)
        if reason := os.environ.get(UNAVAILABLE) or reader.header.unavailable:
            header = {"format": FORMAT, "torch_version": None, "unavailable": reason}
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            arguments.output.write_text(json.dumps(header) + "\n", encoding="utf-8")
            return
        # Before torch is imported: it, MKL and faiss read these once.
        os.environ.update({name: str(arguments.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")})
        if arguments.instructions_of:
            os.environ["ATEN_CPU_CAPABILITY"] = cpu_capability(arguments.instructions_of)
        if arguments.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        import torch
        from indexscope.artifacts.operator_replay import write

        torch.set_num_threads(arguments.threads)
        torch.set_num_interop_threads(1)
        count = write(reader, arguments.output, arguments.without_onednn)
        print(f"{arguments.output}: {count} operators")
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
