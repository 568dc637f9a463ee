"""The words that a person reads: a list of words that were replaced, so that they do not come back.

It is not a style police: a word is in it because it was in a message once and a reader stumbled over it, and only where
it has no other use. A new one is a row. Checked are the help texts, every sentence in the source (a string with a space
that is no docstring, no SQL and no pattern, and a noun that is counted), and the pages.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import ROOT

SOURCE = ROOT / "src" / "imgsearch"
MODULES = sorted(SOURCE.rglob("*.py"))
HELP = sorted((ROOT / "tests" / "cli" / "golden").glob("*.txt"))
PAGES = sorted(
    [*(ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md")), *(ROOT / "docs").rglob("*.md")]
)

CHECKPOINT = r"(?<!--detail )checkpoints?(?! \(the model)"  # it is a value of --detail
EVERYWHERE = {
    r"anew": "again, from scratch",
    r"br(oke|oken|eaks?) off": "interrupted",
    r"(go|goes|going|gone|went) on (with|where|from|there)": "continue, resume",
    r"(give|gives|giving|gave|given) back": "reclaim, free",
    r"(the|its|their) room": "disk space",
    r"mend(s|ed|ing)?": "repair",
    r"lack(s|ed|ing)?": "is missing",
    r"(the|a|no) hub|hub's|hub names?": "Hugging Face",
    r"(?<!there )is no (?!longer|more|need|different|problem)\w+": "is not a",
    r"(no|not|arrives?) whole": "incomplete, not valid",
    r"(pixels|pictures|images|photos|paths?|vectors?|embeddings?|rows?|ones?) an? "
    r"(picture|image|photo|second|line|row|step|query|vector)": "per",
    r"to be had|at hand": "available",
    r"for who": "protected by, requires",
    r"is meant(?! (to|for))": "if you really …",
    r"kept indexed": "indexed",
    r"(take|takes|taking|taken|took) (\w+ )?out of the index": "remove",
    r"lets? (it |the model )?go|leaves? the memory|puts? it out": "unload",
    r"asked (before|of the index)": "repeated, cached",
    r"are the most": "at most",
    r"draws? (\w+ )?pictures": "generate images",
}
"""Replaced word → the word to use, in what a person reads anywhere: help, messages and pages."""
MESSAGES = EVERYWHERE | {
    r"pictures?": "image",
    r"questions?": "query",
    r"vectors?": "embedding",
    CHECKPOINT: "model",
    r"says?|said": "show, print, report",
    r"gone": "deleted",
    r"sound": "intact, OK",
    r"talk": "messages, progress",
    r"looked at": "checked, read",
    r"by itself|by themselves": "automatically",
    r"all the same(?! \w)": "anyway",
    r"(was|were) asked for": "was requested",
    r"stands? in(?! for)": "is in",
}
"""The same in help and messages: words that have a use of their own on a page."""

ALLOWED = {
    ("index/manifest.py", "imported vectors of dim "): "hashed: other words were another index",
    ("index/metadata/fulltext.py", "picture pictures"): "words that queries may have",
    ("indexing/ingest.py", "no finite vector"): "a reason by which the catalogue counts skipped files",
    ("tools/transfer/importer.py", "no regular file"): "a key of the JSON that an import prints",
}
"""Sentences that are kept as they are, with the reason."""
CHECKPOINTS = ("tools/training/", "cli/commands/learn.py", "train.txt")
"""Where a checkpoint is what it is elsewhere: the state of a training run that was saved."""

_SQL = re.compile(r"\b(SELECT|INSERT|REPLACE|UPDATE|DELETE|CREATE|DROP|ALTER|PRAGMA|BEGIN|WITH RECURSIVE)\b")
_CODE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)", re.DOTALL)


def found(text: str, words: dict[str, str]) -> list[str]:
    """Return each replaced word of a text with what to use."""
    return [
        f"{hit[0]!r} → {instead}"
        for word, instead in words.items()
        for hit in re.finditer(rf"(?<![\w/.-])({word})(?![\w/])(?!\.\w)", text, re.IGNORECASE)
    ]


def sentences(source: str) -> Iterator[tuple[int, str]]:
    """Yield the sentences of a module with their lines; what an f-string puts in is "…"."""
    tree = ast.parse(source)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))  # a docstring
        elif isinstance(node, ast.JoinedStr):
            skipped.update(id(part) for part in node.values)
        text = ""
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            text = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "plural":
            nouns = [part.value for part in node.args[1:] if isinstance(part, ast.Constant)]
            text = " ".join(["…", *map(str, nouns)])
        if " " in text and "\\" not in text and not _SQL.search(text):
            yield node.lineno, text


def _words(name: str) -> dict[str, str]:
    trains = any(part in name for part in CHECKPOINTS)
    return {word: instead for word, instead in MESSAGES.items() if not (trains and word == CHECKPOINT)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_messages_are_in_plain_words(path: Path) -> None:
    """No sentence in the source has a word that was replaced."""
    name = str(path.relative_to(SOURCE))
    kept = [text for module, text in ALLOWED if module == name]
    wrong = [
        f"{name}:{line} {text!r}: {', '.join(words)}"
        for line, text in sentences(path.read_text())
        if not any(one in text for one in kept)
        if (words := found(text, _words(name)))
    ]
    assert wrong == []


@pytest.mark.parametrize("path", HELP, ids=lambda path: path.stem)
def test_help_is_in_plain_words(path: Path) -> None:
    """No help text has a word that was replaced."""
    assert found(" ".join(path.read_text().split()), _words(path.name)) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pages_are_in_plain_words(path: Path) -> None:
    """No page has a word that was replaced, but for its code."""
    assert found(" ".join(_CODE.sub("…", path.read_text()).split()), EVERYWHERE) == []


def test_a_planted_sentence_is_found() -> None:
    """The check finds what it is for, in plain strings, f-strings and nouns that are counted, and nothing else."""
    planted = '''
        """A docstring may say anew what a picture lacks."""
        raise Error(f"{path} is no folder; make it anew")
        say(plural(2, "picture"))
        say("Nothing is left, there is no index here, " "and it is no longer needed: " f"{path}/pictures/vectors.f16")
        execute("SELECT vector FROM question")
    '''
    lines = [found(text, MESSAGES) for _, text in sentences("if True:" + planted)]
    assert sorted(filter(None, lines)) == [
        ["'anew' → again, from scratch", "'is no folder' → is not a"],
        ["'picture' → image"],
    ]


def test_exceptions_are_still_needed() -> None:
    """A sentence that is kept as it is still stands where the list names it."""
    assert [text for module, text in ALLOWED if text not in (SOURCE / module).read_text()] == []
