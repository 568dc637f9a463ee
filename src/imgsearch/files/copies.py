"""Which folders hold copies that other programs keep of their users' images: thumbnails, previews and the like."""

from __future__ import annotations

import os
import re

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
    r"""( .*(?: \.photoslibrary | \.(?:migrated)?photolibrary | \.(?:migrated)?aplibrary | /iphoto\ library ) )
      /(?: resources | previews | thumbnails | private | data | data\.noindex )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_ORIGINALS = ("originals", "masters")
# Below these names only beside what the program keeps with them, since people name folders like that too.
_SIBLINGS = {
    "thumbs": ({"encoded-video"}, {"library", "upload"}),  # Immich
    "thumbnails": ({"files", "files_trashbin"}, {"files", "files_versions"}),  # ownCloud
}


def holds_copies(folder: str) -> bool:
    """Whether a folder, by its absolute path, holds copies that a program keeps of images that lie elsewhere."""
    if _COPIES.search(folder):
        return True
    if library := _APPLE.fullmatch(folder):
        return _has_originals(library[1])
    parent, name = os.path.split(folder)
    return any(
        all(os.path.isdir(os.path.join(parent, sibling)) for sibling in siblings)
        for siblings in _SIBLINGS.get(name, ())
    )


def _has_originals(library: str) -> bool:
    """Whether an Apple library has files in its folder of originals; if they are all in the cloud, it has none."""
    try:
        names = [name for name in os.listdir(library) if name.lower() in _ORIGINALS]
    except OSError:
        return False
    return any(
        not file.startswith(".")
        for name in names
        for _, _, files in os.walk(os.path.join(library, name))
        for file in files
    )
