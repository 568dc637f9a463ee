"""What a store keeps of an image beside its vector: as JSON, from which it is read back, and a digest to compare."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from typing import Any

from imgsearch.index.metadata import milliseconds, moment
from imgsearch.index.rows import IndexedFile
from imgsearch.tools.stores import StoredImage
from imgsearch.types import NO_METADATA, Metadata

MOST_BYTES = 65_535
"""The longest text that Milvus keeps in one field."""
_NOT_KEPT = {"description": "", "software": "", "offset": None, "burst": ""}
_KEPT = tuple(one.name for one in dataclass_fields(Metadata) if one.name not in _NOT_KEPT)
_LONGEST = 1_000  # characters of a title, a camera, the name of a member


def kept(metadata: Metadata) -> Metadata:
    """Return what a store keeps of metadata."""
    cut: dict[str, Any] = {name: no for name, no in _NOT_KEPT.items() if getattr(metadata, name) != no}
    for name in _KEPT:
        value = getattr(metadata, name)
        if isinstance(value, str) and len(value) > _LONGEST:
            cut[name] = value[:_LONGEST]
    return replace(metadata, **cut) if cut else metadata


def about(image: StoredImage) -> str:
    """Return an image as JSON in ASCII, at most MOST_BYTES: of too many files or keywords the last are left out.

    Filters then see what is left of them.
    """
    files = [[file.path, file.size, file.mtime_ns] for file in image.files]
    metadata = kept(image.metadata)
    told = {name: value for name in _KEPT if (value := getattr(metadata, name)) not in (None, "", ())}
    if image.metadata.taken is not None:
        told["taken"] = milliseconds(image.metadata.taken)
    screenshots = sorted(image.screenshots)
    while True:
        text = json.dumps(
            {
                "id": image.id,
                "crc": image.crc,
                "size": [image.width, image.height],
                **({"kind": image.kind} if image.kind else {}),
                **({"name": image.name[:_LONGEST]} if image.name else {}),
                "files": files,
                **({"screenshots": screenshots} if screenshots else {}),
                **({"metadata": told} if told else {}),
            },
            sort_keys=True,
            separators=(",", ":"),
        )
        if len(text) <= MOST_BYTES:
            return text
        keywords = told.get("keywords", ())
        if len(files) == 1 or len(json.dumps(keywords)) > len(json.dumps([files, screenshots])):
            told["keywords"] = keywords[: len(keywords) // 2]
        else:
            files = files[: max(1, len(files) * 3 // 4)]
            screenshots = sorted(set(screenshots) & {str(path) for path, _, _ in files})


def read(key: tuple[bytes, int], text: str) -> StoredImage:
    """Return the image that ``about`` was given. Raises ValueError, TypeError or KeyError for anything else."""
    sha256, page = key
    data: Any = json.loads(text)
    told = dict(data.get("metadata", {}))
    if "taken" in told:
        told["taken"] = moment(int(told["taken"]))
    told["keywords"] = tuple(map(str, told.get("keywords", ())))
    return StoredImage(
        int(data["id"]),
        sha256,
        page,
        int(data["size"][0]),
        int(data["size"][1]),
        int(data["crc"]),
        tuple(IndexedFile(str(path), int(size), int(time), sha256) for path, size, time in data["files"]),
        Metadata(**told) if told != {"keywords": ()} else NO_METADATA,
        str(data.get("kind", "")),
        str(data.get("name", "")),
        frozenset(map(str, data.get("screenshots", ()))),
    )


def digest(text: str) -> int:
    """Return a signed 64-bit number that differs where ``about`` does."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
