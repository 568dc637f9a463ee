"""The Milvus server that the tests of this room share; `make stores` has installed it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.milvus_server import MilvusProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusProcess]:
    """Give a server that ends with its module: others start one that has accounts, and only one can run."""
    pytest.importorskip("milvus", reason="make stores installs a Milvus server")
    running = MilvusProcess(tmp_path_factory.mktemp("milvus"))
    yield running
    running.stop()
