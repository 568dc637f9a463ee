"""What an index is made with, as manifest.json keeps it: an IndexSpec, and which of its folders is in use."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict
from typing import Any

from imgsearch.errors import (
    IndexDamaged,
    IndexMismatch,
    IndexMissing,
    rebuild_hint,
    repair_hint,
)
from imgsearch.fs import atomic_write, open_own, storage_error
from imgsearch.index.layout import GENERATION
from imgsearch.text import Call, error_line
from imgsearch.types import MOST_PIXELS, IndexSpec, PixelBudget

NAME = "manifest.json"
FORMAT = 2
"""1: catalogue and vectors lie beside the manifest. 2: it names the folder where they lie."""
MOST_BYTES = 1 << 20
"""No manifest is longer: an instruction is a few sentences."""
MOST_DIM = 1 << 20
_DATA = re.compile(re.escape(os.curdir) + "|" + GENERATION + r"\d{4,9}")
IMPORTED = "imported"
"""The model's name of an index of imported vectors of which nobody said what made them; no checkpoint has it."""


def exists(folder: str) -> bool:
    """Say whether ``folder`` holds an index, whole or damaged.

    A catalogue that knows no segment is what a kill during the making of a new index leaves behind.
    """
    if os.path.lexists(os.path.join(folder, NAME)):
        return True
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return any(name == "vectors" or name.startswith(GENERATION) for name in names)


def read(folder: str) -> IndexSpec:
    """Return what the index in ``folder`` is made with. Raises what ``load`` does."""
    return load(folder)[0]


def load(folder: str) -> tuple[IndexSpec, str]:
    """Return what the index in ``folder`` is made with, and the folder of its catalogue, vectors and ANN files.

    Raises IndexMissing (no manifest), IndexDamaged (unreadable or altered), IndexMismatch (a newer format).
    """
    path = os.path.join(folder, NAME)
    try:
        with os.fdopen(open_own(path), "rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        if exists(folder):
            raise _damaged(folder) from error
        raise IndexMissing(
            f"there is no index in {folder}; make one with: ",
            Call("index_pictures", {"paths": ["FOLDER"], "folder": folder}),
        ) from error
    except OSError as error:
        raise IndexDamaged(f"{path} can't be read ({error_line(error)}); ", rebuild_hint(folder)) from error
    return parse(raw, folder)


def parse(raw: bytes | str, folder: str) -> tuple[IndexSpec, str]:
    """Return what ``load`` does, given the text of the manifest of the index in ``folder``."""
    path = os.path.join(folder, NAME)
    try:
        if len(raw) > MOST_BYTES:
            raise ValueError("too long")
        data = json.loads(raw)
        version = _number(data["format"], 1, 1 << 31)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(folder) from error
    if version > FORMAT:
        raise IndexMismatch(
            f"{path} was written by a newer imgsearch (format {version}; this one reads up to {FORMAT}): "
            "please upgrade imgsearch"
        )
    try:
        checksum = data.pop("checksum")
        if checksum != _checksum(data):
            raise _damaged(folder)
        name = data["data"] if version > 1 else os.curdir
        if not _DATA.fullmatch(name):
            raise _damaged(folder)
        return spec_from_json(data), os.path.normpath(os.path.join(folder, name))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(folder) from error


_LONGEST_PATH, _LONGEST_NAME = 4096, 1000


def _number(value: object, least: int, most: int) -> int:
    """Return an integer of JSON that is within bounds. Raises TypeError or ValueError."""
    if type(value) is not int:
        raise TypeError("not an integer")
    if not least <= value <= most:
        raise ValueError(f"{value} is not from {least} to {most}")
    return value


def _text(value: object) -> str:
    """Return a string of JSON. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _name(value: object) -> str:
    """Return a string of JSON that can be a model's name or folder. Raises TypeError or ValueError."""
    name = _text(value)
    if "\0" in name or len(name) > (_LONGEST_PATH if os.path.isabs(name) else _LONGEST_NAME):
        raise ValueError("no name or path is like that")
    return name


def stamp(folder: str) -> tuple[int, int]:
    """Return what tells one writing of the manifest from another, for the price of a stat; (0, 0) without one."""
    try:
        state = os.lstat(os.path.join(folder, NAME))
    except OSError:
        return 0, 0
    return state.st_ino, state.st_mtime_ns


def write(folder: str, spec: IndexSpec, data_folder: str | None = None) -> None:
    """Write an index's manifest: beside, synced, renamed. Raises StorageError if the disk refuses.

    ``data_folder`` is where catalogue and vectors lie, in ``folder``; it is ``folder`` itself if not given.
    """
    put(folder, text(folder, spec, data_folder))


def text(folder: str, spec: IndexSpec, data_folder: str | None = None) -> str:
    """Return what ``write`` writes; the catalogue keeps a copy, from which a damaged manifest is restored."""
    data: dict[str, Any] = {
        "format": FORMAT,
        "data": os.path.relpath(data_folder or folder, folder),
        **spec_to_json(spec),
    }
    data["checksum"] = _checksum(data)
    return json.dumps(data, indent=2) + "\n"


def put(folder: str, content: str) -> None:
    """Put a manifest's text in its place: beside, synced, renamed. Raises StorageError if the disk refuses."""
    path = os.path.join(folder, NAME)
    try:
        with atomic_write(path) as file:
            file.write(content.encode())
    except OSError as error:
        raise storage_error(error, path) from error


def spec_to_json(spec: IndexSpec) -> dict[str, Any]:
    """Return what an index is made with as JSON: in its manifest, and beside vectors that are exported."""
    return {
        "model": spec.model,
        "fingerprint": spec.fingerprint,
        "dim": spec.dim,
        "prompts": {"query": spec.query_prompt, "document": spec.document_prompt},
        "pixels": {
            "image": asdict(spec.pixels),
            **({"page": asdict(spec.page_pixels)} if spec.page_pixels else {}),
            **({"by_model": True} if spec.own_pixels else {}),
        },
    }


def spec_from_json(data: Any) -> IndexSpec:
    """Return what ``spec_to_json`` was given. Raises ValueError, TypeError or KeyError for anything else."""
    prompts, pixels = data["prompts"], data["pixels"]
    fingerprint = bytes.fromhex(data["fingerprint"])
    if len(fingerprint) != 32:
        raise ValueError("its fingerprint is not a sha256")
    return IndexSpec(
        model=_name(data["model"]),
        fingerprint=fingerprint.hex(),
        dim=_number(data["dim"], 1, MOST_DIM),
        query_prompt=_text(prompts["query"]),
        document_prompt=_text(prompts["document"]),
        pixels=_budget(pixels["image"]),
        page_pixels=_budget(pixels["page"]) if "page" in pixels else None,
        own_pixels=pixels.get("by_model") is True,
    )


def _budget(data: Any) -> PixelBudget:
    return PixelBudget(*(_number(data[name], 0, MOST_PIXELS) for name in ("min_pixels", "max_pixels")))


def imported_spec(dim: int) -> IndexSpec:
    """Return the spec of vectors of which nobody says what made them; all of one dim are taken to be alike."""
    fingerprint = hashlib.sha256(f"imported vectors of dim {dim}".encode()).hexdigest()
    return IndexSpec(IMPORTED, fingerprint, dim, "", "", PixelBudget(0, 0))


def differences(have: IndexSpec, want: IndexSpec) -> list[str]:
    """Say in a few words each how ``want`` differs from what the index is made with; empty if nothing does."""
    found = []
    if have.fingerprint != want.fingerprint:
        found.append(
            f"model {have.model} ({have.fingerprint[:8]}), not {want.model} ({want.fingerprint[:8]})"
        )
    if have.dim != want.dim:
        found.append(f"dimension {have.dim}, not {want.dim}")
    prompts = [(have.query_prompt, want.query_prompt), (have.document_prompt, want.document_prompt)]
    if prompts[0] == prompts[1]:
        prompts, sides = prompts[:1], [""]
    else:
        sides = [" for queries", " for images"]
    for side, (has, wants) in zip(sides, prompts, strict=True):
        if has != wants:
            found.append(f"the instruction{side} {has!r}, not {wants!r}")
    if have.own_pixels != want.own_pixels:
        found.append(f"{_who_scales(have)}, not {_who_scales(want)}")
    elif have.pixels.max_pixels != want.pixels.max_pixels:
        found.append(f"at most {have.pixels.max_pixels:,} pixels per image, not {want.pixels.max_pixels:,}")
    elif have.pixels != want.pixels:
        found.append(f"at least {have.pixels.min_pixels:,} pixels per image, not {want.pixels.min_pixels:,}")
    if have.page_pixels != want.page_pixels:
        found.append(f"{_of_pages(have)}, not {_of_pages(want)}")
    return found


def _who_scales(spec: IndexSpec) -> str:
    return "images scaled by the model itself" if spec.own_pixels else "images scaled to a number of pixels"


def _of_pages(spec: IndexSpec) -> str:
    most = spec.page_pixels
    return f"up to {most.max_pixels:,} pixels for pages" if most else "the same pixels for pages and photos"


def _checksum(data: dict[str, Any]) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _damaged(folder: str) -> IndexDamaged:
    path = os.path.join(folder, NAME)
    return IndexDamaged(
        f"{path} is missing or damaged: it is unknown which model made the embeddings; ",
        repair_hint(folder),
    )
