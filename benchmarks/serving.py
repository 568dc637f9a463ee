"""A warm question to `imgsearch serve` beside the model's own forward, and eight clients at once for a minute.

Theory: a question is one pass of some 12 tokens through the language layers: all their weights are read once (2.8 GB in
bfloat16 at the published size, so 0.1 to 0.2 s at the rate of memory), then the search (3 ms at 100,000 × 2,048), then
HTTP, JSON and two thread changes, which should be 1 to 3 ms. Target: the forward's own time + 30 ms. Eight clients at
once wait for one another, since the model is one: the sum of questions a second stays that of one client, no request
fails, and memory does not grow with the requests.

    python benchmarks/serving.py [--rows 100000] [--layers N] [--questions 30] [--clients 8] [--seconds 60]
        [--dtype auto] [--scratch DIR] [--keep]

A B A B: each question is embedded by this process's own copy of the model (the forward), then asked of the server over
its Unix socket, then over HTTP with the token; no answer is remembered. Both have mapped the same files, whose
pages they share. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import embedding_pass
import measure

WORDS = (
    *("red", "blue", "old", "new", "small", "wet", "dark"),
    *("car", "boat", "cat", "house", "tree", "beach"),
)


def questions() -> Iterator[str]:
    """Give questions that are all different."""
    for number, words in enumerate(itertools.permutations(WORDS, 4)):
        yield f"a {' '.join(words)} {number}"


class Client:
    """One connection that is kept: over the Unix socket, or over HTTP with the token."""

    def __init__(self, to: str | tuple[str, int], token: str = "") -> None:
        """Connect."""
        import socket

        if isinstance(to, str):
            self._http = http.client.HTTPConnection("localhost")
            self._http.sock = socket.socket(socket.AF_UNIX)
            self._http.sock.connect(to)
        else:
            self._http = http.client.HTTPConnection(*to)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, text: str, dtype: str) -> None:
        """Ask a question; SystemExit unless ten hits come back."""
        body = measure.json.dumps({"text": text, "dtype": dtype, "remember": False})
        self._http.request("POST", "/query", body, self._headers)
        answer = self._http.getresponse()
        found = measure.json.loads(answer.read())
        if answer.status != 200 or len(found["hits"]) != 10:
            raise SystemExit(f"{answer.status}: {found}")


@contextlib.contextmanager
def server(index: str, run: str) -> Iterator[tuple[subprocess.Popen[str], str, tuple[int, str]]]:
    """Run `imgsearch serve` during the block; give its process, its socket, its port and token."""
    env = {**os.environ, "IMGSEARCH_RUNTIME_DIR": run}
    command = [
        sys.executable,
        "-m",
        "imgsearch",
        "serve",
        "--no-warm",
        "--http",
        "--port",
        "0",
        "--index",
        index,
    ]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        port = 0
        for line in process.stderr:
            if "http://" in line:
                port = int(line.split(",")[0].rsplit(":", 1)[1])
            if "listens on" in line:
                break
        yield process, os.path.join(run, "serve.sock"), (port, Path(run, "token").read_text().strip())
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def in_turn(
    options: argparse.Namespace, embedder: Any, prompt: str, clients: dict[str, Client]
) -> dict[str, Any]:
    """Let the forward and the clients answer each question in turn; return their latencies."""
    from imgsearch.types import Input

    asked = questions()
    texts = [next(asked) for _ in range(options.questions + 2)]
    ways: dict[str, Any] = {
        "the forward alone": lambda number: embedder.embed([Input(text=texts[number], instruction=prompt)])
    }
    for name, client in clients.items():
        ways[name] = lambda number, client=client: client.ask(texts[number], options.dtype)
    taken = measure.alternate(ways, len(texts))
    return {name: measure.quantiles(milliseconds[2:]) for name, milliseconds in taken.items()}


def crowd(options: argparse.Namespace, to: str, process: int) -> dict[str, Any]:
    """Let many clients ask at once for a while; return how many answers came, and the server's memory meanwhile."""
    end = time.monotonic() + options.seconds
    taken: list[float] = []
    failures: list[str] = []

    def client(number: int) -> None:
        try:
            one = Client(to)
            for text in questions():
                began = measure.now()
                if time.monotonic() >= end:
                    return
                one.ask(f"{number} {text}", options.dtype)
                taken.append((measure.now() - began) * 1e3)
        except (Exception, SystemExit) as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(options.clients)]
    memory = [measure.memory(process)["RssAnon"]]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.5)
        memory.append(measure.memory(process)["RssAnon"])
    middle = memory[len(memory) // 2 :]
    return {
        "clients": options.clients,
        "seconds": options.seconds,
        "answers": len(taken),
        "failures": failures,
        "answers_a_second": round(len(taken) / options.seconds, 2),
        **measure.quantiles(taken),
        "own_mb_before": round(memory[0]),
        "own_mb_peak": round(max(memory)),
        "own_mb_growth_in_second_half": round(middle[-1] - middle[0], 1),
    }


def main() -> None:
    """Make the checkpoint and the index, run the server, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--questions", type=int, default=30)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--scratch", default=tempfile.gettempdir())
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint for the next run")
    options = parser.parse_args()

    import synthetic
    from imgsearch.index.writer import IndexWriter
    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.spec import choose_spec
    from imgsearch.types import ModelOptions, Silent

    folder = Path(options.scratch) / f"imgsearch-pass-{options.layers or 'full'}"
    if not (folder / "modules.json").exists():
        embedding_pass.write_checkpoint(folder, options.layers)
    embedder = Qwen3VLEmbedder(str(folder), dtype=options.dtype)
    with tempfile.TemporaryDirectory(dir=options.scratch, prefix="is-") as work:
        index = os.path.join(work, "index")
        _, spec = choose_spec(ModelOptions(model=str(folder)), Silent())
        with IndexWriter(index, spec) as writer:
            synthetic.fill(writer, os.path.join(work, "pictures"), options.rows)
        synthetic.build(index)
        with server(index, os.path.join(work, "run")) as (process, path, (port, token)):
            clients = {
                "the server, Unix socket": Client(path),
                "the server, HTTP": Client(("127.0.0.1", port), token),
            }
            latencies = in_turn(options, embedder, spec.query_prompt, clients)
            many = crowd(options, path, process.pid)
    alone = latencies["the forward alone"]["median_ms"]
    runtime = embedder.runtime
    print(
        f"{options.rows:,} pictures, {runtime.dtype} on {runtime.device}, {options.questions} questions in turn"
    )
    print(f"{'':26}{'median ms':>10}{'95 %':>10}{'over the forward':>18}")
    for name, found in latencies.items():
        over = found["median_ms"] - alone
        print(f"{name:26}{found['median_ms']:10.1f}{found['p95_ms']:10.1f}{over:18.1f}")
    print(
        f"{many['clients']} clients at once, {many['seconds']:g} s: {many['answers']} answers, {len(many['failures'])} "
        f"failures, median {many['median_ms']:.0f} ms; the server's own memory {many['own_mb_before']} MB before, "
        f"{many['own_mb_peak']} MB at most, {many['own_mb_growth_in_second_half']:+} MB over the second half"
    )
    result = {"rows": options.rows, "layers": options.layers, "dtype": runtime.dtype, "in_turn": latencies}
    print(measure.json.dumps({"benchmark": "serving", **result, "crowd": many}))
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
