"""What a file is that the walk leaves out, by its extension: a RAW file, a video, a document, or something else."""

from __future__ import annotations

import os
from collections.abc import Mapping

RAW, VIDEO, DOCUMENT, OTHER, LINK = "raw", "video", "document", "other", "link"
_EXTENSIONS = {
    RAW: "3fr ari arw bay cap cr2 cr3 crw cs1 dcr dng erf fff gpr iiq k25 kdc mdc mef mos mrw nef nrw orf pef ptx raf "
    "raw rw2 rwl sr2 srf srw x3f",
    VIDEO: "3g2 3gp asf avi dv flv insv lrv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv",
    DOCUMENT: "doc docx epub key numbers odp ods odt pages pdf ppt pptx xls xlsx",
}
_KINDS = {f".{extension}": kind for kind, names in _EXTENSIONS.items() for extension in names.split()}
_NOUNS = {
    RAW: ("RAW file", "RAW files"),
    VIDEO: ("video", "videos"),
    DOCUMENT: ("document", "documents"),
    OTHER: ("other file", "other files"),
}


def extension(path: str) -> str:
    """Return a name's extension, lower case and with the dot; "" if it has none."""
    return os.path.splitext(path)[1].lower()


def kind_of(path: str) -> str:
    """Return the kind of a file that is not read: one of RAW, VIDEO, DOCUMENT, OTHER."""
    return _KINDS.get(extension(path), OTHER)


def described(counts: Mapping[str, int]) -> str:
    """Put counts by kind into words: '3,120 RAW files and 88 videos'; '' where there are none.

    Other files are named only where there is nothing else, links not at all.
    """
    if any(count for kind, count in counts.items() if kind in _KINDS.values()):
        counts = {**counts, OTHER: 0}
    parts = [
        f"{count:,} {one if count == 1 else many}"
        for kind, (one, many) in _NOUNS.items()
        if (count := counts.get(kind))
    ]
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))
