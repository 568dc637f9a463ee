"""A Milvus server with accounts and TLS, as one that stands in a network should have them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgsearch.errors import StoreError
from imgsearch.tools.stores.address import CA, TOKEN, Address, parse
from imgsearch.tools.stores.milvus import MilvusStore
from support.fakes import spec
from support.milvus_server import MilvusProcess
from support.stores import image, rows

pytest.importorskip("milvus", reason="make stores installs a Milvus server")


def certificate(folder: Path, name: str) -> tuple[str, str]:
    """Make a certificate of 127.0.0.1, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    made, key = str(folder / f"{name}.pem"), str(folder / f"{name}.key")
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={name}",
    ]
    request += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", made, "-keyout", key]
    subprocess.run(request, check=True, capture_output=True)
    return made, key


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    """Start such a server, with the token and the certificate of it in the environment."""
    made, key = certificate(tmp_path, "server")
    settings = {"COMMON_SECURITY_AUTHORIZATIONENABLED": "true", "COMMON_SECURITY_TLSMODE": "1"}
    settings |= {"TLS_SERVERPEMPATH": made, "TLS_SERVERKEYPATH": key}
    running = MilvusProcess(tmp_path / "milvus", **settings)
    monkeypatch.setenv(TOKEN, "root:Milvus")
    monkeypatch.setenv(CA, made)
    yield parse(f"milvus://{running.address}/secured")
    running.stop()


def test_the_token_and_the_certificate_open_a_store(
    address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both it can be filled and asked; without either, or with a wrong one, a line says what is the matter."""
    right = os.environ[CA]
    monkeypatch.setenv(CA, certificate(tmp_path, "another")[0])
    with pytest.raises(
        StoreError,
        match=r"there with TLS; is it running, and is its certificate the one in IMGSEARCH_STORE_CA\?",
    ):
        MilvusStore.at(address)
    monkeypatch.delenv(CA)
    with pytest.raises(
        StoreError, match=r"there; is it running\? If it wants TLS, set IMGSEARCH_STORE_TLS=1"
    ):
        MilvusStore.at(address)
    monkeypatch.setenv(CA, right)
    monkeypatch.setenv(TOKEN, "root:wrong")
    with pytest.raises(StoreError, match=f"refuses access; set {TOKEN}"):
        MilvusStore.at(address)
    monkeypatch.setenv(TOKEN, "root:Milvus")
    store = MilvusStore.at(address, spec(), create=True)
    store.upsert([image(1), image(2)], rows([1, 2]))
    ((best, _),) = store.search(rows([2]).astype("float32"), 1)[0]
    assert best.key == image(2).key
    store.close()
