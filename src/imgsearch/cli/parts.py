"""The options for an index that has a part for documents, with a model of its own: --profile and --only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import typer

from imgsearch.cli.help import ADVANCED
from imgsearch.errors import UsageError
from imgsearch.index import parts
from imgsearch.index.layout import find_index
from imgsearch.types import Profile as Pixels

Profile = Annotated[
    Literal["photos", "documents", "auto"] | None,
    typer.Option(
        "--profile",
        metavar="KIND",
        help="auto: see pages and screenshots with more pixels than photos (usual for a new index); photos: see all "
        "alike; documents: index with a model for pages, beside the photos; a search then asks both",
        show_default=False,
        rich_help_panel=ADVANCED,
    ),
]
Only = Annotated[
    Literal["photos", "documents", "films"] | None,
    typer.Option(
        "--only",
        metavar="KIND",
        help="Search only photos, documents or films",
        show_default=False,
        rich_help_panel=ADVANCED,
    ),
]


has_part, is_index, is_part, part_of = parts.has_part, parts.is_index, parts.is_part, parts.part_of


def folder_for(profile: str | None, folder: str) -> str:
    """Return the folder of the index that a run of this profile is to write to."""
    return parts.part_of(folder) if profile == parts.DOCUMENTS else folder


def profile_for(profile: str | None, folder: str) -> Pixels | None:
    """Return what a profile says of pixels: nothing where it only names one of an index's two parts."""
    if profile == "auto":
        return "auto"
    return "photos" if profile == parts.PHOTOS and not parts.has_part(folder) else None


def model_for(profile: str | None, folder: str, model: str | None) -> str | None:
    """Return the model to make an index with: that for pages for a new part, where no other is named."""
    if profile == parts.DOCUMENTS and model is None and not parts.is_index(folder):
        return parts.PAGE_MODEL
    return model


def searched(named: Sequence[str], only: str | None) -> list[str]:
    """Return the indexes to search: those that were named, or of the one that is used both of its parts.

    Raises UsageError for ``only`` photos or documents where several were named.
    """
    if len(named) > 1:
        if only in (parts.PHOTOS, parts.DOCUMENTS):
            raise UsageError(f"--only {only} chooses a part of one index; give one --index")
        return list(named)
    whole = find_index(named[0] if named else None)
    has_part = parts.has_part(whole)
    if only == parts.DOCUMENTS and has_part:
        return [parts.part_of(whole)]
    return list(named) if only == parts.PHOTOS or not has_part else parts.searched(whole)


def narrowed(given: Mapping[str, Any], named: Sequence[str], only: str | None) -> dict[str, Any]:
    """Return the filters that were given, with that of the types that ``only`` means.

    Documents need none where they have a part of their own. Raises UsageError where types were given, too.
    """
    types = {"films": "video", parts.DOCUMENTS: "pdf,document,archive"}.get(only or "")
    if not types or (only == parts.DOCUMENTS and any(parts.is_part(folder) for folder in named)):
        return dict(given)
    if given.get("type"):
        raise UsageError(f"--only {only} is a filter of types; leave out --type")
    return {**given, "type": types}
