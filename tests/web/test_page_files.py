"""The page's files: small, all loaded at once, and without what its security policy forbids."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from support.page_api import STATIC

FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())
MODULES = [path for path in FILES if path.suffix == ".js"]
FORBIDDEN = (
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|"
    r"DOMParser|setHTML|srcdoc|javascript:"
)
INDEX = (STATIC / "index.html").read_text()


def test_the_page_is_light() -> None:
    """All files of the page together have at most 150 KB as they are sent, which is compressed."""
    assert sum(len(gzip.compress(path.read_bytes(), 6)) for path in FILES) <= 150_000


def test_every_module_is_loaded_at_once() -> None:
    """The page names all its modules, so that the browser asks for them without waiting for each other."""
    named = set(re.findall(r'<link rel="modulepreload" fetchpriority="low" href="static/([\w./]+)">', INDEX))
    assert named == {str(path.relative_to(STATIC)) for path in MODULES} - {"page/main.js"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_module_makes_markup_or_code_of_text(path: Path) -> None:
    """No module parses text as HTML or code, or names another host."""
    source = path.read_text()
    assert re.findall(FORBIDDEN, source) == []
    assert [
        one for one in re.findall(r"https?://[^\s\"']+", source) if not one.startswith("http://www.w3.org/")
    ] == []


def test_the_document_has_no_inline_script_or_style() -> None:
    """The document only names files of its own folder."""
    assert re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", INDEX) == []
    assert all(one.startswith(("static/", "./", "#")) for one in re.findall(r'(?:href|src)="([^"]*)"', INDEX))
