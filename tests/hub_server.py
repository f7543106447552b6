"""A hub of models on the loopback: the few calls that huggingface_hub makes to fetch and to push, and their mishaps."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_tests"
"""The token that may write."""
LARGE = (".safetensors", ".pkl")
"""Endings of the names of large files."""

Files = dict[str, bytes]


@dataclass
class Repository:
    """Commits by their hashes, and the branches' last ones."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: Files) -> str:
        content = self.commits.get(self.branches.get(branch, ""), {}) | files
        text = repr([len(self.commits), sorted((name, sha256(data)) for name, data in content.items())])
        oid = hashlib.sha1(text.encode()).hexdigest()
        self.commits[oid] = content
        self.branches[branch] = oid
        return oid


@dataclass
class Hub:
    """The server's state.

    Attributes:
        endpoint: Its address.
        repositories: By name.
        large: Large files that were uploaded, by their SHA-256.
        requests: Method and path of all requests, in order.
        cuts: Name of a file → after how many bytes each of its next downloads breaks off.
        wait: Called in the middle of a download that breaks off.
        garbled: Names of files whose last byte arrives wrong.
    """

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    wait: Callable[[], object] = bool
    garbled: set[str] = field(default_factory=set)

    def add(self, name: str, files: Files, **options: Any) -> str:
        """Makes a repository, or adds to it; returns the commit."""
        repository = self.repositories.setdefault(name, Repository(**options))
        return repository.commit("main", files)

    def fetched(self) -> list[str]:
        """Names of the files whose content was asked for."""
        return [path.rpartition("/")[2] for method, path in self.requests if method == "GET" and "/resolve/" in path]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def oid_of(name: str, data: bytes) -> str:
    """What a hub names a file by: SHA-256 where it is large, else the hash that git has for it."""
    return sha256(data) if name.endswith(LARGE) else hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


class Refusal(Exception):  # noqa: N818 - no error of the server
    """An answer with an error's status and code."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - names that http.server looks for

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            for pattern, answer in ROUTES:
                if match := re.fullmatch(pattern, f"{self.command} {path}"):
                    return answer(self, *match.groups())
            raise Refusal(404, "")
        except Refusal as refusal:
            status, code = refusal.args
            self._send(status, b"", {"X-Error-Code": code} if code else {})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
            if sent is not None:
                self.wfile.flush()
                self.hub.wait()
                self.close_connection = True

    def _json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _repository(self, name: str) -> Repository:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._may_write()):
            raise Refusal(404, "RepoNotFound")
        return repository

    def _may_write(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _at(self, name: str, revision: str) -> tuple[str, Files]:
        repository = self._repository(name)
        oid = repository.branches.get(revision, revision)
        if oid not in repository.commits:
            raise Refusal(404, "RevisionNotFound")
        return oid, repository.commits[oid]

    def info(self, name: str, revision: str | None) -> None:
        oid, files = self._at(name, revision or "main")
        siblings = [{"rfilename": file} for file in files]
        self._json({"id": name, "sha": oid, "private": self._repository(name).private, "siblings": siblings})

    def tree(self, name: str, revision: str) -> None:
        entries: list[dict[str, Any]] = []
        for file, data in self._at(name, revision)[1].items():
            entries.append({"type": "file", "path": file, "size": len(data), "oid": oid_of(file, data)})
            if file.endswith(LARGE):
                entries[-1]["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 130}
        self._json(entries)

    def resolve(self, name: str, revision: str, file: str) -> None:
        if self._repository(name).gated:
            raise Refusal(403, "GatedRepo")
        oid, files = self._at(name, revision)
        if file not in files:
            raise Refusal(404, "EntryNotFound")
        data = files[file]
        headers = {"X-Repo-Commit": oid, "ETag": f'"{oid_of(file, data)}"', "Accept-Ranges": "bytes"}
        if file in self.hub.garbled:
            data = data[:-1] + bytes([data[-1] ^ 1])
        begun = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        first = int(begun[1]) if begun else 0
        if begun:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        cuts = self.hub.cuts.get(file, []) if self.command == "GET" else []
        self._send(206 if begun else 200, data[first:], headers, cuts.pop(0) if cuts else None)

    def create(self) -> None:
        if not self._may_write():
            raise Refusal(401, "")
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.hub.endpoint}/{name}"}
        if name in self.hub.repositories:
            return self._send(409, json.dumps(url).encode(), {"Content-Type": "application/json"})
        self.hub.add(name, {}, private=asked.get("private") or asked.get("visibility") == "private")
        return self._json(url)

    def branch(self, name: str, branch: str) -> None:
        repository = self._repository(name)
        if branch in repository.branches:
            raise Refusal(409, "")
        repository.branches[branch] = repository.branches["main"]
        self._json({})

    def validate(self) -> None:
        self._json({"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        files = self._at(name, revision)[1]
        answers = []
        for asked in json.loads(self.body)["files"]:
            path = asked["path"]
            mode = "lfs" if path.endswith(LARGE) else "regular"
            oid = oid_of(path, files[path]) if path in files else None
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": answers})

    def batch(self, name: str) -> None:
        objects = json.loads(self.body)["objects"]
        for asked in objects:
            if asked["oid"] not in self.hub.large:
                asked["actions"] = {"upload": {"href": f"{self.hub.endpoint}/large/{asked['oid']}"}}
        self._json({"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> None:
        assert sha256(self.body) == oid
        self.hub.large[oid] = self.body
        self._send(200, b"")

    def commit(self, name: str, branch: str) -> None:
        files: Files = {}
        for line in map(json.loads, self.body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                files[line["value"]["path"]] = self.hub.large[line["value"]["oid"]]
        oid = self._repository(name).commit(branch, files)
        self._json({"commitUrl": f"{self.hub.endpoint}/{name}/commit/{oid}", "commitOid": oid, "success": True})


NAMED = r"([^/]+/[^/]+)"
ROUTES: tuple[tuple[str, Callable[..., None]], ...] = (
    (rf"GET /api/models/{NAMED}(?:/revision/(.+))?", Handler.info),
    (rf"GET /api/models/{NAMED}/tree/(.+)", Handler.tree),
    (rf"(?:GET|HEAD) /{NAMED}/resolve/(.+)/([^/]+)", Handler.resolve),
    (r"POST /api/repos/create", Handler.create),
    (rf"POST /api/models/{NAMED}/branch/(.+)", Handler.branch),
    (r"POST /api/validate-yaml", Handler.validate),
    (rf"POST /api/models/{NAMED}/preupload/(.+)", Handler.preupload),
    (rf"POST /{NAMED}\.git/info/lfs/objects/batch", Handler.batch),
    (r"PUT /large/(.+)", Handler.store),
    (rf"POST /api/models/{NAMED}/commit/(.+)", Handler.commit),
)


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """Serves a hub on a free port of the loopback, as long as the context lasts."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
