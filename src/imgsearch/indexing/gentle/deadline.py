"""The time of day at which a run stops, as a person writes it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from imgsearch.errors import UsageError
from imgsearch.text import Option

_OF_DAY = re.compile(r"(\d{1,2}):(\d{2})")


class RunStopped(KeyboardInterrupt):
    """The time has come at which a run was to stop: it ends as by Ctrl-C, and the next run continues."""


def deadline(until: str, now: datetime) -> float:
    """Return the moment that is meant, in seconds since 1970: "07:00" is the next time that clocks here show it.

    A date with a time ("2026-12-01 07:00") is taken too, in the time zone that it names, else in the one here. ``now``
    is without a zone. Raises UsageError for anything else, and for a moment that is over.
    """
    text = until.strip()
    if of_day := _OF_DAY.fullmatch(text):
        hour, minute = int(of_day[1]), int(of_day[2])
        if hour < 24 and minute < 60:
            day = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            # By the calendar, not by 24 hours: a night on which clocks change is longer or shorter.
            return (day if day > now else day + timedelta(days=1)).timestamp()
    elif len(text) > len("2026-12-01"):
        try:
            moment = datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError, OSError):
            pass
        else:
            if moment <= now.timestamp():
                raise UsageError(Option("until", until), ": that time has passed")
            return moment
    raise UsageError(Option("until", until), ": give a time like 07:00, or a date and a time")
