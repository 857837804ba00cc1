"""Compile the C++/CUDA extensions that a framework otherwise compiles at first use, inside a measured run.

Runs in the framework's environment. Needs a C++ compiler and ninja; on a GPU also nvcc.
"""

import argparse
import hashlib
import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

from indexscope.measure import extension_locks


def write_manifest(path: pathlib.Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps({"format": 1, **content}, indent=1) + "\n")
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", required=True, help="module of indexscope.frameworks, such as plaid")
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    parser.add_argument(
        "--output", type=pathlib.Path, required=True, help="manifest (JSON) in the extensions' folder"
    )
    parser.add_argument(
        "--failure-is-a-result",
        action="store_true",
        help="where compiling fails, write down why instead of ending with an error",
    )
    args = parser.parse_args()
    if unavailable := os.environ.get("INDEXSCOPE_UNAVAILABLE"):
        write_manifest(args.output, {"device": args.device, "unavailable": unavailable})
        return

    needed = ["ninja", os.environ.get("CXX", "c++")] + (["nvcc"] if args.device == "cuda" else [])
    missing = [program for program in needed if shutil.which(program) is None]
    if missing:
        sys.exit(
            f"Compiling extensions needs {' and '.join(missing)} on the PATH; install it "
            "(Debian: apt-get install g++ ninja-build) or use conda, whose environments bring a compiler."
        )
    folder = args.output.resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    # Nobody else compiles here: what is locked was left by a start that was killed.
    extension_locks.clear(str(folder), stale_seconds=0)
    os.environ["TORCH_EXTENSIONS_DIR"] = str(folder)
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""

    try:
        importlib.import_module(f"indexscope.frameworks.{args.of}").load_extensions(args.device == "cuda")
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        problem = f"Compiling the extensions of {args.of} for {args.device} failed: {error}"
        if not args.failure_is_a_result:
            sys.exit(problem)
        print(problem)
        sentence = " ".join(problem.split())[:400]
        remedy = f" (to try again, delete {args.output.parent})"
        write_manifest(args.output, {"device": args.device, "unavailable": sentence + remedy})
        return

    libraries = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*/*.so"))
    }
    write_manifest(args.output, {"device": args.device, "libraries": libraries})
    print(f"{folder}: {len(libraries)} extensions")


if __name__ == "__main__":
    main()
