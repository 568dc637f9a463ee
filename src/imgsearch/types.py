"""The nouns that flow through the program: frozen dataclasses, array aliases and protocols."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

if TYPE_CHECKING:
    # A tenth of a second, which --help need not wait for.
    import numpy as np
    from numpy.typing import NDArray

RGB: TypeAlias = "NDArray[np.uint8]"
"""A picture: (height, width, 3) uint8, upright, no alpha."""

Vectors: TypeAlias = "NDArray[np.float32]"
"""Embeddings: (n, dim) float32, rows of unit length unless said otherwise."""

Notify: TypeAlias = "Callable[[str], None]"
"""Takes one line for the user, as ``Reporter.say`` does."""


MIN_PIXELS = 4_096
"""The fewest pixels of a picture that the model is shown, where nothing else says so; four tokens."""
DETAIL = {"low": 57_600, "standard": 262_144, "high": 589_824, "max": 1_310_720}
"""The levels of detail: the most pixels of a picture that the model is shown; 1,024 become one token."""
MAX_PIXELS = DETAIL["low"]
MOST_PIXELS = 1 << 40
"""The largest number that may be given for them."""
MAX_ASPECT = 200
"""Long side by short side; what is longer has no picture left when it is scaled down."""
MAX_MEGAPIXELS = 200.0
"""The largest picture that is decoded, in millions of pixels, where nothing else says so."""
MAX_TEXT_BYTES = 1 << 20
"""The longest text that is tokenised: the 8,192 tokens of a prompt hold no more, the longest of them has 128 bytes."""
FloatDtype = Literal["float32", "bfloat16", "float16"]
"""What weights can be saved in."""
DtypeName = Literal[FloatDtype, "int8"]
"""What the model can compute in; int8 on a CPU only."""
DTYPES: tuple[str, ...] = get_args(DtypeName)
StoredDtype = Literal["float16", "float32"]
"""What vectors can be exported in; the index stores float16."""


@dataclass(frozen=True, slots=True)
class PixelBudget:
    """How many pixels a picture may have when the model sees it; both ends inclusive."""

    min_pixels: int
    max_pixels: int


DEFAULT_BUDGET = PixelBudget(MIN_PIXELS, MAX_PIXELS)
"""The quickest; what a checkpoint is used with that asks for nothing else."""
PAGE_BUDGET = PixelBudget(MIN_PIXELS, 360_000)
"""What pages need so that their text can be read; the fine-tune for pages was trained at it."""


@dataclass(frozen=True, slots=True)
class PixelBudgets:
    """The pixel budget of photos, and that of pages where they have one of their own."""

    image: PixelBudget
    page: PixelBudget | None = None

    @property
    def largest(self) -> PixelBudget:
        """The larger of both."""
        return self.page or self.image


_LEAST, _MOST = -(2**63), 2**63 - 1


def int64(number: int) -> int:
    """Return the integer nearest to ``number`` that has 64 bits: what SQLite can store."""
    return max(_LEAST, min(number, _MOST))


def path_json(path: str, name: str = "path") -> dict[str, str]:
    """Return a path as JSON has it; with its bytes in base64 as ``path_b64`` beside it if these are not UTF-8.

    In the text itself such a byte is a surrogate, which many readers of JSON refuse or replace.
    """
    return {name: path} if is_utf8(path) else {name: path, f"{name}_b64": _base64(path)}


def paths_json(paths: Sequence[str], name: str) -> dict[str, list[str]]:
    """Return a list of paths as JSON has it; if one of them is not UTF-8, all of them once more as ``name_b64``."""
    plain = {name: list(paths)}
    return plain if all(map(is_utf8, paths)) else {**plain, f"{name}_b64": [*map(_base64, paths)]}


def is_utf8(text: str) -> bool:
    """Whether a text has no surrogate: os.fsdecode and argv keep bytes that are not UTF-8 as such."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _base64(path: str) -> str:
    return base64.b64encode(os.fsencode(path)).decode()


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A candidate file that the walk found. Nothing of its contents has been read.

    ``root`` is an absolute path, ``path`` is relative to it; both are str as os.fsdecode gives them (bytes
    that are no UTF-8 stand as surrogates). ``device`` is 0 on the root's own device, else the st_dev of the
    file system that the file lies on. ``inode`` and ``ctime_ns``, the time of the last change to the file or to what
    is known of it, are 0 where they are unknown or say nothing. The numbers are those of the file system, as far as
    64 bits hold them: a time before 1677 or after 2262 is the nearest one that they do. ``sidecars`` are the names of
    the files beside it that tell of it, and ``sidecar_state`` a number that changes with them: 0 if there are none,
    None if nobody has looked. ``reading`` says which of its images are asked for: "" is all, else some text.
    """

    root: str
    path: str
    size: int
    mtime_ns: int
    device: int = 0
    inode: int = 0
    ctime_ns: int = 0
    sidecars: tuple[str, ...] = ()
    sidecar_state: int | None = None
    reading: str = ""

    def __post_init__(self) -> None:
        """Make the numbers such as the catalogue can store, and so compare with what it has."""
        for name in ("size", "mtime_ns", "device", "inode", "ctime_ns"):
            if not _LEAST <= (number := getattr(self, name)) <= _MOST:
                object.__setattr__(self, name, int64(number))


TAKEN_FROM = ("image", "sidecar", "takeout", "file")
"""Who tells when a picture was taken; the last is the date of its file, for want of a better one."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the file of a picture, and the files beside it, tell of the picture; what nobody tells is empty or None.

    ``taken`` is the wall clock's time where and when it was taken, without a zone, to the millisecond; ``offset`` is
    that clock's distance from UTC in minutes, east positive, and ``taken_from`` one of TAKEN_FROM: who tells it.
    ``latitude`` and ``longitude`` are in degrees (WGS 84), north and east positive. ``rating`` is 0 to 5 stars, -1 for
    rejected. ``burst`` is the id that the pictures of one burst share.
    """

    taken: datetime | None = None
    taken_from: str = ""
    offset: int | None = None
    make: str = ""
    model: str = ""
    lens: str = ""
    latitude: float | None = None
    longitude: float | None = None
    rating: int | None = None
    title: str = ""
    description: str = ""
    keywords: tuple[str, ...] = ()
    software: str = ""
    burst: str = ""

    def over(self, other: Metadata) -> Metadata:
        """Return this, with what it does not tell taken from ``other``; the keywords of both.

        Time and offset belong together, and so do latitude and longitude: neither is put together from two sources.
        """
        own = {name: value for name in _ALONE if (value := getattr(self, name)) not in (None, "")}
        if self.taken is not None:
            own |= {"taken": self.taken, "taken_from": self.taken_from, "offset": self.offset}
        if self.latitude is not None:
            own |= {"latitude": self.latitude, "longitude": self.longitude}
        return replace(other, **own, keywords=tuple(dict.fromkeys(self.keywords + other.keywords)))


_ALONE = ("make", "model", "lens", "rating", "title", "description", "software", "burst")
NO_METADATA = Metadata()


@dataclass(frozen=True, slots=True)
class PixelHash:
    """What is kept of an image's pixels: ``bits`` are 128 bytes of difference hashes, ``crc`` is the crc32 of all.

    Both are of the pixels as they were decoded for the model.
    """

    bits: bytes
    crc: int


KINDS = ("", "page", "frame", "raw", "member", "tile")
"""What an image is of its file: all of it or a page of an image file, a page of a document, a frame of a film, a RAW
photo, a member of an archive, a part of a page (media/tiles.py). The page of a frame is its time, in milliseconds since
the film's start."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture. ``width`` and ``height`` are those of the upright original, in pixels.

    ``pixels`` may be smaller than the original where the decoder could skip detail that the pixel budget
    would throw away. ``note`` is what its owner should know, such as "end missing, 98 % of rows read"; "" if nothing.
    """

    pixels: RGB
    width: int
    height: int
    page: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, with the reason by which it is counted and the detail for this one."""

    source: SourceFile
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """A picture as the vision tower takes it.

    ``pixel_values``: (t·h·w, channels · temporal_patch · patch · patch) float32, normalised.
    ``grid``: (t, h, w) in patches, before the spatial merge. ``still`` says that the frames of a patch are known to be
    equal; without it whoever sums them compares them first.
    """

    pixel_values: NDArray[np.float32]
    grid: tuple[int, int, int]
    still: bool = False


Prepared: TypeAlias = "Patches | NDArray[np.uint8]"
"""A picture as its model takes it: cut into patches, or as RGB for a model that scales its images itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """One thing to embed: a text, a picture, or both; instruction and ``budget`` fall back to the embedder's own."""

    text: str | None = None
    image: RGB | Patches | None = None
    instruction: str | None = None
    budget: PixelBudget | None = None


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where the model computes, in which of DTYPES, and why."""

    device: str
    dtype: str
    reason: str


@runtime_checkable
class QueryEncoder(Protocol):
    """What a search needs of a model: a text, an image, or both become a vector."""

    def embed(self, inputs: Sequence[Input]) -> Vectors:
        """Return one float32 row an input.

        Raises InputError, NonFiniteError, and ModelOutOfMemory if a single input does not fit into memory.
        """


class Prepare(Protocol):
    """Makes a picture ready for its model, within a budget, the model's own if none is given."""

    def __call__(self, image: RGB, budget: PixelBudget | None = None, /) -> Prepared:
        """Return the picture as the model takes it; may be called from many threads."""


class ImageEncoder(QueryEncoder, Protocol):
    """What indexing needs of a model: images prepared by many threads, and embedded in batches that fit into memory."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def runtime(self) -> Runtime:
        """Device and dtype with the reason."""

    @property
    def batch_size(self) -> int:
        """How many pictures of the pixel budget fit into memory at a time."""

    @property
    def recomputed(self) -> int:
        """How many rows were computed once more in float32 so far, since they were not finite."""

    @property
    def batch_reason(self) -> str:
        """Why it is that many."""

    def expect(self, images: int) -> str:
        """Take note that so many images are about to be embedded; return what is done for it, and why, if anything."""

    def int8_speedup(self) -> float:
        """Return about how many times as fast int8 would embed images; 1 where it can't be used."""

    def prepare(self, image: RGB, budget: PixelBudget | None = None) -> Prepared:
        """Make a picture ready within a budget, its own if none is given, on any thread."""

    def embed(
        self, inputs: Sequence[Input], normalize: bool = True, *, batch_size: int | None = None
    ) -> Vectors:
        """Return one float32 row an input, ``batch_size`` computed at a time; not given, it is the encoder's own.

        Raises InputError, NonFiniteError, and ModelOutOfMemory if a single input does not fit into memory.
        """


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What an index was made with; vectors of two specs must never meet.

    ``model`` is the name or folder it was loaded by: how to find it again, not part of the comparison.
    ``fingerprint`` is 64 hexadecimal digits. The prompts are the instructions of either side (questions, pictures)
    as the model gets them; an empty one is none. ``page_pixels`` is the budget of pages, scans and screenshots
    (``budgets.page_reason``), None where they are seen like photos. ``own_pixels`` says that the model scales images as
    it likes: ``pixels`` then only says how many of them decoders must leave.
    """

    model: str
    fingerprint: str
    dim: int
    query_prompt: str
    document_prompt: str
    pixels: PixelBudget
    page_pixels: PixelBudget | None = None
    own_pixels: bool = False

    @property
    def budgets(self) -> PixelBudgets:
        """Both budgets."""
        return PixelBudgets(self.pixels, self.page_pixels)

    def model_spec(self, folder: str, options: ModelOptions) -> ModelSpec:
        """Return what makes vectors for such an index: the checkpoint in ``folder`` on the device of ``options``."""
        return ModelSpec(
            folder=os.path.abspath(folder),
            fingerprint=self.fingerprint,
            dim=self.dim,
            budget=self.pixels,
            instruction=self.document_prompt,
            device=options.device,
            dtype=options.dtype,
        )


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All that a model in memory is made from, and the fingerprint that its checkpoint is to have.

    ``folder`` is the checkpoint's, ``dim`` the length of the vectors, ``instruction`` the one for pictures, as the
    model gets it; device and dtype may be "auto".
    """

    folder: str
    fingerprint: str
    dim: int
    budget: PixelBudget
    instruction: str
    device: str = "auto"
    dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class Record:
    """One distinct picture of an index, with every file that has these bytes.

    ``id`` is its content id, ``paths`` are absolute and sorted; width and height in pixels, upright. ``kind`` is one of
    KINDS, ``name`` that of a member of an archive.
    """

    id: int
    sha256: bytes
    page: int
    width: int
    height: int
    paths: tuple[str, ...]
    kind: str = ""
    name: str = ""


STACKED_BY = ("burst", "version", "alike", "film")
"""Why an image stands behind a hit: of the same burst, the same shot in another file, nearly the same image, or another
frame of the same film."""


def place_json(kind: str, page: int, name: str = "") -> dict[str, Any]:
    """Return where in a document an image is, as JSON has it beside its page; nothing of an image file's.

    ``kind`` is one of KINDS, ``time`` that of a film's frame in seconds, ``member`` the ``name`` in an archive.
    """
    told: dict[str, Any] = {"kind": kind} if kind else {}
    if kind == "frame":
        told["time"] = page / 1000
    return told | ({"member": name} if name else {})


@dataclass(frozen=True, slots=True)
class Stacked:
    """An image that stands behind a hit, for one of the reasons in STACKED_BY; the other fields are those of a Hit."""

    path: str
    page: int
    score: float
    reason: str
    width: int = field(default=0, compare=False)
    height: int = field(default=0, compare=False)
    content: int = field(default=0, compare=False)
    sha256: bytes = field(default=b"", compare=False)
    kind: str = field(default="", compare=False)
    name: str = field(default="", compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it, with the score to six decimal places."""
        told = {
            "page": self.page,
            **place_json(self.kind, self.page, self.name),
            "score": round(self.score, 6),
            "reason": self.reason,
        }
        return {**path_json(self.path), **told}


@dataclass(frozen=True, slots=True)
class Why:
    """What carried a hit: its score beside those of all images, and what else was asked for and matched.

    ``floor`` is what an image scores on average, ``spread`` the standard deviation. ``stands_out`` is None where
    nobody can tell.
    """

    floor: float
    spread: float
    spreads: float
    stands_out: bool | None
    matched: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it, with four decimal places."""
        told = asdict(self)
        rounded = {name: round(told[name], 4) for name in ("floor", "spread", "spreads")}
        return {**told, **rounded, "matched": list(self.matched)}


Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom in an upright image, as fractions of its width and height."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What of the text in an image a query has found: the line as it was read, and ``boxes`` of the words.

    … stands for text before and behind it. There are no boxes where nobody knows where the text stands. ``marks`` are
    the characters of the words in the text, each a stretch from one to before another.
    """

    text: str
    boxes: tuple[Box, ...] = ()
    marks: tuple[tuple[int, int], ...] = field(default=(), compare=False)

    def parts(self) -> list[str]:
        """Return the text in parts: what is no word that was found, the first such word, and so on in turn."""
        ends = [0, *(place for mark in self.marks for place in mark), len(self.text)]
        return [self.text[start:end] for start, end in pairwise(ends)]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"quote": self.text, "boxes": [list(box) for box in self.boxes]}


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer to a question. ``score`` is the exact cosine of the stored vector with the question's.

    ``content`` is the id of its content, ``sha256`` the hash of its file's bytes. Where hits that show the same are
    stacked, ``stack`` are those behind this one, best first. ``index`` is the folder of its index where several are
    searched, else "". ``why`` is given where an explanation is asked for, ``quote`` where text in the image matched.
    ``rerank`` is the probability that the image answers the query, by a reranker; None where none has judged it.
    ``kind`` and ``name`` are those of its Record. ``tile`` is the part of the page that was found, where it is cut into
    tiles; page and kind are then those of the whole.
    """

    rank: int
    score: float
    path: str
    page: int
    copies: tuple[str, ...]
    missing: bool
    width: int
    height: int
    content: int = field(default=0, compare=False)
    sha256: bytes = field(default=b"", compare=False)
    stack: tuple[Stacked, ...] | None = None
    index: str = ""
    why: Why | None = None
    quote: Quote | None = None
    rerank: float | None = None
    kind: str = field(default="", compare=False)
    name: str = field(default="", compare=False)
    tile: Box | None = field(default=None, compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it, with the score to six decimal places."""
        told = {
            **asdict(self),
            "score": round(self.score, 6),
            **path_json(self.path),
            **paths_json(self.copies, "copies"),
        }
        for name in ("content", "sha256", "stack", "index", "why", "quote", "rerank", "kind", "name", "tile"):
            del told[name]
        told |= place_json(self.kind, self.page, self.name)
        if self.tile:
            told["tile"] = [round(side, 6) for side in self.tile]
        if self.rerank is not None:
            told["rerank"] = round(self.rerank, 6)
        if self.index:
            told |= path_json(self.index, "index")
        if self.stack is not None:
            told["stack"] = [one.as_json() for one in self.stack]
        if self.quote is not None:
            told |= self.quote.as_json()
        return told if self.why is None else {**told, "why": self.why.as_json()}


class Reporter(Protocol):
    """Where a use case says what it does and asks; the command line draws it, a library user may ignore it."""

    def say(self, line: str) -> None:
        """Take one line for the user; a Message keeps as data the options and calls that it names."""

    def detail(self, line: str) -> None:
        """Take one line for the user who wants to know more: devices, reasons, timings."""

    def wait(self, what: str) -> None:
        """Take what is done until the next line or stretch of work, such as "Loading the model"."""

    def start(self, total: int, unit: str) -> None:
        """Begin a stretch of work of ``total`` units; 0 if nobody knows how many."""

    def advance(self, n: int = 1, where: str = "") -> None:
        """Count ``n`` more units as done; ``where`` is the folder that they were in."""

    def stop(self) -> None:
        """End the stretch, or the wait."""

    def approve(self, question: str) -> bool:
        """Ask before something large or final is done; without anybody to ask, the answer is yes."""


class Silent:
    """A reporter that keeps everything to itself and approves of everything."""

    def say(self, line: str) -> None:
        """Drop the line."""

    def detail(self, line: str) -> None:
        """Drop the line."""

    def wait(self, what: str) -> None:
        """Do nothing."""

    def start(self, total: int, unit: str) -> None:
        """Do nothing."""

    def advance(self, n: int = 1, where: str = "") -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def approve(self, question: str) -> bool:
        """Say yes."""
        return True


PixelChoice = PixelBudget | Literal["checkpoint"]
"""A pixel budget, or the one of the checkpoint's own image processor."""
Profile = Literal["photos", "auto"]
"""Whether all images are seen alike, or pages and screenshots with more pixels."""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What the user asked for; None leaves it to the index, or to the checkpoint and the defaults.

    ``model`` is a folder, a hub name or "demo"; ``dim`` a Matryoshka dimension; ``instruction`` takes the place of
    the checkpoint's prompts on both sides; device and dtype may be "auto". ``prompts`` are those of an index
    that is made anew, for questions and for pictures, as they stand. ``force_model`` takes a checkpoint that looks
    like a model that only generates text, too. ``profile``, if not given, is "auto" for a new index unless the user
    or the checkpoint has chosen the pixels.
    """

    model: str | None = None
    revision: str | None = None
    dim: int | None = None
    pixels: PixelChoice | None = None
    instruction: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    prompts: tuple[str, str] | None = None
    force_model: bool = False
    profile: Profile | None = None
