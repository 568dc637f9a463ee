"""Which folders hold copies that other programs keep of their users' images: thumbnails, previews and the like."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from imgsearch import deep
from imgsearch.files.kinds import RAW, kind_of

# Matched against the end of an absolute path. Lightroom's "Mobile Downloads.lrdata" holds originals.
_COPIES = re.compile(
    r"""/(?: @eadir | \.@__thumb  # Synology, QNAP
      | [^/]*\ previews\.lrdata  # Lightroom
      | captureone/cache | [^/]*\.cocatalog/cache  # Capture One
      | adobe\ bridge\ cache | adobe/bridge[^/]*/cache
      | mipmaps-[0-9a-f]{8,}\.d  # darktable
      | shotwell/thumbs | ipod\ photo\ cache | photodata/thumbnails | generated\ images\.bundle  # the last is Mylio's
      | immich/(thumbs|encoded-video) | cache/thumbnails  # Immich, PhotoPrism
      | appdata_[0-9a-z]{6,}/preview  # Nextcloud
      | protected_media/(square_)?thumbnails(_big|_small)?  # LibrePhotos
      | piwigo/_data/i | plex\ media\ server/cache )\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_APPLE = re.compile(
    r""".*(?: \.photoslibrary | \.(?:migrated)?photolibrary | \.(?:migrated)?aplibrary | /iphoto\ library )
      /(?: previews | thumbnails | private | data | data\.noindex | resources/(?!derivatives|proxies)[^/]+ )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
# Apple Photos may leave originals in the cloud, all or some, and then these are all there is: what it has named
# by the image since 2019, and before.
_DERIVATIVES = re.compile(
    r"(.*\.photoslibrary)/resources/derivatives(/masters)?(?:/(.*))?", re.IGNORECASE | re.DOTALL
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PROXIES = re.compile(r"(.*\.photoslibrary)/resources/proxies", re.IGNORECASE | re.DOTALL)
# Below these names only beside what the program keeps with them, since people name folders like that too.
_SIBLINGS = {
    "thumbs": ({"encoded-video"}, {"library", "upload"}),  # Immich
    "thumbnails": ({"files", "files_trashbin"}, {"files", "files_versions"}),  # ownCloud
}


def holds_copies(folder: str) -> bool:
    """Whether a folder, by its absolute path, holds copies that a program keeps of images that lie elsewhere."""
    if _COPIES.search(folder) or _APPLE.fullmatch(folder):
        return True
    if proxies := _PROXIES.fullmatch(folder):
        return deep.holds_files(os.path.join(proxies[1], "Masters"), hidden=False)
    parent, name = os.path.split(folder)
    return any(
        all(deep.isdir(os.path.join(parent, sibling)) for sibling in siblings)
        for siblings in _SIBLINGS.get(name, ())
    )


def copies_among(folder: str, files: Collection[str]) -> set[str]:
    """Return which of the ``files`` in a folder of an Apple Photos library show an image that it has a better file of.

    That is the original, or of the smallest ones ("masters") a larger one. A RAW original is not read, so it is
    no better. Derivatives that are not named by their image are copies if the library has any original.
    """
    found = _DERIVATIVES.fullmatch(folder)
    if not found:
        return set()
    library, is_smallest, part = found[1], found[2], found[3] or ""
    originals = _names(f"{library}/originals/{part}")
    better = {os.path.splitext(name)[0].upper() for name in originals if kind_of(name) != RAW}
    if is_smallest:
        better |= {_image(name) for name in _names(f"{library}/resources/derivatives/{part}")}
    unnamed = {name for name in files if not _UUID.match(name)}
    if unnamed and not deep.holds_files(f"{library}/originals", hidden=False):
        unnamed = set()
    return unnamed | {name for name in files if _image(name) in better}


def _image(derivative: str) -> str:
    """Return which image a derivative is of: UUID_1_105_c.jpeg is of UUID."""
    return derivative.partition("_")[0].upper()


def _names(folder: str) -> list[str]:
    try:
        with deep.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return []
