"""Seeded fuzzing, as `make fuzz`: what people's folders may hold, damaged at random, through all that reads it.

A target is a module with a function ``case(random, folder)``: it draws one input from ``random`` (never from anything
else, so that a seed brings it back), has it read, and raises for whatever must not happen. ``folder`` is empty and may
be written to. Time and memory are measured around it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from fuzz import addresses, decoders, documents, films, foreign, metadata, requests

Case = Callable[[random.Random, Path], None]

TARGETS: dict[str, Case] = {
    "addresses": addresses.case,
    "decoders": decoders.case,
    "documents": documents.case,
    "films": films.case,
    "foreign": foreign.case,
    "metadata": metadata.case,
    "requests": requests.case,
}
