"""`imgsearch serve`: the same answers as without it, nobody else's business, and a clean end whatever happens."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgsearch.client import connection, protocol
from imgsearch.client import encoder as client_encoder
from imgsearch.client.connection import Address, find_server
from imgsearch.client.encoder import RemoteEncoder, remote_encoder
from imgsearch.errors import InputError, NonFiniteError
from imgsearch.index.reader import ImageIndex
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.tools.server.daemon import may_ask
from imgsearch.types import Input, ModelSpec, PixelBudget
from support.cli import imgsearch
from support.fakes import paint, unprivileged
from support.serving import Running, ask, running, until

BUDGET = PixelBudget(4096, 16384)


@pytest.fixture
def short() -> Iterator[Path]:
    """Give a folder whose name is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="is-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: str) -> tuple[str, Path]:
    """Give an index of six painted pictures, made without a server, and their folder; tests don't change it."""
    folder = tmp_path_factory.mktemp("served")
    for name in ("red", "green", "blue", "white", "yellow", "black"):
        paint(folder / "pictures" / f"{name}.png", name, size=(96, 64))
    where = str(folder / "index")
    done = imgsearch("index", folder / "pictures", "--index", where, "--model", tiny_checkpoint)
    assert done.code == 0, done.err
    return where, folder / "pictures"


@pytest.fixture(scope="module")
def server(index: tuple[str, Path]) -> Iterator[Running]:
    """Give a server of the index, with HTTP, its model loaded."""
    with (
        tempfile.TemporaryDirectory(prefix="is-") as folder,
        running(
            Path(folder, "run"), "--http", "--port", "0", "--index", index[0], ready="is loaded ("
        ) as found,
    ):
        yield found


@pytest.fixture
def by_server(server: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """Let the commands of a test find the server."""
    monkeypatch.setenv("IMGSEARCH_RUNTIME_DIR", server.address.folder)
    return server


@pytest.fixture
def model_spec(tiny_checkpoint: str) -> ModelSpec:
    """Give the spec of the tiny checkpoint."""
    return ModelSpec(tiny_checkpoint, Checkpoint(tiny_checkpoint).fingerprint, 24, BUDGET, "Represent it.")


def requests(server: Running) -> int:
    """Return how much the server has been asked to do."""
    return int(server.ask("/status")[1]["requests"])


# ---- the same answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ["query", "a red car"],
        ["query", "a red car", "--dim", "7", "--within", "50"],
        ["query", "the same", "--image", "blue.png"],
        ["similar", "new.png"],
        ["similar", "red.png", "-n", "2"],
    ],
    ids=" ".join,
)
def test_answers_are_those_without_a_server(
    by_server: Running,
    index: tuple[str, Path],
    tmp_path: Path,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command that finds a server prints byte for byte what it prints without one."""
    paint(tmp_path / "new.png", "orange", size=(80, 80))
    places = {"new.png": str(tmp_path / "new.png")} | {
        name: str(index[1] / name) for name in ("blue.png", "red.png")
    }
    words = [places.get(word, word) for word in command] + ["--json", "--index", index[0]]
    words += ["--no-remember"] if command[0] == "query" else []
    before = requests(by_server)
    by = imgsearch(*words)
    indexed = command[:2] == ["similar", "red.png"]
    assert (requests(by_server) > before) == (not indexed)
    monkeypatch.setenv("IMGSEARCH_SERVER", "off")
    without = imgsearch(*words)
    assert (by.code, by.out) == (without.code, without.out)
    assert by.objects


def test_an_index_made_by_a_server_is_the_one_made_without(
    by_server: Running, index: tuple[str, Path], tiny_checkpoint: str, tmp_path: Path
) -> None:
    """Indexing by a server stores the same vectors, bit for bit, and its own process never loads torch."""
    where = str(tmp_path / "index")
    code = (
        "import sys; from imgsearch.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('torch' in sys.modules)"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "index",
        str(index[1]),
        "--index",
        where,
        "--model",
        tiny_checkpoint,
        "--verbose",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    assert f"by the server, process {by_server.process.pid}" in done.stderr
    with ImageIndex(where) as made, ImageIndex(index[0]) as right:
        for picture in index[1].iterdir():
            (row,) = made.catalog.roots()
            found = made.catalog.file(row.id, picture.name)
            assert found is not None
            assert found.content is not None
            assert np.array_equal(made.vector(found.content), right.vector(found.content))  # type: ignore[arg-type]


def test_embed_by_a_server_gives_the_same_vectors(
    by_server: Running, tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`embed` prints the same numbers with a server and without."""
    words = ("embed", "--text", "a red car", "a boat", "--json", "--model", tiny_checkpoint)
    by = imgsearch(*words)
    monkeypatch.setenv("IMGSEARCH_SERVER", "off")
    assert by.code == 0
    assert by.out == imgsearch(*words).out


def test_requests_for_hits_get_those_of_the_command_line(
    by_server: Running, index: tuple[str, Path], tmp_path: Path
) -> None:
    """/query and /similar answer with the command line's hits, also of an index that is named in the request."""
    said = imgsearch("query", "a red car", "-n", "3", "--json", "--index", index[0])
    status, found = by_server.ask("/query", {"text": "a red car", "n": 3})
    assert (status, found["hits"]) == (200, said.objects)
    picture = paint(tmp_path / "new.png", "orange")
    said = imgsearch("similar", picture, "--json", "--index", index[0], "--in", index[1] / "red.png")
    asked = {"image": str(picture), "index": index[0], "in": [str(index[1] / "red.png")]}
    assert by_server.ask("/similar", asked)[1]["hits"] == said.objects


def test_many_clients_at_once_each_get_their_own_answer(by_server: Running) -> None:
    """Eight clients that ask different questions at the same time get what each gets alone."""
    texts = [
        f"a {colour} picture" for colour in ("red", "green", "blue", "white", "black", "pink", "tan", "grey")
    ]

    def answer(text: str) -> Any:
        status, found = by_server.ask("/query", {"text": text, "n": 6, "remember": False})
        assert status == 200
        return found["hits"]

    alone = [answer(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, texts * 4)) == alone * 4


def test_another_dtype_is_honoured(
    by_server: Running, index: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--dtype means the same by a server, whatever it has in memory, and the next question gets the usual one again."""
    words = ("query", "a red car", "--json", "--no-remember", "--index", index[0])
    by = [imgsearch(*words, "--dtype", dtype).out for dtype in ("bfloat16", "auto")]
    assert by[0] != by[1]
    monkeypatch.setenv("IMGSEARCH_SERVER", "off")
    assert by == [imgsearch(*words, "--dtype", dtype).out for dtype in ("bfloat16", "auto")]


def test_errors_are_those_without_a_server(
    by_server: Running, index: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that can't be answered ends with the same line and code, and the server goes on."""
    words = ("query", "<|image_pad|>", "--index", index[0])
    by = imgsearch(*words)
    monkeypatch.setenv("IMGSEARCH_SERVER", "off")
    without = imgsearch(*words)
    assert (by.code, by.err.splitlines()[-1]) == (2, without.err.splitlines()[-1])
    assert by_server.ask("/query", {"text": "a boat"})[0] == 200


def test_status_tells_of_the_server(
    by_server: Running, index: tuple[str, Path], tiny_checkpoint: str
) -> None:
    """`status` names the server's process and what it has in memory; without one it says nothing of it."""
    by_server.ask("/query", {"text": "a boat", "remember": False})
    (found,) = imgsearch("status", "--json", "--index", index[0]).objects
    assert found["server"]["pid"] == by_server.process.pid
    assert found["server"]["model"] == tiny_checkpoint
    text = imgsearch("status", "--index", index[0]).out.decode()
    assert f"server     process {by_server.process.pid} and http://127.0.0.1:" in text


def test_status_without_a_server(index: tuple[str, Path]) -> None:
    """Without a server the JSON has null for it and the text no line."""
    assert imgsearch("status", "--json", "--index", index[0]).objects[0]["server"] is None
    assert b"\nserver" not in imgsearch("status", "--index", index[0]).out


# ---- nobody else's business ---------------------------------------------------------------------------------


def test_socket_and_token_are_their_owners_alone(server: Running) -> None:
    """The folder has mode 0700, the socket and the token's file 0600."""
    address = server.address
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (address.folder, address.socket, address.token)]
    assert modes == [0o700, 0o600, 0o600]


@pytest.mark.parametrize("path", ["/status", "/query", "/embed", "/load", "/nothing"])
def test_http_needs_the_token(server: Running, path: str) -> None:
    """Over the port nothing is answered without the token, or with another; with it the same as by the socket."""
    port = int(server.ask("/status")[1]["http"].rsplit(":", 1)[1])
    body = None if path == "/status" else b"{}"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": ""}):
        status, found = ask(("127.0.0.1", port), path, body, **headers)
        assert (status, found["error"]["kind"]) == (401, "UsageError")
    token = Path(server.address.token).read_text().strip()
    status, _ = ask(("127.0.0.1", port), path, body, Authorization=f"Bearer {token}")
    assert status == {"/status": 200, "/query": 400, "/nothing": 404}.get(path, 409)


def test_http_listens_on_loopback_only(server: Running) -> None:
    """No other address of the machine answers on the port."""
    port = int(server.ask("/status")[1]["http"].rsplit(":", 1)[1])
    elsewhere = "127.0.0.2" if sys.platform == "linux" else socket.gethostname()
    with pytest.raises(OSError, match=r"refused|assign|unreachable"):
        socket.create_connection((elsewhere, port), timeout=5)


def test_only_the_user_and_root_may_ask() -> None:
    """Who the kernel does not name, or names as another user, is not answered."""
    assert may_ask(os.geteuid())
    assert may_ask(0)
    assert not may_ask(os.geteuid() + 1)
    assert not may_ask(None)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_another_user_is_hung_up_on(index: tuple[str, Path]) -> None:
    """Another user who can reach the socket, its modes notwithstanding, gets no answer."""
    code = (
        "import os, socket, sys; os.setuid(12345); s = socket.socket(socket.AF_UNIX); s.settimeout(60)\n"
        "s.connect(sys.argv[1])\n"
        "try:\n s.sendall(b'GET /status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); print(s.recv(100))\n"
        "except OSError: print(b'')"
    )
    with tempfile.TemporaryDirectory(prefix="is-") as folder:
        os.chmod(folder, 0o755)
        with running(Path(folder, "run"), "--no-warm", "--index", index[0]) as found:
            os.chmod(found.address.folder, 0o755)
            os.chmod(found.address.socket, 0o777)
            command = [sys.executable, "-c", code, found.address.socket]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            assert done.stdout.strip() == "b''"
            assert found.ask("/status")[0] == 200


def test_a_folder_that_others_may_enter_is_not_served_from(short: Path) -> None:
    """serve refuses a folder for its socket that is open to other users, and a client does not ask there."""
    (short / "run").mkdir()
    (short / "run").chmod(0o755)
    done = _serve(short / "run")
    assert done.returncode == 2
    assert "open to other users" in done.stderr
    assert find_server(Address(str(short / "run"))) is None


# ---- whatever happens ---------------------------------------------------------------------------------------


def _serve(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "imgsearch", "serve", "--no-warm", *options]
    env = {**os.environ, "IMGSEARCH_RUNTIME_DIR": str(folder)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(short: Path, number: int) -> None:
    """SIGTERM and Ctrl-C end the server with code 0, and neither socket nor token stays."""
    with running(short / "run", "--no-warm", "--http", "--port", "0") as found:
        assert found.end(number) == 0
        assert os.listdir(found.address.folder) == ["serve.lock"]
        assert found.text().splitlines()[-1] == "stopped"
        assert "Traceback" not in found.text()


def test_a_request_in_work_is_finished_before_the_end(index: tuple[str, Path], short: Path) -> None:
    """A question that was asked before SIGTERM is answered."""
    with running(short / "run", "--no-warm", "--index", index[0]) as found:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(found.ask, "/query", {"text": "a boat", "remember": False})
            until(lambda: found.ask("/status")[1]["requests"])
            found.process.send_signal(signal.SIGTERM)
            assert waiting.result()[0] == 200
        assert found.process.wait(60) == 0


def test_what_a_dead_server_left_disturbs_nobody(
    index: tuple[str, Path], short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill -9 commands work without the server, silently, and a new server takes the dead one's place."""
    with running(short / "run", "--no-warm", "--http", "--port", "0") as found:
        found.end(signal.SIGKILL)
        assert os.path.exists(found.address.socket)
        monkeypatch.setenv("IMGSEARCH_RUNTIME_DIR", found.address.folder)
        done = imgsearch("query", "a red car", "--no-remember", "--index", index[0])
        assert done.code == 0
        assert "server" not in done.err
    with running(short / "run", "--no-warm", "--http", "--port", "0") as next_one:
        assert next_one.ask("/status")[1]["pid"] == next_one.process.pid


def test_a_file_of_another_server_stays(short: Path) -> None:
    """A server whose socket was cleaned away leaves alone what another one has put in its place."""
    with running(short / "run", "--no-warm") as found:
        os.unlink(found.address.socket)
        Path(found.address.socket).write_text("another's")
        assert found.end() == 0
        assert Path(found.address.socket).read_text() == "another's"


HASTY = """
import os, signal, sys
from imgsearch.cli import output
say = output.ProgressReporter.say
def hasty(self, text):
    say(self, text)
    if "listens on" in text:
        os.kill(os.getpid(), signal.SIGTERM)
output.ProgressReporter.say = hasty
sys.argv = ["imgsearch", "serve", "--no-warm"]
from imgsearch.__main__ import main
main()
"""


def test_a_signal_at_the_very_start_ends_it_cleanly(short: Path) -> None:
    """Who has read that the server listens may end it at once: it ends with code 0 and leaves no socket."""
    with running(short / "run", program=("-c", HASTY)) as found:
        assert found.process.wait(60) == 0
        assert os.listdir(found.address.folder) == ["serve.lock"]


EARLY = """
import os, signal, sys
from {module} import {owner} as owner
before = owner.{name}
def early(*args, **kwargs):
    os.kill(os.getpid(), signal.{number})
    return before(*args, **kwargs)
owner.{name} = early
sys.argv = ["imgsearch", "serve", "--no-warm"]
from imgsearch.__main__ import main
main()
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP"])
@pytest.mark.parametrize(
    ("module", "owner", "name"),
    [("imgsearch.cli.output", "ProgressReporter", "wait"), ("imgsearch.tools.server", "daemon", "make_app")],
)
def test_a_signal_before_it_listens_ends_it_cleanly(
    short: Path, module: str, owner: str, name: str, number: str
) -> None:
    """A signal that comes while the server is starting ends it with code 0; it never says that it listens."""
    code = EARLY.format(module=module, owner=owner, name=name, number=number)
    with running(short / "run", program=("-c", code), ready="stopped") as found:
        assert found.process.wait(60) == 0
        assert found.text() == "stopped\n"
        assert os.listdir(found.address.folder) == ["serve.lock"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT] * 3)
def test_a_signal_right_after_the_line_ends_it_cleanly(short: Path, number: int) -> None:
    """Who has read that the server listens and sends a signal that very moment finds it ended with code 0."""
    with running(short / "run", "--no-warm") as found:
        assert found.end(number) == 0
        assert os.listdir(found.address.folder) == ["serve.lock"]


ENDLESS = """
import sys, threading
from imgsearch.tools.server import daemon, handlers
daemon._SHUTDOWN_SECONDS = daemon._HASTY_SECONDS = 1e6
daemon.{short_one} = 0.2
handlers.Handlers.query = lambda self, data: threading.Event().wait()
sys.argv = ["imgsearch", "serve", "--no-warm"]
from imgsearch.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("number", "short_one"), [(signal.SIGTERM, "_SHUTDOWN_SECONDS"), (signal.SIGINT, "_HASTY_SECONDS")]
)
def test_a_pass_that_does_not_end_does_not_keep_the_process(short: Path, number: int, short_one: str) -> None:
    """What is still in work when the time for it is over, soon after Ctrl-C, holds up neither the end nor its code."""
    program = ENDLESS.format(short_one=short_one)
    with running(short / "run", program=("-c", program)) as found, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(found.ask, "/query", {"text": "a boat"})
        until(lambda: found.ask("/status")[1]["requests"])
        assert found.end(number) == 0
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            assert waiting.result()[0] != 200


@pytest.mark.skipif(sys.platform != "linux", reason="/tmp is where Linux puts it")
def test_a_place_for_the_socket_that_is_anothers_is_no_server(
    index: tuple[str, Path], short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system's folder for sockets can't be had, commands do without a server and serve says what to do."""

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", "/tmp/runtime-0")

    monkeypatch.delenv("IMGSEARCH_RUNTIME_DIR")
    monkeypatch.setattr("platformdirs.user_runtime_dir", refuse)
    assert imgsearch("status", "--index", index[0]).code == 0
    assert imgsearch("query", "a boat", "--no-remember", "--index", index[0]).code == 0
    done = imgsearch("serve")
    assert done.code == 2
    assert "(Permission denied); set IMGSEARCH_RUNTIME_DIR to one of your own" in done.err


def test_strangers_on_the_port_do_not_shut_the_owner_out(server: Running) -> None:
    """Any number of silent connections to the port leaves the Unix socket as quick as it was."""
    port = int(server.ask("/status")[1]["http"].rsplit(":", 1)[1])
    with contextlib.ExitStack() as held:
        for _ in range(80):
            with contextlib.suppress(OSError):  # hung up on already
                held.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert server.ask("/query", {"text": "a boat"})[0] == 200
        token = Path(server.address.token).read_text().strip()
        by_port = ask(("127.0.0.1", port), "/query", b'{"text": "a boat"}', Authorization=f"Bearer {token}")
        assert by_port[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"rubbish\r\n\r\n", 400),
        (b"GET /status HTTP/1.1\r\n\r\n", 400),  # no host
        (b"GET /status HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000, 431),
        (b"POST /query HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /query HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ],
    ids=["rubbish", "host", "headers", "length", "encoding"],
)
def test_what_is_not_http_is_told_as_json(server: Running, sent: bytes, status: int) -> None:
    """Whatever arrives at the socket, the answer is an error as JSON with the status that HTTP has for it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(server.address.socket)
        with contextlib.suppress(BrokenPipeError):  # it need not be read to its end
            client.sendall(sent)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
        assert json.loads(answer.read())["error"]["kind"] == "UsageError"


def test_an_answer_holds_nothing_of_a_file_that_is_not_an_image(server: Running, tmp_path: Path) -> None:
    """Who may ask learns nothing about the bytes of a file that can't be decoded."""
    secret = tmp_path / "shadow.jpg"
    secret.write_text("root:*:20228:0:99999")
    for path, data in (("/similar", {}), ("/query", {"text": "a boat"})):
        status, found = server.ask(path, {"image": str(secret), **data})
        assert status == 400
        assert "20228" not in json.dumps(found)


def test_a_server_of_another_version_in_the_middle_of_the_work(
    model_spec: ModelSpec, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a server of another version answers between two batches, the model is loaded here and the work goes on."""
    said: list[str] = []
    monkeypatch.setenv("IMGSEARCH_RUNTIME_DIR", server.address.folder)
    encoder = remote_encoder(model_spec, lambda: _here(model_spec), said.append)
    assert encoder is not None
    before = encoder.embed([Input(text="a boat")])
    monkeypatch.setattr(protocol, "version", lambda: "99.1")
    assert np.array_equal(encoder.embed([Input(text="a boat")]), before)
    assert len(said) == 1
    assert "another version has taken its place" in said[0]


def test_rows_without_a_vector_are_named_by_their_place_in_the_call(
    by_server: Running, model_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NonFiniteError and InputError count as without a server, also where a call takes several messages."""
    encoder = remote_encoder(model_spec, lambda: _here(model_spec), print)
    assert encoder is not None
    inputs = [Input(text=text) for text in ("a", "b", "c", "<|image_pad|>", "d")]
    with pytest.raises(InputError, match=r"^input 4 of 5: ") as ours:
        encoder.embed(inputs, batch_size=2)
    with pytest.raises(InputError, match=str(ours.value).split(":")[0]):
        _here(model_spec).embed(inputs, batch_size=2)
    asked: list[int] = []

    def message(path: str, message: bytes, count: int) -> bytes:
        asked.append(count)
        raise NonFiniteError([1])

    monkeypatch.setattr(encoder._server, "message", message)
    monkeypatch.setattr(client_encoder, "_fit_in_message", lambda rest: min(2, len(rest)))
    with pytest.raises(NonFiniteError) as raised:
        encoder.embed(inputs[:4])
    assert (raised.value.rows, asked) == ([1, 3], [2, 2])


def test_a_second_server_names_the_first(server: Running) -> None:
    """Only one server runs for a user: another one says which it is and ends with code 2."""
    done = _serve(Path(server.address.folder))
    assert done.returncode == 2
    assert done.stderr == (
        f"imgsearch: a server is already running (process {server.process.pid}); to start another, stop it first "
        f"with: kill {server.process.pid}\n"
    )
    assert server.ask("/status")[0] == 200


def test_a_file_in_the_sockets_place_is_not_removed(short: Path) -> None:
    """What is no socket may be somebody's file: serve says so and leaves it."""
    (short / "run").mkdir(mode=0o700)
    (short / "run" / "serve.sock").write_text("precious")
    done = _serve(short / "run")
    assert (done.returncode, (short / "run" / "serve.sock").read_text()) == (2, "precious")
    assert "is not a socket; move or delete it" in done.stderr


def test_a_folder_too_long_for_a_socket_is_said(short: Path) -> None:
    """A path that the system can't bind is refused in one line that says what to do."""
    done = _serve(short / ("long" * 30))
    assert done.returncode == 2
    assert "set IMGSEARCH_RUNTIME_DIR to a folder with a shorter path" in done.stderr


def test_a_port_in_use_is_said(server: Running, short: Path) -> None:
    """A port that is taken is refused in one line, and no socket stays behind."""
    port = server.ask("/status")[1]["http"].rsplit(":", 1)[1]
    done = _serve(short / "run", "--http", "--port", port)
    assert done.returncode == 2
    assert f"imgsearch: port {port}: " in done.stderr
    assert os.listdir(short / "run") == ["serve.lock"]


def test_a_client_that_dies_does_not_stop_the_others(by_server: Running) -> None:
    """Clients that hang up in the middle of a request, or before its answer, leave the server as it was."""
    whole = b'{"text": "a boat", "remember": false}'
    head = f"POST /query HTTP/1.1\r\nHost: x\r\nContent-Length: {len(whole)}\r\n\r\n".encode()
    for sent in (b"", b"POST /que", head, head + whole[:5], head + whole, b"\0\xff rubbish\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(by_server.address.socket)
            client.sendall(sent)
    assert by_server.ask("/query", {"text": "a boat"})[0] == 200
    assert "Traceback" not in by_server.text()


def test_a_server_that_dies_is_replaced_in_the_middle_of_the_work(
    model_spec: ModelSpec, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the server is killed, the model is loaded here, it is said once, and the vectors are the same."""
    said: list[str] = []
    texts = [Input(text="a boat"), Input(text="a red car")]
    with running(short / "run", "--no-warm") as found:
        monkeypatch.setenv("IMGSEARCH_RUNTIME_DIR", found.address.folder)
        encoder = remote_encoder(model_spec, lambda: _here(model_spec), said.append)
        assert encoder is not None
        before = encoder.embed(texts)
        found.end(signal.SIGKILL)
        assert np.array_equal(encoder.embed(texts), before)
        assert np.array_equal(encoder.embed(texts), before)
    assert len(said) == 1
    assert "loading the model in this process to continue" in said[0]


def _here(model_spec: ModelSpec) -> Qwen3VLEmbedder:
    return Qwen3VLEmbedder(
        model_spec.folder,
        budget=model_spec.budget,
        instruction=model_spec.instruction,
        dim=model_spec.dim,
        verbatim=True,
    )


def test_a_connection_that_was_quiet_for_long_is_opened_anew(
    by_server: Running, model_spec: ModelSpec
) -> None:
    """Where a connection was closed between two batches, the next batch finds the server again."""
    said: list[str] = []
    encoder = remote_encoder(model_spec, lambda: _here(model_spec), said.append)
    assert isinstance(encoder, RemoteEncoder)
    before = encoder.embed([Input(text="a boat")])
    connected = encoder._server._http.sock
    assert connected is not None
    connected.shutdown(socket.SHUT_RDWR)
    assert np.array_equal(encoder.embed([Input(text="a boat")]), before)
    assert said == []


def test_a_server_of_another_version_is_not_used(
    by_server: Running, index: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of another version says which two they are, loads the model itself, and the answer is the same."""
    words = ("query", "a red car", "--json", "--no-remember", "--index", index[0])
    right = imgsearch(*words).out
    before = requests(by_server)
    monkeypatch.setattr(protocol, "version", lambda: "99.1")
    done = imgsearch(*words)
    assert (done.code, done.out) == (0, right)
    assert (
        "the running server is imgsearch 0.1.0, this is 99.1: loading the model in this process" in done.err
    )
    assert requests(by_server) == before


@pytest.mark.parametrize("path", ["/load", "/embed"])
def test_the_server_refuses_a_client_of_another_version(server: Running, path: str) -> None:
    """Vectors are given to clients of the same version only, and the answer says how to mend it."""
    status, found = server.ask(path, {}, imgsearch_version="0.0.1")
    assert status == 409
    assert "the client 0.0.1: restart the server" in found["error"]["message"]


def test_something_else_behind_the_socket_is_not_asked(
    index: tuple[str, Path], short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that listens there and is no imgsearch, or never answers, costs a moment and no answer."""
    (short / "run").mkdir(mode=0o700)
    monkeypatch.setenv("IMGSEARCH_RUNTIME_DIR", str(short / "run"))
    monkeypatch.setattr(connection, "GREETING_SECONDS", 0.3)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(short / "run" / "serve.sock"))
        other.listen()
        done = imgsearch("query", "a boat", "--no-remember", "--index", index[0])
        assert done.code == 0
        assert "the server does not answer (timed out): loading the model in this process" in done.err
        threading.Thread(target=_babble, args=(other,), daemon=True).start()
        assert find_server(Address(str(short / "run"))) is None


def _babble(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):  # who asked has hung up, or the test is over
        for _ in range(3):
            connected, _ = listening.accept()
            with connected:
                connected.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/query", b"no json", "the request is not valid JSON"),
        ("/query", b"[]", "a request is a JSON object"),
        ("/query", b"{}", "the query is empty"),
        ("/query", b'{"text": 7}', "text: 7 is not text"),
        ("/query", b'{"text": "x", "n": "3"}', "n: '3' is not a number"),
        ("/query", b'{"text": "x", "n": true}', "n: True is not a number"),
        ("/query", b'{"text": "x", "exact": 1}', "exact: 1 is not true or false"),
        ("/query", b'{"text": "x", "within": ' + b"9" * 400 + b"}", "within: the number is out of range"),
        ("/query", b'{"text": "x", "min_score": NaN}', "NaN is not a JSON number"),
        ("/query", b"[" * 100_000, "the request is not valid JSON"),
        ("/query", b'{"text": "x", "index": "/a\\u0000b"}', "index: a path can't have such characters"),
        ("/query", b'{"text": "x", "image": "/a\\ud800b"}', "image: a path can't have such characters"),
        ("/similar", b'{"image": "/a.png", "remember": true}', "unknown fields: remember"),
        ("/query", b'{"text": "x", "n": 0}', "ask for at least one image"),
        ("/query", b'{"text": "x", "dim": 5000}', "5000"),
        ("/query", b'{"text": "x", "colour": "red"}', "unknown fields: colour; known: "),
        ("/query", b'{"text": "x", "index": "relative"}', "index: give an absolute path"),
        ("/query", b'{"text": "x", "index": "/nowhere/at all"}', "/nowhere/at all"),
        ("/query", b'{"text": "x", "in": "/somewhere"}', "in: give a list of paths"),
        ("/query", b'{"text": "x", "in": [3]}', "in: give an absolute path"),
        ("/query", b'{"text": "x", "dtype": "float7"}', "float7"),
        ("/query", b'{"text": "x", "model": "/nowhere"}', "/nowhere"),
        ("/similar", b"{}", "image: the path is empty"),
        ("/similar", b'{"image": "/nowhere/a.png"}', "/nowhere/a.png"),
        (
            "/similar",
            b'{"image": "http://127.0.0.1/a.png"}',
            "image: the server fetches no addresses; download",
        ),
        ("/query", b'{"text": "x", "image": "https://example.org/a.png"}', "the server fetches no addresses"),
        ("/query", b'{"text": "' + b"x" * 2**20 + b'"}', "the request is longer than"),
    ],
)
def test_a_request_that_can_not_be_answered_gets_one_line(
    server: Running, path: str, body: bytes, words: str
) -> None:
    """What is wrong with a request is said in one line, as an error of the command line is."""
    status, found = ask(server.address.socket, path, body)
    assert status == (413 if "longer than" in words else 400)
    assert words in found["error"]["message"]
    assert "\n" not in found["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"", b"rubbish", b"\xff" * 100, protocol.pack({"inputs": 3}), protocol.pack({})]
)
def test_rubbish_to_embed_is_refused(server: Running, body: bytes) -> None:
    """Bytes that are no message of ours are refused, and the server goes on."""
    status, found = ask(server.address.socket, "/embed", body, imgsearch_version=protocol.version())
    assert (status, found["error"]["kind"]) == (400, "UsageError")


def test_a_checkpoint_that_changed_is_not_used(by_server: Running, model_spec: ModelSpec) -> None:
    """A spec whose fingerprint is not the folder's, or whose folder holds none, is left to the client, silently."""
    said: list[str] = []
    for folder in (model_spec.folder, "/nowhere"):
        wrong = ModelSpec(folder, "0" * 64, model_spec.dim, model_spec.budget, model_spec.instruction)
        assert remote_encoder(wrong, lambda: _here(model_spec), said.append) is None
        status, found = by_server.ask(
            "/load", protocol.model_spec_to_json(wrong), imgsearch_version=protocol.version()
        )
        assert (status, found["error"]["kind"]) == (
            400,
            "IndexMismatch" if folder == model_spec.folder else "CheckpointError",
        )
    assert said == []


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without starlette or uvicorn, serve says which extra brings them."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = imgsearch("serve")
    assert done.code == 2
    assert done.err.startswith("imgsearch: imgsearch serve needs packages that are not installed; ")
    assert done.err.endswith("[serve]'\n")


def test_flags_that_contradict_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port without --http, one that no port can be, and no time at all until the model goes are refused."""
    for words in (["--port", "80"], ["--http", "--port", "70000"], ["--unload-after", "0"]):
        done = imgsearch("serve", *words)
        assert (done.code, done.err.count("\n")) == (2, 1)


def test_serve_where_there_is_no_index_waits_for_one(short: Path) -> None:
    """Without an index the server starts, says that there is no model yet, and a question gets that as its error."""
    with running(short / "run", "--index", short / "index", ready="no model is loaded yet") as found:
        status, answer = found.ask("/query", {"text": "a boat"})
        assert (status, answer["error"]["kind"]) == (400, "IndexMissing")
        assert json.dumps(answer).count("\\n") == 0


def test_a_runtime_folder_that_can_not_be_made_is_said(tmp_path: Path) -> None:
    """Where no folder for the socket can be made, serve says which one and how to name another."""
    code = """
from imgsearch.errors import StorageError
from imgsearch.client.connection import Address
from imgsearch.tools.server.daemon import ServeOptions, serve
from imgsearch.types import Silent
os.mkdir(os.path.dirname(sys.argv[1]), 0o555)
try:
    serve(ServeOptions(warm=False), Silent(), Address(sys.argv[1]))
except StorageError as error:
    print(error)
"""
    said = unprivileged(code, tmp_path / "closed" / "run").strip()
    assert said.startswith(str(tmp_path / "closed" / "run"))
    assert said.endswith("set IMGSEARCH_RUNTIME_DIR to a folder for the server's socket")
