"""Addresses of what lies in no file system: ``s3://bucket/key``, an object of a bucket, or all below such a prefix."""

from __future__ import annotations

import re

SCHEME = "s3://"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def is_remote(path: str) -> bool:
    """Whether a path is an address: never a file or folder of this machine, whatever lies in the current folder."""
    return path.startswith(SCHEME)


def normal(address: str) -> str:
    """Return an address as an index has it: no slash at the end. ValueError says why it is none."""
    bucket, _, prefix = address.removeprefix(SCHEME).partition("/")
    if "@" in bucket:
        raise ValueError("an address has no password; credentials come from the environment")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError("not an address, as in s3://bucket/photos")
    prefix = prefix.rstrip("/")
    parts = prefix.split("/") if prefix else []
    if any(part in ("", ".", "..") for part in parts) or "\0" in prefix:
        raise ValueError("a part of its name is empty, '.' or '..', which no prefix may have here")
    return f"{SCHEME}{bucket}/{prefix}" if prefix else f"{SCHEME}{bucket}"


def split(address: str) -> tuple[str, str]:
    """Return the bucket of a normal address, and the key or prefix in it."""
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    return bucket, key
