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
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imgsearch.fs import atomic_write, make_folder, open_own
from imgsearch.index.reader import ImageIndex
from imgsearch.search import Answer
from imgsearch.search.language.filtering import NAMES
from imgsearch.search.ranking.feedback import Feedback, Page
from imgsearch.types import Hit

MAX_HITS = 1_000
"""So many of an answer's images are remembered."""
_NO_FILTERS: Mapping[str, Any] = {}
_VERSION = 2
_MAX_BYTES = 16_000_000  # a thousand of the longest paths, and much more than any query


@dataclass(frozen=True, slots=True)
class Remembered:
    """An image that a number stands for: a ``page`` of the file at ``path``, in the index whose real path is ``index``.

    ``score`` is None where nothing was searched for.
    """

    path: str
    page: int
    score: float | None
    index: str


@dataclass(frozen=True, slots=True, eq=False)
class LastAnswer:
    """What was shown last with numbers, and by what it was found.

    ``hits`` are the first images by their numbers; ``found`` counts all. ``index`` is the real path of the index that
    was asked, "" for several. ``asked`` is the query, None where there was none, or several, or several indexes;
    ``fingerprint`` is that of its model. ``below`` are the absolute paths of the folders that were searched,
    ``filters`` what ``filters_of`` takes, as typed.
    """

    hits: tuple[Remembered, ...]
    found: int
    index: str = ""
    asked: Feedback | None = None
    fingerprint: str = ""
    below: tuple[str, ...] = ()
    filters: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(
        index: ImageIndex,
        answer: Answer,
        below: tuple[str, ...] = (),
        filters: Mapping[str, Any] = _NO_FILTERS,
    ) -> LastAnswer:
        """Return what is remembered of an answer."""
        hits, folder = remembered(answer.hits, index.folder), os.path.realpath(index.folder)
        asked = answer.asked, index.spec.fingerprint
        return LastAnswer(hits, len(answer.hits), folder, *asked, below, filters)

    @property
    def indexes(self) -> tuple[str, ...]:
        """The real paths of the indexes that the images are of, each once."""
        return tuple(dict.fromkeys(hit.index for hit in self.hits))


def remembered(hits: Sequence[Hit], folder: str = "") -> tuple[Remembered, ...]:
    """Return what is remembered of hits: of those that do not tell their index, the one in ``folder``."""
    real = {name: os.path.realpath(name or folder) for name in {hit.index for hit in hits}}
    return tuple(Remembered(hit.path, hit.page, hit.score, real[hit.index]) for hit in hits[:MAX_HITS])


def last_answer() -> LastAnswer | None:
    """Return the last answer; None if there is none that can be read."""
    try:
        descriptor = open_own(_path())
        with open(descriptor, "rb") as file:
            # In a state folder that others may write to, it could be theirs.
            if os.fstat(descriptor).st_uid != os.geteuid():
                return None
            return _from_json(json.loads(file.read(_MAX_BYTES)))
    except (OSError, ValueError, TypeError, KeyError, IndexError, RecursionError):
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


def _path() -> str:
    import platformdirs

    return os.path.join(platformdirs.user_state_dir("imgsearch", appauthor=False), "last-answer.json")


def _as_json(last: LastAnswer) -> dict[str, Any]:
    asked = last.asked
    return {
        "version": _VERSION,
        "fingerprint": last.fingerprint,
        "index": last.index,
        "indexes": (indexes := last.indexes),
        "hits": [(hit.path, hit.page, hit.score, indexes.index(hit.index)) for hit in last.hits],
        "found": last.found,
        "asked": asked
        and {
            "query": base64.b64encode(asked.query.astype("<f4").tobytes()).decode(),
            "of_image": asked.of_image,
            "more": [(content.hex(), page) for content, page in asked.more],
            "less": [(content.hex(), page) for content, page in asked.less],
        },
        "below": last.below,
        "filters": dict(last.filters),
    }


def _from_json(data: dict[str, Any]) -> LastAnswer | None:
    """Return what ``_as_json`` made; None for another version's. Raises ValueError, TypeError, KeyError."""
    if data["version"] != _VERSION:
        return None
    indexes = [str(folder) for folder in data["indexes"]]
    return LastAnswer(
        tuple(
            Remembered(str(path), int(page), None if score is None else float(score), indexes[number])
            for path, page, score, number in data["hits"]
        ),
        int(data["found"]),
        str(data["index"]),
        None if data["asked"] is None else _asked(data["asked"]),
        str(data["fingerprint"]),
        tuple(map(str, data["below"])),
        {name: value for name, value in dict(data["filters"]).items() if name in NAMES},
    )


def _asked(data: dict[str, Any]) -> Feedback:
    query = np.frombuffer(base64.b64decode(data["query"], validate=True), "<f4").astype(np.float32)
    return Feedback(query[None], bool(data["of_image"]), _pages(data["more"]), _pages(data["less"]))


def _pages(data: Sequence[tuple[str, int]]) -> tuple[Page, ...]:
    return tuple((bytes.fromhex(content), int(page)) for content, page in data)
