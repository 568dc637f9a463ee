"""How long the rest of a run takes, measured on its first images, and whether int8 or another model is much faster."""

from __future__ import annotations

import time

from imgsearch.index import side_db
from imgsearch.indexing.options import IndexOptions
from imgsearch.model.known import known_model
from imgsearch.model.locate import DEFAULT_MODEL
from imgsearch.text import Call, Message, Option, format_duration
from imgsearch.types import ImageEncoder, Reporter

_IMAGES, _SECONDS = 16, 3.0  # what is measured at least: reading, decoding and two batches
_WORTH_TELLING = 10.0  # seconds that are left
_LONG = 300.0  # seconds: from here on it is worth changing the dtype
_TIMES_AS_FAST = 2.0
_SLOW = 3600.0  # seconds: from here on another model is worth a thought
_SMALLER = "google/siglip2-base-patch16-256"
_NARROW = (
    1.5  # times as long as its operations alone would take: its products are narrower, and not our engine's
)
_DECODING = 0.05  # seconds at least to read and decode an image, which the slow model hides


class Pace:
    """Tells once, as soon as enough is measured, how long the rest takes."""

    def __init__(
        self,
        folder: str,
        encoder: ImageEncoder,
        options: IndexOptions,
        reporter: Reporter,
        *,
        model: str = "",
    ) -> None:
        """Begin to measure; the model of this name is loaded, no image has been read."""
        self._model = model
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
        self._suggest_smaller(left, total - done, share=min(1.0, embedding / spent))

    def _in_int8(self, left: float, share: float) -> float:
        """Return about how many seconds would be left in int8; ``share`` of the time the model works."""
        if left < _LONG or self._options.model.dtype != "auto" or not self._options.advise:
            return left
        # What reads and decodes images takes as long as before.
        return left * (1 - share + share / self._encoder.int8_speedup())

    def _suggest_smaller(self, left: float, images: int, share: float) -> None:
        """Say once what a smaller model would take, where nobody has chosen this one and it takes hours."""
        options, here, other = self._options, known_model(self._model), known_model(_SMALLER)
        chosen = self._model != DEFAULT_MODEL or options.model.model is not None
        if left < _SLOW or chosen or not (options.advise and options.suggest and here and other):
            return
        times = _NARROW * (other.operations or 0.0) / (here.operations or 1.0)
        shorter = max(left * (1 - share + share * times), images * _DECODING)
        if left / shorter >= _TIMES_AS_FAST and side_db.may_advise(self._folder, "smaller model", most=1):
            took = f"about {format_duration(left)} on this computer with {here.name.rsplit('/', 1)[-1]}"
            short = f"for photos, {other.name} would take about {format_duration(shorter)}"
            self._reporter.say(Message(f"{took}; {short} (an estimate; see '", Call("known_models"), "')"))
