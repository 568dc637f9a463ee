"""The pipeline on Ray: units are decoded by tasks and embedded by a pool of actors, with Ray Data between them.

What bounds it: Ray Data's budget of object store memory holds the decoded units, and an embedder has at most a few of
them waiting. A task or actor whose machine is lost is done again elsewhere; the unit is then delivered twice at most.
What goes between processes is pickled, as is everything that Ray carries; the files that they deliver are not.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import ClusterError, ImgsearchError, MissingExtra, UsageError
from imgsearch.machine import cores
from imgsearch.text import Option
from imgsearch.tools.cluster.units import Setup, Unit
from imgsearch.tools.cluster.worker import Embedder, decode, preparer, refusal
from imgsearch.types import Prepare

RESOURCE = "imgsearch"
"""The custom resource of a machine that embeds: how many models it may have in memory."""
_OBJECTS = 1 << 30  # bytes of a local Ray's object store at most
_RETRIES = 20
"""How often a unit is done again whose process ends: machines may come and go, but one unit must not go on for ever."""
_LISTENING = 0.5  # seconds that a wait lasts at most before Ctrl-C is looked for
_LOOK_AGAIN, _LOST = (
    5.0,
    60.0,
)  # seconds without a delivery until machines are counted; until none is given up for
_TO_ANSWER = 120.0  # seconds for a machine to start a process and say whether it can take part
_PATIENCE = 5.0  # seconds for an address to take a connection
_CLIENT = "ray://"
_CLIENT_TRIES = 2
_ADDRESS = re.compile(r"(?P<host>[^/:\s]+):(?P<port>\d{1,5})")


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep what Ray's C++ part writes while it starts off the terminal; its errors come as exceptions too."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class RayPipeline:
    """Ray, started here (``ray``), running at HOST:PORT, or reached through its client at ray://HOST:PORT."""

    def __init__(self, address: str) -> None:
        """Take the address as somebody typed it. Raises UsageError, MissingExtra."""
        self._address = address
        self._is_client = address.startswith(_CLIENT)
        if address != "ray" and not _ADDRESS.fullmatch(address.removeprefix(_CLIENT)):
            raise UsageError(
                Option("on", address),
                ": give ray (this machine), HOST:PORT of a Ray cluster, or ray://HOST:PORT of its client server",
            )
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise MissingExtra("that", "ray") from error
        self._ray = ray
        self._embedders = 0

    def open(self) -> None:
        """Start a Ray on loopback, or connect to the one at the address. Raises ClusterError."""
        if self._ray.is_initialized():
            self._count()
            return
        quiet: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
        try:
            if self._address != "ray":
                self._reach()
            with _hushed():
                self._try_to_init(quiet)
            # Ray prints what it tries again, on standard output too, and has no setting for it.
            with suppress(AttributeError):
                self._ray._private.worker.print_to_stdstream = lambda *given, **named: None
        except ImgsearchError:
            raise
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [
                type(error).__name__
            ]
            why = f"{lines[0]} {lines[-1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
            raise ClusterError(f"Ray at {self._address} can't be used: {why[:300].rstrip(':')}") from error
        self._count()

    def _try_to_init(self, quiet: dict[str, Any]) -> None:
        """Try again where Ray's client server, which starts a process for each client, took too long to start it."""
        for _ in range(_CLIENT_TRIES if self._is_client else 0):
            with suppress(ConnectionError):
                self._init(quiet)
                return
        self._init(quiet)

    def _init(self, quiet: dict[str, Any]) -> None:
        if self._address != "ray":
            self._ray.init(address=self._address, **quiet)
            return
        self._ray.init(
            address="local",
            include_dashboard=False,
            num_cpus=cores.usable().count,
            resources={RESOURCE: 1},
            object_store_memory=_OBJECTS,
            _node_ip_address="127.0.0.1",
            **quiet,
        )

    def _reach(self) -> None:
        found = _ADDRESS.fullmatch(self._address.removeprefix(_CLIENT))
        assert found
        try:
            socket.create_connection((found["host"], int(found["port"])), _PATIENCE).close()
        except (OSError, OverflowError) as error:
            raise ClusterError(
                f"no Ray answers at {self._address}; start it with: "
                f"ray start --head --resources='{{\"{RESOURCE}\": 1}}'"
            ) from error

    def _count(self) -> None:
        offers = self._offers()
        self._embedders = int(sum(node[RESOURCE] for node in offers))
        # Where some have none, an embedder takes the GPU that it sees, and needs none.
        self._gpus = bool(offers) and all(node.get("GPU", 0) >= 1 for node in offers)
        if not self._embedders:
            host = self._address.removeprefix(_CLIENT)
            raise ClusterError(
                f"no machine of the cluster at {self._address} offers to embed; start each that is to with: "
                f"ray start --address={host} --resources='{{\"{RESOURCE}\": 1}}'"
            )

    def _offers(self) -> list[dict[str, float]]:
        """Return the resources of each machine that offers to embed."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return [node for node in nodes if node.get(RESOURCE, 0) >= 1]

    def run(self, setup: Setup, units: Sequence[Unit], known: NDArray[np.uint64]) -> Iterator[str]:
        """Yield the names of deliveries. Raises ClusterError for a worker that refuses or fails."""
        self._check(setup)
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        gpus = self._gpus and setup.model.device in ("auto", "cuda")
        work = (setup, units, known, self._embedders, gpus)
        rows = self._driven(pickle.dumps(work)) if self._is_client else _flow(*work)
        try:
            for name, error in self._watched(rows):
                if error:
                    raise ClusterError(f"{error}; what was delivered stays: run the same command to continue")
                yield name
        except ImgsearchError:
            raise
        except Exception as error:
            lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise ClusterError(
                f"Ray gave up ({lines[-1].strip()[:200]}); what was delivered stays: run the same command to continue"
            ) from error

    def _watched(self, rows: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """Yield rows as they come. Raises ClusterError once no machine embeds any more: Ray would wait for ever."""
        found: queue.SimpleQueue[tuple[str, str] | Exception | None] = queue.SimpleQueue()

        def pump() -> None:
            try:
                for row in rows:
                    found.put(row)
                found.put(None)
            except Exception as error:
                found.put(error)

        threading.Thread(target=pump, daemon=True).start()
        seen = time.monotonic()
        while True:
            try:
                row = found.get(timeout=_LISTENING)
            except queue.Empty:
                now = time.monotonic()
                if now - seen > _LOOK_AGAIN:
                    if self._offers():
                        seen = now
                    elif now - seen > _LOST:
                        raise ClusterError(
                            f"no machine of the cluster at {self._address} offers to embed any more; "
                            "what was delivered stays: start one, and run the same command to continue"
                        ) from None
                continue
            if row is None:
                return
            if isinstance(row, Exception):
                raise row
            seen = time.monotonic()
            yield row

    def _driven(self, work: bytes) -> Iterator[tuple[str, str]]:
        """Yield what ``_flow`` yields, which runs on the cluster: Ray Data does not run through Ray's client."""
        driver = self._ray.remote(num_cpus=0)(_Driver).remote(work)
        try:
            while row := self._ray.get(driver.next.remote()):
                yield row
        finally:
            with suppress(Exception):
                self._ray.kill(driver)

    def _check(self, setup: Setup) -> None:
        """Ask each machine whether it can work for the run, before anything is sent to it."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ask = self._ray.remote(num_cpus=0, max_retries=0)(_refusal)
        asked = [
            ask.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(setup.version, pickle.dumps(setup))
            for node in self._ray.nodes()
            if node["Alive"]
        ]
        for answer in asked:
            try:
                why = self._ray.get(answer, timeout=_TO_ANSWER)
            except self._ray.exceptions.RayTaskError as error:
                why = f"a worker can't take part ({(str(error).splitlines() or [''])[-1].strip()[:200]})"
            except self._ray.exceptions.RayError:
                continue  # a machine that has just been lost, and may still count as alive, or is very busy
            if why:
                raise ClusterError(why)

    def close(self) -> None:
        """End the Ray that was started here, or leave the cluster."""
        with suppress(Exception):
            self._ray.shutdown()


def _flow(
    setup: Setup, units: Sequence[Unit], known: NDArray[np.uint64], embedders: int, gpus: bool
) -> Iterator[tuple[str, str]]:
    """Have units decoded and embedded; yield for each the name of its delivery, or why there is none."""
    import ray
    from ray import data

    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    rows = [{"unit": pickle.dumps(unit)} for unit in units]
    found = (
        data.from_items(rows, override_num_blocks=len(rows))
        .map_batches(
            _decode,
            batch_size=1,
            num_cpus=1,
            max_retries=_RETRIES,
            fn_kwargs={"setup": setup, "table": [ray.put(known)]},
        )
        .map_batches(
            _Embed,
            fn_constructor_args=(setup,),
            batch_size=1,
            # A pool of fixed size waits for ever for the actor of a machine that was lost.
            compute=data.ActorPoolStrategy(min_size=1, max_size=embedders),
            num_cpus=0,
            num_gpus=1 if gpus else 0,
            resources={RESOURCE: 1},
            max_restarts=_RETRIES,
            max_task_retries=_RETRIES,
        )
    )
    for row in found.iter_rows():
        yield row["name"], row["error"]


class _Driver:
    """``_flow`` as an actor of the cluster, for a coordinator outside it."""

    def __init__(self, work: bytes) -> None:
        self._rows = _flow(*pickle.loads(work))

    def next(self) -> tuple[str, str] | None:
        return next(self._rows, None)


_prepared: dict[str, Prepare] = {}  # by run, for the life of a worker process


def _prepare(setup: Setup) -> Prepare:
    if setup.run not in _prepared:
        # Also a machine that has joined since the others were asked.
        if why := refusal(setup):
            raise ClusterError(why)
        _prepared.clear()
        _prepared[setup.run] = preparer(setup)
    return _prepared[setup.run]


def _refusal(version: str, setup: bytes) -> str:
    """Say why a worker can't take part, also where its imgsearch can't even read what it is sent."""
    import imgsearch as here

    if here.__version__ != version:
        return f"a worker has imgsearch {here.__version__}, not {version}: install the same version on all machines"
    return refusal(pickle.loads(setup))


def _decode(batch: dict[str, Any], setup: Setup, table: list[Any]) -> dict[str, Any]:
    import ray

    unit: Unit = pickle.loads(batch["unit"][0])
    began = time.monotonic()
    try:
        found = None
        if (
            not unit.is_document
        ):  # those are read page by page where they are embedded: they may be larger than memory
            found = list(decode(setup, unit, _prepare(setup), ray.get(table[0])))
        done = pickle.dumps((unit, found, time.monotonic() - began), protocol=5)
    except ImgsearchError as error:
        return {"done": [b""], "error": [str(error)]}
    return {"done": [done], "error": [""]}


def _share_of_cores() -> int:
    """Return how many cores an embedder may use, if those of its machine share them."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    models = next(node["Resources"].get(RESOURCE, 1) for node in ray.nodes() if node["NodeID"] == here)
    return max(1, cores.usable().count // max(1, int(models)))


class _Embed:
    def __init__(self, setup: Setup) -> None:
        # Ray keeps whatever asks for no processors on one thread, unless told otherwise.
        self._cores = ExitStack()
        self._cores.enter_context(cores.limited(threads=_share_of_cores()))
        self._refusal = refusal(setup)
        self._embedder = None
        if not self._refusal:
            try:
                self._embedder = Embedder(setup)
            except ImgsearchError as error:
                self._refusal = f"the worker on {socket.gethostname()} can't load the model: {error}"

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        error = self._refusal or str(batch["error"][0])
        if error or self._embedder is None:
            return {"name": [""], "error": [error]}
        try:
            name = self._embedder.deliver(*pickle.loads(batch["done"][0]))
        except ImgsearchError as failed:
            return {"name": [""], "error": [f"on {socket.gethostname()}: {failed}"]}
        return {"name": [name], "error": [""]}
