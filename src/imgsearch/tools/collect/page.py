"""Writes results as one HTML file that needs nothing else: thumbnails inside, no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
import os
from collections.abc import Sequence
from urllib.parse import quote

from imgsearch.errors import UsageError
from imgsearch.text import Option, display_path, plural, printable
from imgsearch.tools.collect import Result, check_new, new_file
from imgsearch.tools.collect.thumbnails import thumbnails_of
from imgsearch.types import Reporter

_STYLE = """
:root { color-scheme: light dark; --ink: #202124; --grey: #5f656e; --paper: #fff; --card: #eeeff2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --grey: #a3a9b3; --paper: #17181a; --card: #26282c; }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 1rem; background: var(--paper); color: var(--ink); font: 16px/1.4 system-ui, sans-serif; }
h1 { margin: 0 0 1rem; font-size: 1.25rem; font-weight: 600; }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(14rem, 42vw), 1fr)); gap: 1rem; }
ol { margin: 0; padding: 0; list-style: none; }
figure { margin: 0; }
.image { display: grid; place-items: center; aspect-ratio: 1; padding: 8px; border-radius: 8px; }
.image { background: var(--card); color: var(--grey); text-align: center; text-decoration: none; overflow: hidden; }
a:focus-visible { outline: 3px solid #3b78e7; outline-offset: 2px; }
img { display: block; max-width: 100%; max-height: 100%; min-height: 0; object-fit: contain; }
figcaption { padding-top: .4rem; overflow-wrap: anywhere; font-size: .875rem; }
.score, .folder { color: var(--grey); }
.folder { display: block; font-size: .75rem; }
@media print { figure { break-inside: avoid; } }
"""


def write_page(html: str, results: Sequence[Result], reporter: Reporter) -> dict[str, str]:
    """Write a page of results into a new HTML file; return why images are missing on it, by path.

    Names are shown as text, whatever is in them. Raises UsageError for a name that is taken or not one of a page;
    StorageError.
    """
    if os.path.splitext(html)[1].lower() not in (".html", ".htm"):
        raise UsageError(
            Option("html"), f": {display_path(html)} has to end in .html: it is a page for the browser"
        )
    check_new("html", html)
    missing: dict[str, str] = {}
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    title = plural(len(results), "result")
    reporter.start(len(results), "images")
    try:
        with new_file("html", html) as file:
            head = (
                '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
                f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
                '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
                '<meta name="referrer" content="no-referrer">\n<meta name="generator" content="imgsearch">\n'
                f"<title>{title}</title>\n<style>{_STYLE}</style>\n<main>\n<h1>{title}</h1>\n<ol>\n"
            )
            file.write(head.encode())
            for result, data in zip(results, thumbnails_of(results), strict=True):
                if isinstance(data, str):
                    missing[result.path] = data
                file.write(_figure(result, data).encode())
                reporter.advance()
            file.write(b"</ol>\n</main>\n</html>\n")
    finally:
        reporter.stop()
    return missing


def _figure(result: Result, data: bytes | str) -> str:
    name, folder = os.path.basename(result.path), os.path.dirname(result.path)
    shown = _text(name) + (f", page {result.page + 1}" if result.page else "")
    score = "" if result.score is None else f' <span class="score">{result.score:.2f}</span>'
    if isinstance(data, bytes):
        # The link leads to the file on the computer where the page was made.
        address = f"file://{quote(os.fsencode(result.path))}"
        image = f'<img src="data:image/webp;base64,{base64.b64encode(data).decode()}" alt="{shown}" loading="lazy">'
        image = f'<a class="image" href="{address}">{image}</a>'
    else:
        image = '<div class="image">missing</div>'
    caption = (
        f'<figcaption>{result.rank}{score} {shown} <span class="folder">{_text(folder)}</span></figcaption>'
    )
    return f"<li><figure>{image}\n{caption}</figure></li>\n"


def _text(path: str) -> str:
    return html.escape(printable(path))
