"""A hub on 127.0.0.1 that answers what huggingface_hub asks of the real one; it can cut connections and refuse.

Paths and headers as in huggingface_hub 2.4 (`HfApi.repo_info`, `list_repo_tree`, `/resolve/`).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_accepted"


@dataclass
class FakeRepository:
    """Files at one commit; `branches` point to it."""

    files: dict[str, bytes]
    commit: str = "a" * 40
    branches: tuple[str, ...] = ("main",)
    gated: bool = False
    lfs: tuple[str, ...] = (".parquet", ".safetensors", ".gz")


@dataclass
class FakeHub:
    """Repositories by kind and name, and what has been asked for."""

    repositories: dict[tuple[str, str], FakeRepository] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)  # path → bytes sent before the connection breaks
    stall_after: dict[str, int] = field(default_factory=dict)  # path → bytes sent before nothing more comes
    stalled: threading.Event = field(default_factory=threading.Event)  # ends the stalling
    status: int | None = None  # answered to everything
    ranges: list[str] = field(default_factory=list)  # Range headers of downloads
    downloads: list[str] = field(default_factory=list)
    address: str = ""

    @contextmanager
    def serving(self) -> Iterator[FakeHub]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        if self.status is not None:
            return _send(request, self.status, b"", {}, body)
        api = re.fullmatch(r"/api/(dataset|model)s/([^/]+/[^/]+)/(revision|tree)/([^/]+)/?", path)
        resolve = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if api:
            kind, name, what, revision = api.groups()
        elif resolve:
            kind, name = "dataset" if resolve[1] else "model", resolve[2]
            what, revision = "resolve", resolve[3]
        else:
            return _send(request, 404, b"", {}, body)
        repository = self.repositories.get((kind, name))
        token = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token != TOKEN:
            return _error(request, 401, None, body, "Invalid credentials in Authorization header")
        if repository is None:
            return _error(request, 404 if token else 401, "RepoNotFound", body)
        if revision not in (repository.commit, *repository.branches):
            return _error(request, 404, "RevisionNotFound", body)
        if what == "revision":
            return _send_json(request, {"id": name, "sha": repository.commit, "siblings": []}, body)
        if what == "tree":
            return _send_json(request, [_entry(repository, each) for each in repository.files], body)
        if repository.gated and not token:
            return _error(request, 401, "GatedRepo", body)
        assert resolve
        return self._send_file(request, repository, resolve[4], body)

    def _send_file(
        self, request: BaseHTTPRequestHandler, repository: FakeRepository, name: str, body: bool
    ) -> None:
        if name not in repository.files:
            return _error(request, 404, "EntryNotFound", body)
        content = repository.files[name]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": repository.commit}
        start, status = 0, 200
        if wanted := request.headers.get("Range"):
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if body:
            self.downloads.append(name)
            if wanted:
                self.ranges.append(wanted)
        if body and name in self.stall_after:
            _send(request, status, content[start:], headers, body, sent=self.stall_after.pop(name))
            request.wfile.flush()
            self.stalled.wait(60)
            request.close_connection = True
            return None
        cut = self.cut_after.pop(name, None) if body else None
        if cut is None:
            return _send(request, status, content[start:], headers, body)
        _send(request, status, content[start:], headers, body, sent=cut)
        request.close_connection = True
        return None


def _entry(repository: FakeRepository, name: str) -> dict[str, Any]:
    content = repository.files[name]
    git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": git}
    if name.endswith(repository.lfs):
        sha256 = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
    return entry


def _error(
    request: BaseHTTPRequestHandler, status: int, code: str | None, body: bool, message: str = ""
) -> None:
    headers = {"X-Error-Code": code} if code else {}
    _send(request, status, b"", headers | ({"X-Error-Message": message} if message else {}), body)


def _send_json(request: BaseHTTPRequestHandler, value: Any, body: bool) -> None:
    _send(request, 200, json.dumps(value).encode(), {"Content-Type": "application/json"}, body)


def _send(
    request: BaseHTTPRequestHandler,
    status: int,
    content: bytes,
    headers: dict[str, str],
    body: bool,
    sent: int | None = None,
) -> None:
    request.send_response(status)
    for key, value in headers.items():
        request.send_header(key, value)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    if body:
        request.wfile.write(content[:sent])
