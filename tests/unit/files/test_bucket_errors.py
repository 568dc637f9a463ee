"""What is said of a bucket that can't be read: by what its server answers, never by what its keys are called."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from imgsearch.errors import PictureError
from imgsearch.files import bucket
from imgsearch.files.bucket import BucketError
from imgsearch.files.open import open_source


class Answer:
    """The answer that a server gives to everything."""

    status, body = 200, ""


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answer]:
    given = Answer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = given.body.encode()
            self.send_response(given.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(bucket, "_ATTEMPTS", 1)
    monkeypatch.setattr(bucket, "_gone", {})
    stores = bucket._store
    stores.cache_clear()
    yield given
    server.shutdown()
    server.server_close()
    stores.cache_clear()


@pytest.mark.parametrize(
    ("status", "code", "why"),
    [
        (403, "AccessDenied", "access denied"),
        (301, "PermanentRedirect", "it is in another region; set AWS_REGION"),
        (400, "ExpiredToken", "the server refuses the request: 400 ExpiredToken"),
        (503, "SlowDown", "the server is busy or in trouble: 503 SlowDown (tried 1 times)"),
        (404, "NoSuchBucket", "there is no such bucket"),
    ],
)
def test_a_list_that_is_refused_says_why(answer: Answer, status: int, code: str, why: str) -> None:
    """Each status has its own words, whatever the prefix is called, and the bucket counts as within reach."""
    answer.status, answer.body = status, f"<Error><Code>{code}</Code></Error>"
    with pytest.raises(BucketError) as told:
        list(bucket.listed("s3://photos/dns timeout credential connect"))
    assert str(told.value) == why
    assert bucket._gone == {}


def test_one_busy_object_is_not_the_end_of_its_bucket(answer: Answer) -> None:
    """After a 503 the next object is asked for at once."""
    answer.status = 503
    with pytest.raises(PictureError, match="busy"), open_source("s3://photos/a.png"):
        pass
    answer.status, answer.body = 403, ""
    with pytest.raises(PictureError, match="access denied"), open_source("s3://photos/b.png"):
        pass


def test_a_server_that_nobody_answers_for_is_asked_once(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens there: that bucket is left alone for a while."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    bucket._store.cache_clear()
    with pytest.raises(BucketError, match=r"can't be reached \(tried"):
        bucket.state_of("s3://photos/a.png")
    with pytest.raises(BucketError, match=r"can't be reached$"):
        bucket.state_of("s3://photos/b.png")


@pytest.mark.parametrize(
    "address", ["s3://photos/a//b.png", "s3://photos/../b.png", "s3://photos/a\nb.png", "s3://k:s/e@photos/a"]
)
def test_what_is_no_address_is_no_image(answer: Answer, address: str) -> None:
    """It is refused before a server hears of it, in words that repeat nothing of it."""
    with pytest.raises(PictureError) as told, open_source(address):
        pass
    assert told.value.reason == "unreadable"
    assert "s/e" not in str(told.value)
    with pytest.raises(BucketError):
        bucket.state_of(address)
    with pytest.raises(BucketError):
        list(bucket.listed(address))


def test_a_listed_key_with_a_control_character_is_named(answer: Answer) -> None:
    """obstore can't have such a key: the one line says what is wrong with it."""
    answer.body = (
        "<ListBucketResult><Contents><Key>a&#10;b.png</Key><LastModified>2024-01-01T00:00:00Z</LastModified>"
        "<Size>1</Size></Contents></ListBucketResult>"
    )
    with pytest.raises(BucketError, match="control character"):
        list(bucket.listed("s3://photos"))


def test_no_room_for_a_large_object_is_not_the_object_s_fault(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder for temporary files that isn't there makes it unreadable, not deleted."""

    def nowhere() -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    class Store:
        def get(self, key: str) -> object:
            from obstore.store import MemoryStore

            store = MemoryStore()
            store.put(key, b"12345678")
            return store.get(key)

    monkeypatch.setattr(bucket, "_store", lambda name: Store())
    monkeypatch.setattr(bucket, "_IN_MEMORY", 1)
    monkeypatch.setattr("tempfile.TemporaryFile", nowhere)
    with pytest.raises(PictureError) as told, open_source("s3://photos/a.png"):
        pass
    assert told.value.reason == "unreadable"
