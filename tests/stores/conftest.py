"""The Milvus server that the tests of this room share; `make stores` has installed it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.milvus_server import MilvusProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusProcess]:
    """Give a server of its own to each process of tests."""
    pytest.importorskip("milvus", reason="make stores installs a Milvus server")
    running = MilvusProcess(tmp_path_factory.mktemp("milvus"))
    yield running
    running.stop()
