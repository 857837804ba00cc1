"""Run a program in an environment that make_environment.py built.

Where there is none because its build failed, or no extensions because compiling them did, the program runs in this
environment, with the reason in INDEXSCOPE_UNAVAILABLE: it then writes down that there is no result, and why.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from indexscope.run_record import InputError, read_json_object

UNAVAILABLE = "INDEXSCOPE_UNAVAILABLE"


def command_in(prefix: Path, arguments: list[str]) -> list[str]:
    """How Python of the environment in `prefix` is started; the caller's PATH is changed where needed.

    Raises:
        InputError: the environment is gone.
    """
    python = prefix / "bin" / "python"
    if not python.exists():
        raise InputError(f"{prefix}: the environment is gone; delete {prefix.parent} and start again")
    if (prefix / "conda-meta").is_dir():  # conda's own: its packages have activation scripts
        conda = os.environ.get("CONDA_EXE") or shutil.which("conda") or "conda"
        return [conda, "run", "--no-capture-output", "--prefix", str(prefix), "python", *arguments]
    os.environ["PATH"] = f"{prefix / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ["CONDA_PREFIX"] = str(prefix)
    return [str(python), *arguments]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cpu-capability",
        choices=["default", "avx2", "avx512"],
        help="vector instructions of PyTorch's own kernels (default: what PyTorch chooses)",
    )
    parser.add_argument(
        "--needs", type=Path, metavar="MANIFEST", help="compiled extensions, of compile_extensions.py"
    )
    parser.add_argument("environment", type=Path, metavar="ENVIRONMENT_JSON", help="of make_environment.py")
    parser.add_argument("program", help="the Python program to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    given = parser.parse_args()
    if given.cpu_capability:
        os.environ["ATEN_CPU_CAPABILITY"] = given.cpu_capability
    try:
        manifest = read_json_object(given.environment, remedy="run make_environment.py")
        problem = manifest["detail"]
        if problem is None and given.needs:
            problem = read_json_object(given.needs, remedy="run compile_extensions.py").get("unavailable")
        program = [given.program, *given.arguments]
        if problem is None:
            os.environ.pop(UNAVAILABLE, None)
            command = command_in(given.environment.resolve().parent / "prefix", program)
        else:
            os.environ[UNAVAILABLE] = str(problem)
            command = [sys.executable, *program]
    except InputError as error:
        sys.exit(str(error))
    sys.stdout.flush()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
