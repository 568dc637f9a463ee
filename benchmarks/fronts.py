"""Three servers of one Milvus store under fifty clients; one is killed, and later another one stopped in order.

Theory: the servers hold nothing, so a client that goes on to the next address loses no more than the request that was
on its way: one retry. A server that is stopped says so at /ready while it still answers: whoever looks there, as a
balancer does, sees nothing at all. The clients ask as fast as they are answered, so that a request's time is mostly
waiting: with one server gone of three, on a machine with cores for fewer, the median should hardly change.

    make .venv-stores/.ready && .venv-stores/bin/python benchmarks/fronts.py [--rows N] [--clients 50] [--seconds 60]
        [--kill-store]

A real Milvus 2.3 is started and filled with invented vectors of the demo's model; each server embeds the words of each
query by that model. Each client asks the servers in turn, and tries the next one where a connection breaks or the
status is 503; a server that has failed is left out until /ready says yes. At a third of the time one server gets
SIGKILL, and is started again two seconds later; at two thirds another one gets SIGTERM. Prints a table: requests, those
that were tried again, those that failed for good, and percentiles of the milliseconds of a request, retries included;
then a line of JSON, and what made requests be tried again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests"))

from imgsearch.spec import choose_spec
from imgsearch.tools.stores.milvus import MilvusStore
from imgsearch.tools.stores.server import Server
from imgsearch.types import IndexSpec, ModelOptions, Silent
from support import stores
from support.milvus_server import MilvusProcess

_TOKEN = "a token of the clients"
_COLOURS = ("red", "green", "blue", "white", "yellow", "black", "orange", "purple")
_DRAIN = 5
_PATIENCE = 60.0  # seconds after which a request has failed for good
_DURING = {False: 5.0, True: 20.0}  # seconds after the kill of a server, or of the store, that are told apart


@dataclass
class Front:
    """A server: its process, its port, and whether requests are sent to it now."""

    number: int
    folder: str
    command: list[str]
    port: int = 0
    up: bool = False
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    def start(self) -> None:
        """Start it; it is up when /ready says so."""
        env = {**os.environ, "IMGSEARCH_RUNTIME_DIR": self.folder}
        with open(f"{self.folder}.log", "ab") as log:
            self.starts += 1
            self.process = subprocess.Popen(self.command, env=env, stdout=log, stderr=log)

    def end(self, number: int) -> None:
        """Send it a signal."""
        assert self.process
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end; return the exit code."""
        assert self.process
        return self.process.wait(60)

    def is_ready(self) -> bool:
        """Ask /ready."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            asked.request("GET", "/ready")
            return asked.getresponse().status == 200
        return False


@dataclass(frozen=True)
class Asked:
    """A request: when it began, its seconds, how often it was tried, whether it was answered."""

    began: float
    seconds: float
    tries: int
    answered: bool


@dataclass
class Load:
    """Clients of some servers."""

    fronts: list[Front]
    ends: threading.Event = field(default_factory=threading.Event)
    asked: list[Asked] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def watch(self) -> None:
        """Look at /ready every second, as a balancer does."""
        while not self.ends.wait(0.5):
            for front in self.fronts:
                front.up = front.is_ready()

    def client(self, number: int) -> None:
        """Ask one request after another."""
        connections: dict[tuple[int, int], http.client.HTTPConnection] = {}
        for turn in itertools.count(number):
            if self.ends.is_set():
                return
            self.asked.append(self._ask(connections, turn, f"{_COLOURS[turn % len(_COLOURS)]} {turn % 997}"))

    def _ask(
        self, connections: dict[tuple[int, int], http.client.HTTPConnection], turn: int, text: str
    ) -> Asked:
        began, tries = time.monotonic(), 0
        body = json.dumps({"text": text, "n": 10})
        while time.monotonic() - began < _PATIENCE:
            up = [front for front in self.fronts if front.up]
            if not up:
                time.sleep(0.05)
                continue
            front = up[(turn + tries) % len(up)]
            tries += 1
            to = front.number, front.starts  # no connection outlives the server that it was to
            try:
                if to not in connections:
                    connections[to] = http.client.HTTPConnection("127.0.0.1", front.port, timeout=30)
                connections[to].request("POST", "/query", body, {"authorization": f"Bearer {_TOKEN}"})
                answer = connections[to].getresponse()
                told = json.loads(answer.read())
                if answer.status == 200 and len(told["hits"]) == 10:
                    return Asked(began, time.monotonic() - began, tries, True)
                if answer.status != 503:
                    self.problems.append(f"{answer.status}: {told}")
                    return Asked(began, time.monotonic() - began, tries, False)
            except (OSError, http.client.HTTPException, ValueError) as error:
                connections.pop(to).close()
                self.problems.append(
                    f"server {front.number}, {time.monotonic() - self.began:.0f} s: {error!r}"
                )
            front.up = False
        return Asked(began, time.monotonic() - began, tries, False)


@contextlib.contextmanager
def running(fronts: list[Front]) -> Iterator[None]:
    """Run the servers during the block."""
    try:
        for front in fronts:
            front.start()
        end = time.monotonic() + 300
        while not all(front.is_ready() for front in fronts):
            if time.monotonic() > end:
                raise SystemExit(f"the servers did not start: see {fronts[0].folder}.log")
            time.sleep(0.5)
        yield
    finally:
        for front in fronts:
            if front.process:
                front.process.kill()
                front.process.wait()


def fill(server: MilvusProcess, rows: int) -> IndexSpec:
    """Make a collection of invented images of the demo's model, and return what it was made with."""
    _, spec = choose_spec(ModelOptions(model="demo"), Silent())
    uri = f"http://{server.address}"
    store = MilvusStore(Server(uri, uri), "fronts", spec, create=True)
    for first in range(0, rows, 2_000):
        numbers = range(first, min(first + 2_000, rows))
        drawn = np.random.default_rng(first).standard_normal((len(numbers), spec.dim)).astype(np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        store.upsert([stores.image(number) for number in numbers], drawn)
    store.flush()
    store.close()
    return spec


def made_fronts(folder: Path, address: str, count: int) -> list[Front]:
    """Return servers that are not started yet, all with the same clients."""
    clients = folder / "clients.toml"
    clients.write_text(f'[load]\ntoken_sha256 = "{hashlib.sha256(_TOKEN.encode()).hexdigest()}"\n')
    clients.chmod(0o600)
    fronts = []
    for number in range(count):
        run = folder / f"front-{number}"
        run.mkdir(0o700)
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = int(free.getsockname()[1])
        options = [f"--store={address}", f"--port={port}", f"--clients={clients}", f"--drain={_DRAIN}"]
        command = [sys.executable, "-m", "imgsearch", "serve", "--http", *options]
        fronts.append(Front(number, str(run), command, port))
    return fronts


def told(name: str, asked: list[Asked]) -> dict[str, float | str]:
    """Return one row of the table."""
    took = np.array([1e3 * one.seconds for one in asked] or [np.nan])
    return {
        "when": name,
        "requests": len(asked),
        "retried": sum(one.tries > 1 for one in asked),
        "most tries": max((one.tries for one in asked), default=0),
        "failed": sum(not one.answered for one in asked),
        **{f"p{share}": round(float(np.percentile(took, share)), 1) for share in (50, 95, 99)},
    }


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kill-store", action="store_true")
    options = parser.parse_args()
    during = _DURING[options.kill_store]
    with tempfile.TemporaryDirectory(prefix="fronts-") as scratch:
        folder = Path(scratch)
        server = MilvusProcess(folder / "milvus")
        try:
            fill(server, options.rows)
            fronts = made_fronts(folder, f"milvus://{server.address}/fronts", 3)
            with running(fronts):
                load = Load(fronts)
                for front in fronts:
                    front.up = True
                work = [
                    threading.Thread(target=load.client, args=(number,)) for number in range(options.clients)
                ]
                work.append(threading.Thread(target=load.watch))
                began = time.monotonic()
                for thread in work:
                    thread.start()
                time.sleep(options.seconds / 3)
                killed = time.monotonic()
                if options.kill_store:
                    server.kill()
                else:
                    fronts[0].end(signal.SIGKILL)
                    fronts[0].ended()
                    time.sleep(2)
                    fronts[0].start()
                time.sleep(max(0.0, began + 2 * options.seconds / 3 - time.monotonic()))
                stopped = time.monotonic()
                fronts[1].end(signal.SIGTERM)
                time.sleep(options.seconds / 3)
                load.ends.set()
                for thread in work:
                    thread.join()
                code = fronts[1].ended()
        finally:
            server.stop()

    def at(one: Asked) -> str:
        if one.began + one.seconds < killed:
            return "before"
        if one.began < killed + during:
            return f"{during:.0f} s from the kill"
        return "after it" if one.began + one.seconds < stopped else "drain and after"

    names = ("before", f"{during:.0f} s from the kill", "after it", "drain and after")
    table = [told(name, [one for one in load.asked if at(one) == name]) for name in names]
    table.append(told("all", load.asked))
    print("".join(f"{head:>18}" if head == "when" else f"{head:>12}" for head in table[0]))
    for row in table:
        print("".join(f"{value:>18}" if head == "when" else f"{value:>12}" for head, value in row.items()))
    print(json.dumps({"benchmark": "fronts", **vars(options), "stopped_with": code, "table": table}))
    for problem, times in Counter(load.problems).most_common(8):
        print(f"{times} x {problem}")


if __name__ == "__main__":
    main()
