"""How long the rest of a run takes, measured on its first images, and whether int8 would make that much shorter."""

from __future__ import annotations

import time

from imgsearch.index import side_db
from imgsearch.indexing.options import IndexOptions
from imgsearch.text import Message, Option, format_duration
from imgsearch.types import ImageEncoder, Reporter

_IMAGES, _SECONDS = 16, 3.0  # what is measured at least: reading, decoding and two batches
_WORTH_TELLING = 10.0  # seconds that are left
_LONG = 300.0  # seconds: from here on it is worth changing the dtype
_TIMES_AS_FAST = 2.0


class Pace:
    """Tells once, as soon as enough is measured, how long the rest takes."""

    def __init__(self, folder: str, encoder: ImageEncoder, options: IndexOptions, reporter: Reporter) -> None:
        """Begin to measure; the model is loaded, no image has been read."""
        self._folder, self._encoder, self._options, self._reporter = folder, encoder, options, reporter
        self._began, self._told = time.monotonic(), False
        run, here = side_db.last_run(folder, "index"), encoder.runtime
        # Then the plan has told it, and the bar does.
        self._known = bool(
            run and run.rate and (run.runtime.device, run.runtime.dtype) == (here.device, here.dtype)
        )

    def tell(self, done: int, total: int, embedding: float) -> None:
        """Take note that ``done`` of ``total`` files are done, for which the model worked ``embedding`` seconds."""
        spent = time.monotonic() - self._began
        if self._told or not _IMAGES <= done < total or spent < _SECONDS:
            return
        self._told = True
        left = (total - done) * spent / done
        measured = f"about {format_duration(left)} left (measured on the first {done:,} images)"
        shorter = self._in_int8(left, share=embedding / spent)
        if left / shorter >= _TIMES_AS_FAST and side_db.may_advise(self._folder, "int8", most=1):
            other = f" about {format_duration(shorter)}, slightly less accurate. To switch, interrupt this run and "
            int8 = Option("dtype", "int8")
            self._reporter.say(Message(f"{measured}; with ", int8, f"{other}run it again with that option"))
        elif left >= _WORTH_TELLING and not self._known:
            self._reporter.say(measured)

    def _in_int8(self, left: float, share: float) -> float:
        """Return about how many seconds would be left in int8; ``share`` of the time the model works."""
        if left < _LONG or self._options.model.dtype != "auto" or not self._options.advise:
            return left
        # What reads and decodes images takes as long as before.
        return left * (1 - share + share / self._encoder.int8_speedup())
