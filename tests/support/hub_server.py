"""A loopback hub: enough of the hub's protocol to download a checkpoint from it, with faults on demand."""

from __future__ import annotations

import hashlib
import json
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

Files = dict[str, bytes]


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """Write a safetensors file: name → (dtype, shape, bytes)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values())


def checkpoint(weights: int = 4096, *, seed: int = 1) -> Files:
    """Make the files of a small checkpoint of the family, its weights in one file of about ``weights`` bytes."""
    block = hashlib.shake_256(b"%d" % seed).digest(4096)
    data = (block * (weights // 4096 + 1))[:weights]
    config = {"model_type": "qwen3_vl", "text_config": {"hidden_size": 16}, "transformers_version": "5.0"}
    images = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "patch_size": 16, "temporal_patch_size": 2}
    return {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": b'{"version": "1.0", "model": {"vocab": {"a": 0}}}',
        "tokenizer_config.json": b'{"model_max_length": 8192}',
        "chat_template.jinja": b"{{ messages }}",
        "preprocessor_config.json": json.dumps(images).encode(),
        "model.safetensors": safetensors(
            {"model.w": ("U8", [len(data)], data), "model.b": ("F32", [2], b"\0" * 8)}
        ),
    }


def sharded(files: Files, *, prefix: str = "model", backwards: bool = False) -> Files:
    """Cut the one file of weights into two shards with an index; the tensors stay what they are."""
    whole = files["model.safetensors"]
    begin = 8 + struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8:begin])
    header.pop("__metadata__")
    out = {name: data for name, data in files.items() if name != "model.safetensors"}
    weight_map = {}
    entries = list(header.items())
    for number, (name, entry) in enumerate(entries[::-1] if backwards else entries, start=1):
        shard = f"{prefix}-{number:05}-of-{len(header):05}.safetensors"
        start, end = entry["data_offsets"]
        out[shard] = safetensors({name: (entry["dtype"], entry["shape"], whole[begin + start : begin + end])})
        weight_map[name] = shard
    out["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    return out


@dataclass(frozen=True)
class Request:
    """One line of the server's log; ``host`` is "hub" or "cdn"."""

    host: str
    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class Faults:
    """What goes wrong, by file name."""

    drop_after: dict[str, list[int]] = field(default_factory=dict)
    """Bytes to send before the connection breaks: one number a request, the last one for ever."""
    damaged: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    status: dict[str, list[int]] = field(default_factory=dict)
    """Answers instead of the file: one a request, then the file."""
    ignore_range: bool = False
    wrong_piece: bool = False
    """Answer a Range with another piece of the file."""
    stall_after: dict[str, int] = field(default_factory=dict)
    """Bytes to send before the server falls silent until it is closed."""
    list_extra: list[str] = field(default_factory=list)
    """Names to list as if they were files."""
    html: bool = False
    """Answer every call as a captive portal does."""


class Hub:
    """Repositories on two loopback ports: the hub itself and the CDN that it redirects large files to.

    Use as a context manager. ``repos`` maps a name to its commits, newest last; ``main`` is the newest.
    """

    def __init__(
        self, files: Files | None = None, *, name: str = "Qwen/Tiny", token: str | None = None
    ) -> None:
        self.repos: dict[str, dict[str, Files]] = {}
        self.token = token
        self.gated = False
        self.relative = False
        """Redirect large files to a path of the hub itself, not to the CDN."""
        self.faults = Faults()
        self.told: dict[str, Any] = {}
        """What listings tell of config.json."""
        self.log: list[Request] = []
        self.closing = threading.Event()
        self.servers = [self._serve("hub"), self._serve("cdn")]
        if files is not None:
            self.commit(name, files)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.servers[0].server_port}"

    @property
    def cdn(self) -> str:
        return f"http://127.0.0.1:{self.servers[1].server_port}"

    def commit(self, name: str, files: Files) -> str:
        """Add a commit and return its hash."""
        commits = self.repos.setdefault(name, {})
        sha = hashlib.sha1(f"{name} {len(commits)}".encode()).hexdigest()
        commits[sha] = dict(files)
        return sha

    def ranges(self, file: str) -> list[str | None]:
        """Return the Range of each GET that was answered with bytes of a large file, in order."""
        return [
            r.range for r in self.log if r.method == "GET" and r.path.startswith("/cdn/") and file in r.path
        ]

    def fetched(self) -> set[str]:
        """Return the names of the files whose bytes were asked for."""
        paths = [request.path.split("/") for request in self.log if request.method == "GET"]
        after = {"cdn": 3, "cache": 5}
        names = ["/".join(path[after[path[1]] :]) for path in paths if path[1] in after]
        return {*names, *("/".join(path[5:]) for path in paths if path[3:4] == ["resolve"])}

    def __enter__(self) -> Hub:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None
    ) -> None:
        self.closing.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def _serve(self, host: str) -> ThreadingHTTPServer:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub, Handler.host = hub, host
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    host: str
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = self.headers
        self.hub.log.append(
            Request(self.host, self.command, path, headers.get("Range"), headers.get("Authorization"))
        )
        if self.hub.faults.html:
            return self._send(200, b"<html>log in to the network</html>", {"Content-Type": "text/html"})
        if path.startswith("/cdn/"):
            _, _, sha, name = path.split("/", 3)
            files = [f for commits in self.hub.repos.values() for f in commits.values()]
            data = next(f[name] for f in files if name in f and hashlib.sha256(f[name]).hexdigest() == sha)
            return self._file(name, data, {"ETag": f'"{sha}"'})
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) >= 6:
            name, call, revision = "/".join(parts[2:4]), parts[4], "/".join(parts[5:])
        elif parts[2:3] == ["resolve"] and len(parts) >= 5:
            name, call, revision = "/".join(parts[:2]), "resolve", parts[3]
        elif parts[:1] == ["cache"]:
            name, call, revision = "/".join(parts[1:3]), "cache", parts[3]
        else:
            return self._send(404, b"", {})
        commits = self.hub.repos.get(name)
        if self.hub.token and headers.get("Authorization") != f"Bearer {self.hub.token}":
            if self.hub.gated:
                return self._send(
                    403 if headers.get("Authorization") else 401, b"", {"X-Error-Code": "GatedRepo"}
                )
            return self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
        if commits is None:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        commit = list(commits)[-1] if revision == "main" else revision
        if commit not in commits:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if call == "revision":
            return self._send(
                200, json.dumps(self._model(name, commit)).encode(), {"Content-Type": "application/json"}
            )
        if call == "tree":
            return self._send(
                200, json.dumps(self._tree(commits[commit])).encode(), {"Content-Type": "application/json"}
            )
        file = "/".join(parts[4:])
        return self._resolve(name, commit, file, cached=call == "cache")

    def _resolve(self, name: str, commit: str, file: str, *, cached: bool) -> None:
        files = self.hub.repos[name][commit]
        if file not in files or file in self.hub.faults.missing:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        data = files[file]
        headers = {"X-Repo-Commit": commit}
        if is_lfs(file):
            sha = hashlib.sha256(data).hexdigest()
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{sha}"'}
            if cached:  # huggingface_hub follows redirects within the hub when it asks for metadata
                return self._file(file, data, {**headers, "ETag": f'"{sha}"'})
            if self.hub.relative and self.command == "HEAD":
                return self._send(302, b"", {**headers, "Location": f"/cache/{name}/{commit}/{file}"})
            base = "" if self.hub.relative else self.hub.cdn
            return self._send(302, b"", {**headers, "Location": f"{base}/cdn/{sha}/{file}"})
        headers["ETag"] = f'"{_git_sha(data)}"'
        if not cached:  # as the hub does for small files: a relative redirect
            return self._send(307, b"", {**headers, "Location": f"/cache/{name}/{commit}/{file}"})
        return self._file(file, data, headers)

    def _file(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        faults = self.hub.faults
        if faults.status.get(name):
            return self._send(faults.status[name].pop(0), b"", {})
        if name in faults.damaged:
            data = data[:-1] + bytes([data[-1] ^ 1])
        asked, status, begin = self.headers.get("Range"), 200, 0
        if asked and not faults.ignore_range:
            status, begin = (
                206,
                int(asked.removeprefix("bytes=").split("-")[0]) + (5 if faults.wrong_piece else 0),
            )
            headers = {**headers, "Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}
        body = data[begin:]
        limits = faults.drop_after.get(name)
        if self.command == "GET" and limits:
            limit = limits.pop(0) if len(limits) > 1 else limits[0]
            if limit < len(body):
                self._send(status, body, headers, only=limit)
                self.close_connection = True
                return None
        if self.command == "GET" and name in faults.stall_after and faults.stall_after[name] < len(body):
            self._send(status, body, headers, only=faults.stall_after[name])
            self.hub.closing.wait()
            self.close_connection = True
            return None
        return self._send(status, body, headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, only: int | None = None) -> None:
        self.send_response(status)
        # With every answer a warning, which huggingface_hub would print.
        for key, value in {
            "Content-Length": str(len(body)),
            "X-HF-Warning": "old; update",
            **headers,
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:only])
            self.wfile.flush()

    def _model(self, name: str, commit: str) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = [
            {"rfilename": extra, "size": 2} for extra in self.hub.faults.list_extra
        ]
        for path, data in self.hub.repos[name][commit].items():
            entry: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": _git_sha(data)}
            if is_lfs(path):
                entry["lfs"] = {
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "size": len(data),
                    "pointerSize": 134,
                }
            siblings.append(entry)
        told = {"sha": commit, "siblings": siblings, "tags": [], "config": self.hub.told}
        return {"_id": "1", "id": name, "modelId": name, **told}

    def _tree(self, files: Files) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        for path, data in files.items():
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": _git_sha(data)}
            if is_lfs(path):
                entry["lfs"] = {
                    "oid": hashlib.sha256(data).hexdigest(),
                    "size": len(data),
                    "pointerSize": 134,
                }
            entries.append(entry)
        return entries


def use_hub(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process take ``url`` for the hub, with no login and no waiting between attempts."""
    import huggingface_hub
    from huggingface_hub import constants

    from imgsearch.model import hub as downloads

    # What HF_ENDPOINT sets when huggingface_hub is imported; a test in a process of its own uses the variable.
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads, "WAITS", (0.0, 0.0, 0.0))
    huggingface_hub.close_session()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Give a hub with one small checkpoint that this process takes for the hub."""
    import huggingface_hub
    from huggingface_hub import constants

    with Hub(checkpoint()) as server:
        use_hub(server.url, monkeypatch)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        yield server
    huggingface_hub.close_session()


def is_lfs(path: str) -> bool:
    """Tell which files the hub keeps in LFS: weights, and tokenizers, which are large."""
    return path.endswith((".safetensors", ".bin")) or path == "tokenizer.json"


def _git_sha(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
