"""Use case: a question, or a picture, and the pictures of an index that are nearest to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from imgsearch import media
from imgsearch.errors import FolderError, InputError, PictureError, UsageError
from imgsearch.files import open_source, shown
from imgsearch.index.image_index import ImageIndex
from imgsearch.plan import is_current
from imgsearch.targets import inside
from imgsearch.types import RGB, Encoder, Hit, Input, PixelBudget, Record, SourceFile, Vectors


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How many hits, and which.

    ``n`` at most; ``min_score`` a cosine; ``within`` a percentage: no hit scores lower than the best one less
    that much of it. ``dim`` searches a Matryoshka prefix. ``exact`` asks for the full scan. ``below`` are absolute
    paths: only pictures with a file at or below one of them are found.
    """

    n: int = 10
    min_score: float | None = None
    within: float | None = None
    dim: int | None = None
    exact: bool = False
    below: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise UsageError for figures that can't be meant."""
        if self.n < 1:
            raise UsageError(f"-n {self.n}: ask for at least one picture")
        if self.within is not None and not 0 <= self.within <= 100:
            raise UsageError(f"--within {self.within:g}: a percentage of the best hit, from 0 to 100")


def read_picture(path: str, budget: PixelBudget, max_megapixels: float = 200.0) -> RGB:
    """Decode the first page of a picture file: (h, w, 3) uint8.

    Raises InputError that names the file and says what is wrong with it.
    """
    try:
        with open_source(path) as opened:
            for picture in media.load_pictures(opened.stream, path, budget, max_megapixels=max_megapixels):
                return picture.pixels
    except PictureError as error:
        raise InputError(f"{path}: {_said(error)}") from error
    raise InputError(f"{path}: holds no picture")


def check_below(index: ImageIndex, below: Sequence[str]) -> None:
    """Raise UsageError for an absolute path at, below and above which the index has no folder."""
    roots = [root.path for root in index.catalog.roots()]
    for path in below:
        if not any(path == root or inside(path, root) or inside(root, path) for root in roots):
            names = ", ".join(map(shown, roots[:10])) + (", …" if len(roots) > 10 else "")
            raise UsageError(
                f"--in: {shown(path)} is outside of the indexed folders, which are {names or 'none'}"
            )


def _said(error: PictureError) -> str:
    # What a walk calls vanished, somebody has mistyped here.
    return "no such file" if error.reason == "vanished" else str(error)


def query(
    index: ImageIndex, encoder: Encoder, questions: Sequence[Input], options: SearchOptions | None = None
) -> list[list[Hit]]:
    """Return the hits for each question, best first; a question is a text, a picture, or both.

    Raises InputError (empty or too long a text), IndexDamaged, UsageError.
    """
    prompt = index.identity.query_prompt
    inputs = [Input(asked.text, asked.image, asked.instruction or prompt) for asked in questions]
    vectors = encoder.embed(inputs)
    return [_hits(found, options) for found in _search(index, vectors, options)]


def similar(
    index: ImageIndex, path: str, encoder: Callable[[], Encoder], options: SearchOptions | None = None
) -> list[Hit]:
    """Return the pictures nearest to the one in ``path``, itself first if it is indexed.

    An indexed photo answers from its stored vector: by its path while size and time still match, else by the
    hash of its bytes. Only for any other picture is ``encoder`` called and the picture embedded.
    Raises FolderError (no such file), InputError (no picture), IndexDamaged, UsageError.
    """
    vectors = stored_vector(index, path)
    if vectors is None:
        pixels = read_picture(path, index.identity.pixels)
        vectors = encoder().embed([Input(image=pixels, instruction=index.identity.document_prompt)])
    own = os.path.realpath(path)
    wider = options = options or SearchOptions()
    found = _search(index, vectors, wider)[0]
    while (
        len(found) == wider.n
        and found[0][1] == found[-1][1]
        and not any(own in hit.paths for hit, _ in found)
    ):
        # So many pictures look the very same that the asked one may stand behind the last place.
        wider = replace(wider, n=4 * wider.n)
        found = _search(index, vectors, wider)[0]
    return _hits(found, options, own)[: options.n]


def stored_vector(index: ImageIndex, path: str) -> Vectors | None:
    """Return the vector (1, dim) that the index already holds for a picture file, or None.

    A file that is away, as on a drive that is not mounted, has the one that it had. Raises FolderError if there is
    no such file and the index knows none.
    """
    real = os.path.realpath(path)
    state, failure = None, None
    try:
        state = os.stat(real)
    except OSError as error:
        failure = error
    content: bytes | None = None
    for root in index.catalog.roots():
        if not real.startswith(root.path.rstrip(os.sep) + os.sep):
            continue
        relative = os.path.relpath(real, root.path)
        row = index.catalog.file(root.id, relative)
        if row and (
            state is None
            or is_current(row, SourceFile(root.path, relative, state.st_size, state.st_mtime_ns))[0]
        ):
            content = row.content
    if content is None and failure is not None:
        raise FolderError(f"{path}: {failure.strerror}; give the path of a picture") from failure
    if content is None:
        try:
            with open_source(real) as opened:
                content = opened.sha256
        except PictureError as error:
            raise InputError(f"{path}: {_said(error)}") from error
    return index.vector(content)


def _search(
    index: ImageIndex, vectors: Vectors, options: SearchOptions | None
) -> list[list[tuple[Record, float]]]:
    options = options or SearchOptions()
    return index.search(
        np.asarray(vectors, np.float32), options.n, options.dim, exact=options.exact, below=options.below
    )


def _hits(
    found: list[tuple[Record, float]], options: SearchOptions | None, own: str | None = None
) -> list[Hit]:
    """Apply the thresholds and name each picture by its best path: the one asked about, else one that exists."""
    options = options or SearchOptions()
    if own is not None:
        # Pictures that tie with the asked one in score stand behind it.
        found = sorted(found, key=lambda hit: (-hit[1], own not in hit[0].paths))
    hits: list[Hit] = []
    for record, score in found:
        if options.min_score is not None and score < options.min_score:
            continue
        if options.within is not None and hits and score < _floor(hits[0].score, options.within):
            continue
        there = [path for path in record.paths if os.path.exists(path)]
        paths = sorted(there or record.paths, key=lambda path: path != own)
        hits.append(
            Hit(
                rank=len(hits) + 1,
                score=score,
                path=paths[0],
                page=record.page,
                copies=tuple(paths[1:]),
                missing=not there,
                width=record.width,
                height=record.height,
            )
        )
    return hits


def _floor(best: float, within: float) -> float:
    return best - abs(best) * within / 100
