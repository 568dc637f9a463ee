"""What an index run is asked for, and what it reports back."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from imgsearch.errors import UsageError
from imgsearch.indexing.gentle.deadline import deadline
from imgsearch.indexing.roots import WalkOverrides
from imgsearch.machine.cores import Cores
from imgsearch.text import Call, Message, Option, format_duration, format_rate, plural
from imgsearch.types import MAX_MEGAPIXELS, ModelOptions, path_json


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How to run. None (or "auto") leaves a value to the index, or to the checkpoint if there is none yet.

    ``reread`` are paths below which every image is read again, whatever its size and time; ``retry`` does so with what
    was skipped, for whatever reason.
    Without ``advise`` a run gives no advice on the choice of the model; with ``suggest``, for a person, it may name a
    smaller one. ``portable`` makes an index that can be moved
    together with its images: it is in a folder that all of its roots are in, or are. With ``thumbs`` small thumbnails
    are kept of all images. ``ocr`` says whether the text in images is read too, which holds for later runs; None leaves
    it as it is. A ``gentle`` run leaves the machine to others: it has a lower priority, which the process keeps, leaves
    a core free, loads the model into this process, and pauses on battery, in heat, and while others need the processor.
    ``until`` is the time at which to stop, as ``gentle.deadline`` reads it.
    """

    model: ModelOptions = field(default_factory=ModelOptions)
    walk: WalkOverrides | None = None
    batch_size: int | None = None
    max_megapixels: float | None = None
    prune: bool = True
    prune_empty: bool = False
    reread: tuple[str, ...] = ()
    retry: bool = False
    rebuild: bool = False
    dry_run: bool = False
    advise: bool = True
    suggest: bool = False
    portable: bool = False
    thumbs: bool = False
    ocr: bool | None = None
    gentle: bool = False
    until: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for impossible figures and times."""
        if self.until is not None:
            deadline(self.until, datetime.now())
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(Option("batch_size", self.batch_size), ": must be at least 1")
        limit = self.max_megapixels
        if limit is not None and not (math.isfinite(limit) and limit > 0):
            raise UsageError(
                Option("max_megapixels", limit), f": give a number of megapixels, like {MAX_MEGAPIXELS:g}"
            )


@dataclass(slots=True)
class IndexResult:
    """What a run did. ``skipped`` counts by reason what this run skipped, ``kept`` what pruning spared and why,
    ``not_read`` by kind the files that are not images or not supported. ``left_alone`` are the folders that
    could not be listed, or of which it is unknown what to leave out, with the reason: nothing in them was indexed or
    pruned.

    Of ``seconds``, the model worked ``embedding`` and waited ``waiting`` for images; the rest went into the walk,
    loading and committing. ``batch`` tells how many images the model took at a time, and why, ``cores`` how many
    processor cores the run could use. A gentle run has ``paused`` for so many seconds. ``recomputed`` counts the
    images whose embedding was not finite in the model's dtype, and was computed once more in float32. ``thumbnails``
    counts those that were made, ``texts`` the images whose text was read, None if none were asked for. ``pages``
    counts the images of documents that were embedded, and ``lost_pages`` those that could not be read, of documents
    that are indexed all the same. ``as_pages`` counts by reason the images that were embedded with the pixel budget
    of pages.
    """

    indexed: int = 0
    reused: int = 0
    unchanged: int = 0
    unchanged_errors: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    pruned: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    not_read: Counter[str] = field(default_factory=Counter)
    left_alone: dict[str, str] = field(default_factory=dict)
    to_do: int = 0
    to_prune: int = 0
    seconds: float = 0.0
    embedding: float = 0.0
    waiting: float = 0.0
    batch: str = ""
    thumbnails: int | None = None
    texts: int | None = None
    pages: int = 0
    lost_pages: int = 0
    cores: Cores | None = None
    as_pages: Counter[str] = field(default_factory=Counter)
    paused: float = 0.0
    recomputed: int = 0

    def as_json(self) -> dict[str, object]:
        """Return the run as the command line prints it as JSON: every image found is counted once.

        ``to_do`` and ``to_prune`` are what a dry run leaves to be done, 0 after any other; ``not_read`` counts by kind
        the files that are not images or not supported.
        """
        return {
            "indexed": self.indexed,
            "reused": self.reused,
            "unchanged": self.unchanged,
            "skipped": self.skipped.total() + self.unchanged_errors,
            "pruned": self.pruned,
            "seconds": round(self.seconds, 3),
            "to_do": self.to_do,
            "to_prune": self.to_prune,
            "not_read": dict(self.not_read),
            "left_alone": [{**path_json(path), "reason": reason} for path, reason in self.left_alone.items()],
            **({} if self.thumbnails is None else {"thumbnails": self.thumbnails}),
            **({} if self.texts is None else {"texts": self.texts}),
            **({"pages": self.pages} if self.pages else {}),
            **({"lost_pages": self.lost_pages} if self.lost_pages else {}),
            **({"recomputed": self.recomputed} if self.recomputed else {}),
            **({"paused": round(self.paused, 3)} if self.paused else {}),
        }

    def summary(self, folder: str | None = None) -> Message:
        """Tell in one line what was done; with the index's ``folder``, also how to see what was skipped."""
        pages = f" ({plural(self.pages, 'page')} of documents)" if self.pages else ""
        parts: list[str] = [f"{self.indexed:,} indexed{pages}"]
        if self.reused:
            parts.append(f"{self.reused:,} moved, copied or restored")
        if self.unchanged:
            parts.append(f"{self.unchanged:,} unchanged")
        if self.skipped:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.skipped.most_common())
            # A file that vanished is listed nowhere.
            listed = folder and set(self.skipped) != {"vanished"}
            which = Message("; see: ", Call("skipped_files", {"folder": folder})) if listed else ""
            parts.append(Message(f"{self.skipped.total():,} skipped ({reasons}", which, ")"))
        if self.lost_pages:
            parts.append(f"{plural(self.lost_pages, 'page')} could not be read")
        if self.unchanged_errors:
            parts.append(f"{self.unchanged_errors:,} skipped earlier")
        if self.pruned:
            parts.append(f"{self.pruned:,} deleted")
        if self.thumbnails:
            parts.append(f"{plural(self.thumbnails, 'thumbnail')} made")
        if self.texts:
            parts.append(f"text of {plural(self.texts, 'image')} read")
        if self.recomputed:
            parts.append(f"{self.recomputed:,} computed again in float32")
        if self.left_alone:
            parts.append(f"{plural(len(self.left_alone), 'folder')} left alone")
        paused = f", {format_duration(self.paused)} of it paused" if self.paused else ""
        return Message(Message.joined(", ", parts), f"; {format_duration(self.seconds)}{paused}")

    def timing(self) -> Message:
        """Tell where the time went."""
        busy = self.embedding + self.waiting
        share = 100 * self.waiting / busy if busy else 0.0
        rate = self.indexed / busy if busy else 0.0
        batch = f"; batches of {self.batch}" if self.batch else ""
        return Message(
            f"{self.seconds:.1f} s in total; the model worked {self.embedding:.1f} s and waited {share:.0f} % of the "
            f"time for images ({self.waiting:.1f} s); {format_rate(rate)} images/s{batch}",
            *((f"; {plural(self.cores.count, 'core')} (", self.cores.reason, ")") if self.cores else ()),
        )
