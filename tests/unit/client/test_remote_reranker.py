"""Reranking by the server: the same scores as here, loaded there once, and here where the server goes away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imgsearch.client import protocol
from imgsearch.client.connection import ServerGone
from imgsearch.client.remote_reranker import RemoteReranker
from imgsearch.errors import UsageError
from imgsearch.tools.server.handlers import Handlers
from imgsearch.tools.server.resources import Resources
from imgsearch.types import Input, ModelSpec, PixelBudget

BUDGET = PixelBudget(4096, 57_600)


class _Server:
    """A connection to handlers in this process, which ends when it is told to."""

    state = SimpleNamespace(pid=7)

    def __init__(self, handlers: Handlers) -> None:
        self.handlers, self.gone, self.asked = handlers, False, 0

    def message(self, path: str, message: bytes, inputs: int) -> bytes:
        assert path == "/rerank"
        if self.gone:
            raise ServerGone("it ended")
        self.asked += 1
        return self.handlers.rerank(message)


def test_the_server_judges_as_this_process_does(tiny_reranker: str, tmp_path: Any) -> None:
    """Scores of the server are those of the same reranker here, bit for bit; without it, judging goes on here."""
    from imgsearch.client.reranker import load_reranker
    from imgsearch.model.checkpoint import Checkpoint

    resources = Resources(str(tmp_path), 60, print)
    server, said = _Server(Handlers(resources)), list[str]()
    here = load_reranker(Checkpoint(tiny_reranker), "cpu", "float32", BUDGET, print)
    spec = ModelSpec(tiny_reranker, "", 0, BUDGET, "", "cpu", "float32")
    remote = RemoteReranker(server, spec, lambda: here, said.append)  # type: ignore[arg-type]
    assert (remote.runtime.device, remote.runtime.dtype) == ("cpu", "float32")
    assert "process 7" in remote.runtime.reason
    assert remote.seconds_per_image() > 0
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    query = Input("a red car")
    assert remote.scores(query, [image, image[::-1].copy()]) == here.scores(
        query, [image, image[::-1].copy()]
    )
    assert remote.scores(Input("a car", image), [image]) == here.scores(Input("a car", image), [image])
    assert (server.asked, said) == (4, [])
    assert resources.rerankers.unload_idle(0)
    server.gone = True
    assert remote.scores(query, [image]) == here.scores(query, [image])
    assert "loading the reranker in this process" in said[0]
    message = protocol.pack_inputs(spec, [query])
    with pytest.raises(UsageError, match="give a query"):
        server.handlers.rerank(message)
