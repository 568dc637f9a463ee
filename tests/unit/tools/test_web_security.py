"""Attempts to get at the page's server, and what each of them gets. SECURITY.md names these tests."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imgsearch.tools.server import daemon, peers
from imgsearch.tools.web import app, uploads
from imgsearch.tools.web.export import unique_name
from imgsearch.tools.web.sessions import LINK_SECONDS, MOST_LINKS, MOST_SESSIONS, Sessions
from support import fakes
from support.fakes import paint
from support.page_server import NAVIGATION, Answered, Browser, PageServer, page_server
from support.serving import until

HOSTILE = (
    "<img src=x onerror=alert(1)>.png",
    "quote\"and'apostrophe.png",
    "evil\u202egnp.exe.png",
    "two\nlines.png",
    "=cmd|'calc'!A1.png",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the pictures, the index and what is none of either."""
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[PageServer]:
    """Give a server over pictures with names as an attacker would choose them."""
    with pytest.MonkeyPatch.context() as patch:
        model = fakes.install(patch)
        pictures = folder / "pictures"
        for number, name in enumerate(HOSTILE):
            paint(pictures / name, (40 * number, 10, 10))
        for name in ("changed", "linked", "gone"):
            paint(pictures / f"{name}.png", (10, 200, len(name)), size=(50, 50))
        (folder / "secret.txt").write_text("nothing that was indexed")
        paint(folder / "secret.png", "orange")
        index = str(folder / "index")
        fakes.run(index, pictures)
        with page_server(index, model, port=0) as running:
            yield running


@pytest.fixture
def browser(server: PageServer) -> Browser:
    """Give a browser that has opened the page."""
    return server.opened()


def key_of(browser: Browser, name: str) -> str:
    """Return the key of a picture by the name that is shown."""
    return next(tile["key"] for tile in browser.post("api/list", {}).json["images"] if tile["name"] == name)


def refused(answer: Answered) -> tuple[int, str]:
    """Return the status and the kind of a refusal."""
    return answer.status, answer.json["error"]["kind"]


# ---- who may ask -----------------------------------------------------------------------------------------------------


def test_it_listens_on_loopback_only(server: PageServer) -> None:
    """No other address of the machine leads to the port."""
    others = {"::1"}
    with contextlib.suppress(OSError):
        others |= {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in others - {"127.0.0.1", "127.0.1.1"}:
        with pytest.raises((ConnectionError, OSError)):
            socket.create_connection((address, server.port), 5)


@pytest.mark.parametrize(
    "path", ["p/{view}/", "p/{view}/api/status", "p/{view}/static/main.js", "p/{view}/thumb/1-0"]
)
def test_without_a_session_there_is_nothing(server: PageServer, browser: Browser, path: str) -> None:
    """Who only knows the address, without the cookie or with a wrong one, gets nothing."""
    path = "/" + path.format(view=browser.path.split("/")[2])
    for headers in ({}, {"cookie": "imgsearch=" + "x" * 43}, {"cookie": "imgsearch="}):
        assert refused(server.ask("GET", path, dict(headers))) == (401, "session")


def test_the_cookie_of_one_session_opens_no_other(server: PageServer, browser: Browser) -> None:
    """A cookie belongs to one address of the page."""
    other = server.opened()
    assert server.ask("GET", other.path, {"cookie": f"imgsearch={browser.cookie}"}).status == 401
    assert server.ask("GET", "/p/", {"cookie": f"imgsearch={browser.cookie}"}).status == 404


def test_a_session_that_has_ended_is_told_in_words(server: PageServer) -> None:
    """A browser that comes back later reads how to open the page again."""
    answer = server.ask("GET", "/p/0123456789abcdefABCDEF00/", NAVIGATION)
    assert answer.status == 401
    assert answer.headers["content-type"].startswith("text/html")
    assert "imgsearch web" in answer.body.decode()


def test_the_json_interface_takes_no_cookie(server: PageServer, browser: Browser) -> None:
    """What programs use needs the token; a session of the page is none."""
    body = json.dumps({"text": "red"}).encode()
    for path in ("/query", "/similar", "/embed", "/load", "/web"):
        assert server.ask("POST", path, browser.headers(), body).status == 401
    assert server.ask("GET", "/status", browser.headers()).status == 401


def test_links_are_given_over_the_unix_socket_alone(server: PageServer) -> None:
    """Not even the token of the JSON interface gets a link to the page."""
    token = Path(server.address.token).read_text().strip()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    assert server.ask("GET", "/status", headers).status == 200
    assert server.ask("POST", "/web", headers, b"{}").status in (400, 409)


# ---- one-time links --------------------------------------------------------------------------------------------------


def test_a_link_works_once(server: PageServer) -> None:
    """The second time a link is opened, it says that it was used."""
    link = server.new_link()
    server.opened(link)
    again = server.ask("GET", link.removeprefix(server.origin), NAVIGATION)
    assert again.status == 401
    assert "set-cookie" not in again.headers
    assert "imgsearch web" in again.body.decode()


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS", "PUT"])
def test_only_a_get_opens_a_link(server: PageServer, method: str) -> None:
    """A program that looks at links without opening them does not use one up."""
    link = server.new_link()
    assert server.ask(method, link.removeprefix(server.origin)).status == 405
    server.opened(link)


def test_what_a_browser_fetches_ahead_opens_no_link(server: PageServer) -> None:
    """Neither a prefetch, nor a frame, nor an image on another page uses a link up."""
    link = server.new_link()
    path = link.removeprefix(server.origin)
    ahead = {**NAVIGATION, "sec-purpose": "prefetch;prerender"}
    frame = {**NAVIGATION, "sec-fetch-dest": "iframe", "sec-fetch-site": "cross-site"}
    image = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    assert [server.ask("GET", path, headers).status for headers in (ahead, frame, image)] == [503, 403, 403]
    server.opened(link)


def test_another_user_opens_no_link_that_they_have_seen(
    server: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees the link in the list of processes is refused by whose connection it is, and the link stays good."""
    link = server.new_link()
    owner = os.geteuid
    monkeypatch.setattr(app.os, "geteuid", lambda: owner() + 4711)
    monkeypatch.setattr(app, "peer_is_other", lambda s, c, allowed: peers.peer_is_other(s, c, allowed - {0}))
    if not os.path.exists("/proc/net/tcp"):
        pytest.skip("the system has no table of connections")
    stolen = server.ask("GET", link.removeprefix(server.origin), NAVIGATION)
    assert refused(stolen) == (403, "forbidden")
    monkeypatch.undo()
    server.opened(link)


@pytest.mark.parametrize(
    ("rows", "other"),
    [
        (("0100007F:1E6C 0100007F:C350 01 1000", "0100007F:C350 0100007F:1E6C 01 1000"), False),
        (("0100007F:1E6C 0100007F:C350 01 1000", "0100007F:C350 0100007F:1E6C 01 1001"), True),
        (("0100007F:1E6C 0100007F:C350 01 1000", "0100007F:C350 0100007F:1E6C 06 0"), True),
        (
            (
                "0100007F:1E6C 0100007F:C350 01 1000",
                "0000000000000000FFFF00000100007F:C350 0000000000000000FFFF00000100007F:1E6C 01 1001",
            ),
            True,
        ),
        (("0100007F:0016 0100007F:C350 01 0",), False),
        ((), False),
    ],
)
@pytest.mark.skipif(sys.byteorder == "big", reason="the rows are those of a little-endian machine")
def test_whose_connection_it_is_stands_in_the_systems_table(
    tmp_path: Path, rows: tuple[str, ...], other: bool
) -> None:
    """The owner of the other end counts, by whichever family it has connected; who has hung up is nobody."""
    table = tmp_path / "tcp"
    lines = ["  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"]
    for number, row in enumerate(rows):
        local, remote, state, uid = row.split()
        lines.append(
            f"   {number}: {local} {remote} {state} 00000000:00000000 00:00000000 00000000  {uid}  0 1"
        )
    table.write_text("\n".join([*lines, ""]))
    ends = ("127.0.0.1", 7788), ("127.0.0.1", 50000)
    assert peers.peer_is_other(*ends, frozenset({1000}), (str(table), str(tmp_path / "none"))) is other


def test_a_cookie_of_somebody_else_shuts_nobody_out(server: PageServer, browser: Browser) -> None:
    """Another program on 127.0.0.1 may set a cookie of the same name: the page's own counts beside it."""
    for cookie in (
        f"imgsearch=x; imgsearch={browser.cookie}",
        f"imgsearch={browser.cookie}; a=b; imgsearch=x",
    ):
        assert server.ask("GET", browser.path, {"cookie": cookie}).status == 200


def test_nobody_tells_whose_address_a_request_has(server: PageServer, browser: Browser) -> None:
    """Headers of proxies are not believed."""
    sent = {
        "cookie": f"imgsearch={browser.cookie}",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-proto": "https",
    }
    assert server.ask("GET", browser.path, sent).status == 200
    link = server.new_link().removeprefix(server.origin)
    assert server.ask("GET", link, {**NAVIGATION, "x-forwarded-for": "192.0.2.1"}).status == 303


def test_a_wrong_link_opens_nothing(server: PageServer) -> None:
    """Guessing a link gets nothing."""
    for ticket in ("x" * 43, "..", "%2e%2e", "%00", "a" * 5000):
        answer = server.ask("GET", f"/open/{ticket}", NAVIGATION)
        assert answer.status in (401, 404)
        assert "set-cookie" not in answer.headers


def test_a_link_grows_old_and_there_are_not_many() -> None:
    """A link that nobody opens is void after some minutes; of many links and sessions the oldest end."""
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    old = sessions.new_ticket("index")
    now[0] += LINK_SECONDS + 1
    assert sessions.redeem(old) is None
    tickets = [sessions.new_ticket("index") for _ in range(MOST_LINKS + 1)]
    assert sessions.redeem(tickets[0]) is None
    opened = []
    for _ in range(MOST_SESSIONS + 1):
        redeemed = sessions.redeem(sessions.new_ticket("index"))
        assert redeemed
        opened.append(redeemed)
    assert sessions.find(opened[0][0].view, [opened[0][1]]) is None
    assert sessions.find(opened[-1][0].view, [opened[-1][1]]) is opened[-1][0]


def test_the_cookie_goes_to_the_page_alone(server: PageServer) -> None:
    """No script reads the cookie, no other site sends it, and no other port of this machine gets it: it has the path
    of one page, which nobody else knows.
    """
    answer = server.ask("GET", server.new_link().removeprefix(server.origin), NAVIGATION)
    value, *attributes = answer.headers["set-cookie"].split("; ")
    view = answer.headers["location"].split("/")[2]
    assert len(value) > len("imgsearch=") + 40
    assert len(view) >= 16
    assert {one.lower() for one in attributes} == {"httponly", "samesite=strict", f"path=/p/{view}/".lower()}
    assert f"Path=/p/{view}/" in attributes


def test_secrets_are_not_kept() -> None:
    """Of links and cookies the server keeps hashes: what it has in memory opens nothing."""
    sessions = Sessions()
    ticket = sessions.new_ticket("index")
    assert ticket.encode() not in sessions._links
    redeemed = sessions.redeem(ticket)
    assert redeemed
    assert redeemed[1] not in repr(vars(redeemed[0]))


# ---- other sites -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost:{port}", "[::1]:{port}", ""]
)
def test_another_host_is_refused(server: PageServer, browser: Browser, host: str) -> None:
    """A name that leads to this machine (DNS rebinding) gets nothing of the page, whatever it sends."""
    sent = browser.headers(host=host.format(port=server.port))
    del sent["origin"]
    assert refused(server.ask("GET", browser.path, sent)) == (403, "forbidden")


def test_the_token_is_taken_under_two_names_only(server: PageServer) -> None:
    """Programs may say localhost; a rebound name is refused even with the token."""
    token = Path(server.address.token).read_text().strip()
    headers = {"authorization": f"Bearer {token}"}
    statuses = [
        server.ask("GET", "/status", {**headers, "host": host}).status
        for host in (f"localhost:{server.port}", f"127.0.0.1:{server.port}", f"evil.example:{server.port}")
    ]
    assert statuses == [200, 200, 403]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://localhost:{port}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_can_ask_for_nothing(
    server: PageServer, browser: Browser, headers: dict[str, str]
) -> None:
    """A page of another origin is refused also if the cookie came along, and so it is with the token."""
    token = Path(server.address.token).read_text().strip()
    sent = {name: value.format(port=server.port) for name, value in headers.items()}
    posted = browser.headers(content_type="application/json") | sent
    assert refused(server.ask("POST", browser.path + "api/status", posted, b"{}")) == (403, "forbidden")
    assert refused(server.ask("POST", browser.path + "api/list", posted, b"{}")) == (403, "forbidden")
    shown = {"cookie": f"imgsearch={browser.cookie}", **sent}
    assert refused(server.ask("GET", browser.path + "api/status", shown)) == (403, "forbidden")
    if "localhost" not in str(sent):
        by_token = {"authorization": f"Bearer {token}", **sent}
        assert refused(server.ask("GET", "/status", by_token)) == (403, "forbidden")


def test_a_post_says_where_it_comes_from(server: PageServer, browser: Browser) -> None:
    """A POST without an Origin, or of a kind that a form can send, changes and tells nothing."""
    sent = browser.headers(content_type="application/json")
    without = {name: value for name, value in sent.items() if name != "origin"}
    assert server.ask("POST", browser.path + "api/list", without, b"{}").status == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert (
            server.ask("POST", browser.path + "api/list", sent | {"content-type": kind}, b"{}").status == 400
        )


def test_no_other_site_reads_an_answer(browser: Browser) -> None:
    """No answer allows another origin to read it or to show it in a frame, and a preflight gets no leave."""
    for path in ("", "api/status", "static/main.js", "nothing"):
        headers = browser.get(path).headers
        assert not [name for name in headers if name.startswith("access-control")]
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    preflight = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = browser.server.ask("OPTIONS", browser.path + "api/list", preflight)
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_page_may_do_only_what_it_needs(browser: Browser) -> None:
    """The page's policy names all that it may load, and no script can make HTML of a text."""
    policy = {
        name: values
        for name, *values in (
            part.split() for part in browser.get().headers["content-security-policy"].split(";")
        )
    }
    assert policy == {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }
    assert browser.get("api/status").headers["cache-control"] == "no-store"


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "static/../app.py",
        "static/%2e%2e/app.py",
        "static/..%2fapp.py",
        "static/index.html",
        "static//etc/passwd",
        "static/%00",
        "original/../../../etc/passwd",
        "original/%2fetc%2fpasswd",
        "thumb/..%2f..%2fsecret.png",
        "api/image/%2e%2e",
        "..",
        "%2e%2e/status",
    ],
)
def test_no_path_leads_out(browser: Browser, path: str) -> None:
    """Whatever is put into an address, only the page's own files and indexed images come back."""
    assert browser.get(path).status in (401, 404)


@pytest.mark.parametrize(
    "key", ["1", "1-", "1-zzzzzzzzzzzzzzzz", "-1-0000000000000000", "1-0000000000000000", "9" * 30]
)
def test_a_guessed_image_is_refused(browser: Browser, key: str) -> None:
    """The number of an image is not enough: its hash has to fit."""
    for path in ("thumb", "original", "api/image"):
        assert refused(browser.get(f"{path}/{key}")) == (404, "NoImage")
    for name, body in (
        ("export", {"keys": [key], "as": "zip"}),
        ("reveal", {"key": key}),
        ("open", {"key": key}),
        ("search", {"more": [key]}),
    ):
        assert browser.post(f"api/{name}", body).status == 404


def test_a_path_in_a_query_opens_no_file(server: PageServer, browser: Browser, folder: Path) -> None:
    """The page's query reads no file and fetches no address: what is written like one are words."""
    before = server.model.embedded
    for part in (str(folder / "secret.png"), "http://127.0.0.1:1/x.png"):
        answer = browser.post("api/search", {"q": f"red + {part}"})
        assert answer.status in (200, 400)
        assert server.model.embedded == before
    assert browser.post("api/list", {"filters": {"in": ["/etc"]}}).status == 400
    assert browser.post("api/list", {"filters": {"in": ["../.."]}}).status == 400


def test_a_file_that_was_changed_is_not_shown(browser: Browser, folder: Path) -> None:
    """Other bytes under the name of an indexed image, also of the same size and time, are not what was indexed."""
    path = folder / "pictures" / "changed.png"
    key, before = key_of(browser, "changed.png"), path.stat()
    data = bytearray(path.read_bytes())
    data[-20] ^= 255
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert refused(browser.get(f"original/{key}")) == (410, "Changed")
    packed = browser.post("api/export", {"keys": [key], "as": "zip"}).body
    assert bytes(data) not in packed


def test_a_link_in_an_images_place_is_not_followed_to_another_file(browser: Browser, folder: Path) -> None:
    """A symbolic link that was put in an image's place shows nothing of what it leads to."""
    path = folder / "pictures" / "linked.png"
    key = key_of(browser, "linked.png")
    path.unlink()
    path.symlink_to(folder / "secret.png")
    assert refused(browser.get(f"original/{key}")) == (410, "Changed")
    path.unlink()
    os.mkfifo(path)
    assert refused(browser.get(f"original/{key}")) == (410, "Changed")


def test_a_file_that_is_gone_is_told(browser: Browser, folder: Path) -> None:
    """An image whose file was deleted says so."""
    key = key_of(browser, "gone.png")
    (folder / "pictures" / "gone.png").unlink()
    assert refused(browser.get(f"original/{key}")) == (410, "Changed")
    assert browser.post("api/reveal", {"key": key}).status == 410


def test_an_image_has_the_type_of_its_bytes(tmp_path: Path) -> None:
    """What is sent as an image is one, whatever its name says; HTML or SVG behind a name of an image is not indexed,
    and what a browser does not show, or could run, goes out as WebP. None of it can carry anything out.
    """
    with pytest.MonkeyPatch.context() as patch:
        model = fakes.install(patch)
        pictures = tmp_path / "pictures"
        pictures.mkdir()
        paint(tmp_path / "real.png", "red", size=(40, 30))
        shutil.copy(tmp_path / "real.png", pictures / "really.jpg")
        (pictures / "page.jpg").write_text("<!doctype html><script>alert(1)</script>")
        (pictures / "drawing.png").write_text(
            '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
        )
        (pictures / "drawing.svg").write_text(
            '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><rect width="9" height="9"/></svg>'
        )
        paint(pictures / "scan.tif", "blue", size=(40, 30))
        polyglot = io.BytesIO()
        Image.new("RGB", (40, 30), (1, 2, 3)).save(
            polyglot, "JPEG", comment=b"<html><script>alert(1)</script>"
        )
        (pictures / "both.jpg").write_bytes(polyglot.getvalue())
        index = str(tmp_path / "index")
        fakes.run(index, pictures)
        with page_server(index, model) as running:
            browser = running.opened()
            found = {tile["name"]: tile["key"] for tile in browser.post("api/list", {}).json["images"]}
            assert set(found) == {"really.jpg", "scan.tif", "both.jpg", "drawing.svg"}
            answers = {name: browser.get(f"original/{key}") for name, key in found.items()}
    assert {name: answer.headers["content-type"] for name, answer in answers.items()} == {
        "really.jpg": "image/png",
        "scan.tif": "image/webp",
        "both.jpg": "image/jpeg",
        "drawing.svg": "image/webp",
    }
    for answer in answers.values():
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_hostile_names_are_text(browser: Browser) -> None:
    """Names that hold markup, quotes, marks that turn the direction, or lines come as JSON whose text shows them."""
    answer = browser.post("api/list", {})
    assert answer.headers["content-type"] == "application/json"
    assert answer.body.isascii()
    names = {tile["name"] for tile in answer.json["images"]}
    assert "<img src=x onerror=alert(1)>.png" in names
    assert "evil\\u202egnp.exe.png" in names
    assert "two\\nlines.png" in names


def test_names_in_a_zip_stay_in_their_folder() -> None:
    """No name in a ZIP leads out of the folder that it is unpacked in, or is a device, or stands there twice."""
    taken: set[str] = set()
    names = [
        unique_name(path, taken)
        for path in (
            "/a/..",
            "/a/b.png",
            "/c/B.PNG",
            "/a/..\\x.png",
            "/a/con.png",
            "/a/.bashrc",
            "/a/\n",
            "/a/x" * 90,
        )
    ]
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert name == os.path.basename(name)
        assert not {"\\", ":", "\n"} & set(name)
        assert not name.startswith(".")
        assert name.casefold() != "con.png"


@given(st.lists(st.text(max_size=40), max_size=8))
def test_any_name_in_a_zip_is_safe(names: list[str]) -> None:
    """Whatever files are called, their names in a ZIP are distinct, short, and of one part."""
    taken: set[str] = set()
    made = [unique_name("/folder/" + name, taken) for name in names]
    assert len({name.casefold() for name in made}) == len(made)
    for name in made:
        assert 0 < len(name) < 200
        assert name == os.path.basename(name)
        assert not name.startswith(".")
        assert name.isprintable() or not name.isascii()


def test_a_table_holds_no_formula(browser: Browser) -> None:
    """No cell of an exported table begins like a formula of a spreadsheet."""
    keys = [tile["key"] for tile in browser.post("api/list", {}).json["images"]]
    table = browser.post("api/export", {"keys": keys, "as": "csv"}).body.decode()
    assert "\n=" not in table
    assert ",=" not in table


# ---- too much, and too slow ------------------------------------------------------------------------------------------


def test_an_upload_that_is_too_large_is_refused(
    server: PageServer, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More bytes than may be are refused as soon as they come, and so are more pixels, from the header."""
    monkeypatch.setattr(app, "MOST_BYTES", 10_000)
    assert browser.post("api/upload", body=b"\xff" * 20_000).status == 413
    monkeypatch.setattr(uploads, "MAX_MEGAPIXELS", 0.001)
    picture = io.BytesIO()
    Image.new("RGB", (100, 100)).save(picture, "PNG")
    answer = browser.post("api/upload", body=picture.getvalue())
    assert answer.status == 400
    assert "too many pixels" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"[]",
            b"null",
            b'{"n": 1e9}',
            b'{"n": true}',
            b'{"q": 5}',
            b'{"examples": {}}',
            b'{"examples": [1]}',
        ),
        *(
            b'{"filters": []}',
            b'{"filters": {"rating": "x"}}',
            b'{"n": NaN}',
            b'{"q": "\\u0000"}',
            b"{" * 9999,
        ),
        b'{"sort": "size", "q": "x"}',
    ],
)
def test_what_is_no_request_gets_a_line(server: PageServer, browser: Browser, body: bytes) -> None:
    """Anything that a request is not gets one line, and never a traceback."""
    for name in ("search", "list"):
        sent = browser.headers(content_type="application/json")
        answer = server.ask("POST", f"{browser.path}api/{name}", sent, body)
        assert answer.status in (200, 400), (name, body)
        if answer.status == 400:
            assert "\n" not in answer.json["error"]["message"]


def test_clients_that_say_nothing_take_no_place(server: PageServer, browser: Browser) -> None:
    """However many connections somebody opens and leaves silent, or half-said, the page is answered."""
    with contextlib.ExitStack() as stack:
        for number in range(80):
            connection = stack.enter_context(server.connected())
            if number % 2:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        assert browser.get("api/status").status == 200


def test_a_browsers_connections_do_not_starve_another(server: PageServer) -> None:
    """Many browsers may keep their connections: one more still gets its answers."""
    browsers = [server.opened() for _ in range(4)]
    with contextlib.ExitStack() as stack:
        for number in range(80):
            one = browsers[number % 4]
            connection = stack.enter_context(server.connected())
            connection.sendall(
                f"GET {one.path}api/status HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
                f"Cookie: imgsearch={one.cookie}\r\n\r\n".encode()
            )
            assert connection.recv(16).startswith(b"HTTP/1.1 200")
        assert browsers[0].get("api/status").status == 200


def test_who_hangs_up_holds_nothing(server: PageServer, browser: Browser) -> None:
    """Requests whose browser has gone leave the server free for others."""
    key = key_of(browser, HOSTILE[0])
    for _ in range(80):
        with server.connected() as connection:
            connection.sendall(
                f"GET {browser.path}thumb/{key}?size=l HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
                f"Cookie: imgsearch={browser.cookie}\r\n\r\n".encode()
            )
    assert browser.get(f"thumb/{key}?size=l").status == 200


def test_who_takes_nothing_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks for much and does not read it loses its connection after a while."""
    monkeypatch.setattr(daemon, "_STUCK_SECONDS", 0.05)
    with pytest.MonkeyPatch.context() as patch:
        model = fakes.install(patch)
        (tmp_path / "pictures").mkdir()
        Image.effect_noise((4000, 4000), 90).save(tmp_path / "pictures" / "large.png", compress_level=0)
        index = str(tmp_path / "index")
        fakes.run(index, tmp_path / "pictures")
        with page_server(index, model) as running:
            browser = running.opened()
            key = key_of(browser, "large.png")
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(("127.0.0.1", running.port))
                connection.sendall(
                    f"GET {browser.path}original/{key} HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\n"
                    f"Cookie: imgsearch={browser.cookie}\r\n\r\n".encode()
                )
                here = connection.getsockname()
                places = daemon._OwnersProtocol._over_tcp
                until(lambda: connection.recv(1, socket.MSG_PEEK))
                until(lambda: here not in [other.client for other in list(places)])
            assert browser.get("api/status").status == 200


def test_another_users_process_is_not_let_in(server: PageServer) -> None:
    """The Unix socket is in a folder of its own, and the kernel is asked who is at its other end."""
    assert server.address.problem() is None
    assert os.stat(server.address.socket).st_mode & 0o077 == 0
    assert not daemon.may_ask(os.geteuid() + 4711)
    assert not daemon.may_ask(None)


def test_a_session_ends_with_the_server(tmp_path: Path) -> None:
    """A cookie opens nothing at the next server."""
    with pytest.MonkeyPatch.context() as patch:
        model = fakes.install(patch)
        paint(tmp_path / "pictures" / "red.png", "red")
        index = str(tmp_path / "index")
        fakes.run(index, tmp_path / "pictures")
        with page_server(index, model) as first:
            browser = first.opened()
            assert browser.get("api/status").status == 200
        with page_server(index, model) as second:
            sent = {"cookie": f"imgsearch={browser.cookie}"}
            assert second.ask("GET", browser.path, sent).status == 401
