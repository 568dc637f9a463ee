"""The vector cache: what was written comes back to the bit, and what is torn is as if it were not there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from imgsearch.tools.evaluation.cache import VectorCache
from support import TESTS

SPACE = {"model": "abc", "side": "query", "prompt": "Find."}


def _keys(count: int, start: int = 0) -> list[bytes]:
    return [hashlib.sha256(bytes([number])).digest() for number in range(start, start + count)]


def _rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 6)).astype(np.float32)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_vectors_come_back_to_the_bit(tmp_path: Path) -> None:
    """What was flushed is there for the next run, in any order that is asked for."""
    keys, rows = _keys(5), _rows(5)
    first = VectorCache(SPACE, str(tmp_path))
    assert (first.dim, keys[0] in first) == (None, False)
    first.put(keys[:2], rows[:2])
    first.flush()
    first.put(keys[2:], rows[2:])
    first.flush()
    again = VectorCache(SPACE, str(tmp_path))
    assert again.dim == 6
    assert all(key in again for key in keys)
    np.testing.assert_array_equal(again.take(keys[::-1]), rows[::-1])


@pytest.mark.parametrize("other", [{"model": "abd"}, {"side": "document"}, {"prompt": "Look."}])
def test_another_space_is_another_cache(other: dict[str, str], tmp_path: Path) -> None:
    """A vector of another checkpoint, side or prompt is never taken."""
    first = VectorCache(SPACE, str(tmp_path))
    first.put(_keys(1), _rows(1))
    first.flush()
    assert _keys(1)[0] not in VectorCache(SPACE | other, str(tmp_path))


def test_a_torn_file_costs_only_its_own_vectors(tmp_path: Path) -> None:
    """Cut at any place, or with a byte turned, a file is passed over, and the others still count."""
    keys, rows = _keys(4), _rows(4)
    first = VectorCache(SPACE, str(tmp_path))
    first.put(keys[:2], rows[:2])
    first.flush()
    (torn,) = _files(tmp_path)
    whole = torn.read_bytes()
    first.put(keys[2:], rows[2:])
    first.flush()
    turned = bytearray(whole)
    turned[-1] ^= 1
    for damaged in (
        b"",
        whole[:1],
        whole[:40],
        whole[: len(whole) // 2],
        whole[:-1],
        whole + b"x",
        bytes(turned),
    ):
        torn.write_bytes(damaged)
        again = VectorCache(SPACE, str(tmp_path))
        assert [key in again for key in keys] == [False, False, True, True]
    again.put(keys[:2], rows[:2])
    again.flush()
    np.testing.assert_array_equal(VectorCache(SPACE, str(tmp_path)).take(keys), rows)


def test_many_rows_are_written_before_the_end(tmp_path: Path) -> None:
    """A run that is killed keeps what came before: every 512 rows there is a file, and no partial one."""
    cache = VectorCache(SPACE, str(tmp_path))
    keys = [hashlib.sha256(str(number).encode()).digest() for number in range(600)]
    for start in range(0, 600, 8):
        cache.put(keys[start : start + 8], _rows(8))
    assert [key in VectorCache(SPACE, str(tmp_path)) for key in (keys[0], keys[511], keys[599])] == [
        True,
        True,
        False,
    ]
    assert all(path.suffix == ".vectors" for path in _files(tmp_path))


def test_without_a_folder_nothing_is_written() -> None:
    """The vectors are there while the program runs."""
    cache = VectorCache(SPACE, None)
    cache.put(_keys(2), _rows(2))
    cache.flush()
    np.testing.assert_array_equal(cache.take(_keys(2)), _rows(2))


def test_a_disk_that_refuses_costs_no_result(tmp_path: Path) -> None:
    """The cache says why it could not write, and goes on from memory."""
    blocked = os.path.join(tmp_path, "file")
    Path(blocked).write_bytes(b"")
    cache = VectorCache(SPACE, blocked)
    cache.put(_keys(2), _rows(2))
    cache.flush()
    assert cache.failure is not None
    assert "could not be written" in cache.failure
    np.testing.assert_array_equal(cache.take(_keys(2)), _rows(2))


def test_a_folder_that_can_not_be_read_costs_no_result(tmp_path: Path) -> None:
    """Nothing is remembered there, and the cache says at the first write that it keeps nothing."""
    first = VectorCache(SPACE, str(tmp_path))
    first.put(_keys(1), _rows(1))
    first.flush()
    code = (
        "import sys, numpy as np; from support.privileges import drop; drop()\n"
        "from imgsearch.tools.evaluation.cache import VectorCache\n"
        f"cache = VectorCache({SPACE!r}, sys.argv[1])\n"
        "cache.put([b'k' * 32], np.ones((1, 4), np.float32))\n"
        "cache.flush()\n"
        "print(cache.take([b'k' * 32]).shape, cache.failure)"
    )
    (space,) = (place for place in tmp_path.iterdir() if place.is_dir())
    space.chmod(0)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            capture_output=True,
            text=True,
        )
    finally:
        space.chmod(0o700)
    assert done.stdout.startswith("(1, 4) "), done.stderr
    assert "could not be written (Permission denied)" in done.stdout
