"""Writes the reference of the HTTP interface from its types: docs/http.md.

    python docs/http.py              is what is written up to date? Exit code 1: no
    python docs/http.py --write      writes docs/http.md

It needs an environment that has the program. The types are in src/imgsearch/tools/server/api.py.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, is_typeddict

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from imgsearch.tools.server import api, shapes  # noqa: E402

PAGE = ROOT / "docs" / "http.md"
BEGINNING = """\
# HTTP interface

<!-- Made by docs/http.py; the texts are in src/imgsearch/tools/server/api.py. -->

What [`imgsearch serve`](server.md#from-other-programs) answers to other programs, over its socket or with `--http`.
A request is a JSON object, sent by POST with any content type. A field that is null counts as not given, and one that
is unknown is an error. Paths are absolute, or begin with `~/`; behind the path of an example image, `#page=7` means a
page of a document, and `#t=83.2` a moment of a video, in seconds. `GET /status` takes nothing.

Every answer is JSON and has these fields, errors too:

"""
LANGUAGE = """
The words are read as `imgsearch query` reads them. A plus or minus that stands alone adds or takes away a part, and
`2:` before a part is its weight: `horse + stripes - saddle`. A part may be the absolute path of an image; it need not
be indexed. Words that are only such a path are answered as by `/similar`. A date or place at the beginning or end
becomes a filter, unless such a filter is given: `beach July 2023`. `@receipts` is a
[saved query](searching.md#saved-queries). With `literal` none of this is done, and with `image` the words stay one
text. The answer tells in `read` what was read.
"""
ERRORS = """\
## Errors

The status is other than 200, and the answer is:

{table}

| Status | When |
|---|---|
| 400 | the request can't be answered; the message tells why and what to do |
| 401 | with `--http`: the token is missing or wrong |
| 403 | with `--http`: the request names another host, or comes from a page of another site |
| 404, 405 | there is no such address, or not by this method |
| 409 | `/load` and `/embed`: a client of another version |
| 413 | the request is longer than 1 MB |
| 500 | a bug, or a resource that ran out |
| 503 | too much to do: ask again after a second |

## What else there is

{own} are for imgsearch's own commands: they change with any version, and both sides must be of the same. `/web` and
the addresses below `/p/` belong to the page in the browser.
"""


def page() -> str:
    """Return docs/http.md."""
    out = [BEGINNING + _table(api.Versioned), ""]
    for address in api.ADDRESSES:
        out += [f"## {address.method} {address.path}", "", address.summary, ""]
        if address.example:
            json.loads(address.example)
            out += ["```json", address.example, "```", ""]
        if address.request is api.Query:
            out += [LANGUAGE.strip(), ""]
        if address.request:
            out += ["Fields:", "", _table(address.request, address.request.__mro__[1]), ""]
            links = [_link(base) for base in address.request.__mro__[1:] if base in SHARED]
            out += (
                [f"And {', '.join(links[:-1])}{' and ' if links[1:] else ''}{links[-1]}.", ""]
                if links
                else []
            )
        out += ["The answer:", "", _table(address.answer, api.Versioned), ""]
    for base, heading in SHARED.items():
        out += [f"## {heading}", "", inspect.getdoc(base) or "", "", _table(base, base.__mro__[1]), ""]
    out += ["## Objects", ""]
    for shape in dict.fromkeys(_inner()):
        out += [f"### {shape.__name__}", "", inspect.getdoc(shape) or "", "", _table(shape), ""]
    own = " and ".join(f"`{path}`" for path in api.OWN)
    out.append(ERRORS.format(table=_table(api.Failed, api.Versioned), own=own))
    return "\n".join(out)


SHARED = {api.Search: "Fields of all searches", api.Confined: "Folders", api.Filters: "Filters"}
"""What several requests have, and the heading that it stands under."""


def _link(shape: type[Any]) -> str:
    heading = SHARED[shape]
    return f"the [{heading[0].lower()}{heading[1:]}](#{heading.lower().replace(' ', '-')})"


def _inner() -> Iterator[type[Any]]:
    """Yield the shapes within the requests and answers, each after the one that has it."""
    waiting = [shape for one in api.ADDRESSES for shape in (one.request, one.answer) if shape] + [api.Failed]
    while waiting:
        for field in shapes.fields(waiting.pop(0)):
            if found := shapes.inner(field.kind):
                yield found
                waiting.append(found)


def _table(shape: type[Any], base: type[Any] = object) -> str:
    """Return the fields of a shape, without those of its base, as a table."""
    inherited = {field.name for field in shapes.fields(base)} if base in (*SHARED, api.Versioned) else set()
    rows = ["| Field | Type | |", "|---|---|---|"]
    for field in shapes.fields(shape):
        if field.name not in inherited:
            rows.append(f"| `{field.name}` | {_kind(field, shape)} | {_meaning(field, shape)} |")
    return "\n".join(rows)


def _kind(field: shapes.Field, shape: type[Any]) -> str:
    inner = shapes.inner(field.kind)
    if inner is None:
        return shapes.in_words(field.kind) + (" or null" if is_typeddict(shape) and field.nullable else "")
    link = f"[{inner.__name__}](#{inner.__name__.lower()})"
    return link if field.kind is inner else f"list of {link}"


def _meaning(field: shapes.Field, shape: type[Any]) -> str:
    meaning = field.meaning[0].lower() + field.meaning[1:] if field.meaning else ""
    if is_typeddict(shape):
        return meaning
    if field.required:
        return f"{meaning}; must be given"
    if field.default not in (None, [], False):
        return f"{meaning}; {json.dumps(field.default)} if not given"
    return meaning


def main() -> int:
    """Run the script."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--write", action="store_true", help="write the file")
    if options.parse_args().write:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        print("docs/http.md is out of date; write it with: python docs/http.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
