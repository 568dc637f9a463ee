"""Bind mounts, by the system call itself, where the machine lets us make any; else the test is skipped."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MS_BIND, _MNT_DETACH = 4096, 2


def bind(real: str | Path, alias: str | Path) -> bool:
    """Mount a folder a second time at another one; False if that is refused here."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.mount(os.fsencode(real), os.fsencode(alias), None, _MS_BIND, None) == 0)


def unmount(point: str | Path) -> None:
    """Take a mount away, also while something in it is open."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(point), _MNT_DETACH) != 0:
        raise OSError(ctypes.get_errno(), "umount2", str(point))


class Binds:
    """Bind mounts that a test makes, and takes away itself or at its end."""

    def __init__(self) -> None:
        self.mounted: list[Path] = []

    def put(self, real: Path, alias: Path) -> None:
        """Let a folder be seen at another place too, which is made."""
        alias.mkdir(parents=True, exist_ok=True)
        if not bind(real, alias):
            pytest.skip("this user may not mount here")
        self.mounted.append(alias)

    def take(self, alias: Path) -> None:
        """Unmount what is at a place."""
        self.mounted.remove(alias)
        unmount(alias)


@contextmanager
def binding() -> Iterator[Binds]:
    """Give a hand that mounts; at the end nothing is mounted any more."""
    hand = Binds()
    try:
        yield hand
    finally:
        for alias in reversed(hand.mounted):
            unmount(alias)


@pytest.fixture
def binds() -> Iterator[Binds]:
    """Give a hand that mounts for the length of a test."""
    with binding() as hand:
        yield hand
