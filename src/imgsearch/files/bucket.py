"""Objects of a bucket, listed page by page and read whole, by obstore; credentials come from the environment alone."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, cast

from imgsearch.addresses import normal, split
from imgsearch.errors import PictureError, exhausted
from imgsearch.installation import how_to_add
from imgsearch.text import error_line

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store

EXTRA = "s3"
_IN_MEMORY = 64 << 20
"""Bytes of an object that is kept in memory while it is read; a larger one goes to a temporary file without a name."""
_CHUNK = 1 << 20
_PAGE = 1000
_ATTEMPTS = 4
_PATIENCE = timedelta(seconds=20)
"""For how long a request is tried again, with back-off."""
_GIVE_UP = 30.0
"""Seconds after a bucket could not be reached in which nobody waits for it again: a run over what is gone must end."""
_gone: dict[str, float] = {}


class BucketError(Exception):
    """A bucket, or an object of it, that can't be read; the message says why. ``is_missing``: there is none."""

    def __init__(self, why: str, *, is_missing: bool = False) -> None:
        """Keep why."""
        super().__init__(why)
        self.is_missing = is_missing


def is_installed() -> bool:
    """Whether the library that reads buckets is there."""
    return importlib.util.find_spec("obstore") is not None


def listed(address: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the keys below an address, relative to it, in the bucket's order, with size, time and number as of a file.

    A page of the list is in memory at a time. Raises BucketError.
    """
    bucket, prefix = _split(address)
    skip = len(prefix) + 1 if prefix else 0
    with _errors(bucket):
        for page in _store(bucket).list(prefix or None, chunk_size=_PAGE):
            for meta in page:
                yield meta["path"][skip:], _status(meta)


def state_of(address: str) -> os.stat_result:
    """Return what `listed` tells of one object. Raises BucketError."""
    bucket, key = _split(address)
    with _errors(bucket):
        return _status(_store(bucket).head(key))


@contextmanager
def fetched(
    address: str, recognise: Callable[[BinaryIO], object] | None
) -> Iterator[tuple[BinaryIO, bytes, os.stat_result]]:
    """Give an object's bytes, of one version of it, their sha256, and what `listed` tells of that version.

    ``recognise`` is as for `files.open.open_source`: what it refuses costs the first megabyte. Raises PictureError.
    """
    try:
        bucket, key = _split(address)
        with _errors(bucket):
            result = _store(bucket).get(key)
        status, digest = _status(result.meta), hashlib.sha256()
        if not status.st_size:
            raise PictureError("empty file")
        large = status.st_size > _IN_MEMORY
        # Closed below. Not within the bucket's errors: a folder for temporary files that is missing is no lost object.
        file = cast("BinaryIO", tempfile.TemporaryFile() if large else io.BytesIO())  # noqa: SIM115
        try:
            with _errors(bucket):
                for chunk in result.stream(min_chunk_size=_CHUNK):
                    data = bytes(chunk)
                    if recognise:
                        recognise(io.BytesIO(data))
                        recognise = None
                    digest.update(data)
                    file.write(data)
            if file.tell() != status.st_size:
                raise PictureError("unreadable", "the connection ended before the object did")
        except BaseException:
            file.close()
            raise
    except BucketError as error:
        if not is_installed():
            raise PictureError(f"needs imgsearch-vl[{EXTRA}]", how_to_add(EXTRA)) from error
        raise PictureError("vanished" if error.is_missing else "unreadable", str(error)) from error
    except OSError as error:  # of the temporary file
        raise exhausted(error) or PictureError("unreadable", error_line(error)) from error
    except MemoryError as error:
        raise PictureError("out of memory", "not enough memory to read it") from error
    with closing(file):
        file.seek(0)
        yield file, digest.digest(), status


def _split(address: str) -> tuple[str, str]:
    """Return the bucket and the key of an address that a person gave; BucketError, without it, for one that is none."""
    try:
        return split(normal(address))
    except ValueError as error:
        raise BucketError(str(error)) from error


@cache
def _store(bucket: str) -> S3Store:
    """Return the bucket's client, which threads share; BucketError where the library is missing."""
    if not is_installed():
        raise BucketError(f"needs imgsearch-vl[{EXTRA}]; {how_to_add(EXTRA)}")
    from obstore.store import S3Store

    plain = any(
        os.environ.get(name, "").startswith("http://") for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    )
    return S3Store(
        bucket,
        client_options={
            "connect_timeout": timedelta(seconds=10),
            "read_timeout": timedelta(seconds=60),
            "timeout": timedelta(minutes=30),
            "allow_http": plain,  # only where the address of the server itself says so
        },
        retry_config={"max_retries": _ATTEMPTS - 1, "retry_timeout": _PATIENCE},
        credential_provider=_profile(),
    )


def _profile() -> Boto3CredentialProvider | None:
    """Return who reads the files of AWS's own tools, by boto3; None where the environment tells or it isn't there."""
    known = ("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE", "AWS_WEB_IDENTITY_TOKEN_FILE")
    if any(map(os.environ.get, known)) or importlib.util.find_spec("boto3") is None:
        return None
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    except (
        Exception
    ):  # boto3's own, of files that anybody wrote: without credentials the server tells what is missing
        return None


def _status(meta: ObjectMeta) -> os.stat_result:
    """Return what is known of an object as of a file: its ETag, which other bytes change, becomes its number."""
    tag = hashlib.blake2b((meta["e_tag"] or "").encode(), digest_size=8).digest()
    number = (int.from_bytes(tag, "big") >> 1) or 1
    seconds = meta["last_modified"].timestamp()
    fields = (
        stat.S_IFREG | 0o444,
        number if meta["e_tag"] else 0,
        0,
        1,
        0,
        0,
        meta["size"],
        0,
        int(seconds),
        0,
    )
    return os.stat_result(fields, {"st_mtime_ns": int(seconds) * 1_000_000_000, "st_ctime_ns": 0})


@contextmanager
def _errors(bucket: str) -> Iterator[None]:
    """Turn what obstore raises into a BucketError, in words that hold nothing of a request."""
    if time.monotonic() - _gone.get(bucket, -_GIVE_UP) < _GIVE_UP:
        raise BucketError("the server can't be reached")
    if not is_installed():
        raise BucketError(f"needs imgsearch-vl[{EXTRA}]; {how_to_add(EXTRA)}")
    from obstore import exceptions

    try:
        yield
        _gone.pop(bucket, None)
    except (FileNotFoundError, exceptions.NotFoundError) as error:
        raise BucketError("it is not there", is_missing=True) from error
    except (PermissionError, exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise BucketError("access denied") from error
    except ValueError as error:  # a key that obstore can't name
        if "parse path" not in str(error):
            raise
        raise BucketError(_NAMELESS) from error
    except exceptions.BaseError as error:
        if _UNREACHED.search(str(error)):
            _gone[bucket] = time.monotonic()
        raise _told(error) from error


_NAMELESS = "a key below it has an empty part, '.', '..' or a control character in its name"
_UNREACHED = re.compile(r"^\s+Connect,$", re.MULTILINE)
"""In obstore's account of an error: nobody answered at all, which an answer of a server in trouble is not."""
_BEHIND = re.compile(r"\s*Debug source:.*", re.DOTALL)
_URL = re.compile(r"https?://\S+")
_STATUS = re.compile(r"non-2xx status code: (\d+)")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")


def _told(error: Exception) -> BucketError:
    """Return what one of obstore's errors comes to: by the server's answer, if it gave one."""
    line = _BEHIND.sub("", str(error))
    text = _URL.sub("", line)  # keys say nothing of what went wrong
    status, code = (found[1] if (found := pattern.search(text)) else "" for pattern in (_STATUS, _CODE))
    answer = f"{status} {code}".rstrip()
    if "path segment" in text or "InvalidPath" in text:
        return BucketError(_NAMELESS)
    if "http://169.254." in line or (
        not status and "redential" in text
    ):  # the address that tells a machine its role
        return BucketError("there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if code == "NoSuchBucket":
        return BucketError("there is no such bucket", is_missing=True)
    if status in ("401", "403"):
        return BucketError("access denied")
    if status.startswith("3") or "redirect without LOCATION" in text:
        return BucketError("it is in another region; set AWS_REGION")
    if status == "429" or status.startswith("5"):
        return BucketError(f"the server is busy or in trouble: {answer} (tried {_ATTEMPTS} times)")
    if status:
        return BucketError(f"the server refuses the request: {answer}")
    if _UNREACHED.search(str(error)):
        return BucketError(f"the server can't be reached (tried {_ATTEMPTS} times)")
    if "HTTP error" in text or "timed out" in text:
        return BucketError("the connection was interrupted, or the server took too long")
    return BucketError(error_line(Exception(text), most=160))
