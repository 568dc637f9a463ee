"""A reranker in the server's memory; where the server fails, it is loaded here and continues."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from imgsearch.client import protocol
from imgsearch.client.connection import Server, ServerGone
from imgsearch.client.encoder import greeted
from imgsearch.client.reranker import LoadedReranker
from imgsearch.errors import ImgsearchError, UsageError
from imgsearch.model import image as pixels
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.types import RGB, Input, ModelSpec, Notify, Patches, PixelBudget, Runtime


def remote_reranker(
    checkpoint: Checkpoint,
    device: str,
    dtype: str,
    budget: PixelBudget,
    load: Callable[[], LoadedReranker],
    notify: Notify,
) -> RemoteReranker | None:
    """Return a reranker by this user's server, loaded there; None if no server can give one.

    IMGSEARCH_SERVER=off asks none. ``load`` loads it here, for when the server goes away. As with an encoder, whatever
    keeps the server from loading it is not told.
    """
    if os.environ.get("IMGSEARCH_SERVER", "").lower() == "off":
        return None
    server = greeted(notify)
    if server is None:
        return None
    spec = ModelSpec(checkpoint.folder, "", 0, budget, "", device, dtype)
    try:
        return RemoteReranker(server, spec, load, notify)
    except ServerGone as gone:
        notify(f"the server does not answer ({gone}): loading the reranker in this process")
    except ImgsearchError:
        pass
    server.close()
    return None


class RemoteReranker:
    """A ``LoadedReranker`` by a server's model."""

    def __init__(
        self, server: Server, spec: ModelSpec, load: Callable[[], LoadedReranker], notify: Notify
    ) -> None:
        """Have the server load it. Raises ServerGone, and the errors of loading it."""
        self._server, self._spec, self._notify = server, spec, notify
        self._load = functools.cache(load)
        self._gone = False
        self._layout = pixels.read_layout(Checkpoint(spec.folder))
        self._seconds = 0.0
        self.runtime = Runtime("", "", "")
        self._send([])
        reason = f"{self.runtime.reason}; by the server, process {server.state.pid}"
        self.runtime = replace(self.runtime, reason=reason)

    def seconds_per_image(self) -> float:
        """Return about how long the server takes for one image; 0 where it can't tell."""
        return self._seconds

    def scores(self, query: Input, images: Sequence[RGB]) -> list[float]:
        """Return for each image the probability that it answers the query. Raises as the reranker's own does."""
        if not self._gone:
            try:
                return [
                    self._send([self._prepared(query), self._prepared(Input(None, one))])[0] for one in images
                ]
            except ServerGone as gone:
                self._gone = True
                self._notify(f"the server stopped ({gone}): loading the reranker in this process to continue")
        return self._load().scores(query, images)

    def _prepared(self, item: Input) -> Input:
        if item.image is None or isinstance(item.image, Patches):
            return item
        return replace(item, image=pixels.prepare(item.image, self._spec.budget, self._layout))

    def _send(self, inputs: Sequence[Input]) -> list[float]:
        """Send a query and an image, or nothing to have it loaded; return the scores."""
        answer = self._server.message("/rerank", protocol.pack_inputs(self._spec, inputs), len(inputs))
        try:
            data, arrays = protocol.unpack(answer)
            found = [float(score) for score in arrays["scores"]]
            if len(found) != max(0, len(inputs) - 1):
                raise ValueError
            if not inputs:
                self.runtime = Runtime(*(str(data[name]) for name in ("device", "dtype", "reason")))
                self._seconds = float(data["seconds"])
        except (UsageError, KeyError, ValueError, TypeError) as error:
            raise ServerGone("its answer can't be read") from error
        for line in data.get("notices", []):
            self._notify(str(line))
        return found
