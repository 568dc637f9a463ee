"""A question as it is typed: parts that are added and taken away, each with a weight, of words or an image."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from imgsearch.addresses import is_remote
from imgsearch.errors import InputError
from imgsearch.place import parted, split
from imgsearch.text import display_path, is_blank
from imgsearch.types import Vectors

if TYPE_CHECKING:
    from imgsearch.search.examples import ReadImage

STDIN = "-"
_SIGNS = {"+": 1.0, "-": -1.0, "\N{MINUS SIGN}": -1.0}
_WEIGHT = re.compile(
    r"([+-]?(?:\d[\d.,_]*(?:e[+-]?\d+)?|\.\d+|nan|inf(?:inity)?))\s*:(?!\d)\s*(.*)", re.DOTALL | re.IGNORECASE
)
"""A figure and a colon, also one that is no weight; a digit behind the colon makes it a time or a ratio: 16:9."""
_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
MAX_PARTS = 32


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a question: a text or an image.

    The image is given by its path, its address, or "-" for standard input; or as ``content``, the sha256 of an indexed
    file's bytes; or as ``vector``, (1, dim) float32, if it was embedded before. What is at the path may have been
    ``read``. ``weight`` is negative for what is taken away. ``page`` counts in a file of several images, from 0; a
    film's are milliseconds.
    """

    text: str = ""
    image: str = ""
    weight: float = 1.0
    page: int = 0
    content: bytes = b""
    vector: Vectors | None = field(default=None, compare=False)
    read: ReadImage | None = field(default=None, compare=False)

    @property
    def is_image(self) -> bool:
        """Whether it is an image, however that is given."""
        return bool(self.image or self.content) or self.vector is not None


def parse_question(
    words: Sequence[str], *, literal: bool = False, relative: bool = True, files: bool = True
) -> tuple[Part, ...]:
    """Return the parts of a question, as a shell or a line gives its words.

    "horse + stripes - saddle" has three parts: a plus or minus counts where it stands alone between blanks. "2:dog"
    weighs twice where there is another part. A part that is the path of a file, or an address, is an image; with
    "#page=7" or "#t=83.2" behind the path, that page or moment. A path that is written as one, with a slash, has to
    exist; without ``relative`` only an absolute path is one, and without ``files`` none is: the disk is not looked at.
    With ``literal`` everything is one text.

    Raises InputError for a part that is missing or has no weight that counts, and for a question that adds nothing.
    """
    if literal:
        text = " ".join(words)
        return (Part(_text(text)),)
    is_path = _paths(relative, files)
    parts: list[Part] = []
    sign, current = 1.0, list[str]()
    tokens = [token for word in words for token in _tokens(word, is_path)]
    operator = ""
    for token in tokens:
        # Where an image is due, "-" alone is the one on standard input: "dog + -".
        if token in _SIGNS and (current or not operator):
            if not current:
                raise InputError(f"{token}: there is nothing before it; a query starts with what to find")
            parts.append(_part(current, sign, weighted=True, is_path=is_path))
            sign, current, operator = _SIGNS[token], [], token
        elif token in _SIGNS and token != STDIN:
            raise InputError(f"{operator} {token}: something is missing between the two")
        elif current == [STDIN]:
            raise InputError(f"{operator} -: something is missing between the two")
        else:
            current.append(token)
    if not current:
        raise InputError(
            f"{operator}: there is nothing after it"
            if operator
            else "the query is empty; describe what is in the image"
        )
    parts.append(_part(current, sign, weighted=bool(operator), is_path=is_path))
    if len(parts) > MAX_PARTS:
        raise InputError(f"a query has at most {MAX_PARTS} parts, and this one has {len(parts)}")
    if all(part.weight < 0 for part in parts):
        raise InputError("the query only excludes; add what to find")
    return tuple(parts)


IsPath = Callable[[str], bool]
"""Whether a text may be the path of a file."""


def _paths(relative: bool, files: bool) -> IsPath:
    return lambda text: files and (relative or os.path.isabs(text))


def _is_there(text: str, is_path: IsPath) -> bool:
    return is_path(text) and os.path.exists(split(text)[0])


def _tokens(word: str, is_path: IsPath) -> list[str]:
    """Return a word of the shell as it is if it is a path, else split at the operators that stand alone in it."""
    if _is_there(word, is_path) or not re.search(r"(?:^|\s)[+\-\N{MINUS SIGN}](?:\s|$)", word):
        return [word]
    return [
        token
        for token in re.split(r"(?:(?<=\s)|^)([+\-\N{MINUS SIGN}])(?=\s|$)", word)
        if not is_blank(token)
    ]


def _part(words: Sequence[str], sign: float, *, weighted: bool, is_path: IsPath) -> Part:
    text, weight = " ".join(words).strip(), 1.0
    found = _WEIGHT.fullmatch(text) if weighted else None
    if found and not _is_there(text, is_path):
        weight, text = _weight(found[1]), found[2].strip()
        if not text:
            raise InputError(f"{found[1]}: there is nothing behind the weight")
    part = Part(weight=sign * weight)
    if text == STDIN or is_address(text):
        return replace(part, image=text)
    if is_remote(text) and is_path(text):
        file, page = parted(text)
        return replace(part, image=file, page=page)
    path = os.path.expanduser(text)
    if _is_there(path, is_path):
        file, page = split(path)
        if os.path.isfile(file):
            return replace(part, image=file, page=page)
    if _is_written_as_path(text) and is_path(path):
        if os.path.isdir(path):
            raise InputError(f"{display_path(text)} is a folder; give the path of an image")
        raise InputError(f"{display_path(text)}: no such file")
    return replace(part, text=_text(text))


def _weight(figure: str) -> float:
    try:
        weight = float(figure)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= 1000:  # NaN neither
        raise InputError(f"{figure}: a weight is a number above 0, up to 1000, such as 2 or 0.5")
    return weight


def is_address(text: str) -> bool:
    """Whether a text is the address of an image, which has to be fetched."""
    return bool(_ADDRESS.fullmatch(text))


def is_combined(words: Sequence[str], *, relative: bool = True, files: bool = True) -> bool:
    """Whether words have several parts: a plus or minus stands alone among them, or in one of them.

    A minus alone means the queries on standard input.
    """
    tokens = [token for word in words for token in _tokens(word, _paths(relative, files))]
    return tokens != [STDIN] and any(token in _SIGNS for token in tokens)


def spelled(parts: Sequence[Part]) -> str:
    """Return parts as somebody may read them: what is searched for, and what is not to be there."""

    def named(part: Part) -> str:
        weight = f"{abs(part.weight):g} × " if abs(part.weight) != 1 else ""
        image = "the image on stdin" if part.image == STDIN else display_path(part.image)
        return weight + (image if part.image else f'"{part.text}"')

    plus = " and ".join(named(part) for part in parts if part.weight > 0)
    minus = " or ".join(named(part) for part in parts if part.weight < 0)
    return f"{plus}, without {minus}" if minus else plus


def _is_written_as_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~/")) and not re.search(r"\s/|/\s", text)


def _text(text: str) -> str:
    if is_blank(text):
        raise InputError("the query is empty; describe what is in the image")
    return text
