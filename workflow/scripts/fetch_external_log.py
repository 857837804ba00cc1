"""Download one memory log, once: its SHA-256 decides whether it is the right file.

A download that broke off is taken up where it stopped. A local copy is used instead where there is one: a file of
the same name in the folder that the environment variable INDEXSCOPE_EXTERNAL_LOGS names.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from indexscope.run_record import InputError

LOCAL_COPIES = "INDEXSCOPE_EXTERNAL_LOGS"
ATTEMPTS = 4
_TIMEOUT_SECONDS = 30.0
_BLOCK = 1 << 16
_OVERLOADED = {408, 425, 429, 500, 502, 503, 504}  # answers after which it is worth asking again


def fetch(url: str, sha256: str, output: Path, wait_seconds: float = 2.0) -> None:
    """Make `output` the file at `url`; what was downloaded so far stays in OUTPUT.partial.

    Args:
        wait_seconds: before the second attempt; doubled for each further one.

    Raises:
        InputError: it cannot be had, or it is another file. The message is one sentence.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".partial")
    if copy := _local_copy(output.name, sha256):
        shutil.copyfile(copy, partial)
        partial.replace(output)
        return
    for attempt in range(1, ATTEMPTS + 1):
        resumed = partial.exists()
        try:
            _download(url, partial)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # there is no more: the file changed, or was whole already
                pass
            elif error.code in _OVERLOADED and attempt < ATTEMPTS:
                time.sleep(wait_seconds * 2 ** (attempt - 1))
                continue
            else:
                raise InputError(
                    f"{url}: the server answers {error.code} ({error.reason}): correct the URL in external_logs, or "
                    f"give the log as a path{_or_local_copy(output)}"
                ) from None
        except (OSError, http.client.HTTPException) as error:
            if attempt < ATTEMPTS:
                time.sleep(wait_seconds * 2 ** (attempt - 1))
                continue
            reason = getattr(error, "reason", None) or error
            raise InputError(
                f"{url}: cannot be downloaded ({reason}): connect to the network, set https_proxy where there is a "
                f"proxy, or give the log as a path{_or_local_copy(output)}; a rerun takes the download up again"
            ) from None
        found = _sha256(partial)
        if found == sha256:
            partial.replace(output)
            return
        partial.unlink()
        if not resumed:  # else the first part may have been of another version: once more from the start
            raise InputError(
                f"{url}: the file there has the SHA-256 {found}, not {sha256}: it has changed or the configured "
                "hash is wrong; look at the file before you correct external_logs"
            )
    raise InputError(f"{url}: no whole file after {ATTEMPTS} attempts: try again later")


def _or_local_copy(output: Path) -> str:
    return f", or set {LOCAL_COPIES} to a folder that holds {output.name}"


def _local_copy(name: str, sha256: str) -> Path | None:
    folder = os.environ.get(LOCAL_COPIES)
    copy = Path(folder).expanduser() / name if folder else None
    if copy is None or not copy.is_file():
        return None
    if (found := _sha256(copy)) != sha256:
        raise InputError(
            f"{copy} has the SHA-256 {found}, not {sha256}: it is another log; remove it from the folder that "
            f"{LOCAL_COPIES} names, or give the log as a path without that hash"
        )
    return copy


def _download(url: str, partial: Path) -> None:
    """Append to `partial` what it lacks.

    Raises:
        urllib.error.HTTPError: the server refuses.
        OSError, http.client.HTTPException: there is no connection, or it broke off.
    """
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
        # A server that knows no ranges sends all of it.
        appended = response.status == http.client.PARTIAL_CONTENT
        length = response.headers.get("Content-Length")
        received = 0
        with partial.open("ab" if appended else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                received += len(block)
    if length is not None and received < int(length):
        raise OSError(f"the connection ended after {received} of {length} bytes")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", metavar="URL", help="http or https")
    parser.add_argument("--sha256", required=True, help="SHA-256 of the file, 64 hexadecimal digits")
    parser.add_argument("--output", type=Path, required=True, help="where to put it")
    arguments = parser.parse_args()
    try:
        fetch(arguments.url, arguments.sha256, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
