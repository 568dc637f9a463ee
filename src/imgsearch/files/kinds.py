"""What a file is, by its extension, that isn't called like an image: a RAW file, a video, a PDF, or something else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

RAW, VIDEO, PDF, DOCUMENT, ARCHIVE, PICTURE = "raw", "video", "pdf", "document", "archive", "image"
JXL, SVG = "jxl", "svg"
OTHER, LINK = "other", "link"
PAGED = frozenset({PDF, DOCUMENT, ARCHIVE})
"""The kinds of which some pages can be asked for, ...."""
PAGED_IMAGES = frozenset({".tif", ".tiff"})
"""... and the extensions of images that have pages."""
TILED_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".avif"})
"""The extensions of images that may be long screenshots and large scans."""
EXTENSIONS = {
    RAW: "3fr ari arw bay cap cr2 cr3 crw cs1 dcr dng erf fff gpr iiq k25 kdc mdc mef mos mrw nef nrw orf pef ptx raf "
    "raw rw2 rwl sr2 srf srw x3f",
    VIDEO: "3g2 3gp asf avi dv flv insv lrv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv",
    PDF: "pdf ai",
    DOCUMENT: "doc docm docx dotx epub key numbers odg odp ods odt pages ppsx ppt pptm pptx xls xlsx",
    ARCHIVE: "7z cb7 cbr cbt cbz rar tar tbz tbz2 tgz txz zip",
    JXL: "jxl",
    SVG: "svg svgz",
    PICTURE: "bpg cdr dds djv djvu dpx emf eps exr fit fits hdp hdr icns ico jng jxr pcx sgi wdp wmf xcf",
}
"""The extensions of each kind, without the dot."""
_KINDS = {f".{extension}": kind for kind, names in EXTENSIONS.items() for extension in names.split()}
_PACKED_TAR = re.compile(r"\.tar\.(gz|bz2|xz|zst)$", re.IGNORECASE)
_NOUNS = {
    RAW: ("RAW file", "RAW files"),
    VIDEO: ("video", "videos"),
    PDF: ("PDF", "PDFs"),
    DOCUMENT: ("document", "documents"),
    ARCHIVE: ("archive", "archives"),
    JXL: ("JPEG XL image", "JPEG XL images"),
    SVG: ("SVG drawing", "SVG drawings"),
    PICTURE: ("image of another format", "images of other formats"),
    OTHER: ("other file", "other files"),
}


def extension(path: str) -> str:
    """Return a name's extension, lower case and with the dot; "" if it has none."""
    return os.path.splitext(path)[1].lower()


def kind_of(path: str) -> str:
    """Return the kind of a file that isn't called like an image: one of EXTENSIONS, or OTHER."""
    return ARCHIVE if _PACKED_TAR.search(path) else _KINDS.get(extension(path), OTHER)


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
