"""Files of a Hugging Face repository at one commit: listed, downloaded, resumed, checked; failures in a sentence.

The one place that talks to the hub, for datasets and for models. huggingface_hub does the talking; its own
download (2.4) begins an interrupted file anew in the next process, so files are fetched with its `http_get`,
which goes on where the partial file ends.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import yaml

from indexscope.run_record import InputError

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # what is printed goes to a log

import httpx2
from huggingface_hub import HfApi, constants, errors, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._headers import build_hf_headers

PARTIAL = ".partial"
BLOCK_BYTES = 1 << 20


def endpoint() -> str:
    """Where the hub is: HF_ENDPOINT, or the public one."""
    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: path, bytes and its hash, SHA-256 where git LFS keeps it, else git's own."""

    path: str
    size: int
    sha256: str | None
    git_sha1: str


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at a revision: a commit, branch or tag."""

    kind: Literal["dataset", "model"]
    name: str
    revision: str

    def resolve(self) -> str:
        """The commit of the revision.

        Raises:
            InputError: as all methods do: what is wrong, and what to do about it.
        """
        with self.plain_errors():
            found = (
                HfApi(endpoint=endpoint())
                .repo_info(self.name, repo_type=self.kind, revision=self.revision)
                .sha
            )
        assert found is not None
        return found

    def files(self, commit: str) -> list[RemoteFile]:
        """All files at a commit, in the order of their names."""
        with self.plain_errors():
            tree = HfApi(endpoint=endpoint()).list_repo_tree(
                self.name, recursive=True, revision=commit, repo_type=self.kind
            )
            listed = [
                RemoteFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
                for entry in tree
                if isinstance(entry, RepoFile)
            ]
        return sorted(listed, key=lambda file: file.path)

    def read_text(self, commit: str, path: str) -> str:
        """A small file, such as README.md."""
        content = io.BytesIO()
        with self.plain_errors():
            http_get(self._url(commit, path), content, headers=build_hf_headers())
        return content.getvalue().decode(errors="replace")

    def download(self, commit: str, file: RemoteFile, folder: Path) -> Path:
        """Fetch a file to `folder`, going on where an earlier attempt stopped; its hash is checked.

        The file has its name only when it is complete; what there is of it before ends in .partial.
        """
        target = folder / file.path
        if target.is_file() and target.stat().st_size == file.size and _is_intact(target, file):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + PARTIAL)
        if partial.is_file() and partial.stat().st_size > file.size:
            partial.unlink()
        # Plain bytes: a server that compresses on the fly ignores where to go on.
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        with self.plain_errors(), partial.open("ab") as output:
            url, start = self._url(commit, file.path), output.tell()
            http_get(url, output, resume_size=start, headers=headers, expected_size=file.size)
        if _is_intact(partial, file):
            return partial.replace(target)
        partial.unlink()
        if start:  # it began as something else, of another commit
            return self.download(commit, file, folder)
        raise InputError(f"{self}: {file.path} did not arrive as it is there (its hash differs); start again")

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of the hub"

    def _url(self, commit: str, path: str) -> str:
        return hf_hub_url(self.name, path, repo_type=self.kind, revision=commit, endpoint=endpoint())

    @property
    def page(self) -> str:
        return f"{endpoint()}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    @contextmanager
    def plain_errors(self) -> Iterator[None]:
        """Turn what goes wrong between here and the hub into one sentence with its remedy."""
        try:
            yield
        except errors.GatedRepoError:
            problem = (
                f"is gated: accept its terms at {self.page}, then set HF_TOKEN to a token of that account"
            )
        except errors.RepositoryNotFoundError:
            problem = (
                "does not exist or is private: correct the name, or set HF_TOKEN to a token that may read it"
            )
        except errors.RevisionNotFoundError:
            problem = f"has no revision {self.revision!r}: take a commit from {self.page}/commits/main"
        except errors.EntryNotFoundError as error:
            problem = f"lacks a file that it should have: correct files ({_short(error)})"
        except errors.OfflineModeIsEnabled:
            problem = (
                "is not here, and HF_HUB_OFFLINE forbids the network: unset it, or fetch where there is a network "
                "and copy the folder that is fetched into"
            )
        except errors.HfHubHTTPError as error:
            problem = _http_problem(error, self.page)
        except httpx2.HTTPError as error:
            problem = _unreachable(error)
        else:
            return
        raise InputError(f"{self}: {problem}") from None


def _http_problem(error: errors.HfHubHTTPError, page: str) -> str:
    status = error.response.status_code
    if status == 401:
        return "refuses HF_TOKEN: set it to a valid token, or unset it where none is needed"
    if status == 403:
        return f"may not be read with this HF_TOKEN: open {page} and ask for access"
    if status == 407:
        return "cannot be reached, the proxy wants a password: put it into HTTPS_PROXY"
    if status == 429:
        return "is asked too often (429): wait some minutes, or set HF_TOKEN; what has arrived is kept"
    return f"answers {status} ({error.response.reason_phrase}): start again later; what has arrived is kept"


def _unreachable(error: httpx2.HTTPError) -> str:
    address = urlsplit(endpoint())
    proxies = {} if proxy_bypass(address.netloc) else getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if proxy or isinstance(error, httpx2.ProxyError):
        through = re.sub(r"//[^/@]*@", "//", proxy or "that is set")  # without its password
        return f"cannot be reached through the proxy {through} ({_short(error)}): correct HTTPS_PROXY, or unset it"
    return (
        f"cannot be reached at {endpoint()} ({_short(error)}): check the network, or set HTTPS_PROXY where a proxy "
        "is needed, then start again; what has arrived is kept"
    )


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__


def _is_intact(path: Path, file: RemoteFile) -> bool:
    """Whether a file has the hash that the hub states."""
    git = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    sha256 = hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(BLOCK_BYTES):
            sha256.update(block)
            git.update(block)
    return sha256.hexdigest() == file.sha256 if file.sha256 else git.hexdigest() == file.git_sha1


def matching(paths: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The paths that match a pattern: patterns in their order, and the paths of each in the order of their names.

    `*` and `?` stay within a folder, `**/` is any folders, `[...]` is one of these characters.
    """
    found = [path for pattern in patterns for path in sorted(paths) if _regex(pattern).fullmatch(path)]
    return list(dict.fromkeys(found))


def _regex(pattern: str) -> re.Pattern[str]:
    translated = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|.", pattern)
    return re.compile(
        "".join(translated.get(piece, piece if len(piece) > 1 else re.escape(piece)) for piece in pieces)
    )


def files_of_split(card: str, config: str | None, split: str) -> list[str]:
    """The patterns of files that a dataset's card (README.md) lists for a split of a configuration.

    Source: https://huggingface.co/docs/hub/datasets-manual-configuration

    Raises:
        ValueError: the card lists no such configuration or split; the message says which it lists.
    """
    header = re.match(r"---\s*\n(.*?)\n---", card, re.DOTALL)
    metadata: Any = yaml.safe_load(header[1]) if header else None
    configs = (metadata or {}).get("configs") or []
    names = [entry.get("config_name") for entry in configs]
    chosen = [
        entry
        for entry in configs
        if entry.get("config_name") == config
        or (config is None and (len(configs) == 1 or entry.get("default")))
    ]
    if not configs:
        raise ValueError("its card lists no configurations; give files instead of split")
    if not chosen:
        raise ValueError(f"its card lists no config {config or 'as default'!r}, only {_listed(names)}")
    listed = chosen[0].get("data_files") or []
    if isinstance(listed, str):
        listed = [{"split": "train", "path": listed}]
    elif isinstance(listed, dict):
        listed = [{"split": name, "path": path} for name, path in listed.items()]
    entries = [item if isinstance(item, dict) else {"split": "train", "path": item} for item in listed]
    paths = [entry["path"] for entry in entries if entry.get("split") == split]
    if not paths:
        splits = [entry.get("split") for entry in entries]
        raise ValueError(
            f"config {chosen[0].get('config_name')!r} has no split {split!r}, only {_listed(splits)}"
        )
    return [pattern for path in paths for pattern in ([path] if isinstance(path, str) else path)]


def _listed(names: Sequence[object]) -> str:
    shown = ", ".join(str(name) for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
