"""Images by their address: what is fetched, what is refused, and that no answer costs more than its limits."""

from __future__ import annotations

import gzip
import io
import socket
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

import pytest

from imgsearch.errors import InputError
from imgsearch.search import SearchRequest, fetching
from imgsearch.search.fetching import FetchLimits, fetch, is_public
from imgsearch.search.language.question import Part
from support.web_server import CERTIFICATE, WebServer, ok, redirect

PUBLIC = "93.184.216.34"


@pytest.fixture
def web() -> Iterator[WebServer]:
    """Give a server that knows no path yet."""
    with WebServer() as server:
        yield server


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, web: WebServer) -> dict[str, list[list[str]]]:
    """Give a resolver's table, name → one list of addresses for each time it is asked, the last one for ever.

    Whatever is public there is the loopback server; what was connected to is in the table's entry "connected".
    """
    table: dict[str, list[list[str]]] = {"connected": []}

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        answers = table.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (ip, port)) for ip in (answers.pop(0) if len(answers) > 1 else answers[0])]

    def to_server(address: tuple[str, int], timeout: float) -> socket.socket:
        table["connected"].append([address[0]])
        sock = socket.socket()
        sock.settimeout(timeout)
        sock.connect(("127.0.0.1", web.port))
        return sock

    monkeypatch.setattr(fetching.socket, "getaddrinfo", look_up)
    monkeypatch.setattr(fetching.socket, "create_connection", to_server)
    return table


def fetched(address: str, **given: Any) -> bytes:
    """Return the bytes at an address."""
    file = io.BytesIO()
    fetch(address, file, **given)
    return file.getvalue()


def refused(address: str, **given: Any) -> str:
    """Return the message of an address that is not fetched."""
    with pytest.raises(InputError) as error:
        fetched(address, **given)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_bytes_decide_not_what_the_server_calls_them(web: WebServer) -> None:
    """An image is fetched as it is, also under a wrong type, in chunks, or without a length."""
    web.answers = {
        "/a": ok(b"bytes", "text/html"),
        "/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbyt\r\n2\r\nes\r\n0\r\n\r\n",
        "/end": b"HTTP/1.1 200 OK\r\n\r\nbytes",
    }
    for path in web.answers:
        assert fetched(web.url + path, allow_private=True) == b"bytes"


def test_a_request_tells_no_more_than_it_must(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request has no cookie, no login, no referrer, and goes past the proxies of the environment."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    web.answers = {"/from": redirect("/to?x=ü%20y#part"), "/to?x=%C3%BC%20y": ok(b"bytes")}
    assert fetched(web.url + "/from", allow_private=True) == b"bytes"
    assert set(web.headers) == {"Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"}
    assert web.headers["Host"] == f"127.0.0.1:{web.port}"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("64:ff9b::5db8:d822", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("172.16.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::5db8:d822", False),
        ("2002:7f00:1::", False),
        ("2002:5db8:d822::1", False),
        ("2001:0:5db8:d822::1", False),
        ("2001:db8::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("ff0e::1", False),
    ],
)
def test_only_addresses_of_the_internet_are_public(address: str, public: bool) -> None:
    """What is private, local, multicast, reserved, or a tunnel to such an address is not public."""
    assert is_public(address) is public


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::1]",
        "0",
        "[::ffff:7f00:1]",
    ],
)
def test_this_machine_is_refused_in_every_spelling(web: WebServer, host: str) -> None:
    """However a loopback address is written, nothing is asked of it, and the message names the option."""
    web.answers = {"/a": ok(b"bytes")}
    said = refused(f"http://{host}:{web.port}/a")
    assert "is on this machine or its local network" in said
    assert "allow_private" in said
    assert web.requests == []


def test_one_private_address_of_a_name_is_enough_to_refuse_it(
    web: WebServer, names: dict[str, list[list[str]]]
) -> None:
    """A name of several addresses, one of them private, is not connected to."""
    names["two.example"] = [[PUBLIC, "10.0.0.1"]]
    assert "two.example is 10.0.0.1, which is on this machine" in refused("http://two.example/a")
    assert names["connected"] == []


def test_a_name_is_looked_up_once(web: WebServer, names: dict[str, list[list[str]]]) -> None:
    """A name that leads elsewhere when it is asked again is connected to where it was checked."""
    names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
    web.answers = {"/a": ok(b"bytes")}
    assert fetched("http://rebinding.example/a") == b"bytes"
    assert names["connected"] == [[PUBLIC]]
    assert web.headers["Host"] == "rebinding.example"


@pytest.mark.parametrize("host", ["127.0.0.1", "inside.example", "[::ffff:192.168.0.1]"])
def test_a_redirect_to_this_machine_is_refused(
    web: WebServer, names: dict[str, list[list[str]]], host: str
) -> None:
    """A public server can't send the request on to a private address."""
    names["public.example"] = [[PUBLIC]]
    names["inside.example"] = names["127.0.0.1"] = [["127.0.0.1"]]
    names["::ffff:192.168.0.1"] = [["::ffff:192.168.0.1"]]
    web.answers = {"/a": redirect(f"http://{host}/secret")}
    said = refused("http://public.example/a")
    assert said.startswith(f"http://public.example/a leads to http://{host}/secret: ")
    assert "is on this machine or its local network" in said
    assert web.requests == ["/a"]


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("file:///etc/passwd", "leads to file:///etc/passwd: only http and https"),
        ("ftp://public.example/a", "only http and https"),
        ("http://me:secret@public.example/b", "with a user name or password"),
        ("http://[broken/", "not an address"),
    ],
)
def test_a_redirect_is_read_as_a_typed_address_is(
    web: WebServer, names: dict[str, list[list[str]]], to: str, message: str
) -> None:
    """Other schemes, passwords and nonsense are refused behind a redirect too."""
    names["public.example"] = [[PUBLIC]]
    web.answers = {"/a": redirect(to)}
    said = refused("http://public.example/a")
    assert message in said
    assert "secret" not in said
    assert web.requests == ["/a"]


def test_redirects_end(web: WebServer) -> None:
    """Five redirects are followed; a loop is an error."""
    web.answers = {f"/{n}": redirect(f"/{n + 1}", code) for n, code in enumerate((301, 302, 303, 307, 308))}
    web.answers |= {"/5": ok(b"bytes"), "/loop": redirect("/loop")}
    assert fetched(web.url + "/0", allow_private=True) == b"bytes"
    assert "more than 5 redirects" in refused(web.url + "/loop", allow_private=True)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ok(b"", length=51_000_000), "larger than 50 MB"),
        (ok(b"half", length=8), "ended after 4 of 8 bytes; try again"),
        (ok(b""), "the server sends nothing"),
        (ok(b" \n<!DOCTYPE html><p>cat"), "a web page, not an image"),
        (b"HTTP/1.1 403 Go away\r\n\r\n", "the server answers 403 (Forbidden); download the image"),
        (b"HTTP/1.1 299 \x1b[2J\r\n\r\n", "the server answers 299;"),
        (b"HTTP/1.1 302 Found\r\n\r\n", "the server answers 302 (Found)"),
        (b"SSH-2.0-OpenSSH\r\n", "breaks the rules of HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n", "breaks the rules of HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "breaks the rules of HTTP"),
        (b"", "breaks the rules of HTTP"),
    ],
)
def test_an_answer_that_is_no_image_is_one_line(web: WebServer, answer: bytes, message: str) -> None:
    """Each answer that gives no whole file is refused with its reason."""
    web.answers = {"/a": answer}
    said = refused(web.url + "/a", allow_private=True)
    assert said.startswith(f"{web.url}/a: ")
    assert message in said
    assert "\x1b" not in said


def test_a_file_without_a_length_is_cut_off_at_the_limit(web: WebServer) -> None:
    """A server that never stops sending is stopped, and no more than the limit is kept."""

    def endless(out: BinaryIO, closing: threading.Event) -> None:
        out.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not closing.is_set():
            out.write(b"x" * 65536)

    web.answers = {"/a": endless}
    file = io.BytesIO()
    with pytest.raises(InputError, match="larger than 1 MB"):
        fetch(web.url + "/a", file, allow_private=True, limits=FetchLimits(bytes=1_000_000))
    assert file.tell() <= 1_000_000


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\nA: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_server_that_sends_byte_by_byte_is_left(web: WebServer, before: bytes) -> None:
    """The time counts for the whole answer, its header too, however steadily its bytes come."""

    def drip(out: BinaryIO, closing: threading.Event) -> None:
        out.write(before)
        while not closing.wait(0.02):
            out.write(b"x")

    web.answers = {"/a": drip}
    said = refused(web.url + "/a", allow_private=True, limits=FetchLimits(seconds=0.3))
    assert "takes longer than 0.3 s" in said


def test_a_packed_bomb_is_not_unpacked(web: WebServer) -> None:
    """A body that is said to be compressed stays as it was sent."""
    bomb = gzip.compress(bytes(10_000_000))
    web.answers = {"/a": ok(bomb, "image/png", "Content-Encoding: gzip")}
    assert fetched(web.url + "/a", allow_private=True) == bomb
    assert web.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ftp://example.org/a.jpg", "only http and https"),
        ("https://me@example.org/a.jpg", "https://example.org/a.jpg: addresses with a user name or password"),
        ("https://me:secret@example.org/a.jpg", "addresses with a user name or password"),
        ("https://me:secret@example.org:99999/a.jpg", "https://example.org:99999/a.jpg: not an address"),
        ("http:///a.jpg", "not an address"),
        ("http://[::1/a.jpg", "not an address"),
        ("http://example.org:99999/a.jpg", "not an address"),
        ("http://example.org/a\r\nHost: b", "not an address"),
        ("http://" + "a" * 300 + ".example/", "not an address"),
        ("http://nowhere.invalid/a.jpg", "can't find nowhere.invalid"),
    ],
)
def test_what_is_no_address_is_one_line(
    web: WebServer, names: dict[str, list[list[str]]], address: str, message: str
) -> None:
    """An address that can't be fetched says why, and shows no password."""
    said = refused(address)
    assert message in said
    assert "secret" not in said


def test_a_secure_server_proves_its_name(
    web: WebServer, names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate has to be that of the name that was typed, though the connection goes to a checked address."""
    names["public.example"] = names["other.example"] = [[PUBLIC]]
    web.answers = {"/a": ok(b"bytes")}
    asked = web.encrypt(CERTIFICATE)
    assert "its certificate is not valid" in refused("https://public.example/a")
    monkeypatch.setenv("SSL_CERT_FILE", CERTIFICATE)
    assert "certificate is not valid for 'other.example'" in refused("https://other.example/a")
    assert web.requests == []
    assert fetched("https://public.example/a") == b"bytes"
    assert asked[-1] == web.headers["Host"] == "public.example"


def test_a_server_that_speaks_no_tls_is_one_line(web: WebServer) -> None:
    """An https address of a server without it gives a line."""
    web.answers = {"/a": ok(b"bytes")}
    said = refused(f"https://127.0.0.1:{web.port}/a", allow_private=True)
    assert "no secure connection can be made" in said


def test_a_server_that_is_not_there_is_one_line() -> None:
    """A refused connection names the host and what to do instead."""
    with WebServer() as web:
        url = web.url
    said = refused(url + "/a.jpg", allow_private=True)
    assert "can't connect to 127.0.0.1 (Connection refused); download the image" in said


def test_a_request_of_a_client_holds_no_address() -> None:
    """Only what was fetched before gets into a search: no door to it fetches for somebody else."""
    with pytest.raises(InputError, match="addresses are not fetched here"):
        SearchRequest("similar", image="http://example.org/a.jpg")
    with pytest.raises(InputError, match="addresses are not fetched here"):
        SearchRequest("query", parts=(Part("red"), Part(image="HTTPS://example.org/a.jpg")))
