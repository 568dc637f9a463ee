"""Addresses of what lies in no file system: ``s3://bucket/key``, an object of a bucket, or all below such a prefix."""

from __future__ import annotations

import os
import re

SCHEME = "s3://"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError("a part of its name is empty, '.' or '..', which no prefix may have here")
    if _CONTROL.search(prefix):
        raise ValueError("its name has a line break or another control character, which none may have here")
    return f"{SCHEME}{bucket}/{prefix}" if prefix else f"{SCHEME}{bucket}"


def names_a_folder(path: str) -> bool:
    """Whether an address, as somebody gave it, can only be a folder: a whole bucket, or with a slash at its end."""
    return path.endswith("/") or "/" not in path.removeprefix(SCHEME)


def absolute(path: str) -> str:
    """Return a path as an absolute one, and an address as it is, but for slashes at its end."""
    if not is_remote(path):
        return os.path.abspath(os.path.expanduser(path))
    try:
        return normal(path)
    except ValueError:
        return path  # who looks for it tells what is wrong


def real(path: str) -> str:
    """Return the real path of a file or folder, and an address as ``absolute`` does."""
    return absolute(path) if is_remote(path) else os.path.realpath(path)


def without_password(path: str) -> str:
    """Return what may be shown of a path: of an address with a password, which may hold any character, its end."""
    bucket = path.removeprefix(SCHEME).partition("/")[0]
    if not is_remote(path) or "@" not in path or not re.search("[:@]", bucket):
        return path
    return f"{SCHEME}…@{path.rpartition('@')[2]}"


def split(address: str) -> tuple[str, str]:
    """Return the bucket of a normal address, and the key or prefix in it."""
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    return bucket, key
