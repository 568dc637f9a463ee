"""The last answer of this user, so that the next command can name its images by number.

One small file in the user's state folder, readable by nobody else. It may be lost: whatever goes wrong with it is as if
nothing had been searched for.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgsearch.fs import atomic_write, make_folder, open_own
from imgsearch.index.reader import ImageIndex
from imgsearch.search import Answer
from imgsearch.search.language.filtering import NAMES
from imgsearch.search.ranking.feedback import Feedback, Page

MAX_HITS = 1_000
"""So many of an answer's images are remembered."""
_NO_FILTERS: Mapping[str, Any] = {}
_VERSION = 1
_MAX_BYTES = 16_000_000  # a thousand of the longest paths, and much more than any query


@dataclass(frozen=True, slots=True, eq=False)
class LastAnswer:
    """What was found last, and by what.

    ``index`` is the real path of the index's folder, ``fingerprint`` that of its model. ``hits`` are (path, page) of
    the first images, best first; ``found`` counts all. ``below`` are the absolute paths of the folders that were
    searched, ``filters`` what ``filters_of`` takes, as typed.
    """

    index: str
    fingerprint: str
    hits: tuple[tuple[str, int], ...]
    found: int
    asked: Feedback
    below: tuple[str, ...]
    filters: Mapping[str, Any]

    @staticmethod
    def of(
        index: ImageIndex,
        answer: Answer,
        below: tuple[str, ...] = (),
        filters: Mapping[str, Any] = _NO_FILTERS,
    ) -> LastAnswer:
        """Return what is remembered of an answer."""
        hits = tuple((hit.path, hit.page) for hit in answer.hits[:MAX_HITS])
        folder, fingerprint = os.path.realpath(index.folder), index.spec.fingerprint
        return LastAnswer(folder, fingerprint, hits, len(answer.hits), answer.asked, below, filters)


def last_answer() -> LastAnswer | None:
    """Return the last answer; None if there is none that can be read."""
    try:
        descriptor = open_own(_path())
        with open(descriptor, "rb") as file:
            # In a state folder that others may write to, it could be theirs.
            if os.fstat(descriptor).st_uid != os.geteuid():
                return None
            return _from_json(json.loads(file.read(_MAX_BYTES)))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def remember(last: LastAnswer) -> None:
    """Keep an answer in place of the one before; where that is not possible, do nothing."""
    with suppress(OSError, ValueError, TypeError):
        path = _path()
        data = json.dumps(_as_json(last)).encode()
        make_folder(os.path.dirname(path))
        # Named by the process: two may end at the same time.
        with atomic_write(path, beside=f"{path}.{os.getpid()}", durable=False, mode=0o600) as file:
            file.write(data)


def forget() -> None:
    """Remember no answer; where that is not possible, do nothing."""
    with suppress(OSError):
        os.unlink(_path())


def _path() -> str:
    import platformdirs

    return os.path.join(platformdirs.user_state_dir("imgsearch", appauthor=False), "last-answer.json")


def _as_json(last: LastAnswer) -> dict[str, Any]:
    asked = last.asked
    return {
        "version": _VERSION,
        "index": last.index,
        "fingerprint": last.fingerprint,
        "hits": last.hits,
        "found": last.found,
        "query": base64.b64encode(asked.query.astype("<f4").tobytes()).decode(),
        "of_image": asked.of_image,
        "more": [(content.hex(), page) for content, page in asked.more],
        "less": [(content.hex(), page) for content, page in asked.less],
        "below": last.below,
        "filters": dict(last.filters),
    }


def _from_json(data: dict[str, Any]) -> LastAnswer | None:
    """Return what ``_as_json`` made; None for another version's. Raises ValueError, TypeError, KeyError."""
    if data["version"] != _VERSION:
        return None
    query = np.frombuffer(base64.b64decode(data["query"], validate=True), "<f4").astype(np.float32)
    return LastAnswer(
        str(data["index"]),
        str(data["fingerprint"]),
        tuple((str(path), int(page)) for path, page in data["hits"]),
        int(data["found"]),
        Feedback(query[None], bool(data["of_image"]), _pages(data["more"]), _pages(data["less"])),
        tuple(map(str, data["below"])),
        {name: value for name, value in dict(data["filters"]).items() if name in NAMES},
    )


def _pages(data: Sequence[tuple[str, int]]) -> tuple[Page, ...]:
    return tuple((bytes.fromhex(content), int(page)) for content, page in data)
