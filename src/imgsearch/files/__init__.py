"""Which files exist, and their bytes: the walk, its excludes, what may be pruned; nothing is decoded here."""

from imgsearch.files.kinds import described
from imgsearch.files.open import check_root, open_source
from imgsearch.files.walk import NOT_MOUNTED, Walk, WalkOptions

__all__ = [
    "NOT_MOUNTED",
    "Walk",
    "WalkOptions",
    "check_root",
    "described",
    "open_source",
]
