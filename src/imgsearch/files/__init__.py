"""Which files exist, and their bytes: the walk, its excludes, what may be pruned; nothing is decoded here."""

from imgsearch.files.identity import source_file
from imgsearch.files.kinds import LINK, OTHER, RAW, described, kind_of
from imgsearch.files.open import check_root, open_source
from imgsearch.files.reached import Reached
from imgsearch.files.walk import NOT_MOUNTED, Walk, WalkOptions, in_order, in_turn

__all__ = [
    "LINK",
    "NOT_MOUNTED",
    "OTHER",
    "RAW",
    "Reached",
    "Walk",
    "WalkOptions",
    "check_root",
    "described",
    "in_order",
    "in_turn",
    "kind_of",
    "open_source",
    "source_file",
]
