"""What the machine tells about itself that a guest should know: its battery, its temperature, and how busy it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

BATTERY = 50
"""Percent, below which a gentle run waits for power, ..."""
_CHARGED = 5
"""... until there are so many more, or the power is back."""
BUSY = 0.6
"""Share of the processor that others may use before a gentle run waits."""
_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "x86_pkg_temp")
"""The sensors of processors, as Linux names them; other systems tell no temperatures."""
_HOT, _COOLED = 90.0, 10.0
"""Degrees Celsius at which a processor is hot that does not tell; and by how much it has to cool down again."""
_LEAST_SECONDS = 1.0
"""Over less than this nothing can be said about how busy a machine is."""


@dataclass(slots=True)
class Senses:
    """Asks the system again and again whether there is a reason to wait."""

    _paused: str = ""
    _before: tuple[float, float] | None = field(default=None)

    def reason(self, now: float) -> str:
        """Return why to wait now, "" for no reason; ``now`` is the clock in seconds.

        What the system does not tell is no reason. A reason that was given holds until it is clearly over, so that
        nothing changes twice a minute.
        """
        busy = self._busy(now)
        told = self._battery() or self._heat() or busy
        self._paused = told
        return told

    def _battery(self) -> str:
        import psutil  # on use: few runs are gentle

        battery = _asked(psutil, "sensors_battery")
        if battery is None or battery.power_plugged is not False:
            return ""
        least = BATTERY + (_CHARGED if self._paused.startswith("on battery") else 0)
        return f"on battery ({battery.percent:.0f} %)" if battery.percent < least else ""

    def _heat(self) -> str:
        import psutil

        cooled = _COOLED if self._paused.startswith("the processor is hot") else 0.0
        for chip, sensors in (_asked(psutil, "sensors_temperatures") or {}).items():
            if chip.lower() not in _CHIPS:
                continue
            for sensor in sensors:
                if sensor.current is not None and _limit(sensor) - cooled <= sensor.current < 150:
                    return f"the processor is hot ({sensor.current:.0f} °C)"
        return ""

    def _busy(self, now: float) -> str:
        """Tell if others have used much of the processor since this was asked last."""
        import psutil

        used = _used_by_others(psutil)
        before = self._before
        if before is None or used is None:
            self._before = None if used is None else (now, used)
            return ""
        if now - before[0] < _LEAST_SECONDS:
            return self._paused if self._paused.startswith("the machine is busy") else ""
        self._before = now, used
        share = (used - before[1]) / (now - before[0]) / (os.cpu_count() or 1)
        return f"the machine is busy ({100 * min(share, 1.0):.0f} %)" if share >= BUSY else ""


def _limit(sensor: Any) -> float:
    """Return at how many degrees a sensor's chip is hot; some tell nonsense."""
    told: Iterable[float | None] = (sensor.high, sensor.critical)
    limits = [limit for limit in told if limit is not None and 50 <= limit <= 120]
    return min([*limits, _HOT])


def _asked(psutil: Any, name: str) -> Any:
    """Return what psutil tells, None where the system has no such thing or does not tell."""
    try:
        return getattr(psutil, name)()
    except (AttributeError, OSError, RuntimeError, ValueError, NotImplementedError, psutil.Error):
        return None


def _used_by_others(psutil: Any) -> float | None:
    """Return the seconds that all processors together have worked for others, None if the system does not tell.

    On Linux the work of processes of low priority, as this one and its children are, is counted apart.
    """
    told, own = _asked(psutil, "cpu_times"), os.times()
    if told is None:
        return None
    busy = told.user + told.system + getattr(told, "irq", 0.0) + getattr(told, "softirq", 0.0)
    mine = own.system if sys.platform == "linux" else own.user + own.system
    return float(busy - mine)
