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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", required=True, help="module of indexscope.frameworks, such as plaid")
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    parser.add_argument(
        "--output", type=pathlib.Path, required=True, help="manifest (JSON) in the extensions' folder"
    )
    args = parser.parse_args()

    needed = ["ninja", os.environ.get("CXX", "c++")] + (["nvcc"] if args.device == "cuda" else [])
    missing = [program for program in needed if shutil.which(program) is None]
    if missing:
        sys.exit(
            f"Compiling extensions needs {' and '.join(missing)} on the PATH; install it "
            "(Debian: apt-get install g++ ninja-build) or use conda, whose environments bring a compiler."
        )
    folder = args.output.resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TORCH_EXTENSIONS_DIR"] = str(folder)
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""

    try:
        importlib.import_module(f"indexscope.frameworks.{args.of}").load_extensions(args.device == "cuda")
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"Compiling the extensions of {args.of} for {args.device} failed: {error}")

    libraries = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*/*.so"))
    }
    partial = args.output.with_name(args.output.name + ".partial")
    partial.write_text(json.dumps({"device": args.device, "libraries": libraries}, indent=1) + "\n")
    partial.replace(args.output)
    print(f"{folder}: {len(libraries)} extensions")


if __name__ == "__main__":
    main()
