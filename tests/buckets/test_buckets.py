"""Buckets of a server that plays S3 on loopback (moto): lists of many pages, refusals, and a server that goes away."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imgsearch.errors import FolderError
from imgsearch.files import bucket
from imgsearch.indexing import decode
from imgsearch.indexing.options import IndexOptions, IndexResult
from imgsearch.indexing.run import index_pictures
from support import fakes
from support.pictures import encode, scene

fake_model = fakes.fake_model
pytestmark = pytest.mark.usefixtures("fake_model")


def _image(seed: int) -> bytes:
    return encode(scene(seed, (40, 30)), ".png")


class Server:
    """A running moto server, and a client that fills it."""

    def __init__(self) -> None:
        moto = pytest.importorskip("moto.server", reason="make buckets installs a server")
        import boto3

        self._moto = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        self._moto.start()
        self.address = "http://{}:{}".format(*self._moto.get_host_and_port())
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.address,
            aws_access_key_id="key",
            aws_secret_access_key="very-secret",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket="photos")

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket="photos", Key=key, Body=data)

    def stop(self) -> None:
        self._moto.stop()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    bucket._store.cache_clear()
    bucket._gone.clear()
    yield running
    bucket._store.cache_clear()
    bucket._gone.clear()
    running.stop()


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


def _index(folder: str, *paths: str) -> IndexResult:
    return index_pictures(paths, folder, IndexOptions(thumbs=False))


def test_what_lies_in_a_bucket_is_indexed_once(server: Server, folder: str) -> None:
    """Images, and those of a shard in a bucket; a changed one again, a deleted one no more."""
    shard = io.BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as file:
        for number in range(3):
            member = tarfile.TarInfo(f"{number:06}.png")
            member.size = len(_image(20 + number))
            file.addfile(member, io.BytesIO(_image(20 + number)))
    server.put("it/shards/0.tar", shard.getvalue())
    for number, key in enumerate(("it/a b#%.png", "it/ü/c.png", "it/d.png")):
        server.put(key, _image(number))
    assert _index(folder, "s3://photos/it").indexed == 4
    assert _index(folder).unchanged == 4
    server.put("it/d.png", _image(9))
    server.client.delete_object(Bucket="photos", Key="it/a b#%.png")
    result = _index(folder)
    assert (result.indexed, result.pruned, result.unchanged) == (1, 1, 2)


def test_two_thousand_keys_are_listed(server: Server) -> None:
    """The server gives a thousand at a time."""
    for number in range(2000):
        server.put(f"many/{number:04}.png", b"x")
    assert [path for path, _ in bucket.listed("s3://photos/many")] == [
        f"{number:04}.png" for number in range(2000)
    ]


def test_a_bucket_that_is_not_there_is_told(server: Server, folder: str) -> None:
    """In one line, without an index made."""
    with pytest.raises(FolderError, match="there is no such bucket; nothing was indexed"):
        _index(folder, "s3://nowhere/it")


def test_a_server_that_is_gone_deletes_nothing(
    server: Server, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gone between listing and reading, what is new waits for the next run; gone before, all stays; then it goes on."""
    monkeypatch.setattr(bucket, "_ATTEMPTS", 1)
    for number in range(4):
        server.put(f"go/{number}.png", _image(30 + number))
    _index(folder, "s3://photos/go")
    for number in range(4, 8):
        server.put(f"go/{number}.png", _image(30 + number))
    before = decode.decode_ahead

    def without_server(*args: Any, **kwargs: Any) -> Any:
        bucket._store.cache_clear()
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        return before(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("imgsearch.indexing.ingest.decode_ahead", without_server)
        result = _index(folder)
    assert dict(result.skipped) == {"unreadable": 4}
    bucket._gone.clear()
    assert _index(folder).left_alone == {
        "s3://photos/go": "it can't be listed: the server can't be reached (tried 1 times)"
    }
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
    bucket._store.cache_clear()
    bucket._gone.clear()
    result = _index(folder)
    assert (result.indexed, result.unchanged, result.pruned) == (4, 4, 0)


def test_secrets_are_nowhere_in_the_index(server: Server, folder: str) -> None:
    """Neither in a file of it, nor in what is said of a failure."""
    server.put("se/a.png", _image(50))
    _index(folder, "s3://photos/se")
    held = b"".join(path.read_bytes() for path in Path(folder).rglob("*") if path.is_file())
    assert b"very-secret" not in held
