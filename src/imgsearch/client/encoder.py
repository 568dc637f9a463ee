"""An encoder whose model is in the server's memory; where the server fails, it loads the model here and continues."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from imgsearch.client import protocol
from imgsearch.client.connection import NoServer, Server, ServerGone
from imgsearch.errors import ImgsearchError, NonFiniteError, UsageError
from imgsearch.model.families import open_checkpoint, preparation
from imgsearch.text import Call, Message
from imgsearch.types import (
    RGB,
    ImageEncoder,
    Input,
    ModelSpec,
    Notify,
    Patches,
    PixelBudget,
    Prepared,
    Runtime,
    Vectors,
)


def remote_encoder(
    model_spec: ModelSpec, load: Callable[[], ImageEncoder], notify: Notify
) -> RemoteEncoder | None:
    """Return an encoder by this user's server, with the model loaded there; None if no server can give one.

    ``load`` loads the same model here, for when the server goes away; ``notify`` takes lines for the user.
    Whatever keeps the server from loading it is not told: it may be only the server's trouble, and if it is not,
    loading the model here tells the same.
    """
    server = greeted(notify)
    if server is None:
        return None
    try:
        return RemoteEncoder(server, model_spec, load, notify)
    except ServerGone as gone:
        notify(f"the server does not answer ({gone}): loading the model in this process")
    except ImgsearchError:
        pass
    server.close()
    return None


def greeted(notify: Notify) -> Server | None:
    """Return a connection to this user's server; None if there is none, or one that can't be used, which is told."""
    try:
        server = Server(notify=notify)
    except NoServer:
        return None
    except ServerGone as gone:
        notify(f"the server does not answer ({gone}): loading the model in this process")
        return None
    if (theirs := server.state.version) != (ours := protocol.version()):
        server.close()
        notify(
            Message(
                f"the running server is imgsearch {theirs}, this is {ours}: loading the model in this process. "
                "To use the server again, restart it: ",
                Call("serve"),
            )
        )
        return None
    return server


class RemoteEncoder:
    """An ``ImageEncoder`` by a server's model. The vectors are those that the same model gives here, bit for bit."""

    def __init__(
        self, server: Server, model_spec: ModelSpec, load: Callable[[], ImageEncoder], notify: Notify
    ) -> None:
        """Have the server load the model. Raises ServerGone, and the errors of loading it."""
        self._server, self._model_spec, self._notify = server, model_spec, notify
        self._load = functools.cache(load)
        self._gone, self._recomputed = False, 0
        loaded = server.json("/load", protocol.model_spec_to_json(model_spec))
        try:
            runtime = Runtime(*(str(loaded[name]) for name in ("device", "dtype", "reason")))
            self.dim = int(loaded["dim"])
            self.batch_size, self.batch_reason = int(loaded["batch_size"]), str(loaded["batch_reason"])
        except (KeyError, TypeError, ValueError) as error:
            raise ServerGone("its answer about the model is incomplete") from error
        self.runtime = replace(runtime, reason=f"{runtime.reason}; by the server, process {server.state.pid}")
        self._prepare = preparation(open_checkpoint(model_spec.folder))

    @property
    def recomputed(self) -> int:
        """How many of the rows asked for were computed again in float32, by the server and, once it stopped, here."""
        return self._recomputed + (self._load().recomputed if self._gone else 0)

    def expect(self, images: int) -> str:
        """Return "": the server decides when to lay its weights out."""
        return ""

    def int8_speedup(self) -> float:
        """Return 1: what the server computes in was chosen when the model was loaded there."""
        return 1.0

    def prepare(self, image: RGB, budget: PixelBudget | None = None) -> Prepared:
        """Make a picture ready, here, on any thread; raises as the model's own does."""
        return self._prepare(image, budget or self._model_spec.budget)

    def embed(
        self, inputs: Sequence[Input], normalize: bool = True, *, batch_size: int | None = None
    ) -> Vectors:
        """Return one float32 row an input, as the model's own ``embed`` does; raises as that does.

        ``batch_size`` inputs are computed at a time.
        """
        inputs = [self._prepared(item) for item in inputs]
        if not self._gone and normalize:
            try:
                return self._embed_by_server(inputs, batch_size or self.batch_size)
            except ServerGone as gone:
                self._gone = True
                self._notify(f"the server stopped ({gone}): loading the model in this process to continue")
        return self._load().embed(inputs, normalize, batch_size=batch_size)

    def _embed_by_server(self, inputs: Sequence[Input], batch_size: int) -> Vectors:
        """Have the server embed a call in as few messages as its limit allows, mostly one."""
        rows = np.empty((len(inputs), self.dim), np.float32)
        bad: list[int] = []
        start = 0
        while start < len(inputs):
            stop = start + _fit_in_message(inputs[start:])
            try:
                rows[start:stop] = self._send(inputs[start:stop], batch_size)
            except NonFiniteError as error:
                bad += [start + row for row in error.rows]
            start = stop
        if bad:
            raise NonFiniteError(bad)
        return rows

    def _prepared(self, item: Input) -> Input:
        if item.image is None or isinstance(item.image, Patches):
            return item
        return replace(item, image=self.prepare(item.image, item.budget))

    def _send(self, inputs: Sequence[Input], batch_size: int) -> Vectors:
        message = protocol.pack_inputs(self._model_spec, inputs, batch_size)
        answer = self._server.message("/embed", message, len(inputs))
        try:
            data, arrays = protocol.unpack(answer)
            vectors = arrays["vectors"]
            if vectors.shape != (len(inputs), self.dim) or vectors.dtype != np.float32:
                raise ValueError
            self._recomputed += int(data["recomputed"])
        except (UsageError, KeyError, TypeError, ValueError) as error:
            raise ServerGone("its answer can't be read") from error
        for line in data.get("notices", []):
            self._notify(str(line))
        return vectors


def _fit_in_message(inputs: Sequence[Input]) -> int:
    """Return how many of the first inputs fit into one message, at least 1."""
    room = int(0.9 * protocol.MAX_MESSAGE_BYTES)  # the rest is for texts and names
    for count, item in enumerate(inputs):
        room -= len(item.text or "")
        if item.image is not None:
            room -= (item.image.pixel_values if isinstance(item.image, Patches) else item.image).nbytes
        if room < 0:
            return max(1, count)
    return len(inputs)
