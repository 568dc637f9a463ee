"""Which files exist, and their bytes: the walk, its excludes, what may be pruned; nothing is decoded here."""

from imgsearch.files.given import check_root
from imgsearch.files.mounts import device_of, is_mount, mount_of
from imgsearch.files.opening import OpenedFile, open_source, shown
from imgsearch.files.rules import IGNORE_FILE
from imgsearch.files.walk import NOT_MOUNTED, Walk, WalkOptions

__all__ = [
    "IGNORE_FILE",
    "NOT_MOUNTED",
    "OpenedFile",
    "Walk",
    "WalkOptions",
    "check_root",
    "device_of",
    "is_mount",
    "mount_of",
    "open_source",
    "shown",
]
