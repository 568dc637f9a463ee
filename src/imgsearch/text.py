"""About how long a run will take, with the reason for the guess."""

from __future__ import annotations

from imgsearch.types import PixelBudget

# Teraflops a second that a forward pass reaches, order of magnitude, for a first guess before any run.
_TERAFLOPS = {"cpu": 0.25, "mps": 4.0, "cuda": 80.0}
_PROMPT_TOKENS = 25


def seconds(
    pictures: int, parameters: int, budget: PixelBudget, device: str, last_rate: float = 0.0
) -> tuple[float, str]:
    """Guess the seconds to embed ``pictures``, and say from what.

    ``last_rate`` is the last run's pictures a second (0: none known); without it, two operations a parameter
    and token over what such a device usually reaches.
    """
    if last_rate > 0:
        return pictures / last_rate, f"at the last run's {figure(last_rate)} pictures a second"
    tokens = budget.max_pixels / 1024 + _PROMPT_TOKENS
    teraflops = 2e-12 * parameters * tokens
    return pictures * teraflops / _TERAFLOPS.get(device, _TERAFLOPS["cpu"]), f"a first guess for {device}"


def figure(rate: float) -> str:
    """Put a rate into two or so digits: '0.31', '8.2', '118'."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def spoken(seconds: float) -> str:
    """Put a duration into words, no finer than it is known: '40 s', '12 min', '3 h 20 min', '5 days'."""
    if seconds < 10:
        return f"{max(0.1, seconds):.1f} s"
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min" if hours < 10 else f"{hours} h"
    return f"{round(hours / 24)} days"
