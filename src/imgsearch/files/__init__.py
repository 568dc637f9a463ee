"""Which files exist, and their bytes: the walk, its excludes, what may be pruned; nothing is decoded here."""

from imgsearch.files.ignore import IGNORE_FILE
from imgsearch.files.open import OpenedFile, check_root, open_source
from imgsearch.files.walk import NOT_MOUNTED, Walk, WalkOptions

__all__ = [
    "IGNORE_FILE",
    "NOT_MOUNTED",
    "OpenedFile",
    "Walk",
    "WalkOptions",
    "check_root",
    "open_source",
]
