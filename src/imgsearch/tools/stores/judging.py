"""Which of some images pass: the same filter objects that the local index asks decide over what a store returns."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.fs import is_at_or_below
from imgsearch.index.metadata import milliseconds
from imgsearch.index.metadata.columns import UNKNOWN, UNRATED, Columns, Mask
from imgsearch.index.metadata.named import file_name, file_type
from imgsearch.index.metadata.passing import passing
from imgsearch.tools.stores import StoredImage, Wanted

_MOST = 2**31 - 1


def judged(images: Sequence[StoredImage], wanted: Wanted) -> Mask:
    """Return (n,) which images are wanted."""
    if not images or not wanted:
        return np.ones(len(images), bool)
    columns = columns_of(images)
    found, files = passing(columns, wanted.filters, np.zeros(0, np.int64))
    if wanted.below:
        inside = np.array(
            [
                any(is_at_or_below(file.path, path) for path in wanted.below)
                for image in images
                for file in image.files
            ],
            bool,
        )
        # Of several files one has to be all of it.
        files = inside if files is None else files & inside
        found = found & columns.any_of("image", files)
    return found


def columns_of(images: Sequence[StoredImage]) -> Columns:
    """Return the columns of some images, as filters read them: of their files, paths are below the root 0, "/"."""
    told = [image.metadata for image in images]
    files = [(number, file.path) for number, image in enumerate(images) for file in image.files]
    words = [(number, word.casefold()) for number, one in enumerate(told) for word in one.keywords]
    names = [file_name(os.fsencode(path)) for _, path in files]
    folders = [(0, os.path.dirname(path).lstrip("/")) for _, path in files]
    parts: dict[str, NDArray[Any]] = {
        "taken": np.array(
            [UNKNOWN if one.taken is None else milliseconds(one.taken) for one in told], np.int64
        ),
        "dated": np.array([one.taken_from not in ("", "file") for one in told], np.uint8),
        "rating": np.array(
            [UNRATED if one.rating is None else min(max(one.rating, -1), 127) for one in told], np.int8
        ),
        "titled": np.array([bool(one.title) for one in told], np.uint8),
        "width": np.array([min(image.width, _MOST) for image in images], np.int32),
        "height": np.array([min(image.height, _MOST) for image in images], np.int32),
        "image": np.array([number for number, _ in files], np.int32),
        "file": np.arange(len(files), dtype=np.int64),
        "screenshot": np.array([path in images[number].screenshots for number, path in files], np.uint8),
        "names": np.frombuffer("".join(names).encode(), np.uint8),
        "name_end": np.cumsum([len(name.encode()) for name in names], dtype=np.int64),
        "keyword_image": np.array([number for number, _ in words], np.int32),
    }
    for name in ("latitude", "longitude"):
        known = [getattr(one, name) for one in told]
        parts[name] = np.array([np.nan if degrees is None else degrees for degrees in known], np.float64)
    texts: dict[str, Sequence[Any]] = {
        "camera": [(one.make, one.model) for one in told],
        "lens": [one.lens for one in told],
        "folder": folders,
        "type": [file_type(name) for name in names],
        "keyword": [word for _, word in words],
    }
    for name, values in texts.items():
        numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
        parts[name] = np.array([numbers[value] for value in values], np.int32)
        parts[f"texts of {name}"] = np.frombuffer(json.dumps(list(numbers)).encode(), np.uint8)
    return Columns(len(images), parts.__getitem__)
